"""A compose file's YAML as Compose reads it, and the shape that every reader may rely on.

Compose parses by go-yaml: `yes`, `off`, `22:30` and dates are strings, as in YAML 1.2, and keys
are strings. Whatever the file holds, reading it takes bounded time and memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import NoneType
from typing import Any, ClassVar, NamedTuple

import yaml

from phoenix.compose.interpolation import InterpolationError, interpolate
from phoenix.compose.mounts import MountError, of_text
from phoenix.compose.scalars import text_of

MAX_BYTES = 1_048_576
MAX_DEPTH = 60
MAX_NODES = 100_000
"""Values of one file, each alias counted as what it stands for."""

_INT_DIGITS = 80  # a number of 64 bits in base two, with its prefix, is shorter
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where the wheel has it


class Problem(NamedTuple):
    """One thing wrong in a compose file.

    Attributes:
        path: where, as `services.web.ports[0]` or `line 3, column 5`; empty for the whole file.
        message: what is wrong.
        fix: what to write instead.
    """

    path: str
    message: str
    fix: str


class ComposeFileError(ValueError):
    """A file that Compose, or this program, cannot use.

    Attributes:
        problems: all that was found; never empty.
    """

    def __init__(self, *problems: Problem) -> None:
        """Keep the problems in the order found."""
        self.problems = problems
        super().__init__("; ".join(f"{p.path}: {p.message}".removeprefix(": ") for p in problems))


class _ComposeLoader(_Loader):  # type: ignore[misc]
    """Safe, with go-yaml's rules for plain scalars in place of YAML 1.1's."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


def _integer(loader: Any, node: yaml.ScalarNode) -> int | float | str:
    """An integer of 64 bits; a longer one is a float if it is decimal, else text."""
    text = loader.construct_scalar(node).replace("_", "")
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = f"0o{digits[1:]}"
    if len(digits) <= _INT_DIGITS:
        number = int(digits, 0)
        if number.bit_length() <= 64:
            return -number if text.startswith("-") else number
    return float(text) if digits.isdigit() else str(node.value)


def _float(loader: Any, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower().replace("_", "")
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


SCALARS: tuple[tuple[str, str, str | list[str]], ...] = (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("merge", r"<<\Z", "<"),
    ("int", (r"[-+]?(?:0[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0[oO]_*[0-7][0-7_]*|0[bB]_*[01][01_]*"
     r"|0[0-7_]*|[1-9][0-9_]*)\Z"), "-+0123456789"),
    ("float", (r"(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9][0-9_]*)?"
     r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"), "-+0123456789."),
)  # fmt: skip
"""The tag of each plain scalar that is no text, its form, and its first characters (go-yaml,
resolve.go)."""
for _name, _form, _first in SCALARS:
    _ComposeLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(_form), list(_first)
    )
_ComposeLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_ComposeLoader.add_constructor("tag:yaml.org,2002:float", _float)


def _override(loader: Any, node: yaml.Node) -> Any:
    """`!override VALUE` in the only file there is: the value itself."""
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_scalar(node)


_ComposeLoader.add_constructor("!override", _override)
_MERGE_TAGS = ("!reset", "!override")
_MERGE_KEY = "tag:yaml.org,2002:merge"
_Place = tuple[str, ...]
"""The keys and positions that lead to a value."""


def _apply_tags(root: yaml.Node) -> frozenset[_Place]:
    """Take what is `!reset` out of a file, before merge keys fill its place (compose-go, reset.go).

    Returns:
        Where either tag stands: a service takes nothing there from one that it `extends`.
    """
    known: dict[int, frozenset[_Place]] = {}  # by node: the places in it

    def places(node: yaml.Node) -> frozenset[_Place]:
        if node.tag in _MERGE_TAGS:
            return frozenset(((),))
        if id(node) not in known:
            found: set[_Place] = set()
            kept = []
            for step, entry, child in _steps(node):
                found.update((*step, *place) for place in places(child))
                kept += [] if child.tag == "!reset" else [entry]
            if isinstance(node, yaml.CollectionNode):
                node.value = kept
            known[id(node)] = frozenset(found)
        return known[id(node)]

    return places(root)


def _steps(node: yaml.Node) -> Iterator[tuple[_Place, Any, yaml.Node]]:
    """Step, entry of the node, and node of each child; a merge key is no step."""
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            yield (str(number),), child, child
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            yield () if key.tag == _MERGE_KEY else (str(key.value),), (key, child), child


def merge_tags(text: str) -> tuple[tuple[str, str], ...]:
    """Where `!reset` or `!override` has nothing to act on; nothing where a file cannot be read.

    They say what becomes of an earlier file's value, or of that of a service which one `extends`
    (https://docs.docker.com/reference/compose-file/merge/#reset-value).

    Args:
        text: the file's content.
    """
    places: list[tuple[str, str]] = []
    visited: set[int] = set()

    def look(node: yaml.Node, path: str) -> None:
        if id(node) in visited:
            return
        visited.add(id(node))
        if node.tag in _MERGE_TAGS:
            places.append((path, node.tag))
        if path.startswith("services.") and path.count(".") == 1 and _has_extends(node):
            return
        for inner, child in _children(node, path):
            look(child, inner)

    if len(text) <= MAX_BYTES and any(tag in text for tag in _MERGE_TAGS):
        with suppress(ValueError):  # told by `read`
            if root := nodes(text):
                look(root, "")
    return tuple(places)


def _has_extends(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and any(k.value == "extends" for k, _ in node.value)


@contextmanager
def _loaded(text: str) -> Iterator[tuple[Any, yaml.Node | None]]:
    """A loader and the node of its one document."""
    _check_depth(text)
    loader = _ComposeLoader(text)
    try:
        yield loader, loader.get_single_node()
    finally:
        loader.dispose()


def nodes(text: str) -> yaml.Node | None:
    """The YAML of a compose file as nodes, which know their lines; nothing is checked but depth.

    Raises:
        ValueError: it is no YAML, or nested deeper than `MAX_DEPTH`.
    """
    try:
        with _loaded(text) as (_, node):
            return node
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def parse(text: str) -> dict[str, Any]:
    """Read the YAML of a compose file.

    Args:
        text: the file's content.

    Returns:
        The top mapping, as written: no variable is filled in.

    Raises:
        ComposeFileError: it is no YAML mapping, or one of a size, depth or form (recursive
            anchors, keys that are no strings, keys given twice) that Compose or this program
            refuses.
    """
    return _parsed(text)[0]


def _parsed(text: str) -> tuple[dict[str, Any], frozenset[_Place]]:
    """A file's content, and where `!reset` or `!override` stands; see `parse`."""
    if len(text) > MAX_BYTES:
        raise ComposeFileError(
            Problem("", f"is longer than {MAX_BYTES} characters", "split it into several stacks")
        )
    try:
        with _loaded(text) as (loader, node):
            if node is not None:
                _check_nodes(node)
            tagged: frozenset[_Place] = frozenset()
            if node is not None and any(tag in text for tag in _MERGE_TAGS):
                tagged = _apply_tags(node)
            data = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ComposeFileError(
            Problem(place, f"is not valid YAML: {problem}", _yaml_fix(problem, text, mark))
        ) from None
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        if isinstance(error, ComposeFileError):
            raise
        raise ComposeFileError(
            Problem("", f"has a value that cannot be read: {error}", "correct it")
        ) from None
    if not isinstance(data, dict):
        message = "is empty" if data is None else "is not a mapping"
        raise ComposeFileError(Problem("", message, "write services: {NAME: {...}}"))
    return data, tagged


_YAML_FIXES = (
    ("found undefined alias", "write &NAME before the value that *NAME stands for, or quote the *"),
    ("found unexpected end of stream", "close the quotes or the bracket that is open there"),
    ("did not find expected ',' or", "write the comma or the bracket that is missing there"),
    ("mapping values are not allowed", "indent the line as its neighbours, or quote the value"),
    ("found character that cannot start", "quote the value"),
    ("did not find expected key", "indent the line as its neighbours"),
    ("block sequence entries are not allowed", "write the - on a line of its own, indented"),
    ("could not find expected ':'", "write : after the key, and a space"),
)
"""The fix for a text that is no YAML, by the beginning of the reason that libyaml gives."""


def _yaml_fix(problem: str, text: str, mark: yaml.Mark | None) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "indent by spaces: YAML takes no tabs there"
    found = (fix for start, fix in _YAML_FIXES if problem.startswith(start))
    return next(found, "correct it there or just before it")


def read(text: str) -> dict[str, Any]:
    """Read a compose file and check the shape of what this program looks at.

    Afterwards `services` is a mapping, not empty, of mappings; `ports` of a service is a list,
    `volumes` of the file and `deploy` of a service are mappings, each where it is there at all;
    a service's `volumes`, `devices`, `cap_add` and other lists are lists, its `labels` a list or a
    mapping. A service that `extends` another of the file has what that one has.

    Raises:
        ComposeFileError: see `parse`; or parts of other types, every one of them named.
    """
    data, tagged = _parsed(text)
    services = data.get("services")
    if not isinstance(services, dict) or not services:
        raise ComposeFileError(
            Problem("services", "declares no services", "write services: {NAME: {...}}")
        )
    problems = tuple(_shape(data))
    if problems:
        raise ComposeFileError(*problems)
    return {**data, "services": _extended(services, tagged)}


def _extended(services: Mapping[str, Any], tagged: frozenset[_Place]) -> dict[str, dict[str, Any]]:
    """The services, each with what it has of another one (Compose specification, "extends").

    What another file has is left out: only the compose file itself goes to a host.

    Args:
        services: as written.
        tagged: where `!reset` or `!override` stands: a service takes nothing there from another.

    Raises:
        ComposeFileError: there is no such service, or services extend each other.
    """
    done: dict[str, dict[str, Any]] = {}
    for name in services:
        chain: dict[str, str | None] = {}  # a service, and the one that it extends
        at: str | None = name
        while at is not None and at not in done:
            base = _extends(services, at)
            chain[at] = base
            if base in chain:
                message, fix = f"extends itself, by {base}", "remove one of these extends"
                raise ComposeFileError(Problem(f"services.{at}.extends", message, fix))
            at = base
        for extending, base in reversed(chain.items()):
            own = services[extending]
            if base is not None:
                own = _over(_without(done[base], tagged, ("services", extending)), own)
            done[extending] = own
    return {name: done[name] for name in services}


def _extends(services: Mapping[str, Any], name: str) -> str | None:
    """The service of the same file that one extends; None where it extends none.

    Raises:
        ComposeFileError: the file has no such service.
    """
    extends = services[name].get("extends")
    if extends is None or (isinstance(extends, dict) and "file" in extends):
        return None
    base = extends.get("service") if isinstance(extends, dict) else extends
    place = f"services.{name}.extends"
    if base is None:
        message = "names no service: Compose refuses it"
        raise ComposeFileError(Problem(place, message, "write extends: {service: NAME}"))
    if not isinstance(base, str) or base not in services:
        message = f"the file declares no service {str(base)[:80]!r}: Compose refuses it"
        raise ComposeFileError(Problem(place, message, "declare it under services"))
    return base


def _without(value: Any, places: frozenset[_Place], at: _Place) -> Any:
    """A value without what stands at one of the places."""
    if not places or not isinstance(value, dict):
        return value
    return {
        key: _without(item, places, (*at, key))
        for key, item in value.items()
        if (*at, key) not in places
    }


def _over(inherited: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A service with what it does not have of its own from the one that it extends."""
    return {
        **{key: value for key, value in inherited.items() if key != "extends"},
        **own,
        **{
            key: _merged(inherited[key], own[key], (key,))
            for key in inherited.keys() & own.keys()
            if key != "extends"
        },
    }


_REPLACED = frozenset((("command",), ("entrypoint",), ("healthcheck", "test")))
"""Of these a service has its own alone (compose-go, override/merge.go, as all that follows)."""
_BY_NAME = frozenset(
    (("annotations",), ("deploy", "labels"), ("environment",), ("labels",), ("sysctls",))
)
"""Lists of `NAME=VALUE`, or mappings: of each name a service's own value counts."""
_TEXT_OR_LIST = frozenset((("dns",), ("dns_opt",), ("dns_search",), ("env_file",), ("tmpfs",)))
_LIST_OR_MAPPING = frozenset((("depends_on",), ("models",), ("networks",)))
_BY_TARGET = frozenset((("configs",), ("devices",), ("secrets",), ("volumes",)))
"""Lists of which a service's own entry counts for a place in the container."""


def _merged(base: Any, own: Any, path: _Place) -> Any:
    """Mappings are joined, lists are added up, and any other value replaces the first."""
    if path in _REPLACED:
        return own
    if own is None:
        return base
    if path in _BY_NAME and isinstance(base, list | dict) and isinstance(own, list | dict):
        return {**_named(base), **_named(own)}
    if path == ("extra_hosts",):
        base, own = _hosts(base), _hosts(own)
    if path in _TEXT_OR_LIST:
        base, own = ([value] if isinstance(value, str) else value for value in (base, own))
    if path in _LIST_OR_MAPPING and not (isinstance(base, list) and isinstance(own, list)):
        base, own = _keyed(base, path), _keyed(own, path)
    if path == ("logging",) and _is_other_driver(base, own):
        return own
    if isinstance(base, dict) and isinstance(own, dict):
        return {
            **base,
            **{
                key: _merged(base[key], own[key], (*path, key)) if key in base else own[key]
                for key in own
            },
        }
    if isinstance(base, list) and isinstance(own, list):
        own_targets = {_target(entry, path[0]) for entry in own} if path in _BY_TARGET else set()
        inherited = [
            entry for entry in base if not own_targets or _target(entry, path[0]) not in own_targets
        ]
        return [*inherited, *(entry for entry in own if entry not in inherited)]
    return own


def _named(pairs: list[Any] | dict[str, Any]) -> dict[str, Any]:
    """`NAME=VALUE` lines as a mapping; a name alone has no value."""
    if isinstance(pairs, dict):
        return pairs
    split = (str(line).partition("=") for line in pairs)
    return {name: value if equals else None for name, equals, value in split}


def _hosts(value: Any) -> Any:
    """Further names as `NAME=ADDRESS` lines."""
    if not isinstance(value, dict):
        return value
    lists = ((name, held if isinstance(held, list) else [held]) for name, held in value.items())
    return [f"{name}={text_of(address)}" for name, addresses in lists for address in addresses]


def _keyed(value: Any, path: _Place) -> Any:
    """Names as the mapping that Compose makes of their list."""
    if not isinstance(value, list):
        return value
    body = {"condition": "service_started", "required": True} if path == ("depends_on",) else None
    return {str(name): body for name in value}


def _is_other_driver(base: Any, own: Any) -> bool:
    drivers = [body.get("driver") for body in (base, own) if isinstance(body, dict)]
    return None not in drivers and len(set(map(str, drivers))) > 1


_MOUNTED_IN = {"configs": "", "secrets": "/run/secrets"}
"""Where an entry without a target is in the container."""


def _target(entry: Any, key: str) -> str:
    """Where an entry of `volumes`, `devices`, `configs` or `secrets` is in the container."""
    if isinstance(entry, dict):
        target = str(entry.get("target") or "").rstrip("/")
        return target or f"{_MOUNTED_IN.get(key, '')}/{entry.get('source')}"
    if key in _MOUNTED_IN:
        return f"{_MOUNTED_IN[key]}/{entry}"
    if key == "devices":
        return (f"{entry}".split(":") * 2)[1]
    with suppress(MountError):  # told by who checks the entry
        return of_text(str(entry)).target.rstrip("/")
    return str(entry)


def is_started(service: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether `compose up` starts a service: not behind a profile, and not scaled to zero.

    Args:
        service: as `read` gives it.
        values: the stack's variables.
    """
    replicas = str((service.get("deploy") or {}).get("replicas", service.get("scale", 1)))
    with suppress(InterpolationError):  # told where every expression is
        replicas, _ = interpolate(replicas, values)
    is_nothing = replicas.isdecimal() and not replicas.strip("0")
    return not service.get("profiles") and not is_nothing


def completing(services: Mapping[str, Any], values: Mapping[str, str]) -> frozenset[str]:
    """The services whose container is as it should be also when it has ended with code 0.

    Those that others wait for with `service_completed_successfully`; and those that Docker does not
    start again after success (`restart` absent, `no` or `on-failure`: Compose specification,
    "restart"), unless they serve: publish a port, or have a health check.

    Args:
        services: as `read` gives them.
        values: the stack's variables.
    """
    waited_for: dict[str, set[str]] = {}
    for body in services.values():
        waits = body.get("depends_on")
        for name, rule in waits.items() if isinstance(waits, dict) else ():
            if isinstance(rule, dict):
                waited_for.setdefault(name, set()).add(str(rule.get("condition")))
    return frozenset(
        name
        for name, body in services.items()
        if "service_completed_successfully" in waited_for.get(name, ())
        or (
            _ends(body, values)
            and not body.get("ports")
            and not _is_checked(body)
            and "service_healthy" not in waited_for.get(name, ())
        )
    )


def _ends(service: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    """Whether Docker leaves its container alone after it ended with code 0."""
    policy = service.get("restart")
    if policy is None:
        rule = (service.get("deploy") or {}).get("restart_policy")
        policy = rule.get("condition", "any") if isinstance(rule, dict) and rule else "no"
    try:
        text, _ = interpolate(str(policy), values)
    except InterpolationError:
        return False
    return text in ("", "no", "none") or text.partition(":")[0] == "on-failure"


def _is_checked(service: Mapping[str, Any]) -> bool:
    check = service.get("healthcheck")
    if not isinstance(check, dict) or check.get("disable"):
        return False
    return check.get("test") not in ("NONE", ["NONE"])


_SERVICE_KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "image": ((str,), 'write image: "NAME:VERSION"'),
    "ports": ((list,), 'write a list: ports: ["HOST:CONTAINER"]'),
    "volumes": ((list,), 'write a list: volumes: ["SOURCE:TARGET"]'),
    "labels": ((list, dict), 'write a list ("KEY=VALUE") or a mapping'),
    "deploy": ((dict,), "write a mapping: deploy: {replicas: 1}"),
    "profiles": ((list,), "write a list of names"),
    "depends_on": ((list, dict), "write a list of services, or a mapping"),
    "networks": ((list, dict, NoneType), "write a list of networks, or a mapping"),
    "network_mode": ((str,), "write host, none, bridge or service:NAME"),
    **dict.fromkeys(
        (
            "cap_add",
            "cap_drop",
            "configs",
            "device_cgroup_rules",
            "devices",
            "links",
            "post_start",
            "pre_stop",
            "secrets",
            "security_opt",
            "volumes_from",
        ),
        ((list, NoneType), "write a list"),
    ),
}


def _shape(data: dict[str, Any]) -> Iterator[Problem]:
    for key in ("volumes", "networks", "configs", "secrets"):
        if not isinstance(data.get(key) or {}, dict):
            yield Problem(key, "is not a mapping", f"write {key}: {{NAME: {{}}}}")
    for name, service in data["services"].items():
        place = f"services.{name}"
        if not isinstance(service, dict):
            yield Problem(place, "is not a mapping", "write image: and what else the service needs")
            continue
        for key, (types, fix) in _SERVICE_KEYS.items():
            if key in service and not isinstance(service[key], types):
                message = f"cannot be {_short(service[key])}"
                yield Problem(f"{place}.{key}", message, fix)
        labels = service.get("labels")
        if isinstance(labels, list):
            for number, label in enumerate(labels):
                if not isinstance(label, str):
                    message = f"cannot be {_short(label)}"
                    yield Problem(f"{place}.labels[{number}]", message, 'write "KEY=VALUE"')


def _short(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else repr(value)[:60]


def _too_deep(path: str) -> ComposeFileError:
    return ComposeFileError(
        Problem(path, f"is nested deeper than {MAX_DEPTH} levels", "nest it less deeply")
    )


def _check_depth(text: str) -> None:
    """Refuse nesting before it is built: the parser's events need no stack, its nodes do."""
    depth = 0
    for event in yaml.parse(text, Loader=_ComposeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark = event.start_mark
                raise _too_deep(f"line {mark.line + 1}, column {mark.column + 1}" if mark else "")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_nodes(root: yaml.Node) -> None:
    """Refuse anchors that hold themselves, aliases that multiply, and keys Compose refuses."""
    measured: dict[int, tuple[int, int] | None] = {}  # size and height; None: being measured

    def measure(node: yaml.Node, path: str) -> tuple[int, int]:
        if id(node) in measured:
            result = measured[id(node)]
            if result is None:
                raise ComposeFileError(
                    Problem(path, "is an anchor that contains itself", "write the values out")
                )
            return result
        measured[id(node)] = None
        size, height = 1, 0
        for inner, child in _children(node, path):
            child_size, child_height = measure(child, inner)
            size, height = size + child_size, max(height, child_height + 1)
            if size > MAX_NODES:
                raise ComposeFileError(
                    Problem(
                        path,
                        f"stands for more than {MAX_NODES} values, aliases counted",
                        "use fewer aliases, or split the file into several stacks",
                    )
                )
            if height > MAX_DEPTH:
                raise _too_deep(inner)
        measured[id(node)] = size, height
        return size, height

    measure(root, "")


def _children(node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        for number, child in enumerate(node.value):
            yield f"{path}[{number}]", child
    elif isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, child in node.value:
            merge = key.tag == _MERGE_KEY
            if not merge and key.tag != "tag:yaml.org,2002:str":
                text = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise ComposeFileError(
                    Problem(path, f"has a key that is not a string: {text[:60]}", "quote the key")
                )
            inner = f"{path}.{key.value}" if path else str(key.value)
            if key.value in names:
                raise ComposeFileError(Problem(inner, "the key appears twice", "keep one"))
            names.add(key.value)
            yield inner, child
