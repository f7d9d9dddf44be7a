#!/bin/sh
# NAME ADDRESS: whether Nginx answers by TLS. keepalived runs this. A gateway that was the only one does not
# know the name yet, and Nginx refuses the handshake with its own error.
# Made by Phoenix: deploys/keepalived.py
said=$(/usr/bin/curl -sSk --http1.1 --max-time 2 -o /dev/null --connect-to "::$2:" "https://$1/" 2>&1) && exit
case $said in *'unrecognized name'*) exit 0 ;; esac
exit 1
