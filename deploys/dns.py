"""Internal DNS: on each name server an instance of dnsmasq of our own, with one file of our own.

The hypervisor's comes first, and the others are changed while it answers: never are all out.
"""

from pyinfra import host

from deploys import ca, existing_services
from deploys.context import setting_errors, settings, site, site_host
from operations import taking_over
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.restart import restart_always
from phoenix.declaration.hypervisor_file import upstreams
from phoenix.derived.dns import answer, answers_in, records
from phoenix.files import render
from phoenix.shell import fill
from phoenix.site import unit_names
from phoenix.site.addressing import name_servers

CONFIG = "/etc/phoenix/dnsmasq.conf"
UNIT = unit_names.DNS


def name_server(behind_another: bool) -> Tree:
    """The tree of this host's name server."""
    with setting_errors():
        config = dnsmasq.config(
            site(),
            records(site()),
            upstreams(site(), settings()),
            on=site_host(),
            stop_rebind=settings().dns_stop_rebind,
            behind_another=behind_another,
        )
    a_record = records(site())[0]
    server, port = dnsmasq.server(site_host(), behind_another=behind_another)
    validate = fill('dnsmasq --test --conf-file="$ROOT"{{ config }}', config=CONFIG)
    if site_host() != site().hypervisor:
        first = next(
            asked.address
            for asked in name_servers(site(), site_host())
            if asked.server == site().hypervisor
        )
        validate += " || exit 1\n" + render(
            "components/dnsmasq/first_answers.sh.j2",
            unit=UNIT,
            server=first,
            known=a_record,
            answer=answer(site(), a_record, site_host()),
        )
    return existing_services.replacing_existing(
        "resolver",
        Tree(
            component="dns",
            files={
                CONFIG: TreeFile(config),
                f"/etc/systemd/system/{UNIT}": TreeFile(
                    render("components/dnsmasq/phoenix-dns.service")
                ),
                **restart_always(UNIT),
            },
            unit=UNIT,
            action="restart",  # dnsmasq reads its configuration only when it starts
            validate=validate,
            health=fill(
                "dig +time=1 +tries=1 +short -p {{ port }} @{{ server }} {{ name }} A"
                " | grep -qxF {{ address }}",
                server=server,
                port=port,
                name=a_record.name,
                address=answers_in(site(), a_record, site_host().managed.network)[0],
            ),
        ),
    )


# By the site, not by a group: the inventories of sites that are older than the role lack its group.
if host.name in {server.name for server in site().name_servers}:
    ca.check_names()
    existing_services.find_existing()
    is_first = site_host() == site().hypervisor
    behind_another = is_first and settings().taking_over.resolver == "keep"
    # dnsmasq-base is the program without Debian's service, which would listen everywhere and
    # which Proxmox's own networking may be using.
    packages(name="DNS: packages", names=["dnsmasq-base", "bind9-dnsutils"])
    tree = name_server(behind_another)
    if is_first:
        config_tree(name="DNS: records and service", tree=tree)
        if behind_another:
            taking_over.forwarded(
                name="DNS: the resolver that stays forwards the zone",
                record=records(site())[0].name,
                address=str(records(site())[0].address),
                server=str(site().hypervisor.address),
                how=dnsmasq.forwarding(site()),
            )
    else:  # an operation of its own: it begins when that of the hypervisor has ended
        config_tree(name="DNS: records and service of a further name server", tree=tree)
