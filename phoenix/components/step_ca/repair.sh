# Replace the CA's database if the CA cannot open it. Runs, after
# database.sh, as `sh -c SCRIPT step-ca-repair DIRECTORY UNIT PORT COPIES`. The present one is kept below COPIES. It is
# replaced by the first of these with which the CA starts: the same without its torn end, the copies,
# newest first, an empty one. Clients whose account is unknown then register again by themselves.
set -eu
umask 077
trap '' HUP INT PIPE # the run that started this script may die; the script finishes
directory=$1 unit=$2 port=$3 copies=$4
db=$directory/db new=$directory/db.new old=$directory/db.old
cd /
exec 9>/run/lock/phoenix-step-ca
flock -w 300 9 || { echo "phoenix: another run is at work on $directory" >&2; exit 4; }

said_since() { # CURSOR
    journalctl -q --no-pager -o cat -u "$unit" ${1:+"--after-cursor=$1"} 2>/dev/null
}

opens() { # start the CA, and wait until it serves or says that it cannot open the database
    cursor=$(journalctl -q --no-pager -n 1 --show-cursor -u "$unit" | sed -n 's/^-- cursor: //p')
    systemctl reset-failed "$unit" 2>/dev/null || true
    systemctl restart "$unit" 9>&- || true
    end=$(($(date +%s) + 30))
    while :; do
        if ca_answers "$directory" "$port"; then return 0; fi
        fault=$(said_since "$cursor" | database_fault_in)
        if [ -n "$fault" ]; then return 1; fi
        # The log says nothing about the database, so something else keeps the CA from serving.
        if [ "$(date +%s)" -ge "$end" ]; then return 0; fi
        sleep 0.3
    done
}

put() { # FROM, or nothing for an empty database: put it in place, whole
    systemctl stop "$unit" || true
    # `set -e` has no effect here: the CA would open half a copy, as a database without the rest.
    if ! { rm -rf "$new" && filled "$@" && chown -R step:step "$new" && sync; }; then
        rm -rf "$new"
        echo "phoenix: no database could be put in place (above): nothing was changed in $db" >&2
        exit 6
    fi
    if [ -d "$db" ]; then mv -T "$db" "$old"; fi # in one step: the CA may open a half-removed database
    mv -T "$new" "$db" || exit 6
    rm -rf "$old"
}

filled() { # FROM [SIZE FILE]
    if [ -n "$1" ]; then cp -a "$1" "$new"; else mkdir "$new"; fi || return
    rm -f "$new/LOCK"
    if [ -n "${2-}" ]; then truncate -s "$2" "$new/${3##*/}"; fi
}

tried() { # WHAT FROM [SIZE FILE]
    what=$1
    shift
    put "$@"
    opens || return 1
    echo "phoenix: the CA runs with $what"
    exit 0
}

mkdir -p -m 700 "$copies"
rm -rf "$copies/.part" "$copies/.torn"
# An earlier repair was killed between its two renames.
if [ -d "$old" ] && [ ! -e "$db" ]; then mv -T "$old" "$db"; fi
rm -rf "$old"
kept=
if [ -d "$db" ]; then
    if opens; then echo "phoenix: the CA opens its database"; exit 0; fi
    echo "phoenix: the CA cannot open its database: $fault"
    torn=$(said_since "$cursor" | sed -n 's/.*Truncate Needed\. File \(.*\) size: \([0-9]*\) Endoffset: \([0-9]*\)$/\1 \2 \3/p' | tail -n 1)
    systemctl stop "$unit" || true
    kept=$copies/torn-$(date -u +%Y%m%dT%H%M%SZ)
    cp -a "$db" "$copies/.torn"
    sync
    rm -rf "$kept"
    mv -T "$copies/.torn" "$kept"
    echo "phoenix: kept as $kept"
    ls -d "$copies"/torn-* | head -n -3 | while read -r old; do rm -rf "$old"; done
    if [ -n "$torn" ]; then
        set -- $torn
        # Behind its header, and no more than one write.
        if [ "$3" -gt 20 ] && [ "$2" -gt "$3" ] && [ $(($2 - $3)) -lt 1048576 ]; then
            tried "the same without its last $(($2 - $3)) bytes" "$kept" "$3" "$1" || true
        fi
    fi
fi
for copy in $(ls -dr "$copies"/[0-9]* 2>/dev/null); do
    tried "the copy $copy" "$copy" || true
done
tried "an empty one: clients register anew by themselves" "" || true
if [ -n "$kept" ]; then put "$kept"; fi
systemctl start "$unit" || true
echo "phoenix: THE CA OPENS NO DATABASE, not even an empty one: $fault" >&2
exit 5
