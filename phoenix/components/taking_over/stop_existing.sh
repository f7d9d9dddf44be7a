# Stops the existing services that Phoenix replaces, or starts them again. Runs as
#   sh -c SCRIPT stop-existing stop DIRECTORY KIND VOLUME   stop what DIRECTORY/KIND names; the record becomes KIND.done
#   sh -c SCRIPT stop-existing back DIRECTORY KIND VOLUME   start what KIND.done names again, as before
# Lines of a record: `unit NAME`, `container NAME`, `file PATH`, `data FOLDER`. KIND.done adds whether the unit starts at
# boot, and the container's restart policy. The script removes only what Phoenix made.
# VOLUME is the Docker volume for Portainer's data, copied there from any other place.
set -eu
umask 077
verb=$1 record=$2/$3 done=$2/$3.done kept=$2/$3-data volume=$4
say() { echo "phoenix: $*" >&2; }

noted() { grep -qsF -- "$1 $2 " "$done" || grep -qsxF -- "$1 $2" "$done"; } # WHAT NAME

note() { # WHAT NAME [REST]: noted before it is done, so that a killed run can be undone
    # After a killed run the state is no longer the person's: the first note counts.
    if noted "$1" "$2"; then return 0; fi
    set -- "$*"
    printf '%s\n' "$1" >>"$done"
    sync -- "$done"
}

stop_unit() { # UNIT: with the sockets that would start it again
    for one in $(systemctl show "$1" -p TriggeredBy --value 2>/dev/null) "$1"; do
        boot=no
        if systemctl is-enabled -q -- "$one" 2>/dev/null; then boot=boot; fi
        note unit "$one" "$boot"
        systemctl disable -q -- "$one" 2>/dev/null || true
        systemctl stop -- "$one" || return 1
    done
    if systemctl is-active -q -- "$1"; then say "$1 does not stop"; return 1; fi
}

is_container() { docker inspect "$1" >/dev/null 2>&1; }

stop_container() { # NAME: it is kept under another name, since Phoenix's own may need its
    if is_container "$1-before-phoenix"; then
        if noted container "$1" && ! is_container "$1"; then return 0; fi # by a run that was killed
        say "there is a container $1-before-phoenix already: remove or rename it, and run again"
        return 1
    fi
    policy=$(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}' "$1") || return 1
    case $policy in on-failure:*) ;; *) policy=${policy%:*} ;; esac
    state=$(docker inspect -f '{{.State.Running}}' "$1")
    note container "$1" "${policy:-no} $state"
    docker update --restart=no "$1" >/dev/null && docker stop "$1" >/dev/null &&
        docker rename "$1" "$1-before-phoenix"
}

move_file() { # PATH: it is kept under a name that no service reads
    if [ -e "$1.before-phoenix" ]; then
        if noted file "$1" && [ ! -e "$1" ]; then return 0; fi # by a run that was killed
        say "there is a file $1.before-phoenix already: remove or rename it, and run again"
        return 1
    fi
    note file "$1"
    mv -T -- "$1" "$1.before-phoenix"
}

take_data() { # FOLDER: a copy is kept, since a newer Portainer changes the database for good
    if [ ! -s "$1/portainer.db" ]; then say "$1 has no portainer.db: no Portainer's data"; return 1; fi
    rm -rf -- "$kept.part"
    cp -a -- "$1" "$kept.part" && rm -rf -- "$kept" && mv -T -- "$kept.part" "$kept" || {
        rm -rf -- "$kept.part" # a full disk is to have its room again
        return 1
    }
    to=$(docker volume inspect -f '{{.Mountpoint}}' "$volume" 2>/dev/null) || to=
    if [ -n "$to" ] && [ "$(readlink -f -- "$to")" = "$(readlink -f -- "$1")" ]; then
        note data "$1" same
        return 0
    fi
    if [ -n "$to" ] && grep -qsxF -- "data $1 copied" "$done"; then
        rm -f -- "$to/portainer.db" # half a copy, of a run that was killed
    fi
    if [ -n "$to" ] && [ -e "$to/portainer.db" ]; then
        say "the volume $volume holds the data of another Portainer, so those of $1 do not go there"
        return 1
    fi
    note data "$1" copied
    [ -n "$to" ] || docker volume create "$volume" >/dev/null || return 1
    to=$(docker volume inspect -f '{{.Mountpoint}}' "$volume") && cp -a -- "$1/." "$to/"
}

start_container() { # NAME POLICY RUNNING
    if is_container "$1-before-phoenix"; then
        case $(docker inspect -f '{{index .Config.Labels "com.docker.compose.project"}}' "$1" 2>/dev/null) in
        phoenix-portainer*) docker rm -f "$1" >/dev/null ;;
        esac
        is_container "$1" || docker rename "$1-before-phoenix" "$1" || return 1
    fi
    docker update --restart="$2" "$1" >/dev/null || return 1
    if [ "$3" = true ]; then docker start "$1" >/dev/null; fi
}

return_data() { # FOLDER same|copied: a newer Portainer may have changed them
    case $2 in
    same) [ ! -s "$kept/portainer.db" ] || cp -a -- "$kept/." "$1/" ;;
    copied) to=$(docker volume inspect -f '{{.Mountpoint}}' "$volume" 2>/dev/null) || return 0
        rm -f -- "$to/portainer.db" ;; # theirs is untouched; this copy is ours
    esac
}

back() {
    [ -s "$done" ] || return 0
    failed=
    while read -r what name rest; do
        if [ "$what" = data ]; then return_data "$name" "$rest" </dev/null || failed=yes; fi
    done <"$done"
    while read -r what name rest; do
        case $what in
        unit)
            if [ "$rest" = boot ]; then systemctl enable -q -- "$name" || failed=yes; fi
            systemctl start -- "$name" || failed=yes
            ;;
        container) start_container "$name" $rest </dev/null || failed=yes ;;
        file) [ ! -e "$name.before-phoenix" ] || mv -T -- "$name.before-phoenix" "$name" || failed=yes ;;
        esac
    done <"$done"
    if [ -n "$failed" ]; then say "what was here before does not run again: see $done"; return 1; fi
    rm -f -- "$done"
    say "what was here before runs again"
}

stop() {
    while read -r what name; do
        case $what in
        unit) stop_unit "$name" ;;
        container) stop_container "$name" ;;
        file) move_file "$name" ;;
        data) take_data "$name" ;;
        *) say "$record: unknown line: $what"; false ;;
        esac </dev/null || return 1
    done <"$record"
}

case $verb in
stop)
    [ -s "$record" ] || exit 0
    if ! stop; then
        back || true
        exit 1
    fi
    rm -f -- "$record"
    ;;
back) back ;;
esac
