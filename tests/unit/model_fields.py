"""Every field of every model that a declaration or a setting is read by, found by reflection."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from typing_extensions import is_typeddict

from phoenix.declaration import hypervisor_file, json_keys
from phoenix.declaration import settings as setting_model

ROOTS: tuple[type[BaseModel], ...] = (
    json_keys.RawLxcFile,
    json_keys.RawVmFile,
    hypervisor_file.RawHypervisorFile,
    json_keys.RawStack,
    setting_model.Settings,
)


class Value(NamedTuple):
    """A single value that a field takes: as the field itself, an entry or a key of it.

    `place` is as "GuestSettings.tags[]"; `type` is its annotation with what checks it.
    """

    place: str
    type: Any
    base: type


def values() -> list[Value]:
    """Every value of the models, those within them and the typed dictionaries included."""
    by_type = {(value.place, value.base): value for value in _of_models()}
    return sorted(by_type.values(), key=lambda value: value.place)


def _of_models() -> Iterator[Value]:
    visited: set[type] = set()
    todo: list[type] = list(ROOTS)
    while todo:
        model = todo.pop()
        if model in visited:
            continue
        visited.add(model)
        for name, annotation in _fields(model):
            for place, kind, checks in _parts(f"{model.__name__}.{name}", annotation, ()):
                if _is_object(kind):
                    todo.append(kind)
                    continue
                todo += [check.model for check in checks if isinstance(check, json_keys.Each)]
                if isinstance(kind, type):
                    annotated = Annotated[kind, *checks] if checks else kind
                    yield Value(place, annotated, kind)


def _is_object(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or is_typeddict(kind))


def _fields(model: type) -> Iterator[tuple[str, Any]]:
    if not issubclass(model, BaseModel):
        yield from get_type_hints(model, include_extras=True).items()
        return
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and "unused" in extra:
            continue
        yield name, Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def _parts(place: str, annotation: Any, checks: tuple[Any, ...]) -> Iterator[tuple[str, Any, Any]]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _parts(place, inner[0], (*inner[1:], *checks))
    elif origin in (typing.Union, types.UnionType):
        for option in inner:
            yield from _parts(place, option, checks)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from _parts(f"{place}{{}}", inner[0], ())
        yield from _parts(f"{place}.*", inner[1], ())
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        yield from _parts(f"{place}[]", inner[0], ())
    else:
        yield place, annotation, checks
