# Faults of the CA's database, from its log: badger's own files (https://dgraph.io/docs/badger/), which a
# power cut or a full disk may leave torn, and which step-ca then never opens again.

ca_answers() { # DIRECTORY PORT: the CA answers, so its database is open
    curl -fsS -o /dev/null --max-time 3 --cacert "$1/certs/root_ca.crt" "https://localhost:$2/health" 2>/dev/null
}

database_fault_in() { # from the CA's log: why its last start could not open the database; empty if it could
    awk '/Serving HTTPS/ { fault = "" }
        /atabase of Type|opening Badger database|dgraph-io\/badger/ { fault = $0 }
        END { if (fault !~ /[Pp]ermission denied|[Nn]o space left|[Rr]ead-only file system|[Tt]oo many open files|[Cc]annot allocate memory|[Ii]nput\/output error|directory lock|[Aa]nother process/)
            print substr(fault, 1, 300) }'
}

database_fault() { # DIRECTORY UNIT PORT: why the CA cannot open its database; empty if it can
    if ca_answers "$1" "$3"; then return; fi
    if [ -d "$1/certs" ] && [ ! -d "$1/db" ]; then echo "$1/db is missing"; return; fi
    journalctl -q --no-pager -o cat -n 100 -u "$2" 2>/dev/null | database_fault_in
}
