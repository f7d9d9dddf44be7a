# Whether the operator's own sites, with the files that they include, leave Phoenix's ports alone. Runs as
#   sh -c SCRIPT nginx-listens CONFIG
# nginx selects the server by address first; the PROXY protocol applies to all servers of a port.
found=$(nginx -T -c "$1" 2>/dev/null | sed 's/#.*//' | tr ';{}' '\n\n\n' | awk '
 $1 != "listen" { next }
 $2 ~ /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(:(80|443))?$/ && $2 !~ /^(127|0)\./ { print $2; next }
 $2 ~ /^([^:]*:)?(80|443)$/ && $2 !~ /^127\./ && / proxy_protocol/ { print $2 " proxy_protocol" }' | sort -u)
[ -n "$found" ] || exit 0
echo "a file that one of the kept sites includes says listen $(echo $found): nginx would give it the site's own requests."
echo "Write listen 80 or listen 443 there, without an address and without proxy_protocol, and run again"
exit 1
