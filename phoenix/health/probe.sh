# Probes for deploys/verify.py. Called as `sh -c PROBES probe TAB-SEPARATED-CHECK...`; each check is
# a function below and its arguments. All run at once; prints "NUMBER<tab>FAULT" for each, the fault
# empty when all is well. Every probe has a deadline, says what it saw, and changes nothing.
export LC_ALL=C

unit_runs() { # UNIT: active, and not masked, or it would be gone after the next reboot
    shown=$(systemctl show -p LoadState -p ActiveState "$1")
    state=${shown##*ActiveState=} state=${state%%[!a-z]*}
    case "$shown" in *LoadState=masked*) state="masked and $state" ;; esac
    [ "$state" = active ] || { echo "is $state:"; journalctl -q --no-pager -n 2 -o cat -u "$1" 2>&1; }
}

names_resolve() {
    answers=$(dig +noall +answer +time=2 +tries=2 $(printf '%s A ' "$@" | sed 's/=[^ ]*//g') 2>&1)
    for want; do
        name=${want%%=*} address=${want#*=}
        got=$(printf '%s\n' "$answers" | awk -v n="$name." 'tolower($1) == n && $4 == "A" {print $5}')
        [ "$got" = "$address" ] || echo "$name is ${got:-unknown} here, not $address;"
    done
    # What programs see before DNS; 127.0.1.1 is Debian's way to give a host its own name.
    printf '%s\n' "$@" | awk -F= 'NR == FNR {want[$1] = $2; next} {sub(/#.*/, ""); split($0, w, " ")
        for (i = 2; i in w; i++) if (w[i] in want && w[1] != want[w[i]] && w[1] != "127.0.1.1")
            print w[i], "is", w[1], "in /etc/hosts, not", want[w[i]] ";"}' - /etc/hosts
}

name_is_unknown() {
    got=$(dig +short +time=2 +tries=2 "$1" A 2>&1)
    [ -z "$got" ] || echo "$1 is $got; nobody declared it"
}

port_answers() {
    timeout 5 bash -c ": </dev/tcp/$1/$2" 2>/dev/null ||
        echo "$1 port $2 does not answer: is the service running, does a firewall stand between?"
}

session() { # ADDRESS PORT NAME [options]: one TLS session that sends nothing
    address=$1 port=$2 name=$3
    shift 3
    timeout 8 openssl s_client -connect "$address:$port" -servername "$name" "$@" </dev/null 2>&1
}

tls_verifies() { # ADDRESS PORT NAME ROOT: chain to the root, and the name
    said=$(session "$1" "$2" "$3" -verify_hostname "$3" -verify_return_error -no-CApath \
        -no-CAstore -CAfile "$4") && return
    why=$(printf '%s\n' "$said" | awk '/^depth=/ {at = $0} sub(/^verify error:num=[0-9]*:/, "") {
        print $0 (at ~ /^depth=[1-9]/ ? " (" at ")" : ""); exit}')
    serves=$(printf '%s\n' "$said" | sed -n 's/^ *0 s:/subject /p' | head -n 1)
    names=$(session "$1" "$2" "$3" | openssl x509 -noout -ext subjectAltName 2>/dev/null | tail -n 1)
    echo "$1 port $2 does not prove to be $3: ${why:-no TLS session}; serves ${serves:-nothing} $names"
}

lifetime() { # PEM: sets start and end, in seconds since 1970
    start=$(date -d "$(printf '%s' "$1" | openssl x509 -noout -startdate | cut -d= -f2)" +%s)
    end=$(date -d "$(printf '%s' "$1" | openssl x509 -noout -enddate | cut -d= -f2)" +%s)
}

served_is_fresh() { # ADDRESS PORT NAME: at least a tenth of its life left, so renewal works
    # Where there is no session, tls_verifies says so.
    pem=$(session "$1" "$2" "$3" | openssl x509 2>/dev/null) || return
    lifetime "$pem"
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
    cert=$(openssl x509 -in "$pair/fullchain.pem" -noout -pubkey 2>/dev/null)
    [ -n "$cert" ] || { echo "$pair/fullchain.pem is missing or no certificate"; return; }
    [ "$cert" = "$(openssl pkey -in "$pair/privkey.pem" -pubout 2>/dev/null)" ] ||
        { echo "$pair/privkey.pem is not the key of the certificate"; return; }
    have=$(openssl x509 -in "$pair/fullchain.pem" -noout -ext subjectAltName | sed 1d | tr -d ' ' |
        tr , '\n' | sed 's/^[^:]*://' | sort)
    [ "$have" = "$(printf '%s\n' "$@" | sort)" ] ||
        { echo "the certificate is for $(echo $have), not $*"; return; }
    lifetime "$(cat "$pair/fullchain.pem")"
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
    served=$(session "$2" "$3" "$4" | openssl x509 -noout -serial 2>/dev/null) || return
    [ "$file" = "$served" ] || echo "port $3 serves ${served:-nothing}, the file is ${file:-missing}"
}

router_is_enabled() {
    said=$(curl -sS --max-time 5 "$1" 2>&1)
    case "$said" in
    *'"status":"enabled"'*) ;;
    *'404 page not found'* | '') echo "Traefik does not have this router" ;;
    *) echo "$said" | grep -o '"error":\[[^]]*\]' || echo "$said" | cut -c 1-200 ;;
    esac
}

request_gives() { # STATUS URL ROOT
    said=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 15 --cacert "$3" "$2" 2>&1)
    [ "$said" = "$1" ] || echo "gives $said, not $1"
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
    api "$1" "$2" "$3" '/endpoints?excludeSnapshots=true' | jq -r --arg n "$4" '.[] | select(.Name == $n) | .Id'
}

endpoint_is_up() { # URL ROOT KEYFILE NAME: by asking the Docker behind it; its Status is stale
    id=$(endpoint_id "$1" "$2" "$3" "$4" 2>&1)
    case "$id" in '' | *[!0-9]*) echo "Portainer has no endpoint $4 $id"; return ;; esac
    said=$(api "$1" "$2" "$3" "/endpoints/$id/docker/_ping") || echo "the Docker behind it does not answer: $said"
}

stack_is_active() { # URL ROOT KEYFILE ENDPOINT STACK
    id=$(endpoint_id "$1" "$2" "$3" "$4" 2>&1)
    status=$(api "$1" "$2" "$3" /stacks | jq -r --arg n "$5" --argjson e "${id:-0}" \
        '.[] | select(.Name == $n and .EndpointId == $e) | .Status' 2>&1)
    [ "$status" = 1 ] || echo "is ${status:-not there} (1 is active, 2 stopped, 3 deploying, 4 failed)"
}

containers_are_well() { # PROJECT
    all=$(docker ps -a --filter "label=com.docker.compose.project=$1" --format '{{.Names}} {{.State}} {{.Status}}')
    [ -n "$all" ] || { echo "there are none"; return; }
    printf '%s\n' "$all" | awk '$2 != "running" || /unhealthy/' | head -n 3
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0
for check; do
    (
        IFS=$(printf '\t')
        set -f
        set -- $check
        unset IFS
        "$@" >"$work/$number" 2>&1
        # A busy machine misses a deadline now and then: a fault counts when it is seen twice.
        if [ -s "$work/$number" ]; then
            sleep 1
            "$@" >"$work/$number" 2>&1
        fi
    ) &
    number=$((number + 1))
done
wait
seq 0 $((number - 1)) | while read -r one; do
    printf '%s\t%s\n' "$one" "$(tr '\n\t' '  ' <"$work/$one" | cut -c 1-500 | sed 's/ *$//')"
done
