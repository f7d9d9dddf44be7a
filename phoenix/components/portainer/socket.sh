#!/bin/sh
# COMPOSE-FILE: stops its containers that have a former socket of Docker; `up` starts them with that of
# now. Docker spares containers over its own restart (live-restore), and a mounted file stays the one
# that it was: systemd makes another socket where docker.socket restarts, as an upgrade of Docker does.
set -eu
made=$(stat -Lc %Y /var/run/docker.sock)
for container in $(docker compose --file "$1" ps --quiet); do
    started=$(docker inspect --format '{{range .Mounts}}{{if eq .Destination "/var/run/docker.sock"}}{{$.State.StartedAt}}{{end}}{{end}}' "$container")
    [ -n "$started" ] || continue # it has none
    [ "$(date -d "$started" +%s)" -ge "$made" ] || docker stop --time 20 "$container" >/dev/null
done
