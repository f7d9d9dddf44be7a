# A node that has left, off the managers' list: forget NODE LEFT; an empty LEFT: it cannot leave by
# itself, and is taken out though it seems to be there.
node=$1
for second in $(seq 40); do
    [ -n "$2" ] || { docker node rm --force "$node" >/dev/null; exit; }
    # Docker refuses one that is not down yet, which takes some heartbeats.
    said=$(docker node rm "$node" 2>&1 >/dev/null) && exit 0
    sleep 1
done
printf '%s\n' "$said" >&2
exit 1
