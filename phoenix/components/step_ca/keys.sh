# Make keys and certificates of a CA, for init.sh and rotate.sh. The working directory has certs/,
# secrets/ with the password in it, and work/. These variables are set: domains and networks
# (ADDRESS/NETMASK), each separated by blanks, for which the CA may sign, and days, the lifetime.

make_key() { # NAME: P-256, PKCS #8, encrypted (RFC 5958): step-ca reads it as it is
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc \
        -pass file:secrets/password -out "secrets/$1" 2>/dev/null ||
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc \
            -pass file:secrets/password -out "secrets/$1" 2>/dev/null
}

# RFC 5280 4.2.1.9 and 4.2.1.10: one CA below the root, none below that. A thief of the intermediate's
# or the root's key still cannot impersonate a name outside this network.
extensions() {
    cat >work/extensions <<EOF
[req]
distinguished_name = dn
[dn]
[root]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical, @permitted
[intermediate]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
nameConstraints = critical, @permitted
[permitted]
EOF
    number=0
    for one in $domains localhost; do
        echo "permitted;DNS.$number = $one" >>work/extensions
        number=$((number + 1))
    done
    for one in $networks 127.0.0.1/255.255.255.255; do
        echo "permitted;IP.$number = $one" >>work/extensions
        number=$((number + 1))
    done
}

make_root() { # O CN: certs/root_ca.crt of secrets/root_ca_key
    extensions
    openssl req -new -x509 -sha256 -days "$days" -key secrets/root_ca_key \
        -passin file:secrets/password -subj "/O=$1/CN=$2" -config work/extensions \
        -extensions root -out certs/root_ca.crt
}

make_intermediate() { # O CN ROOTKEY DAYS: certs/intermediate_ca.crt, signed by certs/root_ca.crt
    extensions
    openssl req -new -sha256 -key secrets/intermediate_ca_key -passin file:secrets/password \
        -subj "/O=$1/CN=$2" -config work/extensions -out work/intermediate.csr
    openssl x509 -req -sha256 -days "$4" -in work/intermediate.csr -CA certs/root_ca.crt \
        -CAkey "$3" -passin file:secrets/password -set_serial "0x$(openssl rand -hex 16)" \
        -extfile work/extensions -extensions intermediate -out certs/intermediate_ca.crt 2>/dev/null
    openssl verify -no-CApath -no-CAstore -CAfile certs/root_ca.crt certs/intermediate_ca.crt >/dev/null
}
