"""Where a key belongs that a person wrote in another place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel

from phoenix.declaration import settings

_SETTINGS = "group_data/all.py"
_OF_MANY = frozenset(("name", "port", "description", "version", "author", "schema_", "users"))
"""Keys that stand in so many places that none is likelier than the next."""
_MAX_PLACES = 3
"""Places that a fix names."""


def of_key(base: type[BaseModel], key: str) -> str:
    """The fix for a JSON key that nothing reads where it stands; empty where none is known.

    Args:
        base: the model of which those of the JSON files are subclasses; each that people know by
            a name has it as `place`.
        key: as it is written.
    """
    if key in settings.fields():
        return f"it is a setting: write it in {_SETTINGS}, and remove it here"
    return of_setting(base, key)


def of_setting(base: type[BaseModel], name: str) -> str:
    """The fix for a setting that nothing reads, as `of_key`; empty where it is not a JSON key."""
    places = _places(base).get(name, [])
    return f"move it to {' or '.join(places)}" if 0 < len(places) <= _MAX_PLACES else ""


@cache
def _places(base: type[BaseModel]) -> dict[str, list[str]]:
    """The places of each key, in the order of the models."""
    places: dict[str, list[str]] = {}
    for model, place in _with_place(base):
        for name, info in model.model_fields.items():
            extra = info.json_schema_extra
            if name not in _OF_MANY and not (isinstance(extra, dict) and "unused" in extra):
                known = places.setdefault(info.alias or name, [])
                known += [place] if place not in known else []
    return places


def _with_place(base: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    for model in base.__subclasses__():
        if place := getattr(model, "place", ""):
            yield model, place
        yield from _with_place(model)
