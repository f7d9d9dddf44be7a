# Make a new swarm with this host as its only node: init ADDRESS PORT AVAILABILITY SUBNET-SIZE POOL...
# Docker's output has a token in it, so it is discarded.
address=$1 port=$2 availability=$3 size=$4
shift 4
for pool; do
    shift
    set -- "$@" --default-addr-pool "$pool"
done
said=$(docker swarm init --advertise-addr "$address" --data-path-addr "$address" \
    --listen-addr "$address:$port" --availability "$availability" \
    --default-addr-pool-mask-length "$size" "$@" 2>&1 >/dev/null) ||
    { printf '%s\n' "$said" >&2; exit 1; }
