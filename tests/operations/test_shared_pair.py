"""The way of an earlier release's stacks from their host's pair to their own, and its end."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from facts.certificates import AcmeState
from facts.containers import ComposeProjects
from facts.host_fact import FactError
from operations import certificates, host_state
from operations.certificates import host_names_only, shared_pair
from phoenix.components.acme.phoenix_acme_conf import StackPair
from phoenix.components.docker.projects import ComposeProject, Container
from tests.openssl_server import proving
from tests.operations.test_tree_operations import fixed

SHOP = StackPair("shop-production", ("shop.stack.test",), (("10.0.0.24", 8000, "shop.stack.test"),))
WIKI = StackPair("wiki-production", ("wiki.stack.test",), (("10.0.0.24", 8100, "wiki.stack.test"),))
PAIRS = (SHOP, WIKI)
PROOF = SecretStr("5ecret-of-the-names")


def project(name: str, *binds: str, state: str = "running") -> ComposeProject:
    created = datetime(2026, 1, 1, tzinfo=UTC)
    only = Container("c", "web", "i:1", state, state == "running", created, binds=binds)
    return ComposeProject(name, "portainer", "", (only,), (), ())


def host(*projects: ComposeProject, also: str = "") -> Any:
    state = AcmeState("", "", "issued", "1", 0, loaded=True, permissions="ok", also=also)
    return fixed(ComposeProjects=list(projects), AcmeStatus=state)


def words(commands: list[Any]) -> list[list[str]]:
    return [shlex.split(command.get_raw_value()) for command in commands]


def test_a_stack_that_reads_the_host_s_pair_is_proven_by_it_before_its_route_changes() -> None:
    here = host(project("shop-production", "/etc/phoenix/tls"), project("wiki-production"))
    commands = here.run(shared_pair, certificate="host", pairs=PAIRS, proof=PROOF)
    also, proven = words(commands)
    assert also == ["/usr/local/sbin/phoenix-acme", "also", "host", "shop.stack.test",
                    "wiki.stack.test"]  # fmt: skip
    assert proven[-4:] == ["10.0.0.24", "8000", "shop.stack.test", "shop-production"]
    assert "wiki.stack.test" not in proven, "only who reads the host's pair must prove it"
    assert commands[0].connector_arguments["_stdin"] == f"{PROOF.get_secret_value()}\n"
    assert PROOF.get_secret_value() not in "".join((*also, *proven))


@pytest.mark.parametrize(
    "present",
    [
        project("shop-production", "/etc/phoenix/stacks/shop-production/tls"),
        project("shop-production", "/etc/phoenix/tls", state="exited"),
        project("shop-production", "/etc/phoenix/tls-of-mine"),
        project("phoenix-portainer", "/etc/phoenix/tls"),
    ],
)
def test_nothing_is_shared_where_no_stack_reads_it(present: ComposeProject) -> None:
    assert host(present).run(shared_pair, certificate="host", pairs=PAIRS, proof=PROOF) == []


def test_the_host_s_pair_is_the_host_s_alone_once_no_stack_reads_it() -> None:
    moved = project("shop-production", "/etc/phoenix/stacks/shop-production/tls")
    here = host(moved, also="shop.stack.test")
    (also,) = words(here.run(host_names_only, certificate="host", pairs=PAIRS))
    assert also == ["/usr/local/sbin/phoenix-acme", "also", "host"]
    assert host(moved).run(host_names_only, certificate="host", pairs=PAIRS) == []


def test_what_could_not_move_is_told_and_stays_proven() -> None:
    left = project("shop-production", "/etc/phoenix/tls/host")
    here = host(left, also="shop.stack.test")
    assert here.run(host_names_only, certificate="host", pairs=PAIRS) == []
    assert "shop-production still read the host's pair" in here.host.noop_description


def test_a_docker_that_does_not_tell_stops_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs, and the same run repairs it later: the certificate's step failed, and its host."""
    answered = host_state.read

    def read(query: Any) -> Any:
        if query.fact is ComposeProjects:
            raise FactError("the command did not end in time")
        return answered(query)

    monkeypatch.setattr(certificates, "read", read)
    here = host(also="shop.stack.test")
    assert here.run(shared_pair, certificate="host", pairs=PAIRS, proof=PROOF) == []
    assert "Docker does not tell" in here.host.noop_description
    assert here.run(host_names_only, certificate="host", pairs=PAIRS) == []


def test_the_proof_is_made_by_the_name(tmp_path: Path) -> None:
    """By the script itself, against a server whose certificate has one name of two."""
    with proving("shop.stack.test", tmp_path) as (_, port):
        shims = tmp_path / "bin"
        shims.mkdir()
        # The clock goes by forty seconds with each look, and docker tells that it was called.
        (shims / "date").write_text(
            f'#!/bin/sh\nn=$(($(cat "{tmp_path}/t" 2>/dev/null || echo 0) + 40))\n'
            f'echo $n | tee "{tmp_path}/t"\n'
        )
        (shims / "docker").write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/docker"\necho id\n')
        (shims / "sleep").write_text("#!/bin/sh\n")
        for shim in shims.iterdir():
            shim.chmod(0o755)
        openssl = shutil.which("openssl")
        assert openssl

        def proven(name: str) -> subprocess.CompletedProcess[str]:
            line = certificates._PROVEN.argv(
                str(tmp_path / "crt"), "/etc/phoenix/tls", "127.0.0.1", port, name, "shop"
            )
            path = f"{shims}:{Path(openssl).parent}:/usr/bin:/bin"
            return subprocess.run(
                line, env={"PATH": path}, capture_output=True, text=True, check=False, timeout=60
            )

        assert proven("shop.stack.test").returncode == 0
        assert not (tmp_path / "docker").exists(), "nobody was restarted"
        failed = proven("wiki.stack.test")
        assert failed.returncode == 1
        assert "does not prove to be wiki.stack.test" in failed.stderr
        restarts = (tmp_path / "docker").read_text().splitlines()
        assert [line for line in restarts if line.startswith("restart")] == ["restart id"]
