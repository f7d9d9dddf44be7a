from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from pydantic import SecretStr

from phoenix import bounded
from phoenix.secrets import catalog
from phoenix.secrets.errors import SecretError
from phoenix.secrets.store import SecretStore, htpasswd
from tests.unit.site_builder import minimal

PLANTED = "planted-5ecret"


def store(tmp_path: Path, **environment: str) -> SecretStore:
    return SecretStore(tmp_path / "deep/secrets.json", environment)


def generated_and_kept(secret_store: SecretStore, name: str, value: str | None = None) -> str:
    """A secret that is generated, and kept as a run does it."""
    generated = secret_store.get(name, lambda: value) if value else secret_store.get(name)
    secret_store.keep(name)
    return generated.get_secret_value()


def test_generated_once_and_kept_for_the_owner_alone(tmp_path: Path) -> None:
    first = generated_and_kept(store(tmp_path), "one")
    assert len(first) >= 32, first
    assert store(tmp_path).get("one").get_secret_value() == first
    assert generated_and_kept(store(tmp_path), "two") != first
    path = tmp_path / "deep/secrets.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["secrets.json"]


def test_order_of_the_sources(tmp_path: Path, sops: Callable[[str], Path]) -> None:
    secret_store = store(tmp_path)
    assert generated_and_kept(secret_store, "name", "from store") == "from store"
    file = tmp_path / "file"
    file.write_text("from file\n")
    environment = {"PHOENIX_SOPS_FILE": str(sops(json.dumps({"name": "from sops"})))}
    assert _found_value(tmp_path, environment) == "from sops"
    environment["PHOENIX_SECRET_NAME_FILE"] = str(file)
    assert _found_value(tmp_path, environment) == "from file"
    environment["PHOENIX_SECRET_NAME"] = "from environment"
    assert _found_value(tmp_path, environment) == "from environment"
    assert json.loads((tmp_path / "deep/secrets.json").read_text()) == {"name": "from store"}


def _found_value(tmp_path: Path, environment: dict[str, str]) -> str:
    secret = store(tmp_path, **environment).find("name")
    assert secret is not None
    return secret.get_secret_value()


def test_the_store_is_read_once_and_again_when_it_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret_store = store(tmp_path)
    generated_and_kept(secret_store, "first")
    reads: list[Path] = []
    original = bounded.read

    def counted(path: Path) -> bytes:
        reads.append(path)
        return original(path)

    monkeypatch.setattr(bounded, "read", counted)
    for _ in range(3):
        secret_store.find("first")
        secret_store.values()
    assert len(reads) == 1
    second = SecretStr(generated_and_kept(store(tmp_path), "second"))  # another process adds one
    assert secret_store.find("second") == second
    generated_and_kept(secret_store, "third")
    assert secret_store.find("second") == second, "what others added is kept"


def test_what_is_generated_is_kept_only_when_asked(tmp_path: Path) -> None:
    secret_store = store(tmp_path)
    value = secret_store.get("one")
    assert secret_store.get("one") == value, "each host is told the same"
    assert secret_store.find("one") is None
    assert list(tmp_path.iterdir()) == [], "a plan leaves nothing"
    assert value.get_secret_value() not in repr(secret_store)
    assert secret_store.keep("one") is True
    assert secret_store.keep("one") is False
    assert secret_store.find("one") == value
    assert store(tmp_path).find("one") == value


def test_value_that_another_process_kept_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    slow = store(tmp_path)
    slow.get("one")
    first = generated_and_kept(store(tmp_path), "one")
    with pytest.raises(SecretError, match="one was made elsewhere"):
        slow.keep("one")
    assert stored(tmp_path) == {"one": first}


def test_a_secret_may_be_called_a_file_itself(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("from file\n")
    secret_store = store(
        tmp_path,
        PHOENIX_SECRET_WIKI_FILE="a value",
        PHOENIX_SECRET_DOOR_FILE=str(tmp_path / "kept"),
    )
    known = {value.get_secret_value() for value in secret_store.values()}
    assert known == {"a value", "from file"}
    secret = secret_store.find("wiki_file")
    assert secret is not None
    assert secret.get_secret_value() == "a value"


def test_find_makes_nothing(tmp_path: Path) -> None:
    assert store(tmp_path).find("name") is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def sops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A `sops` that "decrypts" by printing the file; a file named "locked" it cannot open."""
    program = tmp_path / "bin/sops"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nfor file; do :; done\n"
        'case $file in *locked) echo "no key" >&2; exit 128 ;; esac\ncat "$file"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def write(text: str) -> Path:
        (tmp_path / "sops.json").write_text(text)
        return tmp_path / "sops.json"

    return write


def _refusal(tmp_path: Path, **environment: str) -> str:
    with pytest.raises(SecretError) as caught:
        store(tmp_path, **environment).find("name")
    return f"{caught.value} {caught.value.__cause__}"


def test_unreadable_sources_are_named_without_their_content(
    tmp_path: Path, sops: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = _refusal(tmp_path, PHOENIX_SECRET_NAME_FILE=str(tmp_path / "absent"))
    assert "PHOENIX_SECRET_NAME_FILE" in message, message
    assert str(tmp_path / "absent") in message, message
    for text in (f'{{"name": "{PLANTED}"', f'["{PLANTED}"]', f'{{"name": {{"x": "{PLANTED}"}}}}'):
        message = _refusal(tmp_path, PHOENIX_SOPS_FILE=str(sops(text)))
        assert "must hold one flat object of strings" in message, message
        assert PLANTED not in message, message
    message = _refusal(tmp_path, PHOENIX_SOPS_FILE=str(tmp_path / "locked"))
    assert "cannot decrypt" in message, message
    assert "no key" in message, message
    monkeypatch.setenv("PATH", str(tmp_path))
    message = _refusal(tmp_path, PHOENIX_SOPS_FILE=str(tmp_path / "any"))
    assert "sops is not installed here" in message, message


def test_store_that_others_can_read_is_refused(tmp_path: Path) -> None:
    generated_and_kept(store(tmp_path), "name")
    (tmp_path / "deep/secrets.json").chmod(0o640)
    message = _refusal(tmp_path)
    assert f"chmod 600 {tmp_path / 'deep/secrets.json'}" in message, message


@pytest.mark.parametrize("name", ["", "A", "a-b", "a/b", "1a", "a\n"])
def test_names_that_are_no_words_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecretError, match="is not a secret's name"):
        store(tmp_path).get(name)


def test_secret_shows_itself_nowhere() -> None:
    secret = SecretStr(PLANTED)
    assert secret.get_secret_value() == PLANTED
    for text in (str(secret), repr(secret), f"{secret}", f"{[secret]}", "%s" % secret):  # noqa: UP031
        assert PLANTED not in text, text


@pytest.mark.parametrize("password", ["short", "with blank ü", "x" * 100])
def test_htpasswd_is_stable_and_opens_with_the_password_alone(password: str) -> None:
    line = htpasswd("admin", SecretStr(password))
    assert line == htpasswd("admin", SecretStr(password)), "a new salt would be a change every run"
    user, _, digest = line.rstrip("\n").partition(":")
    assert user == "admin"
    assert bcrypt.checkpw(password.encode()[:72], digest.encode())
    assert not bcrypt.checkpw(b"wrong", digest.encode())
    assert htpasswd("other", SecretStr(password)).partition(":")[2] != f"{digest}\n", (
        "salt per user"
    )


# -- changing secrets --------------------------------------------------------------------------


def stored(tmp_path: Path) -> dict[str, str]:
    data: dict[str, str] = json.loads((tmp_path / "deep/secrets.json").read_text())
    return data


def test_a_proposed_value_counts_in_this_process_and_is_kept_only_when_begun(
    tmp_path: Path,
) -> None:
    old = generated_and_kept(store(tmp_path), "one")
    changing = store(tmp_path)
    new = changing.propose("one").get_secret_value()
    assert new != old
    assert changing.propose("one").get_secret_value() == new, "each host is told the same"
    for look in (changing.find, changing.get, changing.propose):
        secret = look("one")
        assert secret is not None
        assert secret.get_secret_value() == new
    present = changing.present("one")
    assert present is not None
    assert present.get_secret_value() == old
    assert stored(tmp_path) == {"one": old}
    changing.begin("one")
    assert stored(tmp_path) == {"one": old, "one.next": new}
    # The process that began it was killed: the next one goes on with the same candidate.
    assert not store(tmp_path, PHOENIX_SECRET_ONE="given").is_changing("one")
    other = store(tmp_path)
    assert other.is_changing("one")
    assert other.get("one").get_secret_value() == old
    assert other.propose("one").get_secret_value() == new
    other.finish("one")
    assert stored(tmp_path) == {"one": new}
    assert not other.is_changing("one")
    assert PLANTED not in repr(store(tmp_path, PHOENIX_SECRET_ONE=PLANTED))


def test_candidates_are_no_secrets_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="not a secret's name"):
        store(tmp_path).find("one.next")


def test_origins(tmp_path: Path, sops: Callable[[str], Path]) -> None:
    generated_and_kept(store(tmp_path), "stored")
    (tmp_path / "file").write_text("x")
    secret_store = store(
        tmp_path,
        PHOENIX_SECRET_GIVEN="x",
        PHOENIX_SECRET_READ_FILE=str(tmp_path / "file"),
        PHOENIX_SOPS_FILE=str(sops(json.dumps({"locked": "x"}))),
    )
    names = ("given", "read", "locked", "stored", "nowhere")
    origins = [secret_store.origin(name) for name in names]
    assert origins == ["environment", "file", "sops", "store", "absent"]


def test_merge_adds_what_is_missing_and_keeps_a_store_that_differs(tmp_path: Path) -> None:
    target = store(tmp_path)
    assert target.dump() is None
    assert target.merge({"one": "a"}) is None
    assert target.differences({"one": "a", "two": "b"}) == (["two"], [])
    assert target.merge({"one": "a", "two": "b"}) is None
    assert target.differences({"one": "other", "three": "c"}) == (["three"], ["one"])
    aside = target.merge({"one": "other", "three": "c"})
    assert aside is not None
    assert json.loads(aside.read_text()) == {"one": "a", "two": "b"}
    assert aside.stat().st_mode & 0o777 == 0o600
    assert stored(tmp_path) == {"one": "other", "two": "b", "three": "c"}
    assert json.loads(target.dump() or b"") == stored(tmp_path)


@pytest.mark.parametrize("value", ["", "pass\r", "two\nlines", "nul\0"])
def test_what_nobody_could_type_is_no_password(tmp_path: Path, value: str) -> None:
    """A file with Windows' line ends gives a carriage return, with which nobody could log in."""
    declared = minimal()
    declared.lxc["site"] = {"login": {"user": "admin", "sudo": True, "sudo_password": "of_admin"}}
    declared.lxc["external_services"] = [
        {"name": "nas", "address": "192.168.7.5", "port": 443,
         "basic_auth": [{"user": "anna", "secret": "OF_ANNA"}]},
    ]  # fmt: skip
    uses = {use.name: use for use in catalog.uses(declared.load(tmp_path))}
    for name in ("of_admin", "of_anna", "traefik_dashboard_password", "proxmox_api_token",
                 "portainer_agent_secret"):  # fmt: skip
        uses[name].check("a password of one line, é")
        with pytest.raises(SecretError, match=name) as refused:
            uses[name].check(value)
        assert not value or value not in str(refused.value)
