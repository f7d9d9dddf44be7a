"""Values of a compose file that Compose or Docker refuse when the stack is deployed.

Forms: the Compose specification's JSON schema (compose-spec.json), and docker/go-units for sizes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from signal import Signals
from typing import Any

from phoenix.compose import command_words, mounts
from phoenix.declaration.compose import filled
from phoenix.declaration.json_errors import join

_Problem = tuple[str, str, str]
"""Path, message and fix."""

_NAME = re.compile(r"[a-zA-Z0-9._-]+\Z")
_DURATION = re.compile(r"(?:0|(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h|d|w))+)\Z", re.ASCII)
_SIZE = re.compile(r"\d+(?:\.\d+)* ?(?:[kmgtp]i?)?b?\Z", re.ASCII | re.IGNORECASE)
_SIGNALS = "|".join(signal.name.removeprefix("SIG") for signal in Signals)
_WORDS = (
    ("restart", re.compile(r"(?:no|always|unless-stopped|on-failure(?::\d+)?)?\Z", re.ASCII),
     "write no, always, unless-stopped or on-failure"),
    ("pull_policy", re.compile(r"(?:always|daily|if_not_present|missing|never|refresh|weekly"
                               r"|every_(?:\d+[wdhms])+)\Z", re.ASCII),
     "write always, missing, never, daily, weekly or every_12h"),
    ("stop_grace_period", _DURATION, 'write a number with its unit, as "30s"'),
    *((f"healthcheck.{key}", _DURATION, 'write a number with its unit, as "30s"')
      for key in ("interval", "start_interval", "start_period", "timeout")),
    *((key, _SIZE, 'write a number with its unit, as "512m"')
      for key in ("mem_limit", "mem_reservation", "shm_size", "volumes[].tmpfs.size",
                  *(f"blkio_config.device_{way}_{unit}[].rate"
                    for way in ("read", "write") for unit in ("bps", "iops")))),
    *((f"deploy.resources.{kind}.memory", _SIZE, 'write a number with its unit, as "512m"')
      for kind in ("limits", "reservations")),
    ("memswap_limit", re.compile(rf"-1\Z|{_SIZE.pattern}", _SIZE.flags),
     'write a number with its unit, as "512m", or -1 for no limit'),
    *((key, re.compile(r"\d*\.?\d+\Z", re.ASCII), "write a number of processors, as 1.5")
      for key in ("cpus", "deploy.resources.limits.cpus", "deploy.resources.reservations.cpus")),
    *((key, re.compile(r"(?!-)"), "write a whole number from 0 on")
      for key in ("deploy.replicas", "healthcheck.retries", "scale",
                  "deploy.restart_policy.max_attempts")),
    *((f"deploy.{key}", _DURATION, 'write a number with its unit, as "30s"')
      for key in ("restart_policy.delay", "restart_policy.window",
                  *(f"{part}.{name}" for part in ("rollback_config", "update_config")
                    for name in ("delay", "monitor")))),
    *((f"deploy.{part}.order", re.compile(r"(?:start|stop)-first\Z"),
       "write start-first or stop-first") for part in ("rollback_config", "update_config")),
    ("cgroup", re.compile(r"(?:host|private)?\Z"), "write host or private"),
    ("ipc", re.compile(r"(?:host|none|private|shareable|(?:container|service):.+)?\Z"),
     "write host, private, shareable, none or service:NAME"),
    ("pid", re.compile(r"(?:host|(?:container|service):.+)?\Z"), "write host or service:NAME"),
    ("userns_mode", re.compile(r"(?:host)?\Z"), "write host, or leave it out"),
    ("uts", re.compile(r"(?:host)?\Z"), "write host, or leave it out"),
    ("container_name", re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z", re.ASCII),
     "use two or more letters, digits, dots, underscores and hyphens"),
    ("mac_address", re.compile(r"(?:[\da-f]{2}[:-]){5}[\da-f]{2}\Z", re.ASCII | re.IGNORECASE),
     'write six pairs of digits, as "02:42:ac:11:00:02"'),
    ("stop_signal", re.compile(
        rf"(?:\d{{1,2}}|(?:SIG)?(?:{_SIGNALS}|RTM(?:IN(?:\+\d+)?|AX(?:-\d+)?)))\Z",
        re.ASCII | re.IGNORECASE), "write a signal, as SIGINT"),
    ("gpus", re.compile(r"all\Z"), "write all, or a list of devices"),
    *((f"{key}[].count", re.compile(r"(?:all|[+-]?\d+)\Z", re.ASCII | re.IGNORECASE),
       "write all, or a whole number")
      for key in ("deploy.resources.reservations.devices", "gpus")),
    ("oom_score_adj", re.compile(r"[+-]?0*(?:\d{1,3}|1000)\Z", re.ASCII),
     "write a number from -1000 to 1000"),
    ("cpuset", re.compile(r"(?:\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)?\Z", re.ASCII),
     'write processors by number, as "0-3" or "0,2"'),
    ("working_dir", re.compile(r"(?:/.*)?\Z", re.DOTALL), "write the whole path, beginning with /"),
)  # fmt: skip
"""Place of a value in a service, its form, and the fix. `[]` stands for each entry of a list."""
_CONDITIONS = ("service_completed_successfully", "service_healthy", "service_started")
_TESTS = ("CMD", "CMD-SHELL", "NONE")


def check(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Path, message and fix of each value that Compose or Docker refuse.

    Args:
        compose: the file's content, of the shape that `phoenix.compose.document.read` promises.
        values: the declared variables; a secret's has any text that is not empty.
    """
    for kind in ("configs", "networks", "secrets", "services", "volumes"):
        for name in compose.get(kind) or ():
            if not _NAME.match(str(name)) and not str(name).startswith("x-"):
                message = f"{str(name)[:80]!r} is not a name that Compose takes"
                fix = "use letters, digits, dots, underscores and hyphens"
                yield join(kind, str(name)), message, fix
    for path in _null_characters(compose, ""):
        message = "has a null character: no program, path or name can have one (execve(2))"
        yield path, message, "remove it"
    for name, service in compose["services"].items():
        place = f"services.{name}"
        if not any(service.get(key) for key in ("image", "build", "extends", "provider")):
            yield place, "has no image, so Compose refuses the file", 'write image: "NAME:VERSION"'
        for path, message, fix in _of_service(service, values):
            yield f"{place}.{path}", message, fix


def _null_characters(value: Any, path: str) -> Iterator[str]:
    """The path of each text, or of what has such a key."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if "\0" in str(key):
                yield path
            yield from _null_characters(inner, join(path, str(key)))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _null_characters(inner, join(path, position))
    elif isinstance(value, str) and "\0" in value:
        yield path


def _of_service(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    for place, form, fix in _WORDS:
        for path, value in _single_values(service, place):
            text = filled(value, values)
            is_bare = form is _DURATION and not isinstance(value, str)  # Compose takes no such one
            if text is not None and (is_bare or not form.match(text)):
                yield path, f"{str(value)[:80]!r} is refused by Docker", fix
    waits = service.get("depends_on")
    for name, how in waits.items() if isinstance(waits, dict) else ():
        condition = how.get("condition") if isinstance(how, dict) else None
        if isinstance(how, dict) and condition is None:
            fix = f"write condition: {_CONDITIONS[-1]}"
            yield f"depends_on.{name}", "needs `condition`: Compose refuses it", fix
        elif condition is not None and filled(condition, values) not in (*_CONDITIONS, None):
            fix = f"write {', '.join(_CONDITIONS[:-1])} or {_CONDITIONS[-1]}"
            yield f"depends_on.{name}.condition", f"{str(condition)[:80]!r} is not a condition", fix
    test = at(service, ["healthcheck", "test"])
    if isinstance(test, list) and (not test or test[0] not in _TESTS):
        fix = f"begin the list with {', '.join(_TESTS[:-1])} or {_TESTS[-1]}, or write one text"
        yield "healthcheck.test", "Docker does not know which kind of command it is", fix
    yield from _lines(service, values)
    first: dict[str, str] = {}
    for path, target in targets(service, values):
        if first.setdefault(target, path) != path:
            message = f"{target[:80]} is the target of {first[target]} too: one of the two is lost"
            yield path, message, "mount it elsewhere, or keep one of the two"


def _single_values(service: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    """Path and value of what stands at a place: one value, or one in each entry of a list."""
    outer, in_list, inner = place.partition("[].")
    held = at(service, outer.split("."))
    if not in_list:
        if held is not None and not isinstance(held, dict | list):
            yield outer, held
        return
    for position, entry in enumerate(held if isinstance(held, list) else ()):
        for path, value in _single_values(entry if isinstance(entry, dict) else {}, inner):
            yield f"{outer}[{position}].{path}", value


def _lines(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Entries of lists without what Docker asks of each."""
    held = service.get("tmpfs")
    for position, mount in enumerate(held if isinstance(held, list) else [held]):
        text = filled(mount, values) if isinstance(mount, str) else None
        if text is not None and not text.startswith("/"):
            path = f"tmpfs[{position}]" if isinstance(held, list) else "tmpfs"
            message = f"{text[:80]!r} is not a path in the container that Docker takes"
            yield path, message, "begin it with /"
    settings = service.get("sysctls")
    for position, line in enumerate(settings if isinstance(settings, list) else ()):
        if isinstance(line, str) and "=" not in line:
            message = f"{line[:80]!r} has no value: Docker refuses it"
            yield f"sysctls[{position}]", message, "write NAME=VALUE"
    lines = service.get("environment")
    for position, line in enumerate(lines if isinstance(lines, list) else ()):
        if isinstance(line, str) and line.startswith("="):
            message = f"{line[:80]!r} has no name: Docker refuses it"
            yield f"environment[{position}]", message, "write NAME=VALUE"
    if isinstance(lines, dict) and "" in lines:
        yield "environment", "has a value without a name: Compose refuses it", "name it"
    for path, command in _commands(service):
        text = filled(command, values)
        fault = None if text is None else command_words.read(text).fault
        if fault:
            yield path, f"{fault}: Compose refuses it", 'write a list: ["PROGRAM", "WORD"]'


def _commands(service: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Place and text of each command that is written as one text."""
    written = [(key, service.get(key)) for key in ("command", "entrypoint")]
    for key in ("post_start", "pre_stop"):
        for position, hook in enumerate(service.get(key) or ()):
            if isinstance(hook, dict):
                written.append((f"{key}[{position}].command", hook.get("command")))
    yield from ((path, text) for path, text in written if isinstance(text, str))


def left_out(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[_Problem]:
    """Place, message and fix of each command of which Compose does not read the end.

    Args:
        service: of the shape that `phoenix.compose.document.read` promises.
        values: the declared variables.
    """
    for path, command in _commands(service):
        end = command_words.read(filled(command, values) or "").left_out
        if end:
            message = f"Compose starts no shell, and reads nothing from {end[:40]!r} on"
            fix = 'write a list for a shell: ["/bin/sh", "-c", "..."], or quote the sign'
            yield path, message, fix


def targets(service: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Place in a service, and path in its container, of each mount."""
    for position, mount in enumerate(service.get("volumes") or ()):
        read_mount = mounts.read(mount, values)
        target = read_mount.target if read_mount else ""
        if target.startswith("/"):
            yield f"volumes[{position}]", posixpath.normpath(target)


def at(holder: Any, steps: Iterable[str]) -> Any:
    """The value at a path; None where there is none."""
    for step in steps:
        holder = holder.get(step) if isinstance(holder, Mapping) else None
    return holder
