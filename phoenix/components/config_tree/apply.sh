#!/bin/sh
# Guest side of operations.config_tree. It arrives inside the staged generation and is run as
#   sh STAGE/apply install      check the stage, activate it, load it; restore the old one on failure
#   sh GENERATION/apply load    the generation is current, but the service has not loaded it: finish;
#                               this script, params and manifest arrive again ahead of it
#   sh GENERATION/apply hold SECONDS  stop the service until `load` starts it; if `load` does not come
#                               within SECONDS, `undo` starts it with the previous generation
#   sh GENERATION/apply confirm the operator can still log in: keep the generation
#   sh GENERATION/apply remove  remove the component from this host; with the word `running` its service,
#                               which other things need, continues with the remaining files
#   sh GENERATION/apply undo    nobody confirmed in time: restore the previous generation
# Layout of $base:  gen/ID.XXXXXX/{root/,manifest,params,apply}   current -> gen/...   previous -> gen/...
#   paths    every path on the host that a generation has ever used
#   loaded   name of the generation that the service is known to run
#   replaced/ the files that were there before the first generation
# Every step either keeps the last good generation active or is finished by the next run. A file is synced
# to the disk before it is renamed into place, so that a power cut leaves no empty file under its name.
set -eu
umask 022
trap '' HUP INT PIPE  # the run that started this script may die; the script finishes
gen=$(CDPATH='' cd -- "${0%/*}" && pwd -P)  # its own name, also when run by `current`
. "$gen/params"       # component base unit action enable validate before after revert otherwise health deadline confirm start_later
tab=$(printf '\t')

links=${links:-}      # a generation of an earlier release has none
revert=${revert:-}
otherwise=${otherwise:-}
start_later=${start_later:-}
never=99              # the exit code of a health check that will never succeed

# The reader may be gone: that must not end this script half-way.
say() { printf 'phoenix: %s: %s\n' "$component" "$*" >&2 || true; }

# ROOT: the folder of the proposed files, for checkers. GENERATION: its name, for health checks.
# Without the lock: a process that a checker left behind would hold it for ever.
run() { ROOT="$gen/root" GENERATION="${gen##*/}" sh -c "$1" 9>&-; }

ask_health() { # once: a command may hang, as `docker info` does while dockerd hangs
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

prove_file() { # set owner and mode, and check that the file arrived as it was sent
    file="$gen/root$6"
    is_sent "$file" "$4" || { say "$6 arrived damaged; run again"; exit 3; }
    chown -- "$2:$3" "$file" || { say "$6: no such user or group: $2:$3"; exit 3; }
    chmod -- "$1" "$file"
}

other_has() { # LINE: whether another component has the path, by a line of its `paths`
    for one in "${base%/*}"/*/paths; do
        if [ "$one" != "$base/paths" ] && grep -qsxF -- "$1" "$one"; then return 0; fi
    done
    return 1
}

keep_replaced() { # PATH: keep the file of a person or a package before it is replaced
    to=$(readlink -- "$1" || true)
    case $to in "$base"/*) return 0 ;; esac
    rm -rf -- "$base/replaced$1"  # kept by an earlier installation at this path
    case $to in "${base%/*}"/*) return 0 ;; esac  # another component's
    if other_has "C$tab$1"; then return 0; fi
    [ -e "$1" ] || [ -L "$1" ] || return 0
    mkdir -p -- "$base/replaced${1%/*}"
    rm -rf -- "$base/replaced$1.part"
    cp -a -- "$1" "$base/replaced$1.part"
    sync -f -- "$base"  # before the file is replaced: this is then the only copy
    mv -T -- "$base/replaced$1.part" "$base/replaced$1"
}

put_in_place() { # one file of the current generation appears at its path on the host
    [ -d "${6%/*}/" ] || mkdir -p -- "${6%/*}/"
    if [ "$5" = C ]; then  # systemd needs a unit as a file, not as a link
        cp -p -- "$base/current/root$6" "$6.phoenix-new"
        sync -- "$6.phoenix-new"
    else
        ln -sfn -- "$base/current/root$6" "$6.phoenix-new"
    fi
    mv -fT -- "$6.phoenix-new" "$6"
}

give_back() { # PATH: restore the former owner's file
    rm -rf -- "$1.phoenix-new"  # left by a killed run: cp would follow its link into a generation
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

activate() { # GENERATION: the rename of `current` is the one atomic step
    { cat "$base/paths" 2>/dev/null || true; } >"$base/paths.new"
    without "$1/manifest" 6 "$base/paths.new" 2 >"$base/taken"  # new paths
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
    without "$base/paths" 2 "$1/manifest" 6 >"$base/taken"  # and former paths
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

unmask() { # UNIT: somebody masked it, so that it can be neither started nor enabled
    case "$(systemctl show "$1" -p UnitFileState 2>/dev/null)" in
    *=masked*) say "$1 is masked: unmasking it"; systemctl unmask -q -- "$1"; systemctl unmask -q --runtime -- "$1" ;;
    esac
}

is_stopped() { # UNIT: a signal has stopped its process, or a child of it: it hangs
    main=$(systemctl show "$1" -p MainPID 2>/dev/null | sed -n 's/^MainPID=//p')
    [ "${main:-0}" -gt 0 ] || return 1
    for process in "$main" $(cat "/proc/$main/task/$main/children" 2>/dev/null || true); do
        if grep -qs '^State:[[:space:]]*[Tt]' "/proc/$process/status"; then return 0; fi
    done
    return 1
}

deactivate() { # there is no earlier generation: restore the host's former state
    while IFS="$tab" read -r kind path; do give_back "$path"; done <"$base/paths"
    rm -f "$base/current" "$base/paths"
    systemctl daemon-reload
}

is_ours() { # KIND PATH: no other component and no person has replaced the file since
    case $1 in
    L) [ "$(readlink -- "$2" || true)" = "$base/current/root$2" ] ;;
    *) ! other_has "$1$tab$2" ;;
    esac
}

leave() { # restore every former file; a link into another component's tree has no former owner
    while IFS="$tab" read -r kind path; do
        is_ours "$kind" "$path" || continue
        give_back "$path"
        if [ -e "$path" ]; then continue; fi
        case "$(readlink -- "$path" || true)" in "${base%/*}"/*) rm -f -- "$path" ;; esac
        forget "$path"
    done <"$base/paths"
    systemctl daemon-reload
}

forget() { # PATH: systemd lists a failed unit until it is reset, with or without its file
    case $1 in
    */systemd/system/*.d/*) return ;;
    */systemd/system/*@.*) failed=${1##*/} failed="${failed%@.*}@*.${failed##*.}" ;;
    */systemd/system/*.*) failed=${1##*/} ;;
    *) return ;;
    esac
    systemctl reset-failed -- "$failed" 2>/dev/null || true
}

end_units() { # end the units whose files are gone
    for one in $enable $unit; do
        systemctl stop -- "$one" 2>/dev/null || true
        systemctl disable -q -- "$one" 2>/dev/null || true
        if systemctl is-active -q -- "$one"; then say "$one does not stop"; return 1; fi
        systemctl reset-failed -- "$one" 2>/dev/null || true # systemd lists a failed unit without file
    done
}

restart_once() { # after a failed reload
    say "its reload failed, so $unit is restarted"
    systemctl restart -- "$unit" || { say "systemctl restart $unit failed"; return 1; }
}

load() { # the service loads the current files, and answers
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
            # Units that end before it may need it, as those that dockerd runs.
            kill -CONT "$process" 2>/dev/null || true
        fi
        systemctl is-active -q -- "$unit" || verb=start
        if ! systemctl "$verb" -- "$unit"; then
            if [ "$verb" != reload-or-restart ]; then say "systemctl $verb $unit failed"; return 1; fi
            restart_once || return 1
        fi
        systemctl enable -q -- "$unit"
    fi
    # No restart here: it would cut requests, and unhealthy files are rolled back.
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

holds_former_secrets() { # the previous generation has a non-public file that the current one lacks
    [ -s "$base/previous/manifest" ] &&
        awk -F "$tab" 'FNR == NR { present[$4]; next } $1 ~ /0$/ && !($4 in present) { found = 1 }
            END { exit !found }' "$base/current/manifest" "$base/previous/manifest"
}

mark_loaded() { # the current generation is proven: record it, and drop generations that no roll-back needs
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
    for one in "$base"/gen/.stage.*; do  # left by dead runs; a live one may wait for the lock
        if [ -e "$one/pid" ]; then
            kill -0 "$(cat "$one/pid")" 2>/dev/null || rm -rf -- "$one"
        else
            find "$one" -maxdepth 0 -mmin +60 -exec rm -rf {} + 2>/dev/null || true
        fi
    done
}

compare_with_manifest() { # one file of $base/$old; if it is damaged, copy it from the new generation
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

is_whole() { # the generation $base/$old is as it was when it was proven, or could be repaired
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

roll_back() { # the former service continues unchanged; fails if it cannot
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
        # Without a unit of its own (sshd) only this makes the service read the files again.
        if [ -n "$after" ]; then run "$after" || say "failed: $after"; fi
        for one in $unit $enable; do
            if systemctl cat -- "$one" >/dev/null 2>&1; then
                systemctl reload-or-restart -- "$one" || true
            else  # its processes continue without the unit
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

undo_in() { # TIMER SECONDS: systemd undoes this generation then, even if the run is dead
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
        ln -sfn "$now" "$base/previous.new"  # roll back only to a proven generation
        mv -fT "$base/previous.new" "$base/previous"
    fi
    rm -f "$base/loaded"  # unknown from here on, until the service is proven again
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
        undo_in "$undo_timer" "$confirm"  # before the files: no other run may follow
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
    # Before the start: a held service has its other timer meanwhile.
    if [ -n "$start_later" ]; then undo_in "$undo_timer" "$confirm"; fi
    if ! load; then
        # A proven generation is not the cause if its service fails later.
        if ! is_loaded "$now"; then roll_back || true; fi
        exit 5
    fi
    if [ -n "$start_later" ]; then systemctl stop "$held_timer.timer" 2>/dev/null || true; else mark_loaded; fi
    ;;
hold)
    # A proven generation is not undone, so nothing else would start it again.
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
        # It may be held: serving with the new files is better than not serving.
        if [ -n "$unit" ]; then systemctl start -- "$unit" || say "systemctl start $unit failed"; fi
        exit 5
    fi
    ;;
remove)
    rm -rf -- "${base%/*}"/.removed.*  # left by a run that was killed here
    if [ "${2:-}" != running ]; then end_units || exit 5; fi
    leave
    if [ "${2:-}" = running ] && [ -n "$unit" ]; then
        systemctl reload-or-restart -- "$unit" || { say "$unit does not take what is left"; exit 5; }
    fi
    mv -T -- "$base" "${base%/*}/.removed.$component"  # in one step: nobody sees half a tree
    rm -rf -- "${base%/*}/.removed.$component"
    ;;
*) say "unknown command: $1"; exit 2 ;;
esac
