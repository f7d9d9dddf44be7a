from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.derived.certificates import certificates
from phoenix.derived.routes import gateway_names
from phoenix.files import text
from tests.unit.site_builder import minimal


def test_configuration_of_the_gateway(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    certificate = next(c for c in certificates(site) if c.name == "gateway")
    written = acme.configuration(
        certificate,
        directory="https://ca/acme",
        root="/root.crt",
        proof=SecretStr("shown"),
        check="nginx -t",
        reload="x y",
        restart="x z",
    )
    values = dict(line.split("=", 1) for line in written.splitlines())
    assert values == {
        "DOMAINS": " ".join(gateway_names(site)),
        "DIRECTORY": "https://ca/acme",
        "ROOT": "/root.crt",
        "CHALLENGE": "webroot:/var/lib/phoenix-acme-webroot",
        "PROOF": "shown",
        "KEY_OWNER": "root",
        "CHECK": "nginx -t",
        "RELOAD": "x y",
        "RESTART": "x z",
        "RENEW_FRACTION": "3",
    }


def test_guests_prove_their_own_names_themselves(tmp_path: Path) -> None:
    certificate = next(c for c in certificates(minimal().load(tmp_path)) if c.name == "host")
    written = acme.configuration(certificate, directory="d", root="r", proof=SecretStr("p"))
    assert "CHALLENGE=standalone\n" in written, written
    assert f"DOMAINS={certificate.host.fqdn}\n" in written, written


@pytest.mark.parametrize(
    ("lifetime", "expected"),
    [
        (timedelta(hours=24), "hourly"),
        (timedelta(days=90), "hourly"),
        (timedelta(hours=12), "*:0/30"),
        (timedelta(hours=1), "*:0/2"),
        (timedelta(minutes=10), "*:*:0/20"),
        (timedelta(minutes=5), "*:*:0/12"),
        (timedelta(minutes=1), "*:*:0/5"),
    ],
)
def test_looks_come_often_enough_and_are_a_calendar_that_systemd_reads(
    lifetime: timedelta, expected: str
) -> None:
    event = acme.interval(lifetime)
    assert event == expected
    process = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=2", event],
        capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    assert process.returncode == 0, process


@pytest.mark.parametrize(
    ("lifetime", "first", "longest"),
    [
        (timedelta(hours=24), 120, 900),
        (timedelta(days=90), 120, 900),
        (timedelta(hours=1), 5, 37),
        (timedelta(minutes=5), 5, 5),
    ],
)
def test_failed_renewal_is_tried_again_well_before_the_next_look(
    lifetime: timedelta, first: int, longest: int
) -> None:
    lines = acme.retry(lifetime).splitlines()
    assert f"RestartSec={first}s" in lines
    assert f"RestartMaxDelaySec={longest}s" in lines


def test_service_of_a_renewal_is_tried_again_without_an_end() -> None:
    unit = text("components/acme/phoenix-acme@.service").splitlines()
    assert {"Restart=on-failure", "StartLimitIntervalSec=0"} <= set(unit)
