# Remove a node from the managers' list: forget NODE LEFT. LEFT is empty if the node cannot leave by
# itself: it is then removed although it seems to be there.
node=$1
for second in $(seq 40); do
    [ -n "$2" ] || { docker node rm --force "$node" >/dev/null; exit; }
    # Docker refuses a node that is not down yet, which takes some heartbeats.
    said=$(docker node rm "$node" 2>&1 >/dev/null) && exit 0
    sleep 1
done
printf '%s\n' "$said" >&2
exit 1
