"""Internal DNS on the hypervisor: an instance of dnsmasq of our own, with one file of our own."""

from pyinfra import host

from deploys import ca
from deploys.context import setting_errors, settings, site
from operations.config_tree import config_tree
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.dnsmasq import dnsmasq_conf as dnsmasq
from phoenix.components.restart import restart_without_end
from phoenix.derived.dns import records
from phoenix.files import render
from phoenix.shell import fill

CONFIG = "/etc/phoenix/dnsmasq.conf"
UNIT = "phoenix-dns.service"

if "hypervisor" in host.groups:
    ca.check_names()
    # dnsmasq-base is the program without Debian's service, which would listen everywhere and
    # which Proxmox's own networking may be using.
    packages(name="DNS: packages", names=["dnsmasq-base", "bind9-dnsutils"])
    with setting_errors():
        config = dnsmasq.config(
            site(),
            records(site()),
            settings().dns_upstreams,
            stop_rebind=settings().dns_stop_rebind,
        )
    a_record = records(site())[0]
    config_tree(
        name="DNS: records and service",
        tree=Tree(
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
                "dig +time=1 +tries=1 +short @{{ server }} {{ name }} A | grep -qxF {{ address }}",
                server=site().hypervisor.address,
                name=a_record.name,
                address=a_record.address,
            ),
        ),
    )
