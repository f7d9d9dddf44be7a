"""The front door: terminates TLS for every routed name and hands over to Traefik, verified."""

from pyinfra import host

from deploys import acme
from deploys.context import settings, site
from operations.certificates import acme_certificate, placeholder
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.acme.phoenix_acme_conf import WEBROOT
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.nginx import nginx_conf as nginx
from phoenix.components.restart import restart_without_end
from phoenix.files import text
from phoenix.shell import fill

if "nginx" in host.groups and (certificate := acme.certificate("gateway")):
    config, generation = nginx.nginx_config(
        site(),
        certificate=certificate.name,
        hsts_seconds=settings().nginx_hsts_seconds,
        max_body=settings().nginx_max_body,
        read_timeout=settings().nginx_read_timeout,
    )

    packages(name="Nginx: packages", names=["nginx", "lego", "logrotate", "openssl", "curl"])
    config_tree(
        name="Nginx: renewal",
        tree=acme.tree(
            certificate,
            check="nginx -t -q",
            reload="systemctl reload nginx.service",
            restart="systemctl restart nginx.service",
        ),
    )
    # Nginx does not start without a certificate, and the CA proves its names through Nginx:
    # the first start is made with one that nobody trusts.
    placeholder(name="Nginx: certificate to start with", certificate=certificate.name)
    config_tree(
        name="Nginx: configuration and service",
        tree=Tree(
            component="nginx",
            files={
                nginx.CONFIG: TreeFile(config),
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
            validate=fill('nginx -t -q -c "$ROOT"{{ config }}', config=nginx.CONFIG),
            # A reload that nginx rejects leaves the old workers in charge, and systemctl content.
            health=fill(
                "curl -fsS --max-time 2 {{ url }} | grep -qxF {{ generation }}"
                " || { echo 'the workers run another configuration'; exit 1; }",
                url=f"http://{nginx.STATUS}/generation",
                generation=generation,
            ),
        ),
    )
    acme_certificate(name="Nginx: certificate", certificate=certificate.name)
