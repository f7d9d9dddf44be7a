# Portainer's database and the image that it fits. A newer server migrates the database at its start; an
# older server then refuses it. Runs beside a configuration tree's generations (config_tree/apply.sh) as
#   sh -c SCRIPT portainer-database fits BASE COMPOSE CONTAINER VOLUME UNIT ROOTS END ADDRESS
#   ...                             keep      before another image starts: copy the database
#   ...                             put_back  the former image starts again: restore its database
#   ...                             answers   whether the server answers; 99: it never will
# The copy is BASE/database: portainer.db, `image` (which made it) and `returns` (the generation with
# which it is restored; absent once that generation has answered again).
set -eu
umask 077
verb=$1 base=$2 compose=$3 container=$4 volume=$5 unit=$6 roots=$7 end=$8 address=$9
kept=$base/database
say() { echo "phoenix: portainer: $*" >&2; }

image() { sed -n 's/^ *image: *//p' "$1" 2>/dev/null | head -n 1; }

version() { # IMAGE: the numbers of its tag; nothing where the tag has none
    printf '%s\n' "${1%@*}" | sed -n 's/.*:\([0-9][0-9]*\(\.[0-9][0-9]*\)\{1,\}\)[^/:]*$/\1/p'
}

is_older() { # VERSION VERSION
    [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

status() {
    curl -fsS --max-time 3 --cacert "$roots" --resolve "$end:$address" "https://$end/api/system/status"
}

data() { docker volume inspect -f '{{.Mountpoint}}' "$volume" 2>/dev/null; }

now=$(readlink "$base/current" 2>/dev/null || true)
before=$(readlink "$base/previous" 2>/dev/null || true)
returns=$(cat "$kept/returns" 2>/dev/null || true)

case $verb in
fits)
    new=$(version "$(image "$ROOT$compose")")
    running=$(status 2>/dev/null | sed -n 's/.*"Version":"\([0-9.]*\)".*/\1/p')
    if [ -z "$new" ] || [ -z "$running" ] || ! is_older "$new" "$running"; then exit 0; fi
    say "the database is of Portainer $running, which runs, and $new ends when it finds that"
    say "fix: declare portainer_image $running or newer"
    made=$(version "$(cat "$kept/image" 2>/dev/null || true)")
    if [ -n "$made" ] && ! is_older "$new" "$made"; then
        say "or go back to the database of $made, which was kept, and lose what Portainer has learnt" \
            "since: systemctl stop $unit; cp $kept/portainer.db $(data)/portainer.db; then run again"
    else
        say "or go back to a backup that $new or an older one made: systemctl stop $unit;" \
            "phoenix restore FILE --part portainer --replace; then run again"
    fi
    exit 1
    ;;
keep)
    # An unproven generation, or an attempt that has not ended, may have migrated the database half-way:
    # keep the copy.
    if [ -z "$now" ] || [ "$now" != "$before" ] || [ "$returns" = "${now##*/}" ]; then exit 0; fi
    old=$(image "$base/$now/root$compose")
    if [ "$old" = "$(image "$ROOT$compose")" ]; then exit 0; fi
    from=$(data) || {
        if docker version >/dev/null 2>&1; then exit 0; fi # there is no volume yet
        say "Docker does not answer, so the database cannot be kept before another image takes over"
        exit 1
    }
    [ -s "$from/portainer.db" ] || exit 0
    systemctl stop -- "$unit" # nothing may write the database while it is copied
    rm -rf -- "$kept.new"
    mkdir -- "$kept.new"
    cp -p -- "$from/portainer.db" "$kept.new/portainer.db" || { rm -rf -- "$kept.new"; exit 1; } # a full disk
    printf '%s\n' "$old" >"$kept.new/image"
    printf '%s\n' "${now##*/}" >"$kept.new/returns"
    find "$kept.new" -exec sync -- {} +
    if [ -d "$kept" ]; then # the copy from before an earlier upgrade, if this one is rolled back
        rm -rf -- "$kept.former"
        mv -T -- "$kept" "$kept.former"
    fi
    mv -T -- "$kept.new" "$kept"
    ;;
put_back)
    # `returns` stays: if the run is killed here, the next one begins with the failed generation.
    if [ -z "$before" ] || [ "$returns" != "${before##*/}" ]; then exit 0; fi
    systemctl stop -- "$unit" 2>/dev/null || true
    to=$(data) || { say "Docker does not tell where volume $volume is"; exit 1; }
    cp -p -- "$kept/portainer.db" "$to/portainer.db.phoenix-new" || {
        rm -f -- "$to/portainer.db.phoenix-new" # a full disk
        exit 1
    }
    sync -- "$to/portainer.db.phoenix-new"
    mv -f -- "$to/portainer.db.phoenix-new" "$to/portainer.db"
    say "the database of $(cat "$kept/image") is back"
    ;;
answers)
    if said=$(status 2>&1); then
        case "$said" in *Version*) ;; *) echo "it answers without its version"; exit 1 ;; esac
        if [ -n "$returns" ] && [ "$returns" = "$GENERATION" ]; then
            rm -f -- "$kept/returns" # the database is restored; a copy of it tells nothing new
            if [ -d "$kept.former" ]; then
                rm -rf -- "$kept"
                mv -T -- "$kept.former" "$kept"
            fi
        fi
        exit 0
    fi
    echo "$said"
    run=$(docker inspect -f '{{.State.Running}} {{.State.StartedAt}}' "$container" 2>/dev/null) || exit 1
    case "$run" in false' '*) started=${run#* } ;; *) exit 1 ;; esac
    # Ignore the log of an earlier start of the same container.
    unit_started=$(systemctl show "$unit" -p ExecMainStartTimestamp --value)
    [ "$(date -d "$started" +%s)" -ge "$(date -d "${unit_started:-now}" +%s)" ] || exit 1
    if docker logs --since "$started" "$container" 2>&1 | grep -o 'The database schema version does not align.*'; then
        echo "a newer Portainer has migrated it: declare portainer_image as new as that one"
        exit 99
    fi
    exit 1
    ;;
esac
