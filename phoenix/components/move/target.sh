# The new host of a stack that moves: sh target.sh VERB PROJECT ...
#
#   begin PROJECT SOURCE        records the move from host SOURCE, until `end`
#   phase PROJECT PHASE         records its progress: copying, copied, started, proven
#   volume PROJECT NAME LABEL.. makes an empty volume for the copy, and prints its directory, then
#                               notes for the operator
#   folder PROJECT PATH         makes an empty directory for the copy of a bind mount, and prints it
#   undo PROJECT                removes the copy: containers, networks, and what `volume` made
#   end PROJECT                 removes the record of the move
#
# A former volume of that name is kept as the volume NAME_before_TIME.
set -eu
verb=$1 project=$2
shift 2
kept=${PHOENIX_MOVES:-/var/lib/phoenix/moves}
mark=$kept/$project
label=com.docker.compose.project=$project

write() {
  printf '%s\n' "$2" >"$mark/$1.new"
  sync "$mark/$1.new"
  mv "$mark/$1.new" "$mark/$1"
}

# The list of what this script made: anything else was here before the move.
ours() {
  grep -qxF -- "$2" "$mark/$1" 2>/dev/null
}

add() {
  printf '%s\n' "$2" >>"$mark/$1"
  sync "$mark/$1"
}

place() {
  docker volume inspect --format '{{.Mountpoint}}' "$1"
}

filled() {
  [ -d "$1" ] && [ -n "$(find "$1" -mindepth 1 -print -quit)" ]
}

case $verb in
begin)
  mkdir -p "$mark"
  write source "$1"
  write phase copying
  # Stopped containers from before are as old as their volumes.
  rm -f "$mark.left"
  ids=$(docker ps --all --quiet --filter "label=$label" --filter status=exited --filter status=created)
  [ -z "$ids" ] || docker rm $ids >/dev/null
  ;;
phase)
  write phase "$1"
  ;;
volume)
  name=$1
  shift
  users=$(docker ps --quiet --filter "volume=$name")
  [ -z "$users" ] || {
    echo "phoenix: the volume $name is in use here by $users" >&2
    exit 1
  }
  note=
  if ! ours volumes "$name"; then
    if docker volume inspect "$name" >/dev/null 2>&1; then
      directory=$(place "$name")
      if filled "$directory"; then
        beside=${name}_before_$(date -u +%Y%m%dT%H%M%SZ)
        docker volume create "$beside" >/dev/null
        rmdir "$(place "$beside")"
        mv -T "$directory" "$(place "$beside")"
        note="what the volume $name held here before is kept in the volume $beside"
      fi
    fi
    add volumes "$name"
  fi
  if ! docker volume inspect "$name" >/dev/null 2>&1; then
    for word; do
      set -- "$@" --label "$word"
      shift
    done
    docker volume create "$@" -- "$name" >/dev/null
  fi
  directory=$(place "$name")
  mkdir -p "$directory"
  find "$directory" -mindepth 1 -delete
  printf '%s\n' "$directory" ${note:+"$note"}
  ;;
folder)
  if ! ours folders "$1"; then
    if filled "$1"; then
      echo "phoenix: $1 is here already and not empty: move its content away" >&2
      exit 1
    fi
    add folders "$1"
  fi
  mkdir -p "$1"
  find "$1" -mindepth 1 -delete
  printf '%s\n' "$1"
  ;;
undo)
  ids=$(docker ps --all --quiet --filter "label=$label")
  [ -z "$ids" ] || docker rm --force $ids >/dev/null
  ids=$(docker network ls --quiet --filter "label=$label")
  [ -z "$ids" ] || docker network rm $ids >/dev/null
  [ ! -e "$mark/volumes" ] || while IFS= read -r name; do
    ! docker volume inspect "$name" >/dev/null 2>&1 || docker volume rm "$name" >/dev/null
  done <"$mark/volumes"
  [ ! -e "$mark/folders" ] || while IFS= read -r path; do
    [ ! -d "$path" ] || find "$path" -mindepth 1 -delete
  done <"$mark/folders"
  rm -rf "$mark"
  ;;
end)
  rm -rf "$mark"
  ;;
esac
