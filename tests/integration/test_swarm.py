"""A Docker Swarm of the lab's two Docker hosts: made, joined, changed, lost, and left again.

Looked at by Docker in the guests, never by our code.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.portainer_lab import EMULATOR, PortainerLab
from tests.integration.project import Project, deadline_factor
from tests.integration.site_lab import SiteLab, eventually
from tests.integration.test_stack_ways import VM, edit_guest

MANAGER, WORKER = "portainer", "drphoenix"
IDS = {MANAGER: 1001, WORKER: 1002}
LXC = "inventories/phoenix_lxc_configs.json"
PARTS = ("guard", "docker", "swarm")


class SwarmLab:
    """The lab, and a project whose declaration makes its two Docker hosts a swarm."""

    def __init__(self, site: SiteLab, project: Project) -> None:
        """Declare it; nothing is deployed."""
        self.site = site
        self.project = project
        self.declare(MANAGER, swarm_role="manager")
        self.declare(WORKER, swarm_role="worker", node_labels=["gpu=false"])

    def declare(self, host: str, **keys: object) -> None:
        """Set keys of a guest; None removes one."""
        edit_guest(self.project, IDS[host], **keys)

    def guest(self, host: str) -> dict[str, Any]:
        """A guest's entry as it is declared."""
        entries = self.project.json(VM)["vms"]
        return next(dict(entry) for entry in entries if entry["vmid"] == IDS[host])

    def site_key(self, key: str, value: object) -> None:
        """Set a key of `site`."""
        declared = self.project.json(LXC)
        declared.setdefault("site", {})[key] = value
        self.project.write_json(LXC, declared)

    def phoenix(self, *words: str, code: int = 0) -> str:
        """What a verb says; it must end with `code`."""
        done = self.project.phoenix(*words)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def sync(self) -> str:
        """Deploy what a swarm needs."""
        return self.phoenix("sync", *PARTS)

    def docker(self, host: str, *words: str) -> str:
        """What docker says on a guest."""
        return self.site.sh(host, shlex.join(["docker", *words]), ok=True).out.strip()

    def swarm(self, host: str) -> dict[str, Any]:
        """A guest's swarm as Docker there tells it."""
        answer: dict[str, Any] = json.loads(self.docker(host, "info", "-f", "{{json .Swarm}}"))
        return answer

    def node(self, host: str) -> dict[str, Any]:
        """The node of a guest, as the manager lists it."""
        (row,) = json.loads(self.docker(MANAGER, "node", "inspect", self.swarm(host)["NodeID"]))
        return {**row["Spec"], "State": row["Status"]["State"]}


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> Iterator[SwarmLab]:
    """The swarm, deployed; after the module no host is in one, and Docker is as it was."""
    lab = SwarmLab(site, site.project.variant("swarm"))
    lab.sync()
    yield lab
    for host in (WORKER, MANAGER):
        site.sh(host, "systemctl start docker.service; docker swarm leave --force")
    # The whole site: the swarm's ports are in Proxmox's firewall, too.
    done = site.project.phoenix("sync")
    assert done.returncode == 0, done.stdout + done.stderr
    PortainerLab(site).wait_well()


def test_two_hosts_are_one_swarm_as_declared(lab_: SwarmLab) -> None:
    assert lab_.swarm(MANAGER)["Cluster"]["DefaultAddrPool"] == ["10.200.0.0/16"]
    assert lab_.swarm(MANAGER)["NodeAddr"] == lab_.site.address(MANAGER)
    assert lab_.swarm(WORKER)["ControlAvailable"] is False
    assert lab_.node(WORKER) == {
        "Labels": {"gpu": "false", "phoenix.node": WORKER}, "Role": "worker",
        "Availability": "active", "State": "ready",
    }  # fmt: skip
    assert lab_.docker(WORKER, "info", "-f", "{{.LiveRestoreEnabled}}") == "false"
    assert lab_.phoenix("plan", *PARTS), "a plan of the same ends with 0"


def test_no_token_is_in_a_log(lab_: SwarmLab) -> None:
    tokens = {
        role: lab_.docker(MANAGER, "swarm", "join-token", "-q", role)
        for role in ("worker", "manager")
    }
    for host in (MANAGER, WORKER):
        journal = lab_.site.sh(host, "journalctl -q --no-pager", ok=True).out
        assert not [role for role, token in tokens.items() if token in journal], host
    state = Path(lab_.project.command_environment["XDG_STATE_HOME"])
    logs = [path for path in state.rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        assert not any(token.encode() in path.read_bytes() for token in tokens.values()), path


def test_an_overlay_network_leads_from_node_to_node(lab_: SwarmLab) -> None:
    """Through both guards, which open 7946 and 4789 to nodes alone."""
    images = lab_.site.state.images  # each host has those of its own containers alone
    if not images["portainer"].startswith(EMULATOR):
        pytest.skip("upstream's Portainer has no program to ask with")
    lab_.docker(MANAGER, "network", "create", "-d", "overlay", "--attachable", "probe")
    try:
        serve = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080)"
        run = ("run", "-d", "--rm", "--name", "far", "--network", "probe", images["app"])
        lab_.docker(WORKER, *run, "python3", "-c", serve)
        ask = "import urllib.request as r; print(r.urlopen('http://far:8080/', timeout=3).status)"
        words = shlex.join(
            ["docker", "run", "--rm", "--network", "probe", "--entrypoint", "python3",
             images["portainer"], "-c", ask]
        )  # fmt: skip
        eventually(
            "the other node's container answers",
            lambda: lab_.site.sh(MANAGER, words).out.strip() == "200",
            seconds=60,
            instead=lambda: lab_.site.sh(MANAGER, words).text,
        )
    finally:
        lab_.site.sh(WORKER, "docker rm -f far")
        lab_.site.sh(MANAGER, "docker network rm probe")


def test_what_a_person_changed_is_found_and_put_back(lab_: SwarmLab) -> None:
    node = lab_.swarm(WORKER)["NodeID"]
    lab_.docker(MANAGER, "node", "update", "--availability", "drain", "--label-add", "by=hand",
                "--label-rm", "gpu", node)  # fmt: skip
    output = lab_.phoenix("doctor", WORKER, code=1)
    assert "availability is drain, not active" in output
    output = lab_.phoenix("plan", "swarm", code=2)
    for words in ("label by=hand goes", "label gpu=false", "availability active, it was drain"):
        assert words in output
    lab_.phoenix("sync", "swarm")
    assert lab_.node(WORKER)["Labels"] == {"gpu": "false", "phoenix.node": WORKER}
    assert lab_.node(WORKER)["Availability"] == "active"


ORBIT = "orbit-production"
PORT = 8771
IMAGE = "phoenix-orbit:1"
SERVE = (
    "import http.server as h, os; os.chdir('/run'); open('ready', 'w').write('{mark}'); "
    "h.ThreadingHTTPServer(('', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
)


class Orbit:
    """A Swarm stack that WORKER, a manager here, names; its image is on both nodes."""

    def __init__(self, lab: SwarmLab) -> None:
        """Tag an image with Python as the stack's on each node."""
        self.lab = lab
        for host, role in ((MANAGER, "portainer"), (WORKER, "app")):
            lab.docker(host, "tag", lab.site.state.images[role], IMAGE)

    def declare(self, mark: str, program: str = SERVE, config: str = "plain") -> None:
        """Write the stack."""
        folder = self.lab.project.path / "stacks/orbit"
        folder.mkdir(exist_ok=True)
        port = {"target": PORT, "published": PORT, "protocol": "tcp", "mode": "host"}
        ask = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/ready')"
        health = {"test": ["CMD", "python3", "-c", ask], "interval": "1s", "retries": 3,
                  "start_period": "20s"}  # fmt: skip
        words = ["python3", "-c", program.format(mark=mark, port=PORT)]
        web = {"image": IMAGE, "entrypoint": words, "user": "0", "ports": [port],
               "healthcheck": health, "networks": ["mesh"],
               "deploy": {"endpoint_mode": "dnsrr"}}  # fmt: skip
        content = {"services": {"web": web}, "networks": {"mesh": {"external": True}}}
        (folder / "docker-compose.yml").write_text(json.dumps(content))
        (folder / "app.conf").write_text(config)
        route = {"name": "orbit", "port": PORT, "scheme": "http", "health_path": "/ready"}
        files = [{"secret": "orbit_key", "destination_in_container": "/run/key"},
                 {"source": "app.conf", "destination_in_container": "/run/app.conf"}]  # fmt: skip
        environment = {"services": {"web": {"traefik_service": route}}, "files": files}
        manifest = {"type": "swarm", "environments": {"production": environment}}
        self.lab.project.write_json("stacks/orbit/phoenix.json", manifest)

    def runs_on(self) -> str:
        """The node of the one task that runs; empty while there is none, or another one begins."""
        words = f"docker stack ps -f desired-state=running --format '{{{{json .}}}}' {ORBIT}"
        tasks = self.lab.site.sh(WORKER, words)  # of no task at all it says so as an error
        rows = [json.loads(row) for row in tasks.out.splitlines()]
        running = [row["Node"] for row in rows if row["CurrentState"].startswith("Running")]
        return str(running[0]) if len(running) == len(rows) == 1 else ""

    def answer(self, mark: str, path: str = "ready") -> None:
        """Wait until the gateway gives this."""
        site = self.lab.site
        url = f"https://orbit.{site.site.domain}/{path}"

        def look() -> bool:
            answer = site.curl(url)
            return answer.status == 200 and answer.body.strip() == mark

        eventually(f"{url} gives {mark}", look, seconds=60, instead=lambda: site.curl(url))

    def names_of(self, kind: str) -> list[str]:
        """Names of its Swarm secrets or configs."""
        return self.lab.docker(WORKER, kind, "ls", "--format", "{{.Name}}").split()


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("former_values_return")
def test_a_swarm_stack_from_its_creation_to_its_end(lab_: SwarmLab) -> None:
    """Made, routed, updated, rolled back, drifted, moved by a drain, and removed; a second run
    changes nothing."""
    if not lab_.site.state.images["portainer"].startswith(EMULATOR):
        pytest.skip("upstream's Portainer has no program to serve with")
    orbit = Orbit(lab_)
    stacks = lab_.guest(WORKER)["docker_stacks"]
    lab_.site_key("swarm_networks", {"mesh": {"encrypted": False}})
    lab_.declare(WORKER, swarm_role="manager", docker_stacks=[*stacks, "orbit"])
    orbit.declare("first")
    argument = "                env=prepared.variables,\n"
    seconds = round(30 * deadline_factor())
    lab_.project.replace("deploys/stacks.py", argument, f"{argument}                {seconds=},\n")
    lab_.phoenix("sync")
    orbit.answer("first")
    orbit.answer(lab_.site.secrets["orbit_key"], "key")
    assert len(orbit.names_of("secret")) == len(orbit.names_of("config")) == 1
    compose = PortainerLab(lab_.site).running()
    lab_.phoenix("plan", "swarm", "stacks")

    before = orbit.names_of("config")
    orbit.declare("second", config="other")
    lab_.phoenix("sync", "stacks")
    orbit.answer("second")
    orbit.answer("other", "app.conf")
    assert len(orbit.names_of("config")) == 1
    assert orbit.names_of("config") != before

    orbit.declare("third", "import sys; sys.exit('orbit: nothing to serve')")
    output = lab_.phoenix("sync", "stacks", code=1)
    assert "The previous version has been restored and runs" in output
    assert "orbit: nothing to serve" in output
    orbit.answer("second")
    orbit.declare("second", config="other")
    lab_.phoenix("plan", "stacks")

    lab_.docker(WORKER, "service", "scale", "--detach", f"{ORBIT}_web=0")
    assert "service web has 0 replicas, not 1" in lab_.phoenix("plan", "stacks", code=2)
    assert "has 0/0 tasks" not in lab_.phoenix("sync", "stacks")
    orbit.answer("second")

    first_node = orbit.runs_on()
    node = lab_.swarm(first_node)["NodeID"]
    lab_.docker(WORKER, "node", "update", "--availability", "drain", node)
    try:
        eventually("its task moves", lambda: orbit.runs_on() not in ("", first_node), seconds=60)
        orbit.answer("second")
    finally:
        lab_.docker(WORKER, "node", "update", "--availability", "active", node)
    assert PortainerLab(lab_.site).running() == compose, "compose stacks beside it go on"

    lab_.declare(WORKER, swarm_role="worker", docker_stacks=stacks)
    lab_.site_key("swarm_networks", {})
    status = json.loads(lab_.project.phoenix("status", "--no-drift", "--json").stdout)
    left = {(item["kind"], item["name"]) for item in status["undeclared"]["items"]}
    assert {("stack", ORBIT), ("overlay", "mesh")} <= left
    lab_.phoenix("remove", ORBIT, "-y")
    lab_.phoenix("remove", "mesh", "-y")
    lab_.phoenix("remove", "orbit_key", "-y")
    assert lab_.docker(WORKER, "service", "ls", "-q") == ""
    assert orbit.names_of("secret") == orbit.names_of("config") == []
    lab_.phoenix("sync")


def test_a_lost_majority_is_explained_and_a_manager_is_made_a_worker_again(
    lab_: SwarmLab,
) -> None:
    lab_.declare(WORKER, swarm_role="manager", node_availability="drain")
    lab_.phoenix("sync", "guard", "swarm")
    assert lab_.swarm(WORKER)["ControlAvailable"] is True
    assert lab_.node(WORKER)["Availability"] == "drain"
    lab_.site.sh(WORKER, "systemctl stop docker.socket docker.service", ok=True)
    try:
        eventually(  # half a minute later
            "the manager that is left notices it",
            lambda: bool(lab_.swarm(MANAGER)["Error"]),
            instead=lambda: lab_.swarm(MANAGER),
        )
        output = lab_.phoenix("doctor", MANAGER, code=1)
        assert "the swarm has lost the majority of its managers" in output
        assert "docker swarm init --force-new-cluster" in output
    finally:
        lab_.site.sh(WORKER, "systemctl start docker.service", ok=True)
    eventually(
        "the swarm has its majority again",
        lambda: not lab_.swarm(MANAGER)["Error"],
        seconds=60,
        instead=lambda: lab_.swarm(MANAGER),
    )
    lab_.declare(WORKER, swarm_role="worker", node_availability=None)
    lab_.phoenix("sync", "guard", "swarm")
    assert lab_.swarm(WORKER)["ControlAvailable"] is False
    assert lab_.node(WORKER)["Availability"] == "active"


def test_nodes_that_are_no_longer_declared_are_told_and_leave(lab_: SwarmLab) -> None:
    for host in (MANAGER, WORKER):
        lab_.declare(host, swarm_role=None)
    lab_.declare(WORKER, node_labels=None)
    status = json.loads(lab_.project.phoenix("status", "--no-drift", "--json").stdout)
    items = {item["name"]: item["command"] for item in status["undeclared"]["items"]
             if item["kind"] == "node"}  # fmt: skip
    assert items == {host: f"phoenix remove {host}@{host}" for host in (MANAGER, WORKER)}
    last = lab_.phoenix("remove", f"{MANAGER}@{MANAGER}", "-y", code=1)
    assert "is the last manager of 2 nodes" in last
    for host in (WORKER, MANAGER):
        lab_.phoenix("remove", f"{host}@{host}", "-y")
        assert lab_.swarm(host)["LocalNodeState"] == "inactive"
