"""A walk through a day: what operators type from the morning to the evening, on one lab.

Three machines at work: a laptop, a second operator's desk, and the machine that replaces the laptop
when it is lost. Each is a home directory and a clone of one repository, with an SSH key, a secret
store and a log of its own. What they did is looked at by curl, dig, Docker and Portainer's API.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import containers, image, keys
from lab.guests import Guest
from phoenix.runs.history import FILE as HISTORY
from phoenix.secrets import age
from phoenix.site.secret_names import DASHBOARD_PASSWORD
from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project
from tests.integration.site_lab import Answer, SiteLab, print_figure
from tests.integration.test_proxmox import ask

pytestmark = pytest.mark.timeout(1800)
VMS = "inventories/phoenix_vm_configs.json"
STACK, PROJECT, VOLUME = "wiki", "wiki-production", "wiki-production_pages"
TOKEN = "wiki_token"
PORT, LATER_PORT = 8443, 8453
# The seventh container stands for the VM that Proxmox VE clones: the lab's Proxmox VE is a fake,
# which keeps the VM's configuration and starts nothing.
NEW_HOST, NEW_ID, NEW_HOST_PART = "docker2", 1003, 103
COMPOSE = """services:
  web:
    image: "{image}"
    init: true
    restart: unless-stopped
    command: ["python3", "-m", "lab.standin", "wiki={port}"]
    ports: ["{port}:{port}"]
    environment:
      GREETING: "${{GREETING}}"
      TOKEN: "${{TOKEN}}"
    volumes: ["pages:/pages", "${{PHOENIX_TLS_DIR}}:/tls:ro"]
volumes:
  pages:
"""


@dataclass(frozen=True)
class Machine:
    """A machine of an operator."""

    name: str
    home: Path
    project: Project

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type `phoenix WORDS`."""
        done = self.project.phoenix(*words)
        typed = " ".join(words)
        print_figure(f"\n{self.name} $ phoenix {typed}", f"exit {done.returncode}")
        if "--json" not in words:
            print_figure("", done.stdout + done.stderr)
        return done

    def ok(self, *words: str) -> str:
        """Type what has to succeed; returns what it printed."""
        done = self(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words: str) -> str:
        """Type what has to be refused; returns what it said."""
        done = self(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout + done.stderr

    def plans(self, *words: str) -> str:
        """A plan that has something to do; returns what it printed."""
        done = self("plan", *words)
        assert done.returncode == 2, done.stdout + done.stderr
        return done.stdout

    def is_clean(self) -> None:
        """Nothing to do, and nothing undeclared, by `status`, which makes a plan of its own."""
        status = self.project.phoenix("status", "--json")
        print_figure(f"\n{self.name} $ phoenix status --json", status.stdout[:400] + status.stderr)
        assert status.returncode == 0, status.stdout + status.stderr
        undeclared = json.loads(status.stdout)["undeclared"]
        assert undeclared["unknown"] == [], undeclared
        assert [item for item in undeclared["items"] if not item["kept"]] == [], undeclared

    @property
    def store(self) -> Path:
        return self.home / ".config/phoenix/secrets.json"

    @property
    def public_key(self) -> str:
        return keys.public(self.home / ".ssh/id_ed25519")

    def secret(self, name: str) -> str:
        value: str = json.loads(self.store.read_text())[name]
        return value

    def git(self, *words: str) -> str:
        identity = ["-c", f"user.name={self.name}", "-c", f"user.email={self.name}@example.org",
                    "-c", "commit.gpgsign=false"]  # fmt: skip
        return git(self.project.path, *identity, *words)

    def publish(self, message: str) -> None:
        """Commit the change and push it."""
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        self.git("push", "-q", "origin", "HEAD")

    def has_age_key(self) -> str:
        """Make an age key where SOPS looks for it; returns its public half."""
        path = self.home / ".config/sops/age/keys.txt"
        path.parent.mkdir(parents=True)
        return age.make_key(path)

    def deploy_wiki_on(self, name: str | None) -> None:
        """Declare the stack on one guest, or on none."""
        declared = self.project.json(VMS)
        for guest in declared["vms"]:
            stacks = guest.get("docker_stacks", [])
            if STACK in stacks:
                stacks.remove(STACK)
            if guest["name"] == name:
                stacks.append(STACK)
        self.project.write_json(VMS, declared)

    def wiki(self, app: str, *, port: int, greeting: str, name: str) -> None:
        """Write the stack's folder."""
        folder = self.project.path / "stacks" / STACK
        folder.mkdir(exist_ok=True)
        (folder / "docker-compose.yml").write_text(COMPOSE.format(image=app, port=port))
        service = {"name": name, "port": port, "scheme": "https"}
        environment = {
            "variables": [
                {"name": "GREETING", "value": greeting},
                {"name": "TOKEN", "secret": TOKEN},
            ],
            "services": {"web": {"traefik_service": service}},
        }
        manifest = {"environments": {"production": environment}}
        self.project.write_json(f"stacks/{STACK}/phoenix.json", manifest)


def git(directory: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


@dataclass
class Day:
    """The site, and what can be seen of it without Phoenix."""

    site: SiteLab
    lab: PortainerLab
    root: Path
    over: bool = False

    @property
    def first(self) -> str:
        """The Docker host that is there in the morning."""
        return self.lab.agent

    @property
    def app(self) -> str:
        return self.site.state.images["app"]

    def url(self, name: str) -> str:
        return f"https://{name}.{self.site.site.domain}/"

    def answers(self, name: str) -> None:
        """A client's request, from the name to the container and back."""
        answer = self.get(name)
        assert answer.status == 200, answer

    def get(self, name: str) -> Answer:
        return self.site.curl(self.url(name))

    def resolves(self, name: str) -> list[str]:
        """The addresses that the site's resolver has for a name."""
        server = self.site.address("hypervisor")
        question = f"dig +short @{server} {name}.{self.site.site.domain} A"
        return self.site.sh("client", question, ok=True).out.split()

    def running_on(self, host: str) -> list[str]:
        """States of the wiki's containers."""
        return [container.status for container in self.lab.containers(PROJECT, host).values()]

    def inside(self, host: str, command: str) -> str:
        """What a command in the wiki's container prints."""
        words = f"docker exec {PROJECT}-web-1 sh -c {shlex.quote(command)}"
        return self.site.sh(host, words, ok=True).out.strip()

    def volumes(self, host: str) -> list[str]:
        return self.site.sh(
            host, f"docker volume ls -q | grep '^{VOLUME}'; true", ok=True
        ).out.split()

    def environments(self) -> set[str]:
        """Portainer's environments."""
        return {row["Name"] for row in self.lab.get("/endpoints?excludeSnapshots=true")}

    def where_portainer_has_it(self) -> list[int]:
        rows = self.lab.get("/stacks")
        return [row["EndpointId"] for row in rows if row["Name"] == PROJECT]

    def guest(self) -> dict[str, Any] | None:
        """The new VM, as the hypervisor's API has it."""
        guests = {guest["vmid"]: guest for guest in ask(self.site, "/cluster/resources?type=vm")}
        return guests.get(NEW_ID)

    # -- machines ----------------------------------------------------------------------------------

    def machine(self, name: str) -> Machine:
        """A new machine with an SSH key that the hosts know, and a clone of the repository."""
        home = self.root / name
        checkout = home / "phoenix"
        home.mkdir()
        keys.make(home / ".ssh/id_ed25519", f"{name}@day")
        git(home, "clone", "-q", str(self.root / "origin.git"), str(checkout))
        environment = {
            key: value
            for key, value in self.site.project.environment.items()
            if not key.startswith("XDG_")
        }
        environment |= {"HOME": str(home), "LOGNAME": name}
        machine = Machine(name, home, Project(checkout, environment))
        for host in self.site.state.hosts:
            self.admit(machine, host)
        return machine

    def admit(self, machine: Machine, host: str) -> None:
        """What cloud-init or a colleague does."""
        line = shlex.quote(machine.public_key)
        self.site.sh(host, f"echo {line} >>/root/.ssh/authorized_keys", ok=True)

    def may_log_in(self, key: Path, host: str) -> bool:
        words = ["ssh", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                 "-o", f"UserKnownHostsFile={self.site.state.known_hosts}",
                 f"root@{self.site.address(host)}", "true"]  # fmt: skip
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    # -- the seventh container ---------------------------------------------------------------------

    def boot_when_made(self, machine: Machine) -> None:
        """The new VM comes up once Proxmox VE starts it, with the key of who made it.

        Its host key is known by hand: in the lab no guest agent tells it to the hypervisor.
        """
        client, settings = self.site.docker, self.site.settings
        address = str(settings.subnet[NEW_HOST_PART])
        keys.write_known_hosts(settings, {**self.site.state.hosts, NEW_HOST: address})
        self.lab.eventually(
            "the VM is started", lambda: (self.guest() or {}).get("status") == "running", 300
        )
        guest = Guest(NEW_HOST, settings.subnet[NEW_HOST_PART], nested=True)
        plan = containers.guest_plan(guest, image.ensure(client), settings)
        network = client.networks.get(settings.network)
        containers.ensure(client, plan, settings, network.id)
        containers.wait_until_ready(client, plan, settings)
        self.admit(machine, NEW_HOST)

    def unplug(self) -> None:
        """No new VM, and nothing that this machine remembers of it."""
        client, settings = self.site.docker, self.site.settings
        if (guest := self.guest()) is not None:
            vm = f"https://127.0.0.1:8006/api2/json/nodes/{guest['node']}/qemu/{NEW_ID}"
            ended = f"curl -fsSk -H @/root/pve.header -X POST {vm}/status/stop"
            self.site.sh("hypervisor", f"{ended}; curl -fsSk -H @/root/pve.header -X DELETE {vm}")
            self.lab.eventually("the VM is gone", lambda: self.guest() is None)
        name = settings.container(NEW_HOST)
        for container in client.containers.list(all=True, filters={"name": f"^{name}$"}):
            container.remove(force=True, v=True)
        for volume in client.volumes.list(filters={"name": f"{name}-docker"}):
            volume.remove(force=True)
        keys.write_known_hosts(settings, self.site.state.hosts)


@pytest.fixture
def day(site: SiteLab, tmp_path: Path) -> Iterator[Day]:
    """The repository with the declaration; after a walk that failed the site is put back."""
    repository(site, tmp_path)
    day = Day(site, PortainerLab(site), tmp_path)
    try:
        yield day
    finally:
        if not day.over:
            put_back(day)
        for host in site.state.hosts:
            site.sh(host, "sed -i '/@day$/d' /root/.ssh/authorized_keys", ok=True)
        # Other tests compare checkouts of git with the last run.
        site.sh("hypervisor", f"rm -f {HISTORY}", ok=True)


def repository(site: SiteLab, root: Path) -> None:
    """What every machine clones, with its own SSH key and its own store, as on a real site."""
    source = site.project.variant("day")
    home = "__import__('pathlib').Path.home()"
    source.replace("inventories/lab.py", "str(_lab.ssh_key)", f"str({home} / '.ssh/id_ed25519')")
    source.replace(
        "inventories/lab.py",
        'str(_lab.ssh_key.parent / "secrets.json")',
        f"str({home} / '.config/phoenix/secrets.json')",
    )
    source.write(".gitignore", "__pycache__/\nrun.log\nrun.json\n*.age\n")
    git(source.path, "init", "-q", "-b", "main")
    git(source.path, "add", "-A")
    git(source.path, "-c", "user.name=it", "-c", "user.email=it@example.org",
        "-c", "commit.gpgsign=false", "commit", "-qm", "the site as it is")  # fmt: skip
    git(root, "clone", "-q", "--bare", str(source.path), str(root / "origin.git"))


def put_back(day: Day) -> None:
    """After a walk that stopped on its way."""
    site, project = day.site, day.site.project
    files = day.root.glob("*/.config/phoenix/secrets.json")
    stores = sorted(files, key=lambda path: path.stat().st_mtime)
    newest = json.loads(stores[-1].read_text()) if stores else {}
    (site.settings.directory / "secrets.json").write_text(json.dumps(site.secrets | newest))
    project.phoenix("sync", "--older")
    items = json.loads(project.phoenix("plan", "--json").stdout)["undeclared"]["items"]
    for item in items:
        name = item["command"].split()[2]
        project.phoenix("remove", name, "--volumes", "--destroy", "-y")
    for host in (day.first, day.lab.server):
        site.sh(host, f"docker volume rm {VOLUME}")
    day.unplug()


# -- the walk --------------------------------------------------------------------------------------


def test_a_day(day: Day) -> None:
    """Each step begins where the one before it ended."""
    laptop = the_morning(day)

    a_service_comes(day, laptop)
    it_is_changed(day, laptop)
    it_gets_another_name(day, laptop)
    a_docker_host_comes(day, laptop)
    desk = a_second_operator(day, laptop)
    the_service_moves(day, desk)
    another = the_laptop_is_lost(day, laptop, desk)
    the_service_goes(day, another)
    the_docker_host_goes(day, another)
    evening(day, another)


def the_morning(day: Day) -> Machine:
    laptop = day.machine("laptop")
    laptop.store.parent.mkdir(parents=True, mode=0o700)
    laptop.store.write_text(json.dumps(day.site.secrets))
    laptop.store.chmod(0o600)
    laptop.is_clean()
    return laptop


def a_service_comes(day: Day, laptop: Machine) -> None:
    laptop.wiki(day.app, port=PORT, greeting="good morning", name="wiki")
    laptop.deploy_wiki_on(day.first)
    assert laptop.ok("validate")
    planned = laptop.plans()
    for word in (PROJECT, "wiki"):
        assert word in planned, planned
    assert day.resolves("wiki") == [], "a plan touched something"
    laptop.publish("The wiki")
    assert "converged and verified" in laptop.ok("sync", "stack:wiki")
    day.answers("wiki")
    assert day.resolves("wiki") == [day.site.address("gateway")]
    assert day.running_on(day.first) == ["running"]
    assert len(day.where_portainer_has_it()) == 1
    assert day.inside(day.first, "echo $TOKEN") == laptop.secret(TOKEN)
    day.inside(day.first, "echo 'page one' >/pages/one")


def it_is_changed(day: Day, laptop: Machine) -> None:
    laptop.wiki(day.app, port=LATER_PORT, greeting="good day", name="wiki")
    planned = laptop.plans("stack:wiki")
    assert "GREETING: good morning -> good day" in planned, planned
    laptop.publish("The wiki: greeting and port")
    assert "converged and verified" in laptop.ok("sync", "stack:wiki")
    day.answers("wiki")
    assert day.inside(day.first, "echo $GREETING") == "good day"
    assert day.inside(day.first, "cat /pages/one") == "page one"
    listening = day.site.sh(day.first, "ss -Hltn", ok=True).out
    assert f":{LATER_PORT} " in listening
    assert f":{PORT} " not in listening


def it_gets_another_name(day: Day, laptop: Machine) -> None:
    before = day.lab.containers(PROJECT, day.first)
    laptop.wiki(day.app, port=LATER_PORT, greeting="good day", name="handbook")
    laptop.plans()
    laptop.publish("The wiki is called handbook")
    assert "converged and verified" in laptop.ok("sync")
    day.answers("handbook")
    assert day.resolves("wiki") == []
    gateway = day.site.address("gateway")
    old = f"wiki.{day.site.site.domain}"
    by_its_old_name = day.site.curl(day.url("wiki"), "--resolve", f"{old}:443:{gateway}")
    assert by_its_old_name.status != 200, by_its_old_name
    assert day.lab.containers(PROJECT, day.first) == before, "a name is no reason for a restart"
    laptop.is_clean()


def a_docker_host_comes(day: Day, laptop: Machine) -> None:
    declared = laptop.project.json(VMS)
    (entry,) = [guest for guest in declared["vms"] if guest["name"] == day.first]
    more = json.loads(json.dumps(entry)) | {
        "vmid": NEW_ID,
        "name": NEW_HOST,
        "portainer_environment_name": NEW_HOST,
        "docker_stacks": [],
    }
    more["network_config"]["ip"] = f"10.0.0.{NEW_HOST_PART}/24"
    declared["vms"].append(more)
    laptop.project.write_json(VMS, declared)
    assert "another name by portainer_agent_hostname" in laptop.refused("validate")
    more["portainer_agent_hostname"] = "portainer-agent-2"
    laptop.project.write_json(VMS, declared)
    laptop.ok("validate")
    assert "the guest does not exist yet: a sync makes it first" in laptop.plans()
    assert day.guest() is None, "a plan made it"
    laptop.publish("A second Docker host")
    with ThreadPoolExecutor() as pool:
        booted = pool.submit(day.boot_when_made, laptop)
        run = laptop("sync")
        booted.result()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "converged and verified" in run.stdout
    a_docker_host_is_there(day, laptop)


def a_docker_host_is_there(day: Day, laptop: Machine) -> None:
    guest = day.guest()
    assert guest is not None
    assert guest["status"] == "running", guest
    assert day.environments() == {day.lab.endpoint_name, NEW_HOST}
    agents = day.site.sh(NEW_HOST, "docker ps --format '{{.Names}}'", ok=True).out
    assert "agent" in agents, agents
    laptop.is_clean()


def a_second_operator(day: Day, laptop: Machine) -> Machine:
    desk = day.machine("desk")
    day.admit(desk, NEW_HOST)
    output = desk.refused("plan")
    assert "phoenix secrets import" in output, output
    assert "the site holds secrets that this machine lacks" in output, output
    assert TOKEN in output, output
    assert not desk.store.exists(), "a plan made secrets"
    hand_over(laptop, desk)
    assert desk.secret(TOKEN) == laptop.secret(TOKEN)
    desk.is_clean()
    return desk


def hand_over(giver: Machine, taker: Machine) -> None:
    """From one machine's store to another's, through a file that only the other can read."""
    key = taker.has_age_key()
    file = giver.home / f"for-{taker.name}.age"
    giver.ok("secrets", "export", "--to", key, "--out", str(file))
    sent = shutil.copy(file, taker.home)
    output = taker.ok("secrets", "import", str(sent))
    assert giver.secret(DASHBOARD_PASSWORD) not in output + file.read_text()


def the_service_moves(day: Day, desk: Machine) -> None:
    desk.deploy_wiki_on(NEW_HOST)
    moves = f"moves from {day.first} to {NEW_HOST}"
    assert moves in desk.plans()
    message = desk.refused("sync")
    assert "phoenix sync --move" in message, message
    assert day.running_on(day.first) == ["running"]
    assert day.running_on(NEW_HOST) == []
    desk.publish("The wiki moves to the second Docker host")
    assert "converged and verified" in desk.ok("sync", "--move")
    day.answers("handbook")
    assert day.running_on(day.first) == []
    assert day.running_on(NEW_HOST) == ["running"]
    assert day.inside(NEW_HOST, "cat /pages/one") == "page one"
    assert len(day.where_portainer_has_it()) == 1
    assert day.volumes(day.first) == [VOLUME], "the volume stays on the old host"
    desk.ok("remove", f"{PROJECT}@{day.first}", "--volumes", "-y")
    assert day.volumes(day.first) == []
    assert day.volumes(NEW_HOST) == [VOLUME]
    desk.is_clean()


def the_laptop_is_lost(day: Day, laptop: Machine, desk: Machine) -> Machine:
    # Before that: it was away while the desk moved the wiki, and its checkout is the older one.
    message = laptop.refused("sync", "dns")
    assert "--older" in message, message

    stolen = Path(shutil.copy(laptop.home / ".ssh/id_ed25519", day.root / "stolen"))
    known = laptop.secret(DASHBOARD_PASSWORD)
    shutil.rmtree(laptop.home)

    another = day.machine("another")
    day.admit(another, NEW_HOST)
    hand_over(desk, another)
    another.is_clean()

    # The lost machine's way in, and what it knew.
    hosts = [*day.site.state.hosts, NEW_HOST]
    assert day.may_log_in(stolen, "gateway")
    for host in hosts:
        another.ok("exec", f"guest:{host}", "--", "sed", "-i", "/laptop@day/d",
                   "/root/.ssh/authorized_keys")  # fmt: skip
    assert not any(day.may_log_in(stolen, host) for host in day.site.state.hosts)
    another.ok("secrets", "rotate", DASHBOARD_PASSWORD)
    page = f"https://traefik.{day.site.site.domain}/api/version"
    logged_in = {
        password: day.site.curl(page, "-u", f"admin:{password}").status
        for password in (known, another.secret(DASHBOARD_PASSWORD))
    }
    assert list(logged_in.values()) == [401, 200], logged_in.values()

    # The other operator is told, and gets it.
    assert DASHBOARD_PASSWORD in desk.refused("sync", "traefik")
    file = another.home / "newer.age"
    recipient = next(
        line.split()[-1]
        for line in (desk.home / ".config/sops/age/keys.txt").read_text().splitlines()
        if "public key" in line
    )
    another.ok("secrets", "export", "--to", recipient, "--out", str(file))
    desk.ok("secrets", "import", str(file), "--replace")
    desk.is_clean()
    return another


def the_service_goes(day: Day, machine: Machine) -> None:
    machine.deploy_wiki_on(None)
    shutil.rmtree(machine.project.path / "stacks" / STACK)
    machine.publish("No wiki any more")
    command = f"phoenix remove {PROJECT}"
    assert command in machine.ok("sync")
    assert day.resolves("handbook") == []
    assert day.running_on(NEW_HOST) == ["running"], "a sync removes nothing"
    assert command in machine.plans()
    status = machine("status")
    assert status.returncode == 2, status.stdout
    assert command in status.stdout
    machine.ok("remove", PROJECT, "-y")
    assert day.running_on(NEW_HOST) == []
    assert day.where_portainer_has_it() == []
    assert day.volumes(NEW_HOST) == [VOLUME]
    machine.ok("remove", PROJECT, "--volumes", "-y")
    assert day.volumes(NEW_HOST) == []
    machine.ok("remove", TOKEN, "-y")
    assert TOKEN not in json.loads(machine.store.read_text())
    machine.is_clean()


def the_docker_host_goes(day: Day, machine: Machine) -> None:
    declared = machine.project.json(VMS)
    declared["vms"] = [guest for guest in declared["vms"] if guest["name"] != NEW_HOST]
    machine.project.write_json(VMS, declared)
    machine.publish("One Docker host again")
    command = f"phoenix remove {NEW_HOST}"
    assert command in machine.ok("sync")
    assert command in machine.plans()
    machine.ok("remove", NEW_HOST, "--destroy", "-y")
    assert day.site.sh(NEW_HOST, "docker ps -aq", ok=True).out == ""
    assert day.environments() == {day.lab.endpoint_name}
    # Guests with our tag are read by Proxmox VE's own programs, which the lab does not have: what
    # removes this one is --destroy on a real site, and unplug() here.
    day.unplug()
    machine.is_clean()


def evening(day: Day, machine: Machine) -> None:
    """The shipped declaration, by who has it, with the secrets of today."""
    site = day.site
    assert machine.project.json(VMS) == site.project.json(VMS), "what was declared in the morning"
    by = {run["start"]["user"] for run in json.loads(machine.ok("history", "--json"))["runs"]}
    assert {"laptop", "desk", "another"} <= by
    key = day.root / "lab.key"
    recipient = age.make_key(key)
    file = day.root / "for-the-lab.age"
    machine.ok("secrets", "export", "--to", recipient, "--out", str(file))
    shipped = Machine("lab", day.root, site.project)
    shipped.ok("secrets", "import", str(file), "--identity", str(key), "--replace")
    assert "converged and verified" in shipped.ok("sync")
    shipped.is_clean()
    shipped.ok("plan")
    day.lab.assert_serving()
    day.over = True
