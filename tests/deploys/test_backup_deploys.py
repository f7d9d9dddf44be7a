"""backup, restore and secrets_rotate as whole deploys, against a recorder that is no real host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operations import trust
from phoenix import backup
from phoenix.components.step_ca.authority import FILES
from phoenix.components.step_ca.issuance import TEMPLATE
from phoenix.declaration import inventory
from phoenix.secrets import client_certificate
from phoenix.secrets.store import SecretStore
from phoenix.site.secret_names import ISSUANCE_KEY
from tests.deploys.recorder import ROOT, Run, run
from tests.unit.test_backup import CREATED, archive
from tests.unit.test_backup import ca as ca

PLANTED = "planted-5ecret-of-the-test"
KEPT = {"one": PLANTED, ISSUANCE_KEY: "key-of-proofs-from-before-the-loss"}
CA, SERVER, AGENT, TRAEFIK = "step-ca", "portainer", "drphoenix", "traefik-internal"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """A CA that one test tells of is none for others of this process."""
    yield
    trust.forget()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An SSH key: its private file, and its public half."""
    key = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return key, key.with_suffix(".pub").read_text()


@pytest.fixture(scope="module")
def file(
    ca: dict[str, bytes], keys: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A backup of the repository's own site."""
    site = inventory.load(ROOT / "inventories", ROOT / "stacks", environment="production")
    parts = [
        backup.Part("ca", CA, "step-ca 1", archive(ca)),
        backup.Part("portainer", SERVER, "portainer 1", archive({"./portainer.key": b"key"})),
        backup.Part("secrets", "here", "phoenix", json.dumps(KEPT).encode()),
    ]
    created = backup.make(site, parts, created=CREATED)
    place = tmp_path_factory.mktemp("backups")
    return backup.save(created, place, backup.cipher([keys[1]], None), lambda _: None)


def restored(file: Path, keys: tuple[Path, str], tmp_path: Path, **data: Any) -> Run:
    return run(
        "restore", tmp_path / "store/secrets.json",
        restore_from=str(file), restore_identity=str(keys[0]), **data,
    )  # fmt: skip


def own(done: Run, word: str) -> list[str]:
    return [name for name in done.operations if name.startswith(word)]


# -- backup ------------------------------------------------------------------------------------


def test_backup_reads_both_guests_and_writes_nothing_incomplete(
    keys: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The recorder answers with nothing, which is no copy."""
    to = tmp_path / "to"
    result = run(
        "backup", tmp_path / "secrets.json", backup_to=str(to), backup_recipients=[keys[1]]
    )
    assert result.operations == ["Backup: the CA", "Backup: Portainer", "Backup: encrypted file"]
    asked = {sent.host: sent.command for sent in result.sent if "backup-collect" in sent.command}
    assert set(asked) == {CA, SERVER}
    assert asked[CA].endswith("step-ca.service 1048576 /etc/step-ca certs secrets db")
    assert asked[SERVER].endswith("phoenix-portainer.service 1048576 portainer_data .")
    assert result.failed == {CA}
    assert not to.exists() or list(to.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "nobody could open the backup: make a key with `age-keygen"),
        ({"backup_recipients": "age1x,age1y"}, "backup_recipients, entry 1"),
        ({"backup_parts": "ca,database"}, "there is no part 'database'"),
    ],
)
def test_backup_that_cannot_be_made_ends_before_a_host_is_touched(
    tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    refused(lambda: run("backup", tmp_path / "s.json", backup_to="/x", **data), message)


def test_backup_needs_a_directory(keys: tuple[Path, str], tmp_path: Path) -> None:
    refused(
        lambda: run("backup", tmp_path / "s.json", backup_recipients=[keys[1]]),
        "backup_to is missing",
    )


# -- restore -----------------------------------------------------------------------------------


def test_restore_puts_each_part_in_its_place(
    file: Path, keys: tuple[Path, str], tmp_path: Path, ca: dict[str, bytes]
) -> None:
    root = ca["certs/root_ca.crt"].decode().splitlines()
    state = [f"mode 600 {name}" for name in FILES]
    state += ["yes opens", "yes matches", "yes chains", *(f"root {line}" for line in root)]
    answers = {"find certs secrets rotation": lambda _: state}
    result = restored(file, keys, tmp_path, responses=answers)
    assert own(result, "Restore: ") == [
        "Restore: generated secrets", "Restore: the CA", "Restore: Portainer",
    ]  # fmt: skip
    names = [name.rpartition(" | ")[2] for name in result.operations]
    assert names.index("Restore: the CA") < names.index("Step-CA: keys and certificates")
    assert names.index("Docker: daemon") < names.index("Restore: Portainer")
    puts = {s.host: s for s in result.sent if " restore_" in s.command}
    assert set(puts) == {CA, SERVER}
    for sent in result.sent:
        assert PLANTED not in sent.command + sent.stdin
    store = tmp_path / "store/secrets.json"
    assert json.loads(store.read_text()) == KEPT
    (leaf,) = [s.files()[TEMPLATE] for s in result.sent if TEMPLATE in s.files()]
    assert KEPT[ISSUANCE_KEY] in leaf, "the CA asks for the proofs that the guests have"
    assert store.stat().st_mode & 0o777 == 0o600


def test_restore_without_the_ca_makes_no_new_one(
    file: Path, keys: tuple[Path, str], tmp_path: Path
) -> None:
    result = restored(file, keys, tmp_path, restore_parts="portainer")
    assert own(result, "Restore: ") == ["Restore: Portainer", "Restore: Portainer's password"]
    assert not any("step_ca" in name or "trust" in name for name in result.operations)
    assert not any("step-ca-init" in sent.command for sent in result.sent)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"restore_from": "/nonexistent.age"}, "the backup cannot be read"),
        ({"restore_identity": ""}, "nothing is given to open the backup with"),
        ({"restore_parts": "everything"}, "there is no part 'everything'"),
        ({"restore_replace": "perhaps"}, "write true or false"),
    ],
)
def test_restore_that_cannot_be_done_ends_before_a_host_is_touched(
    file: Path, keys: tuple[Path, str], tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    options = {"restore_from": str(file), "restore_identity": str(keys[0]), **data}
    refused(lambda: run("restore", tmp_path / "s.json", **options), message)


@pytest.mark.parametrize(
    ("where", "state", "message"),
    [
        ("ca-here", ["there", "identity other"], "holds something else than the CA"),
        ("portainer_data", ["there"], "holds something else than the server"),
    ],
)
def test_others_data_are_refused_before_a_host_is_touched(
    file: Path, keys: tuple[Path, str], tmp_path: Path, where: str, state: list[str], message: str
) -> None:
    """Also under -y, when no operation is looked at before the first is run."""
    refused(lambda: restored(file, keys, tmp_path, responses={where: lambda _: state}), message)
    assert not (tmp_path / "store/secrets.json").exists()


def test_other_secrets_are_refused_unseen(
    file: Path, keys: tuple[Path, str], tmp_path: Path
) -> None:
    SecretStore(tmp_path / "store/secrets.json", {}).merge({"one": "other"})
    refused(lambda: restored(file, keys, tmp_path), "has other values of one than the backup")


# -- rotation ----------------------------------------------------------------------------------


def stored(store: Path, *names: str) -> dict[str, str]:
    """A store with these secrets; each has a value that Portainer would take."""
    values = {name: f"present-{name}" for name in names}
    store.write_text(json.dumps(values))
    store.chmod(0o600)
    return values


@pytest.mark.parametrize(
    ("name", "operations", "hosts"),
    [
        ("traefik_dashboard_password", ["Secrets: new values"], {TRAEFIK}),
        ("thinkheads_ai_app_database_pass", ["Secrets: new values"], {AGENT}),
        ("portainer_admin_password", ["Portainer: new password"], {SERVER, AGENT}),
        (ISSUANCE_KEY, ["Secrets: new values"], {CA, TRAEFIK, "nginx-phoenix", SERVER, AGENT}),
    ],
)
def test_a_change_goes_where_the_secret_is_known(
    tmp_path: Path, name: str, operations: list[str], hosts: set[str]
) -> None:
    store = tmp_path / "secrets.json"
    before = stored(store, name)
    result = run("secrets_rotate", store, execute=False, secrets_rotate=name)
    assert result.operations[: len(operations)] == operations
    touched = {host for name in result.operations[1:] for host in result.changed[name]}
    assert touched <= hosts, result.changed
    assert json.loads(store.read_text()) == before, "a plan that is not run keeps nothing"


def test_no_request_comes_between_the_restarts_of_both_sides_of_the_agent_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD", PLANTED)
    store = tmp_path / "secrets.json"
    stored(store, "portainer_agent_secret")
    result = run("secrets_rotate", store, execute=False, secrets_rotate="portainer_agent_secret")
    changed, held, agents, starts, asked, outcome, *_ = result.operations
    assert (changed, held, agents, starts, asked, outcome) == (
        "Agent secret: new files at server and agents, to be confirmed",
        "Agent secret: requests wait for Portainer's server",
        "Agent secret: agents restart",
        "Agent secret: Portainer's server starts",
        "Agent secret: does the server reach the agents",
        "Agent secret: keep or undo",
    )
    assert set(result.changed[changed]) == {SERVER, AGENT}
    assert set(result.changed[outcome]) == {SERVER, AGENT}
    assert [result.changed[name] for name in (held, agents, starts, asked)] == [
        [SERVER], [AGENT], [SERVER], [SERVER]
    ]  # fmt: skip


def test_secrets_that_cannot_be_changed_end_the_run(tmp_path: Path) -> None:
    for name, message in (
        ("step_ca_password", "cannot be changed by Phoenix"),
        ("nonsense", "there is no secret 'nonsense'"),
        ("", "secrets_rotate is missing"),
    ):
        refused(partial(run, "secrets_rotate", tmp_path / "s.json", secrets_rotate=name), message)


def refused(attempt: Callable[[], Run], message: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        attempt()
    output = f"{caught.value.args} {vars(caught.value)}"
    assert message in output.replace('"', "'").replace("\\'", "'"), output
    assert PLANTED not in output


@pytest.mark.parametrize("lost", [False, True])
def test_gateway_s_certificate_is_known_before_it_is_presented(tmp_path: Path, lost: bool) -> None:
    """Traefik knows both, the gateway presents the new one, Traefik forgets the former."""
    store = tmp_path / "secrets.json"
    if not lost:
        store.write_text(json.dumps({"gateway_client_certificate": client_certificate.generate()}))
        store.chmod(0o600)
    result = run(
        "secrets_rotate", store, execute=False,
        secrets_rotate="gateway_client_certificate", secrets_lost=str(lost).lower(),
    )  # fmt: skip
    both = [
        "Admission: the gateway presents the former certificate or the new one",
        "Admission: Traefik lets in the former certificate or the new one",
        "Admission: each Traefik lets in the new certificate",
    ]
    steps = [name.rpartition("| ")[2] for name in result.operations]
    assert [step for step in steps if step.startswith("Admission: ")] == [
        "Admission: a new certificate is begun",
        *([] if lost else both),
        "Admission: the gateway presents the new certificate",
        "Admission: the gateway presents the new certificate alone",
        "Admission: Traefik lets in the new certificate alone",
        "Admission: the former certificate is forgotten",
    ]
