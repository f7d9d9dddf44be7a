# Probes for deploys/verify.py. Called as `sh -c PROBES probe TAB-SEPARATED-CHECK...`; each check is
# a function below and its arguments. Up to $most of them run at once. Prints "NUMBER<tab>FAULT" for
# each in order, the fault empty when all is well; a check that did not come to its end is a fault.
# Every probe has a deadline, says what it saw, and changes nothing.
# What several checks look at (a TLS session, the answers of DNS, ...) is asked for once: `once`.
export LC_ALL=C

most=32
again=  # set when a check is made for the second time: it then asks by itself
tab=$(printf '\t')
newline='
'

once() { # KEY COMMAND...: prints what the command prints, which is run for the first one who asks
    key=$work/shared.$1
    shift
    if [ -n "$again" ]; then "$@" 2>&1; return; fi
    [ -e "$key.ended" ] || (
        flock 8 || exit 1
        [ -e "$key.ended" ] || { "$@" >"$key" 2>&1; echo "$?" >"$key.ended"; }
    ) 8>"$key.lock"
    cat "$key" && read -r ended <"$key.ended" && return "$ended"
}

words_of() { # PROBE: what follows its name in all checks that were asked for, a line each
    rest=$asked
    while [ -n "$rest" ]; do
        line=${rest%%"$newline"*} rest=${rest#*"$newline"}
        case "$line" in "$1$tab"*) printf '%s\n' "${line#*"$tab"}" ;; esac
    done
}

unit_runs() { # UNIT: active, and not masked, or it would be gone after the next reboot
    shown=$(systemctl show -p LoadState -p ActiveState "$1")
    state=${shown##*ActiveState=} state=${state%%[!a-z]*}
    case "$shown" in *LoadState=masked*) state="masked and $state" ;; esac
    [ "$state" = active ] || { echo "is $state:"; journalctl -q --no-pager -n 2 -o cat -u "$1" 2>&1; }
}

look_up() { # NAME...: "NAME STATUS ADDRESS..." of each that the name server answers about
    set -- $(printf '%s A ' "$@")
    timeout 20 dig +noall +comments +question +answer +time=2 +tries=2 "$@" 2>&1 | awk '
        function tell() { if (name != "") print name, status, found; name = found = "" }
        /status: / { tell(); status = $0; sub(/.*status: /, "", status); sub(/,.*/, "", status) }
        /^;[^; ]/ { name = tolower(substr($1, 2)); sub(/\.$/, "", name) }
        /^[^;]/ && $4 == "A" { found = found (found == "" ? "" : " ") $5 }
        END { tell() }'
}

all_names() { # every name that a check of this run asks about
    words_of names_resolve | tr '\t' '\n' | sed 's/=.*//'
    words_of name_is_unknown
}

looked_up() { # NAME...
    if [ -n "$again" ]; then look_up "$@"; else once names look_up $(all_names); fi
}

names_resolve() { # NAME=ADDRESS...
    wanted=$*
    set -- $(printf '%s ' "$@" | sed 's/=[^ ]*//g')
    answers=$(looked_up "$@")
    # What programs see before DNS; 127.0.1.1 is Debian's way to give a host its own name.
    printf '%s\n' "$answers" | awk -v wanted="$wanted" '
        BEGIN { count = split(wanted, pairs, " ")
            for (i = 1; i <= count; i++) { at = index(pairs[i], "=")
                names[i] = substr(pairs[i], 1, at - 1); want[names[i]] = substr(pairs[i], at + 1) } }
        FILENAME == "-" { name = $1; sub(/^[^ ]* [^ ]* ?/, ""); got[name] = $0; next }
        { sub(/#.*/, ""); split($0, w, " ")
            for (i = 2; i in w; i++) if (w[i] in want && w[1] != want[w[i]] && w[1] != "127.0.1.1")
                hosts = hosts w[i] " is " w[1] " in /etc/hosts, not " want[w[i]] ";\n" }
        END { for (i = 1; i <= count; i++) { name = names[i]
                if (got[tolower(name)] != want[name])
                    print name " is " (got[tolower(name)] == "" ? "unknown" : got[tolower(name)]) \
                        " here, not " want[name] ";" }
            printf "%s", hosts }' - /etc/hosts
}

name_is_unknown() {
    got=$(looked_up "$1" | awk -v n="$1" '$1 == tolower(n)')
    case "$got" in
    "$1 NXDOMAIN "* | "$1 NXDOMAIN" | "$1 NOERROR " | "$1 NOERROR") ;;
    '') echo "the name server gives no answer about $1" ;;
    *) echo "$1 is ${got#* }; nobody declared it" ;;
    esac
}

port_answers() { # ADDRESS PORT
    if [ -z "$again" ]; then  # a TLS session with it is asked for all the same
        name=$(words_of tls_verifies | sed -n "s/^$1$tab$2$tab\([^$tab]*\).*/\1/p" | head -n 1)
        [ -z "$name" ] || case "$(session "$1" "$2" "$name")" in *CONNECTED*) return ;; esac
    fi
    timeout 5 bash -c ": </dev/tcp/$1/$2" 2>/dev/null ||
        echo "$1 port $2 does not answer: is the service running, does a firewall stand between?"
}

s_client() { # ADDRESS PORT NAME [options]: one TLS session that sends nothing
    address=$1 port=$2 name=$3
    shift 3
    timeout 8 openssl s_client -connect "$address:$port" -servername "$name" "$@" </dev/null 2>&1
}

session() { # ADDRESS PORT NAME: what a client of the site's root sees
    once "tls.$1.$2.$3" s_client "$1" "$2" "$3" -verify_hostname "$3" -no-CApath -no-CAstore \
        -CAfile "$root"
}

tls_verifies() { # ADDRESS PORT NAME ROOT: chain to the root, and the name
    root=$4
    said=$(session "$1" "$2" "$3")
    case "$said" in *'Verify return code: 0 (ok)'*) return ;; esac
    why=$(printf '%s\n' "$said" | awk '/^depth=/ {at = $0} sub(/^verify error:num=[0-9]*:/, "") {
        print $0 (at ~ /^depth=[1-9]/ ? " (" at ")" : ""); exit}')
    serves=$(printf '%s\n' "$said" | sed -n 's/^ *0 s:/subject /p' | head -n 1)
    names=$(printf '%s\n' "$said" | openssl x509 -noout -ext subjectAltName 2>/dev/null | tail -n 1)
    echo "$1 port $2 does not prove to be $3: ${why:-no TLS session}; serves ${serves:-nothing} $names"
}

lifetime() { # reads "notBefore=..." and "notAfter=..."; sets start and end, in seconds since 1970
    set -- $(sed -n 's/^not[A-Z][a-z]*=//p' | date -f - +%s)
    start=${1:-0} end=${2:-0}
}

leaf() { # ADDRESS PORT NAME: serial number and dates of what is served
    session "$@" | openssl x509 -noout -serial -startdate -enddate 2>/dev/null
}

served_is_fresh() { # ADDRESS PORT NAME: at least a tenth of its life left, so renewal works
    # Where there is no session, tls_verifies says so.
    said=$(once "leaf.$1.$2.$3" leaf "$@") || return
    lifetime <<EOT
$said
EOT
    left=$((end - $(date +%s)))
    if [ "$left" -le 0 ]; then
        echo "the certificate that $1 port $2 serves for $3 has expired: $(date -u -d "@$end" '+%F %H:%M UTC')"
    elif [ $((left * 10)) -le $((end - start)) ]; then
        echo "the certificate for $3 ends in $((left / 60)) minutes of $(((end - start) / 60)): it is not being renewed"
    fi
}

keys_are_private() {
    open=$(find "$1" -type f -perm /077 | head -n 1)
    [ -z "$open" ] || echo "$open can be read by others"
}

pair_fits() { # PAIR NAME...: key and certificate belong together, and carry exactly these names
    pair=$1
    shift
    said=$(openssl x509 -in "$pair/fullchain.pem" -noout -pubkey -startdate -enddate \
        -ext subjectAltName 2>/dev/null)
    cert=$(printf '%s\n' "$said" | sed -n '/^-----BEGIN/,/^-----END/p')
    [ -n "$cert" ] || { echo "$pair/fullchain.pem is missing or no certificate"; return; }
    [ "$cert" = "$(openssl pkey -in "$pair/privkey.pem" -pubout 2>/dev/null)" ] ||
        { echo "$pair/privkey.pem is not the key of the certificate"; return; }
    have=$(printf '%s\n' "$said" | grep -A 1 '^X509v3 Subject Alternative Name' | sed 1d | tr -d ' ' |
        tr , '\n' | sed 's/^[^:]*://' | sort)
    [ "$have" = "$(printf '%s\n' "$@" | sort)" ] ||
        { echo "the certificate is for $(echo $have), not $*"; return; }
    lifetime <<EOT
$said
EOT
    [ "$end" -gt "$(date +%s)" ] || {
        unit=phoenix-acme@${pair##*/}.service
        why=
        [ "$(systemctl show -P Result "$unit")" = success ] ||
            why="; its renewal failed: $(journalctl -q --no-pager -n 1 -o cat -u "$unit" -t phoenix-acme)"
        echo "the certificate has expired: $(date -u -d "@$end" '+%F %H:%M UTC')$why"
    }
}

pair_is_served() { # PAIR ADDRESS PORT NAME: the service has loaded what is on disk
    file=$(openssl x509 -in "$1/fullchain.pem" -noout -serial 2>/dev/null)
    shift
    served=$(once "leaf.$1.$2.$3" leaf "$@") || return
    served=${served%%"$newline"*}
    [ "$file" = "$served" ] || echo "port $2 serves ${served:-nothing}, the file is ${file:-missing}"
}

router_is_enabled() { # URL
    if [ -n "$again" ]; then said=$(curl -sS --max-time 5 "$1" 2>&1); else
        said=$(once routers routers $(words_of router_is_enabled) | sed -n "s|^$1$tab||p")
    fi
    case "$said" in
    *'"status":"enabled"'*) ;;
    *'404 page not found'* | '') echo "Traefik does not have this router" ;;
    *) echo "$said" | grep -o '"error":\[[^]]*\]' || echo "$said" | cut -c 1-200 ;;
    esac
}

routers() { # URL...: "URL<tab>ANSWER" of each
    timeout 20 curl -sS --max-time 5 -w '\n%{url}\n' "$@" 2>&1 | awk -v OFS="$tab" '
        /^http:/ { print $0, answer; answer = ""; next } { answer = answer $0 }'
}

request_gives() { # STATUS URL ROOT
    if [ -z "$again" ]; then
        said=$(once requests requests $(words_of request_gives | cut -f 2) | sed -n "s|^\([0-9]*\) $2\$|\1|p")
        [ "$said" != "$1" ] || return
    fi
    said=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 15 --cacert "$3" "$2" 2>&1)
    [ "$said" = "$1" ] || echo "gives $said, not $1"
}

requests() { # URL...: "STATUS URL" of each; what fails is asked again by its own check
    for url; do
        shift
        set -- "$@" -o /dev/null "$url"
    done
    curl -sZ --parallel-max 50 -w '%{http_code} %{url}\n' --max-time 15 --cacert "$root" "$@" 2>/dev/null
}

name_is_rejected() { # ADDRESS NAME
    if curl -sk -o /dev/null --max-time 5 --resolve "$2:443:$1" "https://$2/"; then
        echo "the gateway answers for $2, which nobody declared"
    fi
}

docker_has_no_port() {
    open=$(ss -Hltn 'sport = :2375 or sport = :2376')
    [ -z "$open" ] || echo "Docker listens on the network: $open"
}

port_is_shut() { # ADDRESS PORT: closed to this host, which has no business there
    if timeout 3 bash -c ": </dev/tcp/$1/$2" 2>/dev/null; then echo "$1 port $2 is open to this host"; fi
}

agent_pings() { # the agent's certificate is its own; a ping tells that an agent it is
    headers=$(curl -sSk -o /dev/null -D - --max-time 5 "$1/ping" 2>&1)
    case "$headers" in *[Pp]ortainer-[Aa]gent:*) ;; *) echo "no agent answers at $1: $headers" ;; esac
}

api() { # URL ROOT KEYFILE PATH
    curl -sS --fail-with-body --max-time 10 --cacert "$2" -H "@$3" "$1$4" 2>&1
}

portainer_knows_us() { # URL ROOT KEYFILE
    said=$(api "$1" "$2" "$3" /users/me) || echo "the API key is refused: $(echo "$said" | cut -c 1-200)"
}

endpoint_id() { # URL ROOT KEYFILE NAME
    once endpoints api "$1" "$2" "$3" '/endpoints?excludeSnapshots=true' |
        jq -r --arg n "$4" '.[] | select(.Name == $n) | .Id'
}

endpoint_is_up() { # URL ROOT KEYFILE NAME: by asking the Docker behind it; its Status is stale
    id=$(endpoint_id "$1" "$2" "$3" "$4" 2>&1)
    case "$id" in '' | *[!0-9]*) echo "Portainer has no endpoint $4 $id"; return ;; esac
    said=$(api "$1" "$2" "$3" "/endpoints/$id/docker/_ping") || echo "the Docker behind it does not answer: $said"
}

stack_is_active() { # URL ROOT KEYFILE ENDPOINT STACK
    id=$(endpoint_id "$1" "$2" "$3" "$4" 2>&1)
    status=$(once stacks api "$1" "$2" "$3" /stacks | jq -r --arg n "$5" --argjson e "${id:-0}" \
        '.[] | select(.Name == $n and .EndpointId == $e) | .Status' 2>&1)
    [ "$status" = 1 ] || echo "is ${status:-not there} (1 is active, 2 stopped, 3 deploying, 4 failed)"
}

containers_are_well() { # PROJECT
    all=$(once containers docker ps -a --filter label=com.docker.compose.project \
        --format '{{.Label "com.docker.compose.project"}} {{.Names}} {{.State}} {{.Status}}') ||
        { printf '%s\n' "$all" | head -n 3; return; }
    all=$(printf '%s\n' "$all" | sed -n "s/^$1 //p")
    [ -n "$all" ] || { echo "there are none"; return; }
    printf '%s\n' "$all" | awk '$2 != "running" || /unhealthy/' | head -n 3
}

make() { # NUMBER CHECK: its words in, "what it said" and a last line "." out: without it nobody knows
    number=$1
    set -f
    IFS=$tab
    set -- $2
    unset IFS
    set +f
    { "$@"; echo .; } >"$work/$number" 2>&1
    read -r first <"$work/$number"
    [ "$first" != . ] || return
    # A busy machine misses a deadline now and then: a fault counts when it is seen twice.
    sleep 1
    again=1
    { "$@"; echo .; } >"$work/$number" 2>&1
}

tell() { # NUMBER
    first=
    [ ! -e "$work/$1" ] || read -r first <"$work/$1"
    if [ "$first" = . ]; then printf '%s\t\n' "$1"; return; fi
    said=$(tr '\n\t' '  ' <"$work/$1" 2>/dev/null)
    case "$said" in
    *' . ') said=${said%. } ;;
    *) said="this check did not come to its end (is /tmp full, or memory?): $said" ;;
    esac
    printf '%s\t%s\n' "$1" "$(printf '%s' "$said" | cut -c 1-500 | sed 's/ *$//')"
}

# /run is in memory: a full disk makes no check impossible.
work=$(mktemp -d -p /run phoenix-probe.XXXXXX 2>/dev/null) || work=$(mktemp -d) || {
    number=0
    for check; do
        printf '%s\t%s\n' "$number" "this check was not made: no file can be made in /run or /tmp"
        number=$((number + 1))
    done
    exit 0
}
trap 'rm -rf "$work"' EXIT
asked=
for check; do asked=$asked$check$newline; done
root=$(words_of tls_verifies | head -n 1)
root=${root##*"$tab"}
mkfifo "$work/turns" && exec 3<>"$work/turns" || exit 1
turn=0
while [ "$turn" -lt "$most" ]; do echo >&3; turn=$((turn + 1)); done
number=0
for check; do
    read -r turn <&3
    { (make "$number" "$check"); echo >&3; } &
    number=$((number + 1))
done
wait
turn=0
while [ "$turn" -lt "$number" ]; do tell "$turn"; turn=$((turn + 1)); done
