"""A stack changes its host: refused unasked, moved with its data, and back where it fails.

It moves between two ways of deployment: by Portainer's agent, and on Portainer's own guest.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.portainer_lab import PortainerLab
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab, print_figure

pytestmark = pytest.mark.timeout(900)
MARKS = "/var/lib/phoenix/moves"
STACK = "stack:qdrant_service"
BALLAST = 200  # MiB that do not compress: enough to be in the middle of the copy for a while
ODD = """set -e; cd "$1"
mkdir -p odd && cd odd
echo text >a; ln -f a hard; chown 1234:4321 a; chmod 4751 a
truncate -s 300M sparse; printf island | dd of=sparse bs=1 seek=200000000 conv=notrunc status=none
ln -sfn /nowhere link; mkdir -p sub; chmod 1777 sub; touch -d '2001-02-03 04:05:06.789' sub/t
"""
LOOK = """cd "$1"
find odd -printf '%P %y %m %U %G %n %s %l %T@\\n' | sort
sha256sum odd/a odd/hard odd/sparse ballast
du -k odd/sparse | awk '{print ($1 < 1000) ? "has holes" : "is full"}'
python3 -c "import os; print(os.getxattr('odd/a', 'user.odd'))"
"""


@dataclass(frozen=True)
class Lab:
    """Both hosts, and the stack that moves between them."""

    site: SiteLab
    portainer: PortainerLab
    moved: Project

    @property
    def old(self) -> str:
        return self.portainer.agent

    @property
    def new(self) -> str:
        return self.portainer.server

    @property
    def stack(self) -> str:
        return self.portainer.qdrant

    @property
    def volume(self) -> str:
        return f"{self.stack}_qdrant_data"

    @property
    def data(self) -> str:
        return f"/var/lib/docker/volumes/{self.volume}/_data"

    def has(self, host: str) -> list[str]:
        """States of its containers on a host."""
        return [
            container.status for container in self.portainer.containers(self.stack, host).values()
        ]

    def volumes(self, host: str) -> list[str]:
        """Names of volumes on a host that are called like its own."""
        output = self.site.sh(host, f"docker volume ls -q | grep '^{self.volume}'").out
        return output.split()

    def look(self, host: str) -> str:
        return self.site.sh(host, f"set -- {self.data}; {LOOK}", ok=True).out

    def collections(self) -> str:
        """What a client is told through the gateway."""
        return self.site.qdrant("/collections").body

    def phase(self) -> str:
        return self.site.sh(self.new, f"cat {MARKS}/{self.stack}/phase 2>/dev/null").out.strip()

    def marks(self) -> str:
        return "".join(self.site.sh(host, f"ls {MARKS} 2>/dev/null").out
                       for host in (self.old, self.new))  # fmt: skip


def on_the_other_host(project: Project, name: str) -> Project:
    """The same site with the stack declared on Portainer's own guest."""
    variant = project.variant(name)
    file = "inventories/phoenix_vm_configs.json"
    declared = variant.json(file)
    guests = {guest["name"]: guest for guest in declared["vms"]}
    stacks = guests["drphoenix"]["docker_stacks"]
    (entry,) = [stack for stack in stacks if stack["name"] == "qdrant_service"]
    stacks.remove(entry)
    guests["Portainer"]["docker_stacks"] = [entry]
    variant.write_json(file, declared)
    return variant


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> Iterator[Lab]:
    """Data in the volume; afterwards the stack is where it was, and nothing of it elsewhere."""
    portainer = PortainerLab(site)
    lab = Lab(site, portainer, on_the_other_host(site.project, "moved"))
    site.sh(lab.old, f"set -- {lab.data}; {ODD}", ok=True)
    site.sh(
        lab.old,
        f"cd {lab.data} && head -c {BALLAST}M /dev/urandom >ballast && "
        "python3 -c \"import os; os.setxattr('odd/a', 'user.odd', b'value')\"",
        ok=True,
    )
    moving = "/collections/moving"
    site.qdrant(moving, "-X", "PUT", "-H", "Content-Type: application/json", "-d", '{"size": 4}')
    assert "moving" in lab.collections()
    yield lab
    back = site.project.phoenix("sync")
    if back.returncode != 0:  # a test that failed left it elsewhere
        back = site.project.phoenix("sync", "--move")
    assert back.returncode == 0, back.stdout + back.stderr
    site.qdrant(moving, "-X", "DELETE")
    # Portainer's own guest has no stack any more: what it had for it is told, and goes.
    plan = json.loads(site.project.phoenix("plan", "--json").stdout)
    left = [item["command"] for item in plan["undeclared"]["items"] if item["kind"] != "volumes"]
    assert left == [f"phoenix remove endpoint:{lab.new}"], left
    gone = site.project.phoenix("remove", f"endpoint:{lab.new}", "-y")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    site.sh(lab.old, f"cd {lab.data} && rm -rf odd ballast", ok=True)
    for host in (lab.old, lab.new):
        beside = [volume for volume in lab.volumes(host) if (host, volume) != (lab.old, lab.volume)]
        if beside:
            site.sh(host, f"docker volume rm {' '.join(beside)}", ok=True)
    portainer.assert_serving()


def test_a_plan_has_it_as_one_step_and_no_run_begins_unasked(lab_: Lab) -> None:
    before = lab_.portainer.running()
    sentence = f"tack {lab_.stack} moves from {lab_.old} to {lab_.new} (volume: {lab_.volume}, "
    plan = lab_.moved.phoenix("plan", "--json", STACK)
    assert plan.returncode == 2, plan.stderr
    steps = [
        change for change in json.loads(plan.stdout)["changes"] if change["component"] == "stacks"
    ]
    assert [step["host"] for step in steps] == [lab_.new], steps
    assert sentence in steps[0]["step"]
    assert f"{BALLAST} MiB" in steps[0]["step"] or f"{BALLAST + 1} MiB" in steps[0]["step"]
    for words in ((), (STACK,), (f"guest:{lab_.new}",), ("qdrant",)):
        done = lab_.moved.phoenix("sync", *words)
        assert done.returncode == 1, done.stdout
        assert sentence in done.stdout, done.stdout + done.stderr
        assert "phoenix sync --move" in done.stdout
        assert "0 changes" in done.stdout, done.stdout
    for deploy in ("deploys/all.py", "deploys/stacks.py"):
        run = lab_.moved.run(deploy)
        assert run.returncode == 1, run.explain()
        assert run.changes == []
        assert sentence in run.output
    assert lab_.portainer.running() == before
    assert lab_.has(lab_.new) == []
    assert lab_.volumes(lab_.new) == []
    assert lab_.marks() == ""
    assert "moving" in lab_.collections()


def test_a_move_that_fails_brings_the_old_copy_back(lab_: Lab) -> None:
    broken = lab_.moved.variant("moved-broken")
    broken.replace(
        "stacks/qdrant_service/docker-compose.yml",
        "    init: true\n    restart: unless-stopped\n    ports:\n",
        '    init: true\n    entrypoint: ["false"]\n    restart: unless-stopped\n    ports:\n',
    )
    broken.replace("operations/moves.py", "seconds: float = 300.0", "seconds: float = 30.0")
    before = lab_.look(lab_.old)
    done = broken.phoenix("sync", STACK, "--move")
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "was not moved" in output
    assert "The old copy runs again" in output
    assert lab_.has(lab_.new) == []
    assert lab_.volumes(lab_.new) == []
    assert lab_.marks() == ""
    lab_.portainer.wait_well()
    assert lab_.look(lab_.old) == before
    assert "moving" in lab_.collections(), "the routes still lead to the old host"
    policies = lab_.site.sh(
        lab_.old,
        "docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' "
        f"$(docker ps -q --filter label=com.docker.compose.project={lab_.stack})",
        ok=True,
    ).out
    assert policies.split() == ["unless-stopped"]


def test_killed_in_the_middle_it_is_finished_by_the_next_run_that_is_asked_to(lab_: Lab) -> None:
    before = lab_.look(lab_.old)
    killed_in_the_copy(lab_)
    assert lab_.has(lab_.new) == []
    assert lab_.has(lab_.old) == ["exited"]
    unasked = lab_.moved.phoenix("sync", STACK)
    assert unasked.returncode == 1
    assert f"tack {lab_.stack} has not finished its move from {lab_.old}" in unasked.stdout
    assert lab_.has(lab_.new) == []

    done = lab_.moved.phoenix("sync", "--move")
    assert done.returncode == 0, done.stdout + done.stderr
    print_figure(
        "move", [line for line in done.stdout.splitlines() if "copied" in line or "checks" in line]
    )
    assert f"volume {lab_.volume}" in done.stdout
    assert "converged and verified" in done.stdout
    assert lab_.has(lab_.old) == []
    assert lab_.has(lab_.new) == ["running"]
    assert lab_.look(lab_.new) == before
    assert lab_.look(lab_.old) == before, "the volume stays on the old host"
    assert lab_.marks() == ""
    assert "moving" in lab_.collections()
    lab_.portainer.assert_serving()

    again = lab_.moved.phoenix("sync", "--move")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 changes" in again.stdout, again.stdout


def killed_in_the_copy(lab_: Lab) -> None:
    """Start a move and kill it, and all that it started, while the volume is being filled."""
    process = subprocess.Popen(
        [sys.executable, "-m", "phoenix", "sync", STACK, "--move"],
        cwd=lab_.moved.path,
        env=lab_.moved.command_environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    full = BALLAST * 1024
    filled = 0
    while not 1024 < filled < full:
        assert process.poll() is None, f"it ended before it could be killed: {lab_.phase()}"
        size = lab_.site.sh(lab_.new, f"du -sk {lab_.data} 2>/dev/null | cut -f1").out.strip()
        filled = int(size or 0)
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert lab_.phase() == "copying", f"{filled} of {full} KiB"
    print_figure("killed after", f"{filled} of {full} KiB")


def test_it_moves_back_and_what_was_there_before_is_kept(lab_: Lab) -> None:
    lab_.site.sh(lab_.new, f"cd {lab_.data} && echo newer >odd/newer", ok=True)
    unasked = lab_.site.project.phoenix("sync", STACK)
    assert unasked.returncode == 1
    assert f"moves from {lab_.new} to {lab_.old}" in unasked.stdout
    done = lab_.site.project.phoenix("sync", "--move")
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab_.has(lab_.new) == []
    assert lab_.has(lab_.old) == ["running"]
    assert lab_.site.sh(lab_.old, f"cat {lab_.data}/odd/newer", ok=True).out == "newer\n"
    beside = [volume for volume in lab_.volumes(lab_.old) if volume != lab_.volume]
    assert len(beside) == 1, beside
    folder = f"/var/lib/docker/volumes/{beside[0]}/_data/odd"
    assert "newer" not in lab_.site.sh(lab_.old, f"ls {folder}", ok=True).out
    assert f"kept in the volume {beside[0]}" in done.stdout
    assert "moving" in lab_.collections()
