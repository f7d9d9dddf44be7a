# Leave the swarm: leave. A manager is demoted first (update.sh), so that the others keep their quorum;
# the last one ends the swarm.
said=$(docker swarm leave 2>&1) || {
    # For the last manager Docker wants a confirmation, since the swarm ends.
    case $said in *'last manager'*) docker swarm leave --force >/dev/null || exit 1 ;;
    *) printf '%s\n' "$said" >&2; exit 1 ;;
    esac
}
