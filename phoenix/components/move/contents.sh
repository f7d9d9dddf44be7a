# What a compose project mounts: sh contents.sh PROJECT. JSON arrays, one a line:
#   ["container", NAME, MOUNTS]   of the project, running or not
#   ["user", NAME, MOUNTS]        of others, running
#   ["volume", NAME, DRIVER, OPTIONS, LABELS, DIRECTORY]
set -eu
label=com.docker.compose.project=$1
mounts='{{json .Name}},{{json .Mounts}}]'
ids=$(docker ps --all --quiet --no-trunc --filter "label=$label")
[ -z "$ids" ] || docker inspect --type container --format "[\"container\",$mounts" $ids
for id in $(docker ps --quiet --no-trunc); do
  case " $(echo $ids) " in
  *" $id "*) ;;
  *) docker inspect --type container --format "[\"user\",$mounts" "$id" || true ;;
  esac
done
used='{{range .Mounts}}{{if eq .Type "volume"}}{{println .Name}}{{end}}{{end}}'
volumes=$(
  {
    docker volume ls --quiet --filter "label=$label"
    [ -z "$ids" ] || docker inspect --type container --format "$used" $ids
  } | sort -u
)
[ -z "$volumes" ] || docker volume inspect --format \
  '["volume",{{json .Name}},{{json .Driver}},{{json .Options}},{{json .Labels}},{{json .Mountpoint}}]' \
  $volumes
