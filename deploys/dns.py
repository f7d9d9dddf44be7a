"""Internal DNS on the hypervisor: an instance of dnsmasq of our own, with one file of our own."""

from pyinfra import host

from deploys import ca, residents
from deploys.context import setting_errors, settings, site
from operations import taking_over
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.restart import restart_without_end
from phoenix.declaration.hypervisor_file import upstreams
from phoenix.derived.dns import records
from phoenix.files import render
from phoenix.shell import fill

CONFIG = "/etc/phoenix/dnsmasq.conf"
UNIT = "phoenix-dns.service"

if "hypervisor" in host.groups:
    ca.check_names()
    residents.look()
    behind_another = settings().taking_over.resolver == "keep"
    # dnsmasq-base is the program without Debian's service, which would listen everywhere and
    # which Proxmox's own networking may be using.
    packages(name="DNS: packages", names=["dnsmasq-base", "bind9-dnsutils"])
    with setting_errors():
        config = dnsmasq.config(
            site(),
            records(site()),
            upstreams(site(), settings()),
            stop_rebind=settings().dns_stop_rebind,
            behind_another=behind_another,
        )
    a_record = records(site())[0]
    server, port = dnsmasq.server(site(), behind_another=behind_another)
    config_tree(
        name="DNS: records and service",
        tree=residents.giving_way(
            "resolver",
            Tree(
                component="dns",
                files={
                    CONFIG: TreeFile(config),
                    f"/etc/systemd/system/{UNIT}": TreeFile(
                        render("components/dnsmasq/phoenix-dns.service")
                    ),
                    **restart_without_end(UNIT),
                },
                unit=UNIT,
                action="restart",  # dnsmasq reads its configuration only when it starts
                validate=fill('dnsmasq --test --conf-file="$ROOT"{{ config }}', config=CONFIG),
                health=fill(
                    "dig +time=1 +tries=1 +short -p {{ port }} @{{ server }} {{ name }} A"
                    " | grep -qxF {{ address }}",
                    server=server,
                    port=port,
                    name=a_record.name,
                    address=a_record.address,
                ),
            ),
        ),
    )
    if behind_another:
        taking_over.forwarded(
            name="DNS: the resolver that stays forwards the zone",
            record=a_record.name,
            address=str(a_record.address),
            server=str(site().hypervisor.address),
            how=dnsmasq.forwarding(site()),
        )
