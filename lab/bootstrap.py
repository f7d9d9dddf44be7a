"""From a fresh Debian to the project's virtual environment and a Docker Engine that answers.

Runs with the system's Python and its standard library alone. Safe to run again, and quick then.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.progress import hand_on, say, timed
from lab.settings import ROOT, LabError

VENV = ROOT / ".venv"
STAMP = VENV / "phoenix-lab.stamp"
DOCKER_SOCKET = Path("/var/run/docker.sock")
DOCKERD_LOG = Path("/var/log/phoenix-lab-dockerd.log")
DOCKERD_DEADLINE = 60.0


def run(*, browser: bool = False) -> Path:
    """Install what is missing; return the virtual environment's Python.

    Args:
        browser: what the tests of the start page, of the topology's picture and of the alert rules
            need, too.

    Raises:
        LabError: this machine does not allow it; says the fix.
    """
    install(missing_packages(docker_answers=docker_answers(), browser=browser))
    python = ensure_venv()
    ensure_docker()
    return python


def missing_packages(*, docker_answers: bool, browser: bool = False) -> list[str]:
    """The Debian packages that the lab needs and the machine has not; renderers for `browser`."""
    absent = {
        "python3-venv": not (_importable("venv") and _importable("ensurepip")),
        "mmdebstrap": not shutil.which("mmdebstrap"),
        "iptables": not docker_answers and not shutil.which("iptables", path=_path()),
        "docker.io": not docker_answers and not shutil.which("dockerd", path=_path()),
        "git": not shutil.which("git"),
        "openssh-client": not shutil.which("ssh-keygen") or not shutil.which("ssh"),
        "ca-certificates": not Path("/etc/ssl/certs/ca-certificates.crt").exists(),
        "chromium": browser and not shutil.which("chromium"),
        "librsvg2-bin": browser and not shutil.which("rsvg-convert"),  # draws the topology
        # certutil: Chromium trusts what NSS's database of its user holds.
        "libnss3-tools": browser and not shutil.which("certutil"),
        "prometheus": browser and not shutil.which("promtool"),  # tests the alert rules
    }
    return [package for package, is_absent in absent.items() if is_absent]


def install(packages: list[str]) -> None:
    """Install Debian packages; needs root and apt-get only if there are any."""
    if not packages:
        return
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise LabError(f"This is no Debian (there is no apt-get). The lab needs, from it: {names}")
    if os.geteuid() != 0:
        raise LabError(
            f"Not root, and packages are missing. As root: apt-get install {names} - or run this "
            "command itself as root."
        )
    if "prometheus" in packages:
        _keep_off("prometheus.service")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with timed(f"apt-get install {names}"):
        for command in (
            ["apt-get", "update", "-q"],
            # Another apt-get may be at work: wait for its lock.
            [
                "apt-get",
                "-o",
                "DPkg::Lock::Timeout=600",
                "install",
                "-q",
                "-y",
                "--no-install-recommends",
                *packages,
            ],
        ):
            _run_or_fail(command, environment, "apt must work on this machine first.")


def _keep_off(unit: str) -> None:
    """Mask a unit of a package that is not there yet: its tool is needed, and no server."""
    mask = Path("/etc/systemd/system") / unit
    if not mask.exists() and not mask.is_symlink():
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.symlink_to("/dev/null")


def ensure_venv() -> Path:
    """Make the virtual environment and install what requirements-dev.txt pins, once per content."""
    python = VENV / "bin" / "python"
    pins = ROOT / "requirements-dev.txt"
    content_stamp = stamp([pins, ROOT / "pyproject.toml"])
    if python.exists() and STAMP.exists() and STAMP.read_text() == content_stamp:
        return python
    if not python.exists():
        with timed(f"virtual environment {VENV}"):
            _run_or_fail(
                [sys.executable, "-m", "venv", str(VENV)],
                dict(os.environ),
                f"Remove {VENV} and try again.",
            )
    arguments = ["-r", str(pins)] if pins.exists() else ["-e", f"{ROOT}[dev]"]
    pip = [str(python), "-m", "pip", "install", "-q"]
    advice = "pip must reach its package index (see `pip config list`)."
    with timed("Python packages"):
        _run_or_fail([*pip, *arguments], dict(os.environ), advice)
        # The command `phoenix`; what it needs is installed already.
        _run_or_fail([*pip, "--no-deps", "-e", str(ROOT)], dict(os.environ), advice)
    STAMP.write_text(content_stamp)
    return python


def stamp(files: list[Path]) -> str:
    """A hash of files that may be absent and of the Python version: the packages depend on both."""
    digest = hashlib.sha256(sys.version.encode())
    for path in files:
        content = path.read_bytes() if path.exists() else b""
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def docker_answers() -> bool:
    """Whether a Docker Engine answers: the one in DOCKER_HOST, else this machine's own.

    Raises:
        LabError: a Docker Engine runs, and this user may not use it.
    """
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        raise LabError(
            f"DOCKER_HOST={host} is another machine's Docker Engine. The lab mounts local files "
            "and reaches its containers by address: unset DOCKER_HOST."
        )
    path = Path(host.removeprefix("unix://")) if host else DOCKER_SOCKET
    try:
        return _ping(path)
    except PermissionError:
        raise LabError(
            f"No permission for {path}: run this as root, or join its group "
            "(`usermod -aG docker USER`, then log in again)."
        ) from None
    except OSError:
        if host:
            raise LabError(f"No Docker Engine answers at DOCKER_HOST={host}: start it.") from None
        return False


def ensure_docker() -> None:
    """Start Docker Engine where none answers: by systemd if that runs here, else by hand."""
    if docker_answers():
        return
    if os.geteuid() != 0:
        raise LabError("Docker Engine is not running and this is not root: start it, or be root.")
    if Path("/run/systemd/system").is_dir():
        with timed("starting Docker Engine"):
            advice = "Look at `journalctl -u docker`."
            _run_or_fail(["systemctl", "start", "docker"], dict(os.environ), advice)
            _wait_for(docker_answers, advice)
        return
    with timed(f"starting dockerd (log: {DOCKERD_LOG})"):
        with DOCKERD_LOG.open("wb") as log:
            process = subprocess.Popen(
                ["dockerd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": _path()},
                start_new_session=True,  # it outlives this command
            )
        try:
            _wait_for(lambda: docker_answers() or process.poll() is not None, "")
            if process.poll() is not None:
                raise LabError(f"dockerd ended with status {process.returncode}.")
        except LabError as error:
            tail = "\n".join(DOCKERD_LOG.read_text(errors="replace").splitlines()[-8:])
            raise LabError(f"{error} The end of {DOCKERD_LOG}:\n{tail}") from None


def _ping(path: Path) -> bool:
    """GET /_ping over a Unix socket (Docker Engine API); OSError where nobody listens."""
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(5)
        connection.sock.connect(str(path))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except http.client.HTTPException:
        return False
    finally:
        connection.close()


def _wait_for(condition: Callable[[], bool], advice: str) -> None:
    deadline = time.monotonic() + DOCKERD_DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(
                f"Docker Engine does not answer after {DOCKERD_DEADLINE:.0f} s. {advice}"
            )
        time.sleep(0.2)


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _path() -> str:
    """PATH with the system directories, which `su` without `-` leaves out."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def _run_or_fail(command: list[str], environment: dict[str, str], advice: str) -> None:
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-10:])
        raise LabError(f"`{' '.join(command[:4])} ...` failed. {advice} Its last lines:\n{tail}")


def in_venv() -> bool:
    """Whether this process is the virtual environment's Python, with what the lab needs in it.

    An operator's `.venv` (README.md) has the packages of requirements.txt alone.
    """
    return Path(sys.prefix).resolve() == VENV.resolve() and STAMP.exists()


def enter(python: Path, arguments: list[str]) -> None:
    """Replace this process by the virtual environment's Python, running the same command."""
    say("ready")
    os.chdir(ROOT)
    command = [str(python), "-m", "lab", *arguments]
    os.execve(python, command, os.environ | hand_on())  # noqa: S606 - no shell is wanted
