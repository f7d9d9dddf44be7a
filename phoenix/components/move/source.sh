# The old host of a stack that moves: sh source.sh stop|start|gone PROJECT
#
# `stop` records which containers ran, and their restart policies, before it changes anything: a
# policy `always` would start the old copy beside the new one when Docker starts next.
# `start` restores both. `gone` removes the stopped containers and their networks, never a volume.
set -eu
verb=$1 project=$2
kept=${PHOENIX_MOVES:-/var/lib/phoenix/moves}
left=$kept/$project.left
label=com.docker.compose.project=$project

ids=$(docker ps --all --quiet --no-trunc --filter "label=$label")

each() {
  [ -z "$ids" ] || "$@" $ids
}

case $verb in
stop)
  mkdir -p "$kept"
  if [ ! -e "$left" ]; then
    policy='{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}'
    each docker inspect --format "{{.Id}} {{.State.Running}} $policy" >"$left.new"
    sync "$left.new"
    mv "$left.new" "$left"
  fi
  # Docker may finish a restart of its own during the stop: stop such a container again.
  for pause in 1 2 4 0; do
    each docker update --restart=no >/dev/null
    each docker stop >/dev/null
    running=$(docker ps --quiet --filter "label=$label")
    [ -n "$running" ] || break
    sleep "$pause"
  done
  [ -z "$running" ] || {
    echo "phoenix: $project still runs: $running" >&2
    exit 1
  }
  ;;
start)
  [ -e "$left" ] || exit 0
  started=
  while read -r id running policy; do
    docker inspect --format ok "$id" >/dev/null 2>&1 || continue
    case $policy in
    on-failure:0 | on-failure:) policy=on-failure ;;
    on-failure:*) ;;
    :*) policy=no ;;
    *) policy=${policy%%:*} ;;
    esac
    docker update --restart="$policy" "$id" >/dev/null
    [ "$running" != true ] || started="$started $id"
  done <"$left"
  [ -z "$started" ] || docker start $started >/dev/null
  rm -f "$left"
  ;;
gone)
  running=$(docker ps --quiet --filter "label=$label")
  [ -z "$running" ] || {
    echo "phoenix: $project runs here again, so nothing is removed" >&2
    exit 1
  }
  each docker rm >/dev/null
  networks=$(docker network ls --quiet --filter "label=$label")
  [ -z "$networks" ] || docker network rm $networks >/dev/null
  rm -f "$left"
  ;;
esac
