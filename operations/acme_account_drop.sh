# Make Traefik register anew with the CA, its certificates kept. Runs as
#   sh -c SCRIPT acme-account-drop STORE UNIT
# STORE is acme.json as Traefik writes it: indented by two blanks a level, one key a line. Traefik
# reads it when it starts and writes what it has in memory, so it stands still meanwhile.
set -eu
umask 077
store=$1 unit=$2
new=$(mktemp "$store.XXXXXX")
trap 'rm -f "$new"; systemctl start "$unit"' EXIT
trap '' HUP INT PIPE
systemctl stop "$unit"
awk '/^    "Account": \{$/ { print "    \"Account\": null,"; skip = 1 }
    !skip { print }
    /^    \},?$/ { skip = 0 }' "$store" >"$new"
grep -q '^    "Account": null,$' "$new" && ! grep -q '"Registration"' "$new" || {
    echo "phoenix: $store is not as Traefik writes it; it was left alone" >&2
    exit 3
}
chown --reference="$store" "$new"
chmod --reference="$store" "$new"
mv -T "$new" "$store"
