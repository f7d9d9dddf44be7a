proves() { # ADDRESS PORT NAME ROOTS: whether a TLS server proves to be NAME
    # What it says decides, not how it ends: a server that asks for a client's certificate ends the session, before or after
    # openssl does (TLS 1.3), and of a server without TLS openssl says that it verified.
    session=$(timeout 10 openssl s_client -connect "$1:$2" -servername "$3" -verify_hostname "$3" \
        -verify_return_error -CAfile "$4" </dev/null 2>&1)
    case "$session" in *'Verified peername: '*) ;; *) return 1 ;; esac
}
