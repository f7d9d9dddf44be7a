proves() { # ADDRESS PORT NAME ROOTS: whether a TLS server proves that it is NAME
    # openssl's output decides, not its exit code: a server that wants a client certificate ends the session, before or
    # after openssl does (TLS 1.3), and openssl reports success for a server without TLS.
    session=$(timeout 10 openssl s_client -connect "$1:$2" -servername "$3" -verify_hostname "$3" \
        -verify_return_error -CAfile "$4" </dev/null 2>&1)
    case "$session" in *'Verified peername: '*) ;; *) return 1 ;; esac
}
