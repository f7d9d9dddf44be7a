# ROOTS, then ADDRESS PORT NAME FORMER of each stack's TLS port: no route is switched to a name that its
# backend does not prove while it proves the former one. One that is down, or proves neither, does not
# hold up the others: it serves nobody now.
roots=$1
shift
proves() { # ADDRESS PORT NAME
    timeout 10 openssl s_client -connect "$1:$2" -servername "$3" -verify_hostname "$3" \
        -verify_return_error -CAfile "$roots" </dev/null >/dev/null 2>&1
}
while [ $# -ge 4 ]; do
    if ! proves "$1" "$2" "$3" && proves "$1" "$2" "$4"; then
        echo "$1 port $2 still proves to be $4, and not $3: sync its Docker host first, or the whole site" >&2
        exit 1
    fi
    shift 4
done
