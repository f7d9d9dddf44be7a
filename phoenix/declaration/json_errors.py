"""Reading JSON files so that every mistake can be named by file and JSON path."""

from __future__ import annotations

import errno
import json
import re
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from phoenix.declaration import json_syntax
from phoenix.site import suggestions
from phoenix.site.findings import Report

_QUAD = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 60
TOO_DEEP = (f"is nested too deeply: more than {MAX_DEPTH} levels", "nest it less deeply")
ModelT = TypeVar("ModelT", bound=BaseModel)


class _Object(dict[str, Any]):
    """A JSON object that remembers keys given twice (RFC 8259 leaves their meaning open)."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    result = _Object(pairs)
    if len(result) < len(pairs):
        uses = Counter(name for name, _ in pairs)
        result.repeated = tuple(sorted(name for name, count in uses.items() if count > 1))
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number (RFC 8259, section 6)")


def join(path: str, *steps: str | int) -> str:
    """Extend a JSON path: keys by a dot, list positions in brackets."""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path = f"{path}.{step}" if path else step
    return path


def read_text(file: Path, label: str, fix: str, report: Report) -> str | None:
    """Read a file that a person writes: a regular one, in UTF-8, of a size that fits its purpose.

    Args:
        file: where it is.
        label: what findings call it.
        fix: what to do where there is none.
        report: takes the reason why it cannot be read; then None is returned.
    """
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):  # a pipe or a device may never end
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "a pipe, a socket or a device"
            report.error(label, "", f"is {kind}, and no file", "put a file in its place")
        elif state.st_size > MAX_BYTES:
            fix = "remove what does not belong there"
            report.error(label, "", f"is longer than {MAX_BYTES} bytes", fix)
        else:
            data = file.read_bytes()
            return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        report.error(label, "", f"there is no such file: {file}", fix)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"byte {data[error.start]:#04x}"
        report.error(label, f"line {line}", f"is not UTF-8: {byte}", "save it as UTF-8")
    except OSError as error:
        why = error.strerror or error
        report.error(
            label, "", f"cannot be read: {why}", _READING.get(error.errno or 0, "make it readable")
        )
    return None


_READING = {
    errno.ELOOP: "replace the link, which leads back to itself, by a file",
    errno.EACCES: "let the user who runs this read it",
    errno.ENAMETOOLONG: "shorten its name",
}
"""The fix for a file that cannot be read, by the system's error (errno(3))."""


def read_object(file: Path, label: str, report: Report) -> dict[str, Any] | None:
    """Read one JSON object from `file`, called `label` in findings.

    Returns None, with the reason in `report`, if the file cannot be read as a JSON object.
    """
    text = read_text(file, label, "create it or correct the path", report)
    if text is None:
        return None
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        report.error(label, *json_syntax.of_error(text, error))
        return None
    except RecursionError:
        report.error(label, "", *TOO_DEEP)
        return None
    except ValueError:  # an integer of more digits than Python reads, or NaN
        report.error(label, *json_syntax.of_number(text))
        return None
    if not isinstance(data, dict):
        report.error(label, "", "is not a JSON object", "write one object: { ... }")
        return None
    if _depth_exceeds(data, MAX_DEPTH):
        report.error(label, "", *TOO_DEEP)
        return None
    _report_repeated(data, label, "", report)
    return data


def _depth_exceeds(data: Any, depth: int) -> bool:
    level = [data]
    for _ in range(depth):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


def _report_repeated(value: Any, label: str, path: str, report: Report) -> None:
    if isinstance(value, _Object):
        for key in value.repeated:
            report.error(
                label, join(path, key), "the key appears twice", "keep one, or use another key"
            )
        for key, item in value.items():
            _report_repeated(item, label, join(path, key), report)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _report_repeated(item, label, join(path, position), report)


def validate(
    model: type[ModelT], data: Any, label: str, path: str, report: Report
) -> ModelT | None:
    """Turn JSON data into `model`; report each violation by path and each unknown key."""
    try:
        result = model.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        within = {item["loc"][:-1] for item in faults}
        for item in faults:
            if item["type"] == "too_short" and item["loc"] in within:
                continue  # what it has is faulty, and was not counted
            fix = str(item.get("ctx", {}).get("fix") or _fix(item, model))
            report.error(label, join(path, *item["loc"]), in_words(item), fix)
        _report_unknown(model, data, label, path, report)
        return None
    report_keys(result, label, path, report)
    return result


def _report_unknown(
    model: type[BaseModel], data: Any, label: str, path: str, report: Report
) -> None:
    """Warn of unknown keys of data that the model refuses: they may explain the missing ones."""
    if not isinstance(data, dict):
        return
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    for key, value in data.items():
        where = join(path, key)
        if key not in fields:
            report.unread(label, where, *_unknown(model, key, fields))
        else:
            _report_unknown_within(fields[key].annotation, value, label, where, report)


def _report_unknown_within(form: Any, value: Any, label: str, path: str, report: Report) -> None:
    """Warn of unknown keys of the models that a field holds: itself, in a list, or by name."""
    inner = get_args(form)
    if isinstance(form, type) and issubclass(form, BaseModel):
        _report_unknown(form, value, label, path, report)
    elif get_origin(form) is dict and isinstance(value, dict):
        for key, item in value.items():
            _report_unknown_within(inner[1], item, label, join(path, str(key)), report)
    elif get_origin(form) in (list, tuple):
        for position, item in enumerate(value if isinstance(value, list) else ()):
            _report_unknown_within(inner[0], item, label, join(path, position), report)
    else:
        for part in inner:  # X | None, Annotated[X, ...]
            _report_unknown_within(part, value, label, path, report)


KINDS = {
    "tuple_type": "should be a list",
    "model_type": "should be an object",
    "dict_type": "should be an object",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "literal_error": "is not one of the allowed values",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "finite_number": "is too large",
    "missing": "is required",
    "too_short": "names nothing",
}
"""What is wrong, by pydantic's type of error, in words that follow what is wrong with it."""


def in_words(error: ErrorDetails) -> str:
    """What is wrong with a value, without Python's words for it."""
    return KINDS.get(error["type"], error["msg"].removeprefix("Value error, "))


_BOUNDS = {
    "greater_than_equal": "write a number from {ge} up",
    "less_than_equal": "write a number up to {le}",
    "too_long": "write {max_length} at most",
    "too_short": "write {min_length} or more, or remove the key",
    "literal_error": "write {expected}",
}


def bound_fix(error: ErrorDetails) -> str:
    """The fix for a value beyond what a field may hold; empty for every other fault."""
    fix = _BOUNDS.get(error["type"], "").format(**error.get("ctx", {}))
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        return suggestions.fix(
            error["input"], re.findall(r"'([^']*)'", error["ctx"]["expected"]), fix
        )
    return fix


_FORMS = {
    "tuple_type": "a list, [ ... ]",
    "model_type": "an object, { ... }",
    "dict_type": "an object, { ... }",
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "finite_number": "a whole number",
    "bool_type": "true or false, without quotes",
    "bool_parsing": "true or false, without quotes",
}
"""What to write where a value is of another type, by pydantic's type of error."""


def _field_at(form: Any, steps: Sequence[str | int]) -> FieldInfo | None:
    """The field that a place within a model stands for; None for an entry of a list or mapping."""
    if not steps:
        return None
    step, *rest = steps
    if isinstance(form, type) and issubclass(form, BaseModel):
        for name, info in form.model_fields.items():
            if step == (info.alias or name):
                return _field_at(info.annotation, rest) if rest else info
        return None
    if get_origin(form) in (dict, list, tuple):
        return _field_at(get_args(form)[-1 if get_origin(form) is dict else 0], rest)
    found = (_field_at(part, steps) for part in get_args(form))  # X | None, Annotated[X, ...]
    return next((info for info in found if info), None)


def _example(model: type[BaseModel], steps: Sequence[str | int]) -> str:
    """A value that a field takes, as JSON; empty where its model has none, or a long one."""
    info = _field_at(model, steps)
    text = json.dumps(info.examples[0], ensure_ascii=False) if info and info.examples else ""
    return text if len(text) <= 120 else ""


def _fix(error: ErrorDetails, model: type[BaseModel]) -> str:
    example = _example(model, error["loc"])
    if error["type"] == "missing":
        return f'add it, as "{error["loc"][-1]}": {example}' if example else "add this key"
    value = error["input"]
    if error["type"] == "string_type" and isinstance(value, int | float):
        return f'write it in quotes, as "{json.dumps(value)[:40]}"'
    if fix := bound_fix(error):
        return fix
    shown = json.dumps(value, default=str, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    if form := _FORMS.get(error["type"]):
        return f"write {form}{f', as {example}' if example else ''}, in place of {shown}"
    return f"correct the value, which is {shown}"


UNKNOWN = "unknown key: nothing reads it"
"""What is wrong with a key that its place does not have."""


def _of_others(model: type[BaseModel]) -> tuple[str, Mapping[str, str]]:
    """The keys that files of other systems have in this place, and the fix for each."""
    others: tuple[str, Mapping[str, str]] = getattr(model, "of_others", ("", {}))
    return others


def _unknown(model: type[BaseModel], key: str, known: Iterable[str]) -> tuple[str, str]:
    """What is said of a key that nothing reads, and the fix."""
    owners, fixes = _of_others(model)
    if key in fixes:
        return f"a key of {owners}, ignored", fixes[key]
    near, elsewhere = suggestions.similar(key, known), getattr(model, "elsewhere", None)
    return UNKNOWN, (not near and elsewhere and elsewhere(key)) or suggestions.fix_of(near)


def report_keys(model: BaseModel, label: str, path: str, report: Report) -> None:
    """Warn of keys that nothing reads: unknown ones, and known ones that Phoenix leaves alone.

    A field is known but left alone if its `json_schema_extra` has `unused`, the reason.
    """
    fields = type(model).model_fields
    keys = [info.alias or name for name, info in fields.items()]
    for key in model.model_extra or {}:
        near = suggestions.similar(key, keys)
        fix = suggestions.fix_of(near)
        if refused := getattr(model, "refuse_unknown", ""):
            if not near:
                fix += f" (known are {listed(keys)})"
                more: str = getattr(model, "unknown_fix", "")
                fix += f"; {more}" if more else ""
            report.error(label, join(path, key), refused, fix)
        elif (
            near
            and key not in _of_others(type(model))[1]
            and (misspelt := getattr(model, "refuse_misspelt", ""))
        ):
            report.error(label, join(path, key), misspelt, fix)
        else:
            report.unread(label, join(path, key), *_unknown(type(model), key, keys))
    for name in sorted(model.model_fields_set):
        if name not in fields:
            continue
        info, value = fields[name], getattr(model, name)
        extra = info.json_schema_extra
        where = join(path, info.alias or name)
        if isinstance(extra, dict) and "unused" in extra and value not in (None, [], {}, "none"):
            fix = str(extra.get("fix", "remove it"))
            report.warn(label, where, f"not used: {extra['unused']}", fix)
        _report_nested(value, label, where, report)


def _report_nested(value: Any, label: str, path: str, report: Report) -> None:
    if isinstance(value, BaseModel):
        report_keys(value, label, path, report)
    elif isinstance(value, dict):
        for key, item in value.items():
            _report_nested(item, label, join(path, str(key)), report)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            _report_nested(item, label, join(path, position), report)


def readdress(value: Any, old: IPv4Network, new: IPv4Network) -> Any:
    """Move every IPv4 address of `old` found in JSON data into `new`, keeping its host part.

    Addresses of other networks, and everything that is no address, stay as they are.
    """
    if isinstance(value, str):
        return _QUAD.sub(lambda match: _moved(match[0], old, new), value)
    if isinstance(value, dict):
        return {key: readdress(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [readdress(item, old, new) for item in value]
    return value


def _moved(text: str, old: IPv4Network, new: IPv4Network) -> str:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return text
    if address not in old:
        return text
    return str(new.network_address + (int(address) - int(old.network_address)))


def listed(items: Iterable[object]) -> str:
    """Join things for a message: `a, b, c`."""
    return ", ".join(str(item) for item in items)
