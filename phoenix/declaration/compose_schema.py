"""The keys that a compose file may have in each place, and what each of them may be.

Compose refuses any other when the stack is deployed. Source: the Compose specification's JSON
schema (https://github.com/compose-spec/compose-spec/blob/main/schema/compose-spec.json).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from phoenix.compose.scalars import flag
from phoenix.declaration.compose import filled
from phoenix.declaration.json_errors import join
from phoenix.site import suggestions
from phoenix.site.findings import Report


@dataclass(frozen=True)
class KeySchema:
    """What a value may be.

    Attributes:
        scalars: kinds of a single value (`_KINDS`); empty for none.
        items: what each entry of a list may be; None: it may be no list.
        values: what each value of a mapping of names may be; None: it may be no such mapping.
        keys: the keys of a mapping, each with its own form; None: it has no keys of its own.
        empty: it may be nothing (null).
        unique: no entry of a list may be there twice.
    """

    scalars: frozenset[str] = frozenset()
    items: KeySchema | None = None
    values: KeySchema | None = None
    keys: Mapping[str, KeySchema] | None = None
    empty: bool = False
    unique: bool = False

    @property
    def words(self) -> str:
        """The text for the operator."""
        kinds = [_KINDS[kind] for kind in _KINDS if kind in self.scalars]
        kinds += ["a list"] if self.items else []
        kinds += ["a mapping"] if self.values or self.keys is not None else []
        return " or ".join(kinds)


_KINDS = {
    "text": "text, in quotes",
    "number": "a number",
    "integer": "a whole number",
    "figure": "a number, without quotes",
    "flag": "true or false",
    "switch": "true or false, without quotes",
}
"""Numbers and flags may be text, as variables are; figures and switches may not."""


class _Misfit(NamedTuple):
    """A place that is not as its form says; `key`: one that it does not have.

    `again`: it is in its list already.
    """

    path: str
    form: KeySchema
    value: Any
    key: str = ""
    again: bool = False


def _scalar(*kinds: str) -> KeySchema:
    return KeySchema(frozenset(kinds))


def _list(
    items: KeySchema, *, scalar: KeySchema | None = None, values: KeySchema | None = None
) -> KeySchema:
    return KeySchema(scalar.scalars if scalar else frozenset(), items, values)


def _object(_scalars: KeySchema | None = None, **keys: KeySchema) -> KeySchema:
    return KeySchema(_scalars.scalars if _scalars else frozenset(), keys=keys)


def _nullable(**keys: KeySchema) -> KeySchema:
    return KeySchema(keys=keys, empty=True)


def _map(values: KeySchema) -> KeySchema:
    return KeySchema(values=values)


ANY = _scalar("text", "number", "flag")
TEXT, NUMBER, FLAG = _scalar("text"), _scalar("number"), _scalar("flag")
INTEGER, FIGURE, SWITCH = _scalar("integer"), _scalar("figure"), _scalar("switch")
_OPEN = KeySchema()  # what is looked at elsewhere, or not at all
_TEXTS = _list(TEXT)
_NAMES = KeySchema(items=TEXT, unique=True)
_WORDS = _list(TEXT, scalar=TEXT)
_COMMAND = replace(_WORDS, empty=True)
_PAIRS = KeySchema(items=TEXT, values=replace(ANY, empty=True))
_OF_OPTION = frozenset(("text", "number"))
_OPTIONS = _map(KeySchema(_OF_OPTION))
_LIMITS = {"cpus": NUMBER, "memory": TEXT}
_DEVICES = _list(
    _object(capabilities=_NAMES, count=ANY, device_ids=_NAMES, driver=TEXT, options=_PAIRS),
    scalar=TEXT,
)
_UPDATE = _object(
    **dict.fromkeys(("delay", "monitor"), ANY),  # their values are looked at in compose_values
    **dict.fromkeys(("failure_action", "order"), TEXT),
    max_failure_ratio=NUMBER,
    parallelism=INTEGER,
)
_DEPLOY = _object(
    endpoint_mode=TEXT,
    labels=_PAIRS,
    mode=TEXT,
    placement=_object(
        constraints=_TEXTS, max_replicas_per_node=INTEGER, preferences=_list(_object(spread=TEXT))
    ),
    replicas=INTEGER,
    resources=_object(
        limits=_object(**_LIMITS, pids=INTEGER),
        reservations=_object(**_LIMITS, devices=_DEVICES, generic_resources=_OPEN),
    ),
    restart_policy=_object(condition=TEXT, delay=ANY, max_attempts=INTEGER, window=ANY),
    rollback_config=_UPDATE,
    update_config=_UPDATE,
)
_GIVEN = _list(_object(TEXT, source=TEXT, target=TEXT, uid=TEXT, gid=TEXT, mode=INTEGER))
_HOOKS = _list(
    _object(command=_COMMAND, environment=_PAIRS, privileged=FLAG, user=TEXT, working_dir=TEXT)
)
_MOUNT = _object(
    TEXT,
    bind=_object(create_host_path=FLAG, propagation=TEXT, recursive=TEXT, selinux=TEXT),
    consistency=TEXT,
    image=_object(subpath=TEXT),
    read_only=FLAG,
    source=TEXT,
    target=TEXT,
    tmpfs=_object(mode=ANY, size=ANY),
    type=TEXT,
    volume=_object(labels=_PAIRS, nocopy=FLAG, subpath=TEXT),
)
_PORT = KeySchema(
    frozenset(("text", "number")),
    items=_OPEN,  # `compose.published` refuses it
    keys={
        **dict.fromkeys(("app_protocol", "host_ip", "mode", "name", "protocol"), TEXT),
        **dict.fromkeys(("published", "target"), ANY),
    },
)
_RATE = _list(_object(path=TEXT, rate=ANY))
SERVICE: Mapping[str, KeySchema] = {
    **dict.fromkeys(
        ("cgroup", "cgroup_parent", "container_name", "cpuset", "domainname", "hostname", "image",
         "ipc", "isolation", "mac_address", "network_mode", "pid", "platform", "pull_policy",
         "pull_refresh_after", "runtime", "stop_signal", "user", "userns_mode", "uts",
         "working_dir"),
        TEXT,
    ),
    **dict.fromkeys(
        ("attach", "init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty"),
        FLAG,
    ),
    **dict.fromkeys(
        ("cpu_percent", "cpu_period", "cpu_quota", "cpu_shares", "cpus", "oom_score_adj",
         "pids_limit"),
        NUMBER,
    ),
    **dict.fromkeys(
        ("cpu_count", "cpu_rt_period", "cpu_rt_runtime", "mem_swappiness", "scale"), INTEGER
    ),
    **dict.fromkeys(
        ("mem_limit", "mem_reservation", "memswap_limit", "restart", "shm_size",
         "stop_grace_period"),
        ANY,  # their values are looked at in compose_values
    ),
    **dict.fromkeys(("command", "entrypoint"), _COMMAND),
    **dict.fromkeys(("dns", "dns_search", "label_file", "tmpfs"), _WORDS),
    **dict.fromkeys(
        ("cap_add", "cap_drop", "device_cgroup_rules", "dns_opt", "links", "profiles",
         "security_opt", "volumes_from"),
        _TEXTS,
    ),
    **dict.fromkeys(("annotations", "environment", "labels", "sysctls"), _PAIRS),
    "external_links": _NAMES,
    "storage_opt": _OPTIONS,
    "use_api_socket": SWITCH,
    **dict.fromkeys(("build", "develop", "env_file", "provider"), _OPEN),
    "expose": _list(_scalar("text", "number")),
    "group_add": KeySchema(items=_scalar("text", "number"), unique=True),
    **dict.fromkeys(("configs", "secrets"), _GIVEN),
    **dict.fromkeys(("post_start", "pre_stop"), _HOOKS),
    "blkio_config": _object(
        **dict.fromkeys(
            ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"), _RATE
        ),
        weight=NUMBER,
        weight_device=_list(_object(path=TEXT, weight=NUMBER)),
    ),
    "credential_spec": _object(config=TEXT, file=TEXT, registry=TEXT),
    "depends_on": KeySchema(
        items=TEXT, values=_object(condition=TEXT, required=FLAG, restart=FLAG), unique=True
    ),
    "deploy": replace(_DEPLOY, empty=True),
    "devices": _list(_object(TEXT, permissions=TEXT, source=TEXT, target=TEXT)),
    "extends": _object(TEXT, file=TEXT, service=TEXT),
    "extra_hosts": KeySchema(items=TEXT, values=_list(TEXT, scalar=TEXT)),
    "gpus": _DEVICES,
    "healthcheck": _object(
        disable=FLAG,
        **dict.fromkeys(("interval", "start_interval", "start_period", "timeout"), ANY),
        retries=NUMBER,
        test=_WORDS,
    ),
    "logging": _object(driver=TEXT, options=_map(KeySchema(_OF_OPTION, empty=True))),
    "models": KeySchema(items=TEXT, values=_object(endpoint_var=TEXT, model_var=TEXT)),
    "networks": KeySchema(
        items=TEXT,
        unique=True,
        values=_nullable(
            aliases=_TEXTS,
            driver_opts=_OPTIONS,
            gw_priority=FIGURE,
            interface_name=TEXT,
            ipv4_address=TEXT,
            ipv6_address=TEXT,
            link_local_ips=_TEXTS,
            mac_address=TEXT,
            priority=FIGURE,
        ),
    ),
    "ports": _list(_PORT),
    "ulimits": _map(_object(INTEGER, hard=INTEGER, soft=INTEGER)),
    "volumes": _list(_MOUNT),
}  # fmt: skip
"""Keys of a service ("Services top-level element")."""
_EXTERNAL = _object(FLAG, name=TEXT)
_OF_DRIVER = {"driver": TEXT, "driver_opts": _OPTIONS, "external": _EXTERNAL, "labels": _PAIRS,
              "name": TEXT}  # fmt: skip
_POOL = _object(aux_addresses=_map(TEXT), gateway=TEXT, ip_range=TEXT, subnet=TEXT)
_KEPT = _OF_DRIVER | dict.fromkeys(("environment", "file", "template_driver"), TEXT)
_KEPT_OPEN = {key: form for key, form in _KEPT.items() if key not in ("driver", "driver_opts")}
TOP: Mapping[str, KeySchema] = {
    "configs": _map(_object(**_KEPT_OPEN, content=TEXT)),
    "include": _OPEN,
    "models": _OPEN,
    "name": TEXT,
    "networks": _map(
        _nullable(
            **_OF_DRIVER,
            **dict.fromkeys(("attachable", "enable_ipv4", "enable_ipv6", "internal"), FLAG),
            ipam=_object(config=_list(_POOL), driver=TEXT, options=_map(TEXT)),
        )
    ),
    "secrets": _map(_object(**_KEPT)),
    "services": _map(_object(**SERVICE)),
    "version": TEXT,
    "volumes": _map(_nullable(**_OF_DRIVER)),
}
"""Keys of the file."""


def check_keys(compose: Mapping[str, Any], label: str, report: Report) -> None:
    """Warn of keys that the Compose specification does not have: Compose refuses such a file.

    A key that begins with `x-` is an extension, and anybody's.

    Args:
        compose: the file's content.
        label: what findings call it.
        report: takes the warnings.
    """
    for misfit in _walk(compose, _object(**TOP), "", {}):
        if misfit.key:
            fix = suggestions.fix(misfit.key, misfit.form.keys or ())
            message = "unknown key, refused by Compose"
            report.unread(label, join(misfit.path, misfit.key), message, fix)


def check(compose: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Path, message and fix of each value of a kind that Compose refuses.

    Args:
        compose: the file's content.
        values: the declared variables; a secret's has any text that is not empty.
    """
    for misfit in _walk(compose, _object(**TOP), "", values):
        if misfit.key:
            continue
        if misfit.again:
            message = f"{_short(misfit.value)} is there already: Compose refuses it"
            yield misfit.path, message, "keep one of the two"
            continue
        fix = f"write {misfit.form.words}"
        fix = f"{fix}, or remove the key" if misfit.value is None else fix
        yield misfit.path, f"cannot be {_short(misfit.value)}: Compose refuses it", fix


def _walk(value: Any, form: KeySchema, path: str, values: Mapping[str, str]) -> Iterator[_Misfit]:
    if form == _OPEN or (value is None and form.empty):
        return
    if isinstance(value, Mapping):
        yield from _walk_mapping(value, form, path, values)
    elif isinstance(value, list):
        if form.items is None:
            yield _Misfit(path, form, value)
            return
        for position, inner in enumerate(value):
            if form.unique and inner in value[:position] and position < _MANY:
                yield _Misfit(join(path, position), form, inner, again=True)
            yield from _walk(inner, form.items, join(path, position), values)
    elif not _is(value, form.scalars, values):
        yield _Misfit(path, form, value)


def _walk_mapping(
    value: Mapping[str, Any], form: KeySchema, path: str, values: Mapping[str, str]
) -> Iterator[_Misfit]:
    if form.keys is None and form.values is None:
        yield _Misfit(path, form, value)
        return
    for key, inner in value.items():
        known = form.values if form.keys is None else form.keys.get(key)
        if known is not None:
            yield from _walk(inner, known, join(path, key), values)
        elif not key.startswith("x-"):
            yield _Misfit(path, form, value, key)


def _is(value: Any, kinds: Collection[str], values: Mapping[str, str]) -> bool:
    """Whether a single value is of one of these kinds; text stands for what it can be read as."""
    if value is None:
        return False
    if isinstance(value, bool):
        return "flag" in kinds or "switch" in kinds
    if isinstance(value, int | float):
        is_whole = isinstance(value, int) or value.is_integer()
        return "number" in kinds or "figure" in kinds or ("integer" in kinds and is_whole)
    if not isinstance(value, str) or "text" in kinds:
        return bool(kinds)
    text = filled(value, values) if kinds else ""
    if text is None:
        return True  # told where every expression is
    return (
        ("flag" in kinds and flag(text) is not None)
        or ("number" in kinds and _is_number(text))
        or ("integer" in kinds and _INTEGER.match(text) is not None)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return len(text) <= _DIGITS


_DIGITS = 40
_INTEGER = re.compile(r"[+-]?\d{1,19}\Z", re.ASCII)
_MANY = 1000  # entries that are compared with all before them


def _short(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    return "nothing" if value is None else repr(value)[:60]
