"""`phoenix logs` and `phoenix exec`: whose log, on which host, by which words of ssh(1)."""

from __future__ import annotations

import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli import app as command
from phoenix.cli import exits
from phoenix.cli.containers import Place, check_service, place_of_command
from phoenix.cli.targets import host_of
from phoenix.declaration.load import load_site
from phoenix.derived.components import COMPONENTS
from phoenix.derived.logs import UNITS, logs
from phoenix.health.advice import COMPONENTS as OF_UNIT
from phoenix.net import ssh_command as ssh_words
from phoenix.net.ssh_command import ssh_command
from phoenix.site.findings import NameLookupError
from phoenix.site.model import Service, Site
from tests.unit.project_copy import ROOT
from tests.unit.project_copy import project as project
from tests.unit.site_builder import minimal


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "inventories", ROOT / "stacks", environment="production")


def shown(site: Site, name: str, *, follow: bool = False) -> dict[str, str]:
    return {
        log.host.name: " ".join(log.command) for log in logs(site, name, lines=9, follow=follow)
    }


def test_a_component_has_the_journal_of_its_units_on_its_hosts(site: Site) -> None:
    assert shown(site, "component:nginx") == {
        "nginx-phoenix": "journalctl --no-pager -u nginx.service -u phoenix-acme@* -n 9"
    }
    assert set(shown(site, "docker")) == {host.name for host in site.docker_hosts}


def test_a_stack_has_its_containers_logs_where_it_is_deployed(site: Site) -> None:
    (host,) = [host for host in site.guests for docker_stack in host.docker_stacks
               if docker_stack.name == "qdrant_service"]  # fmt: skip
    assert shown(site, "stack:qdrant_service", follow=True) == {
        host.name: "docker compose -p qdrant_service-production logs --timestamps --tail 9 --follow"
    }


def test_every_name_has_a_log_or_says_why_not(site: Site) -> None:
    for service in site.services:
        assert shown(site, f"service:{service.fqdn}").keys() == {service.owner.name}
    for host in site.guests:
        assert shown(site, f"guest:{host.name}") == {host.name: "journalctl --no-pager -n 9"}
    for component in COMPONENTS:
        if component.name in UNITS and not component.hosts(site):
            with pytest.raises(NameLookupError, match="no host of this site has"):
                shown(site, f"component:{component.name}")
        elif component.name in UNITS:
            assert shown(site, f"component:{component.name}")
        else:
            with pytest.raises(NameLookupError, match="no unit"):
                shown(site, f"component:{component.name}")


def test_a_service_of_the_platform_has_the_log_of_what_runs_it(site: Site) -> None:
    of_kind: dict[str, Service] = {service.kind: service for service in site.services}
    for kind, unit in {"ca": "step-ca.service", "dashboard": "traefik.service",
                       "home": "phoenix-home.service"}.items():  # fmt: skip
        assert f"-u {unit}" in shown(site, f"service:{of_kind[kind].fqdn}")[
            of_kind[kind].owner.name
        ]  # fmt: skip


def test_units_are_those_that_doctor_looks_at() -> None:
    patterns = [unit.rstrip("*") for units in UNITS.values() for unit in units]
    for unit in OF_UNIT:
        assert any(unit.startswith(pattern) for pattern in patterns), unit


def test_a_service_of_a_stack_has_the_log_of_its_own_container(site: Site) -> None:
    (command,) = shown(site, "service:qdrant").values()
    assert command == (
        "docker compose -p qdrant_service-production logs --timestamps --tail 9 qdrant"
    )


def test_a_command_for_a_stack_runs_in_its_container(site: Site) -> None:
    """Whoever names an application means that, and not the machine that it runs on."""
    in_qdrant = Place("drphoenix", "qdrant_service-production", "qdrant")
    for name in ("stack:qdrant_service", "stack:qdrant_service/qdrant", "service:qdrant"):
        assert place_of_command(name, site) == in_qdrant, name
    assert in_qdrant.words(["ls", "/a b"], terminal=False) == [
        "docker", "compose", "-p", "qdrant_service-production", "exec", "-T", "qdrant", "ls", "/a b"
    ]  # fmt: skip
    assert "-T" not in in_qdrant.words(["sh"], terminal=True)


@pytest.mark.parametrize("name", ["101", "component:nginx", "service:portainer", "ca"])
def test_a_command_for_what_has_no_container_of_its_own_runs_on_the_host(
    site: Site, name: str
) -> None:
    where = place_of_command(name, site)
    assert (where.host, where.project) == (host_of(name, site), "")
    assert where.words(["id"], terminal=False) == ["id"]


def test_of_several_services_one_must_be_named(tmp_path: Path) -> None:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["db"] = {"image": "example/db:1"}
    site = declared.load(tmp_path)
    assert place_of_command("stack:shop/db", site).service == "db"
    assert place_of_command("service:shop", site).service == "web", "the one that the name leads to"
    with pytest.raises(NameLookupError, match="has 2 services: write stack:shop/web or"):
        place_of_command("stack:shop", site)
    with pytest.raises(NameLookupError, match=r"is called 'wbe'\. Did you mean 'web'\?"):
        place_of_command("stack:shop/wbe", site)
    with pytest.raises(NameLookupError, match="There are: web, db"):
        check_service("stack:shop", "nothing", site)
    (log,) = logs(site, "stack:shop", lines=3, follow=False, container="db")
    assert log.command[-1] == "db"


def test_exec_needs_one_host(site: Site) -> None:
    assert host_of("101", site) == "nginx-phoenix"
    assert host_of("component:nginx", site) == "nginx-phoenix"
    assert host_of("guest:portainer", site) == "portainer"
    with pytest.raises(NameLookupError, match="name the one host"):
        host_of("component:base", site)


def test_a_host_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose sshd hangs: `phoenix logs` waited for it without an end."""
    monkeypatch.setattr(ssh_words, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        data = {"ssh_hostname": "127.0.0.1", "ssh_port": server.getsockname()[1],
                "ssh_config_file": "/dev/null"}  # fmt: skip
        words = ssh_command("proxy", data, ["true"])
        ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=45)
    assert ended.returncode == 255
    assert "timed out" in ended.stderr


def test_ssh_goes_in_as_pyinfra_does() -> None:
    data = {"ssh_hostname": "10.0.0.9", "ssh_user": "root", "ssh_port": 2222, "ssh_key": "/k",
            "ssh_known_hosts_file": "/h", "ssh_strict_host_key_checking": "yes"}  # fmt: skip
    words = ssh_command("proxy", data, ["sh", "-c", "echo 'a  b' | cat"])
    assert words[:2] == ["ssh", "-T"]
    for pair in (["-p", "2222"], ["-i", "/k"], ["-l", "root"]):
        assert pair == words[words.index(pair[0]) :][:2]
    assert {"UserKnownHostsFile=/h", "StrictHostKeyChecking=yes"} <= set(words)
    assert words[-3:-1] == ["--", "10.0.0.9"]
    assert shlex.split(words[-1]) == ["sh", "-c", "echo 'a  b' | cat"], "as each was given"
    assert ssh_command("proxy", {}, ["true"], terminal=True)[:2] == ["ssh", "-t"]
    assert ssh_command("proxy", {}, ["true"])[-2] == "proxy"


@pytest.fixture
def phoenix(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Any:
    """The command, with a program `ssh` that runs the command on this machine."""
    monkeypatch.chdir(project)
    (tools := project / "tools").mkdir()
    (tools / "ssh").write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\necho "at $2"; shift 2; exec sh -c "$1"\n'
    )
    (tools / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")

    def call(*words: str) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["phoenix", *words])
        with pytest.raises(SystemExit) as ended:
            command.main()
        captured = capfd.readouterr()
        return ended.value.code or 0, captured.out + captured.err

    return call


def test_exec_passes_words_output_and_exit_code_on(phoenix: Any) -> None:
    code, output = phoenix("exec", "101", "--", "sh", "-c", "echo '$HOME  x'; exit 7")
    assert code == 7
    assert output == f"at {_address('nginx-phoenix')}\n$HOME  x\n"
    assert phoenix("exec", "101", "--", "true")[0] == exits.OK


def test_logs_of_several_hosts_name_the_host_of_each_line(
    phoenix: Any, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    code, output = phoenix("logs", "base")  # no journalctl is in this PATH, or it has no such unit
    del monkeypatch
    for host in site.hosts:
        assert f"at {host.address}" in output
        assert any(line.startswith(host.name) for line in output.splitlines())
    assert isinstance(code, int)


def test_without_ssh_it_says_so(phoenix: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        raise FileNotFoundError(2, "No such file or directory", "ssh")

    monkeypatch.setattr("subprocess.run", missing)
    code, output = phoenix("exec", "101", "--", "true")
    assert (code, output) == (exits.ERROR, "phoenix: ssh is not installed on this machine\n")


def _address(name: str) -> str:
    loaded = load_site(ROOT / "inventories", ROOT / "stacks", environment="production")
    return str(loaded.host(name).address)
