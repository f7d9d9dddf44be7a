"""A second operator's machine without the secrets: refused, then handed them, then in agreement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phoenix.secrets import age
from phoenix.site.secret_names import (
    ADMIN_PASSWORD,
    AGENT_SECRET,
    DASHBOARD_PASSWORD,
    PROXMOX_TOKEN,
)
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab

pytestmark = pytest.mark.timeout(900)
HELD = (ADMIN_PASSWORD, AGENT_SECRET, DASHBOARD_PASSWORD, "thinkheads_ai_app_database_pass")
STATE = {  # what a new value would change
    "traefik": "sha256sum /etc/traefik/dashboard.users",
    "portainer": "sha256sum /etc/phoenix/portainer/agent.env /etc/phoenix/portainer/admin_password",
    "drphoenix": "sha256sum /etc/phoenix/portainer/agent.env; docker ps -q --no-trunc | sort",
}


@pytest.fixture
def second(variant: Project, tmp_path: Path) -> tuple[Project, Path]:
    """The same project on a machine that has no store yet, and where its store would be."""
    store = tmp_path / "second" / "secrets.json"
    variant.replace(
        "inventories/lab.py", 'str(_lab.ssh_key.parent / "secrets.json")', repr(str(store))
    )
    return variant, store


def test_machine_without_the_secrets_is_refused_until_it_has_them(
    site: SiteLab, second: tuple[Project, Path], tmp_path: Path
) -> None:
    project, store = second
    before = {host: site.sh(host, command, ok=True).out for host, command in STATE.items()}
    # Proxmox VE's token is never generated: every operator is given it.
    token = {f"PHOENIX_SECRET_{PROXMOX_TOKEN.upper()}": site.secrets[PROXMOX_TOKEN]}
    for verb in ("plan", "sync"):
        done = project.phoenix(verb, "--json", environment=token)
        assert done.returncode == 1, done.stdout
        output = done.stdout + done.stderr
        assert "the site holds secrets that this machine lacks" in output, output
        assert [name for name in HELD if name not in output] == [], output
        assert not store.exists(), f"{verb} made secrets"
    after = {host: site.sh(host, command, ok=True).out for host, command in STATE.items()}
    assert after == before

    key, file = tmp_path / "keys.txt", tmp_path / "handed.age"
    public = age.make_key(key)
    handed = site.project.phoenix("secrets", "export", "--to", public, "--out", str(file))
    assert handed.returncode == 0, handed.stderr
    words = ("secrets", "import", str(file), "--identity", str(key))
    imported = project.phoenix(*words)
    assert imported.returncode == 0, imported.stderr
    for name in HELD:
        assert json.loads(store.read_text())[name] == site.secrets[name]
        assert site.secrets[name] not in handed.stdout + imported.stdout + file.read_text()
    plan = project.phoenix("plan", "--json")
    assert (plan.returncode, json.loads(plan.stdout)["changes"]) == (0, []), plan.stdout


def test_new_secret_of_a_stack_that_runs_is_made(
    site: SiteLab, second: tuple[Project, Path]
) -> None:
    """Portainer tells which variables a stack has: only those are held."""
    project, store = second
    store.parent.mkdir(mode=0o700)
    store.write_text(json.dumps(site.secrets))
    store.chmod(0o600)
    manifest = "stacks/qdrant_service/phoenix.json"
    content = project.json(manifest)
    for environment in content["environments"].values():
        variables = environment.setdefault("variables", [])
        variables.append({"name": "PHOENIX_IT_KEY", "secret": "QDRANT_SERVICE_IT_KEY"})
    project.write_json(manifest, content)
    plan = project.phoenix("plan", "stack:qdrant_service", "--json")
    assert plan.returncode == 2, plan.stdout + plan.stderr
    changes = json.loads(plan.stdout)["changes"]
    assert any("qdrant_service_it_key" in change["step"] for change in changes), changes
    assert json.loads(store.read_text()) == site.secrets, "a plan keeps nothing"


def test_a_machine_that_was_away_while_a_secret_was_rotated(
    site: SiteLab, second: tuple[Project, Path], tmp_path: Path
) -> None:
    """Its older value would be deployed over the newer one, by a run that says converged."""
    project, store = second
    store.parent.mkdir(mode=0o700)
    store.write_text(json.dumps(site.secrets))
    store.chmod(0o600)
    former = site.secrets[DASHBOARD_PASSWORD]
    clean = project.phoenix("plan", "traefik", "--json")
    assert clean.returncode == 0, clean.stdout
    rotated = site.project.phoenix("secrets", "rotate", DASHBOARD_PASSWORD)
    assert rotated.returncode == 0, rotated.stdout + rotated.stderr
    newer = site.secrets[DASHBOARD_PASSWORD]
    assert newer != former
    users = site.sh("traefik", STATE["traefik"], ok=True).out
    for verb in ("plan", "sync"):
        done = project.phoenix(verb, "traefik", "--json")
        output = done.stdout + done.stderr
        assert done.returncode == 1, output
        assert "this machine has older values of secrets than the site" in output, output
        assert f"{DASHBOARD_PASSWORD}: the site has another one since" in output, output
        assert "phoenix secrets import FILE --replace" in output, output
        assert former not in output
    assert site.sh("traefik", STATE["traefik"], ok=True).out == users
    runs = json.loads(site.project.phoenix("history", "--json").stdout)["runs"]
    assert runs[-1]["end"]["result"] == "refused", runs[-1]
    assert DASHBOARD_PASSWORD in runs[-1]["end"]["reason"], runs[-1]
    mode = site.sh("hypervisor", "stat -c %a /var/lib/phoenix/secrets.json", ok=True).out.strip()
    assert mode == "600"
    text = site.sh("hypervisor", "cat /var/lib/phoenix/secrets.json", ok=True).out
    assert newer not in text
    assert former not in text

    key, file = tmp_path / "keys.txt", tmp_path / "handed.age"
    public = age.make_key(key)
    handed = site.project.phoenix("secrets", "export", "--to", public, "--out", str(file))
    assert handed.returncode == 0, handed.stderr
    imported = project.phoenix("secrets", "import", str(file), "--identity", str(key), "--replace")
    assert imported.returncode == 0, imported.stderr
    plan = project.phoenix("plan", "--json")
    assert (plan.returncode, json.loads(plan.stdout)["changes"]) == (0, []), plan.stdout
