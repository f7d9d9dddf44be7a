"""Which secrets a site has, and which of them Phoenix can change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pyrage import x25519  # type: ignore[import-untyped]

from phoenix.declaration import inventory
from phoenix.declaration.settings import Registry
from phoenix.secrets import catalog, sharing
from phoenix.secrets.errors import SecretError
from phoenix.secrets.store import SecretStore
from phoenix.site.findings import SettingError
from phoenix.site.model import Site

ROOT = Path(__file__).parents[2]
PLANTED = "planted-5ecret-long-enough"


@pytest.fixture(scope="module")
def site() -> Site:
    return inventory.load(ROOT / "inventories", ROOT / "stacks", environment="production")


def store(tmp_path: Path, **environment: str) -> SecretStore:
    return SecretStore(tmp_path / "secrets.json", environment)


def test_every_secret_is_listed_with_its_origin_and_without_its_value(
    site: Site, tmp_path: Path
) -> None:
    secret_store = store(tmp_path, PHOENIX_SECRET_PROXMOX_API_TOKEN=PLANTED)
    generated = [use.name for use in catalog.uses(site) if use.generated]
    for name in generated:
        secret_store.get(name)
        assert secret_store.keep(name)
    assert set(generated) == {
        "portainer_admin_password", "portainer_agent_secret", "traefik_dashboard_password",
        "gateway_client_certificate", "step_ca_issuance_key", "thinkheads_ai_app_database_pass",
        "qdrant_service_api_key",
    }  # fmt: skip
    statuses = catalog.listing(site, secret_store)
    assert {status.use.name: status.origin for status in statuses} == {
        **dict.fromkeys(generated, "store"),
        "proxmox_api_token": "environment",
        "step_ca_password": "absent",
        "backup_passphrase": "absent",
    }
    assert [status.use.name for status in statuses] == sorted(
        status.use.name for status in statuses
    )
    values = [PLANTED, *(secret_store.get(name).get_secret_value() for name in generated)]
    assert not any(value in repr(statuses) for value in values)
    assert all(status.use.what for status in statuses)


def test_a_registry_s_secret_is_one_of_the_site_s(site: Site, tmp_path: Path) -> None:
    registries = {"registry.example.com": Registry(username="ci", secret="registry_password")}
    secrets = store(tmp_path, PHOENIX_SECRET_REGISTRY_PASSWORD=PLANTED)
    (listed,) = (
        status
        for status in catalog.listing(site, secrets, registries)
        if status.use.name == "registry_password"
    )
    assert (listed.origin, listed.use.generated) == ("environment", False)
    assert listed.use.what.startswith("registry registry.example.com: password or token of ci")
    assert PLANTED not in repr(listed)
    _, names = sharing.export("site", site, secrets, [str(x25519.Identity.generate().to_public())],
                              registries)  # fmt: skip
    assert "registry_password" in names, "a second operator gets it, too"
    with pytest.raises(SecretError, match=r"cannot be changed by Phoenix.*change it at registry"):
        catalog.rotatable(["registry_password"], site, secrets, registries=registries)


def test_each_deploy_that_takes_a_secret_is_run_in_the_order_of_all_py(
    site: Site, tmp_path: Path
) -> None:
    def named(file: str, call: str) -> list[str]:
        return re.findall(
            rf'^{call}\("(deploys/\w+\.py)"\)', (ROOT / file).read_text(), re.MULTILINE
        )

    taken_up = named("deploys/secrets_rotate.py", "take_up")
    uses = [status.use for status in catalog.listing(site, store(tmp_path), {})]
    assert {deploy for use in uses for deploy in use.deploys} <= set(taken_up)
    everything = named("deploys/all.py", r"local\.include")
    assert taken_up == [deploy for deploy in everything if deploy in taken_up]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "secrets_rotate is missing"),
        (
            ["portainer_password"],
            r"no secret 'portainer_password'\. Did you mean 'portainer_admin_password'\?",
        ),
        (["nothing"], r"no secret 'nothing'\. There are: backup_passphrase, "),
        (["proxmox_api_token"], "cannot be changed by Phoenix.*pveum user token add"),
        (["step_ca_password"], "cannot be changed by Phoenix.*openssl pkey"),
        (["backup_passphrase"], "cannot be changed by Phoenix"),
    ],
)
def test_what_cannot_be_changed_is_refused_with_the_way(
    site: Site, tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(SecretError, match=message):
        catalog.rotatable(names, site, store(tmp_path))


def test_secret_from_elsewhere_is_refused_with_what_to_do(site: Site, tmp_path: Path) -> None:
    name = "portainer_admin_password"
    secret_store = store(tmp_path, PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD=PLANTED)
    with pytest.raises(SecretError, match=r"from the environment.*and in Portainer") as caught:
        catalog.rotatable([name], site, secret_store)
    assert "run deploys/portainer.py" in str(caught.value)
    assert PLANTED not in str(caught.value)


def test_uses_come_once_and_a_given_value_is_taken(site: Site, tmp_path: Path) -> None:
    name = "portainer_admin_password"
    secret_store = store(tmp_path, PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD_NEW=PLANTED)
    secret_store.get(name)
    secret_store.keep(name)
    uses = catalog.rotatable([name, name], site, secret_store)
    assert [use.name for use in uses] == [name]
    catalog.propose([name], secret_store)
    assert secret_store.find(name) == SecretStr(PLANTED)
    short = store(tmp_path, PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD_NEW="elevenbytes")
    with pytest.raises(SettingError, match="shorter than 12 bytes"):
        catalog.propose([name], short)


def test_a_secret_that_this_machine_does_not_have_is_made_only_where_it_is_lost(
    site: Site, tmp_path: Path
) -> None:
    """Another operator has it: a new value would be one more that only this machine knows."""
    name, empty = "traefik_dashboard_password", store(tmp_path)
    with pytest.raises(SecretError, match=f"this machine does not have {name}") as caught:
        catalog.rotatable([name], site, empty)
    assert "phoenix secrets import FILE" in str(caught.value)
    assert f"phoenix secrets rotate --lost {name}" in str(caught.value)
    assert [use.name for use in catalog.rotatable([name], site, empty, lost=True)] == [name]
    assert empty.all_values() == {}
