# Lists the existing services in the places that Phoenix takes on this host. Runs as
#   sh -c SCRIPT existing-services TREES KIND:TREE:PORT,PORT ...
# A kind whose tree is in place is Phoenix's own by now, and is not looked at. What cannot be read (no ss, a
# Docker that hangs) is left out: the component that meets it then says so. Fields are separated by tabs:
#   listener  KIND PROTOCOL ADDRESS:PORT PROCESS UNIT CONTAINER IMAGE PROJECT
#   container KIND NAME IMAGE PROJECT STATE DATA
#   authority FOLDER ROOT INTERMEDIATE KEY ROOTKEY UNIT RUNNING     files of a step-ca; then, for each line of
#   root|signer FOLDER LINE                                         its certificates, PEM
#   routes    FILE READ NAME ... URL ...                            of a Traefik; READ where Phoenix's would read it
# The folder of Phoenix's own CA is one that holds the password of the keys.
trees=$1; shift; t=$(printf '\t'); wanted=
for one; do
 rest=${one#*:}
 [ -e "$trees/${rest%%:*}/current" ] || wanted="$wanted $one"
done
[ -n "$wanted" ] || exit 0
engine() { [ -S /var/run/docker.sock ] && command -v docker >/dev/null && timeout -k 2 15 docker "$@" 2>/dev/null; }
described() { # CONTAINER: its name, image and compose project
 engine inspect -f '{{.Name}}{{"\t"}}{{.Config.Image}}{{"\t"}}{{index .Config.Labels "com.docker.compose.project"}}' "$1" | sed 's#^/##'
}
whose() { # PROCESS PID PORT [CGROUP]: the unit, and the container's name, image and project
 # A unit of a user's own systemd is none that Phoenix could stop, whatever its name. Where there are several
 # hierarchies (cgroups(7)) some end above the unit.
 ends=$({ cat "/proc/$2/cgroup" 2>/dev/null || printf '%s\n' "${4:-}"; } | grep -v '/user\.slice/' | sed -n 's#.*/\([^/]*\)$#\1#p' | tr -d '\t')
 unit=$(printf '%s\n' "$ends" | grep '\.service$' | tail -n 1)
 id=$(printf '%s\n' "$ends" | sed -n 's/^\(docker-\)\{0,1\}\([0-9a-f]\{64\}\)\(\.scope\)\{0,1\}$/\2/p' | tail -n 1)
 case $1 in
 docker-proxy) unit='' id=$(engine ps -q --filter "publish=$3" | head -n 1) ;;
 *) [ -z "$unit" ] || id= ;;
 esac
 if [ -n "$id" ] && found=$(described "$id") && [ -n "$found" ]; then printf '\t%s' "$found"; else printf '%s\t\t\t' "$unit"; fi
}
named() { # FOLDER NAME DEFAULT: a file that config/ca.json names, as far as it is there or is no path
 said=$(cat "$1/config/ca.json" 2>/dev/null | tr -d '\n' | grep -o "\"$2\"[[:space:]]*:[[:space:]]*\[\{0,1\}[[:space:]]*\"[^\"]*\"" |
  head -n 1 | sed 's/.*"\([^"]*\)"$/\1/')
 case $said in *[!A-Za-z0-9._/:=\;@%+?\&-]*) said= ;; esac
 case $said in /*) [ -s "$said" ] || said=$1/$3 ;; '') said=$1/$3 ;; esac
 printf %s "$said"
}
authorities() {
 running=
 for process in /proc/[0-9]*; do
  [ "$(cat "$process/comm" 2>/dev/null)" = step-ca ] || continue
  said=$(tr '\0' '\n' <"$process/cmdline" | grep '^/[A-Za-z0-9._/-]*/config/[^/]*\.json$' | tail -n 1)
  running="$running${said%/config/*}$t$(whose step-ca "${process##*/}" 0 | cut -f 1)
"
 done
 folders=$(printf '%s' "$running" | cut -f 1)
 for folder in /root/.step /etc/step /etc/step-ca /opt/step /opt/step-ca /home/*/.step $folders; do
  [ ! -e "$folder/secrets/password" ] || [ "$folder" != /etc/step-ca ] || continue
  root=$(named "$folder" root certs/root_ca.crt) signer=$(named "$folder" crt certs/intermediate_ca.crt)
  [ -s "$root" ] && [ -s "$signer" ] || continue
  own=$(printf '%s' "$running" | awk -F "$t" -v folder="$folder" '$1 == folder { print; exit }')
  printf 'authority\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$folder" "$root" "$signer" \
   "$(named "$folder" key secrets/intermediate_ca_key)" "$folder/secrets/root_ca_key" \
   "$(printf %s "$own" | cut -f 2)" "${own:+running}"
  openssl x509 -in "$root" 2>/dev/null | while read -r line; do printf 'root\t%s\t%s\n' "$folder" "$line"; done
  openssl x509 -in "$signer" 2>/dev/null | while read -r line; do printf 'signer\t%s\t%s\n' "$folder" "$line"; done
 done | awk '!seen[$0]++'
}
routes() { # names and addresses alone: the rest of a file may hold passwords
 find /etc/traefik -type f \( -name '*.yml' -o -name '*.yaml' -o -name '*.toml' \) 2>/dev/null | grep -v "$t" |
 while read -r file; do
  read=; case $file in /etc/traefik/dynamic/*) read=read ;; esac
  names=$(grep -v '^[[:space:]]*#' "$file" | grep -o 'Host\(SNI\)\{0,1\}([^)]*)' | grep -o '`[A-Za-z0-9.*-]*`' | tr -d '`' | sort -u)
  urls=$(grep -v '^[[:space:]]*#' "$file" | sed 's#//[^/@[:space:]]*@#//#g' | grep -oE '(https?|h2c)://[A-Za-z0-9.:-]+' | sort -u)
  [ -n "$read$names" ] || continue
  printf 'routes\t%s\t%s' "$file" "$read"
  for each in $names $urls; do printf '\t%s' "$each"; done
  echo
 done
}
# Root in a container of Docker's may not see whose a socket is (CAP_SYS_PTRACE), but the socket's cgroup.
sockets=$(timeout -k 2 15 ss -Hltnup --cgroup 2>/dev/null || timeout -k 2 15 ss -Hltnup 2>/dev/null)
for one in $wanted; do
 kind=${one%%:*} ports=${one##*:}
 for port in $(printf %s "$ports" | tr ',' ' '); do
  printf '%s\n' "$sockets" | while read -r protocol _ _ _ end _ users; do
   case $end in *":$port") ;; *) continue ;; esac
   process=$(printf %s "$users" | sed -n 's/^users:(("\([^"]*\)".*/\1/p' | tr -d '\t')
   pid=$(printf %s "$users" | sed -n 's/^[^=]*pid=\([0-9]*\).*/\1/p')
   group=$(printf %s "$users" | sed -n 's/^.*cgroup:\(\/[^ ]*\).*/\1/p')
   printf 'listener\t%s\t%s\t%s\t%s\t%s\n' "$kind" "$protocol" "$end" "$process" "$(whose "$process" "${pid:-0}" "$port" "$group")"
  done
 done
 case $kind in
 ca) authorities; continue ;;
 traefik) routes; continue ;;
 portainer) images='portainer/portainer\(-ce\|-ee\)\{0,1\}' name=portainer ;;
 agent) images='portainer/agent' name=portainer_agent ;;
 *) continue ;;
 esac
 engine ps -a --format '{{.Names}} {{.Image}}' | while read -r named image; do
  case $named in *-before-phoenix) continue ;; esac # stopped and renamed by stop_existing.sh
  if [ "$named" != "$name" ]; then
   printf '%s\n' "$image" | grep -q "^\(.*/\)\{0,1\}$images\([:@].*\)\{0,1\}$" || continue
  fi
  found=$(described "$named")
  state=$(engine inspect -f '{{.State.Status}}{{"\t"}}{{range .Mounts}}{{if eq .Destination "/data"}}{{.Source}}{{end}}{{end}}' "$named")
  printf 'container\t%s\t%s\t%s\n' "$kind" "$found" "$state"
 done
done
:
