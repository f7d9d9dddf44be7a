# ROOTS, then ADDRESS PORT NAME FORMER of each stack's TLS port. A backend that still proves its FORMER name
# but not NAME stops the change of its route. A backend that is down, or proves neither, does not
# hold up the others: it serves nobody now.
roots=$1
shift
while [ $# -ge 4 ]; do
    if ! proves "$1" "$2" "$3" "$roots" && proves "$1" "$2" "$4" "$roots"; then
        echo "$1 port $2 still proves to be $4, and not $3: sync its Docker host first, or the whole site" >&2
        exit 1
    fi
    shift 4
done
