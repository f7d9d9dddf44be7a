# Make the CA's keys on its own guest. Runs, after keys.sh, as `sh -c SCRIPT step-ca-init
# DIRECTORY ORGANISATION DOMAINS NETWORKS YEARS`; the keys' password is the first line of standard input, or is
# generated here if that line is empty. Everything is prepared in another folder, and renamed into place in one step.
set -eu
umask 077
directory=$1 organisation=$2 domains=$3 networks=$4 days=$(($5 * 365))
IFS= read -r password || true
if [ -e "$directory" ]; then
    echo "phoenix: $directory exists already; nothing was changed" >&2
    exit 3
fi
id step >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir "$directory" --no-create-home --shell /usr/sbin/nologin step
rm -rf "$directory".new.*
new=$(mktemp -d "$directory.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir "$new/certs" "$new/secrets" "$new/db" "$new/work"
cd "$new"
if [ -n "$password" ]; then printf '%s\n' "$password"; else openssl rand -hex 32; fi >secrets/password
make_key root_ca_key
make_key intermediate_ca_key
make_root "$organisation" "$organisation Internal Root CA"
make_intermediate "$organisation" "$organisation Internal Intermediate CA" secrets/root_ca_key "$days"
rm -rf work
chmod 755 . certs
chmod 644 certs/*
chown -R step:step secrets db
chown root:root secrets/root_ca_key secrets/password # systemd hands the password to the service
sync
cd /
mv -T "$new" "$directory"
