"""Traefik lets the gateways alone in: a TLS client without their certificate gets no connection.

Two gateways have one certificate: who holds it may do the same at either.

A change of the certificate loses no request: Traefik knows both, each gateway presents the new one,
Traefik forgets the former one. While a gateway does not answer, Traefik knows both; while a Traefik
does not, the gateways present the former one.
"""

from deploys import acme, gateway_tree, traefik_tree
from deploys.context import secrets, setting_errors, site, site_host
from deploys.site_secrets import secret
from operations import gateway, secret_rotation, serial
from operations.config_tree import config_tree
from phoenix.components.config_tree.tree import TreeFile
from phoenix.components.traefik import traefik_yml as traefik
from phoenix.secrets.client_certificate import certificate_in, fingerprint
from phoenix.site.secret_names import GATEWAY_CERTIFICATE


def admit(step: str, pems: list[str], *, former: bool = False) -> None:
    """Have Traefik let in who presents a certificate of `pems`; the gateway must present one.

    Args:
        step: what they are, for the steps' names.
        pems: each a certificate and its key.
        former: whether Traefik lets in one more until then.
    """
    with setting_errors():
        known = list(dict.fromkeys(certificate_in(pem) for pem in pems))
    gateway.require_known_certificate(
        name=f"Admission: the gateway presents {step}",
        gateways=[proxy.name for proxy in site().gateways],
        fingerprints=[fingerprint(certificate) for certificate in known],
        former=former,
    )
    if site_host() not in site().traefiks:
        return
    config, marker = traefik.admission(known)
    with serial.component("Admission", serial.ALL):
        config_tree(
            name=f"Admission: Traefik lets in {step}",
            tree=traefik_tree.dynamic(
                "traefik-admission",
                {traefik.ADMISSION: TreeFile(config)},
                marker,
            ),
        )


taking_part = (*site().traefiks, *site().gateways)
if site().traefiks and site().gateways and site_host() in taking_part:
    with setting_errors():
        store = secrets()
        changing = store.is_proposed(GATEWAY_CERTIFICATE) or store.is_changing(GATEWAY_CERTIFICATE)
        former = store.present(GATEWAY_CERTIFICATE)
        if changing:
            store.propose(GATEWAY_CERTIFICATE)
        # The gateway's own is given to it by deploys/nginx.py, or below while it changes.
        needed = changing or site_host() in site().traefiks
        new = secret(GATEWAY_CERTIFICATE).get_secret_value() if needed else ""
    if changing:
        secret_rotation.started_change(
            name="Admission: a new certificate is begun",
            store=store,
            names=[GATEWAY_CERTIFICATE],
            _run_once=True,
        )
        if former is not None:  # else it is lost: the gateway's requests fail for a moment
            admit("the former certificate or the new one", [former.get_secret_value(), new])
            with setting_errors():
                next_one = fingerprint(certificate_in(new))
            gateway.require_next_admitted(
                name="Admission: each Traefik lets in the new certificate",
                traefiks=[proxy.name for proxy in site().traefiks],
                certificate=next_one,
            )
        if site_host() in site().gateways and acme.of_the_gateway():
            with setting_errors():
                tree = gateway_tree.tree(new)
            config_tree(name="Admission: the gateway presents the new certificate", tree=tree)
        admit("the new certificate alone", [new], former=former is not None)
        secret_rotation.promoted(
            name="Admission: the former certificate is forgotten",
            store=store,
            names=[GATEWAY_CERTIFICATE],
            _run_once=True,
        )
    else:
        admit("its certificate", [new] if needed else [])
