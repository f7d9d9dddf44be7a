# Copy a service's data while the service is stopped; print the copy as base64 of tar.gz. Runs as
#   sh -c SCRIPT backup-collect UNIT LIMIT_KIB FROM MEMBER...
# FROM is a directory, or the name of a Docker volume. The copy is kept in memory (/run), or on the
# disk (/var/tmp) if memory has no room for it. The service starts again before the first byte is
# sent: a slow reader does not prolong the pause.
set -eu
umask 077
unit=$1 limit=$2 from=$3 memory=${PHOENIX_MEMORY:-/run} disk=${PHOENIX_DISK:-/var/tmp}
shift 3
die() { echo "phoenix: $*" >&2; exit 3; }
case $from in
/*) ;;
*)
    volume=$from
    from=$(docker volume inspect -f '{{.Mountpoint}}' "$volume" 2>/dev/null) ||
        die "there is no Docker volume $volume: was Portainer ever deployed?"
    ;;
esac
cd "$from" 2>/dev/null || die "there is no $from: nothing to back up"
for member; do [ -e "$member" ] || die "$from/$member is missing: nothing whole to back up"; done
need=$(du -skc --apparent-size -- "$@" | tail -n 1 | cut -f 1)
[ "$need" -le "$limit" ] || die "$from holds $need KiB, and a backup takes $limit KiB at most"
need=$((2 * need)) # room for the copy and its compressed form
room() { df -k --output=avail "$1" | tail -n 1 | tr -d ' '; }
if [ "$need" -le "$(room "$memory")" ]; then place=$memory; else place=$disk; fi
[ "$need" -le "$(room "$place")" ] ||
    die "a copy needs $need KiB; $memory has room for $(room "$memory") KiB, and $disk for $(room "$disk") KiB"
exec 9>"$memory/phoenix-backup-$unit.lock"
flock -n 9 || die "another backup of this guest is under way"
rm -rf "$memory/phoenix-backup-$unit".?????? "$disk/phoenix-backup-$unit".?????? # left by a killed copy
copy=$(mktemp -d "$place/phoenix-backup-$unit.XXXXXX")
stopped=
again() {
    [ -z "$stopped" ] || { systemctl start "$unit" && systemctl stop "$alarm.timer"; } || true
    stopped=
}
trap 'again; rm -rf "$copy"' EXIT
trap 'exit 143' HUP INT TERM PIPE
if systemctl is-active -q "$unit"; then
    # If this shell is killed, the service still starts.
    alarm="phoenix-backup-start-${unit%.service}"
    systemctl stop "$alarm.timer" 2>/dev/null || true
    systemd-run -q --collect --unit="$alarm" --on-active=180 systemctl start "$unit" 9>&-
    stopped=yes
    systemctl stop "$unit"
fi
# Portainer copies its certificate's key into its data at each start.
tar -C "$from" --exclude=./.phoenix-restored --exclude=./certs/key.pem -cf - -- "$@" >"$copy/tar"
if systemctl is-active -q "$unit"; then die "$unit was started meanwhile: run again"; fi
again
gzip -1 "$copy/tar"
base64 -w 4000 "$copy/tar.gz"
