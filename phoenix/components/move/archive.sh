# One directory as a stream, and its checksum: sh archive.sh send|sum|receive|empty DIRECTORY
#
# A tar of the POSIX format keeps numeric owners, modes, times, ACLs, extended attributes with file
# capabilities, sparse files, and hard links within the directory. `sum` is the SHA-256 of such a tar
# in a fixed order: it is equal on both hosts if all of that and the content are equal. Holes of sparse
# files count as zeros, since two file systems may keep them in different places.
set -eu
verb=$1 directory=$2
cd -- "$directory"
kept="--format=posix --numeric-owner --xattrs --xattrs-include=* --acls"
set -f

failed() {
  echo "phoenix: $directory: tar ended with status $1" >&2
  exit 1
}

case $verb in
send)
  # Status 1: a file changed meanwhile. The stack is stopped, so something else writes.
  status=0
  tar --create $kept --sparse --file=- . || status=$?
  [ "$status" = 0 ] || failed "$status"
  ;;
sum)
  {
    said=$(
      {
        {
          status=0
          tar --create $kept --sort=name --file=- \
            --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' . 3>&- || status=$?
          echo "$status" >&3
        } | sha256sum >&4
      } 3>&1
    )
  } 4>&1
  [ "$said" = 0 ] || failed "$said"
  ;;
receive)
  status=0
  tar --extract $kept --sparse --same-owner --same-permissions --delay-directory-restore \
    --file=- || status=$?
  [ "$status" = 0 ] || failed "$status"
  sync -f .
  ;;
empty)
  find . -mindepth 1 -delete
  ;;
esac
