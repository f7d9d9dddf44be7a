"""Proxmox VE's API in the hypervisor container: a strict fakepve on port 8006, as files and a unit.

fakepve and what it needs go in as one archive of pure Python, taken from this machine's
environment: the container needs no package index, and its Python may be another one. The fake keeps
its guests in memory, so a restarted hypervisor container is an empty one.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import io
import ipaddress
import json
import re
import secrets
import stat
import zipfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab.settings import LabError, Settings
from phoenix.declaration.settings import ProxmoxSettings
from phoenix.proxmox import access
from phoenix.proxmox.desired import Archive, CloudImage, desired_guests
from phoenix.secrets.store import SecretStore
from phoenix.site.model import Site
from phoenix.site.secret_names import PROXMOX_TOKEN

PORT = 8006
UNIT = "phoenix-lab-proxmox.service"
_DIRECTORY = "/usr/local/lib/phoenix-lab/proxmox"
_PVE = "/etc/pve/local"  # where the real one has its certificate
_SETTINGS = "/etc/phoenix-lab-proxmox.json"
_CERTIFICATE, _KEY = "pve-ssl.pem", "pve-ssl.key"
_IMAGE_BYTES = 500_000_000
_LIFETIME = datetime.timedelta(days=3650)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
# Zip archives hold no times before 1980; a fixed one makes equal content an equal archive.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIT_TEXT = f"""\
[Unit]
Description=Proxmox VE's API, played by fakepve
After=network.target

[Service]
Environment=PYTHONPATH={_DIRECTORY}/fakepve.zip PYTHONDONTWRITEBYTECODE=1
Environment=AIOHTTP_NO_EXTENSIONS=1 MULTIDICT_NO_EXTENSIONS=1 YARL_NO_EXTENSIONS=1
Environment=FROZENLIST_NO_EXTENSIONS=1 PROPCACHE_NO_EXTENSIONS=1
ExecStart=/usr/bin/python3 {_DIRECTORY}/server.py {_SETTINGS}
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


def files(settings: Settings, site: Site) -> dict[str, tuple[bytes, int]]:
    """What the hypervisor container gets before it starts: path -> content and mode.

    For `lab.containers`: merge it into the files of the guest that is the hypervisor. Equal from
    run to run, so that the container is kept.

    Raises:
        LabError: fakepve isn't installed here.
    """
    certificate, key = _certificate(settings)
    wants = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
    return {
        f"{_DIRECTORY}/fakepve.zip": (_library(), 0o644),
        f"{_DIRECTORY}/lab/__init__.py": (b"", 0o644),
        f"{_DIRECTORY}/lab/proxmox_double.py": (_source("proxmox_double.py"), 0o644),
        f"{_DIRECTORY}/server.py": (_source("proxmox_server.py"), 0o644),
        f"{_PVE}/{_CERTIFICATE}": (certificate, 0o640),
        f"{_PVE}/{_KEY}": (key, 0o600),
        _SETTINGS: (_server_settings(settings, site), 0o600),
        f"/etc/systemd/system/{UNIT}": (_UNIT_TEXT.encode(), 0o644),
        wants: (f"../{UNIT}".encode(), stat.S_IFLNK),
    }


def _source(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def token(settings: Settings) -> str:
    """The API token of this lab, created once and kept among its secrets, for the deploys."""
    store = SecretStore(settings.directory / "secrets.json", environment={})
    secret = store.get(PROXMOX_TOKEN, lambda: f"phoenix@pve!lab={secrets.token_hex(16)}")
    store.keep(PROXMOX_TOKEN)
    return secret.get_secret_value()


def _server_settings(settings: Settings, site: Site) -> bytes:
    """A node with every storage, and every image, that the site's guests ask for."""
    storages: dict[str, set[str]] = {"local": {"vztmpl", "import"}}
    images: dict[str, int] = {}
    for guest in desired_guests(site, ProxmoxSettings()):
        if guest.storage:
            content = "rootdir" if guest.kind == "lxc" else "images"
            storages.setdefault(guest.storage, set()).add(content)
        if isinstance(guest.origin, Archive | CloudImage):
            images[guest.origin.volume] = _IMAGE_BYTES
    data = {
        "address": "127.0.0.1",
        "port": PORT,
        "node": site.hypervisor.name,
        "token": token(settings),
        "privileges": access.PRIVILEGES,
        "password": token(settings).partition("=")[2],
        "certificate": f"{_PVE}/{_CERTIFICATE}",
        "key": f"{_PVE}/{_KEY}",
        "storages": {name: sorted(kinds) for name, kinds in storages.items()},
        "images": images,
    }
    return json.dumps(data, indent=2, sort_keys=True).encode()


def _library() -> bytes:
    """fakepve and its dependencies, without compiled modules, as an importable archive."""
    contents: dict[str, bytes] = {}
    for distribution in _distributions("fakepve"):
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            is_source = ".." not in file.parts and "__pycache__" not in file.parts
            if (
                is_source
                and path.suffix not in (".so", ".pyc", ".pyi", ".pyx", ".c")
                and path.is_file()
            ):
                contents[str(file)] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(contents.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _distributions(name: str) -> list[importlib.metadata.Distribution]:
    """A package and its installed dependencies; the extras of others are left out."""
    waiting, distributions = [name], {}
    while waiting:
        distribution_name = waiting.pop()
        if distribution_name in distributions:
            continue
        try:
            distributions[distribution_name] = importlib.metadata.distribution(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name == name:
                raise LabError(
                    f"{name} is absent: run `.venv/bin/pip install -e '.[dev]'`."
                ) from None
            continue  # for another Python or system than this one
        for requirement in distributions[distribution_name].requires or ():
            match = _NAME.match(requirement)
            if match and "extra ==" not in requirement:
                waiting.append(match[0].lower().replace("_", "-"))
    return list(distributions.values())


def _certificate(settings: Settings) -> tuple[bytes, bytes]:
    """The API's certificate and key, created once for a lab: the deploys pin its fingerprint."""
    certificate, key = settings.directory / _CERTIFICATE, settings.directory / _KEY
    if not (certificate.exists() and key.exists()):
        settings.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phoenix lab")])
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        signed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + _LIFETIME)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(private_key, hashes.SHA256())
        )
        key.touch(mode=0o600)
        key.write_bytes(
            private_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return certificate.read_bytes(), key.read_bytes()
