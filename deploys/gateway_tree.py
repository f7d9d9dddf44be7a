"""Files and unit of the gateway, for the deploys that put them on its guest."""

from __future__ import annotations

from deploys.context import settings, site
from phoenix.components.acme.phoenix_acme_conf import WEBROOT
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.nginx import nginx_conf as nginx
from phoenix.components.restart import restart_without_end
from phoenix.files import text
from phoenix.secrets.client_certificate import certificate_in, fingerprint
from phoenix.shell import fill


def tree(certificate: str, client: str) -> Tree:
    """Nginx' configuration.

    Args:
        certificate: name of the certificate that it serves, which `phoenix-acme` keeps.
        client: the certificate by which it proves itself to Traefik, with its key, as PEM.

    Raises:
        SecretError: `client` is something else.
    """
    config, generation = nginx.nginx_config(
        site(),
        certificate=certificate,
        client_certificate=fingerprint(certificate_in(client)),
        hsts_seconds=settings().nginx_hsts_seconds,
        max_body=settings().nginx_max_body,
        read_timeout=settings().nginx_read_timeout,
    )
    return Tree(
        component="nginx",
        files={
            nginx.CONFIG: TreeFile(config),
            nginx.CLIENT_CERTIFICATE: TreeFile(client, mode="0600", secret=True),
            "/etc/logrotate.d/nginx": TreeFile(text("components/nginx/nginx.logrotate")),
            "/etc/tmpfiles.d/phoenix-nginx.conf": TreeFile(f"d {WEBROOT} 0755 root root\n"),
            **restart_without_end("nginx.service"),
        },
        supersedes=(
            "/etc/nginx/conf.d/*.conf",
            "/etc/nginx/sites-enabled/*",
            "/etc/nginx/modules-enabled/*.conf",
        ),
        unit="nginx.service",
        action="reload",
        # The proposed configuration with the proposed certificate: their paths are not there yet.
        validate=fill(
            "file=$(mktemp) && "
            "sed 's#'{{ client }}'#'\"$ROOT\"{{ client }}'#' \"$ROOT\"{{ config }} >\"$file\" && "
            'nginx -t -q -c "$file"; status=$?; rm -f "$file"; exit "$status"',
            config=nginx.CONFIG,
            client=nginx.CLIENT_CERTIFICATE,
        ),
        # A reload that nginx rejects leaves the old workers in charge, and systemctl content.
        health=fill(
            "curl -fsS --max-time 2 {{ url }} | grep -qxF {{ generation }}"
            " || { echo 'the workers run another configuration'; exit 1; }",
            url=f"http://{nginx.STATUS}/generation",
            generation=generation,
        ),
    )
