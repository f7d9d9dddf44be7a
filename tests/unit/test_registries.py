"""Private registries: the setting, what hosts and Portainer are given, and what shows nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from phoenix.components import registries
from phoenix.declaration.settings import read
from phoenix.portainer_api.models import Registry
from phoenix.portainer_api.registries import Login, plan_registries, registry_of
from phoenix.secrets.errors import SecretError
from tests.unit.site_builder import minimal

PRIVATE, PASSWORD = "registry.example.com:5000", "pa ss:wörd"
DECLARED = {
    PRIVATE: {"username": "ci", "secret": "registry_password"},
    "docker.io": {"username": "me", "secret": "hub_token"},
}
LOGIN = Login(PRIVATE, "ci", SecretStr(PASSWORD))


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("debian", "docker.io"),
        ("debian:13", "docker.io"),
        ("library/debian:13", "docker.io"),
        ("docker.io/library/debian", "docker.io"),
        ("index.docker.io/library/debian", "docker.io"),
        ("registry.example.com/app:1", "registry.example.com"),
        ("registry.example.com:5000/a/b@sha256:0", "registry.example.com:5000"),
        ("localhost/app", "localhost"),
        ("host:5000/app", "host:5000"),
    ],
)
def test_registry_of_an_image(image: str, registry: str) -> None:
    assert registry_of(image) == registry


@pytest.mark.parametrize(
    ("registries_", "word"),
    [
        ({"https://registry.example.com": DECLARED[PRIVATE]}, "is not a registry"),
        ({"registry.example.com/team": DECLARED[PRIVATE]}, "is not a registry"),
        ({PRIVATE: {"username": "ci", "secret": "My Password!"}}, "is not the name of a secret"),
        ({PRIVATE: {"username": "ci"}}, "secret"),
        ({PRIVATE: {"username": "c:i", "secret": "a"}}, "is not a login name"),
        ({PRIVATE: {"username": "", "secret": "a"}}, "is not a login name"),
        ({"index.docker.io": DECLARED["docker.io"]}, 'images name "docker.io"'),
        ({PRIVATE: {"username": "ci", "secret": "a", "password": "b"}}, "password"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    registries_: dict[str, dict[str, str]], word: str
) -> None:
    _, findings = read({"registries": registries_})
    assert word in str([str(finding) for finding in findings])


def test_docker_reads_the_log_ins_from_a_file_of_its_owner_alone() -> None:
    settings, findings = read({"registries": DECLARED})
    assert not findings
    logins = registries.logins(settings.registries, lambda _: SecretStr(PASSWORD))
    (path, file), = registries.tree(logins).files.items()  # fmt: skip
    assert path == "/etc/phoenix/compose/.docker/config.json"
    assert (file.mode, file.secret) == ("0600", True)
    auths = json.loads(file.content)["auths"]
    assert auths.keys() == {PRIVATE, "https://index.docker.io/v1/"}
    assert base64.b64decode(auths[PRIVATE]["auth"]).decode() == f"ci:{PASSWORD}"
    assert PASSWORD not in repr(logins)


def test_a_password_that_nobody_gave_is_named() -> None:
    settings, _ = read({"registries": DECLARED})
    with pytest.raises(SecretError) as refused:
        registries.logins(settings.registries, lambda _: None)
    assert "registry docker.io needs the secret hub_token" in str(refused.value)
    assert "PHOENIX_SECRET_REGISTRY_PASSWORD" in str(refused.value)


def row(**more: object) -> Registry:
    data = {"Id": 1, "Name": f"phoenix {PRIVATE}", "URL": PRIVATE, "Username": "ci"}
    return Registry.model_validate(data | more)


@pytest.mark.parametrize(
    ("rows", "desired", "known", "reasons"),
    [
        ([], [LOGIN], {}, (f"register {PRIVATE} as ci",)),
        ([row()], [LOGIN], {PRIVATE: "hash"}, ()),
        ([row()], [LOGIN], {PRIVATE: "another"}, (f"log in to {PRIVATE} as ci",)),
        ([row()], [LOGIN], {}, (f"log in to {PRIVATE} as ci",)),
        ([row(Username="other")], [LOGIN], {PRIVATE: "hash"}, (f"log in to {PRIVATE} as ci",)),
        ([row()], [], {}, (f"remove {PRIVATE}",)),
        ([row(Name="of a person")], [], {}, ()),
    ],
)
def test_what_portainer_is_to_have(
    rows: list[Registry], desired: list[Login], known: dict[str, str], reasons: tuple[str, ...]
) -> None:
    assert plan_registries(rows, desired, known, {PRIVATE: "hash"}).reasons == reasons


def test_registries_of_the_zone_are_those_of_images_settings_and_mirrors(tmp_path: Path) -> None:
    declared = minimal()
    services = {
        "a": {"image": "registry.internal.thinkheads.ai:5000/a:1.0"},
        "b": {"image": "registry.example.com/b:1.0"},
        "c": {"image": "${TAGGED:-images.internal.thinkheads.ai/c}:1.0"},
    }
    declared.stacks["jobs"] = ({"environments": {"production": {}}}, {"services": services})
    declared.vm["vms"][1]["docker_stacks"].append("jobs")
    site = declared.load(tmp_path)
    settings, _ = read(
        {
            "registries": {"ci.internal.thinkheads.ai": DECLARED[PRIVATE]},
            "docker_registry_mirrors": ["https://mirror.internal.thinkheads.ai:443", "https://x.y"],
        }
    )
    (worker,) = site.agents
    zone = "internal.thinkheads.ai"
    assert registries.of_the_zone(site, worker, settings) == (
        *(f"{name}.{zone}" for name in ("ci", "images")),
        f"mirror.{zone}:443",
        f"registry.{zone}:5000",
    )
    assert registries.of_the_zone(site, site.hypervisor, settings) == ()
