"""What Phoenix relies on of Proxmox VE, on the double and, told by the environment, on a real one.

    PROXMOX_URL=https://192.0.2.5:8006 PROXMOX_TOKEN='phoenix@pve!deploy=...' \\
    PROXMOX_FINGERPRINT=AB:CD:... PROXMOX_STORAGE=local-zfs \\
    PROXMOX_ARCHIVE=local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst \\
    python -m pytest tests/proxmox/test_contract.py

PROXMOX_CA=FILE trusts a root instead of the fingerprint, PROXMOX_NODE names the node (the first one
otherwise), PROXMOX_ID the first of the ten ids that the tests use (999000100). An id that is taken
is left alone; only guests that the tests have made, with the tag `phoenix-contract`, are changed or
destroyed. The firewall of cluster and nodes is never written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from phoenix.cli.app import app
from phoenix.proxmox import contract, firewall, power, removal, values
from phoenix.proxmox.apply import next_of
from phoenix.proxmox.client import Client
from phoenix.proxmox.converge import make_template
from phoenix.proxmox.desired import TAG
from phoenix.proxmox.errors import AlreadyError, ChangedError, LoginError, ProxmoxError
from phoenix.proxmox.firewall import FirewallRule, Identity, Scope
from phoenix.proxmox.observe import guests_by_id, snapshots, state
from phoenix.proxmox.transport import Endpoint, Trust, connect
from tests.proxmox.conftest import SETTINGS
from tests.proxmox.pve import NODE, Pve

REAL = os.environ.get("PROXMOX_URL", "")
OWN = "phoenix-contract"
COUNT = 10


@dataclass
class Server:
    """A node to make guests on, and which of its ids are the tests' own."""

    client: Client
    node: str
    storage: str
    archive: str
    first: int

    def new(self) -> int:
        """A container of the tests' own; its id."""
        in_use = guests_by_id(self.client)
        vmid = next(n for n in range(self.first, self.first + COUNT) if n not in in_use)
        self.client.write("POST", f"nodes/{self.node}/lxc", {
            "vmid": vmid, "ostemplate": self.archive, "storage": self.storage,
            "rootfs": f"{self.storage}:1", "hostname": f"contract-{vmid}", "unprivileged": 1,
            "memory": 128, "features": "nesting=1", "tags": f"{OWN};{TAG}",
        })  # fmt: skip
        return vmid

    def path(self, vmid: int) -> str:
        return f"nodes/{self.node}/lxc/{vmid}"

    def clean(self) -> None:
        """Destroy what the tests have made, and nothing else."""
        for vmid in range(self.first, self.first + COUNT):
            if vmid not in guests_by_id(self.client):
                continue
            config = self.client.get(f"{self.path(vmid)}/config")
            if OWN in values.tags(config.get("tags", "")):
                removal.remove(self.client, vmid, destroy=True, log=lambda _line: None)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = _real() if REAL else _double(request)
    server.clean()
    yield server
    server.clean()


def _double(request: pytest.FixtureRequest) -> Server:
    request.getfixturevalue("pve")
    client: Client = request.getfixturevalue("client")
    archive = next(name for name in SETTINGS["images"] if "vztmpl" in name)
    return Server(client, NODE, "quickOS-lxc-disks", archive, 999000100)


def _real() -> Server:
    trust = Trust(os.environ.get("PROXMOX_FINGERPRINT"), os.environ.get("PROXMOX_CA"))
    token = SecretStr(os.environ["PROXMOX_TOKEN"])
    client = Client(connect(Endpoint(REAL, token, trust)))
    node = os.environ.get("PROXMOX_NODE") or str(client.get("nodes")[0]["node"])
    first = int(os.environ.get("PROXMOX_ID", "999000100"))
    storage, archive = os.environ["PROXMOX_STORAGE"], os.environ["PROXMOX_ARCHIVE"]
    return Server(client, node, storage, archive, first)


def test_every_point_that_reads_holds(server: Server) -> None:
    server.new()
    findings = list(contract.findings(server.client))
    assert len(findings) == len(contract.POINTS)
    assert {finding.expected: finding.actual for finding in findings if not finding.holds} == {}


def test_a_guest_is_listed_at_once_and_its_power_is_told_by_itself(server: Server) -> None:
    vmid = server.new()
    location = guests_by_id(server.client)[vmid]
    assert not state(server.client, location).running
    assert power.start(server.client, vmid)
    assert state(server.client, location).running
    assert not power.start(server.client, vmid)
    with pytest.raises(AlreadyError):
        server.client.write("POST", f"{server.path(vmid)}/status/start")
    server.client.write("POST", f"{server.path(vmid)}/status/stop")
    assert power.start(server.client, vmid), "whatever the list of guests still says"


def test_a_container_becomes_a_template_once_and_is_cloned(server: Server) -> None:
    vmid = server.new()
    make_template(server.client, vmid)
    with pytest.raises(AlreadyError):
        server.client.write("POST", f"{server.path(vmid)}/template")
    make_template(server.client, vmid)
    clone = vmid + 1
    data = {"newid": clone, "full": 1, "storage": server.storage, "hostname": "contract-clone"}
    server.client.write("POST", f"{server.path(vmid)}/clone", data)
    config = server.client.get(f"{server.path(clone)}/config")
    assert (config["hostname"], config.get("template", 0)) == ("contract-clone", 0)
    assert OWN in values.tags(config["tags"]), "a clone has the tags of its template"


def test_what_changed_meanwhile_is_not_overwritten(server: Server) -> None:
    path = f"{server.path(server.new())}/config"
    digest = server.client.get(path)["digest"]
    server.client.write("PUT", path, {"memory": 192, "digest": digest})
    with pytest.raises(ChangedError):
        server.client.write("PUT", path, {"memory": 256, "digest": digest})
    assert int(server.client.get(path)["memory"]) == 192


def test_text_comes_back_as_it_was_written(server: Server) -> None:
    path = f"{server.path(server.new())}/config"
    text = "Managed by Phoenix: a.json, lxc_configs.103\nDeclared: features.fuse net0.tag 100% #1"
    server.client.write("PUT", path, {"description": text})
    assert server.client.get(path)["description"].strip() == text


def test_what_is_for_root_alone_is_refused_to_a_token(server: Server) -> None:
    path = f"{server.path(server.new())}/config"
    for change in (
        {"features": "nesting=1,keyctl=1"},
        {"mp0": "/srv,mp=/srv"},
        {"dev0": "/dev/null"},
    ):
        with pytest.raises(LoginError, match="root@pam"):
            server.client.write("PUT", path, change)


def test_snapshots_are_taken_listed_and_gone(server: Server) -> None:
    vmid = server.new()
    location = guests_by_id(server.client)[vmid]
    try:
        assert power.lifecycle_snapshot(server.client, vmid, "one")
    except ProxmoxError as error:
        if "snapshot feature is not available" not in str(error):
            raise
        pytest.skip(f"the storage {server.storage} has no snapshots for containers")
    assert not power.lifecycle_snapshot(server.client, vmid, "one")
    assert snapshots(server.client, location) == ("one",)
    server.client.write("DELETE", f"{server.path(vmid)}/snapshot/one")
    assert snapshots(server.client, location) == ()


def test_rules_of_a_guest_are_written_and_kept_in_order(server: Server) -> None:
    """A new rule goes to the top; ours are brought below a person's refusal, one write each."""
    vmid = server.new()
    path = f"{server.path(vmid)}/firewall"
    own_rule = {
        "type": "in",
        "action": "DROP",
        "source": "192.0.2.66",
        "enable": 1,
        "comment": "mine",
    }
    server.client.write("POST", f"{path}/rules", own_rule)
    rules = tuple(
        FirewallRule(Identity("in", "ACCEPT", "tcp", port, source, None), "contract")
        for port, source in (("22", "192.0.2.0/24"), ("80", None), ("22", "2001:db8::/64"))
    )
    options = {"policy_in": "DROP", "ipfilter": "1", "macfilter": "1"}
    scope = Scope("contract", path, options, rules, vmid, ("192.0.2.7",))
    for _ in range(30):
        write = next_of(server.client, scope)
        if write is None:
            break
        server.client.write(write.method, write.path, write.data)
    assert next_of(server.client, scope) is None
    placed = [firewall.placed(row) for row in server.client.get(f"{path}/rules")]
    assert [rule.managed for rule in placed] == [False, True, True, True]
    assert all(rule.enabled for rule in placed)
    entries = server.client.get(f"{path}/ipset/{firewall.IPFILTER}")
    assert [row["cidr"] for row in entries] == ["192.0.2.7"]


def test_an_unknown_node_and_storage_are_told_in_own_words(server: Server) -> None:
    with pytest.raises(ProxmoxError, match="pvecm nodes"):
        server.client.get("nodes/no-such-node/storage")
    with pytest.raises(ProxmoxError, match="pvesm status"):
        server.client.get(f"nodes/{server.node}/storage/no-such-storage/content")


@pytest.mark.skipif(bool(REAL), reason="the double alone: it writes what a person may have")
def test_what_differs_is_told_point_by_point(pve: Pve, client: Client) -> None:
    pve.fake.storages["local"]["content"] = "iso,vztmpl,backup"
    pve.fake.version = "7.4.3"
    pve.only("VM.Audit", "Sys.Audit", "Datastore.Audit")
    differences = {
        finding.expected: finding.actual
        for finding in contract.findings(client)
        if not finding.holds
    }
    assert set(differences) == {
        "its version is known",
        "the token has the privileges of docs/proxmox.md",
        "each node has a storage for disk images (import)",
    }
    assert (
        "pveum role modify Phoenix"
        in differences["the token has the privileges of docs/proxmox.md"]
    )
    assert pve.writes() == []


@pytest.mark.skipif(bool(REAL), reason="the double alone")
def test_the_command_reads_only_and_tells_every_point(
    pve: Pve, fakepve_url: str, fakepve_cafile: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{SETTINGS['token']}\n")
    words = ["check", "proxmox", fakepve_url, "--token-file", str(token), "--ca", fakepve_cafile]
    shown = CliRunner().invoke(app, [*words, "--json"])
    assert shown.exit_code == 0, shown.output
    report: dict[str, Any] = json.loads(shown.output)
    assert [point["holds"] for point in report["points"]] == [True] * len(contract.POINTS)
    assert pve.writes() == []
    pve.fake.storages["local"]["active"] = 0
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 1
    assert "DIFFERS" in shown.output
    nothing = CliRunner().invoke(app, words[:5])
    assert nothing.exit_code != 0
    assert "--fingerprint or --ca" in str(nothing.exception)
    assert "s3cret" not in nothing.output + shown.output
