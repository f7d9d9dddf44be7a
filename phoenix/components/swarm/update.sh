# Change a node, on a manager: update NODE ROLE ARGUMENT...; an empty ROLE keeps the role.
# A change of role is done when the list of managers shows it.
node=$1 role=$2
shift 2
if [ $# -gt 0 ]; then docker node update "$@" "$node" >/dev/null || exit 1; fi
[ -n "$role" ] || exit 0
docker node update --role "$role" "$node" >/dev/null || exit 1
for second in $(seq 60); do
    is=$(docker node inspect --format '{{with .ManagerStatus}}{{.Reachability}}{{end}}' "$node" 2>&1)
    case $role-$is in manager-reachable | worker-) exit 0 ;; esac
    sleep 1
done
echo "it has not become a $role within a minute: $is" >&2
exit 1
