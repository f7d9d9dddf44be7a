"""A stack filled in: variables, secrets, files as mounts, images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from phoenix.components import stack as deployment
from phoenix.components.stack import DeploymentError, Prepared
from phoenix.declaration import inventory
from phoenix.site.model import Deployment
from tests.unit.site_builder import minimal, stack

PLANTED = "planted-5ecret-of-the-test"


def secret_of(name: str) -> SecretStr:
    return SecretStr(f"{PLANTED} {name}")


def shop(folder: Path, compose: dict[str, Any] | None = None, **environment: Any) -> Deployment:
    """The builder's one stack, with `environment` added to production."""
    declaration = minimal()
    manifest, file = stack("shop", 8000)
    manifest["environments"]["production"] |= environment
    file["services"]["web"] |= compose or {}
    file["volumes"] = {"data": {}}
    declaration.stacks["shop"] = (manifest, file)
    (folder / "stacks/shop").mkdir(parents=True)
    for entry in environment.get("files", ()):
        if "source" in entry:
            (folder / "stacks/shop" / entry["source"]).write_text("content of the file\n")
    (worker,) = declaration.load(folder).agents
    (deployment,) = worker.docker_stacks
    return deployment


VARIABLES = [
    {"name": "TAG", "value": "1.2"},
    {"name": "LOGIN_PASS", "secret": "SHOP_LOGIN"},
]


def test_variables_are_declared_replaced_or_secret(tmp_path: Path) -> None:
    prepared = shop(tmp_path, variables=VARIABLES)
    filled = deployment.variables(prepared, {"TAG": "1.3"}, secret_of)
    assert filled["TAG"] == "1.3"
    secret = filled["LOGIN_PASS"]
    assert isinstance(secret, SecretStr), "only then is it hidden everywhere"
    assert secret.get_secret_value() == f"{PLANTED} shop_login", "secrets are named in lower case"
    assert PLANTED not in repr(filled)


def test_setting_for_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    prepared = shop(tmp_path, variables=VARIABLES)
    with pytest.raises(DeploymentError) as caught:
        deployment.variables(prepared, {"TGA": "1.3"}, secret_of)
    for word in ("stack_variables['shop']", "TGA", "TAG, LOGIN_PASS"):
        assert word in str(caught.value)


def test_compose_file_without_files_is_byte_for_byte_as_written(tmp_path: Path) -> None:
    unchanged = shop(tmp_path)
    prepared = deployment.prepare(unchanged, {}, secret_of)
    assert prepared.compose == unchanged.compose_file.read_text()
    assert prepared.files == {}


FILES = [
    {"source": "app.conf", "destination_in_container": "/etc/app.conf"},
    {"secret": "SHOP_KEY", "destination_in_container": "/run/key"},
]


def prepare(folder: Path, **compose: Any) -> Prepared:
    return deployment.prepare(shop(folder, compose, files=FILES), {}, secret_of)


def test_files_are_placed_and_mounted(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, volumes=["data:/data"])
    base = f"{deployment.FILES}/shop-production"
    assert prepared.files[f"{base}/0"].content == b"content of the file\n"
    assert prepared.files[f"{base}/1"].mode == "0600"
    assert prepared.files[f"{base}/1"].secret
    web = yaml.safe_load(prepared.compose)["services"]["web"]
    assert web["volumes"] == [
        "data:/data", f"{base}/0:/etc/app.conf:ro", f"{base}/1:/run/key:ro",
    ]  # fmt: skip
    assert PLANTED not in prepared.compose


@pytest.mark.parametrize("labels", [{"mine": "1"}, ["mine=1"]], ids=["mapping", "list"])
def test_changed_file_changes_a_label_so_that_compose_replaces_the_container(
    tmp_path: Path, labels: Any
) -> None:
    first = prepare(tmp_path / "a", labels=labels)
    same = prepare(tmp_path / "b", labels=labels)
    assert first.compose == same.compose
    prepared = shop(tmp_path / "c", {"labels": labels}, files=FILES)
    (prepared.directory / "app.conf").write_text("other content\n")
    other = deployment.prepare(prepared, {}, secret_of)
    labels_kept = [json.dumps(yaml.safe_load(prepared.compose)["services"]["web"]["labels"])
            for prepared in (first, other)]  # fmt: skip
    assert labels_kept[0] != labels_kept[1]
    assert all("mine" in labels for labels in labels_kept), labels_kept


def test_images_are_filled_in_once_each(tmp_path: Path) -> None:
    prepared = shop(tmp_path, {"image": "example/web:${TAG}"}, variables=VARIABLES)
    assert deployment.images(prepared, {"TAG": "1.3"}) == ("example/web:1.3",)
    with pytest.raises(DeploymentError, match=r"services\.web\.image: no value for TAG"):
        deployment.images(prepared, {})


def test_the_repositorys_own_stacks_prepare_in_every_environment() -> None:
    root = Path(__file__).parents[2]
    for environment in ("production", "testing", "development"):
        site = inventory.load(root / "inventories", root / "stacks", environment=environment)
        deployments = [each for host in site.agents for each in host.docker_stacks]
        assert len(deployments) >= 2, environment
        for each in deployments:
            prepared = deployment.prepare(each, {}, secret_of)
            assert prepared.images, each.project
            assert all(":" in image for image in prepared.images), prepared.images
