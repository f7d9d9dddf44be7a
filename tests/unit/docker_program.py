"""A `docker` that keeps containers, networks and volumes in a JSON file, for tests of our shell.

It knows the words that `components/move/*.sh` use, and fails on any other, as on a change of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

TYPE_CHECKING = False  # as of `typing`, whose import takes longer than most of what is asked here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

HOME = Path(os.environ.get("DOCKER_HOME", "/nonexistent"))
STATE = HOME / "state.json"
LABEL = "com.docker.compose.project"
WITH_VALUE = ("--filter", "--format", "--type", "--label")
MOUNTED = "{{range .Mounts}}"


def fail(text: str) -> NoReturn:
    sys.stderr.write(text + "\n")
    raise SystemExit(1)


def say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def filled(template: str, row: Any) -> str:
    """`{{.A.B}}` and `{{json .A}}`; of templates that loop, the names of the volumes."""
    if MOUNTED in template:
        return "\n".join(mount["Name"] for mount in row["Mounts"] if mount["Type"] == "volume")

    def value(match: re.Match[str]) -> str:
        field = row
        for part in match[2].strip(".").split("."):
            field = field[part]
        if match[1]:
            return json.dumps(field)
        return str(field).lower() if isinstance(field, bool) else str(field)

    return re.sub(r"\{\{(json )?(\.[A-Za-z.]+)\}\}", value, template)


class Docker:
    """One call."""

    def __init__(self, words: list[str]) -> None:
        self.state: dict[str, Any] = json.loads(STATE.read_text())
        self.containers: list[dict[str, Any]] = self.state["containers"]
        self.volumes: dict[str, dict[str, Any]] = self.state["volumes"]
        self.networks: dict[str, str] = self.state["networks"]
        self.flags: set[str] = set()
        self.options: list[tuple[str, str]] = []
        self.names: list[str] = []
        while words:
            word = words.pop(0)
            if word in WITH_VALUE:
                self.options.append((word, words.pop(0)))
            elif word.startswith("-"):
                self.flags.add(word)
            else:
                self.names.append(word)

    def values(self, option: str) -> list[str]:
        return [value for name, value in self.options if name == option]

    def filters(self, kind: str) -> list[str]:
        """The values of `--filter KIND=VALUE`."""
        conditions = [value.partition("=") for value in self.values("--filter")]
        return [value for name, _, value in conditions if name == kind]

    def container(self, name: str) -> dict[str, Any]:
        for row in self.containers:
            if row["Id"] == name:
                return row
        fail(f"no such object: {name}")

    def listed(self) -> Iterator[str]:
        labels, states = self.filters("label"), self.filters("status")
        for row in self.containers:
            in_state = row["State"]["Status"] in (states or ["running"]) or (
                "--all" in self.flags and not states
            )
            in_project = not labels or labels == [f"{LABEL}={row['Project']}"]
            mounts = {mount["Name"] for mount in row["Mounts"]}
            if in_state and in_project and set(self.filters("volume")) <= mounts:
                yield row["Id"]

    def ps(self) -> None:
        say(*self.listed())

    def inspect(self) -> None:
        (template,) = self.values("--format")
        say(*(filled(template, self.container(name)) for name in self.names))

    def update(self) -> None:
        (flag,) = self.flags
        policy, _, most = flag.removeprefix("--restart=").partition(":")
        for name in self.names:
            self.container(name)["HostConfig"]["RestartPolicy"] = {
                "Name": policy,
                "MaximumRetryCount": int(most or 0),
            }

    def start(self) -> None:
        for name in self.names:
            self.container(name)["State"] = {"Running": True, "Status": "running"}

    def stop(self) -> None:
        for name in self.names:
            row = self.container(name)
            if row.get("Comebacks"):  # Docker was about to start it again
                row["Comebacks"] -= 1
            else:
                row["State"] = {"Running": False, "Status": "exited"}

    def rm(self) -> None:
        for name in self.names:
            if self.container(name)["State"]["Running"] and "--force" not in self.flags:
                fail("stop the container before removing it")
        self.containers[:] = [row for row in self.containers if row["Id"] not in self.names]

    def network_ls(self) -> None:
        labels = self.filters("label")
        say(*(name for name, project in self.networks.items() if [f"{LABEL}={project}"] == labels))

    def network_rm(self) -> None:
        for name in self.names:
            del self.networks[name]

    def volume_ls(self) -> None:
        labels = self.filters("label")
        rows = self.volumes.values()
        say(*(row["Name"] for row in rows if [f"{LABEL}={row['Labels'].get(LABEL)}"] == labels))

    def volume_inspect(self) -> None:
        template = (self.values("--format") or [""])[0]
        for name in self.names:
            if name not in self.volumes:
                fail(f"no such volume: {name}")
            say(filled(template, self.volumes[name]))

    def volume_create(self) -> None:
        (name,) = self.names
        place = HOME / "volumes" / name / "_data"
        place.mkdir(parents=True, exist_ok=True)
        labels = dict(label.split("=", 1) for label in self.values("--label"))
        row = {"Name": name, "Driver": "local", "Options": None, "Labels": labels,
               "Mountpoint": str(place)}  # fmt: skip
        self.volumes.setdefault(name, row)
        say(name)

    def volume_rm(self) -> None:
        for name in self.names:
            if any(name == mount["Name"] for row in self.containers for mount in row["Mounts"]):
                fail(f"volume {name} is in use")
            shutil.rmtree(Path(self.volumes.pop(name)["Mountpoint"]).parent)


def main(words: list[str]) -> None:
    if (HOME / "down").exists():
        fail("Cannot connect to the Docker daemon")
    verb = words.pop(0)
    if verb in ("volume", "network"):
        verb = f"{verb}_{words.pop(0)}"
    docker = Docker(words)
    action: Callable[[], None] | None = getattr(docker, verb, None)
    if action is None:
        fail(f"docker {verb}: unknown here")
    action()
    STATE.write_text(json.dumps(docker.state))


if __name__ == "__main__":
    main(sys.argv[1:])
