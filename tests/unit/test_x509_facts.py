"""What the certificate facts refuse: the cases beside them hold what real commands print."""

import json
import socket
import subprocess

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.certificates import (
    AcmeStatus,
    CertificateFile,
    ServedCertificate,
    ServedCertificates,
    parse_acme_status,
    parse_certificate_file,
    parse_served,
    parse_served_all,
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
    assert parse_certificate_file([]) is None
    assert parse_acme_status([]) is None
    assert parse_served([]).error == "no certificate was served within 10 s"


@pytest.mark.parametrize("fact", [CertificateFile, AcmeStatus])
def test_arguments_are_quoted(fact: type[CertificateFile] | type[AcmeStatus]) -> None:
    assert "'a b;reboot'" in fact().command("a b;reboot").get_raw_value()
    served = ServedCertificate().command("::1", 443, "x;reboot", "/a b")
    assert "'[::1]:443\tx;reboot'" in served.get_raw_value()
    assert "'/a b'" in served.get_raw_value()


@pytest.mark.parametrize(
    "output",
    [[], ["endpoint 1"], ["junk", "endpoint 1", "endpoint 2"], ["endpoint 2", "endpoint 1"]],
)
def test_batch_that_does_not_report_on_each_endpoint_is_refused(output: list[str]) -> None:
    with pytest.raises(FactProcessError):
        parse_served_all(output, 2)


def test_batch_asks_real_servers_all_at_once() -> None:
    """The command itself, in a shell: a port that nobody listens on, and a silent one."""
    with socket.socket() as silent, socket.socket() as free:
        silent.bind(("127.0.0.1", 0))
        free.bind(("127.0.0.1", 0))
        fact = ServedCertificates()
        asked = [("127.0.0.1", free.getsockname()[1], "it's.example"),
                 ("127.0.0.1", silent.getsockname()[1], "x.example")]  # fmt: skip
        command = fact.command(asked, "/nonexistent/root.crt").get_raw_value()
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    states = fact.process(done.stdout.splitlines())
    assert [state.leaf for state in states] == [None, None]
    assert all(state.fault for state in states), states
