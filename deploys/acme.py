"""A guest's own certificate by ACME: the tree that keeps it, for the deploys that need one."""

from pydantic import SecretStr
from pyinfra import host

from deploys import ca
from deploys.context import setting_errors, settings, site, site_host
from deploys.site_secrets import secret
from phoenix import files
from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.step_ca.authority import directory_url
from phoenix.components.step_ca.issuance import proof
from phoenix.components.trust import ROOTS
from phoenix.derived.certificates import GATEWAY_PAIR, HostCertificate, certificates
from phoenix.derived.certificates import of_the_gateway as certificates_of_the_gateway
from phoenix.shell import fill
from phoenix.site import duration, unit_names
from phoenix.site.secret_names import ISSUANCE_KEY

FOLDER = "components/acme"


def certificate(name: str) -> HostCertificate | None:
    """This host's certificate `name` ("traefik" or "host"); None where it has none.

    Raises:
        DeployError: the CA that is deployed cannot vouch for the site as it is declared.
    """
    for candidate in certificates(site()):
        if candidate.host.name == host.name and candidate.name == name:
            ca.check_names()
            return candidate
    return None


def of_the_gateway() -> tuple[HostCertificate, ...]:
    """The certificates of this host as a gateway, one unless its names are many.

    Raises:
        DeployError: the CA that is deployed cannot vouch for the site as it is declared.
    """
    issued = certificates_of_the_gateway(site(), site_host())
    if issued:
        ca.check_names()
    return issued


def of_stacks() -> tuple[HostCertificate, ...]:
    """The certificates of this host's stacks, each for its own containers.

    Raises:
        DeployError: the CA that is deployed cannot vouch for the site as it is declared.
    """
    issued = tuple(
        candidate
        for candidate in certificates(site())
        if candidate.host.name == host.name and candidate.project
    )
    if issued:
        ca.check_names()
    return issued


def proof_of(names: tuple[str, ...]) -> SecretStr:
    """What shows to the CA that the host holds these names.

    Raises:
        DeployError: this machine lacks the site's key of proofs, or has an older one.
    """
    with setting_errors():
        return proof(secret(ISSUANCE_KEY), names)


def tree(
    issued: HostCertificate,
    *,
    owner: str = "root",
    check: str = "",
    reload: str = "",
    restart: str = "",
) -> Tree:
    """Configuration and timer for one certificate; with a host's own, the program and the units.

    A stack's is beside the pair of its host, and a further one of the gateway's beside its first,
    whose tree has what serves them all.

    Raises:
        DeployError: this machine lacks the site's key of proofs, or has an older one.
    """
    shown = proof_of(issued.sans)
    lifetime = duration.parse(settings().step_ca_lifetime_default)
    timer = unit_names.renewal_timer(issued.name)
    beside = bool(issued.project) or issued.name.startswith(f"{GATEWAY_PAIR}-")
    shared = {
        acme.PROGRAM: TreeFile(files.text(f"{FOLDER}/phoenix-acme"), mode="0755"),
        "/etc/systemd/system/phoenix-acme@.service": TreeFile(
            files.text(f"{FOLDER}/phoenix-acme@.service")
        ),
        "/etc/systemd/system/phoenix-acme@.timer": TreeFile(
            files.text(f"{FOLDER}/phoenix-acme@.timer")
        ),
    }
    return Tree(
        component=f"acme-{issued.name}",
        files={
            **({} if beside else shared),
            f"/etc/phoenix/acme/{issued.name}.conf": TreeFile(
                acme.configuration(
                    issued,
                    directory=directory_url(site()),
                    root=ROOTS,
                    proof=shown,
                    owner=owner,
                    check=check,
                    reload=reload,
                    restart=restart,
                ),
                mode="0600",
                secret=True,
            ),
            f"/etc/systemd/system/phoenix-acme@{issued.name}.service.d/retry.conf": TreeFile(
                acme.retry(lifetime)
            ),
            f"/etc/systemd/system/{timer}.d/interval.conf": TreeFile(
                "[Timer]\nOnCalendar=\n"
                f"OnCalendar={acme.interval(lifetime)}\n"
                f"RandomizedDelaySec={int(lifetime.total_seconds() // 240)}s\n"
            ),
        },
        enable=(timer,),
        validate="" if beside else fill('sh -n "$ROOT"{{ program }}', program=acme.PROGRAM),
    )
