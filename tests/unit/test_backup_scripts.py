"""The guest-side scripts of backup and restore, run for real on directories of this machine."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import signal
import subprocess
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from facts.backup import CaData, PortainerData
from phoenix import files
from phoenix.backup import PresentData, ca_identity, portainer_identity
from tests.unit.test_backup import archive
from tests.unit.test_backup import ca as ca
from tests.unit.test_ca_init_script import openssl, put_in_store

STUB = '#!/bin/sh\nprintf \'%s %s\\n\' "${0##*/}" "$*" >>"$CALLS"\n'
UNIT = "demo.service"


@dataclass
class Guest:
    """Programs that only note how they were called; a service that is a file."""

    top: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "run", "disk"):
            (self.top / name).mkdir()
        self.program("systemd-run", "")
        self.program("id", "")
        if os.getuid() != 0:
            self.program("chown", "")
        self.program("docker", f'case $2 in inspect) echo "{self.volume}" ;; esac')
        active = self.top / "active"
        self.program(
            "systemctl",
            f'case $1:$2 in start:*) : >"{active}" ;; stop:*.timer) ;; stop:*) rm -f "{active}" ;;'
            f' is-active:*) [ -e "{active}" ] ;; esac',
        )
        active.touch()
        self.environment = {
            **os.environ, "PATH": f"{self.top / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.top / "calls"), "PHOENIX_MEMORY": str(self.top / "run"),
            "PHOENIX_DISK": str(self.top / "disk"),
        }  # fmt: skip

    @property
    def volume(self) -> Path:
        return self.top / "volumes/portainer_data/_data"

    def program(self, name: str, body: str) -> None:
        path = self.top / "bin" / name
        path.write_text(STUB + body + "\n")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.top / "calls").read_text().splitlines()

    @property
    def runs(self) -> bool:
        return (self.top / "active").exists()

    @property
    def left(self) -> list[str]:
        places = (*(self.top / "run").iterdir(), *(self.top / "disk").iterdir())
        return [path.name for path in places if path.suffix != ".lock"]

    def sh(self, script: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", script, "script", *words],
            input=stdin, capture_output=True, text=True, timeout=60, check=False,
            env=self.environment,
        )  # fmt: skip


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    (tmp_path / "guest").mkdir()
    return Guest(tmp_path / "guest")


def lay(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def state_of(guest: Guest, fact: CaData | PortainerData, **where: str) -> PresentData:
    command = fact.command(**where).get_raw_value()
    output = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=guest.environment, check=True
    )
    return fact.process(output.stdout.splitlines())


# -- collecting --------------------------------------------------------------------------------


def collect(guest: Guest, *words: str) -> subprocess.CompletedProcess[str]:
    return guest.sh(files.text("backup/collect.sh"), UNIT, *words)


def test_copy_is_taken_while_the_service_stands_still(guest: Guest) -> None:
    data = lay(guest.top / "data", {"db/log": b"accounts", "certs/c": b"C", "other": b"no"})
    result = collect(guest, "1000", str(data), "certs", "db")
    assert result.returncode == 0, result.stderr
    copy = base64.b64decode(result.stdout)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(copy))) as tar:
        assert {info.name for info in tar if info.isreg()} == {"certs/c", "db/log"}
    assert guest.runs
    assert guest.left == []
    alarm, stop = (
        next(i for i, call in enumerate(guest.calls) if call.startswith(word))
        for word in ("systemd-run", f"systemctl stop {UNIT}")
    )
    assert alarm < stop, "nobody would start it again if this shell were killed"
    assert guest.calls[-1] == "systemctl stop phoenix-backup-start-demo.timer"


def test_the_key_that_portainer_copies_into_its_data_stays_there(guest: Guest) -> None:
    """The server's own TLS key: each start copies it anew from the guest."""
    lay(guest.volume, {"certs/key.pem": b"KEY", "certs/cert.pem": b"C", "portainer.db": b"D"})
    result = collect(guest, "1000", "portainer_data", ".")
    assert result.returncode == 0, result.stderr
    copy = base64.b64decode(result.stdout)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(copy))) as tar:
        assert {info.name for info in tar if info.isreg()} == {"./certs/cert.pem", "./portainer.db"}


def test_service_that_was_stopped_stays_so(guest: Guest) -> None:
    (guest.top / "active").unlink()
    data = lay(guest.top / "data", {"x": b""})
    assert collect(guest, "1000", str(data), ".").returncode == 0
    assert not guest.runs


@pytest.mark.parametrize(
    ("limit", "member", "message"),
    [("1000", "gone", "data/gone is missing"), ("0", "x", "a backup takes 0 KiB at most")],
)
def test_what_cannot_be_copied_is_told_before_the_service_is_stopped(
    guest: Guest, limit: str, member: str, message: str
) -> None:
    data = lay(guest.top / "data", {"x": b"data"})
    result = collect(guest, limit, str(data), member)
    assert result.returncode == 3, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert "stop demo" not in "".join(guest.calls if (guest.top / "calls").exists() else [])


def rooms(guest: Guest, **kib: int) -> None:
    """Have `df` tell so much room of the guest's memory and disk."""
    cases = " ".join(f"*/{name}) echo {count} ;;" for name, count in kib.items())
    guest.program("df", f"echo Avail; case $3 in {cases} esac")


def test_copy_that_memory_has_no_room_for_lies_on_the_disk(guest: Guest) -> None:
    data = lay(guest.top / "data", {"x": bytes(100 << 10)})
    guest.program("gzip", f'ls "{guest.top}"/disk/*/tar >"{guest.top}/seen"; exec /bin/gzip "$@"')
    killed = guest.top / f"disk/phoenix-backup-{UNIT}.123456"
    killed.mkdir()
    rooms(guest, run=199, disk=300)
    result = collect(guest, "1000", str(data), "x")
    assert result.returncode == 0, result.stderr
    assert (guest.top / "seen").read_text().count("/tar") == 1
    assert guest.left == [], "the copy and what an earlier run left are gone"


def test_copy_without_room_is_told_before_the_service_is_stopped(guest: Guest) -> None:
    rooms(guest, run=199, disk=150)
    result = collect(guest, "1000", str(lay(guest.top / "data", {"x": bytes(100 << 10)})), "x")
    assert result.returncode == 3
    assert "a copy needs 20" in result.stderr
    assert "room for 199 KiB" in result.stderr
    assert "disk for 150 KiB" in result.stderr
    assert guest.runs
    assert guest.left == []


def test_service_runs_again_after_a_copy_that_failed(guest: Guest) -> None:
    guest.program("tar", "exit 2")
    result = collect(guest, "1000", str(lay(guest.top / "data", {"x": b""})), "x")
    assert result.returncode != 0
    assert guest.runs
    assert guest.left == []


def test_service_runs_again_after_the_run_was_killed(guest: Guest) -> None:
    guest.program("tar", f': >"{guest.top}/copying"; sleep 2')
    data = lay(guest.top / "data", {"x": b""})
    process = subprocess.Popen(
        ["sh", "-c", files.text("backup/collect.sh"), "collect", UNIT, "1000", str(data), "x"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=guest.environment,
    )  # fmt: skip
    while not (guest.top / "copying").exists():
        time.sleep(0.01)
    assert not guest.runs
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert guest.runs
    assert guest.left == []


def test_copy_of_a_service_that_somebody_started_is_not_taken(guest: Guest) -> None:
    guest.program("tar", "systemctl start demo")
    result = collect(guest, "1000", str(lay(guest.top / "data", {"x": b""})), "x")
    assert result.returncode == 3
    assert "was started meanwhile" in result.stderr
    assert result.stdout == ""


# -- the CA ------------------------------------------------------------------------------------


def put_ca(guest: Guest, data: bytes, aside: str = "") -> subprocess.CompletedProcess[str]:
    return guest.sh(
        files.text("backup/restore_ca.sh"), str(guest.top / "step-ca"), UNIT,
        hashlib.sha256(data).hexdigest(), aside, stdin=base64.encodebytes(data).decode(),
    )  # fmt: skip


def test_ca_appears_whole_and_is_known_again(guest: Guest, ca: dict[str, bytes]) -> None:
    data, place = archive(ca), guest.top / "step-ca"
    where = {"directory": str(place)}
    assert state_of(guest, CaData(), **where) == PresentData()
    result = put_ca(guest, data)
    assert result.returncode == 0, result.stderr
    sha256 = hashlib.sha256(data).hexdigest()
    assert state_of(guest, CaData(), **where) == PresentData(True, ca_identity(data), sha256)
    assert (place / "db/000000.vlog").read_bytes() == ca["db/000000.vlog"]
    assert guest.left == []
    again = put_ca(guest, data)
    assert again.returncode == 3
    assert "exists already; nothing was changed" in again.stderr
    (place / "db/000000.vlog").unlink()
    assert state_of(guest, CaData(), **where).identity == "", "without a database it is another"


def test_ca_in_the_way_is_kept_beside(guest: Guest, ca: dict[str, bytes]) -> None:
    place = lay(guest.top / "step-ca", {"certs/root_ca.crt": b"another"})
    kept_folder = guest.top / "step-ca.before"
    result = put_ca(guest, archive(ca), str(kept_folder))
    assert result.returncode == 0, result.stderr
    assert not guest.runs, "its configuration comes with the next operation"
    assert (kept_folder / "certs/root_ca.crt").read_bytes() == b"another"
    assert (place / "certs/root_ca.crt").read_bytes() == ca["certs/root_ca.crt"]


def test_ca_that_arrives_damaged_changes_nothing(guest: Guest, ca: dict[str, bytes]) -> None:
    data = archive(ca)
    cut = base64.encodebytes(data[: len(data) // 2]).decode()
    words = (str(guest.top / "step-ca"), UNIT, hashlib.sha256(data).hexdigest(), "")
    result = guest.sh(files.text("backup/restore_ca.sh"), *words, stdin=cut)
    assert result.returncode == 3
    assert "arrived damaged" in result.stderr
    unfit = put_ca(guest, archive({**ca, "secrets/password": b"other\n"}))
    assert unfit.returncode != 0
    assert list(guest.top.glob("step-ca*")) == []
    assert guest.left == []


def test_a_ca_of_another_root_is_not_put_back_though_the_system_trusts_that(
    guest: Guest, ca: dict[str, bytes]
) -> None:
    former = guest.top / "former"
    former.mkdir()
    (former / "root.crt").write_bytes(ca["certs/root_ca.crt"])
    guest.environment["SSL_CERT_DIR"] = put_in_store(former / "root.crt", former / "store")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", former / "key", "-out", former / "other", "-subj", "/CN=Other")  # fmt: skip
    unfit = put_ca(guest, archive({**ca, "certs/root_ca.crt": (former / "other").read_bytes()}))
    assert unfit.returncode != 0
    assert list(guest.top.glob("step-ca*")) == []
    assert put_ca(guest, archive(ca)).returncode == 0


# -- Portainer ---------------------------------------------------------------------------------

DATA = {"./portainer.key": b"key", "./compose/1/docker-compose.yml": b"services"}


def put_portainer(guest: Guest, data: bytes, aside: str = "") -> subprocess.CompletedProcess[str]:
    words = ("portainer_data", "phoenix-portainer", UNIT, hashlib.sha256(data).hexdigest(), aside)
    return guest.sh(
        files.text("backup/restore_portainer.sh"), *words,
        stdin=base64.encodebytes(data).decode(),
    )  # fmt: skip


def test_empty_volume_gets_the_data_of_its_server(guest: Guest) -> None:
    guest.volume.mkdir(parents=True)
    assert state_of(guest, PortainerData(), volume="v") == PresentData()
    result = put_portainer(guest, archive(DATA))
    assert result.returncode == 0, result.stderr
    sha256 = hashlib.sha256(archive(DATA)).hexdigest()
    identity = portainer_identity(archive(DATA))
    state = state_of(guest, PortainerData(), volume="v")
    assert state.present
    assert state.identity == identity
    assert state.restored
    assert len(state.restored) == len(sha256)
    assert (guest.volume / "compose/1/docker-compose.yml").read_bytes() == b"services"
    assert guest.runs, "it ran before"
    assert [path.name for path in guest.volume.parent.iterdir()] == ["_data"]


def test_data_in_the_way_are_kept_and_the_server_runs_again(guest: Guest) -> None:
    lay(guest.volume, {"portainer.key": b"another"})
    refused = put_portainer(guest, archive(DATA))
    assert refused.returncode == 3
    assert "holds data already; nothing was changed" in refused.stderr
    assert (guest.volume / "portainer.key").read_bytes() == b"another"
    kept_folder = guest.top / "kept/before"
    result = put_portainer(guest, archive(DATA), str(kept_folder))
    assert result.returncode == 0, result.stderr
    assert (guest.volume / "portainer.key").read_bytes() == b"key"
    assert (kept_folder / "portainer.key").read_bytes() == b"another"
    assert guest.runs
    assert guest.left == []
