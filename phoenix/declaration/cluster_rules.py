"""`firewall` of the hypervisor's file: rules for several hosts at once, given to each of them.

Proxmox VE has such rules for its nodes alone. Here the end that is one of the site's hosts says
where a rule holds; a rule without that end is the hypervisor's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from typing import Any

from phoenix.declaration.hypervisor_file import HYPERVISOR_FILE, RawClusterFirewall
from phoenix.declaration.json_errors import join
from phoenix.declaration.json_keys import SITE
from phoenix.declaration.stacks import firewall_rule
from phoenix.site.addressing import static_addresses
from phoenix.site.findings import Report
from phoenix.site.model import FirewallRule, Host, Source

_RULES = "firewall.global_firewall_rules"


def with_cluster_rules(
    raw: RawClusterFirewall,
    hypervisor: Host,
    guests: Sequence[Host],
    move: Callable[[Any], Any],
    report: Report,
) -> tuple[Host, ...]:
    """The hypervisor and the guests, each with the rules that hold on it beside its own.

    Args:
        raw: the firewall as declared.
        hypervisor: holds what names no host here.
        guests: the running ones.
        move: what re-addresses a site.
        report: takes what holds nowhere, and a policy that is another one than ours.
    """
    _check_policies(raw, report)
    hosts = (hypervisor, *guests)
    network = hypervisor.alone.supernet(new_prefix=hypervisor.prefixlen)
    rules: dict[Source, list[FirewallRule]] = {}
    moved = RawClusterFirewall.model_validate(move(raw.model_dump(mode="json", exclude_unset=True)))
    for position, rule in enumerate(moved.global_firewall_rules):
        path = join(_RULES, position)
        key = "dest" if rule.type == "in" else "source"
        own = network if getattr(rule, key) == SITE else getattr(rule, key)
        held = _holders(own, hypervisor, hosts)
        if not held:
            report.warn(
                HYPERVISOR_FILE, f"{path}.{key}",
                f"no host of the site has an address of {own}, so the rule holds nowhere",
                "correct the address, or remove the rule",
            )  # fmt: skip
        of_host = rule.model_copy(update={key: None})
        converted = firewall_rule(of_host, HYPERVISOR_FILE, path, report, network)
        placed = converted.model_copy(update={"source_of": Source(file=HYPERVISOR_FILE, path=path)})
        for host in held:
            rules.setdefault(host.source, []).append(placed)
    return tuple(
        host.model_copy(
            update={"firewall_rules": (*host.firewall_rules, *rules.get(host.source, ()))}
        )
        for host in hosts
    )


def _holders(
    network: IPv4Network | None, hypervisor: Host, hosts: Sequence[Host]
) -> Sequence[Host]:
    if network is None:
        return (hypervisor,)
    return [host for host in hosts if any(address in network for address in static_addresses(host))]


def _check_policies(raw: RawClusterFirewall, report: Report) -> None:
    policies = (
        ("enabled", raw.enabled, True, "write proxmox_firewall = False in group_data"),
        ("default_input_policy", raw.default_input_policy, "DROP",
         "keep DROP, and write a rule for each connection to let in"),
        ("default_output_policy", raw.default_output_policy, "ACCEPT",
         'write proxmox_firewall_out = "DROP" in group_data'),
    )  # fmt: skip
    for key, value, own_value, fix in policies:
        if value != own_value:
            shown = str(own_value).lower() if own_value is True else own_value
            report.warn(
                HYPERVISOR_FILE, f"firewall.{key}",
                f"not used: Phoenix itself takes {shown}",
                f"{fix}; or remove it",
            )  # fmt: skip
