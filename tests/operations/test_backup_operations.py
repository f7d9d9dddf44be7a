"""Backup, restore and rotation as operations: what they would send, and what they refuse."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import FunctionCommand, OperationError
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from facts.backup import CaData
from facts.host_fact import Unknown
from operations import backup as collecting
from operations import restore, secret_rotation
from operations.config_tree import config_tree
from phoenix import backup
from phoenix.backup import Backup, PresentData, ca_identity, portainer_identity
from phoenix.components.config_tree.tree import (
    FileState,
    Tree,
    TreeError,
    TreeFile,
    TreeState,
    UnitState,
)
from phoenix.components.step_ca.authority import CaState
from phoenix.health.issued import Issued
from phoenix.secrets import age
from phoenix.secrets.store import SecretStore
from phoenix.site.model import Site
from tests.operations.test_tree_operations import Fixed, fixed
from tests.unit.site_builder import minimal
from tests.unit.test_backup import archive, backup_of
from tests.unit.test_backup import ca as ca


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


@pytest.fixture
def saved(site: Site, ca: dict[str, bytes]) -> Backup:
    return backup_of(
        site,
        ca=archive(ca),
        portainer=archive({"./portainer.key": b"key"}),
        secrets=b'{"one": "planted-5ecret"}',
    )


def identity(saved: Backup, part: str) -> str:
    return (ca_identity if part == "ca" else portainer_identity)(saved.parts[part])


def finding(fact: str, state: PresentData, stage: StateStage = StateStage.Prepare) -> Fixed:
    """A host on which this is found."""
    facts: dict[str, Any] = {fact: state}
    return fixed(stage, **facts)


CASES = [("ca", restore.ca, "CaData"), ("portainer", restore.portainer, "PortainerData")]


@pytest.mark.parametrize(("part", "operation", "fact"), CASES)
def test_part_is_put_where_nothing_is_with_the_data_on_standard_input(
    saved: Backup, part: str, operation: Any, fact: str
) -> None:
    command, *rest = finding(fact, PresentData()).run(operation, saved, replace=False)
    raw, data = command.get_raw_value(), saved.parts[part]
    assert hashlib.sha256(data).hexdigest() in raw
    assert base64.b64decode(command.connector_arguments["_stdin"]) == data
    assert command.connector_arguments["_stdin"][:60] not in raw
    assert raw.endswith(" ''"), "nothing is to be moved aside"
    # Another root may stand there now: what was known of the CA is asked anew.
    assert [type(more) for more in rest] == ([FunctionCommand] if part == "ca" else [])


@pytest.mark.parametrize(("part", "operation", "fact"), CASES)
def test_own_data_stay_and_others_are_refused(
    saved: Backup, part: str, operation: Any, fact: str
) -> None:
    own = finding(fact, PresentData(True, identity(saved, part)))
    assert own.run(operation, saved, replace=False) == []
    assert "the backup's" in own.host.noop_description
    other = PresentData(True, "other")
    with pytest.raises(OperationError, match=r"holds something else.*give --replace to"):
        finding(fact, other).run(operation, saved, replace=False)
    commands = finding(fact, other, StateStage.Execute).run(operation, saved, replace=False)
    assert [type(command) for command in commands] == [FunctionCommand], "later only the host fails"


@pytest.mark.parametrize(("part", "operation", "fact"), CASES)
def test_replacement_is_asked_for_and_done_once(
    saved: Backup, part: str, operation: Any, fact: str
) -> None:
    command, report = finding(fact, PresentData(True, "other")).run(operation, saved, replace=True)
    assert re.search(r"/\S*before-\d{8}T\d{6}Z$", command.get_raw_value())
    assert isinstance(report, FunctionCommand)
    sha256 = hashlib.sha256(saved.parts[part]).hexdigest()
    restored = PresentData(True, identity(saved, part), sha256)
    assert finding(fact, restored).run(operation, saved, replace=True) == []


def test_secrets_are_added_kept_or_refused(saved: Backup, tmp_path: Path) -> None:
    store = SecretStore(tmp_path / "store/secrets.json", {})
    (command,) = fixed().run(restore.secrets, saved, store, replace=False)
    assert isinstance(command, FunctionCommand)
    assert store.dump() is None, "a plan that is not run changes nothing"
    store.merge({"one": "planted-5ecret"})
    here = fixed()
    assert here.run(restore.secrets, saved, store, replace=False) == []
    assert "has the backup's secrets" in here.host.noop_description
    store.merge({"one": "other-5ecret"})
    with pytest.raises(OperationError, match="has other values of one than the backup") as caught:
        fixed().run(restore.secrets, saved, store, replace=False)
    assert "5ecret" not in str(caught.value)
    (command,) = fixed().run(restore.secrets, saved, store, replace=True)
    assert isinstance(command, FunctionCommand)


def test_portainer_of_an_older_password_is_given_todays_by_the_next_run(
    site: Site, tmp_path: Path
) -> None:
    path, name = tmp_path / "secrets.json", "portainer_admin_password"
    older = backup_of(site, secrets=b'{"portainer_admin_password": "older-5ecret"}')
    store = SecretStore(path, {})
    assert fixed().run(restore.administrator, older, store) == [], "nothing is known today"
    store.merge({name: "todays-5ecret"})
    (command,) = fixed().run(restore.administrator, older, store)
    command.function(None, None)
    assert json.loads(path.read_text()) == {name: "older-5ecret", f"{name}.next": "todays-5ecret"}
    # What deploys/portainer.py does with a change that was begun.
    assert store.is_changing(name)
    assert store.propose(name).get_secret_value() == "todays-5ecret"
    assert fixed().run(restore.administrator, older, store) == []
    store.finish(name)
    assert json.loads(path.read_text()) == {name: "todays-5ecret"}
    todays = SecretStore(path, {"PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD": "given"})
    assert fixed().run(restore.administrator, older, todays) == [], "not Phoenix's to change"


def test_junk_from_a_host_is_no_state() -> None:
    with pytest.raises(FactProcessError, match="unexpected"):
        CaData().parse(["surprise"])


def test_tree_is_left_to_be_started_and_confirmed_later() -> None:
    files = {"/etc/demo": TreeFile("x")}
    tree = Tree(component="demo", files=files, unit="demo.service", confirm=9, start_later=True)
    commands = fixed(ConfigTree=TreeState()).run(config_tree, tree)
    assert len(commands) == 1, commands
    assert 'apply" install' in commands[0].get_raw_value()
    (command,) = fixed().run(secret_rotation.held, tree)
    assert command.get_raw_value().endswith(f"/trees/demo {tree.id} hold 60")
    (command,) = fixed().run(secret_rotation.started, tree)
    assert 'apply" load' in command.get_raw_value()


def test_what_was_put_in_place_by_a_killed_run_is_not_started_at_once() -> None:
    tree = Tree(
        component="demo",
        files={"/etc/demo": TreeFile("x")},
        unit="demo.service",
        confirm=9,
        start_later=True,
    )
    link = tree.link("/etc/demo")
    state = TreeState(
        current=f"{tree.id}.x",
        files={"/etc/demo": FileState("644", "root", "root", TreeFile("x").sha256, link)},
        units={"demo.service": UnitState("active", "enabled", stale=False)},
    )
    assert fixed(ConfigTree=state).run(config_tree, tree) == []
    assert len(fixed(ConfigTree=state).run(config_tree, replace(tree, start_later=False))) == 1


def test_a_tree_that_starts_later_goes_back_by_itself() -> None:
    with pytest.raises(TreeError, match="start_later needs a unit and confirm seconds"):
        Tree(component="demo", files={"/etc/demo": TreeFile("x")}, unit="a", start_later=True)


def test_backup_waits_for_the_end_of_a_rotation() -> None:
    source = collecting.Source("ca", "step-ca.service", "/etc/step-ca", ("certs",), "step-ca 1")
    rotating = CaState(rotation="root", phase="prepared")
    with pytest.raises(OperationError, match=r"root is being replaced.*rotate continue"):
        fixed(CertificateAuthority=rotating).run(collecting.collected, source)


def test_list_of_what_the_ca_issued_goes_into_the_backup(site: Site, tmp_path: Path) -> None:
    certificate = Issued(serial="5e7", names=("a.test",), not_before=0, not_after=1, key="k")
    collecting._collected.clear()
    here = fixed(IssuedCertificates=(certificate,))
    here.host.name = "step-ca"
    with ctx_state.use(here.state), ctx_host.use(here.host):
        collecting._list_issued("step-ca 1")
    cipher = backup.cipher([age.make_key(tmp_path / "key.txt")], None)
    parts = {"issued": collecting._collected["issued"].data}
    written = backup.make(site, collecting._collected.values(), created=datetime.now(UTC))
    path = backup.save(written, tmp_path, cipher, lambda _: None)
    assert backup.load(path, cipher.decrypt).parts == parts
    assert Issued.model_validate_json(parts["issued"]) == certificate


def test_backup_without_that_list_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    collecting._collected.clear()
    here = fixed(IssuedCertificates=Unknown())
    with ctx_state.use(here.state), ctx_host.use(here.host):
        collecting._list_issued("step-ca 1")
    assert not collecting._collected
    assert "no list of what the CA has issued" in caplog.text


def test_backup_is_one_command_that_does_nothing_before_it_is_run(site: Site) -> None:
    source = collecting.Source("ca", "step-ca.service", "/etc/step-ca", ("certs",), "step-ca 1")
    (command,) = fixed(CertificateAuthority=CaState()).run(collecting.collected, source)
    assert isinstance(command, FunctionCommand)
    here = fixed()
    assert here.run(collecting.written, site, ["ca"], Path("/x"), None, writer=False) == []
    assert here.host.noop_description == "the backup is written once"
