"""What the CA has issued: from the files of its database, and judged by what is declared."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from phoenix.components.step_ca import declared_names
from phoenix.components.x509 import describe
from phoenix.derived.certificates import certificates
from phoenix.health import issued
from phoenix.health.checks import checks, made_on
from phoenix.health.issued import AskedKeys, Issued
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

PROGRAM = Path(__file__).parents[2] / "phoenix/components/step_ca/issued.py"
NOW = datetime.now(UTC).replace(microsecond=0)
HEAD = bytes(20)


def leaf(*names: str, ends: timedelta = timedelta(hours=1), key: Any = None) -> x509.Certificate:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    sans = [
        x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
        for name in names
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=2) + ends)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )


def varint(number: int) -> bytes:
    result = b""
    while number >= 0x80:
        result += bytes([number & 0x7F | 0x80])
        number >>= 7
    return result + bytes([number])


def entry(table: str, key: bytes, value: bytes) -> bytes:
    words = b"".join(len(word).to_bytes(2, "little") + word for word in (table.encode(), key))
    words += bytes(8)
    lengths = varint(len(words)) + varint(len(value)) + varint(0)
    return b"\x40\x00" + lengths + words + value + b"crc."


def log(*certificates: x509.Certificate) -> bytes:
    """A value log with these among what else a CA keeps."""
    entries = [entry("x509_certs", b"", b""), entry("acme_orders", b"o1", b"x" * 300)]
    for certificate in certificates:
        der = certificate.public_bytes(Encoding.DER)
        entries.append(entry("x509_certs", str(certificate.serial_number).encode(), der))
        entries.append(entry("x509_certs_data", str(certificate.serial_number).encode(), b"{}"))
    return HEAD + b"".join(entries)


def listed(directory: Path, *words: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM.read_text(), directory, *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("bits", [0, 2048], ids=["P-256", "RSA"])
def test_certificates_are_read_as_cryptography_reads_them(tmp_path: Path, bits: int) -> None:
    key = rsa.generate_private_key(65537, bits) if bits else None
    certificate = leaf("a.test", "b.test", "10.1.2.3", key=key)
    (tmp_path / "000000.vlog").write_bytes(log(certificate))
    expected = describe(certificate)
    (issued_one,) = listed(tmp_path)
    assert issued_one["serial"] == expected.serial
    assert set(issued_one["names"]) == expected.sans
    assert issued_one["key"] == expected.public_key
    assert issued_one["not_before"] == expected.not_before.timestamp()
    assert issued_one["not_after"] == expected.not_after.timestamp()


def test_what_has_ended_is_told_on_request_alone(tmp_path: Path) -> None:
    old, new = leaf("old.test", ends=timedelta(seconds=-1)), leaf("new.test")
    (tmp_path / "000001.vlog").write_bytes(log(new))
    (tmp_path / "000000.vlog").write_bytes(log(old))
    assert [issued_one["names"] for issued_one in listed(tmp_path)] == [["new.test"]]
    assert [issued_one["names"] for issued_one in listed(tmp_path, "all")] == [
        ["old.test"],
        ["new.test"],
    ]


@pytest.mark.parametrize(
    ("lines", "was_declared"),
    [
        ("a.test\nb.test\n", True),
        ("a.test\n", False),
        ("a.test\nb.test {later}\n", True),
        ("a.test\nb.test {earlier}\n", False),
        ("", False),
        ("a.test\nb.test 12 by hand\n", False),
        ("\udcff\na.test\nb.test\n", True),
    ],
)
def test_whether_all_names_were_declared(tmp_path: Path, lines: str, was_declared: bool) -> None:
    certificate = leaf("a.test", "b.test")
    issued_at = int(certificate.not_valid_before_utc.timestamp())
    database, names = tmp_path / "db", tmp_path / "certs/declared_names"
    database.mkdir()
    names.parent.mkdir()
    (database / "000000.vlog").write_bytes(log(certificate))
    record = lines.format(later=issued_at, earlier=issued_at - 1)
    names.write_text(record, errors="surrogateescape")
    (issued_one,) = listed(database)
    assert issued_one["was_declared"] is was_declared


def test_names_are_remembered_for_the_life_of_a_certificate() -> None:
    first = declared_names.following([], ["b.test", "a.test"], 1000, 60)
    assert first == ["a.test", "b.test"]
    assert declared_names.following(first, ["b.test", "a.test"], 2000, 60) == first
    removed = declared_names.following(first, ["a.test"], 2000, 60)
    assert removed == ["a.test", "b.test 2000"]
    assert declared_names.following(removed, ["a.test"], 2060, 60) == removed
    assert declared_names.following(removed, ["a.test"], 2061, 60) == ["a.test"]
    assert declared_names.following(removed, ["a.test", "b.test"], 2001, 60) == first
    assert declared_names.following(["torn b\0", ""], ["a.test"], 5, 60) == ["a.test", "torn 5"]


@pytest.mark.parametrize("end", [b"", b"\0" * 5000, b"\x40", b"\x40\0\x20\xff\xff\x03\0half"])
def test_end_of_a_log_that_is_being_written(tmp_path: Path, end: bytes) -> None:
    (tmp_path / "000000.vlog").write_bytes(log(leaf("a.test")) + end)
    assert [issued_one["names"] for issued_one in listed(tmp_path)] == [["a.test"]]


def test_no_database_has_issued_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path) == []


# -- judged ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def one_issued(*names: str, key: str = "foreign") -> Issued:
    return Issued(
        serial="5e7", names=names, not_before=NOW, not_after=NOW + timedelta(days=1), key=key
    )


def asked(site: Site, *, since: datetime | None) -> dict[str, list[AskedKeys]]:
    keys = frozenset({"own"}) if since else frozenset()
    return {
        certificate.host.name: [AskedKeys(certificate=certificate.name, since=since, keys=keys)]
        for certificate in certificates(site)
    }


def test_what_guests_asked_for_is_well_whatever_is_declared_now(site: Site) -> None:
    names = certificates(site)[0].sans
    listed_now = [one_issued(*names, key="own"), one_issued("gone.test", *names, key="own")]
    outcome = issued.outcome(site, listed_now, asked(site, since=NOW - timedelta(days=1)))
    assert (outcome.fault, outcome.warning) == ("", "")


def test_certificate_for_a_key_that_its_guest_never_made_is_told(site: Site) -> None:
    holder = certificates(site)[0]
    entries = [one_issued(holder.sans[0])]
    outcome = issued.outcome(site, entries, asked(site, since=NOW - timedelta(minutes=1)))
    assert outcome.fault == ""
    assert outcome.warning.startswith(
        f"{holder.sans[0]} to a key that {holder.host.name} never made (until "
    )
    assert "phoenix certs rotate root" in outcome.warning


@pytest.mark.parametrize("since", [None, NOW + timedelta(minutes=1)])
def test_what_was_issued_before_a_guest_noted_its_keys_is_not_judged(
    site: Site, since: datetime | None
) -> None:
    entries = [one_issued(certificates(site)[0].sans[0])]
    assert issued.outcome(site, entries, asked(site, since=since)).warning == ""
    assert issued.outcome(site, entries, {}).warning == ""


def test_name_that_nobody_declares_is_told(site: Site) -> None:
    outcome = issued.outcome(site, [one_issued(f"evil.{site.domain}")] * 5, {})
    assert f"evil.{site.domain}, which nobody declares, (until " in outcome.warning
    assert "and 2 more" in outcome.warning


def test_who_may_pass_for_a_service_is_told_before_names_that_nobody_declares(site: Site) -> None:
    """A site that has lost some services said of these alone, and of "1 more"."""
    name = certificates(site)[0].sans[0]
    entries = [*[one_issued(f"gone.{site.domain}")] * 5, one_issued(name)]
    outcome = issued.outcome(site, entries, asked(site, since=NOW - timedelta(days=1)))
    assert outcome.warning.startswith(f"{name} to a key that ")


def test_what_a_removed_certificate_had_asked_for_is_no_stranger_s(site: Site) -> None:
    host = certificates(site)[0].host.name
    removed = AskedKeys(certificate="", since=NOW - timedelta(days=1), keys=frozenset({"former"}))
    entries = [one_issued(f"gone.{site.domain}", key="former")]
    assert issued.outcome(site, entries, {host: [removed]}).warning == ""
    assert issued.outcome(site, entries, {}).warning


def test_what_a_guest_that_is_gone_had_asked_for_is_no_stranger_s(site: Site) -> None:
    """Its notes went with it; the name was declared when the certificate was issued."""
    gone, own = f"gone.{site.domain}", certificates(site)[0].sans[0]
    former = one_issued(gone).model_copy(update={"was_declared": True})
    assert issued.outcome(site, [former], {}).warning == ""
    notes = asked(site, since=NOW - timedelta(days=1))
    declared = one_issued(own).model_copy(update={"was_declared": True})
    assert issued.outcome(site, [declared], notes).warning, "its guest is there and never asked"


def test_list_that_cannot_be_read_is_a_fault(site: Site) -> None:
    assert "python3: not found" in issued.unknown(site, "python3: not found").fault


def test_no_host_makes_that_check(site: Site) -> None:
    check = issued.check(site)
    assert check in checks(site)
    assert all(check not in made_on(site, host) for host in site.hosts)
