"""Changes of a declaration: made in a person's own text, proven in a copy, shown, written."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from rich.console import Console

from phoenix.cli.exits import CommandError
from phoenix.cli.new_site.contents import agent_keys
from phoenix.cli.new_site.folder import write_whole
from phoenix.cli.offline import Declared
from phoenix.compose import document
from phoenix.compose.document import ComposeFileError
from phoenix.declaration import stack_places, value_types
from phoenix.declaration.compose import published
from phoenix.declaration.json_edit import add, cut, insert, value
from phoenix.declaration.json_errors import listed
from phoenix.declaration.load import LXC_FILE, VM_FILE, load_site
from phoenix.declaration.stack_places import STACKS_FILE, StackPlaces
from phoenix.derived.find import Stack, UnknownNameError, choose, normalised
from phoenix.site import suggestions
from phoenix.site.findings import ConfigError, Finding, NameLookupError, Report
from phoenix.site.model import Host, Service, Site
from phoenix.site.names import LABEL
from phoenix.site.roles import Role
from phoenix.validation.project import missing_roles

_ENTRY = re.compile(r"(^|\.)(traefik_service|(traefik|external)_services\[\d+\])$")
"""Paths of entries that declare one service each."""


class Added(BaseModel):
    """What was added, or taken out.

    `files` are paths in the site's folder; `written` is false for --dry.
    """

    files: list[str]
    diff: str
    warnings: list[str]
    written: bool
    next: str


@dataclass(frozen=True)
class Route:
    """A service as a person gives it; None and empty: left out."""

    name: str
    port: int
    scheme: str | None = None
    health_path: str | None = None
    aliases: tuple[str, ...] = ()

    def entry(self) -> dict[str, Any]:
        """The service as the JSON files write it."""
        every = {
            "name": self.name, "port": self.port, "scheme": self.scheme,
            "health_path": self.health_path, "aliases": list(self.aliases),
        }  # fmt: skip
        return {key: value for key, value in every.items() if value}


class Draft:
    """Files of a site that are to be written, by path, with their new text."""

    def __init__(self, declared: Declared) -> None:
        """Begin with none.

        Raises:
            CommandError: the declaration is faulty as it is.
        """
        self.declared = declared
        self.site: Site = declared.sound()
        self.texts: dict[Path, str] = {}
        self.routed = False
        """Whether a service is among what is added."""

    def text(self, file: Path) -> str:
        """A file's text, as it is to be."""
        if file not in self.texts:
            return file.read_bytes().decode()  # line ends as they are
        return self.texts[file]

    def host(self, name: str) -> Host:
        """A guest, by whatever `phoenix.derived.find` takes for one.

        Raises:
            CommandError: there is none.
        """
        try:
            host = choose(self.site, name, first=(), of=("guest",))
        except NameLookupError as error:
            raise CommandError(
                f"{error}; to add one: phoenix add host {normalised(name)}"
            ) from None
        if not isinstance(host, Host):  # for mypy: no other kind is asked for
            raise TypeError(host)
        if host.kind == "hypervisor":
            raise CommandError(f"{host.name} is the hypervisor: name a guest")
        return host

    def stack(self, name: str) -> tuple[str, str]:
        """The folder of a stack, and the environment that the name stands for, empty if for none.

        A stack that no host deploys is known by its folder alone.

        Raises:
            CommandError: several stacks have the name.
        """
        try:
            stack = choose(self.site, name, first=(), of=("stack",))
        except UnknownNameError:
            return normalised(name).removeprefix("stack:"), ""
        except NameLookupError as error:
            raise CommandError(str(error)) from None
        if not isinstance(stack, Stack):  # for mypy: no other kind is asked for
            raise TypeError(stack)
        first = stack.deployed[0][1]
        return first.name, "" if stack.name == first.name else first.environment

    def into_list(self, host: Host, key: str, item: Any) -> None:
        """Add to a list of a guest's entry."""
        file = self.declared.file(host.source.file)
        self.texts[file] = add(self.text(file), host.source.path, key, item)

    # -- what can be added ------------------------------------------------------------------------

    def add_service(self, host: Host, route: Route) -> None:
        """A service of a guest, beside those that it has."""
        self.routed = True
        file = self.declared.file(host.source.file)
        entry = value(self.text(file), host.source.path)
        if "traefik_service" in entry:
            self.into_list(host, "traefik_services", route.entry())
        else:
            self.texts[file] = insert(
                self.text(file), host.source.path, route.entry(), "traefik_service"
            )

    def add_stack_service(self, stack: str, environment: str, service: str, route: Route) -> None:
        """A route to a compose service of a stack.

        Raises:
            CommandError: the stack has no such environment, or the service has a route.
        """
        self.routed = True
        file = self.declared.file(f"stacks/{stack}/phoenix.json")
        if file not in self.texts and stack not in self._places().own():
            known = self._places().names()
            if stack in known:
                raise CommandError(f"{stack} stands in {STACKS_FILE}: write the service there")
            raise CommandError(f"there is no stack {stack!r}. {suggestions.hint_for(stack, known)}")
        environments = json.loads(self.text(file)).get("environments", {})
        if environment not in environments:
            raise CommandError(
                f"{stack} has no environment {environment!r}. "
                + suggestions.hint_for(environment, environments)
            )
        path = f"environments.{environment}"
        service = service or self._service_at(stack, route.port)
        present = environments[environment].get("services", {})
        if service in present:
            key = f"{path}.services.{service}"
            plural = "traefik_service" in present[service]
            new = (add(self.text(file), key, "traefik_services", route.entry()) if plural
                   else insert(self.text(file), key, route.entry(), "traefik_service"))  # fmt: skip
        else:
            entry = {"traefik_service": route.entry()}
            new = add(self.text(file), path, "services", entry, service)
        self.texts[file] = new

    def _places(self) -> StackPlaces:
        """Where the stacks stand that the site has without what is added."""
        return stack_places.read(self.declared.inventories, self.declared.stacks, Report())

    def _service_at(self, stack: str, port: int) -> str:
        """The service of a stack's compose file that a port of its host leads to.

        Raises:
            CommandError: several may be meant, or none; or the file cannot be used.
        """
        label = f"stacks/{stack}/{stack_places.COMPOSE}"
        try:
            content = document.read(self.text(self.declared.file(label)))
        except (ComposeFileError, OSError) as error:
            raise CommandError(f"nothing was written:\n{label}: {error}") from None
        services = list(content["services"])
        if len(services) == 1:
            return str(services[0])
        at_port = {entry.service for entry in published(content, {}, {}, label, Report())
                   if (entry.host_port, entry.proto) == (port, "tcp")}  # fmt: skip
        if len(at_port) == 1:
            return at_port.pop()
        raise CommandError(
            f"{stack} has several services, and {'none' if not at_port else 'more than one'} of "
            f"them publishes port {port}: phoenix add service NAME --stack {stack} --service ONE "
            f"--port {port}, of {', '.join(services)}"
        )

    def add_host(
        self, name: str, address: IPv4Address, *, kind: str | None, vmid: int | None,
        role: Role | None,
    ) -> None:  # fmt: skip
        """A guest.

        Raises:
            CommandError: it has the name of one that is there.
        """
        if not LABEL.match(name.lower()):
            raise CommandError(
                f"{name!r} is not a host name: write letters, digits and inner hyphens (RFC 1123)"
            )
        if any(host.name == name.lower() for host in self.site.hosts):
            raise CommandError(f"there is a host {name.lower()} already")
        subnet = next((network for network in self.site.subnets if address in network), None)
        if subnet is None:
            known = listed(self.site.subnets)
            raise CommandError(f"{address} is not in the site's networks: {known}")
        kind = kind or ("vm" if role in ("docker", "portainer") else "lxc")
        entry: dict[str, Any] = {"name": name}
        if role:
            entry["role"] = role
        if role == "docker" and self.site.portainer is not None:
            entry |= agent_keys(name, self.site.domain, first=not self.site.agents)
        entry["network_config"] = {"ip": f"{address}/{subnet.prefixlen}"}
        number = vmid or self._free_id(kind)
        if kind == "lxc":
            file = self.declared.file(LXC_FILE)
            self.texts[file] = add(self.text(file), "", "lxc_configs", entry, str(number))
        else:
            file = self.declared.file(VM_FILE)
            self.texts[file] = add(self.text(file), "", "vms", {"vmid": number, **entry})

    def _free_id(self, kind: str) -> int:
        """The first id above those of the guests of its kind."""
        every = [*self.site.guests, *self.site.templates]
        used = {machine.vmid for machine in every if machine.vmid is not None}
        used_ids = [guest.vmid for guest in self.site.guests if guest.kind == kind and guest.vmid]
        number = max(used_ids, default=100 if kind == "lxc" else 1000) + 1
        while number in used:
            number += 1
        return number

    def add_stack(
        self, name: str, host: Host, environment: str | None, *, compose: str | None,
        image: str | None, publish: tuple[int, int] | None, route: Route | None,
    ) -> None:  # fmt: skip
        """A stack on a guest; its folder is made where there is none.

        Raises:
            CommandError: it has no compose file, or one is given and another is there.
        """
        if not stack_places.NAME.match(name):
            raise CommandError(f"{name!r} is not a name of a stack: {value_types.NAME_FIX}")
        folder = self.declared.stacks / name
        manifest, file = folder / "phoenix.json", folder / "docker-compose.yml"
        where = environment or self.site.environment
        has_source = compose is not None or image is not None
        if has_source and folder.exists():
            raise CommandError(f"{folder} is there already: leave --compose and --image out")
        if name not in self._places().names():
            if not has_source:
                raise CommandError(
                    f"there is no stack {name}: give its --compose FILE, or its --image"
                )
            self.texts[file] = _compose(name, image or "", publish) if compose is None else compose
            self.texts[manifest] = json.dumps({"environments": {where: {}}}, indent=4) + "\n"
        if route is not None:
            self.add_stack_service(name, where, "", route)
        reference: Any = name if environment is None else {"name": name, "environment": where}
        self.into_list(host, "docker_stacks", reference)

    # -- what can be taken out --------------------------------------------------------------------

    def take_out(self, name: str) -> list[str]:
        """The entry of the service, host or stack of this name; of a stack on each of its hosts.

        Returns:
            What stays, a line each.

        Raises:
            CommandError: nothing declared has the name, several things have it, or what declares
                it is no entry of its own.
        """
        try:
            meaning = choose(self.site, name, first=(), of=("service", "guest", "stack"))
        except NameLookupError as error:
            raise CommandError(str(error)) from None
        if isinstance(meaning, Stack):
            for _, deployed in meaning.deployed:
                self._cut(deployed.entry.file, deployed.entry.path)
            folders = sorted({f"stacks/{deployed.name}" for _, deployed in meaning.deployed})
            return [f"{folder} stays where it is" for folder in folders]
        if not isinstance(meaning, Host | Service):  # for mypy: no other kind is asked for
            raise TypeError(meaning)
        if isinstance(meaning, Host) and meaning.kind == "hypervisor":
            raise CommandError(f"{meaning.name} is the hypervisor: a site has one")
        if isinstance(meaning, Service) and not _ENTRY.search(meaning.source.path):
            raise CommandError(
                f"{name} has no entry of its own to take out: it follows from "
                f"{meaning.source.file}: {meaning.source.path}"
            )
        file, path = meaning.source.file, meaning.source.path
        self._cut(file, path)
        owner = path.rpartition(".")[0]
        # A compose service without a route has no entry.
        if ".services." in owner and not value(self.text(self.declared.file(file)), owner):
            self._cut(file, owner)
        return []

    def _cut(self, label: str, path: str) -> None:
        file = self.declared.file(label)
        self.texts[file] = cut(self.text(file), path)

    # -- proof and writing ------------------------------------------------------------------------

    def finish(self, command: str, *, dry: bool) -> Added:
        """Prove the new files in a copy of the site, then write them, unless `dry`.

        Raises:
            CommandError: with what would be wrong; nothing was written.
        """
        warnings = self._prove()
        diff = "".join(self._difference(file) for file in self.texts)
        if not dry:
            for file, text in self.texts.items():
                write_whole(file.resolve(), text)  # a link of a person's stays
        return Added(
            files=[self._label(file) for file in self.texts],
            diff=diff,
            warnings=[str(warning) for warning in warnings],
            written=not dry,
            next=command,
        )

    def _prove(self) -> list[Finding]:
        before = {*self.site.warnings, *missing_roles(self.site)}
        with tempfile.TemporaryDirectory(prefix="phoenix-add-") as temporary:
            copies = {}
            for name, folder in (("inventories", self.declared.inventories),
                                 ("stacks", self.declared.stacks)):  # fmt: skip
                copies[folder] = Path(temporary, name)
                if folder.is_dir():
                    _copy(folder, copies[folder], {"stacks"} if name == "inventories" else set())
            for file, text in self.texts.items():
                write_whole(_moved(file, copies), text)
            try:
                site = load_site(*copies.values(), environment=self.site.environment)
                findings = [
                    _at_home(finding, copies) for finding in (*site.warnings, *missing_roles(site))
                ]
            except ConfigError as error:
                faults = ConfigError([_at_home(finding, copies) for finding in error.findings])
                raise CommandError(
                    f"nothing was written:\n{faults}{self._by_hand(faults)}"
                ) from None
        warnings = [warning for warning in findings if warning not in before]
        if unread := [str(warning) for warning in warnings if warning.unread]:
            raise CommandError("nothing was written:\n" + "\n".join(unread))
        if self.routed and len(site.services) == len(self.site.services):
            listing = "\n".join(map(str, warnings))
            raise CommandError(f"nothing was written: the service would lead nowhere\n{listing}")
        return warnings

    def _by_hand(self, faults: ConfigError) -> str:
        """What to do where a new stack lacks what no option gives, as a variable's value."""
        new = {self._label(file) for file in self.texts if not file.exists()}
        folders = {Path(f.file).parent.as_posix() for f in faults.findings if f.file in new}
        return "".join(
            f"\nor write docker-compose.yml and phoenix.json in {folder} yourself, and call this "
            "again without --compose and --service"
            for folder in sorted(folders)
        )

    def _label(self, file: Path) -> str:
        inside = file.is_relative_to(self.declared.root)
        return str(file.relative_to(self.declared.root) if inside else file)

    def _difference(self, file: Path) -> str:
        before = file.read_bytes().decode().splitlines(keepends=True) if file.exists() else []
        label = self._label(file)
        return "".join(
            difflib.unified_diff(
                before, self.texts[file].splitlines(keepends=True),
                f"a/{label}" if before else "/dev/null", f"b/{label}",
            )
        )  # fmt: skip


def _copy(folder: Path, copy: Path, without: Collection[str], *, links: bool = True) -> None:
    """A copy that can be written into: what links lead to is copied, as far as it can be read.

    Of folders that links lead to, those directly in `folder` alone, where `links` are followed.
    """

    def left_out(at: str, names: list[str]) -> set[str]:
        own = {*_NEVER, *without}
        shut = {name for name in names if Path(at, name).is_dir()
                and not os.access(Path(at, name), os.R_OK | os.X_OK)}  # fmt: skip
        return own & {*names} | shut

    shutil.copytree(
        folder, copy, symlinks=True, ignore=left_out, copy_function=_copy_file, dirs_exist_ok=True
    )
    for link in [path for path in copy.rglob("*") if path.is_symlink()]:
        target = (folder / link.relative_to(copy)).resolve()
        link.unlink()
        if links and link.parent == copy and target.is_dir():
            _copy(target, link, without, links=False)
        elif target.is_file():
            _copy_file(target, link)
        else:
            link.symlink_to(target)


_NEVER = ("__pycache__", ".git")


def _copy_file(source: Path | str, copy: Path | str) -> None:
    try:
        shutil.copy2(source, copy)
    except OSError:  # a pipe, or what this person may not read
        Path(copy).symlink_to(Path(source).resolve())


def _at_home(finding: Finding, copies: Mapping[Path, Path]) -> Finding:
    """A finding about the copy, as it is of the site itself."""
    message, fix = finding.message, finding.fix
    for folder, copy in copies.items():
        message, fix = (text.replace(str(copy), str(folder)) for text in (message, fix))
    return replace(finding, message=message, fix=fix)


def _moved(file: Path, copies: Mapping[Path, Path]) -> Path:
    """Where a file is in the copy; the inner of two folders counts."""
    for folder in sorted(copies, key=lambda folder: len(folder.parts), reverse=True):
        if file.is_relative_to(folder):
            return copies[folder] / file.relative_to(folder)
    raise CommandError(f"{file} is outside of the site's declaration")


def _compose(name: str, image: str, publish: tuple[int, int] | None) -> str:
    service: dict[str, Any] = {"image": image, "restart": "unless-stopped"}
    if publish:
        service["ports"] = [f"{publish[0]}:{publish[1]}"]
    return str(yaml.safe_dump({"services": {name: service}}, sort_keys=False))


def print_added(console: Console, report: Added, lines: Sequence[str] = ()) -> None:
    """The difference, and the next command."""
    console.print(report.diff.rstrip("\n"), markup=False)
    for warning in report.warnings:
        console.print(f"warning: {warning}", markup=False)
    for line in lines:
        console.print(line, markup=False)
    if report.written:
        console.print(f"written: {', '.join(report.files)}", markup=False)
        console.print(f"next: {report.next}", markup=False)
    else:
        console.print("sound; nothing was written")
