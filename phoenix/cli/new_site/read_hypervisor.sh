# Prints what a Proxmox VE host knows of itself and its guests; reads only. A line "@@ NAME" begins each part.
set -u
export LC_ALL=C
command -v pvesh >/dev/null || { echo "@@ none"; exit 0; }
node=$(uname -n)
node=${node%%.*}
part() { printf '\n@@ %s\n' "$*"; }
part node
echo "$node"
part domain
hostname -d 2>/dev/null
part timezone
cat /etc/timezone 2>/dev/null || timedatectl show -p Timezone --value 2>/dev/null
part routes
ip -4 -json route show default
part addresses
ip -4 -json address
for kind in lxc qemu; do
    part "guests $kind"
    list=$(pvesh get "/nodes/$node/$kind" --output-format json)
    echo "$list"
    for id in $(echo "$list" | grep -o '"vmid":"\{0,1\}[0-9]*' | tr -cd '0-9\n'); do
        part "config $kind $id"
        pvesh get "/nodes/$node/$kind/$id/config" --output-format json
        if [ "$kind" = lxc ] && pct status "$id" | grep -q running; then
            part "addresses $kind $id"
            timeout 10 pct exec "$id" -- ip -4 -json address </dev/null 2>/dev/null
            part "ports $kind $id"
            timeout 10 pct exec "$id" -- ss -Hltn </dev/null 2>/dev/null
        elif [ "$kind" = qemu ] && qm status "$id" | grep -q running; then
            part "agent $kind $id"
            timeout 10 qm guest cmd "$id" network-get-interfaces 2>/dev/null
            part "ports $kind $id"
            timeout 10 qm guest exec "$id" -- ss -Hltn 2>/dev/null |
                sed -n 's/.*"out-data" : "\(.*\)",\{0,1\}$/\1/p' | sed 's/\\n/\n/g'
        fi
    done
done
