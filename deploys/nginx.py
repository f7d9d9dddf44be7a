"""The front door: terminates TLS for every routed name and hands over to Traefik, verified.

Of two gateways the second is changed when the first has proven itself.
"""

from dataclasses import replace

from pyinfra import host

from deploys import acme, existing_services, gateway_tree, keepalived_tree
from deploys.context import secrets, setting_errors, site, site_host
from deploys.site_secrets import secret
from facts.gateway import ClientCertificate
from operations import gateway, serial
from operations.certificates import acme_certificate, placeholder
from operations.config_tree import config_tree
from operations.host_state import question, read_or
from operations.packages import packages
from phoenix.components.nginx import nginx_conf as nginx
from phoenix.derived.certificates import HostCertificate
from phoenix.derived.virtual_addresses import of_host
from phoenix.secrets.client_certificate import certificate_in, fingerprint
from phoenix.shell import fill
from phoenix.site import unit_names
from phoenix.site.secret_names import GATEWAY_CERTIFICATE


def renewal(issued: HostCertificate) -> None:
    """What keeps one certificate."""
    config_tree(
        name="Nginx: renewal",
        tree=acme.tree(
            issued,
            check="nginx -t -q",
            reload=fill("systemctl reload {{ unit }}", unit=unit_names.NGINX),
            restart=fill("systemctl restart {{ unit }}", unit=unit_names.NGINX),
        ),
    )


if "nginx" in host.groups and (certificates := acme.of_the_gateway()):
    first, *others = certificates
    with setting_errors():
        # A new one is presented when Traefik knows it: deploys/admission.py does that.
        store, former = secrets(), None
        if store.is_proposed(GATEWAY_CERTIFICATE) or store.is_changing(GATEWAY_CERTIFICATE):
            former = store.present(GATEWAY_CERTIFICATE)
        if former is not None and (new := store.candidate(GATEWAY_CERTIFICATE)) is not None:
            presented = read_or(question(ClientCertificate), "")
            if presented == fingerprint(certificate_in(new.get_secret_value())):
                former = new  # a change that waits for another gateway has come this far
        client = former or secret(GATEWAY_CERTIFICATE)
        tree = gateway_tree.tree(client.get_secret_value())

    existing_services.find_existing()
    with serial.component("Nginx", serial.ALL):
        packages(
            name="Nginx: packages",
            names=["nginx", "lego", "logrotate", "openssl", "curl", *nginx.packages(site())],
        )
        renewal(first)
        for further in others:
            renewal(further)
            # Its names were in another one's, which a gateway at work serves until it is there: the
            # CA's questions are answered for names that no server has, too.
            if gateway_tree.serves(first.name):
                acme_certificate(name="Nginx: a further certificate", certificate=further.name)
            else:
                placeholder(name="Nginx: certificate to start with", certificate=further.name)
        # Nginx does not start without a certificate, and the CA proves its names through Nginx:
        # the first start is made with one that nobody trusts.
        placeholder(name="Nginx: certificate to start with", certificate=first.name)
        config_tree(
            name="Nginx: configuration and service",
            tree=existing_services.replacing_existing("nginx", tree),
        )
        config_tree(
            name="Nginx: sandbox",
            tree=replace(gateway_tree.sandbox(), health=tree.health),
        )
        if of_host(site(), site_host()) and not gateway_tree.serves(first.name):
            keepalived_tree.install_keepalived()  # else deploys/keepalived.py has done it
        for certificate in certificates:
            acme_certificate(name="Nginx: certificate", certificate=certificate.name)
        if site().gateways[1:]:
            url, asked = gateway_tree.proof()
            gateway.answers(name="Nginx: proof, before the next gateway", url=url, address=asked)
