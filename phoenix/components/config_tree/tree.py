"""One component's files as a tree: what should be, what is, and the difference in words.

Pure: no pyinfra, no network. `operations.config_tree` carries the difference to the guest.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from phoenix import shell
from phoenix.components.answers import unexpected
from phoenix.site.findings import SettingError

BASE = "/var/lib/phoenix/trees"
"""Where generations live on a guest."""

# systemd resolves links to units when it enables them, which would pin one generation.
_COPIED = ("/etc/systemd/system/",)
_COMPONENT = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_MODE = re.compile(r"0[0-7]{3}\Z")


class TreeError(SettingError):
    """A tree that cannot be put on a host."""


@dataclass(frozen=True)
class TreeFile:
    """One file: `content` (text is UTF-8), `mode` in four octal digits, owner by name.

    `secret` keeps the content out of diffs; no content is ever part of the `repr`.
    """

    content: str | bytes = field(repr=False)
    mode: str = "0644"
    user: str = "root"
    group: str = "root"
    secret: bool = False

    @property
    def data(self) -> bytes:
        """The content as it will stand on the host."""
        return self.content.encode() if isinstance(self.content, str) else self.content

    @property
    def sha256(self) -> str:
        """Hex digest of `data`."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class FileState:
    """What a host has at one path; `link` is the target of a symbolic link, None for a file."""

    mode: str
    user: str
    group: str
    sha256: str
    link: str | None = None


@dataclass(frozen=True)
class UnitState:
    """ActiveState and UnitFileState of a unit, and whether systemd wants a daemon-reload."""

    active: str
    enabled: str
    stale: bool


@dataclass(frozen=True)
class TreeState:
    """What a host has of one component's tree."""

    current: str | None = None
    loaded: str | None = None
    files: Mapping[str, FileState] = field(default_factory=dict)
    occupied: frozenset[str] = frozenset()
    units: Mapping[str, UnitState] = field(default_factory=dict)
    foreign: frozenset[str] = frozenset()
    """Paths with a file that a person or a program put there, and Phoenix did not."""
    superseded: tuple[str, ...] = ()
    """Files that the service reads now, but no longer after the first generation."""
    directories: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Mode, user and group of the directories that the tree declares, as far as they are there."""
    not_in_force: str | None = None
    """What `Tree.in_force` said when it failed; None where it did not."""


@dataclass(frozen=True)
class Tree:
    """What should be: the files of `component`, and how its service takes them.

    Commands run as root in `sh`, with ROOT (where the proposed files stand) and GENERATION
    in the environment: `validate` before anything changes, `before` just ahead of the swap,
    `after` behind it, `health` repeatedly until it succeeds, ends with 99 (it never will) or
    `deadline` seconds pass. `revert` runs ahead of the previous generation's return. `otherwise`
    runs in its place after a failed first generation, when the host is as it was before.
    `action` is "reload" or "restart" of `unit`; `enable` are further units to enable and start.
    `confirm` seconds: go back unless the operator confirms in time (0: no confirmation).
    `start_later`: the files are put in place, and the service goes on with what it has loaded until
    a later operation has it load them; it needs `confirm`, whose time begins with the files.
    `in_force` is asked with the state: if it fails, files that are in place are loaded again, with
    its output as the reason.
    `links` are symbolic links to what belongs to the system, by their path.
    `supersedes` are patterns of files that the service reads before Phoenix, and no longer with
    this tree.
    """

    component: str
    files: Mapping[str, TreeFile]
    unit: str = ""
    action: str = "reload"
    enable: tuple[str, ...] = ()
    validate: str = ""
    before: str = ""
    after: str = ""
    revert: str = ""
    otherwise: str = ""
    health: str = ""
    deadline: int = 30
    confirm: int = 0
    start_later: bool = False
    supersedes: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    in_force: str = ""

    def __post_init__(self) -> None:
        """Refuse what the guest side could not carry out.

        Raises:
            TreeError: names the component, the value and the fix.
        """
        if not _COMPONENT.match(self.component):
            raise TreeError(
                f"component {self.component!r}: use lower-case letters, digits, hyphens"
            )
        if not self.files:
            raise TreeError(f"{self.component}: a tree needs at least one file")
        if self.action not in {"reload", "restart"}:
            raise TreeError(f"{self.component}: action {self.action!r} is not reload or restart")
        if self.start_later and not (self.confirm and self.unit):
            raise TreeError(f"{self.component}: start_later needs a unit and confirm seconds")
        for path, file in self.files.items():
            pure = PurePosixPath(path)
            if not pure.is_absolute() or str(pure) != path or ".." in pure.parts:
                raise TreeError(f"{self.component}: {path!r} is not a plain absolute path")
            if re.search(r"[\s'\"\\]", path):
                raise TreeError(f"{self.component}: {path!r}: no blanks or quotes in a path")
            if not _MODE.match(file.mode):
                raise TreeError(f"{self.component}: {path}: mode {file.mode!r} is not like 0644")
            if file.secret and int(file.mode, 8) & 0o007:
                raise TreeError(f"{self.component}: {path}: a secret must not be world-readable")

    @property
    def base(self) -> str:
        """The component's directory on the guest."""
        return f"{BASE}/{self.component}"

    def replaced_path(self, path: str) -> str:
        """Where what stood at `path` before the first generation is kept on the guest."""
        return f"{self.base}/replaced{path}"

    @property
    def id(self) -> str:
        """Name of this content: equal files and ownership give equal names."""
        return hashlib.sha256(self.manifest().encode()).hexdigest()[:16]

    @property
    def directories(self) -> Mapping[str, tuple[str, str, str]]:
        """Mode, user and group of the directories that its files in tmpfiles.d(5) declare."""
        directories = {}
        for path, file in self.files.items():
            if path.startswith("/etc/tmpfiles.d/"):
                for line in file.data.decode().splitlines():
                    kind, place, mode, user, group = (*line.split(), *[""] * 5)[:5]
                    if kind in ("d", "D") and mode:
                        owner = (user or "root", group or "root")
                        directories[place] = (mode.lstrip("0") or "0", *owner)
        return directories

    @property
    def paths(self) -> tuple[str, ...]:
        """Every place on the host whose state belongs to this tree."""
        return tuple(sorted({*self.files, *self.links, *self.directories}))

    @property
    def all_units(self) -> tuple[str, ...]:
        """Every unit whose state belongs to this tree."""
        return tuple(dict.fromkeys(([self.unit] if self.unit else []) + list(self.enable)))

    def is_copied(self, path: str) -> bool:
        """Whether `path` is a file of its own on the host, not a link into the generation."""
        return path.startswith(_COPIED)

    def link(self, path: str) -> str | None:
        """Where the link at `path` points; None when the file is copied."""
        return None if self.is_copied(path) else f"{self.base}/current/root{path}"

    def manifest(self) -> str:
        """One line per file: mode, user, group, sha256, L(ink) or C(opy), path."""
        return "".join(
            "\t".join(
                (f.mode[1:].lstrip("0") or "0", f.user, f.group, f.sha256,
                 "C" if self.is_copied(path) else "L", path)
            )
            + "\n"
            for path, f in sorted(self.files.items())
        )  # fmt: skip

    def params(self) -> str:
        """What the guest-side script needs to know, as shell assignments."""
        values = {
            "component": self.component,
            "base": self.base,
            "unit": self.unit,
            "action": self.action,
            "enable": " ".join(self.enable),
            "validate": self.validate,
            "before": self.before,
            "after": self.after,
            "revert": self.revert,
            "otherwise": self.otherwise,
            "health": self.health,
            "deadline": str(self.deadline),
            "confirm": str(self.confirm) if self.confirm else "",
            "start_later": "yes" if self.start_later else "",
            "links": "".join(f"{path}\t{target}\n" for path, target in self.links.items()),
        }
        return "".join(f"{name}={shell.quote(value)}\n" for name, value in values.items())

    def archive(self, script: str) -> str:
        """The stage as base64 of a tar archive, to be sent on standard input."""
        files = {f"root{path}": file.data for path, file in self.files.items()}
        return _archive(self._control(script) | files)

    def control(self, script: str) -> str:
        """What is no file of the component: `archive` without them, for a generation that stands.

        A power cut may have emptied the ones there, and their checks may be of an earlier release.
        """
        return _archive(self._control(script))

    def _control(self, script: str) -> dict[str, bytes]:
        return {
            "apply": script.encode(),
            "params": self.params().encode(),
            "manifest": self.manifest().encode(),
            "id": f"{self.id}\n".encode(),
        }


def _archive(members: Mapping[str, bytes]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
    return base64.encodebytes(buffer.getvalue()).decode()


@dataclass(frozen=True)
class TreeDiff:
    """What separates a host from a tree. Both empty: nothing to do."""

    files: Mapping[str, str]
    """Path to reason: these make a new generation necessary."""
    load: tuple[str, ...]
    """Reasons why the current generation, though in place, has yet to be loaded."""
    replaced: tuple[str, ...] = ()
    """Paths of files that Phoenix did not write: they are kept aside (`Tree.kept`)."""
    superseded: tuple[str, ...] = ()
    """Files that stay where they are, and are no longer read."""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.files or self.load)


def compare(tree: Tree, state: TreeState) -> TreeDiff:
    """What a run has to do, in words that an operator can check."""
    files = {}
    replaced = []
    for path, want in sorted(tree.files.items()):
        reason = _file_reason(tree, path, want, state.files.get(path))
        if reason and path in state.foreign and state.files[path].sha256 != want.sha256:
            replaced.append(path)
            reason = (
                f"replaces a file that Phoenix did not write; kept as {tree.replaced_path(path)}"
            )
        if reason:
            files[path] = reason
    for path in sorted(state.occupied - set(tree.files)):
        files[path] = "is no longer part of the component"
    if state.current is None:
        files = files or {next(iter(sorted(tree.files))): "was not put there by Phoenix"}
    return TreeDiff(files, _load_reasons(tree, state), tuple(replaced), state.superseded)


def _load_reasons(tree: Tree, state: TreeState) -> tuple[str, ...]:
    load = []
    if state.current is not None and state.loaded != state.current:
        load.append("the current generation was never loaded")
    elif state.not_in_force is not None:
        load.append(state.not_in_force or "it is not in force")
    for path, target in tree.links.items():
        link = state.files.get(path)
        if link is None or link.link != target:
            shown = link.link or "a file of its own" if link else "nothing"
            load.append(f"{path} leads to {shown}, not to {target}")
    for path, want in tree.directories.items():
        actual = state.directories.get(path)
        if actual != want:
            shown = f"is {actual[0]} {actual[1]}:{actual[2]}" if actual else "is missing"
            load.append(f"{path} {shown}, not {want[0]} {want[1]}:{want[2]}")
    load += [reason for unit in tree.all_units for reason in _unit_reasons(unit, state)]
    return tuple(load)


def _unit_reasons(unit: str, state: TreeState) -> Iterator[str]:
    have = state.units.get(unit)
    if have is None or have.active not in {"active", "reloading"}:
        yield f"{unit} is {have.active if have else 'absent'}"
    if have is not None and have.enabled in {"disabled", "masked"}:
        yield f"{unit} is {have.enabled}"
    if have is not None and have.stale:
        yield f"systemd has not read the newest {unit}"


def _file_reason(tree: Tree, path: str, want: TreeFile, have: FileState | None) -> str:
    if have is None:
        return "is missing"
    if have.sha256 != want.sha256:
        return "has other content"
    if have.link != tree.link(path):
        return "is not the generation's own file"
    owner = (want.mode[1:].lstrip("0") or "0", want.user, want.group)
    if (have.mode, have.user, have.group) != owner:
        return f"is {have.mode} {have.user}:{have.group}, not {owner[0]} {owner[1]}:{owner[2]}"
    return ""


def _unit(name: str, active: str, enabled: str, stale: str) -> UnitState:
    if not active:  # of one that is not there systemd says `inactive`
        raise TreeError(f"systemd does not tell how {name} is: does it answer (systemctl)?")
    return UnitState(active, enabled, stale == "yes")


def parse_state(lines: list[str]) -> TreeState:
    """Read the output of `facts.config_tree.TreeStateFact`.

    Raises:
        TreeError: the output is not of that form, or another run held the lock.
    """
    names: dict[str, str] = {}
    files: dict[str, FileState] = {}
    occupied: set[str] = set()
    units: dict[str, UnitState] = {}
    foreign: set[str] = set()
    directories: dict[str, tuple[str, str, str]] = {}
    superseded: list[str] = []
    for line in lines:
        match line.split("\t"):
            case ["busy", holder]:
                raise TreeError(f"another run has held {holder} for two minutes")
            case [("current" | "loaded" | "not in force") as name, value]:
                names[name] = value
            case ["file", path, link, mode, user, group, sha256]:
                files[path] = FileState(mode, user, group, sha256, link or None)
            case ["occupied", path]:
                occupied.add(path)
            case ["foreign", path]:
                foreign.add(path)
            case ["superseded", path]:
                superseded.append(path)
            case ["directory", path, mode, user, group]:
                directories[path] = (mode, user, group)
            case ["unit", name, active, enabled, stale]:
                units[name] = _unit(name, active, enabled, stale)
            case _:
                raise TreeError(unexpected(line))
    return TreeState(
        names.get("current"),
        names.get("loaded"),
        files,
        frozenset(occupied),
        units,
        frozenset(foreign),
        tuple(superseded),
        directories,
        names.get("not in force"),
    )
