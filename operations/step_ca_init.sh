# Make the CA's keys on its own guest. Runs as `sh -c SCRIPT step-ca-init DIRECTORY ORGANISATION
# DOMAIN NETWORK NETMASK YEARS`; the keys' password is the first line of standard input, or is
# made here when that line is empty. Everything is prepared aside and appears with one rename.
set -eu
umask 077
directory=$1 organisation=$2 domain=$3 network=$4 netmask=$5 days=$(($6 * 365))
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
key() { # P-256, PKCS #8, encrypted (RFC 5958): step-ca reads it as it is
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc \
        -pass file:secrets/password -out "secrets/$1" 2>/dev/null ||
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc \
            -pass file:secrets/password -out "secrets/$1" 2>/dev/null
}
key root_ca_key
key intermediate_ca_key
# RFC 5280 4.2.1.9 and 4.2.1.10: one CA below the root, none below that, and whoever steals the
# intermediate key can still not pass for a name outside this network.
cat >work/extensions <<EOF
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[intermediate]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
nameConstraints = critical, @permitted
[permitted]
permitted;DNS.0 = $domain
permitted;DNS.1 = localhost
permitted;IP.0 = $network/$netmask
permitted;IP.1 = 127.0.0.1/255.255.255.255
EOF
openssl req -new -x509 -sha256 -days "$days" -key secrets/root_ca_key -passin file:secrets/password \
    -subj "/O=$organisation/CN=$organisation Internal Root CA" -config work/extensions \
    -extensions root -out certs/root_ca.crt
openssl req -new -sha256 -key secrets/intermediate_ca_key -passin file:secrets/password \
    -subj "/O=$organisation/CN=$organisation Internal Intermediate CA" -config work/extensions \
    -out work/intermediate.csr
openssl x509 -req -sha256 -days "$days" -in work/intermediate.csr -CA certs/root_ca.crt \
    -CAkey secrets/root_ca_key -passin file:secrets/password -set_serial "0x$(openssl rand -hex 16)" \
    -extfile work/extensions -extensions intermediate -out certs/intermediate_ca.crt 2>/dev/null
openssl verify -CAfile certs/root_ca.crt certs/intermediate_ca.crt >/dev/null
rm -rf work
chmod 755 . certs
chmod 644 certs/*
chown -R step:step secrets db
chown root:root secrets/root_ca_key
sync
cd /
mv -T "$new" "$directory"
