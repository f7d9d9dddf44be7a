# How dockerd is started on this host. Runs as
#   sh -c SCRIPT docker-api DROPIN
#   running WORD ...  its command line, unless DROPIN gives it; fields are separated by tabs
#   declared LINE     ExecStart of docker.service without DROPIN
#   ours LINE         ExecStart of DROPIN
#   socket END        TCP ports of docker.socket
ours=$1; t=$(printf '\t')
said=$(systemctl show docker.service docker.socket -p MainPID -p Listen 2>/dev/null)
if [ -f "$ours" ]; then
 sed -n "s/^ExecStart=\(.\)/ours$t\1/p" "$ours"
else
 pid=${said#*MainPID=} pid=${pid%%[!0-9]*}
 if [ "${pid:-0}" -gt 0 ] && [ -r "/proc/$pid/cmdline" ] && ! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "[$t
]"; then
  printf 'running\t%s\n' "$(tr '\0' '\t' <"/proc/$pid/cmdline" | sed "s/$t\$//")"
 fi
fi
systemctl cat docker.service 2>/dev/null | awk -v ours="# $ours" '
 /^# \// { skip = ($0 == ours) }
 skip { next }
 { line = held $0; held = "" }
 line ~ /\\$/ { held = substr(line, 1, length(line) - 1) " "; next }
 line ~ /^ExecStart=/ { sub(/^ExecStart=[ \t]*/, "", line); last = line }
 END { if (last != "") { gsub(/\t/, " ", last); print "declared\t" last } }'
printf '%s\n' "$said" | sed -n 's/^Listen=\(.*\) (Stream)$/\1/p' | tr ' ' '\n' |
 sed -n "s/^\([^/@].*\)/socket$t\1/p"
:
