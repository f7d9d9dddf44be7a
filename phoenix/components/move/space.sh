# Sizes and free space in bytes, one line each: sh space.sh sizes|free DIRECTORY...
#   sizes: disk usage of each; "file" for a path that is not a directory
#   free: file system and free bytes of the place where each is, or will be
set -eu
verb=$1
shift
for directory; do
  if [ "$verb" = sizes ]; then
    if [ -d "$directory" ]; then
      size=$(du --summarize --block-size=1 -- "$directory" | cut -f 1)
      printf '%s\n' "$size"
    else
      echo file
    fi
  else
    while [ ! -e "$directory" ]; do directory=$(dirname -- "$directory"); done
    df --block-size=1 --output=source,avail -- "$directory" | tail -n 1
  fi
done
