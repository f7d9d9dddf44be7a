"""A lab before anything is deployed: what the plan says of it, and that it stays as it is."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from docker import DockerClient  # type: ignore[import-untyped]

from lab import inside
from lab.state import LabState
from tests.integration.project import Project

# Logs, and what systemd's timers and a login write by themselves, are nobody's state.
_LOOK = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log \
  -o -path /var/lib/systemd -o -path /var/lib/docker -o -path /var/lib/containerd \
  -o -path /var/lib/apt -o -path /var/cache -o -path /var/tmp \) -prune \
  -o ! -type d -printf '%p %s %T@ %m %u:%g %l\n' | sort
dpkg-query -W
systemctl list-units --all --no-legend --plain --type=service,timer --state=active |
  awk '{print $1, $3}' |
  grep -vE '^(user@|user-runtime-dir@|systemd-|run-|apt-|dpkg-|e2scrub|fstrim|logrotate)' | sort
"""


@dataclass(frozen=True)
class FreshPlan:
    """The plan, and every host's files, packages and services before and after it."""

    done: subprocess.CompletedProcess[str]
    before: dict[str, list[str]]
    after: dict[str, list[str]]

    def differences(self) -> dict[str, set[str]]:
        """Host to the lines that are not the same; empty where nothing was touched."""
        differing = {
            host: set(self.before[host]) ^ set(self.after[host])
            for host in self.before
        }  # fmt: skip
        return {host: lines for host, lines in differing.items() if lines}


def plan(docker: DockerClient, lab: LabState, project: Project) -> FreshPlan | None:
    """Look, plan, look again; None where an earlier run has already deployed."""
    gateway = docker.containers.get(lab.container(next(iter(lab.hosts))))
    if inside.run(gateway, "test", "-e", "/var/lib/phoenix").returncode == 0:
        return None
    before = _look(docker, lab)
    done = project.phoenix("plan", "--json")
    return FreshPlan(done, before, _look(docker, lab))


def _look(docker: DockerClient, lab: LabState) -> dict[str, list[str]]:
    outputs = {}
    for host in lab.hosts:
        result = inside.run(docker.containers.get(lab.container(host)), "sh", "-c", _LOOK)
        assert result.returncode == 0, result.stdout + result.stderr
        outputs[host] = (result.stdout + result.stderr).splitlines()
    return outputs
