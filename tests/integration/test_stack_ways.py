"""Stacks that no agent deploys: on Portainer's own guest, and on a host by its own compose.

Looked at by Docker in the guests, by Portainer's API and by curl, never by our code.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator

import pytest

from phoenix.components.portainer.compose_files import DIRECTORY
from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project, Run, deadline_factor
from tests.integration.site_lab import SiteLab
from tests.integration.test_stacks import plan_of

VM = "inventories/phoenix_vm_configs.json"
STACKS = "deploys/stacks.py"
PORT = 8765
PROJECT = "probe-production"
FILES = f"/etc/phoenix/compose/{PROJECT}"
HOSTILE = {
    "DOLLARS": "pa$$w0rd$x and ${HOME}", "COMMENT": "abc #def", "QUOTES": "'it\"s' q",
    "BLANKS": "  lead and trail ", "LINES": "one\ntwo", "PATH_": "/x",
}  # fmt: skip
COMPOSE = """services:
  web:
    image: "{image}"
    init: true
    restart: unless-stopped
    command: ["python3", "-c", "{program}"]
    ports: ["{port}:{port}"]
    environment: {environment}
    volumes: ["kept:/kept"]
    healthcheck:
      test: ["CMD", "python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/')"]
      interval: 1s
      timeout: 3s
      retries: 3
      start_period: 20s
  job:
    image: "{image}"
    command: ["true"]
    restart: "no"
volumes:
  kept:
"""
SERVE = (
    "import http.server as h, os; os.chdir('/etc'); "
    "h.ThreadingHTTPServer(('', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
)
LAST_WORDS = "it-43: nothing to serve"
FAIL = "import sys; sys.exit('{words}')"


def probe(lab: PortainerLab, project: Project, *, program: str = SERVE, mark: str = "1") -> None:
    """The stack, with variables that have every character that shells and files give a meaning."""
    folder = project.path / "stacks/probe"
    folder.mkdir(exist_ok=True)
    variables = [{"name": name, "value": value} for name, value in HOSTILE.items()]
    variables += [{"name": "SECRET", "secret": "probe_secret"}, {"name": "MARK", "value": mark}]
    names = [*HOSTILE, "SECRET", "MARK"]
    environment = json.dumps({name: f"${{{name}}}" for name in names})
    text = program.format(port=PORT, words=LAST_WORDS).replace('"', '\\"')
    compose = COMPOSE.format(
        image=lab.site.state.images["app"], program=text, port=PORT, environment=environment
    )
    (folder / "docker-compose.yml").write_text(compose)
    manifest = {"name": "probe", "environments": {"production": {"variables": variables}}}
    project.write_json("stacks/probe/phoenix.json", manifest)


def edit_guest(project: Project, vmid: int, **keys: object) -> None:
    """Set keys of a VM; None removes one."""
    declared = project.json(VM)
    for entry in declared["vms"]:
        if entry["vmid"] == vmid:
            entry |= keys
            for key in [key for key, value in keys.items() if value is None]:
                del entry[key]
    project.write_json(VM, declared)


def remove_probe(lab: PortainerLab) -> None:
    """Nothing of it anywhere: with its data on one host it would be moved to another."""
    for row in lab.get("/stacks"):
        if row["Name"] == PROJECT:
            lab.api("DELETE", f"/stacks/{row['Id']}?endpointId={row['EndpointId']}")
    for host in (lab.server, lab.agent):
        left = f"docker compose -p {PROJECT} down --volumes; docker volume rm {PROJECT}_kept"
        lab.site.sh(host, f"{left}; rm -rf {FILES}")


@pytest.fixture(autouse=True)
def no_probe_afterwards(lab_: PortainerLab) -> Iterator[None]:
    """Each test begins without one."""
    yield
    remove_probe(lab_)


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> Iterator[PortainerLab]:
    """The converged lab; after the module it is as it was."""
    lab = PortainerLab(site)
    remove_probe(lab)
    yield lab
    for row in lab.get("/endpoints?excludeSnapshots=true"):
        if row["Type"] == 1:
            lab.api("DELETE", f"/endpoints/{row['Id']}")
    run = site.project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    lab.assert_serving()


def impatient(project: Project) -> None:
    """Waits some seconds for what never comes up, where it is five minutes otherwise."""
    argument = "                env=prepared.variables,\n"
    seconds = min(30, round(10 * deadline_factor()))
    project.replace(STACKS, argument, f"{argument}                seconds={seconds},\n")


def inside(lab: PortainerLab, host: str) -> dict[str, str]:
    """The variables that the container has, as the kernel keeps them."""
    answer = lab.site.sh(
        host, f"docker exec {PROJECT}-web-1 cat /proc/1/environ | base64 -w0", ok=True
    )

    pairs = base64.b64decode(answer.out).decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def states(lab: PortainerLab, host: str) -> dict[str, tuple[str, str]]:
    return {
        name: (container.id, container.started)
        for name, container in lab.containers(PROJECT, host).items()
    }


def ok(run: Run) -> Run:
    assert run.returncode == 0, run.explain()
    return run


def stack_changes(run: Run) -> list[str]:
    """Stacks that changed; pyinfra has one operation, with both names, for those of two hosts."""
    assert run.results
    changed = [step["names"] for step in run.results["operations"] if step["success"]]
    names = [name for both in changed for name in both]
    return [name for name in names if name == f"Stack {PROJECT}"]


def answers(lab: PortainerLab, host: str) -> bool:
    address = lab.site.site.host(host).address
    answer = lab.site.sh(host, f"curl -s -o /dev/null -w '%{{http_code}}' http://{address}:{PORT}/")
    return answer.out == "200"


def works_as_a_stack(lab: PortainerLab, variant: Project, host: str) -> None:
    """Made once, byte for byte, drift undone, a bad version given back, nothing done twice."""
    impatient(variant)
    assert answers(lab, host)
    variables = inside(lab, host)
    assert {name: variables[name] for name in HOSTILE} == HOSTILE
    secret = lab.site.secrets["probe_secret"]
    assert variables["SECRET"] == secret
    listed = lab.containers(PROJECT, host)
    assert listed[f"{PROJECT}-job-1"].status == "exited"

    before = states(lab, host)
    again = ok(variant.run(STACKS))
    assert again.changes == [], again.explain()
    assert states(lab, host) == before, "a second run touched a container"

    lab.site.sh(host, f"docker rm -f {PROJECT}-web-1", ok=True)
    planned = variant.start("inventories/lab.py", STACKS, "--dry", "--json", "--diff").finish()
    assert [name for name in plan_of(planned) if PROJECT in name], planned.explain()
    assert stack_changes(ok(variant.run(STACKS))) == [f"Stack {PROJECT}"]
    assert answers(lab, host)

    lab.site.sh(host, f"docker exec {PROJECT}-web-1 sh -c 'echo data >/kept/mark'", ok=True)
    probe(lab, variant, program=FAIL, mark="2")
    failed = variant.run(STACKS, "--diff")
    assert failed.returncode == 1, failed.explain()
    for word in ("The previous version has been restored and runs", LAST_WORDS,
                 "env MARK: 1 -> 2"):  # fmt: skip
        assert word in failed.output, failed.explain()
    assert secret not in failed.output
    assert answers(lab, host)
    assert inside(lab, host)["MARK"] == "1"
    answer = lab.site.sh(host, f"docker exec {PROJECT}-web-1 cat /kept/mark", ok=True)
    assert answer.out.strip() == "data"

    probe(lab, variant)
    last = ok(variant.run(STACKS))
    assert last.changes == [], last.explain()


@pytest.mark.timeout(1200)
def test_stack_on_portainers_own_guest(lab_: PortainerLab, variant: Project) -> None:
    """Portainer deploys it by its guest's own Docker, and restarts once for the socket."""
    before = lab_.containers("phoenix-portainer", lab_.server)
    probe(lab_, variant)
    edit_guest(variant, 1001, docker_stacks=["probe"])
    first = ok(variant.run("deploys/portainer.py"))
    assert "Portainer: server" in str(first.changes), first.explain()
    ok(variant.run(STACKS))
    environments = {row["Name"]: row for row in lab_.get("/endpoints?excludeSnapshots=true")}
    local = environments[lab_.server]
    assert (local["Type"], local["URL"]) == (1, "unix:///var/run/docker.sock")
    assert lab_.stack(PROJECT)["EndpointId"] == local["Id"]
    assert lab_.containers("phoenix-portainer", lab_.server) != before
    server = lab_.containers("phoenix-portainer", lab_.server)
    again = ok(variant.run("deploys/portainer.py"))
    assert again.changes == [], again.explain()
    assert lab_.containers("phoenix-portainer", lab_.server) == server
    works_as_a_stack(lab_, variant, lab_.server)
    status = variant.phoenix("status", "--json")
    stacks = {row["name"]: row for row in json.loads(status.stdout)["stacks"]}
    assert (stacks[PROJECT]["way"], stacks[PROJECT]["state"]) == ("local", "ok"), stacks
    assert stacks[PROJECT]["containers"] == stacks[PROJECT]["healthy"] == 2, stacks


@pytest.mark.timeout(1200)
def test_stack_on_a_host_without_an_agent(lab_: PortainerLab, variant: Project) -> None:
    """By the host's own compose; what Portainer deployed there before is taken over as it is."""
    probe(lab_, variant)
    taken_over = {
        lab_.qdrant: lab_.container_of(lab_.qdrant),
        lab_.app: lab_.container_of(lab_.app),
    }
    declared = next(guest for guest in variant.json(VM)["vms"] if guest["vmid"] == 1002)
    edit_guest(
        variant, 1002, docker_stacks=[*declared["docker_stacks"], "probe"], portainer_role=None,
        portainer_environment_name=None, portainer_agent_hostname=None,
    )  # fmt: skip
    rows = lab_.get("/stacks")
    run = ok(variant.run(STACKS))
    assert f"Stack {PROJECT}" in stack_changes(run), run.explain()
    assert lab_.get("/stacks") == rows, "Portainer was told of it"
    for project, before in taken_over.items():
        assert lab_.container_of(project).name == before.name
    lab_.assert_serving()
    modes = lab_.site.sh(lab_.agent, f"find {FILES} -printf '%m %u %y\\n' | sort -u", ok=True)
    assert set(modes.out.splitlines()) == {"600 root f", "700 root d"}
    works_as_a_stack(lab_, variant, lab_.agent)

    # Interrupted half-way: the next run finishes it.
    probe(lab_, variant, mark="3")
    state = shlex.quote(f"{FILES}/state")
    lab_.site.sh(lab_.agent, f"echo deploying >{state}", ok=True)
    assert stack_changes(ok(variant.run(STACKS))) == [f"Stack {PROJECT}"]
    assert inside(lab_, lab_.agent)["MARK"] == "3"
    assert ok(variant.run(STACKS)).changes == []

    gone = variant.run(STACKS, data={"stacks_prune": json.dumps(["probe-production"])})
    assert gone.returncode != 0, "a declared stack cannot be pruned"
    edit_guest(variant, 1002, docker_stacks=declared["docker_stacks"])
    ok(variant.run(STACKS, data={"stacks_prune": json.dumps([PROJECT])}))
    assert lab_.containers(PROJECT, lab_.agent) == {}
    volume = lab_.site.sh(lab_.agent, f"docker volume inspect {PROJECT}_kept")
    assert volume.code == 0, "its data is gone"
    assert lab_.site.sh(lab_.agent, f"test -e {FILES}").code != 0

    # With its agent again, Portainer has the log-ins: the host's own are told, and removed by name.
    known = "test -e /var/lib/phoenix/trees/registries"
    site = lab_.site
    assert site.sh(lab_.agent, known).code == 0
    planned = json.loads(site.project.phoenix("plan", "--json").stdout)["undeclared"]["items"]
    assert "phoenix remove registries" in [item["command"] for item in planned]
    removed = site.project.phoenix("remove", "registries", "-y")
    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert site.sh(lab_.agent, known).code != 0


LOOP = "import time, sys; time.sleep(3); sys.exit(1)"


@pytest.mark.timeout(1200)
def test_a_crash_loop_is_not_converged(lab_: PortainerLab, variant: Project) -> None:
    """Up for three seconds of each few, by Docker's word "running" most of the time."""
    probe(lab_, variant)
    text = (variant.path / "stacks/probe/docker-compose.yml").read_text()
    start, end = text.index("    healthcheck:"), text.index("  job:")
    serve = SERVE.format(port=PORT)
    looping = (text[:start] + text[end:]).replace(serve, LOOP)
    assert LOOP in looping
    (variant.path / "stacks/probe/docker-compose.yml").write_text(looping)
    edit_guest(variant, 1001, docker_stacks=["probe"])
    ok(variant.run("deploys/portainer.py"))
    impatient(variant)
    run = variant.run(STACKS)
    assert run.returncode == 1, run.explain()
    assert "ends again and again" in run.output or "is restarting" in run.output, run.explain()
    planned = variant.start("inventories/lab.py", STACKS, "--dry", "--json").finish()
    assert [name for name in plan_of(planned) if PROJECT in name], planned.explain()
    status = variant.phoenix("status", "--json")
    stacks = {row["name"]: row for row in json.loads(status.stdout)["stacks"]}
    assert stacks[PROJECT]["state"] == "broken", stacks


def test_portainer_without_stacks_of_its_own_has_no_socket(lab_: PortainerLab) -> None:
    """After the unchanged project ran again."""
    ok(lab_.site.project.run("deploys/portainer.py"))
    output = lab_.site.sh(lab_.server, f"cat {DIRECTORY}/compose.yml", ok=True).out
    assert "docker.sock" not in output
