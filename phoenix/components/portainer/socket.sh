#!/bin/sh
# COMPOSE-FILE: stops its containers that still mount a former Docker socket; `up` starts them with the
# present one. Containers outlive a restart of Docker (live-restore) and keep the file that they mounted.
# systemd makes a new socket when docker.socket restarts, as during an upgrade of Docker.
set -eu
made=$(stat -Lc %Y /var/run/docker.sock)
for container in $(docker compose --file "$1" ps --quiet); do
    started=$(docker inspect --format '{{range .Mounts}}{{if eq .Destination "/var/run/docker.sock"}}{{$.State.StartedAt}}{{end}}{{end}}' "$container")
    [ -n "$started" ] || continue # it has no container
    [ "$(date -d "$started" +%s)" -ge "$made" ] || docker stop --time 20 "$container" >/dev/null
done
