"""The front door: terminates TLS for every routed name and hands over to Traefik, verified."""

import hashlib

from pyinfra import host

from deploys import acme
from deploys.context import site
from operations.certificates import acme_certificate, placeholder
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.acme.config import PAIRS, WEBROOT
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.traefik.config import ROOT_CA
from phoenix.derived.routes import gateway_names
from phoenix.files import render
from phoenix.shell import fill
from phoenix.site.roles import guest_with

CONFIG = "/etc/nginx/nginx.conf"
TEMPLATE = "components/nginx/nginx.conf.j2"

if "nginx" in host.groups and (certificate := acme.wanted("gateway")):
    proxy = guest_with(site(), "traefik")
    values = {
        "certificate": f"{PAIRS}/{certificate.name}",
        "names": gateway_names(site()),
        "traefik_address": proxy.address,
        "traefik_name": proxy.fqdn,
        "root": ROOT_CA,
        "webroot": WEBROOT,
        "hsts_seconds": host.data.nginx_hsts_seconds,
        "max_body": host.data.nginx_max_body,
        "read_timeout": host.data.nginx_read_timeout,
    }
    marker = hashlib.sha256(render(TEMPLATE, marker="", **values).encode()).hexdigest()[:16]

    packages(name="Nginx: packages", names=["nginx", "lego", "openssl", "curl"])
    config_tree(
        name="Nginx: renewal",
        tree=acme.tree(certificate, check="nginx -t -q", reload="systemctl reload nginx.service"),
    )
    # Nginx does not start without a certificate, and the CA proves its names through Nginx:
    # the first start is made with one that nobody trusts.
    placeholder(name="Nginx: certificate to start with", certificate=certificate.name)
    config_tree(
        name="Nginx: configuration and service",
        tree=Tree(
            component="nginx",
            files={
                CONFIG: TreeFile(render(TEMPLATE, marker=marker, **values)),
                "/etc/tmpfiles.d/phoenix-nginx.conf": TreeFile(f"d {WEBROOT} 0755 root root\n"),
            },
            unit="nginx.service",
            action="reload",
            validate=fill('nginx -t -q -c "$ROOT"{{ config }}', config=CONFIG),
            # A reload that nginx rejects leaves the old workers in charge, and systemctl content.
            health=fill(
                "curl -fsS --max-time 2 http://127.0.0.1:8082/generation | grep -qxF {{ marker }}"
                " || { echo 'the workers run another configuration'; exit 1; }",
                marker=marker,
            ),
        ),
    )
    acme_certificate(name="Nginx: certificate", certificate=certificate.name)
