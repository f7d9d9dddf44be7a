"""Bridges, forwarding and NAT of the networks that the hypervisor routes.

A change that keeps a new SSH login out is undone (`ssh_confirm_seconds`).
"""

from deploys import existing_services
from deploys.context import settings, site, site_host
from facts.networks import Interfaces
from operations.config_tree import config_tree
from operations.explain import log_lines
from operations.host_state import question, read_or
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.networks import bridges
from phoenix.derived.components import component_hosts
from phoenix.files import render, text
from phoenix.runs.reporter import report_note
from phoenix.shell import fill

if site_host() in component_hosts("networks", site()):
    existing_services.find_existing()
    actual = read_or(question(Interfaces), bridges.HostInterfaces())
    own = bridges.managed(site(), actual)
    for difference in bridges.differences(site(), actual):
        log_lines([difference])
        report_note(site_host().name, difference)
    files = {
        bridges.FORWARDING: TreeFile("net.ipv4.ip_forward = 1\n"),
        bridges.LIST: TreeFile(bridges.listed(own)),
        bridges.RULES: TreeFile(bridges.ruleset(site())),
        bridges.PROGRAM: TreeFile(text("components/networks/phoenix-networks"), mode="0755"),
        f"/etc/systemd/system/{bridges.UNIT}": TreeFile(
            text("components/networks/phoenix-networks.service")
        ),
        "/etc/systemd/system/nftables.service.d/phoenix-networks.conf": TreeFile(
            text("components/networks/nftables.conf")
        ),
    }
    if own:
        files[bridges.FILE] = TreeFile(bridges.interfaces(own))
    packages(name="Networks: packages", names=["iproute2", "nftables", "procps"])
    config_tree(
        name="Networks: bridges, forwarding and NAT",
        tree=Tree(
            component="networks",
            files=files,
            enable=(bridges.UNIT,),
            validate=render(
                "components/networks/validate.sh.j2",
                rules=bridges.RULES, file=bridges.FILE, main=bridges.MAIN_FILE,
            ),
            # Where the first generation is undone, its program is still in the stage.
            after=fill(
                "if [ -x {{ program }} ]; then {{ program }} load;"
                ' else sh "$ROOT"{{ program }} remove; fi',
                program=bridges.PROGRAM,
            ),
            in_force=fill("{{ program }} holds", program=bridges.PROGRAM),
            health=fill("{{ program }} holds", program=bridges.PROGRAM),
            confirm=settings().ssh_confirm_seconds,
        ),
    )  # fmt: skip
