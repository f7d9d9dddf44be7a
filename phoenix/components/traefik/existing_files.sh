# What a person's own Traefik has on this host. Runs as
#   sh -c SCRIPT traefik-files TREE STATIC DYNAMIC
# TREE is the folder of Phoenix's configuration tree of Traefik, STATIC the place of its configuration, DYNAMIC the folder
# in which it reads every file. Fields are separated by tabs:
#   ours                         STATIC is Phoenix's by now; the person's is then the one that was kept
#   static PATH - -              their static configuration; then its lines, as `in PATH LINE`
#   file   PATH MODE GROUP       a file of theirs in DYNAMIC; its lines likewise
# Of the lines only names, addresses and entry points are told, in their YAML or TOML: other values, which may be secrets,
# are `x`, and comments are left out.
tree=$1 static=$2 dynamic=$3 t=$(printf '\t')
told() { # FILE NAME
 awk -v name="$2" '
 BEGIN {
  split("entrypoints service options certresolver address directory filename", list, " ")
  for (i in list) open[list[i]] = 1
  toml = name ~ /\.toml$/
 }
 /^[[:space:]]*(#|$)/ { next }
 { gsub(/\t/, " "); sub(/ #.*$/, "") }
 toml {
  if ($0 ~ /^ *\[/) { raw = tolower($0) ~ /^ *\[+entrypoints/; print "in\t" name "\t" $0; next }
  at = index($0, "="); if (!at) next
  key = substr($0, 1, at - 1); gsub(/[ "\047]/, "", key)
  print "in\t" name "\t" ((raw || tolower(key) in open) ? $0 : substr($0, 1, at) " \"x\""); next
 }
 /^[^ ]/ { raw = tolower($0) ~ /^["\047]?entrypoints["\047]?:/ }
 raw { print "in\t" name "\t" $0; next }
 match($0, /^ *(- +)*["\047]?[A-Za-z0-9_.@\/-]+["\047]?:( |$)/) {
  head = substr($0, 1, RLENGTH); rest = substr($0, RLENGTH + 1); key = head
  gsub(/^ *(- +)*/, "", key); gsub(/[ "\047:]/, "", key); sub(/^ +/, "", rest)
  if (rest == "" || tolower(key) in open || rest ~ /^(\{ *\}|true|false) *$/) print "in\t" name "\t" $0
  else print "in\t" name "\t" head " x"
  next
 }
 /^ *(- +)+["\047]?[A-Za-z0-9_-]+["\047]? *$/ { print "in\t" name "\t" $0; next }
 match($0, /^ *(- +)+/) { print "in\t" name "\t" substr($0, 1, RLENGTH) "x" }
 ' <"$1"
}
present=$static
if [ -e "$tree/current" ]; then echo ours; present=$tree/replaced$static; fi
for file in "$present" "${static%.*}.yaml" "${static%.*}.toml"; do
 [ -f "$file" ] || continue
 printf 'static\t%s\t-\t-\n' "$file"
 told "$file" "$file"
 break
done
for file in "$dynamic"/*.yml "$dynamic"/*.yaml "$dynamic"/*.toml; do
 [ -f "$file" ] || continue
 case $(readlink "$file") in "${tree%/*}"/*) continue ;; esac
 case ${file##*/} in phoenix.yml | admission.yml) continue ;; esac # Phoenix's, also where a person has edited it
 case $file in *"$t"*) continue ;; esac
 printf 'file\t%s\t%s\n' "$file" "$(stat -L -c '%a	%G' "$file")"
 told "$file" "$file"
done
:
