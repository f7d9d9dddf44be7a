# Restore a backup's CA. Runs as
#   sh -c SCRIPT restore-ca DIRECTORY UNIT SHA256 PREVIOUS
# with the part, base64 of tar.gz with that digest, on standard input. It is unpacked and verified
# beside DIRECTORY, and renamed into place in one step. A former DIRECTORY is moved to PREVIOUS; if
# PREVIOUS is empty, it is not replaced.
set -eu
umask 077
directory=$1 unit=$2 sha=$3 previous=$4
die() { echo "phoenix: $*" >&2; exit 3; }
if [ -e "$directory" ] && [ -z "$previous" ]; then
    die "$directory exists already; nothing was changed"
fi
disk=${PHOENIX_DISK:-/var/tmp}
rm -f "$disk/phoenix-restore-$unit".?????? # left by a killed restore
part=$(mktemp "$disk/phoenix-restore-$unit.XXXXXX")
new=
trap 'rm -rf "$part" "$new"' EXIT
trap '' HUP INT PIPE # the run that started this script may die; the script finishes
base64 -d >"$part"
[ "$(sha256sum <"$part" | cut -d' ' -f1)" = "$sha" ] || die "the part arrived damaged; run again"
id step >/dev/null 2>&1 || # as step_ca/init.sh does
    useradd --system --user-group --home-dir "$directory" --no-create-home --shell /usr/sbin/nologin step
rm -rf "$directory".restore.*
new=$(mktemp -d "$directory.restore.XXXXXX")
tar -C "$new" -xpzf "$part" # owners by name: user ids may differ here
chmod 755 "$new"
chown root:root "$new/secrets/password" # as in step_ca/init.sh; an older backup has another owner
printf '%s\n' "$sha" >"$new/restored"
chmod 644 "$new/restored"
openssl verify -no-CApath -no-CAstore -CAfile "$new/certs/root_ca.crt" "$new/certs/intermediate_ca.crt" >/dev/null
openssl pkey -in "$new/secrets/intermediate_ca_key" -passin "file:$new/secrets/password" -noout
sync
if [ -e "$directory" ]; then
    systemctl stop "$unit" 2>/dev/null || true
    mv -T "$directory" "$previous"
fi
mv -T "$new" "$directory"
