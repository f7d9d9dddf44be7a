# Replace the CA's intermediate, or its root and intermediate. Runs, after keys.sh, as
#   sh -c SCRIPT step-ca-rotate prepare DIRECTORY KIND ORGANISATION ROOTNAME INTERMEDIATENAME \
#       DOMAINS NETWORKS YEARS           make the next keys beside the present ones. The root's
#                                        key, if it is offline, comes on standard input, as PEM
#   sh -c SCRIPT step-ca-rotate switch DIRECTORY UNIT STOP HEALTH    make the CA sign with the next keys
#   sh -c SCRIPT step-ca-rotate finish DIRECTORY                     end the rotation: all is replaced
#   sh -c SCRIPT step-ca-rotate abandon DIRECTORY UNIT HEALTH        keep the present keys, remove the next
# DIRECTORY/rotation is the state, from which the next run continues:
#   kind       root or intermediate; written first
#   next/      certs/ and secrets/ that will replace the present ones
#   earlier_root_ca.crt   the former root, trusted until the rotation ends (kind root)
#   switching  names the directory with the former files while files are exchanged
#   switched   the CA is proven to run with the next keys
set -eu
umask 077
trap '' HUP INT PIPE # the run that started this script may die; the script finishes
command=$1 directory=$2
state=$directory/rotation
cd "$directory"
exec 9>/run/lock/phoenix-step-ca
flock -w 300 9 || { echo "phoenix: another run is at work on $directory" >&2; exit 4; }

prepare() { # KIND ORGANISATION ROOTNAME INTERMEDIATENAME DOMAINS NETWORKS YEARS
    kind=$1 organisation=$2 root=$3 intermediate=$4
    domains=$5 networks=$6 days=$(($7 * 365))
    if [ -e "$state" ]; then return; fi
    memory=${PHOENIX_MEMORY:-/run}
    rm -rf "$state".new.* "$memory"/phoenix-root-key.*
    new=$(mktemp -d "$state.new.XXXXXX")
    given=
    trap 'rm -rf "$new" ${given:+"$given"}' EXIT
    mkdir -p "$new/next/certs" "$new/next/secrets" "$new/next/work"
    cd "$new/next"
    cp "$directory/secrets/password" secrets/password
    make_key intermediate_ca_key
    if [ "$kind" = root ]; then
        make_key root_ca_key
        make_root "$organisation" "$root"
        signer=secrets/root_ca_key lasts=$days
    else
        cp "$directory/certs/root_ca.crt" certs/root_ca.crt
        signer=$directory/secrets/root_ca_key
        if [ ! -e "$signer" ]; then # offline: in memory, only while it is needed
            given=$(mktemp "$memory/phoenix-root-key.XXXXXX")
            cat >"$given"
            signer=$given
        fi
        # Not longer than the certificate that signs it.
        end=$(date -d "$(openssl x509 -in certs/root_ca.crt -noout -enddate | cut -d= -f2)" +%s)
        lasts=$(((end - $(date +%s)) / 86400))
        if [ "$lasts" -gt "$days" ]; then lasts=$days; fi
    fi
    make_intermediate "$organisation" "$intermediate" "$signer" "$lasts" || {
        echo "phoenix: $signer does not sign for certs/root_ca.crt: is it this root's key?" >&2
        exit 3
    }
    rm -rf work secrets/password
    echo "$kind" >../kind
    sync
    cd "$directory"
    mv -T "$new" "$state"
}

put() { # FROM PATH: put one file in place, whole, also on a full disk: the CA is stopped
    if [ ! -e "$1/$2" ]; then return; fi
    rm -f "$2.new"
    ln "$1/$2" "$2.new" 2>/dev/null || cp "$1/$2" "$2.new"
    case $2 in
    certs/*) chmod 644 "$2.new" ;;
    secrets/root_ca_key) chmod 600 "$2.new" ;;
    *) chmod 600 "$2.new" && chown step:step "$2.new" ;;
    esac
    mv -f "$2.new" "$2"
    rm -f "$2.new" # rename(2) leaves both names of one file
}

exchange() { # FROM
    put "$1" certs/root_ca.crt
    put "$1" certs/intermediate_ca.crt
    put "$1" secrets/intermediate_ca_key
    put "$1" secrets/root_ca_key
    sync
}

healthy() { # UNIT HEALTH
    systemctl reset-failed "$1" 2>/dev/null || true
    systemctl start "$1" || return 1
    end=$(($(date +%s) + 30))
    until why=$(sh -c "$2" 2>&1 9>&-); do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.3
    done
}

aside() { # keep the present files, and the root that stays trusted
    mkdir -p retired
    rm -rf retired/.part
    mkdir -p retired/.part/certs retired/.part/secrets
    cp -p certs/root_ca.crt certs/intermediate_ca.crt retired/.part/certs/
    cp -p secrets/intermediate_ca_key retired/.part/secrets/
    if [ "$(cat "$state/kind")" = root ]; then
        # The key may be offline.
        if [ -e secrets/root_ca_key ]; then cp -p secrets/root_ca_key retired/.part/secrets/; fi
        cp certs/root_ca.crt "$state/earlier_root_ca.crt"
    fi
    retired=retired/$(date -u +%Y%m%dT%H%M%SZ)
    mv -T retired/.part "$retired"
    echo "$retired" >"$state/switching.new"
    sync
    mv -f "$state/switching.new" "$state/switching"
}

switch() { # UNIT STOP HEALTH
    if [ -e "$state/switched" ]; then return; fi
    [ -e "$state/switching" ] || aside
    if ! sh -c "$2" 9>&-; then # the command may have stopped the CA
        systemctl start "$1" || true
        echo "phoenix: what comes before the exchange failed; it is yet to be made" >&2
        exit 3
    fi
    systemctl stop "$1"
    exchange "$state/next"
    if healthy "$1" "$3"; then
        mv -f "$state/switching" "$state/switched"
        sync
        rm -rf "$state/next"
        return
    fi
    echo "phoenix: the CA does not run with its next keys: ${why:-it does not start}" >&2
    journalctl -q --no-pager -o cat -n 10 -u "$1" >&2 || true
    put_back "$1" "$3"
    echo "phoenix: the present keys are in charge again" >&2
    exit 5
}

put_back() { # UNIT HEALTH: restore the files from before the exchange
    before=$(cat "$state/switching")
    systemctl stop "$1" || true
    exchange "$before"
    rm -f "$state/switching" "$state/earlier_root_ca.crt"
    why=
    healthy "$1" "$2" || { echo "phoenix: NOR WITH THOSE BEFORE: $why" >&2; exit 5; }
    rm -rf "$before" # they are the present ones again
}

abandon() { # UNIT HEALTH
    if [ -e "$state/switched" ]; then
        echo "phoenix: make the CA sign with the next keys already: finish the rotation" >&2
        exit 3
    fi
    if [ -e "$state/switching" ]; then put_back "$1" "$2"; fi
    finish
}

finish() {
    if [ ! -e "$state" ]; then return; fi
    rm -rf "$state.done"
    mv -T "$state" "$state.done" # a half-removed folder must not count as state
    rm -rf "$state.done"
}

shift 2
case $command in
prepare | switch | finish | abandon) "$command" "$@" ;;
*) echo "phoenix: unknown command: $command" >&2; exit 2 ;;
esac
