"""Pins are refused where they prove nothing; the guest's own script is run with file:// URLs."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from operations import artifact as operation
from phoenix.components.artifacts import Artifact, ArtifactError, pinned, version_tuple
from phoenix.declaration.pins import ARTIFACTS

URL = "https://example.org/tool.tar.gz"
SHA = "a" * 64


def test_pin_of_the_architecture_comes_before_the_one_of_any() -> None:
    pins = {
        "tool": {
            "any": {"version": "1.0", "url": URL, "sha256": SHA},
            "arm64": {"version": "2.0", "url": URL, "binary_sha256": "b" * 64, "member": "d/tool"},
        }
    }
    assert pinned("tool", pins, "amd64").version == "1.0"
    arm = pinned("tool", pins, "arm64")
    assert arm == Artifact("tool", "2.0", URL, "", "b" * 64, "d/tool")
    assert arm.directory == f"/opt/phoenix/tool/2.0-{'b' * 12}"
    assert arm.program == "/usr/local/bin/tool"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "http://example.org/tool"}, "must start with https:// or file:///"),
        ({"url": "https://example.org/a b"}, "must start with https://"),
        ({"url": "file://host/tool"}, "must start with https://"),
        ({"sha256": ""}, "64 hex digits"),
        ({"sha256": "A" * 64}, "64 hex digits"),
        ({"binary_sha256": "short"}, "64 hex digits"),
        ({"version": "latest"}, "'latest' is not a version number"),
        ({"version": "1.0/../.."}, "is not a version number"),
        ({"sha": SHA}, "unexpected keyword argument 'sha'"),
    ],
)
def test_bad_pin_is_refused_with_its_key(change: dict[str, str], message: str) -> None:
    pins = {"tool": {"amd64": {"version": "1.0", "url": URL, "sha256": SHA} | change}}
    with pytest.raises(ArtifactError) as caught:
        pinned("tool", pins, "amd64")
    assert message in str(caught.value)
    assert "artifacts['tool']['amd64']" in str(caught.value)


@pytest.mark.parametrize("program", ["traefik", "step-ca"])
@pytest.mark.parametrize("arch", ["amd64", "arm64", "any"])
def test_a_new_version_with_the_digest_of_another_is_refused(program: str, arch: str) -> None:
    """As where version and URL were raised by hand, and the digest forgotten."""
    old = ARTIFACTS[program]["amd64" if arch == "any" else arch]
    raised = {**old, "version": "9.8.7", "url": URL}
    with pytest.raises(ArtifactError, match=rf"is that of version {old['version']}, so 9\.8\.7"):
        pinned(program, {program: {arch: raised}}, "amd64" if arch == "any" else arch)
    key = "sha256" if "sha256" in old else "binary_sha256"
    fresh: dict[str, object] = {**raised, key: "c" * 64}
    both = {program: {"amd64": fresh, "arm64": {**fresh, "version": "9.8.6"}}}
    with pytest.raises(ArtifactError, match=r"is that of version 9\.8\.6, so 9\.8\.7"):
        pinned(program, both, "amd64")
    assert pinned(program, {program: {arch: fresh}}, "amd64" if arch == "any" else arch)
    assert pinned(program, {program: {arch: old}}, "amd64" if arch == "any" else arch)


def test_missing_pins_are_named() -> None:
    with pytest.raises(ArtifactError, match=r"artifacts\['tool'\] is missing: add its version"):
        pinned("tool", {}, "amd64")
    with pytest.raises(ArtifactError, match=r"\['riscv'\] is missing: there are pins for \['amd64"):
        pinned("tool", {"tool": {"amd64": {}}}, "riscv")


def test_versions_compare_by_number() -> None:
    assert version_tuple("0.30.2-rc1") == (0, 30, 2)
    assert version_tuple("0.9") < version_tuple("0.20")
    assert version_tuple("v1") == ()


class Guest:
    """Where the guest-side scripts of the operation work: a directory instead of /opt."""

    def __init__(self, top: Path) -> None:
        self.top, self.link = top, top / "usr/bin/tool"
        self.link.parent.mkdir(parents=True)

    def archive(self, text: str) -> Path:
        path = self.top / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("tool-dir/tool")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        return path

    def directory(self, version: str) -> Path:
        return self.top / "opt/tool" / version

    def install(
        self, version: str, source: Path, sha: str, member: str = "", binary: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", operation._INSTALL.text, "artifact", str(self.directory(version)),
             str(self.link), f"file://{source}", sha, member, binary],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def installed(self, version: str) -> bool:
        process = subprocess.run(
            ["sh", "-c", operation._STATE.text, "artifact", str(self.directory(version)),
             str(self.link)],
            capture_output=True, text=True, timeout=30, check=True,
            env={**os.environ, "PHOENIX_PROVEN": str(self.top / "run/proven"),
                 "PATH": f"{self.top}/shim:{os.environ['PATH']}"},
        )  # fmt: skip
        return operation.ArtifactInstalled().parse(process.stdout.splitlines())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_member_of_an_archive_is_installed_and_upgraded(guest: Guest) -> None:
    for version in ("1", "2", "3"):
        text = f"#!/bin/sh\necho {version}\n"
        archive = guest.archive(text)
        assert not guest.installed(version)
        result = guest.install(version, archive, sha256(archive.read_bytes()), "tool-dir/tool")
        assert result.returncode == 0, result
        assert guest.installed(version)
        assert subprocess.check_output([str(guest.link)], text=True) == f"{version}\n"
        os.utime(guest.directory(version), (int(version), int(version)))
    installed = sorted(path.name for path in (guest.top / "opt/tool").iterdir())
    assert "3" in installed, installed
    assert len(installed) == 2, installed


def test_nothing_reads_an_archive_before_its_digest_is_proven(guest: Guest) -> None:
    """tar never gets an archive whose digest differs from the pin."""
    archive = guest.archive("#!/bin/sh\n")
    shim = guest.top / "shim/tar"
    shim.parent.mkdir()
    shim.write_text(f"#!/bin/sh\n: >{guest.top}/unpacked\nexit 1\n")
    shim.chmod(0o755)
    result = subprocess.run(
        ["sh", "-c", operation._INSTALL.text, "artifact", str(guest.directory("1")),
         str(guest.link), f"file://{archive}", "0" * 64, "tool-dir/tool", ""],
        capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert result.returncode == 3, result
    assert not (guest.top / "unpacked").exists()


def test_an_unproven_archive_is_read_by_nobody_and_writes_one_stream(guest: Guest) -> None:
    """Its members lead out of the directory, and its program is not the pinned one, then it is."""
    text = b"#!/bin/sh\necho good\n"
    archive = guest.top / "odd.tar.gz"
    outside = guest.top / "outside"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in ((str(outside), b"x"), ("../../outside2", b"x"), ("tool", text)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    shim, log = guest.top / "shim/setpriv", guest.top / "asked"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\necho "$@" >{log}\nexec {shutil.which("setpriv")} "$@"\n')
    shim.chmod(0o755)

    def install(binary: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", operation._INSTALL.text, "artifact", str(guest.directory("1")),
             str(guest.link), f"file://{archive}", "", "tool", binary],
            capture_output=True, text=True, timeout=30, check=False,
            env={**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"},
        )  # fmt: skip

    refused = install("0" * 64)
    assert refused.returncode == 3, refused
    assert not guest.link.exists()
    right = install(sha256(text))
    assert right.returncode == 0, right
    assert subprocess.check_output([str(guest.link)], text=True) == "good\n"
    assert not outside.exists()
    assert not list(guest.top.parent.rglob("outside2"))
    if os.getuid() == 0:
        asked = log.read_text()
        assert "--reuid 65534" in asked, "root does not read what nothing has proven"
        assert "--no-new-privs" in asked


def test_wrong_digests_leave_the_old_program(guest: Guest) -> None:
    old, new = guest.top / "old", guest.top / "new"
    old.write_text("#!/bin/sh\necho old\n")
    new.write_text("#!/bin/sh\necho new\n")
    assert guest.install("1", old, sha256(old.read_bytes())).returncode == 0
    for digests in (("0" * 64, ""), ("", "0" * 64), (sha256(new.read_bytes()), "0" * 64)):
        result = guest.install("2", new, digests[0], "", digests[1])
        assert result.returncode == 3, result
        assert "is not what was pinned" in result.stderr, result.stderr
        assert sha256(new.read_bytes()) in result.stderr, "it says what it got"
    assert subprocess.check_output([str(guest.link)], text=True) == "old\n"
    assert guest.installed("1")
    assert [path.name for path in (guest.top / "opt/tool").iterdir()] == ["1"]


def test_program_that_was_tampered_with_is_noticed_and_replaced(guest: Guest) -> None:
    source = guest.top / "source"
    source.write_text("#!/bin/sh\necho good\n")
    digest = sha256(source.read_bytes())
    guest.install("1", source, "", "", digest)
    (guest.directory("1") / "program").write_text("#!/bin/sh\necho evil\n")
    assert not guest.installed("1")
    assert guest.install("1", source, "", "", digest).returncode == 0
    assert guest.installed("1")
    guest.link.unlink()
    assert not guest.installed("1"), "the link is part of it"


@pytest.fixture
def proven(guest: Guest) -> Guest:
    """One that has a program whose digest was proven, and tells when one is made."""
    source = guest.top / "source"
    source.write_text("#!/bin/sh\necho good\n")
    guest.install("1", source, sha256(source.read_bytes()))
    program = guest.top / "shim/sha256sum"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho >>{guest.top}/made; exec {shutil.which("sha256sum")} "$@"\n'
    )
    program.chmod(0o755)
    time.sleep(2.2)  # what has just changed is not noted
    assert guest.installed("1")
    assert digests_made(guest) == 1
    assert guest.installed("1")
    assert digests_made(guest) == 1, "the note stands in for it"
    return guest


def digests_made(guest: Guest) -> int:
    return (guest.top / "made").read_text().count("\n")


def program_of(guest: Guest) -> Path:
    return guest.directory("1") / "program"


def write_evil_and_put_back_the_time(guest: Guest) -> None:
    program = program_of(guest)
    before = program.stat()
    program.write_text("#!/bin/sh\necho evil\n")
    os.utime(program, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert program.stat().st_size == before.st_size


def put_another_file_in_its_place(guest: Guest) -> None:
    program = program_of(guest)
    other = program.with_name("other")
    other.write_text("#!/bin/sh\necho evil\n")
    shutil.copystat(program, other)
    other.replace(program)


def expect_another_digest(guest: Guest) -> None:
    (guest.directory("1") / "SHA256SUMS").write_text(f"{'0' * 64}  program\n")


@pytest.mark.parametrize(
    "change",
    [write_evil_and_put_back_the_time, put_another_file_in_its_place, expect_another_digest],
)
def test_a_note_does_not_stand_in_for_the_digest_of_what_changed(
    proven: Guest, change: Callable[[Guest], None]
) -> None:
    change(proven)
    assert not proven.installed("1")


@pytest.mark.parametrize("up", ["+1", "-86400"])
def test_a_note_of_another_boot_or_day_is_none(proven: Guest, up: str) -> None:
    note = proven.top / "run/proven/tool"
    assert note.parent.stat().st_mode & 0o777 == 0o700
    at, rest = note.read_text().split(" ", 1)
    note.write_text(f"{int(at) + int(up) + (60 if up == '+1' else 0)} {rest}")
    assert proven.installed("1")
    assert digests_made(proven) == 2


def test_what_has_just_changed_is_proven_and_not_noted(proven: Guest) -> None:
    os.utime(program_of(proven))
    for number in (2, 3):
        assert proven.installed("1")
        assert digests_made(proven) == number
