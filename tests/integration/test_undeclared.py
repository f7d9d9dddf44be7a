"""What leaves the declaration is reported and removed: verbs name whatever is left.

Looked at by Docker, by Portainer's API and in the file system, not by what the project says.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab

VMS = "inventories/phoenix_vm_configs.json"
TREES = "/var/lib/phoenix/trees"


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> Iterator[PortainerLab]:
    """The converged lab; after the module a run puts everything back."""
    lab = PortainerLab(site)
    yield lab
    run = site.project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    lab.assert_serving()


def report_of(done: subprocess.CompletedProcess[str]) -> Any:
    """A command's JSON."""
    assert done.stdout, f"exit {done.returncode}, no output:\n{done.stderr}"
    return json.loads(done.stdout)


def undeclared(project: Project) -> tuple[int, list[tuple[str, str, str]]]:
    """Exit code of a plan, and kind, name and command of what it tells as undeclared."""
    done = project.phoenix("plan", "--json")
    plan = report_of(done)
    assert plan["changes"] == [], plan["changes"]
    assert plan["undeclared"]["unknown"] == [], plan["undeclared"]
    items = [item for item in plan["undeclared"]["items"] if not item["kept"]]
    return done.returncode, [(item["kind"], item["name"], item["command"]) for item in items]


def without_stack(project: Project, name: str) -> None:
    """Take a stack out of the declaration of the one host that has it."""
    declared = project.json(VMS)
    for guest in declared["vms"]:
        stacks = guest.get("docker_stacks", [])
        guest["docker_stacks"] = [stack for stack in stacks if stack["name"] != name]
    project.write_json(VMS, declared)


def volumes(lab: PortainerLab, project: str) -> list[str]:
    label = f"label=com.docker.compose.project={project}"
    return lab.site.sh(lab.agent, f"docker volume ls -q --filter {label}", ok=True).out.split()


def sync(project: Project) -> Any:
    done = project.phoenix("sync", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return report_of(done)


def test_a_site_as_declared_has_nothing_undeclared(lab_: PortainerLab) -> None:
    assert undeclared(lab_.site.project) == (0, [])


def test_what_a_person_started_is_left_alone(lab_: PortainerLab) -> None:
    label = "com.docker.compose.project=by-hand"
    image = lab_.container_of(lab_.app).image
    lab_.site.sh(
        lab_.agent,
        f"docker create --name by-hand --label {label} --label "
        f"com.docker.compose.project.working_dir=/root/by-hand {image}",
        ok=True,
    )
    try:
        assert undeclared(lab_.site.project) == (0, [])
        status = report_of(lab_.site.project.phoenix("status", "--no-drift", "--json"))
        (foreign,) = status["undeclared"]["foreign"]
        assert (foreign["project"], foreign["deployer"]) == ("by-hand", "hand")
        done = lab_.site.project.phoenix("remove", "by-hand", "-y")
        assert (done.returncode, "nothing was removed" in done.stdout) == (0, True), done.stderr
        assert "by-hand" in lab_.site.sh(lab_.agent, "docker ps -a --format '{{.Names}}'").out
    finally:
        lab_.site.sh(lab_.agent, "docker rm -f by-hand", ok=True)


def test_a_removed_service_is_told_removed_and_keeps_its_data(
    lab_: PortainerLab, variant: Project
) -> None:
    name = lab_.qdrant
    volumes_before = volumes(lab_, name)
    assert volumes_before, "without a volume this test proves less"
    refused = variant.phoenix("remove", name, "-y")
    assert refused.returncode == 1
    assert f"{name} is still declared, at phoenix_vm_configs.json: vms[" in refused.stderr

    without_stack(variant, "qdrant_service")
    summary = sync(variant)
    items = summary["undeclared"]["items"]
    (item,) = [candidate for candidate in items if not candidate["kept"]]
    assert (item["kind"], item["name"], item["host"]) == ("stack", name, lab_.agent)
    kept_ones = [(item["kind"], item["name"]) for item in items if item["kept"]]
    assert kept_ones == [("secret", "qdrant_service_api_key")]
    assert any(volumes_before[0] in word for word in item["holds"]), item
    assert lab_.containers(name), "a sync removes nothing"
    assert undeclared(variant) == (2, [("stack", name, f"phoenix remove {name}")])
    status = variant.phoenix("status", "--no-drift")
    assert status.returncode == 2, status.stdout + status.stderr
    assert f"phoenix remove {name}" in status.stdout

    asked = variant.phoenix("remove", name)
    assert (asked.returncode, bool(lab_.containers(name))) == (1, True), asked.stderr
    assert "give -y" in asked.stderr
    done = variant.phoenix("remove", name, "-y", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab_.containers(name) == {}
    assert name not in [row["Name"] for row in lab_.get("/stacks")]
    networks = f"docker network ls -q --filter label=com.docker.compose.project={name}"
    assert lab_.site.sh(lab_.agent, networks, ok=True).out == ""
    assert volumes(lab_, name) == volumes_before
    assert undeclared(variant) == (0, [])
    commands = [
        run["start"]["command"] for run in report_of(variant.phoenix("history", "--json"))["runs"]
    ]
    assert f"phoenix remove {name}" in commands

    again = variant.phoenix("remove", name, "-y")
    assert again.returncode == 0
    assert f"phoenix remove {name} --volumes" in again.stdout
    gone = variant.phoenix("remove", name, "--volumes", "-y")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert volumes(lab_, name) == []
    last = variant.phoenix("remove", name, "--volumes", "-y")
    assert (last.returncode, "nothing was removed" in last.stdout) == (0, True), last.stdout


def test_a_renamed_host_leaves_nothing(lab_: PortainerLab, variant: Project) -> None:
    before = [container.id for container in lab_.containers(lab_.app).values()]
    declared = variant.json(VMS)
    (guest,) = [candidate for candidate in declared["vms"] if candidate["name"] == lab_.agent]
    guest["name"] = guest["portainer_environment_name"] = "renamed"
    variant.write_json(VMS, declared)
    sync(variant)
    assert undeclared(variant) == (0, [])
    assert [row["Name"] for row in lab_.get("/endpoints")] == ["renamed"]
    after = [container.id for container in lab_.containers(lab_.app).values()]
    assert after == before, "it restarts for its new certificate, and is not made anew"


def test_a_removed_guest_is_cleaned_while_it_answers(lab_: PortainerLab, variant: Project) -> None:
    """With its stacks, agent, certificate and its renewal, and what Portainer has of it."""
    sync(lab_.site.project)  # under its own name, whatever the test before called it
    declared = variant.json(VMS)
    declared["vms"] = [
        guest_entry for guest_entry in declared["vms"] if guest_entry["name"] != lab_.agent
    ]
    variant.write_json(VMS, declared)
    for folder in (variant.path / "stacks").iterdir():
        if (folder / "phoenix.json").exists():
            (folder / "phoenix.json").rename(folder / "phoenix.json.gone")
    sync(variant)
    code, items = undeclared(variant)
    # Without any agent, what Portainer's server had for its agents is left there, too.
    others = [item for item in items if item[0] == "component"]
    assert code == 2
    assert [item for item in items if item not in others] == [
        ("host", lab_.agent, f"phoenix remove {lab_.agent}")
    ]
    data = volumes(lab_, lab_.app) + volumes(lab_, lab_.qdrant)

    done = variant.phoenix("remove", lab_.agent, "-y", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    sh = lab_.site.sh
    assert sh(lab_.agent, "docker ps -aq", ok=True).out == ""
    assert volumes(lab_, lab_.app) + volumes(lab_, lab_.qdrant) == data
    left = sh(lab_.agent, f"ls -A {TREES} /etc/phoenix/tls 2>/dev/null").out
    assert {word for word in left.split() if not word.endswith(":")} <= {
        "base", "docker", "ssh", "trust"} - {"docker"}, left  # fmt: skip
    units = sh(lab_.agent, "systemctl list-units --all --plain --no-legend 'phoenix-*'").out
    assert [line for line in units.splitlines() if not line.startswith("phoenix-lab-")] == []
    assert "phoenix-agent" not in sh(lab_.agent, "iptables -S DOCKER-USER").out
    assert lab_.get("/endpoints") == []
    assert lab_.get("/stacks") == []
    for _, _, command in others:
        done = variant.phoenix(*command.split()[1:], "-y")
        assert done.returncode == 0, done.stdout + done.stderr
    assert undeclared(variant) == (0, [])
    again = variant.phoenix("remove", lab_.agent, "-y")
    assert (again.returncode, "nothing was removed" in again.stdout) == (0, True), again.stdout
