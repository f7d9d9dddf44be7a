"""`phoenix secrets init`, `export` and `import`: files, names, and no value in any output."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from phoenix.secrets import age, sops
from phoenix.secrets.store import SecretStore
from phoenix.site.secret_names import AGENT_SECRET
from tests.unit.project_copy import phoenix
from tests.unit.project_copy import project as project
from tests.unit.test_sops import install

PLANTED = "planted-5ecret-of-the-test"


@pytest.fixture
def home(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an operator who has secrets; the double of sops is on PATH."""
    home = project.parent / "home"
    install(project.parent / "bin", "double")
    monkeypatch.setenv("PATH", f"{project.parent / 'bin'}:{os.environ['PATH']}")
    for name in ("SOPS_AGE_KEY_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    SecretStore(home / ".config/phoenix/secrets.json", {}).merge({AGENT_SECRET: PLANTED})
    return home


def call(project: Path, *words: str | Path, code: int = 0) -> str:
    done = phoenix("secrets", *words, "-i", project / "inventories/phoenix.py")
    output = f"{done.output} {done.exception if code else ''}"
    assert done.exit_code == code, output
    assert PLANTED not in output
    return output


def test_init_puts_what_is_kept_into_a_file_for_git(project: Path, home: Path) -> None:
    output = call(project, "init")
    file, key = project / "secrets.sops.json", home / ".config/sops/age/keys.txt"
    assert str(age.public_key(key)) in output
    for path in (key, file, project / ".sops.yaml"):
        assert str(path) in output
        assert PLANTED not in path.read_text()
    assert "PHOENIX_SOPS_FILE" not in output, "the inventory names the file"
    listed = json.loads(call(project, "list", "--json"))
    assert {secret["name"]: secret["origin"] for secret in listed["secrets"]}[
        AGENT_SECRET
    ] == "sops"
    assert "nothing, all was there" in call(project, "init")


def test_init_with_a_file_by_name(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOENIX_SOPS_FILE", str(project / "other.json"))
    call(project, "init")
    assert not (project / "secrets.sops.json").exists()
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(home / ".config/sops/age/keys.txt"))
    assert sops.decrypt(project / "other.json") == {AGENT_SECRET: PLANTED}


def test_secrets_are_handed_to_a_second_operator(
    project: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = age.make_key(project.parent / "second/.config/sops/age/keys.txt")
    file = project.parent / "handed.age"
    assert AGENT_SECRET in call(project, "export", "--to", public, "--out", file)
    assert home.exists()
    monkeypatch.setenv("HOME", str(project.parent / "second"))
    output = call(project, "import", file)
    assert AGENT_SECRET in output
    store = project.parent / "second/.config/phoenix/secrets.json"
    assert json.loads(store.read_text()) == {AGENT_SECRET: PLANTED}
    assert store.stat().st_mode & 0o777 == 0o600
    assert "nothing, all was there" in call(project, "import", file)


@pytest.mark.usefixtures("home")
def test_a_file_that_is_not_there_is_named(project: Path) -> None:
    file = project.parent / "handed.age"
    assert f"{file} cannot be read: No such file or directory" in call(
        project, "import", file, code=1
    )


@pytest.mark.usefixtures("home")
def test_private_key_is_no_recipient(project: Path) -> None:
    key = project.parent / "key"
    age.make_key(key)
    output = call(project, "export", "--to", key.read_text().splitlines()[-1], code=1)
    assert "is a private key" in output
    assert "AGE-SECRET-KEY" not in output
