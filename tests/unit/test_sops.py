"""Secrets of a team: a SOPS file, and files for a second operator."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from phoenix.declaration import inventory
from phoenix.secrets import age, catalog, sharing, sops
from phoenix.secrets.errors import SecretError
from phoenix.secrets.store import SecretStore
from phoenix.site.model import Site
from phoenix.site.secret_names import AGENT_SECRET, DASHBOARD_PASSWORD

ROOT = Path(__file__).parents[2]
REAL = shutil.which("sops")
DOUBLE = Path(__file__).with_name("sops_double.py")
PLANTED = 'planted-5ecret "quoted" ü\nsecond line'


@pytest.fixture(scope="module")
def site() -> Site:
    return inventory.load(ROOT / "inventories", ROOT / "stacks", environment="production")


def install(folder: Path, program: str) -> None:
    """Put `sops` into a folder: the double, or the real one."""
    folder.mkdir(exist_ok=True)
    (folder / "sops").unlink(missing_ok=True)
    target = (
        f'exec "{sys.executable}" "{DOUBLE}" "$@"' if program == "double" else f'exec {REAL} "$@"'
    )
    (folder / "sops").write_text(f"#!/bin/sh\n{target}\n")
    (folder / "sops").chmod(0o755)


@pytest.fixture(
    params=[
        "double",
        pytest.param("real", marks=pytest.mark.skipif(REAL is None, reason="no sops")),
    ]
)
def project(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project's folder on a machine with sops and a home of its own."""
    install(tmp_path / "bin", request.param)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(tmp_path / "keys.txt"))
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def machine(project: Path, name: str = "one", **environment: str) -> SecretStore:
    return SecretStore(project.parent / name / "secrets.json", environment, project / "s.sops.json")


def started(site: Site, project: Path) -> tuple[SecretStore, sharing.Started]:
    store = machine(project)
    store.get(AGENT_SECRET, lambda: PLANTED)
    store.keep(AGENT_SECRET)
    store.merge({"of_another_site": "x"})
    file, key = project / "s.sops.json", project.parent / "keys.txt"
    return store, sharing.start(site, store, file, key)


def test_init_makes_key_rules_and_file_once(site: Site, project: Path) -> None:
    store, done = started(site, project)
    assert done.created == (done.key, project / ".sops.yaml", done.file)
    assert done.moved == (AGENT_SECRET,), "another site's secrets stay out"
    assert done.key.stat().st_mode & 0o777 == 0o600
    assert PLANTED not in done.file.read_text()
    assert AGENT_SECRET in done.file.read_text(), "names are readable, for reviews"
    assert store.origin(AGENT_SECRET) == "sops"
    before = {path: path.read_bytes() for path in (done.key, done.file, project / ".sops.yaml")}
    again = sharing.start(site, machine(project), done.file, done.key)
    assert (again.created, again.moved, again.recipient) == ((), (), done.recipient)
    assert {path: path.read_bytes() for path in before} == before


def test_another_machine_reads_the_file_and_adds_to_it(site: Site, project: Path) -> None:
    started(site, project)
    other = machine(project, "two")
    secret = other.find(AGENT_SECRET)
    assert secret is not None
    assert secret.get_secret_value() == PLANTED
    generated = other.get(DASHBOARD_PASSWORD)
    assert other.keep(DASHBOARD_PASSWORD)
    assert not other.path.exists(), "what a team shares is in its file alone"
    assert machine(project).find(DASHBOARD_PASSWORD) == generated
    assert sops.decrypt(project / "s.sops.json").keys() == {AGENT_SECRET, DASHBOARD_PASSWORD}


def test_rotation_is_written_back(site: Site, project: Path) -> None:
    started(site, project)
    other = machine(project, "two")
    assert [u.name for u in catalog.rotatable([AGENT_SECRET], site, other)] == [AGENT_SECRET]
    catalog.propose([AGENT_SECRET], other)
    new = other.get(AGENT_SECRET)
    other.begin(AGENT_SECRET)
    assert machine(project, "two").is_changing(AGENT_SECRET), "the next run finishes it"
    assert sops.decrypt(project / "s.sops.json")[AGENT_SECRET] == PLANTED
    other.finish(AGENT_SECRET)
    assert machine(project).find(AGENT_SECRET) == new
    assert not machine(project, "two").is_changing(AGENT_SECRET)


def test_backup_that_knows_a_former_value_starts_a_change(site: Site, project: Path) -> None:
    store, _ = started(site, project)
    store.begin_from(AGENT_SECRET, "former")
    assert sops.decrypt(project / "s.sops.json")[AGENT_SECRET] == "former"
    assert store.propose(AGENT_SECRET).get_secret_value() == PLANTED


def test_file_that_is_yaml_is_written_too(site: Site, project: Path) -> None:
    if "double" in (project.parent / "bin/sops").read_text():
        pytest.skip("the double has JSON files alone")
    _, done = started(site, project)
    file = project / "team.yaml"
    (project / ".sops.yaml").write_text(f"creation_rules:\n  - age: {done.recipient}\n")
    sops.create(file, {"one": "a"}, done.recipient)
    sops.rewrite(file, {"one": PLANTED})
    assert sops.decrypt(file) == {"one": PLANTED}


def test_file_of_another_form_is_refused(project: Path) -> None:
    with pytest.raises(SecretError, match=r"\.json or \.yaml"):
        sops.rewrite(project / "secrets.env", {"one": "a"})


def test_stranger_cannot_read_and_is_told(site: Site, project: Path) -> None:
    started(site, project)
    (project.parent / "keys.txt").unlink()
    age.make_key(project.parent / "keys.txt")
    with pytest.raises(SecretError, match="sops cannot decrypt") as caught:
        machine(project).find(AGENT_SECRET)
    assert PLANTED not in str(caught.value)


def test_without_sops_what_to_install_is_told_and_nothing_made(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    store = SecretStore(tmp_path / "secrets.json", {}, tmp_path / "s.sops.json")
    with pytest.raises(SecretError, match=r"install SOPS 3\.9 or newer"):
        sharing.start(site, store, tmp_path / "s.sops.json", tmp_path / "keys.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(REAL is None, reason="no sops")
def test_double_keeps_the_real_format(site: Site, project: Path) -> None:
    """Each reads what the other has written."""
    started(site, project)
    for program in ("real", "double"):
        install(project.parent / "bin", program)
        store = machine(project)
        secret = store.find(AGENT_SECRET)
        assert secret is not None
        assert secret.get_secret_value() == PLANTED
        store.get(f"by_{program}", lambda: PLANTED)
        store.keep(f"by_{program}")
    install(project.parent / "bin", "real")
    assert sops.decrypt(project / "s.sops.json").keys() == {AGENT_SECRET, "by_real", "by_double"}


# -- for a second operator -----------------------------------------------------------------------


@pytest.fixture
def exported(site: Site, tmp_path: Path) -> tuple[Path, Path]:
    """A file for a second operator, and that operator's key."""
    key = tmp_path / "second.txt"
    public = age.make_key(key)
    first = SecretStore(tmp_path / "first.json", {"PHOENIX_SECRET_PROXMOX_API_TOKEN": PLANTED})
    first.merge({AGENT_SECRET: PLANTED, f"{AGENT_SECRET}.next": "candidate", "foreign": "x"})
    data, names = sharing.export("site-a", site, first, [public])
    assert names == ("portainer_agent_secret", "proxmox_api_token")
    file = tmp_path / "handed.age"
    sharing.write_private(file, data)
    return file, key


def test_second_operator_gets_what_the_first_has(
    tmp_path: Path, exported: tuple[Path, Path]
) -> None:
    file, key = exported
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("-----BEGIN AGE ENCRYPTED FILE-----")
    values = sharing.read(file, "site-a", key)
    second = SecretStore(tmp_path / "second.json", {})
    done = sharing.import_(values, second, replace=False)
    assert done == sharing.Imported(("portainer_agent_secret", "proxmox_api_token"), None)
    assert json.loads(second.path.read_text()) == values
    assert sharing.import_(values, second, replace=False).names == ()


def test_other_values_stay_unless_replaced(tmp_path: Path, exported: tuple[Path, Path]) -> None:
    values = sharing.read(exported[0], "site-a", exported[1])
    second = SecretStore(tmp_path / "second.json", {})
    second.merge({AGENT_SECRET: "of this machine"})
    with pytest.raises(SecretError, match=f"other values of {AGENT_SECRET}.*--replace"):
        sharing.import_(values, second, replace=False)
    assert json.loads(second.path.read_text()) == {AGENT_SECRET: "of this machine"}
    done = sharing.import_(values, second, replace=True)
    assert done.aside is not None
    assert json.loads(done.aside.read_text()) == {AGENT_SECRET: "of this machine"}


def test_import_goes_into_the_teams_file(
    site: Site, project: Path, exported: tuple[Path, Path]
) -> None:
    store, done = started(site, project)
    values = sharing.read(exported[0], "site-a", exported[1])
    assert sharing.import_(values, store, replace=False).names == ("proxmox_api_token",)
    assert sops.decrypt(done.file)["proxmox_api_token"] == PLANTED


def test_files_that_are_not_for_us_are_refused(tmp_path: Path, exported: tuple[Path, Path]) -> None:
    file, key = exported
    with pytest.raises(SecretError, match="the secrets of site-a, and this is site-b"):
        sharing.read(file, "site-b", key)
    age.make_key(tmp_path / "third.txt")
    with pytest.raises(SecretError, match="made for another one"):
        sharing.read(file, "site-a", tmp_path / "third.txt")
    with pytest.raises(SecretError, match="there is no age key in"):
        sharing.read(file, "site-a", tmp_path / "none.txt")
    with pytest.raises(SecretError, match="cannot be read"):
        sharing.read(tmp_path / "none.age", "site-a", key)
    (tmp_path / "plain").write_text('{"a": "b"}')
    with pytest.raises(SecretError, match="is not encrypted with age"):
        sharing.read(tmp_path / "plain", "site-a", key)
    file.write_text(file.read_text()[:200])
    with pytest.raises(SecretError, match="damaged"):
        sharing.read(file, "site-a", key)


def test_private_key_as_recipient_is_refused_unseen(site: Site, tmp_path: Path) -> None:
    age.make_key(tmp_path / "key")
    private = (tmp_path / "key").read_text().splitlines()[-1]
    store = SecretStore(tmp_path / "s.json", {})
    store.merge({AGENT_SECRET: PLANTED})
    with pytest.raises(SecretError, match="--to 1, is a private key") as caught:
        sharing.export("a", site, store, [private])
    assert private not in str(caught.value)


def test_existing_files_are_kept(tmp_path: Path) -> None:
    public = age.make_key(tmp_path / "key")
    assert age.public_key(tmp_path / "key") == public
    with pytest.raises(SecretError, match="exists"):
        age.make_key(tmp_path / "key")
    with pytest.raises(SecretError, match="exists"):
        sharing.write_private(tmp_path / "key", b"")
    assert age.public_key(tmp_path / "key") == public
