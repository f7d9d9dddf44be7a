# Join a swarm: join ADDRESS PORT AVAILABILITY MANAGER...; standard input is the token.
# Docker's client would have the token in its arguments, which all users of the host see; the API takes
# it in a request's body (POST /swarm/join). `read` and `printf` are the shell's own.
address=$1 port=$2 availability=$3
shift 3
# An earlier try reached no manager: the host is in no swarm, but Docker refuses a second try.
case $(docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.NodeID}}' 2>/dev/null) in
'error ' | 'pending ') docker swarm leave --force >/dev/null || exit 1 ;;
esac
IFS= read -r token && [ -n "$token" ] || { echo "no manager of the swarm gave a token" >&2; exit 1; }
managers=$(printf ',"%s"' "$@")
said=$(printf '{"ListenAddr":"%s","AdvertiseAddr":"%s","DataPathAddr":"%s","Availability":"%s","RemoteAddrs":[%s],"JoinToken":"%s"}' \
    "$address:$port" "$address" "$address" "$availability" "${managers#,}" "$token" |
    curl -sS --max-time 60 --unix-socket /var/run/docker.sock -H 'Content-Type: application/json' \
        --data-binary @- -w '\n%{http_code}' http://docker/swarm/join 2>&1)
# If Docker answers before the swarm does, it keeps trying.
for second in $(seq 60); do
    case $(docker info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null) in
    active) exit 0 ;;
    pending) sleep 1 ;;
    *) break ;;
    esac
done
printf 'it does not join: %s\n' "$(printf '%s' "$said" | tr '\n' ' ')" >&2
exit 1
