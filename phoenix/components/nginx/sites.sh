# Prints the directives of the operator's own Nginx sites. Runs behind config_tree/package_file.sh as
#   sh -c SCRIPT nginx-sites TREE CONFIG PATTERN ...
# TREE is the folder of Phoenix's configuration tree of Nginx, CONFIG the path of nginx.conf. Debian's nginx.conf reads
# the files of each PATTERN. Files from packages are left out. Fields are separated by tabs:
#   site PATH READ      READ is `read` where the present nginx.conf reads it
#   in PATH top NAME    a directive outside of any block, or a block there: its name
#   in PATH server      a server begins; its `listen` and `server_name` follow, as `in PATH said WORDS`
# It never prints values of other directives, which may be secrets. It splits words as nginx does (ngx_conf_read_token).
tree=$1 config=$2; shift 2; t=$(printf '\t')
said() { # FILE: its directives, with the depth of http's own as 0
 awk -v file="$1" -v base="$2" '
 function word() { if (has) w[++n] = cur; cur = ""; has = 0 }
 function ends(by,   i, line) {
  word()
  if (n && depth == base) {
   if (by == "{" && w[1] == "server" && (!base || first == "http")) print "in\t" file "\tserver"
   else if (!base) print "in\t" file "\ttop\t" w[1]
  }
  if (n && depth == base + 1 && inside && (w[1] == "listen" || w[1] == "server_name")) {
   line = w[1]; for (i = 2; i <= n; i++) line = line " " w[i]
   print "in\t" file "\tsaid\t" line
  }
  if (by == "{") {
   if (depth == 0) first = w[1]
   if (depth == base) inside = (w[1] == "server" && (!base || first == "http"))
   depth++
  }
  if (by == "}") depth--
  n = 0
 }
 {
  line = $0; gsub(/\t/, " ", line); long = length(line)
  for (i = 1; i <= long; i++) {
   c = substr(line, i, 1)
   if (quote) {
    if (c == "\\") { cur = cur substr(line, ++i, 1) } else if (c == quote) quote = ""; else cur = cur c
   } else if (c == "\\") { cur = cur substr(line, ++i, 1); has = 1 }
   else if (c == " ") word()
   else if (!has && c == "#") break
   else if (!has && (c == "\"" || c == "\047")) { quote = c; has = 1 }
   else if (c == "{" && substr(cur, length(cur)) == "$") { cur = cur c; variable = 1 }
   else if (c == "}" && variable) { cur = cur c; variable = 0 }
   else if (c == ";" || c == "{" || c == "}") ends(c)
   else { cur = cur c; has = 1 }
  }
  if (!quote) word(); else cur = cur " "
 }' <"$1"
}
ours=; case $(readlink "$config") in "$tree"/*) ours=yes ;; esac
[ -n "$ours" ] || [ ! -e "$tree/current" ] || exit 0 # the file is Phoenix's own by now
if [ -z "$ours" ] && [ -f "$config" ] && ! is_package_file "$config"; then
 found=$(said "$config" 1)
 [ -z "$found" ] || printf 'site\t%s\tread\n%s\n' "$config" "$found"
fi
for pattern; do
 for file in $pattern; do
  [ -f "$file" ] && ! is_package_file "$file" || continue
  case $file in *"$t"*) continue ;; esac
  read=read
  if [ -n "$ours" ]; then
   last=${file#"${file%?}"}
   grep -qsF "include ${file%?}[$last];" "$config" || read=
  fi
  printf 'site\t%s\t%s\n' "$file" "$read"
  said "$file" 0
 done
done
:
