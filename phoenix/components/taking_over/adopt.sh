# Copy a CA's keys and certificates into the folder of Phoenix's CA. Runs as
#   sh -c SCRIPT step-ca-adopt DIRECTORY ROOT INTERMEDIATE KEY ROOTKEY
# The first line of standard input is the password of its keys; empty: they have none. Everything is
# checked in another folder and renamed into place in one step; the original files stay. Keys are written as PKCS #8
# under that password (RFC 5958), or under a new one.
set -eu
umask 077
directory=$1 root=$2 signer=$3 key=$4 root_key=$5
IFS= read -r password || true
no() { echo "phoenix: the CA is not adopted, and nothing was changed: $*" >&2; exit 3; }
[ ! -e "$directory" ] || no "$directory exists already"
rm -rf "$directory".new.*
new=$(mktemp -d "$directory.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
mkdir "$new/certs" "$new/secrets" "$new/db"
cd "$new"
for one in "$root" "$signer"; do
    openssl x509 -in "$one" -noout -text 2>/dev/null | grep -q 'CA:TRUE' || no "$one is no certificate of a CA"
    openssl x509 -in "$one" -noout -checkend 86400 >/dev/null || no "$one expires within a day, or has expired"
done
openssl x509 -in "$root" -out certs/root_ca.crt
cat "$signer" >certs/intermediate_ca.crt
said=$(openssl verify -no-CApath -no-CAstore -CAfile certs/root_ca.crt certs/intermediate_ca.crt 2>&1) ||
    no "$signer is not signed by $root: $(printf %s "$said" | tail -n 2 | tr '\n' ' ')"

given=$password
[ -n "$password" ] || password=$(openssl rand -hex 32)
printf '%s\n' "$password" >secrets/password
cp secrets/password secrets/new # openssl reads two passwords from one file as two lines
copy_key() { # FILE CERTIFICATE NAME: 1 if the password does not open it, 2 if it belongs to another certificate
    openssl pkey -in "$1" -passin file:secrets/password -aes-256-cbc -passout file:secrets/new \
        -out "secrets/$3" 2>/dev/null || return 1
    [ "$(openssl pkey -in "secrets/$3" -passin file:secrets/password -pubout)" = \
        "$(openssl x509 -in "$2" -noout -pubkey)" ] || return 2
}
[ -s "$key" ] || no "$key is missing"
if copy_key "$key" certs/intermediate_ca.crt intermediate_ca_key; then :; else
    case $?$given in
    2*) no "$key is not the key of $signer" ;;
    1) no "$key has a password: give it as the secret step_ca_password" ;;
    *) no "the secret step_ca_password does not open $key" ;;
    esac
fi
if [ -s "$root_key" ] && ! copy_key "$root_key" certs/root_ca.crt root_ca_key; then
    rm -f secrets/root_ca_key
    echo "phoenix: the key of the root stays in $root_key alone: it has another password, or is another one's" >&2
fi
rm -f secrets/new
id step >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir "$directory" --no-create-home --shell /usr/sbin/nologin step
chmod 755 . certs
chmod 644 certs/*
chown -R step:step secrets db
[ ! -e secrets/root_ca_key ] || chown root:root secrets/root_ca_key
chown root:root secrets/password # systemd hands the password to the service
sync
cd /
mv -T "$new" "$directory"
