"""Renewal of one guest's certificates and rotation of the CA, against a recorder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyinfra.api import DeployError

from operations import trust
from phoenix.backup import decryptor
from phoenix.backup.root_key import opener
from phoenix.components.step_ca.authority import FILES, ROOT_KEY
from phoenix.secrets import age
from tests.deploys.recorder import run
from tests.deploys.test_deploys import CA, NGINX, TRAEFIK
from tests.unit.test_x509 import Authority


@pytest.mark.parametrize(("guest", "certificate"), [(NGINX, "gateway"), (TRAEFIK, "traefik"),
                                                    ("portainer", "host")])  # fmt: skip
def test_one_guest_is_renewed_and_no_other_is_touched(
    tmp_path: Path, guest: str, certificate: str
) -> None:
    result = run("certs_renew", tmp_path / "secrets.json", certs_renew=guest)
    assert [(sent.host, sent.command) for sent in result.sent] == [
        (guest, f"/usr/local/sbin/phoenix-acme renew {certificate}")
    ]


def test_ca_makes_its_own_certificate_anew_when_it_starts(tmp_path: Path) -> None:
    (sent,) = run("certs_renew", tmp_path / "secrets.json", certs_renew=CA).sent
    assert sent.host == CA
    assert " restart step-ca.service " in sent.command, sent.command
    assert 'systemctl restart -- "$1"' in sent.command, sent.command
    assert "/provisioners" in sent.command, sent.command


@pytest.mark.parametrize(
    ("deploy", "setting", "value", "message"),
    [
        ("certs_renew", "certs_renew", "phoenix", "write --data certs_renew= one of"),
        ("certs_rotate", "certs_rotate", "everything", "write --data certs_rotate=root"),
        ("secrets_rotate", "secrets_lost", "no", "secrets_lost is 'no': write true or false"),
        (
            "stacks",
            "stacks_only",
            "qdrant_service-production,qdrnt_service-production",
            "the site has no stack 'qdrnt_service-production'. Did you mean 'qdrant_service-",
        ),
    ],
)
def test_what_means_nothing_ends_the_run_before_a_host_is_touched(
    tmp_path: Path, deploy: str, setting: str, value: str, message: str
) -> None:
    options: dict[str, Any] = {setting: value}
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run(deploy, tmp_path / "secrets.json", **options)
    assert message in f"{caught.value.args} {vars(caught.value)}"


def test_steps_of_a_rotation_are_barriers_in_this_order(tmp_path: Path) -> None:
    result = run("certs_rotate", tmp_path / "secrets.json", certs_rotate="continue", execute=False)
    assert result.operations == [
        "Rotation: next keys",
        "Rotation: present and next root trusted",
        "Rotation: trust is proven",
        "Rotation: the CA signs with the next keys",
        "Rotation: certificates of the new chain",
        "Rotation: the new chain is served",
        "Rotation: every host is on the new chain",
        "Rotation: the newest root alone trusted",
        "Rotation: all ports serve it still",
    ]


@pytest.mark.parametrize("value", ["no", "maybe", 1])
def test_a_rotation_that_is_prepared_perhaps_is_refused(tmp_path: Path, value: object) -> None:
    """`no` meant yes: the next root was not used."""
    data: dict[str, Any] = {"certs_rotate": "continue", "certs_rotate_prepare": value}
    with pytest.raises(DeployError, match=f"certs_rotate_prepare is '{value}': write true or"):
        run("certs_rotate", tmp_path / "secrets.json", execute=False, **data)


def test_a_prepared_rotation_ends_before_the_next_root_is_used(tmp_path: Path) -> None:
    data: dict[str, Any] = {"certs_rotate": "continue", "certs_rotate_prepare": True}
    result = run("certs_rotate", tmp_path / "secrets.json", execute=False, **data)
    assert result.operations == [
        "Rotation: next keys",
        "Rotation: present and next root trusted",
        "Rotation: trust is proven",
    ]


@pytest.mark.parametrize(
    "deploy", ["all", "dns", "base", "step_ca", "certificates", "nginx", "traefik"]
)
def test_a_domain_that_the_ca_cannot_vouch_for_ends_each_run_before_a_host_is_touched(
    tmp_path: Path, deploy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug report 2: DNS was changed first, then the CA refused every name."""
    monkeypatch.setenv("PHOENIX_SECRET_TRAEFIK_DASHBOARD_PASSWORD", "planted")
    monkeypatch.setattr(trust, "_states", {})
    intermediate = Authority("Of another domain", "old.example.org", "10.0.0.0/24").intermediate
    pem = intermediate.public_bytes(Encoding.PEM).decode().splitlines()
    answer = ["mode 644 certs/root_ca.crt", *(f"intermediate {line}" for line in pem)]
    responses: dict[Any, Any] = {re.compile(r"rotation/next -type f"): lambda _: answer}
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run(deploy, tmp_path / "secrets.json", responses=responses)
    error_text = f"{caught.value.args} {vars(caught.value)}"
    assert "internal.thinkheads.ai is declared" in error_text, error_text
    assert "phoenix certs rotate intermediate" in error_text, error_text


def pem_lines(authority: Authority) -> list[str]:
    root = authority.root.public_bytes(Encoding.PEM).decode().splitlines()
    intermediate = authority.intermediate.public_bytes(Encoding.PEM).decode().splitlines()
    return [*(f"root {line}" for line in root), *(f"intermediate {line}" for line in intermediate)]


KEY = Authority("Site's")
PLAIN = KEY.root_key.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
).decode()  # fmt: skip


def deployed(*modes: str) -> dict[Any, Any]:
    """A sound CA with these files beside its necessary ones."""
    state = [f"mode 600 {name}" for name in (*FILES, *modes)]
    state += ["yes opens", "yes matches", "yes chains", *pem_lines(KEY)]
    return {
        re.compile(r"rotation/next -type f"): lambda _: state,
        "root-key-read": PLAIN,
    }


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "key.txt"
    return path, age.make_key(path)


def test_root_s_key_is_in_a_file_that_opens_before_it_is_removed(
    tmp_path: Path, identity: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_states", {})
    to = tmp_path / "usb"
    done = run(
        "certs_root", tmp_path / "secrets.json", responses=deployed(ROOT_KEY),
        certs_root_to=str(to), certs_root_recipients=identity[1],
    )  # fmt: skip
    assert not done.failed
    commands = [request.command for request in done.sent if "root-key-" in request.command]
    assert [re.search(r"root-key-\w+", command)[0] for command in commands] == [  # type: ignore[index]
        "root-key-read", "root-key-remove",
    ]  # fmt: skip
    assert {request.host for request in done.sent} == {CA}
    (file,) = to.iterdir()
    opens = opener(file, decryptor(identity[0], None))
    root = KEY.root.public_bytes(Encoding.PEM).decode()
    assert opens(root).get_secret_value() == PLAIN
    # And the next intermediate is signed with it.
    monkeypatch.setattr(trust, "_states", {})
    rotated = run(
        "certs_rotate", tmp_path / "secrets.json", responses=deployed(), execute=False,
        certs_rotate="intermediate", certs_root_key=str(file),
        certs_root_identity=str(identity[0]),
    )  # fmt: skip
    assert not rotated.failed
    assert all("PRIVATE KEY" not in request.command for request in rotated.sent)
    monkeypatch.setattr(trust, "_states", {})
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run("certs_rotate", tmp_path / "secrets.json", responses=deployed(), execute=False,
            certs_rotate="intermediate")  # fmt: skip
    assert "--root-key FILE" in f"{caught.value.args} {vars(caught.value)}"


def test_key_that_is_not_the_root_s_is_not_removed(
    tmp_path: Path, identity: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_states", {})
    answers = deployed(ROOT_KEY)
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    answers["root-key-read"] = Authority("Other").root_key.private_bytes(*form).decode()
    done = run(
        "certs_root", tmp_path / "secrets.json", responses=answers,
        certs_root_to=str(tmp_path / "usb"), certs_root_recipients=identity[1],
    )  # fmt: skip
    assert done.failed == {CA}
    assert not any("root-key-remove" in request.command for request in done.sent)
    assert not (tmp_path / "usb").exists()


def test_key_that_is_offline_already_stays_so(
    tmp_path: Path, identity: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_states", {})
    done = run(
        "certs_root", tmp_path / "secrets.json", responses=deployed(),
        certs_root_to=str(tmp_path / "usb"), certs_root_recipients=identity[1],
    )  # fmt: skip
    assert not done.failed
    assert not any("root-key-" in request.command for request in done.sent)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "certs_root_to is missing"),
        ({"certs_root_to": "/x"}, "nobody could open the file of the root's key"),
    ],
)
def test_root_s_key_that_nobody_could_open_again_stays(
    tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run("certs_root", tmp_path / "secrets.json", responses=deployed(ROOT_KEY), **data)
    assert message in f"{caught.value.args} {vars(caught.value)}".replace("\\'", "'")


def test_an_abandoned_rotation_puts_the_trust_back_and_does_nothing_else(tmp_path: Path) -> None:
    data: dict[str, Any] = {"certs_rotate": "abandon"}
    result = run("certs_rotate", tmp_path / "secrets.json", execute=False, **data)
    assert result.operations == [
        "Rotation: abandoned",
        "Rotation: present and next root trusted",
        "Rotation: trust is proven",
    ]
