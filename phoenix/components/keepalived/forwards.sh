#!/bin/sh
# NAME OWN OTHER...: whether this gateway forwards a request, or the others do not either. keepalived runs this.
# Made by Phoenix: deploys/keepalived.py
hands_on() { # ADDRESS
    case $(curl -s -o /dev/null -w '%{http_code}' --max-time 4 -H "Host: $name" "http://$1/") in
    000 | 403 | 5??) return 1 ;;
    esac
}

name=$1 own=$2
shift 2
hands_on "$own" && exit
for other in "$@"; do
    hands_on "$other" && exit 1
done
exit 0
