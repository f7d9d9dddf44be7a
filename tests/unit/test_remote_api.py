"""Docker's API on a TCP port: where a person has opened it, whether it stays, and how it closes."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from facts.docker import DockerStart
from facts.host_fact import BEGIN, END
from phoenix.components.docker.daemon_json import DAEMON, DaemonState, declared, merge
from phoenix.components.docker.remote_api import (
    DROP_IN,
    SOCKET,
    UNIT,
    ApiError,
    DaemonStart,
    RemoteApi,
    closed,
    parse,
    remote_apis,
)
from phoenix.components.taking_over.decision import decide
from phoenix.components.taking_over.existing_services import ExistingServices, Place
from phoenix.declaration.settings import TakingOver, read
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

PLACE = Place("docker", "docker", ())
LOCAL = ("/usr/sbin/dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock")
OPEN = RemoteApi("tcp://0.0.0.0:2375", DAEMON)
PERSON = {
    "hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2376"],
    "tlsverify": True, "tlscacert": "/etc/docker/ca.pem", "iptables": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize(
    ("daemon", "words", "expected"),
    [
        ("", LOCAL, ()),
        ("no json", LOCAL, ()),
        (json.dumps(PERSON), ("dockerd",), (RemoteApi("tcp://0.0.0.0:2376", DAEMON, True),)),
        ("", (*LOCAL, "-H", "tcp://0.0.0.0:2375"), (replace(OPEN, where=UNIT),)),
        ("", (*LOCAL, "--host=tcp://:2375"), (RemoteApi("tcp://:2375", UNIT),)),
        ("", (*LOCAL, "-H=tcp://[::]:2376", "--tlsverify"),
         (RemoteApi("tcp://[::]:2376", UNIT, True),)),
        ("", (*LOCAL, "-Htcp://10.0.0.5"), (RemoteApi("tcp://10.0.0.5", UNIT),)),
    ],
)  # fmt: skip
def test_every_way_to_open_it_is_found(
    daemon: str, words: tuple[str, ...], expected: tuple[RemoteApi, ...]
) -> None:
    assert remote_apis(daemon, DaemonStart(words)) == expected


@pytest.mark.parametrize(
    ("url", "port", "is_open"),
    [
        ("tcp://0.0.0.0:2375", 2375, True),
        ("tcp://127.0.0.1:2375", 2375, False),
        ("tcp://[::1]:9", 9, False),
        ("tcp://[::]:9", 9, True),
        ("tcp://host.example", 2375, True),
    ],
)
def test_who_is_root_without_a_certificate(url: str, port: int, is_open: bool) -> None:
    api = RemoteApi(url, DAEMON)
    assert (api.port, api.is_open) == (port, is_open)
    assert not replace(api, is_verified=True).is_open


def test_without_a_word_the_host_is_refused_and_an_open_port_is_told_loudly() -> None:
    reasons = "\n".join(decide([PLACE], ExistingServices(apis=(OPEN,)), TakingOver()).refused)
    assert "tcp://0.0.0.0:2375, by /etc/docker/daemon.json, UNENCRYPTED AND FOR ANYBODY" in reasons
    for choice in ("keep", "replace"):
        assert f"taking_over = {{'docker': '{choice}'}}" in reasons
        verdict = decide([PLACE], ExistingServices(apis=(OPEN,)), TakingOver(docker=choice))
        assert (verdict.refused, verdict.records) == ((), {})


def test_a_port_that_systemd_opens_is_its_persons_to_close() -> None:
    (api,) = remote_apis("", DaemonStart(LOCAL, "", ("0.0.0.0:2375",)))
    assert api == RemoteApi("tcp://0.0.0.0:2375", SOCKET)
    (reason,) = decide([PLACE], ExistingServices(apis=(api,)), TakingOver(docker="replace")).refused
    assert "take its ListenStream= out of docker.socket" in reason


def test_what_daemon_json_opens_stays_by_the_persons_word_alone(site: Site) -> None:
    def daemon_json(**setting: object) -> dict[str, object]:
        settings, findings = read(setting)
        assert not findings
        state = DaemonState(present=json.dumps(PERSON), foreign=True)
        merged = merge(declared(site, site.docker_hosts[0], settings), state)
        again = DaemonState(present=merged.daemon, former=merged.former)
        second = merge(declared(site, site.docker_hosts[0], settings), again)
        assert (second.daemon, second.former) == (merged.daemon, merged.former)
        result: dict[str, object] = json.loads(merged.daemon)
        return result

    kept_file = daemon_json(taking_over={"docker": "keep"})
    for key in ("hosts", "tlsverify", "tlscacert"):
        assert kept_file[key] == PERSON[key]
        assert key not in daemon_json()
        assert key not in daemon_json(taking_over={"docker": "replace"})
    assert "iptables" not in kept_file


def test_a_kept_port_leaves_dockerd_its_local_socket(site: Site) -> None:
    settings, _ = read({"taking_over": {"docker": "keep"}})
    state = DaemonState(present='{"hosts": ["tcp://127.0.0.1:2375"]}', foreign=True)
    merged = merge(declared(site, site.docker_hosts[0], settings), state)
    assert json.loads(merged.daemon)["hosts"] == [
        "unix:///var/run/docker.sock", "tcp://127.0.0.1:2375",
    ]  # fmt: skip


def test_a_command_line_closes_with_everything_else_as_it_was() -> None:
    words = (
        *LOCAL, "-H", "tcp://0.0.0.0:2376", "--tlsverify", "--tlscacert", "/c a", "--tlskey=/k",
        "-Htcp://x", "--host=tcp://y", "--label", 'a "b" 100% $x', "--debug",
    )  # fmt: skip
    lines = closed(DaemonStart(words)).splitlines()
    assert lines[-2:] == [
        "ExecStart=",
        f'ExecStart={" ".join(LOCAL)} --label "a \\"b\\" 100%% $$x" --debug',
    ]
    assert closed(DaemonStart(LOCAL)) == ""
    own_command = lines[-1].removeprefix("ExecStart=")
    assert closed(DaemonStart(LOCAL, own_command)).splitlines() == lines, (
        "a second run changes nothing"
    )


CAT = """\
# /usr/lib/systemd/system/docker.service
[Service]
ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS
# /etc/systemd/system/docker.service.d/person.conf
[Service]
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd:// \\
  -H tcp://0.0.0.0:2375
"""


def asked(tmp_path: Path, *, pid: int = 0, own_command: str = "") -> DaemonStart:
    """The fact's own command, with a systemd that says as it is told."""
    drop_in = tmp_path / "ours.conf"
    cat = CAT
    if own_command:
        drop_in.write_text(f"[Service]\nExecStart=\nExecStart={own_command}\n")
        cat += f"# {drop_in}\n{drop_in.read_text()}"
    (tmp_path / "cat").write_text(cat)
    (tmp_path / "77").mkdir(exist_ok=True)
    (tmp_path / "77/cmdline").write_text("/usr/sbin/dockerd\0-H\0tcp://10.0.0.5:2375\0")
    stub = tmp_path / "systemctl"
    stub.write_text(
        f"#!/bin/sh\ncase $* in cat*) cat {tmp_path}/cat ;;\n"
        f"'show docker.service docker.socket '*) echo MainPID={pid}; echo; "
        "echo 'Listen=/run/docker.sock (Stream)'; echo 'Listen=[::]:2375 (Stream)' ;; esac\n"
    )
    stub.chmod(0o755)
    line = DockerStart().command().get_raw_value().replace(DROP_IN, str(drop_in))
    line = line.replace("/proc/$pid", f"{tmp_path}/$pid")
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, f"{END} 0"), done
    return DockerStart().parse(lines[1:-1])


def test_a_host_tells_how_its_dockerd_starts(tmp_path: Path) -> None:
    start = asked(tmp_path)
    assert start.words == ("/usr/sbin/dockerd", "-H", "fd://", "-H", "tcp://0.0.0.0:2375")
    assert start.sockets == ("[::]:2375",)
    running = asked(tmp_path, pid=77)
    assert running.words == ("/usr/sbin/dockerd", "-H", "tcp://10.0.0.5:2375"), (
        "with what its environment files add"
    )
    daemon_start = asked(tmp_path, pid=77, own_command="/usr/sbin/dockerd -H fd://")
    assert daemon_start.ours == "/usr/sbin/dockerd -H fd://"
    assert "tcp://0.0.0.0:2375" in daemon_start.words, "as its person has it"
    with pytest.raises(ApiError, match="unexpected answer of the host"):
        parse(["what"])
