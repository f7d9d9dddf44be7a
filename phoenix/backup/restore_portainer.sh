# Restore a backup's Portainer data into the volume. Runs as
#   sh -c SCRIPT restore-portainer VOLUME PROJECT UNIT SHA256 PREVIOUS
# with the part, base64 of tar.gz with that digest, on standard input. The volume's data are
# first copied to PREVIOUS; if PREVIOUS is empty, they are not replaced. The data are replaced by
# renames within the volume's own directory.
set -eu
umask 077
volume=$1 project=$2 unit=$3 sha=$4 previous=$5
die() { echo "phoenix: $*" >&2; exit 3; }
command -v docker >/dev/null || die "there is no Docker on this guest yet: run deploys/docker.py"
disk=${PHOENIX_DISK:-/var/tmp}
rm -f "$disk/phoenix-restore-$unit".?????? # left by a killed restore
part=$(mktemp "$disk/phoenix-restore-$unit.XXXXXX")
new= again=
trap '[ -z "$again" ] || systemctl start "$unit"; rm -rf "$part" "$new"' EXIT
trap '' HUP INT PIPE # the run that started this script may die; the script finishes
base64 -d >"$part"
[ "$(sha256sum <"$part" | cut -d' ' -f1)" = "$sha" ] || die "the part arrived damaged; run again"
# With the labels by which Compose recognises its own volume.
docker volume inspect "$volume" >/dev/null 2>&1 ||
    docker volume create --label "com.docker.compose.project=$project" \
        --label com.docker.compose.volume=data "$volume" >/dev/null
data=$(docker volume inspect -f '{{.Mountpoint}}' "$volume")
if [ -n "$(ls -A "$data" 2>/dev/null)" ] && [ -z "$previous" ]; then
    die "volume $volume holds data already; nothing was changed"
fi
rm -rf "${data%/*}"/.restore.*
new=$(mktemp -d "${data%/*}/.restore.XXXXXX")
mkdir "$new/data"
chmod 755 "$new/data"
tar -C "$new/data" -xpzf "$part"
[ -s "$new/data/portainer.key" ] || die "the part holds no data of Portainer"
printf '%s\n' "$sha" >"$new/data/.phoenix-restored"
sync
if systemctl is-active -q "$unit"; then again=yes; fi
systemctl stop "$unit" 2>/dev/null || true
if [ -n "$(ls -A "$data" 2>/dev/null)" ]; then
    mkdir -p "${previous%/*}"
    rm -rf "$previous.part"
    cp -a "$data" "$previous.part"
    mv -T "$previous.part" "$previous"
fi
[ ! -e "$data" ] || mv -T "$data" "$new/old"
mv -T "$new/data" "$data"
