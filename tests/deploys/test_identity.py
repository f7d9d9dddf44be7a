"""An address that leads to another host of the site: nothing is touched, and both are named."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from facts.system import _SCRIPT, System
from phoenix.declaration.inventory import load
from phoenix.site import identity
from phoenix.site.findings import SettingError
from phoenix.site.model import Site
from tests.deploys.recorder import ROOT, Run, run

SYSTEM = ["x86_64", "ID=debian", 'VERSION_ID="13"']
ASKED = re.compile("uname -m; cat")
STEP = "Base: which host this is"


@pytest.fixture(scope="module")
def site() -> Site:
    return load(ROOT / "inventories", ROOT / "stacks", environment="production")


def deployed(folder: Path, lines: dict[str, str], *, execute: bool = True) -> Run:
    """Run base on hosts that remember what `lines` say."""
    of_host = {
        name: {ASKED: lambda _, line=line: [*SYSTEM, f"phoenix-host\t{line}"]}
        for name, line in lines.items()
    }
    return run("base", folder / "secrets.json", of_host=of_host, execute=execute)  # type: ignore[arg-type]


def everybody(site: Site) -> dict[str, str]:
    return {host.name: identity.identity_of(site, host).line for host in site.hosts}


def test_two_hosts_whose_addresses_are_exchanged(tmp_path: Path, site: Site) -> None:
    lines = everybody(site)
    lines["portainer"], lines["drphoenix"] = lines["drphoenix"], lines["portainer"]
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        deployed(tmp_path, lines)
    words = f"{caught.value.args} {vars(caught.value)}"
    first, other = "guest 1001 (portainer)", "guest 1002 (drphoenix)"  # whichever is asked first
    ways = [
        f"is {is_}, and phoenix_vm_configs.json: vms[{at}] says that it is {declared}: nothing was"
        for is_, at, declared in ((first, 2, other), (other, 1, first))
    ]
    assert any(way in words for way in ways), words
    assert "give each its own address" in words


def test_a_host_that_is_the_one_is_left_as_it_is(tmp_path: Path, site: Site) -> None:
    done = deployed(tmp_path, everybody(site), execute=False)
    assert done.changed[STEP] == []


def test_a_host_that_remembers_nothing_learns_it(tmp_path: Path, site: Site) -> None:
    done = run("base", tmp_path / "secrets.json")
    assert sorted(done.changed[STEP]) == sorted(host.name for host in site.hosts)
    (sent,) = [s.command for s in done.sent if s.host == "drphoenix" and identity.FILE in s.command
               and "mv" in s.command]  # fmt: skip
    assert identity.identity_of(site, site.host("drphoenix")).line in sent


@pytest.mark.parametrize("line", ["", "nothing of the kind", "a\tb", "\t\t"])
def test_what_cannot_be_read_is_nothing(site: Site, line: str) -> None:
    for host in site.hosts:
        identity.check(site, host, line)


def test_a_rename_a_new_id_and_a_new_domain_are_no_exchange(site: Site) -> None:
    host = site.host("drphoenix")
    identity.check(site, host, f"{site.domain}\t{host.vmid}\tits-former-name")
    identity.check(site, host, f"{site.domain}\t4711\tdrphoenix")
    identity.check(site, host, f"other.example.com\t{host.vmid}\tdrphoenix")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("internal.thinkheads.ai\t1077\twent", "is guest 1077 (went), and"),
        ("other.example.com\t1001\tportainer", "guest 1001 (portainer) of the site other."),
        ("other.example.com\t1002\tworker", "guest 1002 (worker) of the site other.example.com"),
        ("other.example.com\t-\tpve", "is pve of the site other.example.com, and"),
        ("internal.thinkheads.ai\t1077\t\x1b[2Jwent", r"guest 1077 (\x1b[2Jwent), and"),
    ],
)
def test_a_new_guest_at_the_address_of_one_that_left_and_a_machine_of_another_site(
    site: Site, line: str, words: str
) -> None:
    """Its stacks and keys would be taken for the new guest's; another site would lose a host."""
    with pytest.raises(SettingError) as refused:
        identity.check(site, site.host("drphoenix"), line)
    assert words in str(refused.value)
    assert f"phoenix exec drphoenix -- rm {identity.FILE}" in str(refused.value)


def test_a_clone_of_what_it_is_declared_to_be_cloned_from_is_its_own(site: Site) -> None:
    host = site.host("drphoenix").model_copy(update={"clone_from": 9000})
    identity.check(site, host, f"{site.domain}\t9000\tgolden")


def test_the_hypervisor_is_a_host_like_the_others(site: Site) -> None:
    own = identity.identity_of(site, site.hypervisor).line
    identity.check(site, site.hypervisor, own)
    with pytest.raises(SettingError, match=r"is phoenix, and .* it is guest 1002 \(drphoenix\)"):
        identity.check(site, site.host("drphoenix"), own)


def test_the_script_tells_the_file(tmp_path: Path, site: Site) -> None:
    file = tmp_path / "host"
    line = identity.identity_of(site, site.host("drphoenix")).line
    more = f"{line}\nID=other\nphoenix-host\tx\ty\tz\n"
    for content, expected in (
        *((None, ""), (f"{line}\n", line), ("", ""), (f"{line}\r\n", line), (more, line)),
        (f"{line}\0\0", line), ("x" * 5000, "x" * 1000), (f"\n{line}", ""),
    ):  # fmt: skip
        if content is not None:
            file.write_text(content)
        words = ["sh", "-c", _SCRIPT.text, "system", str(file)]
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        machine = System().parse(output.splitlines())
        assert machine.host == expected
        assert machine.release["ID"] != "other"
