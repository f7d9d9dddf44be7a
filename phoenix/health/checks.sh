# The checks of deploys/verify.py. Called as `sh -c CHECKS checks "WARNING LEAST[ sessions][ out]" TAB-SEPARATED-CHECK...`.
# Each check is a function below and its arguments. Up to $parallel of them run at once. Prints
# "NUMBER<tab>FAULT" for each in order; the fault is empty when all is well, and "~" begins a warning.
# A function calls `well` when it has proven that all is well. A check that does neither is a fault: a
# program was killed, could not start, or did not finish.
# "?" is no answer: the host cannot tell, another of its checks says why, and another host may have the answer.
# Every check has a deadline, prints what it saw, and changes nothing.
# With `sessions`, "session NUMBER" follows for each `tls_verifies`, with openssl's output about its session.
# WARNING and LEAST are free percent of a file system: below WARNING is a warning, below LEAST a fault.
# With `out`, a host of the site is known to be down: a request that timed out is not repeated.
# `once` shares output that several checks need: DNS answers, states of units, and so on. One shell runs the checks that
# need the same TLS session or answer (`groups`), and keeps it (`hear`).

# Limits, in seconds; `phoenix.health.check_timeouts` reads them here.
connect_seconds=5  # of each connection: Linux asks after 0, 1 and 3 seconds (tcp_syn_retries of tcp(7))
tls_seconds=8      # of a TLS session with a server that takes connections
request_seconds=15 # of a request: Traefik itself asks a backend for 10 (traefik_yml.RETRY_TIMEOUT)
pause_seconds=1    # before a check is made for the second time

parallel=32
retry=  # set when a check runs for the second time: it then uses no shared output
silent=  # set if the server of this shell's checks does not answer: two connections have timed out
twice=  # set if a check has already seen its fault twice
tab=$(printf '\t')
newline='
'

well() { echo +; }

hangs="accepts the connection and then says nothing: it hangs"

reason_of() { # OUTPUT of curl: the meaning of an error that curl does not explain
    case "$1" in
    *'curl: (28) '*'SSL connection timeout'* | *'curl: (28) Operation timed out'*) echo "$hangs (${1#*curl: (28) })" ;;
    *) printf '%s\n' "$1" | cut -c 1-200 ;;
    esac
}

curl_within() { # SECONDS OPTION...: curl with this time limit, and the usual one for the connection
    seconds=$1
    shift
    curl --connect-timeout "$connect_seconds" --max-time "$seconds" "$@"
    set -- "$?"
    [ "$1" != 28 ] || : >"$work/unanswered.$number"
    return "$1"
}

connects() { # ADDRESS PORT
    timeout "$connect_seconds" bash -c ": </dev/tcp/$1/$2" 2>/dev/null
}

once() { # KEY COMMAND...: prints the output of the command, which runs once for all callers
    key=$work/shared.$1
    shift
    if [ -n "$retry" ]; then "$@" 2>&1; return; fi
    [ -e "$key.ended" ] || (
        flock 8 || exit 1
        [ -e "$key.ended" ] || { "$@" >"$key" 2>&1; echo "$?" >"$key.ended"; }
    ) 8>"$key.lock"
    cat "$key" && read -r ended <"$key.ended" && return "$ended"
}

heard_of= heard= heard_status=

hear() { # KEY COMMAND...: sets `heard` to what the command prints and returns its status; a shell asks once
    if [ -n "$retry" ] || [ "$1" != "$heard_of" ]; then
        heard_of=$1
        shift
        heard=$("$@" 2>&1)
        heard_status=$?
    fi
    return "$heard_status"
}

words_of() { # FUNCTION: its arguments in each check of this run, one line for each check
    rest=$checks
    while [ -n "$rest" ]; do
        line=${rest%%"$newline"*} rest=${rest#*"$newline"}
        case "$line" in "$1$tab"*) printf '%s\n' "${line#*"$tab"}" ;; esac
    done
}

last_words() { # UNIT STATE PROPERTIES: the last log lines; the program says why a start failed, systemd only that it did
    id=${3##*InvocationID=} id=${id%%[!0-9a-f]*} own=
    case "$2" in activating | failed)
        # A start that has just begun has logged only warnings; the start before it logged the reason.
        for of in ${id:+"_SYSTEMD_INVOCATION_ID=$id"} "_SYSTEMD_UNIT=$1"; do
            own=$(timeout 20 journalctl -q --no-pager -n 20 -o cat "$of" 2>&1 |
                grep -v '\[\(warn\|notice\)\]\|configuration file .* \(syntax is ok\|test is successful\)$' | tail -n 3)
            [ -z "$own" ] || break
        done ;;
    esac
    if [ -n "$own" ]; then printf '%s\n' "$own"; return; fi
    timeout 20 journalctl -q --no-pager -n 2 -o cat -u "$1" 2>&1
}

unit_properties="-p LoadState -p ActiveState -p MainPID -p InvocationID"

units() { # "UNIT<tab>PROPERTIES" of each checked unit: systemd answers in order, with an empty line between
    set -- $(words_of unit_runs | cut -f 1)
    result=
    case "$newline$checks" in *"${newline}updates_are_done$newline"*) set -- "$@" $update_units; result="-p Result" ;; esac
    timeout 20 systemctl show $unit_properties $result "$@" 2>/dev/null | awk -v units="$*" -v RS= -v OFS="$tab" '
        BEGIN { split(units, asked, " ") } { gsub(/\n/, " "); print asked[NR], $0 }'
}

unit_properties_of() { # UNIT: its properties from the shared answer; asked anew if the check is repeated
    properties=
    [ -z "$retry" ] || return
    hear units once units units
    properties=$newline$heard
    case "$properties" in
    *"$newline$1$tab"*) properties=${properties#*"$newline$1$tab"} properties=${properties%%"$newline"*} ;;
    *) properties= ;;
    esac
}

is_stopped() { # PID: by SIGSTOP, or a debugger (proc(5), State)
    while read -r key state rest; do
        case "$key$state" in State:[Tt]) return 0 ;; State:*) return 1 ;; esac
    done <"/proc/$1/status"
    return 1
} 2>/dev/null

unit_runs() { # UNIT [FUNCTION WORD...]: active, not stopped by a signal, and not masked, or a reboot would end it
    if [ $# -gt 1 ]; then  # the service's own reason comes first
        said=$(shift; "$@")
        [ "$said" = + ] || { printf '%s\n' "$said"; return; }
    fi
    unit_properties_of "$1"
    [ -n "$properties" ] || properties=$(timeout 20 systemctl show $unit_properties "$1" 2>&1)
    state=${properties##*ActiveState=} state=${state%%[!a-z]*}
    main=${properties##*MainPID=} main=${main%%[!0-9]*}
    case "$properties" in
    *LoadState=masked*) state="masked and $state" ;;
    *ActiveState=*) ;;
    *) echo "systemd does not answer: $properties"; return ;;
    esac
    [ "$state" = active ] || { echo "is $state:"; last_words "$1" "$state" "$properties"; return; }
    children=
    { read -r children <"/proc/${main:-0}/task/${main:-0}/children"; } 2>/dev/null
    for process in ${main#0} $children; do
        if is_stopped "$process"; then
            echo "is active, and hangs: its process $process is stopped (SIGSTOP, or a debugger)"; return
        fi
    done
    well
}

has_room() { # PATH...: no file system of these is read-only or full, in bytes or in inodes
    for path; do
        shift
        [ ! -d "$path" ] || set -- "$@" "$path"
    done
    { timeout 10 df -P "$@"; timeout 10 df -Pi "$@"; sed 's/^/mount /' /proc/self/mounts; } 2>/dev/null |
        awk -v low="${free% *}" -v least="${free#* }" '
        $1 == "mount" { read_only[$3] = $5 ~ /^ro(,|$)/; next }
        $1 == "Filesystem" { what = ++tables == 1 ? "room" : "room for files"; next }
        { places[$6] = 1 }
        $3 + $4 == 0 || ($6, what) in told { next }
        { told[$6, what] = 1; left = 100 * $4 / ($3 + $4)
          words = sprintf("%s has %.0f%% of its %s left; ", $6, left, what)
          if (left < least) fault = fault words; else if (left < low) warning = warning words }
        END { for (place in places) { count++; if (read_only[place]) fault = fault place " is read-only; " }
              if (tables < 2 || !count) print "df gives no answer"
              else if (fault != "") print fault; else if (warning != "") print "~" warning; else print "+" }'
}

is_called() { # NAME: the host name, for Proxmox VE and for logs; Phoenix does not depend on it
    name=$(uname -n) && [ -n "$name" ] || { echo "uname gives no answer"; return; }
    case "$name" in *[A-Z]*) name=$(printf '%s\n' "$name" | tr A-Z a-z) ;; esac
    # A dot in the declared name is a hyphen in the host name.
    if [ "${name%%.*}" = "$1" ] || [ "$(printf %s "$name" | tr . -)" = "$1" ]; then well; return; fi
    echo "~it calls itself $(uname -n), and is declared as $1: hostnamectl set-hostname $1"
}

update_units="apt-daily.service apt-daily-upgrade.service"

updates_are_done() { # by apt's timers; a pending reboot is a warning as well
    said=
    for unit in $update_units; do
        unit_properties_of "$unit"
        case " $properties " in
        *" Result=success "*) continue ;;  # any other result is a fault
        esac
        result=$(timeout 20 systemctl show -P Result "$unit" 2>&1) || { echo "systemd does not answer: $result"; return; }
        [ "$result" = success ] || said="$said$unit has failed ($result); "
    done
    due=${PHOENIX_REBOOT_REQUIRED:-/run/reboot-required}
    if [ -e "$due" ]; then
        for_what=$(sort -u "$due.pkgs" 2>/dev/null | head -n 3 | tr '\n' ' ')
        said="${said}a reboot is due since $(date -u -r "$due" '+%F %H:%M UTC')${for_what:+, for $for_what}; "
    fi
    if [ -z "$said" ]; then well; else echo "~${said%; }"; fi
}

backup_is_good() { # PART DAYS: phoenix-backup's notes say that it was made and restored within these days
    noted=${PHOENIX_BACKUP_STATE:-/var/lib/phoenix-backup/state} made=
    [ ! -e "$noted/$1.good" ] || read -r made _ <"$noted/$1.good"
    if [ -s "$noted/$1.failure" ]; then
        echo "the last backup failed: $(cat "$noted/$1.failure") (the last good one: $(moment "$made"))"
    elif [ -s "$noted/$1.unproven" ]; then
        echo "a backup does not restore: $(cat "$noted/$1.unproven")"
    elif [ -z "$made" ]; then
        # Until the first scheduled time has passed, no backup is missing.
        if is_old "$2" "$(stat -c %Y "$noted/since" 2>/dev/null || echo 0)"; then echo "~no backup was made yet: phoenix backup now"; else well; fi
    elif is_old "$2" "$made"; then
        echo "~the newest backup is of $(moment "$made"), more than $2 days ago"
    else
        proven=$(cut -d ' ' -f 1 "$noted/$1.proven" 2>/dev/null)
        if is_old "$2" "${proven:-$(stat -c %Y "$noted/since" 2>/dev/null || echo 0)}"; then
            echo "~no backup was restored to prove it since $(moment "$proven")"
        else
            well
        fi
    fi
}

moment() { if [ -n "$1" ]; then date -u -d "@$1" '+%F %H:%M UTC'; else echo never; fi; }
is_old() { [ -n "$2" ] && [ $(($(date +%s) - $2)) -gt $(($1 * 86400)) ]; } # DAYS SECONDS

backups_are_kept() { # phoenix-backup's notes say that old snapshots are removed as declared
    noted=${PHOENIX_BACKUP_STATE:-/var/lib/phoenix-backup/state}
    if [ -s "$noted/retention.failure" ]; then
        echo "old backups were not forgotten: $(cat "$noted/retention.failure")"
    else
        well
    fi
}

clock_agrees() { # URL: with the clock of its host; otherwise certificates seem expired or not yet valid
    # A TLS session with it is asked for all the same, and then tells its clock as well.
    server=${1#https://}
    server=${server%%/*}
    name_asked_for "${server%:*}" "${server##*:}"
    if [ -n "$name" ]; then
        session "${server%:*}" "${server##*:}" "$name"
        there=$heard
    else
        there=$(curl_within 5 -skI "$1")
    fi
    case "$newline$there" in *"$newline"[Dd]ate:*) there=${there#*[Dd]ate: } there=${there%%[![:print:]]*} ;; *) there= ;; esac
    [ -n "$there" ] || { well; return; }  # other checks report that it does not answer
    set -- $there  # "Fri, 27 Nov 2026 21:30:00 GMT" (RFC 9110, section 5.6.7)
    seconds_of "$3" "$2" "$5" "$4"
    difference=$(($(date +%s) - seconds))
    if [ "${difference#-}" -le 60 ]; then well; return; fi
    word="ahead of"
    [ "$difference" -gt 0 ] || word=behind
    echo "this clock is ${difference#-} s $word the CA's: here it is $(date -u '+%F %H:%M UTC')"
}

acme_answers() { # URL ROOT ADDRESS: the directory, and a nonce, which the CA stores on its disk (RFC 8555, 7.2)
    # At that address, whatever the resolver says: another check is about the resolver.
    place=$(curl_within 10 -sS --fail --connect-to "::$3:" --cacert "$2" "$1" 2>&1) ||
        { echo "the CA gives no ACME directory: $(reason_of "$place")"; return; }
    nonce=
    case "$place" in *'"newNonce"'*:*'"'*'"'*)
        nonce=${place#*'"newNonce"'} nonce=${nonce#*'"'} nonce=${nonce%%'"'*} ;;
    esac
    answer=$(curl_within 10 -sSI --connect-to "::$3:" --cacert "$2" "${nonce:-$1}" 2>&1)
    case "$answer" in
    *[Rr][Ee][Pp][Ll][Aa][Yy]-[Nn][Oo][Nn][Cc][Ee]:*) well ;;
    *) echo "the CA takes no ACME orders: no nonce, but $(reason_of "$(printf '%s' "$answer" | tr -d '\r' | head -n 1)")" ;;
    esac
}

ca_database_opens() { # DIRECTORY UNIT PORT
    fault=$(database_fault "$@")
    if [ -z "$fault" ]; then well; else echo "cannot open its database: $fault"; fi
}

the_one_that_answers() { # of several name servers, so that no later question waits for a silent one
    servers=
    while read -r key server _; do
        [ "$key" != nameserver ] || servers="$servers$newline$server"
    done </etc/resolv.conf
    case "${servers#"$newline"}" in *"$newline"*) ;; *) return 0 ;; esac
    for server in $servers; do
        if dig +time=1 +tries=2 @"$server" localhost A >/dev/null 2>&1; then echo "@$server"; return; fi
    done
}

look_up() { # NAME...: "NAME STATUS ADDRESS..." of each that the name server answers about
    set -- $(printf '%s A ' "$@")
    timeout 20 dig $(the_one_that_answers) +noall +comments +question +answer +time=1 +tries=4 "$@" 2>&1 | awk '
        function flush() { if (name != "") print name, status, addresses; name = addresses = "" }
        /status: / { flush(); status = $0; sub(/.*status: /, "", status); sub(/,.*/, "", status) }
        /^;[^; ]/ { name = tolower(substr($1, 2)); sub(/\.$/, "", name) }
        /^[^;]/ && $4 == "A" { addresses = addresses (addresses == "" ? "" : " ") $5 }
        END { flush() }'
}

all_names() { # every name that a check of this run asks about
    printf '%s' "$checks" | awk -F "$tab" '
        $1 == "names_resolve" { for (i = 2; i <= NF; i++) { sub(/=.*/, "", $i); print $i } }
        $1 == "name_is_unknown" { print $2 }'
}

all_looked_up() { look_up $(all_names); }

looked_up() { # NAME...: sets `heard` to the name server's answers about these, and perhaps about others
    if [ -n "$retry" ]; then hear names look_up "$@"; else hear names once names all_looked_up; fi
}

names_resolve() { # NAME=ADDRESS[,ADDRESS...]...: each has exactly these addresses, in any order
    expected=$*
    [ -z "$retry" ] || set -- $(printf '%s ' "$@" | sed 's/=[^ ]*//g')
    looked_up "$@"
    # /etc/hosts, which programs read before DNS; on Debian 127.0.1.1 is the host's own name.
    awk -v expected="$expected" '
        function has(list, one) { return index("," list ",", "," one ",") }
        function same(list, answer,    i, n, w) {
            n = split(answer, w, " ")
            for (i = 1; i <= n; i++) if (!has(list, w[i])) return 0
            return n == split(list, w, ",") }
        BEGIN { count = split(expected, pairs, " ")
            for (i = 1; i <= count; i++) { at = index(pairs[i], "=")
                names[i] = substr(pairs[i], 1, at - 1); address_of[names[i]] = substr(pairs[i], at + 1) } }
        FILENAME == "-" { name = $1; sub(/^[^ ]* [^ ]* ?/, ""); answered[name] = $0; next }
        { sub(/#.*/, ""); split($0, w, " ")
            for (i = 2; i in w; i++) if (w[i] in address_of && !has(address_of[w[i]], w[1]) && w[1] != "127.0.1.1")
                hosts = hosts w[i] " is " w[1] " in /etc/hosts, not " address_of[w[i]] ";\n" }
        END { for (i = 1; i <= count; i++) { name = names[i]
                if (!(tolower(name) in answered)) print "the name server gives no answer about " name ";"
                else if (same(address_of[name], answered[tolower(name)])) answers_well++
                else print name " is " (answered[tolower(name)] == "" ? "unknown" : answered[tolower(name)]) \
                        " here, not " address_of[name] ";" }
            printf "%s", hosts
            if (answers_well == count && hosts == "") print "+" }' - /etc/hosts <<EOT
$heard
EOT
}

server_answers() { # ADDRESS NAME=ADDRESS[,ADDRESS...]: asked by itself, whatever the host's resolver does
    name=${2%%=*}
    said=$(dig +time=1 +tries=3 +short @"$1" "$name" A 2>&1) || { echo "the name server $1 does not answer"; return; }
    said=$(printf '%s\n' "$said" | sort | xargs)
    wanted=$(printf '%s\n' "${2#*=}" | tr ',' '\n' | sort | xargs)
    if [ "$said" = "$wanted" ]; then well; else echo "the name server $1 says ${said:-nothing} for $name, not $wanted"; fi
}

address_is_held() { # ADDRESS OWN: a virtual address has one holder, this host or another; OWN is in the same network
    device=$(ip -4 -o address show to "$2/32" 2>/dev/null | awk '{ print $2; exit }')
    [ -n "$device" ] || { echo "no interface of this host has $2"; return; }
    here=$(ip -4 -o address show to "$1/32" 2>/dev/null)
    said=$(timeout 5 arping -f -w 2 -I "$device" -s "$2" "$1" 2>&1)
    case "$?${here:+ here}" in
    0 | '1 here') well ;;
    '0 here') echo "two hosts have $1: this one and $(printf '%s\n' "$said" | sed -n 's/.*\[\(.*\)\].*/\1/p' | head -n 1)" ;;
    1) echo "no host has $1" ;;
    *) echo "arping cannot ask for $1: $said" ;;
    esac
}

name_is_unknown() {
    looked_up "$1"
    answer=
    case "$newline$heard" in *"$newline$1 "*)
        answer=${heard#"$1 "}
        [ "$answer" != "$heard" ] || answer=${heard#*"$newline$1 "}
        answer="$1 ${answer%%"$newline"*}" ;;
    esac
    case "$answer" in
    "$1 NXDOMAIN "* | "$1 NXDOMAIN" | "$1 NOERROR " | "$1 NOERROR") well ;;
    '') echo "the name server gives no answer about $1" ;;
    *) echo "$1 is ${answer#* }; nobody declared it" ;;
    esac
}

name_asked_for() { # ADDRESS PORT: sets `name` to that of the TLS session that a check has with it; empty for none
    name=
    case "$newline$checks" in *"${newline}tls_verifies$tab$1$tab$2$tab"*)
        name=${checks#*"tls_verifies$tab$1$tab$2$tab"} name=${name%%"$tab"*} ;;
    esac
}

port_answers() { # ADDRESS PORT
    # A TLS session is tried all the same.
    name_asked_for "$1" "$2"
    ended=
    if [ -n "$name" ]; then
        session "$1" "$2" "$name"
        ended=$?
        case "$ended $heard" in
        *"$no_connection"*) ;;
        '124 '*) echo "$1 port $2 $hangs"; return ;;
        *CONNECTED*) well; return ;;
        esac
    fi
    if [ -z "$silent" ] && connects "$1" "$2"; then well; return; fi
    case "$ended $heard" in ' '*) ;; *errno=113* | *errno=110* | *errno=101*) silent=+ twice=+ ;; esac  # no route to the host or network, or no answer
    echo "$1 port $2 does not answer: is the service running, does a firewall stand between?"
}

no_connection="no connection was made in time"

s_client() { # ADDRESS PORT NAME [options]: one TLS session, which sends `says`
    address=$1 port=$2 name=$3
    shift 3
    # openssl has no limit for connecting, so the first try has that of a connection. If the server then
    # accepts connections it is busy, and gets more time; if not, two connections have timed out.
    try_session "$connect_seconds" "$@"
    ended=$?
    [ "$ended" = 124 ] || return "$ended"
    connects "$address" "$port" || { echo "$no_connection"; return 124; }
    try_session "$tls_seconds" "$@"
}

try_session() { # SECONDS [options]
    seconds=$1
    shift
    if [ -z "$says" ]; then
        timeout "$seconds" openssl s_client -connect "$address:$port" -servername "$name" "$@" </dev/null 2>&1
    else
        printf "$says" | timeout "$seconds" openssl s_client -connect "$address:$port" -servername "$name" "$@" 2>&1
    fi
}

session() { # ADDRESS PORT NAME: sets `heard` to the session of a client that trusts the site's root
    says= until_closed=
    case "$newline$checks" in *"${newline}clock_agrees${tab}https://$1:$2/"*)
        says='HEAD /health HTTP/1.0\r\n\r\n' until_closed=-ign_eof ;;
    esac
    hear "tls.$root.$1.$2.$3" s_client "$1" "$2" "$3" -verify_hostname "$3" -no-CApath -no-CAstore \
        -CAfile "$root" $until_closed
    heard_status=$?
    # One that hangs behind its session is told by those that ask for more than the session.
    [ "$heard_status$until_closed" != 124-ign_eof ] || ! is_verified "$heard" || heard_status=0
    [ "$heard_status" != 124 ] || silent=+ twice=+
    return "$heard_status"
}

is_verified() { # SESSION: openssl reports success also for a peer without a certificate, as one without TLS
    case "$1" in
    *'no peer certificate available'*) return 1 ;;
    *'Verify return code: 0 (ok)'*) return 0 ;;
    *) return 1 ;;
    esac
}

tls_verifies() { # ADDRESS PORT NAME ROOT: the certificate's chain to the root, and its name
    root=$4
    session "$1" "$2" "$3"
    output=$heard
    [ -z "$tells_sessions" ] || printf '%s\n' "$heard" >"$work/session.$number"
    if is_verified "$output"; then well; return; fi
    why=$(printf '%s\n' "$output" | awk '/^depth=/ {at = $0} sub(/^verify error:num=[0-9]*:/, "") {
        print $0 (at ~ /^depth=[1-9]/ ? " (" at ")" : ""); exit}')
    serves=$(printf '%s\n' "$output" | sed -n 's/^ *0 s:/subject /p' | head -n 1)
    names=$(printf '%s\n' "$output" | x509 -noout -ext subjectAltName 2>/dev/null | tail -n 1)
    echo "$1 port $2 does not prove to be $3: ${why:-no TLS session}; serves ${serves:-nothing} $names"
}

talks() { # ADDRESS PORT: it sends something within two seconds of the connection
    timeout $((connect_seconds + 2)) bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit 9; IFS= read -r -t 2 -n 1 -d "" -u 3' \
        "$1" "$2" 2>/dev/null
}

tcp_passes() { # ADDRESS PORT: the backend sends something, or waits; without a backend the gateway closes
    talks "$1" "$2"
    ended=$?
    if [ "$ended" = 124 ]; then
        twice=+
        ! connects "$1" "$2" || { talks "$1" "$2"; ended=$?; }
    fi
    case "$ended" in
    0) well ;;
    124) echo "$1 port $2 does not answer: the question is dropped, or not taken" ;;
    9) echo "$1 port $2 does not answer" ;;
    *) if [ "$ended" -gt 128 ]; then well; else echo "$1 port $2 closes the connection: the gateway does not reach what is behind it"; fi ;;
    esac
}

external_proves() { # HOST PORT NAME PROOF FILE: an external service; PROOF is its SHA-256, "ca" (in FILE) or "public"
    case "$3" in *[!0-9.]*) kind=hostname ;; *) kind=ip ;; esac
    says=
    case "$4" in
    public) output=$(s_client "$1" "$2" "$3" "-verify_$kind" "$3") ;;
    *) output=$(s_client "$1" "$2" "$3" "-verify_$kind" "$3" -no-CApath -no-CAstore -CAfile "$5") ;;
    esac
    [ $? != 124 ] || twice=+
    case "$4" in public | ca)
        if is_verified "$output"; then well; return; fi
        why=$(printf '%s\n' "$output" |
            sed -n 's/^ *verify error:num=[0-9]*://p; /return code: 0 (ok)/d; s/^ *Verify return code: //p' | head -n 1)
        echo "$1 port $2 does not prove to be $3: ${why:-no TLS session}"
        return ;;
    esac
    seen=$(printf '%s\n' "$output" | x509 -noout -fingerprint -sha256 2>/dev/null | sed 's/.*=//' | tr -d : | tr A-F a-f)
    [ -n "$seen" ] || { echo "$1 port $2 gives no TLS session"; return; }
    [ "$seen" = "$4" ] || { echo "$1 port $2 has another certificate than declared: its SHA-256 is $seen"; return; }
    if [ -s "$5" ]; then well; else echo "Traefik does not have its certificate yet: phoenix sync traefik"; fi
}

x509() { # openssl x509, without reading the system's roots, which takes two thirds of its time
    SSL_CERT_FILE=/dev/null openssl x509 "$@"
}

seconds_of() { # MONTH DAY TIME YEAR, as openssl writes them: sets `seconds` since 1970; 0 where it is not a time
    seconds=0 month=
    case "$1" in Jan) month=1 ;; Feb) month=2 ;; Mar) month=3 ;; Apr) month=4 ;; May) month=5 ;; Jun) month=6 ;;
    Jul) month=7 ;; Aug) month=8 ;; Sep) month=9 ;; Oct) month=10 ;; Nov) month=11 ;; Dec) month=12 ;; esac
    case "$month:$2:$3:$4" in *[!0-9:]* | :* | *::* | *:) return ;; esac
    day=${2#0} year=$4 hour=${3%%:*} minute=${3#*:} second=${3##*:}
    minute=${minute%%:*} hour=${hour#0} minute=${minute#0} second=${second#0}
    [ "$month" -gt 2 ] || year=$((year - 1))
    # Days since 1 March of the year 0, of which 719468 are before 1970 (the Gregorian calendar).
    day=$((365 * year + year / 4 - year / 100 + year / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 719469))
    seconds=$((86400 * day + 3600 * hour + 60 * minute + second))
}

lifetime() { # TEXT with "notBefore=..." and "notAfter=...": sets start, end and now, in seconds since 1970
    for key in notBefore notAfter; do
        seconds=0
        case "$1" in *"$key="*)
            line=${1#*"$key="} line=${line%%"$newline"*}
            seconds_of $line ;;
        esac
        [ "$key" = notAfter ] || start=$seconds
    done
    end=$seconds
    [ -n "$now" ] || now=$(date +%s)
    [ -n "$now" ] || { echo "date gives no answer"; return 1; }
}

leaf() { # ADDRESS PORT NAME: serial number and dates of the served certificate
    session "$@"
    printf '%s\n' "$heard" | x509 -noout -serial -startdate -enddate 2>/dev/null
}

served_dates() { # from OpenSSL 3's session in `heard`: sets output to "notBefore=..." and "notAfter=..." of the leaf, as `openssl x509` has them
    output=
    case "$heard" in *"$newline 0 s:"*) output=${heard#*"$newline 0 s:"} ;; esac
    case "$output" in *"$newline   v:NotBefore: "*) ;; *) return 1 ;; esac
    output=${output#*"$newline   v:NotBefore: "}
    output=${output%%"$newline"*}
    case "$output" in *'; NotAfter: '*) ;; *) return 1 ;; esac
    output=notBefore=${output%%;*}${newline}notAfter=${output##*: }
}

first_certificate() { # of text with certificates: the base64 of the first one, on one line
    inside= said=
    while IFS= read -r line; do
        case "$inside$line" in
        *-----BEGIN\ CERTIFICATE-----) inside=+ ;;
        +-----END\ CERTIFICATE-----) break ;;
        +*) said=$said$line ;;
        esac
    done
    printf '%s\n' "$said"
}

served_is_fresh() { # ADDRESS PORT NAME: at least a tenth of its lifetime is left, so renewal works
    # Without a session, tls_verifies reports it.
    session "$@"
    served_dates || output=$(once "leaf.$1.$2.$3" leaf "$@") || { well; return; }
    lifetime "$output" || return
    remaining=$((end - now))
    if [ "$remaining" -le 0 ]; then
        echo "the certificate that $1 port $2 serves for $3 has expired: $(date -u -d "@$end" '+%F %H:%M UTC')"
    elif [ $((remaining * 10)) -le $((end - start)) ]; then
        echo "the certificate for $3 ends in $((remaining / 60)) minutes of $(((end - start) / 60)): it is not being renewed"
    else
        well
    fi
}

roots_are_there() { # FILE: the roots by which this host verifies certificates
    if [ ! -e "$1" ]; then echo "$1 is missing"; return; fi
    case "$(cat "$1" 2>&1)" in
    *'-----BEGIN CERTIFICATE-----'*'-----END CERTIFICATE-----'*) well ;;
    *) echo "$1 holds no certificate" ;;
    esac
}

keys_are_private() {
    files=$(timeout 10 find "$1" -type f -printf '%m %p\n' 2>&1) && [ -n "$files" ] ||
        { echo "no key can be looked at: $files"; return; }
    while read -r mode open; do
        case "$mode" in *00) ;; *) echo "$open can be read by others"; return ;; esac
    done <<EOT
$files
EOT
    well
}

pair_fits() { # PAIR CERTIFICATE NAME...: key and certificate match, and have exactly these names
    pair=$1 certificate=$2
    shift 2
    output=$(x509 -in "$pair/fullchain.pem" -noout -pubkey -startdate -enddate \
        -ext subjectAltName 2>/dev/null)
    cert= names_in_it= part=
    while IFS= read -r line; do
        case "$part$line" in
        -----BEGIN*) cert=$line part=key: ;;
        key:-----END*) cert=$cert$newline$line part= ;;
        key:*) cert=$cert$newline$line ;;
        'X509v3 Subject Alternative Name'*) part=names: ;;
        names:*) names_in_it=$line part= ;;
        esac
    done <<EOT
$output
EOT
    [ -n "$cert" ] || { echo "$pair/fullchain.pem is missing or no certificate"; return; }
    [ "$cert" = "$(openssl pkey -in "$pair/privkey.pem" -pubout 2>/dev/null)" ] ||
        { echo "$pair/privkey.pem is not the key of the certificate"; return; }
    listed= count=0
    set -f
    for word in $names_in_it; do  # "DNS:a.test, IP Address:10.0.0.1"
        case "$word" in *:*) word=${word%,} listed="$listed ${word#*:}" count=$((count + 1)) ;; esac
    done
    set +f
    for name; do case "$listed " in *" $name "*) ;; *) count= ;; esac; done
    [ "$count" = $# ] || { echo "the certificate is for${listed:- nobody}, not $*"; return; }
    lifetime "$output" || return
    # Written by phoenix-acme after a failed renewal, until one succeeds.
    failure=${PHOENIX_ACME_VAR:-/var/lib/phoenix-acme}/$certificate/failure
    if [ "$end" -gt "$now" ] && [ ! -e "$failure" ]; then well; return; fi
    failure=$(cat "$failure" 2>/dev/null)
    ends=$(date -u -d "@$end" '+%F %H:%M UTC')
    if [ "$end" -le "$now" ]; then
        echo "the certificate has expired: $ends${failure:+; its renewal failed: $failure}"
    elif [ -n "$failure" ]; then
        echo "the last renewal failed: $failure (the certificate ends $ends)"
    else
        well
    fi
}

pair_is_served() { # PAIR ADDRESS PORT NAME: the service has loaded what is on disk
    file=$(first_certificate <"$1/fullchain.pem") 2>/dev/null
    session "$2" "$3" "$4"
    served=$(printf '%s\n' "$heard" | first_certificate)
    if [ -n "$file" ] && [ "$file" = "$served" ]; then well; return; fi
    file=$(x509 -in "$1/fullchain.pem" -noout -serial 2>/dev/null)
    shift
    served=$(once "leaf.$1.$2.$3" leaf "$@") || { well; return; }  # tls_verifies reports it
    served=${served%%"$newline"*}
    [ -z "$file" ] || [ "$file" != "$served" ] || { well; return; }
    echo "port $2 serves ${served:-nothing}, the file is ${file:-missing}"
}

router_is_enabled() { # URL
    if [ -n "$retry" ]; then output=$(curl_within 5 -sSg "$1" 2>&1); else
        hear routers once routers routers
        output=$newline$heard$newline
        case "$output" in
        *"$newline$1$tab"*) output=${output#*"$newline$1$tab"} output=${output%%"$newline"*} ;;
        *) output= ;;
        esac
    fi
    case "$output" in
    *'"status":"enabled"'*) well ;;
    *'404 page not found'* | '') echo "Traefik does not have this router" ;;
    *) echo "$output" | grep -o '"error":\[[^]]*\]' || echo "$output" | cut -c 1-200 ;;
    esac
}

routers() { # "URL<tab>ANSWER" of each checked router
    set -- $(words_of router_is_enabled)
    timeout 20 curl -sSg --connect-timeout "$connect_seconds" --max-time 5 -w '\n%{url}\n' "$@" 2>&1 | awk -v OFS="$tab" '
        /^http:/ { print $0, answer; answer = ""; next } { answer = answer $0 }'
}

request_gives() { # STATUS URL ROOT [ADDRESS]: at that address, whatever DNS says
    if [ -z "$retry$4" ]; then
        hear requests once requests requests
        case "$newline$heard" in *"$newline$1 $2 "*) well; return ;; esac
        # Traefik retries a backend for ten seconds before it answers so (traefik_yml.RETRY_TIMEOUT).
        output=$(printf '%s\n' "$heard" | awk -v url="$2" -v long="${out:+$connect_seconds}" '
            $2 == url && ($1 ~ /^50[234]$/ && $3 >= 10 || long != "" && $3 >= long + 0) { print $1 }')
        twice=+
        case "$output" in
        '') ;;
        000) echo "gives no answer in time, not $1"; return ;;
        *) echo "gives $output, not $1"; return ;;
        esac
        sleep "$pause_seconds"
    fi
    output=$(curl_within "$request_seconds" -sSg -o /dev/null -w '%{http_code}' --cacert "$3" \
        ${4:+--connect-to "::$4:"} "$2" 2>&1)
    if [ "$output" = "$1" ]; then well; else echo "gives $(reason_of "$output"), not $1"; fi
}

grpc_gives() { # STATUS URL ROOT: an empty HTTP/2 call, which every gRPC server answers with status 200
    output=$(printf '\0\0\0\0\0' | curl_within "$request_seconds" -sSg -o /dev/null -w '%{http_version} %{http_code}' \
        --http2 --cacert "$3" -H 'content-type: application/grpc' -H 'te: trailers' --data-binary @- "$2" 2>&1)
    if [ "$output" = "2 $1" ]; then well; else echo "gives $(reason_of "$output"), not 2 $1 (HTTP version, status)"; fi
}

login_is_asked() { # URL ROOT: a client that is not logged in is sent to the log-in, or refused
    output=$(curl_within "$request_seconds" -sSg -o /dev/null -w '%{http_code}' --cacert "$2" "$1" 2>&1)
    case "$output" in
    30[12378] | 401 | 403) well ;;
    2??) echo "gives $output to a client without a log-in: the server that is asked lets everyone in" ;;
    *) echo "gives $(reason_of "$output"), where a log-in should be asked for" ;;
    esac
}

requests() { # "STATUS URL SECONDS" of each checked URL; the check of a failed one asks again
    set -- $(words_of request_gives | cut -f 2)
    for url; do
        shift
        set -- "$@" -o /dev/null "$url"
    done
    curl_within "$request_seconds" -sZg --parallel-max 50 -w '%{http_code} %{url} %{time_total}\n' --cacert "$root" "$@" 2>/dev/null
}

name_is_rejected() { # ADDRESS NAME
    curl_within 5 -sk -o /dev/null --resolve "$2:443:$1" "https://$2/"
    ended=$?
    case "$ended" in
    0) echo "the gateway answers for $2, which nobody declared" ;;
    7 | 28 | 35 | 52 | 55 | 56) well ;;  # it refuses; or it answers nobody, which other checks report
    *) echo "it could not be tried: curl ended with $ended" ;;
    esac
}

docker_has_no_port() { # except one that the operator keeps (taking_over; phoenix.components.docker)
    if [ -e /etc/phoenix/docker/api.kept ]; then well; return; fi
    open=$(timeout 10 ss -Hltn 'sport = :2375 or sport = :2376' 2>&1) ||
        { echo "the ports could not be listed: $open"; return; }
    if [ -n "$open" ]; then echo "Docker listens on the network: $open"; else well; fi
}

in_swarm() { # ROLE: this host is a node of a working swarm, as manager or worker
    said=$(once swarm timeout 40 docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.Error}}') ||
        { echo "Docker does not tell of its swarm: ${said:-no answer}"; return; }
    state=${said%% *} is=worker
    case "$said" in
    *'does not have a leader'*) echo "the swarm has lost the majority of its managers: what runs goes on, and nothing is started, moved or changed"; return ;;
    "$state true "*) is=manager ;;
    esac
    error=${said#* * }
    case "$state" in
    active) ;;
    inactive) echo "it is in no swarm"; return ;;
    *) echo "Docker says that it is $state in its swarm${error:+: $error}"; return ;;
    esac
    if [ -n "$error" ]; then echo "the swarm is at fault: $error"
    elif [ "$is" != "$1" ]; then echo "it is a $is of its swarm, not a $1"
    else well; fi
}

swarm_nodes() { # "NAME STATE ROLE AVAILABILITY REACHABILITY LABEL..." of each node of ours, as this manager has it
    # For a new leader every node is unknown until it reports, or counts as down (moby/swarmkit,
    # manager/dispatcher: "Node moved to unknown state due to leadership change"), some 20 seconds.
    heard=30
    while :; do
        rows=$(node_rows) || return 1
        case "$rows" in *' unknown '*) ;; *) break ;; esac
        heard=$((heard - 1))
        [ "$heard" -gt 0 ] || break
        sleep 1
    done
    printf '%s\n' "$rows"
}

node_rows() {
    ids=$(timeout 20 docker node ls --quiet 2>/dev/null) && [ -n "$ids" ] || return 1
    timeout 20 docker node inspect --format '{{index .Spec.Labels "phoenix.node"}} {{.Status.State}} {{.Spec.Role}} {{.Spec.Availability}} {{with .ManagerStatus}}{{.Reachability}}{{else}}-{{end}}{{range $name, $value := .Spec.Labels}} {{$name}}={{$value}}{{end}}' $ids
}

cannot_tell() { # WHAT: no answer where in_swarm reports why; another manager may have one
    said=$(in_swarm manager)
    if [ "$said" = + ]; then echo "Docker does not tell of $1"; else echo '?'; fi
}

node_is() { # NAME ROLE AVAILABILITY LABEL...: labels sorted by name
    rows=$(once swarm_nodes swarm_nodes) || { cannot_tell "the swarm's nodes"; return; }
    row=$(printf '%s\n' "$rows" | sed -n "s/^$1 ready /ready /p" | head -n 1)  # a node that joined several times is listed several times
    row=${row:-$(printf '%s\n' "$rows" | sed -n "s/^$1 //p" | head -n 1)}
    [ -n "$row" ] || { echo "the swarm has no node of this name: it has not joined, or was taken out by hand"; return; }
    role=$2 availability=$3
    shift 3
    labels=$*
    set -- $row
    state=$1 has=$2 takes=$3 reaches=$4
    shift 4
    if [ "$state" != ready ]; then echo "the swarm's managers do not hear from it: $state"
    elif [ "$has" != "$role" ]; then echo "it is a $has, not a $role"
    elif [ "$has-$reaches" != manager-reachable ] && [ "$has" = manager ]; then echo "as a manager it is $reaches"
    elif [ "$takes" != "$availability" ]; then echo "its availability is $takes, not $availability"
    elif [ "$*" != "$labels" ]; then echo "its labels are ${*:-none}, not $labels"
    else well; fi
}

overlay_is() { # NAME encrypted|plain attachable|closed SUBNET|any: an overlay network, asked of this manager
    row=$(timeout 20 docker network inspect --format '{{.Driver}},{{range $name, $value := .Options}}{{if eq $name "encrypted"}}encrypted{{end}}{{end}},{{if .Attachable}}attachable{{else}}closed{{end}},{{range .IPAM.Config}}{{.Subnet}}{{end}}' "$1" 2>&1) || {
        case "$row" in
        *'not found'* | *'o such network'*) echo "the swarm has no such network" ;;
        *) cannot_tell "the network $1" ;;
        esac
        return
    }
    encrypted=$2 subnet=$4
    [ "$encrypted" = encrypted ] || encrypted=
    [ "$subnet" != any ] || subnet=${row##*,}
    if [ "$row" = "overlay,$encrypted,$3,$subnet" ]; then well
    else echo "it is not as declared: it is $row, and is to be overlay,$encrypted,$3,$subnet"; fi
}

kernel_encrypts() { # the kernel supports encrypted overlay networks: ESP with AES-GCM, tried in a new network namespace
    said=$(timeout 20 unshare --net ip xfrm state add src 127.0.0.1 dst 127.0.0.2 proto esp spi 0x1 mode transport aead 'rfc4106(gcm(aes))' 0x0101010101010101010101010101010101010101 64 2>&1) && { well; return; }
    case "$said" in
    *AEAD* | *'rotocol not supported'* | *'peration not supported'*) echo "the kernel cannot encrypt overlay networks ($said): nothing passes through one between nodes" ;;
    *) well ;;  # this host permits no try
    esac
}

watcher_looks() { # FILE TIMER: each run of the watcher writes the file; the timer is active even if every run fails
    if seen=$(stat -c %Y "$1" 2>/dev/null); then age=$(($(date +%s) - seen)); else
        # No run yet: wait from the start of the timer on.
        since=$(timeout 20 systemctl show -P ActiveEnterTimestampMonotonic "$2" 2>/dev/null)
        since=${since%%[!0-9]*}
        read -r up _ </proc/uptime
        age=$((${up%%.*} - ${since:-0} / 1000000))
    fi
    if [ "$age" -le 300 ]; then well; else
        echo "the watcher has not looked for $age s, so nothing raises an alarm: journalctl -u ${2%.timer}.service"
    fi
}

guard_holds() { # PROGRAM: nftables has exactly the rules that were loaded
    said=$(timeout 20 "$1" holds 2>&1)
    case "$?" in 0) well ;; *) echo "the guard does not hold: ${said:-it could not be asked}" ;; esac
}

networks_hold() { # PROGRAM: bridges, forwarding and NAT are as they were loaded
    said=$(timeout 20 "$1" holds 2>&1)
    case "$?" in 0) well ;; *) echo "${said:-it could not be asked whether bridges and NAT hold}" ;; esac
}

folders_are_mounted() { # PROGRAM: each folder by NFS is mounted, and its server answers
    said=$(timeout 20 "$1" holds 2>&1)
    case "$?" in 0) well ;; *) echo "${said:-it could not be asked which folders are mounted}" ;; esac
}

# A bash program: its $0 is an address, its arguments are ports. It prints "PORT +" for each open port, and "+"
# for each that refuses or is silent. A silent port is tried twice. A port is silent after two seconds without an
# answer, or earlier: if the host has answered every ping sent after the connections were tried, while these are
# still unanswered (ss(8), state syn-sent).
port_program='
address=$0 port_of=() answer=()
ask() {
    for port in "${ports[@]}"; do
        [[ ${answer[port]} ]] || { { : <"/dev/tcp/$address/$port" && exit 0; exit 9; } & port_of[$!]=$port; }
    done
}
hear() { # the results of the finished connections
    for pid in "${!port_of[@]}"; do
        kill -0 $pid && continue
        port=${port_of[pid]}
        wait $pid
        case $? in 0) answer[port]="$port +" ;; 9) answer[port]=${answer[port]:-+} ;; esac
        unset "port_of[pid]"
    done
}
is_silent() { # each connection is finished, or sent and unanswered
    hear
    [[ ${#port_of[@]} = 0 ]] && return
    words=($(ss -Htn state syn-sent dst "$address")) || is_blind=1
    sockets=" ${words[*]} "
    for port in "${port_of[@]}"; do
        [[ $sockets = *" $address:$port "* ]] || return
        sockets=${sockets/" $address:$port "/ }
    done
}
is_over() { ((${EPOCHREALTIME/./} - began > 2000000)); }
is_blind= ports=("$@") began=${EPOCHREALTIME/./}
ask
sleep 0.05
hear
ask
sleep 0.05
until is_silent || is_over; do sleep 0.05; done
if [[ ${#port_of[@]} != 0 ]]; then
    case $(ping -n -q -c 3 -i 0.1 -W 1 "$address") in
    *" 0% packet loss"*) ;;
    *) until hear; [[ ${#port_of[@]} = 0 ]] || is_over; do sleep 0.05; done ;;
    esac
    until is_silent || { [[ $is_blind ]] && is_over; }; do sleep 0.05; done
fi
for port in "${port_of[@]}"; do answer[port]=${answer[port]:-+}; done
kill "${!port_of[@]}"
printf "%s\n" "${answer[@]}"
'

shut_to() { # COMMAND ADDRESS PORT...: for a client that runs under the command; prints the open ports
    by=$1 address=$2
    shift 2
    said=$(exec 2>/dev/null; timeout 10 $by bash -c "$port_program" "$address" "$@"; :)
    open= made=0
    for word in $said; do case "$word" in +) made=$((made + 1)) ;; *) open="$open $word" ;; esac; done
    if [ -n "$open" ]; then echo "$address answers at port$open, which the site's flows do not open"
    elif [ "$made" != $# ]; then echo "only $made of $# ports could be asked"
    else return 0; fi
    return 1
}

ports_are_shut() { # ADDRESS PORT...: closed to this host
    if shut_to '' "$@"; then well; fi
}

ports_are_shut_to_containers() { # ADDRESS PORT...: tried from the network namespace of one of its containers
    rows=$(once containers containers) || { echo "Docker does not list its containers: $rows"; return; }
    ids=$(printf '%s\n' "$rows" | sed -n "/^[^ ]* \(host\|none\|\)$tab/d; /$tab[^$tab]*$tab[^ ]* [^ ]* running /s/ .*//p")
    [ -n "$ids" ] || { well; return; }  # no container has a network of its own: there is nothing to try from
    # A container that has ended meanwhile does not count.
    pids=$(timeout 20 docker inspect --format '{{.State.Pid}}' $ids 2>&1)
    pid=$(printf '%s\n' "$pids" | sed -n '/^[1-9][0-9]*$/p' | head -n 1)
    [ -n "$pid" ] || { echo "Docker does not tell of its containers: $pids"; return; }
    if shut_to "nsenter -t $pid -n" "$@"; then well; fi
}

serves_no_stranger() { # ADDRESS NAME PORT: a TLS client without a certificate is refused
    says='GET /ping HTTP/1.0\r\n\r\n'
    said=$(s_client "$1" "$3" "$2" -ign_eof -quiet)
    case "$?:$said" in
    *' alert '*) well ;;
    *HTTP/1*) echo "$1 port $3 answers to this host, which shows no certificate" ;;
    *'verify return:'*) echo "$1 port $3 takes a client without a certificate: $(printf '%s\n' "$said" | tail -n 1)" ;;
    # The server sent no certificate: it answers nobody, which other checks report.
    124:* | 1:*'Connecting to '* | 1:*connect:errno* | 1:*:error:*) well ;;
    *) echo "openssl cannot ask $1 port $3: $(reason_of "$said")" ;;
    esac
}

agent_pings() { # the agent makes its own certificate, so only the header of a ping identifies it
    headers=$(curl_within "$tls_seconds" -sSk -o /dev/null -D - "$1/ping" 2>&1)
    case "$headers" in *[Pp]ortainer-[Aa]gent:*) well ;; *) echo "no agent answers at $1: $(reason_of "$headers")" ;; esac
}

api() { # URL ROOT KEYFILE PATH
    [ -s "$3" ] || { echo "there is no API key in $3"; return 1; }
    curl_within 10 -sS --fail-with-body --cacert "$2" -H "@$3" "$1$4" 2>&1
}

portainer_knows_us() { # URL ROOT KEYFILE
    output=$(api "$1" "$2" "$3" /users/me)
    case "$?" in
    0) well ;;
    1) echo "$output" ;;
    22) echo "the API key is refused: $(reason_of "$output")" ;;
    *) echo "Portainer does not answer: $(reason_of "$output")" ;;
    esac
}

listed() { # KEY URL ROOT KEYFILE PATH: a list from Portainer; if it fails, prints the fault
    rows=$(once "$1" api "$2" "$3" "$4" "$5") || { echo "Portainer cannot be asked: $(reason_of "$rows")"; return 1; }
    case "$rows" in '['*) printf '%s\n' "$rows" ;; *) echo "Portainer's answer is no list: $(reason_of "$rows")"; return 1 ;; esac
}

endpoint_id() { # URL ROOT KEYFILE NAME: if it fails, prints the fault
    rows=$(listed endpoints "$1" "$2" "$3" '/endpoints?excludeSnapshots=true') || { echo "$rows"; return 1; }
    id=$(printf '%s\n' "$rows" | jq -r --arg n "$4" '.[] | select(.Name == $n) | .Id' 2>&1)
    case "$id" in '' | *[!0-9]*) echo "Portainer has no endpoint $4"; return 1 ;; *) echo "$id" ;; esac
}

endpoint_is_up() { # URL ROOT KEYFILE NAME: asks the Docker behind it, since Portainer's Status is stale
    id=$(endpoint_id "$1" "$2" "$3" "$4") || { echo "$id"; return; }
    if output=$(api "$1" "$2" "$3" "/endpoints/$id/docker/_ping"); then well; else
        echo "the Docker behind it does not answer: $(reason_of "$output")"
    fi
}

stack_is_active() { # URL ROOT KEYFILE ENDPOINT STACK
    id=$(endpoint_id "$1" "$2" "$3" "$4") || { echo "$id"; return; }
    rows=$(listed stacks "$1" "$2" "$3" /stacks) || { echo "$rows"; return; }
    status=$(printf '%s\n' "$rows" | jq -r --arg n "$5" --argjson e "$id" \
        '.[] | select(.Name == $n and .EndpointId == $e) | .Status' 2>&1)
    [ "$status" != 1 ] || { well; return; }
    echo "is ${status:-not there} (1 is active, 2 stopped, 3 deploying, 4 failed)"
}

containers() { # "ID NETWORKS<tab>PROJECT<tab>SERVICE NAME STATE STATUS" of each
    timeout 20 docker ps -a --format "{{.ID}} {{.Networks}}$tab{{.Label \"com.docker.compose.project\"}}$tab{{.Label \"com.docker.compose.service\"}} {{.Names}} {{.State}} {{.Status}}"
}

containers_are_well() { # PROJECT SERVICE...: containers of these services may have ended with code 0
    all=$(once containers containers) ||
        { echo "Docker does not list its containers:"; printf '%s\n' "$all" | head -n 3; return; }
    all=$(printf '%s\n' "$all" | sed -n "s/^[^$tab]*$tab$1$tab//p")
    [ -n "$all" ] || { echo "there are none"; return; }
    shift
    bad=$(printf '%s\n' "$all" | awk -v completing=" $* " '
        index(completing, " " $1 " ") && /^[^ ]+ [^ ]+ exited Exited \(0\)/ { next }
        $3 != "running" || /unhealthy/ { sub(/^[^ ]+ /, ""); print; bad++ }
        END { if (!bad) print "+" }')
    [ "$bad" = + ] || { printf '%s\n' "$bad" | head -n 3; return; }
    # Only those that have run for less than ten minutes: after that they are steady.
    young=$(printf '%s\n' "$all" | awk '/ running Up (Less|About a minute|[0-9]+ second|[0-9] minutes)/ { print $2 } END { print "+" }')
    case "$young" in
    +) well ;;
    *+) restarts_are_over ${young%+} ;;
    esac
}

tasks_are_well() { # PROJECT: each service of a Swarm stack runs as many tasks as declared
    rows=$(timeout 20 docker service ls --filter "label=com.docker.stack.namespace=$1" --format '{{.Name}} {{.Replicas}}' 2>&1) ||
        { echo "the swarm's manager does not list services: $(printf '%s\n' "$rows" | head -n 1)"; return; }
    [ -n "$rows" ] || { echo "the swarm has no service of it"; return; }
    bad=$(printf '%s\n' "$rows" | while read -r service count rest; do
        case "$rest" in *completed*) continue ;; esac
        # Surplus tasks are being stopped, or new ones replace them (start-first).
        case "$count" in *[!0-9/]* | */*/*) ;; *) [ "${count%/*}" -lt "${count#*/}" ] || continue ;; esac
        echo "$service has $count tasks: $(timeout 20 docker service ps --no-trunc --format '{{.CurrentState}} on {{.Node}} {{.Error}}' "$service" 2>&1 | grep -v '^Running' | head -n 1)"
    done)
    if [ -z "$bad" ]; then well; else printf '%s\n' "$bad" | head -n 3; fi
}

# Which of them Docker has restarted, and do not run steadily since: for ten seconds, or for three times
# as long if their former runs were short. phoenix/portainer_api/models.py, `steady_after`.
restarts_are_over() { # CONTAINER...
    runs=$(timeout 20 docker inspect --format '{{.Name}} {{.RestartCount}} {{.Created}} {{.State.StartedAt}}' "$@" 2>&1) ||
        { echo "Docker does not tell of restarts: $runs"; return; }
    again=$(printf '%s\n' "$runs" |
        while read -r name restarts created started; do
            [ "$restarts" -gt 0 ] || continue
            created=$(date -d "$created" +%s) started=$(date -d "$started" +%s) ||
                { echo "${name#/} was started at no time that can be read"; continue; }
            up=$(($(date +%s) - started)) each=$(((started - created) / restarts)) after=10
            if [ "$each" -le 600 ] && [ $((3 * each)) -gt 10 ]; then after=$((3 * each)); fi
            [ "$after" -le 600 ] || after=600
            [ "$up" -ge "$after" ] ||
                echo "${name#/} ends again and again: Docker has restarted it $restarts times, the last time $up s ago"
        done)
    if [ -z "$again" ]; then well; else printf '%s\n' "$again" | head -n 3; fi
}

groups() { # one line for the checks of one shell: `NUMBER "${PARAMETER}"...`; at most eight that share an answer.
    # First those that wait more than they compute, then "-", then the others.
    printf '%s' "$checks" | awk -F "$tab" -v expected="$count" '
        $1 == "tls_verifies" && !(($2, $3) in name) { name[$2, $3] = $4 }
        { check[NR] = $0 }
        END { if (NR != expected) exit 1
            for (i = 1; i <= NR; i++) { count = split(check[i], word); key = i
                if (word[1] ~ /^(tls_verifies|served_is_fresh)$/) key = "tls " word[2] " " word[3] " " word[4]
                else if (word[1] == "pair_is_served") key = "tls " word[3] " " word[4] " " word[5]
                else if (word[1] == "port_answers" && ((word[2], word[3]) in name))
                    key = "tls " word[2] " " word[3] " " name[word[2], word[3]]
                else if (word[1] == "clock_agrees" && split(word[2], part, "[/:]+") && ((part[2], part[3]) in name))
                    key = "tls " part[2] " " part[3] " " name[part[2], part[3]]
                else if (word[1] ~ /^(names_resolve|name_is_unknown)$/) key = "names"
                else if (word[1] == "unit_runs" && count == 2 || word[1] == "router_is_enabled" ||
                    word[1] == "request_gives" && count == 4) key = word[1]
                if (!(key in group) || size[group[key]] == 8) group[key] = ++last
                if (word[1] ~ /^(ports_are_shut(_to_containers)?|address_is_held)$/) waits[group[key]]
                line[group[key]] = line[group[key]] " " (i - 1) " \"${" i "}\""; size[group[key]]++ }
            for (i = 1; i <= last; i++) if (i in waits) print line[i]
            print "-"
            for (i = 1; i <= last; i++) if (!(i in waits)) print line[i] }'
}

run_groups() { # NAME LINES CHECK...: runs these groups, so many at once
    exec 3<>"$work/turns.$1"
    left=$2
    shift 2
    turn=0
    while [ "$turn" -lt "$parallel" ]; do echo >&3; turn=$((turn + 1)); done
    while [ -n "$left" ]; do
        group=${left%%"$newline"*}
        case "$left" in *"$newline"*) left=${left#*"$newline"} ;; *) left= ;; esac
        read -r turn <&3
        { eval "run_group $group"; echo >&3; } &
    done
    wait
}

run_group() { # NUMBER CHECK...: one after the other until one fails; the rest then runs separately, without waiting for it
    failed=
    while [ $# -gt 0 ]; do
        if [ -n "$failed" ]; then { run_check "$1" "$2" || run_again "$1" "$2"; } &
        elif ! run_check "$1" "$2"; then
            failed=+
            run_again "$1" "$2" &
        fi
        shift 2
    done
    wait
}

run_again() { # NUMBER CHECK: a busy machine sometimes misses a deadline, so a fault counts only if seen twice
    [ -z "$twice" ] || return 0
    if [ -n "$out" ] && [ -e "$work/unanswered.$1" ]; then return 0; fi
    retry=1
    sleep "$pause_seconds"
    run_check "$1" "$2"
}

run_check() { # NUMBER CHECK: writes its output, and "." as the last line when it has finished; fails on a fault
    number=$1 twice=$silent
    set -f
    IFS=$tab
    set -- $2
    unset IFS
    set +f
    { "$@"; echo .; } >"$work/$number" 2>&1
    first=
    read -r first <"$work/$number"
    [ "$first" = + ]
}

print_fault() { # NUMBER: "NUMBER<tab>FAULT" of a check that ran
    first= second= third=
    [ ! -e "$work/$1" ] || { read -r first; read -r second; read -r third; } <"$work/$1"
    # Most checks pass: print these without another process.
    if [ "$first $second$third" = '+ .' ]; then printf '%s\t\n' "$1"; return; fi
    output=$(tr '\n\t' '  ' <"$work/$1" 2>/dev/null)
    case "$output" in
    '+ . ') output= ;;
    '. ') output="this check could not be made: it says nothing (is memory full, was a program killed?)" ;;
    *' . ') output=${output%. } ;;
    *) output="this check did not finish (is /tmp or memory full?): $output" ;;
    esac
    short=$(printf '%s' "$output" | cut -c 1-500 | sed 's/ *$//')
    printf '%s\t%s\n' "$1" "${short:-$output}"
}

print_sessions() { # certificates and verdict; openssl also prints the session's secrets, which no log may have
    set -- "$work"/session.*
    [ ! -e "$1" ] || awk '
        FNR == 1 { number = FILENAME; sub(/.*\./, "", number); print "session " number; inside = 0 }
        /^-----BEGIN CERTIFICATE-----/ { inside = 1 }
        inside || /^ *Verify return code:/ || /^ *Protocol *:/ || /:error:/
        /^-----END CERTIFICATE-----/ { inside = 0 }' "$@"
}

none_made() { # REASON: no check can run; the fault of every check
    number=0
    while [ "$number" -lt "$count" ]; do
        printf '%s\tthis check was not run: %s\n' "$number" "$1"
        number=$((number + 1))
    done
    exit 0
}

free=$1 out= tells_sessions=  # of a file system, in percent: WARNING LEAST
case "$free" in *' out') free=${free% out} out=+ ;; esac
case "$free" in *' sessions') free=${free% sessions} tells_sessions=+ ;; esac
shift
count=$#
# /run is in memory: checks run even if the disk is full.
work=$(mktemp -d -p /run phoenix-checks.XXXXXX 2>/dev/null) || work=$(mktemp -d) || {
    none_made "no file can be created in /run or /tmp (are they full or read-only?)"
}
trap 'rm -rf "$work"' EXIT
checks=
for check; do checks=$checks$check$newline; done
root=$newline$checks
case "$root" in
*"${newline}tls_verifies$tab"*) root=${root#*"${newline}tls_verifies$tab"} root=${root%%"$newline"*} root=${root##*"$tab"} ;;
*) root= ;;
esac
now=$(date +%s)
mkfifo "$work/turns.waiting" "$work/turns.others" || none_made "no file can be created in $work"
listed=$(groups) && [ -n "$listed" ] || {  # without awk each check runs in its own shell
    listed=-$newline number=0
    while [ "$number" -lt "$count" ]; do
        listed="$listed$number \"\${$((number + 1))}\"$newline"
        number=$((number + 1))
    done
}
run_groups waiting "${listed%%-*}" "$@" &
run_groups others "${listed#*-"$newline"}" "$@"
wait
turn=0
while [ "$turn" -lt "$count" ]; do print_fault "$turn"; turn=$((turn + 1)); done
[ -z "$tells_sessions" ] || print_sessions
