# The checks of deploys/verify.py. Called as `sh -c CHECKS checks TAB-SEPARATED-CHECK...`. Each check is
# a function below and its arguments. Up to $parallel of them run at once. Prints "NUMBER<tab>FAULT"
# for each in order; the fault is empty when all is well. A check that does not finish is a fault.
# Every check has a deadline, says what it saw, and changes nothing.
# `once` shares what several checks need: a TLS session, the answers of DNS, and so on.
export LC_ALL=C

parallel=32
retry=  # set when a check runs for the second time: it then shares nothing with others
tab=$(printf '\t')
newline='
'

once() { # KEY COMMAND...: prints the output of the command, which runs once for all callers
    key=$work/shared.$1
    shift
    if [ -n "$retry" ]; then "$@" 2>&1; return; fi
    [ -e "$key.ended" ] || (
        flock 8 || exit 1
        [ -e "$key.ended" ] || { "$@" >"$key" 2>&1; echo "$?" >"$key.ended"; }
    ) 8>"$key.lock"
    cat "$key" && read -r ended <"$key.ended" && return "$ended"
}

words_of() { # FUNCTION: its arguments in each check of this run, a line each
    rest=$checks
    while [ -n "$rest" ]; do
        line=${rest%%"$newline"*} rest=${rest#*"$newline"}
        case "$line" in "$1$tab"*) printf '%s\n' "${line#*"$tab"}" ;; esac
    done
}

unit_runs() { # UNIT [FUNCTION WORD...]: active, and not masked, or it would be gone after a reboot
    if [ $# -gt 1 ]; then  # what it says itself of why it does not run comes first
        said=$(shift; "$@")
        [ -z "$said" ] || { printf '%s\n' "$said"; return; }
    fi
    properties=$(systemctl show -p LoadState -p ActiveState "$1")
    state=${properties##*ActiveState=} state=${state%%[!a-z]*}
    case "$properties" in *LoadState=masked*) state="masked and $state" ;; esac
    [ "$state" = active ] || { echo "is $state:"; journalctl -q --no-pager -n 2 -o cat -u "$1" 2>&1; }
}

ca_database_opens() { # DIRECTORY UNIT PORT
    fault=$(database_fault "$@")
    [ -z "$fault" ] || echo "cannot open its database: $fault"
}

look_up() { # NAME...: "NAME STATUS ADDRESS..." of each that the name server answers about
    set -- $(printf '%s A ' "$@")
    timeout 20 dig +noall +comments +question +answer +time=2 +tries=2 "$@" 2>&1 | awk '
        function flush() { if (name != "") print name, status, addresses; name = addresses = "" }
        /status: / { flush(); status = $0; sub(/.*status: /, "", status); sub(/,.*/, "", status) }
        /^;[^; ]/ { name = tolower(substr($1, 2)); sub(/\.$/, "", name) }
        /^[^;]/ && $4 == "A" { addresses = addresses (addresses == "" ? "" : " ") $5 }
        END { flush() }'
}

all_names() { # every name that a check of this run asks about
    words_of names_resolve | tr '\t' '\n' | sed 's/=.*//'
    words_of name_is_unknown
}

looked_up() { # NAME...
    if [ -n "$retry" ]; then look_up "$@"; else once names look_up $(all_names); fi
}

names_resolve() { # NAME=ADDRESS...
    expected=$*
    set -- $(printf '%s ' "$@" | sed 's/=[^ ]*//g')
    answers=$(looked_up "$@")
    # What programs see before DNS; 127.0.1.1 is Debian's way to give a host its own name.
    printf '%s\n' "$answers" | awk -v expected="$expected" '
        BEGIN { count = split(expected, pairs, " ")
            for (i = 1; i <= count; i++) { at = index(pairs[i], "=")
                names[i] = substr(pairs[i], 1, at - 1); address_of[names[i]] = substr(pairs[i], at + 1) } }
        FILENAME == "-" { name = $1; sub(/^[^ ]* [^ ]* ?/, ""); answered[name] = $0; next }
        { sub(/#.*/, ""); split($0, w, " ")
            for (i = 2; i in w; i++) if (w[i] in address_of && w[1] != address_of[w[i]] && w[1] != "127.0.1.1")
                hosts = hosts w[i] " is " w[1] " in /etc/hosts, not " address_of[w[i]] ";\n" }
        END { for (i = 1; i <= count; i++) { name = names[i]
                if (answered[tolower(name)] != address_of[name])
                    print name " is " (answered[tolower(name)] == "" ? "unknown" : answered[tolower(name)]) \
                        " here, not " address_of[name] ";" }
            printf "%s", hosts }' - /etc/hosts
}

name_is_unknown() {
    answer=$(looked_up "$1" | awk -v n="$1" '$1 == tolower(n)')
    case "$answer" in
    "$1 NXDOMAIN "* | "$1 NXDOMAIN" | "$1 NOERROR " | "$1 NOERROR") ;;
    '') echo "the name server gives no answer about $1" ;;
    *) echo "$1 is ${answer#* }; nobody declared it" ;;
    esac
}

port_answers() { # ADDRESS PORT
    if [ -z "$retry" ]; then  # a TLS session with it is asked for all the same
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
    output=$(session "$1" "$2" "$3")
    case "$output" in *'Verify return code: 0 (ok)'*) return ;; esac
    why=$(printf '%s\n' "$output" | awk '/^depth=/ {at = $0} sub(/^verify error:num=[0-9]*:/, "") {
        print $0 (at ~ /^depth=[1-9]/ ? " (" at ")" : ""); exit}')
    serves=$(printf '%s\n' "$output" | sed -n 's/^ *0 s:/subject /p' | head -n 1)
    names=$(printf '%s\n' "$output" | openssl x509 -noout -ext subjectAltName 2>/dev/null | tail -n 1)
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
    output=$(once "leaf.$1.$2.$3" leaf "$@") || return
    lifetime <<EOT
$output
EOT
    remaining=$((end - $(date +%s)))
    if [ "$remaining" -le 0 ]; then
        echo "the certificate that $1 port $2 serves for $3 has expired: $(date -u -d "@$end" '+%F %H:%M UTC')"
    elif [ $((remaining * 10)) -le $((end - start)) ]; then
        echo "the certificate for $3 ends in $((remaining / 60)) minutes of $(((end - start) / 60)): it is not being renewed"
    fi
}

keys_are_private() {
    open=$(find "$1" -type f -perm /077 | head -n 1)
    [ -z "$open" ] || echo "$open can be read by others"
}

pair_fits() { # PAIR NAME...: key and certificate belong together, and carry exactly these names
    pair=$1
    shift
    output=$(openssl x509 -in "$pair/fullchain.pem" -noout -pubkey -startdate -enddate \
        -ext subjectAltName 2>/dev/null)
    cert=$(printf '%s\n' "$output" | sed -n '/^-----BEGIN/,/^-----END/p')
    [ -n "$cert" ] || { echo "$pair/fullchain.pem is missing or no certificate"; return; }
    [ "$cert" = "$(openssl pkey -in "$pair/privkey.pem" -pubout 2>/dev/null)" ] ||
        { echo "$pair/privkey.pem is not the key of the certificate"; return; }
    names_in_it=$(printf '%s\n' "$output" | grep -A 1 '^X509v3 Subject Alternative Name' | sed 1d | tr -d ' ' |
        tr , '\n' | sed 's/^[^:]*://' | sort)
    [ "$names_in_it" = "$(printf '%s\n' "$@" | sort)" ] ||
        { echo "the certificate is for $(echo $names_in_it), not $*"; return; }
    lifetime <<EOT
$output
EOT
    ends=$(date -u -d "@$end" '+%F %H:%M UTC')
    # Of phoenix-acme: it is there from a failed try on, until one succeeds.
    failure=$(cat "${PHOENIX_ACME_VAR:-/var/lib/phoenix-acme}/${pair##*/}/failure" 2>/dev/null)
    if [ "$end" -le "$(date +%s)" ]; then
        echo "the certificate has expired: $ends${failure:+; its renewal failed: $failure}"
    elif [ -n "$failure" ]; then
        echo "the last renewal failed: $failure (the certificate ends $ends)"
    fi
}

pair_is_served() { # PAIR ADDRESS PORT NAME: the service has loaded what is on disk
    file=$(openssl x509 -in "$1/fullchain.pem" -noout -serial 2>/dev/null)
    shift
    served=$(once "leaf.$1.$2.$3" leaf "$@") || return
    served=${served%%"$newline"*}
    [ "$file" = "$served" ] || echo "port $2 serves ${served:-nothing}, the file is ${file:-missing}"
}

router_is_enabled() { # URL
    if [ -n "$retry" ]; then output=$(curl -sSg --max-time 5 "$1" 2>&1); else
        output=$(once routers routers $(words_of router_is_enabled) | sed -n "s|^$1$tab||p")
    fi
    case "$output" in
    *'"status":"enabled"'*) ;;
    *'404 page not found'* | '') echo "Traefik does not have this router" ;;
    *) echo "$output" | grep -o '"error":\[[^]]*\]' || echo "$output" | cut -c 1-200 ;;
    esac
}

routers() { # URL...: "URL<tab>ANSWER" of each
    timeout 20 curl -sSg --max-time 5 -w '\n%{url}\n' "$@" 2>&1 | awk -v OFS="$tab" '
        /^http:/ { print $0, answer; answer = ""; next } { answer = answer $0 }'
}

request_gives() { # STATUS URL ROOT
    if [ -z "$retry" ]; then
        output=$(once requests requests $(words_of request_gives | cut -f 2) | sed -n "s|^\([0-9]*\) $2\$|\1|p")
        [ "$output" != "$1" ] || return
    fi
    output=$(curl -sSg -o /dev/null -w '%{http_code}' --max-time 15 --cacert "$3" "$2" 2>&1)
    [ "$output" = "$1" ] || echo "gives $output, not $1"
}

requests() { # URL...: "STATUS URL" of each; the check of a failed one asks again
    for url; do
        shift
        set -- "$@" -o /dev/null "$url"
    done
    curl -sZg --parallel-max 50 -w '%{http_code} %{url}\n' --max-time 15 --cacert "$root" "$@" 2>/dev/null
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

agent_pings() { # the agent makes its own certificate, so only the header of a ping identifies it
    headers=$(curl -sSk -o /dev/null -D - --max-time 5 "$1/ping" 2>&1)
    case "$headers" in *[Pp]ortainer-[Aa]gent:*) ;; *) echo "no agent answers at $1: $headers" ;; esac
}

api() { # URL ROOT KEYFILE PATH
    curl -sS --fail-with-body --max-time 10 --cacert "$2" -H "@$3" "$1$4" 2>&1
}

portainer_knows_us() { # URL ROOT KEYFILE
    output=$(api "$1" "$2" "$3" /users/me) || echo "the API key is refused: $(echo "$output" | cut -c 1-200)"
}

endpoint_id() { # URL ROOT KEYFILE NAME
    once endpoints api "$1" "$2" "$3" '/endpoints?excludeSnapshots=true' |
        jq -r --arg n "$4" '.[] | select(.Name == $n) | .Id'
}

endpoint_is_up() { # URL ROOT KEYFILE NAME: by asking the Docker behind it; its Status is stale
    id=$(endpoint_id "$1" "$2" "$3" "$4" 2>&1)
    case "$id" in '' | *[!0-9]*) echo "Portainer has no endpoint $4 $id"; return ;; esac
    output=$(api "$1" "$2" "$3" "/endpoints/$id/docker/_ping") || echo "the Docker behind it does not answer: $output"
}

stack_is_active() { # URL ROOT KEYFILE ENDPOINT STACK
    id=$(endpoint_id "$1" "$2" "$3" "$4" 2>&1)
    status=$(once stacks api "$1" "$2" "$3" /stacks | jq -r --arg n "$5" --argjson e "${id:-0}" \
        '.[] | select(.Name == $n and .EndpointId == $e) | .Status' 2>&1)
    [ "$status" = 1 ] || echo "is ${status:-not there} (1 is active, 2 stopped, 3 deploying, 4 failed)"
}

containers_are_well() { # PROJECT SERVICE...: of those services a container may have ended with code 0
    all=$(once containers docker ps -a --filter label=com.docker.compose.project --format \
        '{{.Label "com.docker.compose.project"}} {{.Label "com.docker.compose.service"}} {{.Names}} {{.State}} {{.Status}}') ||
        { printf '%s\n' "$all" | head -n 3; return; }
    all=$(printf '%s\n' "$all" | sed -n "s/^$1 //p")
    [ -n "$all" ] || { echo "there are none"; return; }
    shift
    bad=$(printf '%s\n' "$all" | awk -v completing=" $* " '
        index(completing, " " $1 " ") && /^[^ ]+ [^ ]+ exited Exited \(0\)/ { next }
        $3 != "running" || /unhealthy/ { sub(/^[^ ]+ /, ""); print }')
    [ -z "$bad" ] || { printf '%s\n' "$bad" | head -n 3; return; }
    # Those alone that have not run for ten minutes: after that they are steady.
    young=$(printf '%s\n' "$all" | awk '/ running Up (Less|About a minute|[0-9]+ second|[0-9] minutes)/ { print $2 }')
    [ -z "$young" ] || restarts_are_over $young
}

# Which of them Docker started again, and do not run steadily since: for ten seconds, and where
# their runs so far were short for thrice as long. phoenix/portainer_api/models.py, `steady_after`.
restarts_are_over() { # CONTAINER...
    docker inspect --format '{{.Name}} {{.RestartCount}} {{.Created}} {{.State.StartedAt}}' "$@" 2>/dev/null |
        while read -r name restarts created started; do
            [ "$restarts" -gt 0 ] || continue
            created=$(date -d "$created" +%s) started=$(date -d "$started" +%s) || continue
            up=$(($(date +%s) - started)) each=$(((started - created) / restarts)) after=10
            if [ "$each" -le 600 ] && [ $((3 * each)) -gt 10 ]; then after=$((3 * each)); fi
            [ "$after" -le 600 ] || after=600
            [ "$up" -ge "$after" ] ||
                echo "${name#/} ends again and again: Docker has restarted it $restarts times, the last time $up s ago"
        done | head -n 3
}

run_check() { # NUMBER CHECK: writes its output, and "." as the last line when it has finished
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
    retry=1
    { "$@"; echo .; } >"$work/$number" 2>&1
}

print_fault() { # NUMBER: "NUMBER<tab>FAULT" of a check that ran
    first=
    [ ! -e "$work/$1" ] || read -r first <"$work/$1"
    if [ "$first" = . ]; then printf '%s\t\n' "$1"; return; fi
    output=$(tr '\n\t' '  ' <"$work/$1" 2>/dev/null)
    case "$output" in
    *' . ') output=${output%. } ;;
    *) output="this check did not finish (is /tmp or memory full?): $output" ;;
    esac
    printf '%s\t%s\n' "$1" "$(printf '%s' "$output" | cut -c 1-500 | sed 's/ *$//')"
}

# /run is in memory: a full disk makes no check impossible.
work=$(mktemp -d -p /run phoenix-checks.XXXXXX 2>/dev/null) || work=$(mktemp -d) || {
    number=0
    for check; do
        printf '%s\t%s\n' "$number" "this check was not run: no file can be created in /run or /tmp"
        number=$((number + 1))
    done
    exit 0
}
trap 'rm -rf "$work"' EXIT
checks=
for check; do checks=$checks$check$newline; done
root=$(words_of tls_verifies | head -n 1)
root=${root##*"$tab"}
mkfifo "$work/turns" && exec 3<>"$work/turns" || exit 1
turn=0
while [ "$turn" -lt "$parallel" ]; do echo >&3; turn=$((turn + 1)); done
number=0
for check; do
    read -r turn <&3
    { (run_check "$number" "$check"); echo >&3; } &
    number=$((number + 1))
done
wait
turn=0
while [ "$turn" -lt "$number" ]; do print_fault "$turn"; turn=$((turn + 1)); done
