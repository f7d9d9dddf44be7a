# Make an overlay network of the swarm: network NAME LABEL ENCRYPTED ATTACHABLE SUBNET [ID]; "yes" or empty; ID:
# the network of this name to remove first, since Docker cannot change a network.
name=$1 label=$2 encrypted=$3 attachable=$4 subnet=$5 former=$6
if [ -n "$former" ]; then docker network rm "$former" >/dev/null || exit 1; fi
set -- --driver overlay --label "$label"
[ -z "$encrypted" ] || set -- "$@" --opt encrypted
[ -z "$attachable" ] || set -- "$@" --attachable
[ -z "$subnet" ] || set -- "$@" --subnet "$subnet"
for second in $(seq 20); do
    # The managers forget a removed network a moment later.
    said=$(docker network create "$@" "$name" 2>&1 >/dev/null) && exit 0
    case $said in *'already exists'*) sleep 1 ;; *) break ;; esac
done
printf '%s\n' "$said" >&2
exit 1
