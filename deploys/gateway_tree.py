"""Files and unit of the gateway, for the deploys that put them on its guest."""

from __future__ import annotations

from deploys.context import settings, site, site_host
from facts.certificates import AcmeStatus
from facts.nginx import OwnSites
from operations.host_state import question, read_or
from phoenix.components.acme.phoenix_acme_conf import WEBROOT
from phoenix.components.config_tree.tree import BASE, Tree, TreeFile
from phoenix.components.nginx import nginx_conf as nginx
from phoenix.components.nginx.existing_sites import PATTERNS, OwnSite, considered
from phoenix.components.restart import restart_always
from phoenix.derived.routes import route_for_check, routes
from phoenix.files import text
from phoenix.secrets.client_certificate import certificate_in, fingerprint
from phoenix.shell import fill
from phoenix.site import unit_names

COMPONENT = "nginx"
_LISTENS = text("components/nginx/listens.sh")
_FOR_SITES = """
# A person's own sites, kept by taking_over: what they show may stand in a person's folder.
ProtectHome=read-only
ReadWritePaths=-/var/cache/nginx
"""


def kept_sites() -> tuple[OwnSite, ...]:
    """A person's own sites that nginx goes on to serve beside the site's own."""
    if settings().taking_over.nginx != "keep":
        return ()
    sites = read_or(question(OwnSites, base=f"{BASE}/{COMPONENT}"), ())
    return tuple(
        own_site for own_site in considered(sites, are_kept=True) if own_site.path != nginx.CONFIG
    )


def tree(client: str) -> Tree:
    """Nginx' configuration.

    Args:
        client: the certificate by which it proves itself to Traefik, with its key, as PEM.

    Raises:
        SecretError: `client` is something else.
    """
    sites = kept_sites()
    config, generation = nginx.nginx_config(
        site(),
        on=site_host(),
        client_certificate=fingerprint(certificate_in(client)),
        hsts_seconds=settings().nginx_hsts_seconds,
        max_body=settings().nginx_max_body,
        read_timeout=settings().nginx_read_timeout,
        includes=[own_site.include for own_site in sites],
        further_names=[name for own_site in sites for name in own_site.names],
    )
    return Tree(
        component=COMPONENT,
        files={
            nginx.CONFIG: TreeFile(config),
            nginx.CLIENT_CERTIFICATE: TreeFile(client, mode="0600", secret=True),
            "/etc/logrotate.d/nginx": TreeFile(text("components/nginx/nginx.logrotate")),
            "/etc/tmpfiles.d/phoenix-nginx.conf": TreeFile(f"d {WEBROOT} 0755 root root\n"),
            **restart_always(unit_names.NGINX),
        },
        supersedes=() if sites else (*PATTERNS, "/etc/nginx/modules-enabled/*.conf"),
        unit=unit_names.NGINX,
        action="reload",
        # The proposed configuration with the proposed certificate: their paths are not there yet.
        # A relative path in a person's site begins at the folder of the configuration.
        validate=fill(
            "file={{ config }}.proposed && "
            "sed 's#'{{ client }}'#'\"$ROOT\"{{ client }}'#' \"$ROOT\"{{ config }} >\"$file\" && "
            'nginx -t -q -c "$file" && '
            '{ [ -z {{ kept }} ] || sh -c {{ listens }} nginx-listens "$file"; }; '
            'status=$?; rm -f "$file"; exit "$status"',
            config=nginx.CONFIG,
            client=nginx.CLIENT_CERTIFICATE,
            kept="kept" if sites else "",
            listens=_LISTENS,
        ),
        # A reload that nginx rejects leaves the old workers in charge, and systemctl content.
        health=fill(
            "curl -fsS --max-time 2 {{ url }} | grep -qxF {{ generation }}"
            " || { echo 'the workers run another configuration'; exit 1; }",
            url=f"http://{nginx.STATUS}/generation",
            generation=generation,
        ),
    )


def serves(certificate: str) -> bool:
    """Whether Nginx has loaded an issued certificate of this name: then it answers the CA."""
    state = read_or(question(AcmeStatus, certificate=certificate), None)
    return state is not None and state.pair == "issued" and state.loaded


def proof() -> tuple[str, str]:
    """A request that shows that this gateway works: its URL, and the address to ask at."""
    route = route_for_check(site()) or routes(site())[0]
    return f"https://{route.fqdn}{route.service.asked_path}", str(site_host().address)


def sandbox() -> Tree:
    """What the unit may do; a restart alone changes the sandbox of a running one."""
    lines = text("components/nginx/sandbox.conf")
    return Tree(
        component="nginx-sandbox",
        files={
            f"/etc/systemd/system/{unit_names.NGINX}.d/sandbox.conf": TreeFile(
                lines + _FOR_SITES if kept_sites() else lines
            )
        },
        unit=unit_names.NGINX,
        action="restart",
    )
