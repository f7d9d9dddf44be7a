"""A gateway's part in the virtual addresses, for the deploys that put it on its guest."""

from __future__ import annotations

from ipaddress import IPv4Interface

from deploys.context import site, site_host
from facts.networks import Interfaces
from operations.config_tree import config_tree
from operations.host_state import question, read_or
from operations.packages import packages
from phoenix.components.config_tree.tree import Tree, TreeFile
from phoenix.components.keepalived import keepalived_conf as keepalived
from phoenix.components.networks.bridges import HostInterfaces
from phoenix.components.programs import LIBRARY
from phoenix.components.restart import restart_always
from phoenix.files import render, text
from phoenix.shell import fill


def install_keepalived() -> None:
    """keepalived on this gateway, at work."""
    live = read_or(question(Interfaces), HostInterfaces()).live
    devices = {
        IPv4Interface(address).ip: device
        for device, addresses in live.items()
        for address in addresses
    }
    known = keepalived.instances(site(), site_host(), devices)
    packages(name="Virtual addresses: packages", names=list(keepalived.PACKAGES))
    config_tree(
        name="Virtual addresses: keepalived",
        tree=Tree(
            component="keepalived",
            files={
                keepalived.CONFIG: TreeFile(keepalived.config(site_host(), known)),
                keepalived.KILLED: TreeFile(keepalived.killed(known)),
                keepalived.NGINX_ANSWERS: TreeFile(
                    text("components/keepalived/nginx.sh"), mode="0755"
                ),
                keepalived.WAY: TreeFile(text("components/keepalived/forwards.sh"), mode="0755"),
                keepalived.OF_NGINX: TreeFile(keepalived.of_nginx()),
                **restart_always(keepalived.UNIT),
            },
            unit=keepalived.UNIT,
            action="reload",
            # keepalived 2.2 ends itself in a test where scripts are another user's than root's.
            validate=fill(
                'file="$ROOT"{{ config }}; '
                'sed "s/script_user .*/script_user root/; s#{{ programs }}#$ROOT{{ programs }}#" '
                '"$file" >"$file.proposed" && '
                'keepalived --config-test --use-file "$file.proposed"; '
                'status=$?; rm -f "$file.proposed"; exit "$status"',
                config=keepalived.CONFIG,
                programs=f"{LIBRARY}/",
            ),
            health=render("components/keepalived/health.sh.j2", instances=known),
        ),
    )
