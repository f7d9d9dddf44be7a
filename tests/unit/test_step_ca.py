from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from phoenix.components.step_ca.authority import (
    CaState,
    Claims,
    StepCaError,
    check_version,
    config,
    directory_url,
    faults,
    parse_state,
)
from phoenix.components.step_ca.issuance import TEMPLATE
from phoenix.files import text
from phoenix.site.model import Site
from tests.unit.site_builder import minimal

FILES = {
    "certs/root_ca.crt": "644",
    "certs/intermediate_ca.crt": "644",
    "secrets/intermediate_ca_key": "600",
    "secrets/password": "600",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def test_policy_allows_the_zone_and_never_the_ca_s_own_name(site: Site) -> None:
    data = json.loads(config(site, Claims("5m", "24h", "12h")))
    x509 = data["authority"]["policy"]["x509"]
    zone = "internal.thinkheads.ai"
    assert x509["allow"] == {"dns": [f"*.{zone}", f"*.host.{zone}", f"*.stack.{zone}"]}
    assert x509["deny"] == {"dns": [f"ca.{zone}"]}
    assert x509["allowWildcardNames"] is False
    (provisioner,) = data["authority"]["provisioners"]
    assert provisioner["claims"] == {
        "minTLSCertDuration": "5m",
        "maxTLSCertDuration": "24h",
        "defaultTLSCertDuration": "12h",
        "disableRenewal": True,
    }
    assert provisioner["forceCN"] is True
    assert provisioner["challenges"] == ["http-01"], "no other proof is one of a guest's address"
    assert provisioner["options"] == {"x509": {"templateFile": TEMPLATE}}
    assert f"/acme/{provisioner['name']}/" in directory_url(site)
    assert directory_url(site).startswith(f"https://{data['dnsNames'][0]}{data['address']}/")


def test_what_is_issued_signs_nothing_and_proves_servers_and_clients_alone() -> None:
    """Without `basicConstraints` and `certSign` it is no CA (RFC 5280, section 4.2.1.9)."""
    form = text(f"components/step_ca/{Path(TEMPLATE).name}")
    body = re.sub(r"\{\{ toJson \.(\w+) \}\}", r'"\1"', form[form.rindex("{{- end -}}") + 11 :])
    assert json.loads(body) == {
        "subject": "Subject", "sans": "SANs", "keyUsage": ["digitalSignature"],
        "extKeyUsage": ["serverAuth", "clientAuth"],
    }  # fmt: skip


def test_ca_refuses_old_tls(site: Site) -> None:
    tls = json.loads(config(site, Claims("5m", "24h", "24h")))["tls"]
    assert tls == {"minVersion": 1.2, "maxVersion": 1.3, "renegotiation": False}


def test_no_secret_is_in_the_configuration(site: Site) -> None:
    assert "password" not in config(site, Claims("5m", "24h", "24h"))


@pytest.mark.parametrize("version", ["0.19.9", "0.9", "", "unknown"])
def test_version_that_ignores_the_policy_is_refused(version: str) -> None:
    with pytest.raises(StepCaError, match=r"pin 0\.20 or newer"):
        check_version(version)


@pytest.mark.parametrize("version", ["0.20.0", "0.30.2", "1.0"])
def test_version_that_enforces_it_is_accepted(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        (("x", "24h", "24h"), "setting step_ca_lifetime_minimum: 'x' is not a duration"),
        (("5m", "24h", "48h"), "_minimum <= _default <= _maximum do not hold: 5m, 48h, 24h"),
        (("5m", "24h", "1m"), "do not hold"),
    ],
)
def test_claims_that_step_ca_would_die_of_are_refused(
    claims: tuple[str, str, str], message: str
) -> None:
    with pytest.raises(StepCaError) as caught:
        Claims(*claims)
    assert message in str(caught.value)


def sound(**change: object) -> CaState:
    whole = {"modes": FILES, "opens": True, "matches": True, "chains": True, "root": "PEM"}
    return CaState(**(whole | change))  # type: ignore[arg-type]


def test_sound_and_absent_states() -> None:
    assert faults(sound()) == []
    assert not sound().absent
    assert CaState().absent


@pytest.mark.parametrize("path", FILES)
def test_half_finished_initialisation_is_named_with_its_fix(path: str) -> None:
    (fault,) = faults(sound(modes={k: v for k, v in FILES.items() if k != path}))
    assert "half initialised" in fault
    assert "restore /etc/step-ca from a backup" in fault


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"opens": False, "matches": False}, "password does not open"),
        ({"matches": False}, "is not the key of the certificate"),
        ({"chains": False}, "is not signed by"),
        ({"modes": FILES | {"secrets/password": "640"}}, "secrets/password has mode 640"),
        ({"modes": FILES | {"secrets/root_ca_key": "604"}}, "chmod 600"),
    ],
)
def test_each_fault_is_found_alone(change: dict[str, object], message: str) -> None:
    site_faults = faults(sound(**change))
    assert len(site_faults) == 1, site_faults
    assert message in site_faults[0], site_faults


def test_parse_refuses_other_output() -> None:
    with pytest.raises(StepCaError, match="unexpected answer of the host: 'find: error'"):
        parse_state(["find: error"])


def test_the_password_of_the_keys_is_read_once_from_root_s_file() -> None:
    """systemd opens it; in the service it is a pipe, and neither an argument nor a variable."""
    unit = text("components/step_ca/step-ca.service.j2")
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    assert lines["StandardInput"] == "file:{{ directory }}/secrets/password"
    assert lines["User"] == "step", "who may not open that file itself"
    assert "--password-file /proc/self/fd/0" in lines["ExecStart"]
    assert "Environment" not in lines
    assert FILES["secrets/password"] == "600"
