"""Backup files: format, encryption, what is refused, and where they are written."""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

import pyrage  # type: ignore[import-untyped]
import pytest
from pydantic import SecretStr

from phoenix import backup
from phoenix.backup import contents, encryption
from phoenix.backup.archive import BackupError, Part, make, pack, unpack
from phoenix.backup.restoring import PresentData, decide, parse_present_data
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

CREATED = datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC)
PLANTED = "planted-5ecret"


def archive(files: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """tar.gz as the guests' script makes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return gzip.compress(buffer.getvalue())


OPENSSL = """
mkdir certs secrets; echo planted-5ecret >secrets/password
for k in root intermediate; do
 openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc \
  -pass file:secrets/password -out secrets/${k}_ca_key
done
openssl req -new -x509 -days 3650 -key secrets/root_ca_key -passin file:secrets/password \
 -subj /CN=root -out certs/root_ca.crt
openssl req -new -key secrets/intermediate_ca_key -passin file:secrets/password \
 -subj /CN=intermediate -out csr
openssl x509 -req -days 3650 -in csr -CA certs/root_ca.crt -CAkey secrets/root_ca_key \
 -passin file:secrets/password -set_serial 7 -out certs/intermediate_ca.crt
rm csr
"""


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A CA made by openssl, with a database that is none."""
    top = tmp_path_factory.mktemp("ca")
    subprocess.run(["sh", "-ec", OPENSSL], cwd=top, check=True, capture_output=True)
    actual = {
        str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()
    }
    return {**actual, "db/000000.vlog": b"accounts"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def backup_of(site: Site, **parts: bytes) -> backup.Backup:
    return make(
        site,
        [Part(name, "guest", "program 1", data) for name, data in parts.items()],  # type: ignore[arg-type]
        created=CREATED,
        revision="abc",
    )


def whole(site: Site, ca: Mapping[str, bytes]) -> backup.Backup:
    return backup_of(
        site,
        ca=archive(ca),
        portainer=archive({"./portainer.key": b"key", "./portainer.db": b"data"}),
        secrets=b'{"one": "value"}',
    )


# -- format ------------------------------------------------------------------------------------


def test_what_is_packed_is_unpacked_with_what_it_says_of_itself(
    site: Site, ca: Mapping[str, bytes]
) -> None:
    saved = whole(site, ca)
    actual = unpack(pack(saved))
    assert actual == saved
    entry = actual.manifest.entry("portainer")
    assert entry is not None
    assert (entry.host, entry.program, entry.size) == (
        "guest",
        "program 1",
        len(saved.parts["portainer"]),
    )
    assert (actual.manifest.domain, actual.manifest.revision) == (site.domain, "abc")
    backup.check(actual, site)
    assert PLANTED not in repr(actual)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"junk" * 400, "not a backup of Phoenix"),
        (lambda data: b"", "not a backup of Phoenix"),
        (lambda data: data.replace(b'"format": 1', b'"format": 2'), "not of this format"),
        (lambda data: data.replace(b"manifest.json", b"manifest.jsom"), "manifest cannot be used"),
        (lambda data: data.replace(b'"one": "value"', b'"one": "other"'), "another sha256"),
        (lambda data: data.replace(b"parts/secrets", b"parts/secretz"), "not those of its"),
    ],
)  # fmt: skip
def test_damage_is_found(site: Site, damage: Callable[[bytes], bytes], message: str) -> None:
    packed = pack(backup_of(site, secrets=b'{"one": "value"}'))
    damaged = damage(packed)
    if len(damaged) == len(packed):  # tar's own checksum is right: somebody else has written it
        damaged = _resealed(damaged)
    with pytest.raises(BackupError, match=message):
        unpack(damaged)


def _resealed(data: bytes) -> bytes:
    fixed = bytearray(data)
    for start in range(0, len(data) - 512, 512):
        if data[start + 257 : start + 262] == b"ustar":
            block = fixed[start : start + 512]
            block[148:156] = b" " * 8
            fixed[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(fixed)


# -- what the parts hold -----------------------------------------------------------------------


def test_other_sites_backup_is_refused(site: Site, ca: Mapping[str, bytes]) -> None:
    saved = whole(site, ca)
    for change in ({"domain": "other.example"}, {"network": IPv4Network("10.9.0.0/24")}):
        other = replace(saved, manifest=saved.manifest.model_copy(update=change))
        with pytest.raises(BackupError, match="is of another site"):
            backup.check(other, site)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"certs/intermediate_ca.crt": None}, "the intermediate certificate missing"),
        ({"db/000000.vlog": None}, "the database missing"),
        ({"secrets/password": b"other\n"}, "do not fit the certificate"),
        ({"certs/root_ca.crt": b"junk"}, "not a PEM certificate"),
        ({"etc/passwd": b"x"}, "unexpected entry 'etc/passwd'"),
        ({"certs/../../x": b"x"}, "unexpected entry"),
    ],
)
def test_ca_that_does_not_fit_together_is_refused(
    site: Site, ca: Mapping[str, bytes], change: dict[str, bytes | None], message: str
) -> None:
    files = {k: v for k, v in {**ca, **change}.items() if v is not None}
    with pytest.raises(BackupError, match=message):
        backup.check(backup_of(site, ca=archive(files)), site)


def test_foreign_intermediate_and_expired_root_are_refused(
    site: Site, ca: Mapping[str, bytes]
) -> None:
    swapped = {**ca, "certs/intermediate_ca.crt": ca["certs/root_ca.crt"],
               "certs/root_ca.crt": ca["certs/intermediate_ca.crt"]}  # fmt: skip
    with pytest.raises(BackupError, match="not signed by the root"):
        backup.check(backup_of(site, ca=archive(swapped)), site)
    with pytest.raises(BackupError, match="the root expired at"):
        backup.check(whole(site, ca), site, now=datetime.now(UTC) + timedelta(days=3700))


def test_devices_and_links_out_of_the_data_are_refused(site: Site) -> None:
    link, device = tarfile.TarInfo("l"), tarfile.TarInfo("d")
    link.type, link.linkname = tarfile.SYMTYPE, "../../etc/shadow"
    device.type = tarfile.CHRTYPE
    for info in (link, device):
        data = archive({"portainer.key": b"key"}, info)
        with pytest.raises(BackupError, match="not a file, directory or link within"):
            backup.check(backup_of(site, portainer=data), site)
    link.linkname = "inner"
    backup.check(backup_of(site, portainer=archive({"portainer.key": b"key"}, link)), site)
    with pytest.raises(BackupError, match=r"portainer\.key is missing"):
        backup.check(backup_of(site, portainer=archive({"x": b""})), site)


def test_a_large_database_is_read_without_being_held(site: Site, ca: Mapping[str, bytes]) -> None:
    """As restic's backups hold one: a CA is restored however old it is."""
    size = 160 << 20
    grown = backup_of(site, ca=archive({**ca, "db/000001.vlog": bytes(size)}))
    tracemalloc.start()
    try:
        backup.check(grown, site)
        identity = backup.ca_identity(grown.parts["ca"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert identity == backup.ca_identity(archive(ca))
    assert peak < size / 8


def test_a_file_that_is_looked_into_has_a_limit(site: Site) -> None:
    data = archive({"portainer.key": bytes(17 << 20)})
    with pytest.raises(BackupError, match=r"'portainer\.key' is larger than 16 MiB"):
        backup.check(backup_of(site, portainer=data), site)


def test_part_that_would_not_fit_into_memory_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LIMIT_MIB", 1)
    data = archive({"portainer.key": bytes(2 << 20)})
    with pytest.raises(BackupError, match="larger than 1 MiB"):
        backup.check(backup_of(site, portainer=data), site)


def test_identity_is_that_of_keys_and_certificates_as_sha256sum_sees_them(
    ca: Mapping[str, bytes], tmp_path: Path
) -> None:
    for name, data in ca.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    words = " ".join(contents.IDENTITY_FILES)
    output = subprocess.check_output(
        ["sh", "-c", f"sha256sum {words} | sha256sum"], cwd=tmp_path, text=True
    )
    assert backup.ca_identity(archive(ca)) == output.split()[0]
    newer = {**ca, "db/000000.vlog": b"more accounts"}
    assert backup.ca_identity(archive(newer)) == output.split()[0]


# -- encryption and files ----------------------------------------------------------------------


def key_file(tmp_path: Path, name: str = "key") -> tuple[Path, str]:
    identity = pyrage.x25519.Identity.generate()
    path = tmp_path / name
    path.write_text(f"# made by a test\n{identity}\n")
    path.chmod(0o600)
    return path, str(identity.to_public())


def test_saved_file_opens_with_each_recipients_identity_alone(
    site: Site, tmp_path: Path, ca: Mapping[str, bytes]
) -> None:
    own_identity, public = key_file(tmp_path)
    ssh = tmp_path / "ssh"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh)], check=True)
    lock = backup.cipher([public, ssh.with_suffix(".pub").read_text()], None)
    saved, proven = whole(site, ca), list[backup.Backup]()
    path = backup.save(saved, tmp_path / "new", lock, proven.append)
    assert path.name == f"phoenix-{site.domain}-20261124T120001Z.age"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert proven == [saved]
    for identity in (own_identity, ssh):
        assert backup.load(path, backup.decryptor(identity, None)) == saved
    other, _ = key_file(tmp_path, "other")
    with pytest.raises(BackupError, match="was made for another one"):
        backup.load(path, backup.decryptor(other, None))
    with pytest.raises(BackupError, match="as restore_identity"):
        backup.load(path, backup.decryptor(None, SecretStr(PLANTED)))
    with pytest.raises(BackupError, match="is there already"):
        backup.save(saved, tmp_path / "new", lock, proven.append)


@pytest.mark.long
def test_passphrase_opens_and_another_does_not(site: Site, tmp_path: Path) -> None:
    saved = backup_of(site, secrets=b"{}")
    path = backup.save(saved, tmp_path, backup.cipher([], SecretStr(PLANTED)), lambda _: None)
    assert backup.load(path, backup.decryptor(None, SecretStr(PLANTED))) == saved
    with pytest.raises(BackupError, match="the passphrase does not open the backup"):
        backup.load(path, backup.decryptor(None, SecretStr("other")))
    identity, _ = key_file(tmp_path)
    with pytest.raises(BackupError, match="was made with a passphrase"):
        backup.load(path, backup.decryptor(identity, None))


def test_a_busy_machine_is_no_damage_of_a_backup() -> None:
    """age measures how fast this machine is, and refuses what would take too long."""
    error = Exception("Excessive work parameter for passphrase.\nIt would take 64 seconds.")
    reason = encryption._why(error, "the passphrase", "the backup")
    assert reason.startswith("this machine is too slow or too busy for the backup: Excessive work")
    assert "damaged" not in reason


def test_every_cut_and_changed_byte_is_found(site: Site, tmp_path: Path) -> None:
    identity, public = key_file(tmp_path)
    path = backup.save(
        backup_of(site, secrets=b"{}"), tmp_path, backup.cipher([public], None), lambda _: None
    )
    content, unlock = path.read_bytes(), backup.decryptor(identity, None)
    for damaged in (
        b"", b"junk", content[:10], content[:60], content[: len(content) // 2], content[:-1],
        content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    ):  # fmt: skip
        path.write_bytes(damaged)
        with pytest.raises(BackupError, match=r"damaged|not encrypted with age"):
            backup.load(path, unlock)


def test_unproven_file_gets_no_name(site: Site, tmp_path: Path) -> None:
    _, public = key_file(tmp_path)

    def refuse(_: backup.Backup) -> None:
        raise BackupError("not this one")

    with pytest.raises(BackupError, match="not this one"):
        backup.save(
            backup_of(site, secrets=b"{}"), tmp_path / "to", backup.cipher([public], None), refuse
        )
    assert list((tmp_path / "to").iterdir()) == []


def test_recipients_and_identities_that_cannot_be_used_are_named_and_unseen(
    tmp_path: Path,
) -> None:
    identity, public = key_file(tmp_path)
    private = identity.read_text().splitlines()[1]
    with pytest.raises(BackupError, match="entry 2, is a private key") as caught:
        backup.cipher([public, private], None)
    assert private[:30] not in str(caught.value)
    with pytest.raises(BackupError, match="entry 1: 'age1nonsense' is neither"):
        backup.cipher(["age1nonsense"], None)
    with pytest.raises(BackupError, match=r"age-keygen.*PHOENIX_SECRET_BACKUP_PASSPHRASE"):
        backup.cipher([], None)
    with pytest.raises(BackupError, match="nothing is given to open"):
        backup.decryptor(None, None)
    identity.chmod(0o644)
    with pytest.raises(BackupError, match="chmod 600"):
        backup.decryptor(identity, None)
    locked = tmp_path / "locked"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "word", "-f", str(locked)], check=True
    )
    with pytest.raises(BackupError, match="no passphrase"):
        backup.decryptor(locked, None)


# -- what to do with a part --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "replacing", "step"),
    [
        (PresentData(), False, "put"),
        (PresentData(), True, "put"),
        (PresentData(True, "mine"), False, "keep"),
        (PresentData(True, "mine"), True, "replace"),
        (PresentData(True, "other"), True, "replace"),
        (PresentData(True, "mine", "sha"), True, "keep"),
        (PresentData(True, "mine", "sha"), False, "keep"),
        (PresentData(True, "other", "sha"), True, "replace"),
        (PresentData(True, "other", "older"), True, "replace"),
    ],
)
def test_step(state: PresentData, replacing: bool, step: str) -> None:
    words = {"part": "the CA", "location": "/x", "identity": "mine", "sha256": "sha"}
    assert decide(state, replace=replacing, **words) == step


@pytest.mark.parametrize(
    "state", [PresentData(True), PresentData(True, "other"), PresentData(True, "other", "sha")]
)
def test_other_data_are_refused(state: PresentData) -> None:
    with pytest.raises(BackupError, match=r"/x holds something else.*give --replace to"):
        decide(state, part="the CA", location="/x", identity="mine", sha256="sha", replace=False)


def test_state_of_a_host_is_read_and_junk_refused() -> None:
    assert parse_present_data([]) == PresentData()
    assert parse_present_data(["there", "identity a", "restored b"]) == PresentData(True, "a", "b")
    with pytest.raises(BackupError, match="unexpected answer of the host"):
        parse_present_data(["there", "surprise"])
