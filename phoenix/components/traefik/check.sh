#!/bin/sh
# Made by Phoenix. Traefik has no check mode. This starts a second Traefik with the new configuration
# in a network namespace of its own and asks its API for errors.
#   traefik-check PROGRAM STATIC             Traefik starts with this static configuration.
#   traefik-check PROGRAM STATIC ROOT MARKER It also loads what is below ROOT, beside the other files
#                                            of its folder, without an error. The middleware MARKER
#                                            is in it.
set -eu
if [ "${PHOENIX_NETNS:-}" != yes ]; then
    PHOENIX_NETNS=yes exec unshare --net sh "$0" "$@"
fi
program=$1 static=$2 root=${3:-} marker=${4:-}
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/dynamic"
if [ -n "$root" ]; then
    # The files that are there now, then the proposed ones in place of theirs
    for file in /etc/traefik/dynamic/*.yml /etc/traefik/dynamic/*.yaml /etc/traefik/dynamic/*.toml; do
        [ ! -e "$file" ] || cat "$file" >"$work/dynamic/${file##*/}"
    done
    for file in "$root"/etc/traefik/dynamic/*.yml; do
        sed -e "s#/etc/traefik/dashboard.users#$root/etc/traefik/dashboard.users#" \
            -e "s#/etc/traefik/users/#$root/etc/traefik/users/#" "$file" >"$work/dynamic/${file##*/}"
    done
fi
sed "s#/etc/traefik/dynamic#$work/dynamic#" "$static" >"$work/traefik.yml"
ip link set lo up
# If this script is killed with -9, `timeout` still ends Traefik. It is longer than all tries below
# take on a busy machine (100 of 1.2 s), else Traefik seems to have ended by itself.
timeout -k 5 180 "$program" --configFile="$work/traefik.yml" >"$work/log" 2>&1 &
pid=$!
api=http://127.0.0.1:8081
tries=0
until curl -fsS --max-time 1 "$api/ping" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if ! kill -0 "$pid" 2>/dev/null; then
        pid=
        echo "Traefik does not start with this configuration:"
        grep -v '"level":"\(info\|debug\)"' "$work/log" | tail -n 5
        exit 1
    fi
    [ "$tries" -lt 100 ] || { echo "Traefik did not come up within 20 s"; tail -n 5 "$work/log"; exit 1; }
    sleep 0.2
done
[ -n "$marker" ] || exit 0
tries=0
until curl -fsS --max-time 1 "$api/api/http/middlewares/$marker@file" >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 25 ]; then
        echo "Traefik does not take these routes:"
        grep '"level":"error"' "$work/log" | tail -n 5
        exit 1
    fi
    sleep 0.2
done
for kind in routers services middlewares; do
    if faults=$(curl -fsS --max-time 2 "$api/api/http/$kind" | grep -o '"error":\[[^]]*\]'); then
        echo "Traefik reports errors in the $kind: $faults"
        exit 1
    fi
done
