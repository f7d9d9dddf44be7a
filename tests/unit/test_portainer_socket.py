"""A container that has a former socket of Docker is stopped before its unit starts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from phoenix.files import text
from tests.unit.test_check_script import stand_in

MADE = 1_700_000_000
"""When Docker's socket was made; 2023-11-14T22:13:20Z."""
DOCKER = """echo "$*" >>"$D/asked"
case $1 in
compose) [ ! -e "$D/down" ] || exit 1; echo one ;;
inspect) case "$3" in *'eq .Destination "/var/run/docker.sock"'*) cat "$D/started" ;; esac ;;
esac"""


@pytest.mark.parametrize(
    ("started", "stopped"),
    [
        ("2023-11-14T22:13:19.987654321Z", True),
        ("2023-11-14T22:13:20.000000001Z", False),
        ("2023-11-15T00:00:00Z", False),
        ("", False),  # it has no socket: a server that deploys nothing on its own guest
    ],
)
def test_who_has_a_former_socket_is_stopped(tmp_path: Path, started: str, stopped: bool) -> None:
    (tmp_path / "started").write_text(started)
    assert ("stop --time 20 one" in asked(tmp_path)) is stopped


def test_nothing_is_stopped_where_docker_does_not_answer(tmp_path: Path) -> None:
    """The unit tries again, and asks before."""
    (tmp_path / "started").write_text("2023-11-14T22:13:19Z")
    (tmp_path / "down").touch()
    assert asked(tmp_path) == ["compose --file /compose.yml ps --quiet"]


def test_who_has_no_socket_is_not_stopped_for_one_made_today(tmp_path: Path) -> None:
    """date(1) takes no time at all for the midnight that was."""
    (tmp_path / "started").write_text("")
    assert not [words for words in asked(tmp_path, "echo 99999999999") if "stop" in words]


def test_nothing_is_asked_where_docker_has_no_socket(tmp_path: Path) -> None:
    (tmp_path / "asked").touch()
    assert asked(tmp_path, "exit 1") == []


def asked(folder: Path, made: str = f"echo {MADE}") -> list[str]:
    """What the script asks of Docker; `made` stands in for stat(1)."""
    stand_in(folder, "docker", DOCKER)
    stand_in(folder, "stat", made)
    subprocess.run(
        ["sh", "-c", text("components/portainer/socket.sh"), "socket", "/compose.yml"],
        check=False, timeout=60,
        env={"D": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    return (folder / "asked").read_text().splitlines()
