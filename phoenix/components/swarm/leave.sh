# This host out of its swarm: leave. A manager is made a worker first (update.sh), so that the
# others stay enough; the last one takes the swarm with it.
said=$(docker swarm leave 2>&1) || {
    # Of the last manager Docker asks whether the swarm itself is to end.
    case $said in *'last manager'*) docker swarm leave --force >/dev/null || exit 1 ;;
    *) printf '%s\n' "$said" >&2; exit 1 ;;
    esac
}
