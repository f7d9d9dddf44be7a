"""What the certificate facts refuse: the cases beside them hold what real commands print."""

import json

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.certificates import (
    AcmeStatus,
    CertificateFile,
    ServedCertificate,
    parse_acme_status,
    parse_certificate_file,
    parse_served,
)

BROKEN = ["-----BEGIN CERTIFICATE-----", "AAAA", "-----END CERTIFICATE-----"]
STATUS = {
    "error": "", "due": "", "pair": "issued", "serial": "0A", "not_after": 1, "loaded": True,
    "permissions": "ok",
}  # fmt: skip


@pytest.mark.parametrize("output", [["junk"], ["file"], ["file", "junk"], ["file", *BROKEN]])
def test_certificate_file_junk(output: list[str]) -> None:
    with pytest.raises(FactProcessError):
        parse_certificate_file(output)


@pytest.mark.parametrize("output", [BROKEN, [*BROKEN, "Verify return code: 0 (ok)"]])
def test_served_junk(output: list[str]) -> None:
    with pytest.raises(FactProcessError):
        parse_served(output)


@pytest.mark.parametrize(
    "output",
    [
        ["not json"],
        ["[]"],
        ["{}"],
        [json.dumps({**STATUS, "pair": "other"})],
        [json.dumps({**STATUS, "not_after": "soon"})],
    ],
)
def test_acme_status_junk(output: list[str]) -> None:
    with pytest.raises(FactProcessError):
        parse_acme_status(output)


def test_acme_status_reads_the_sound_line_that_the_cases_above_break() -> None:
    state = parse_acme_status([json.dumps(STATUS)])
    assert state is not None
    assert (state.pair, state.not_after, state.loaded) == ("issued", 1, True)


def test_nothing_there_is_no_error() -> None:
    assert CertificateFile.default() is parse_certificate_file([]) is None
    assert AcmeStatus.default() is parse_acme_status([]) is None
    assert parse_served([]).error == "no certificate was served within 10 s"


@pytest.mark.parametrize("fact", [CertificateFile, AcmeStatus])
def test_arguments_are_quoted(fact: type[CertificateFile] | type[AcmeStatus]) -> None:
    assert "'a b;reboot'" in fact().command("a b;reboot").get_raw_value()
    served = ServedCertificate().command("::1", 443, "x;reboot", "/a b")
    assert "'[::1]:443'" in served.get_raw_value()
    assert "'x;reboot'" in served.get_raw_value()
