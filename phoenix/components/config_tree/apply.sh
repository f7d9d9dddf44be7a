#!/bin/sh
# Guest side of operations.config_tree. It arrives inside the staged generation and is run as
#   sh STAGE/apply install      prove the stage, activate it, load it; put the old one back on failure
#   sh GENERATION/apply load    the generation is current, but the service has not loaded it: finish;
#                               this script, params and manifest arrive again ahead of it
#   sh GENERATION/apply hold SECONDS  the service stops, to be started by `load`; where that does not come
#                               within SECONDS, `undo` starts it with the previous generation
#   sh GENERATION/apply confirm the operator can still log in: keep the generation
#   sh GENERATION/apply remove  the component leaves this host; with the word `running` its service,
#                               which other things need, goes on with what is left
#   sh GENERATION/apply undo    nobody confirmed in time: put the previous generation back
# Layout of $base:  gen/ID.XXXXXX/{root/,manifest,params,apply}   current -> gen/...   previous -> gen/...
#   paths    every place on the host that a generation has ever occupied
#   loaded   name of the generation that the service is known to run
#   replaced/ what stood at a path before the first generation took it
# Every step either leaves the last good generation in charge or is finished by the next run. What is
# renamed into place is on the disk before, so that a power cut leaves no empty file under its name.
set -eu
umask 022
trap '' HUP INT PIPE  # the run that sent us may die; what is begun is ended here
gen=$(CDPATH='' cd -- "${0%/*}" && pwd -P)  # its own name, also when run by `current`
. "$gen/params"       # component base unit action enable validate before after revert otherwise health deadline confirm start_later
tab=$(printf '\t')

links=${links:-}      # of a generation of an earlier release: it has none
revert=${revert:-}
otherwise=${otherwise:-}
start_later=${start_later:-}
never=99              # what a health check ends with that will never succeed

# Nobody may be listening any more, and that must not end us half-way.
say() { printf 'phoenix: %s: %s\n' "$component" "$*" >&2 || true; }

# ROOT is where the proposed files stand, for checkers; GENERATION names it, for health checks.
# Without the lock: what a checker left running when we were killed would hold it for ever.
run() { ROOT="$gen/root" GENERATION="${gen##*/}" sh -c "$1" 9>&-; }

ask_health() { # once: what it asks may hang, as `docker info` does while dockerd hangs
    ROOT="$gen/root" GENERATION="${gen##*/}" timeout -k 5 "${PHOENIX_HEALTH_SECONDS:-20}" sh -c "$health" 9>&-
}

each_path() { # GENERATION FUNCTION: FUNCTION MODE USER GROUP SHA256 KIND PATH for every file
    while IFS="$tab" read -r mode user group sha kind path; do
        "$2" "$mode" "$user" "$group" "$sha" "$kind" "$path"
    done <"$1/manifest"
}

is_sent() { # FILE SHA256
    sum=$(sha256sum -- "$1" 2>/dev/null) || return 1
    [ "${sum%% *}" = "$2" ]
}

prove_file() { # owner and mode, and proof that what arrived is what was sent
    file="$gen/root$6"
    is_sent "$file" "$4" || { say "$6 arrived damaged; run again"; exit 3; }
    chown -- "$2:$3" "$file" || { say "$6: no such user or group: $2:$3"; exit 3; }
    chmod -- "$1" "$file"
}

other_has() { # LINE: whether another component has the place, by a line of its `paths`
    for one in "${base%/*}"/*/paths; do
        if [ "$one" != "$base/paths" ] && grep -qsxF -- "$1" "$one"; then return 0; fi
    done
    return 1
}

keep_replaced() { # PATH: what a person or a package has there now, before it is taken
    to=$(readlink -- "$1" || true)
    case $to in "$base"/*) return 0 ;; esac
    rm -rf -- "$base/replaced$1"  # what an earlier stay at this place had found
    case $to in "${base%/*}"/*) return 0 ;; esac  # another component's
    if other_has "C$tab$1"; then return 0; fi
    [ -e "$1" ] || [ -L "$1" ] || return 0
    mkdir -p -- "$base/replaced${1%/*}"
    rm -rf -- "$base/replaced$1.part"
    cp -a -- "$1" "$base/replaced$1.part"
    sync -f -- "$base"  # before the place is taken: it is the only one then
    mv -T -- "$base/replaced$1.part" "$base/replaced$1"
}

put_in_place() { # one file of the current generation appears at its place on the host
    [ -d "${6%/*}/" ] || mkdir -p -- "${6%/*}/"
    if [ "$5" = C ]; then  # systemd wants its units as files of their own, not as links
        cp -p -- "$base/current/root$6" "$6.phoenix-new"
        sync -- "$6.phoenix-new"
    else
        ln -sfn -- "$base/current/root$6" "$6.phoenix-new"
    fi
    mv -fT -- "$6.phoenix-new" "$6"
}

give_back() { # PATH: give the place back to whoever had it
    rm -rf -- "$1.phoenix-new"  # of a run that was killed: cp would follow its link into a generation
    if [ -e "$base/replaced$1" ] || [ -L "$base/replaced$1" ]; then
        cp -a -- "$base/replaced$1" "$1.phoenix-new"
        if [ ! -L "$1.phoenix-new" ]; then sync -- "$1.phoenix-new"; fi
        mv -fT -- "$1.phoenix-new" "$1"
    else
        rm -f -- "$1"
    fi
}

without() { # FILE FIELD PATHS FIELD: the lines of FILE whose path is none of PATHS
    awk -F "$tab" -v own="$2" -v other="$4" 'FILENAME == ARGV[1] { theirs[$other]; next }
        !($own in theirs)' "$3" "$1"
}

register() { printf '%s\t%s\n' "$5" "$6" >>"$base/paths.new"; }

activate() { # GENERATION: the one atomic step is the rename of `current`
    { cat "$base/paths" 2>/dev/null || true; } >"$base/paths.new"
    without "$1/manifest" 6 "$base/paths.new" 2 >"$base/taken"  # for the first time
    while IFS="$tab" read -r mode user group sha kind path; do
        keep_replaced "$path"
    done <"$base/taken"
    each_path "$1" register
    sort -u "$base/paths.new" -o "$base/paths.new"
    sync -- "$base/paths.new"
    mv -f "$base/paths.new" "$base/paths"
    ln -sfn "gen/${1##*/}" "$base/current.new"
    mv -fT "$base/current.new" "$base/current"
    sync -- "$base"
    each_path "$1" put_in_place
    without "$base/paths" 2 "$1/manifest" 6 >"$base/taken"  # and given back
    while IFS="$tab" read -r kind path; do
        give_back "$path"
        [ "$kind" = L ] || systemctl daemon-reload
    done <"$base/taken"
    rm -f -- "$base/taken"
    : >"$base/paths.new"
    each_path "$1" register
    mv -f "$base/paths.new" "$base/paths"
}

system_files() { # directories and units that this generation declares
    set --
    units=
    while IFS="$tab" read -r mode user group sha kind path; do
        case $path in /etc/tmpfiles.d/*|/usr/lib/tmpfiles.d/*) set -- "$@" "$path" ;; esac
        if [ "$kind" = C ]; then units=yes; fi
    done <"$gen/manifest"
    if [ $# -gt 0 ]; then systemd-tmpfiles --create "$@" || return 1; fi
    if [ -n "$units" ]; then systemctl daemon-reload; fi
    printf %s "$links" | while IFS="$tab" read -r path target; do
        ln -sfn -- "$target" "$path.phoenix-new" && mv -fT -- "$path.phoenix-new" "$path" || exit 1
    done
}

unmask() { # UNIT: somebody masked it, so that it neither starts nor is enabled
    case "$(systemctl show "$1" -p UnitFileState 2>/dev/null)" in
    *=masked*) say "$1 is masked: unmasking it"; systemctl unmask -q -- "$1"; systemctl unmask -q --runtime -- "$1" ;;
    esac
}

is_stopped() { # UNIT: a signal has stopped its process, or one that this started: it hangs
    main=$(systemctl show "$1" -p MainPID 2>/dev/null | sed -n 's/^MainPID=//p')
    [ "${main:-0}" -gt 0 ] || return 1
    for process in "$main" $(cat "/proc/$main/task/$main/children" 2>/dev/null || true); do
        if grep -qs '^State:[[:space:]]*[Tt]' "/proc/$process/status"; then return 0; fi
    done
    return 1
}

deactivate() { # no earlier generation: leave the host as it was
    while IFS="$tab" read -r kind path; do give_back "$path"; done <"$base/paths"
    rm -f "$base/current" "$base/paths"
    systemctl daemon-reload
}

is_ours() { # KIND PATH: no other component and no person has taken the place since
    case $1 in
    L) [ "$(readlink -- "$2" || true)" = "$base/current/root$2" ] ;;
    *) ! other_has "$1$tab$2" ;;
    esac
}

leave() { # every place goes back to whoever had it; a link into another component's tree is nobody's
    while IFS="$tab" read -r kind path; do
        is_ours "$kind" "$path" || continue
        give_back "$path"
        if [ -e "$path" ]; then continue; fi
        case "$(readlink -- "$path" || true)" in "${base%/*}"/*) rm -f -- "$path" ;; esac
        forget "$path"
    done <"$base/paths"
    systemctl daemon-reload
}

forget() { # PATH: systemd lists a failed unit as long as it remembers it, with or without its file
    case $1 in
    */systemd/system/*.d/*) return ;;
    */systemd/system/*@.*) failed=${1##*/} failed="${failed%@.*}@*.${failed##*.}" ;;
    */systemd/system/*.*) failed=${1##*/} ;;
    *) return ;;
    esac
    systemctl reset-failed -- "$failed" 2>/dev/null || true
}

end_units() { # a unit that is not there any more has ended
    for one in $enable $unit; do
        systemctl stop -- "$one" 2>/dev/null || true
        systemctl disable -q -- "$one" 2>/dev/null || true
        if systemctl is-active -q -- "$one"; then say "$one does not stop"; return 1; fi
        systemctl reset-failed -- "$one" 2>/dev/null || true # systemd lists a failed unit without file
    done
}

restart_once() { # instead of a reload that failed
    say "its reload failed, so $unit is restarted"
    systemctl restart -- "$unit" || { say "systemctl restart $unit failed"; return 1; }
}

load() { # the service takes the current files, and answers
    system_files || { say "systemd does not take the new files"; return 1; }
    if [ -n "$after" ]; then run "$after" || { say "failed: $after"; return 1; }; fi
    for one in $unit $enable; do unmask "$one" || return 1; done
    for one in $enable; do
        systemctl enable -q -- "$one" && systemctl start -- "$one" || return 1
    done
    if [ -n "$unit" ]; then
        systemctl reset-failed -- "$unit" 2>/dev/null || true
        if [ "$action" = reload ]; then verb=reload-or-restart; else verb=restart; fi
        if is_stopped "$unit"; then
            say "$unit hangs: a signal has stopped it"
            verb=restart
            # Units that end before it may have to ask it, as those that run by dockerd.
            kill -CONT "$process" 2>/dev/null || true
        fi
        systemctl is-active -q -- "$unit" || verb=start
        if ! systemctl "$verb" -- "$unit"; then
            if [ "$verb" != reload-or-restart ]; then say "systemctl $verb $unit failed"; return 1; fi
            restart_once || return 1
        fi
        systemctl enable -q -- "$unit"
    fi
    # No restart here: it would cut requests, and files that do not come up healthy are rolled back.
    healthy
}

healthy() {
    [ -n "$unit$health" ] || return 0
    end=$(($(date +%s) + deadline))
    while :; do
        why="$unit is not active"
        if [ -z "$unit" ] || systemctl is-active -q -- "$unit"; then
            if [ -z "$health" ]; then return 0; fi
            if why=$(ask_health 2>&1); then return 0; elif [ $? -eq "$never" ]; then
                say "it will not become healthy: $why"
                return 1
            fi
            why=${why:-"its check says nothing: what it asks hangs"}
        fi
        if [ "$(date +%s)" -ge "$end" ]; then
            say "not healthy after ${deadline} s: $why"
            if [ -n "$unit" ]; then journalctl -q --no-pager -o cat -n 15 -u "$unit" >&2 || true; fi
            return 1
        fi
        sleep 0.3
    done
}

holds_former_secrets() { # the previous generation has a file that not everyone may read, and that is no more
    [ -s "$base/previous/manifest" ] &&
        awk -F "$tab" 'FNR == NR { present[$4]; next } $1 ~ /0$/ && !($4 in present) { found = 1 }
            END { exit !found }' "$base/current/manifest" "$base/previous/manifest"
}

mark_loaded() { # the current generation is proven: say so, and drop what nobody will go back to
    serves=$(readlink "$base/current")
    printf '%s\n' "${serves##*/}" >"$base/loaded.new"
    sync -- "$base/loaded.new"
    mv -f "$base/loaded.new" "$base/loaded"
    if holds_former_secrets; then rm -f -- "$base/previous"; fi
    keep="$serves $(readlink "$base/previous" 2>/dev/null || true)"
    for one in "$base"/gen/*; do
        if [ ! -d "$one" ]; then continue; fi
        case " $keep " in *" gen/${one##*/} "*) ;; *) rm -rf -- "$one" ;; esac
    done
    for one in "$base"/gen/.stage.*; do  # of runs that are no more; one may be waiting for the lock
        if [ -e "$one/pid" ]; then
            kill -0 "$(cat "$one/pid")" 2>/dev/null || rm -rf -- "$one"
        else
            find "$one" -maxdepth 0 -mmin +60 -exec rm -rf {} + 2>/dev/null || true
        fi
    done
}

compare_with_manifest() { # one file of $base/$old; what the new generation has too is copied from it
    file="$base/$old/root$6"
    if ! is_sent "$file" "$4"; then
        same=$(awk -F "$tab" -v sha="$4" '$4 == sha { print $6; exit }' "$gen/manifest")
        if [ -z "$same" ] || ! is_sent "$gen/root$same" "$4"; then changed="$changed $6"; return 0; fi
        say "$6 of the previous generation was changed: copied again"
        mkdir -p -- "${file%/*}"
        rm -rf -- "$file"
        cp -- "$gen/root$same" "$file"
    fi
    { chown -- "$2:$3" "$file" && chmod -- "$1" "$file"; } || changed="$changed $6"
}

is_whole() { # the generation $base/$old is what it was when it was proven, or is so again
    changed=
    id=${old##*/}
    id=${id%%.*}  # the first digits of the manifest's own SHA-256
    [ -s "$base/$old/params" ] || changed=" params"
    case "$(sha256sum <"$base/$old/manifest")" in
    "$id"*) each_path "$base/$old" compare_with_manifest ;;
    *) changed="$changed manifest" ;;
    esac
    [ -z "$changed" ]
}

roll_back() { # the old service goes on as if nothing had happened; fails when it cannot
    old=$(readlink "$base/previous" 2>/dev/null || true)
    if [ -n "$old" ] && [ -d "$base/$old" ]; then
        if ! is_whole; then
            say "THE PREVIOUS GENERATION IS NOT PUT BACK: changed since it was proven:$changed"
            say "the new files stay in place, not proven; remove the cause above, then run again"
            return 1
        fi
        say "putting the previous generation back"
        if [ -n "$revert" ] && ! run "$revert"; then say "failed: what puts its data back"; fi
        activate "$base/$old"
        gen="$base/$old"
        . "$gen/params"
        if load; then mark_loaded; say "the previous configuration serves again"; else
            say "THE PREVIOUS GENERATION DOES NOT COME UP EITHER"; fi
    else
        say "there was no earlier generation: leaving the host as it was"
        was_new=$gen
        deactivate
        # Without a unit of its own (sshd) this alone makes somebody read the files anew.
        if [ -n "$after" ]; then run "$after" || say "failed: $after"; fi
        for one in $unit $enable; do
            if systemctl cat -- "$one" >/dev/null 2>&1; then
                systemctl reload-or-restart -- "$one" || true
            else  # what it started runs on without its unit
                systemctl stop -- "$one" || true
            fi
        done
        if [ -n "$otherwise" ] && ! run "$otherwise"; then say "failed: what starts again what was here before"; fi
        rm -rf -- "$was_new"
    fi
}

if [ "${1:-install}" = install ]; then echo $$ >"$gen/pid"; fi
exec 9>"$base/lock"
flock -w 300 9 || { say "another run has held $base/lock for 300 s"; exit 4; }
undo_timer="phoenix-undo-$component" held_timer="phoenix-held-$component"

undo_in() { # TIMER SECONDS: systemd undoes this generation then, whatever becomes of the run that sent us
    systemctl stop "$1.timer" 2>/dev/null || true
    systemd-run -q --collect --unit="$1" --on-active="$2" sh "$gen/apply" undo
}

is_loaded() { # GENERATION: it was proven
    proven=
    [ ! -s "$base/loaded" ] || read -r proven <"$base/loaded" || true
    [ "${1##*/}" = "$proven" ]
}

case "${1:-install}" in
install)
    chmod 755 "$base" "$base/gen" "$gen"
    find "$gen/root" -type d -exec chmod 755 {} +
    while IFS="$tab" read -r mode user group sha kind path; do
        case $path in /etc/sysusers.d/*) systemd-sysusers "$gen/root$path" ;; esac
    done <"$gen/manifest"
    each_path "$gen" prove_file
    if [ -n "$validate" ]; then
        if ! said=$(run "$validate" 2>&1); then
            printf '%s\n' "$said" >&2
            say "the new files are refused by their checker; nothing was changed"
            rm -rf -- "$gen"
            exit 3
        fi
    fi
    read -r id <"$gen/id" || true
    new="$base/gen/$id.${gen##*.}"
    mv -T -- "$gen" "$new"
    gen=$new
    find "$gen" -exec sync -- {} +
    sync -- "$base/gen"
    now=$(readlink "$base/current" 2>/dev/null || true)
    if [ -n "$now" ] && is_loaded "$now"; then
        ln -sfn "$now" "$base/previous.new"  # only a generation that was proven is worth going back to
        mv -fT "$base/previous.new" "$base/previous"
    fi
    rm -f "$base/loaded"  # from here on nobody knows what the service runs, until it is proven again
    if [ -n "$before" ] && ! run "$before"; then
        say "what comes before the change failed, so nothing is changed: $(printf %s "$before" | head -n 1 | cut -c 1-200)"
        rm -rf -- "$new"
        if [ -n "$now" ]; then  # it may have stopped the service
            gen="$base/$now"
            . "$gen/params"
            if load; then mark_loaded; fi
        fi
        exit 3
    fi
    if [ -n "$start_later" ]; then
        undo_in "$undo_timer" "$confirm"  # ahead of the files: no other run may come for them
        activate "$gen"
        exit 0
    fi
    activate "$gen"
    if ! load; then roll_back || true; exit 5; fi
    if [ -n "$confirm" ]; then undo_in "$undo_timer" "$confirm"; else mark_loaded; fi
    ;;
load)
    now=$(readlink "$base/current")
    if is_loaded "$now"; then start_later=; fi
    # Ahead of the start: one that is held has its other timer meanwhile.
    if [ -n "$start_later" ]; then undo_in "$undo_timer" "$confirm"; fi
    if ! load; then
        # A generation that was proven is not at fault when its service fails later.
        if ! is_loaded "$now"; then roll_back || true; fi
        exit 5
    fi
    if [ -n "$start_later" ]; then systemctl stop "$held_timer.timer" 2>/dev/null || true; else mark_loaded; fi
    ;;
hold)
    # A generation that was proven is not undone, so nobody would start it again.
    if is_loaded "$gen"; then exit 0; fi
    undo_in "$held_timer" "$2"
    if ! systemctl stop -- "$unit"; then say "$unit does not stop"; exit 5; fi
    ;;
confirm)
    systemctl stop "$undo_timer.timer" 2>/dev/null || true
    systemctl stop "$held_timer.timer" 2>/dev/null || true
    mark_loaded
    ;;
undo)
    if [ "$(readlink "$base/current")" = "gen/${gen##*/}" ] && ! is_loaded "$gen" && ! roll_back; then
        # It may have been held: it serves with the new files rather than not at all.
        if [ -n "$unit" ]; then systemctl start -- "$unit" || say "systemctl start $unit failed"; fi
        exit 5
    fi
    ;;
remove)
    rm -rf -- "${base%/*}"/.removed.*  # of a run that was killed here
    if [ "${2:-}" != running ]; then end_units || exit 5; fi
    leave
    if [ "${2:-}" = running ] && [ -n "$unit" ]; then
        systemctl reload-or-restart -- "$unit" || { say "$unit does not take what is left"; exit 5; }
    fi
    mv -T -- "$base" "${base%/*}/.removed.$component"  # at once: no half of a tree is ever seen
    rm -rf -- "${base%/*}/.removed.$component"
    ;;
*) say "unknown command: $1"; exit 2 ;;
esac
