"""A compose file with more mounts and a label, its comments, order and scalars as written."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.resolver import VersionedResolver

from phoenix.compose import document
from phoenix.compose.document import ComposeFileError, Problem

_WIDTH = 1_000_000  # no line is folded


class _Resolver(VersionedResolver):
    """Leaves every plain scalar the text that it is, so that it is written back unchanged."""

    _forms: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {
        first: [(f"tag:yaml.org,2002:{tag}", re.compile(form))]
        for tag, form, firsts in document.SCALARS
        if tag in ("null", "merge")
        for first in firsts
    }

    @property
    def versioned_resolver(self) -> Any:
        """The forms by first character; ruamel.yaml asks for them so."""
        return self._forms


def with_mounts(text: str, mounts: Sequence[str], label: tuple[str, str]) -> str:
    """Add mounts and a label to every service.

    Args:
        text: a compose file that `document.read` accepts.
        mounts: entries for `volumes`, as `SOURCE:TARGET:ro`.
        label: name and value.

    Raises:
        ComposeFileError: the file is written in a way that cannot be kept.
    """
    before = document.parse(text)
    yaml = YAML()
    yaml.Resolver = _Resolver
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    target = io.StringIO()
    try:
        data = yaml.load(text)
        _add(data, mounts, label)
        yaml.dump(data, target)
    except (YAMLError, ValueError) as error:
        raise _lost(str(error)) from None
    except (AttributeError, KeyError, TypeError):
        raise _lost("two readers of YAML see another structure in it") from None
    result = target.getvalue()
    after = document.parse(result)
    _expected(before["services"], mounts, label)
    if after != before:
        raise _lost("the rewritten file would mean something else")
    return result


def _lost(reason: str) -> ComposeFileError:
    message = f"cannot take the stack's files: {' '.join(reason.split())[:200]}"
    return ComposeFileError(Problem("services", message, "write the file without anchors and tags"))


def _expected(services: dict[str, Any], mounts: Sequence[str], label: tuple[str, str]) -> None:
    """Make the change to plain data, to compare the rewritten file with."""
    for name, service in services.items():
        labels: Any = service.get("labels", {})
        if isinstance(labels, list):
            labels = [*labels, "=".join(label)]
        else:
            labels = {**labels, label[0]: label[1]}
        volumes = [*service.get("volumes", []), *mounts]
        services[name] = {**service, "volumes": volumes, "labels": labels}


def _add(data: Mapping[str, Any], mounts: Sequence[str], label: tuple[str, str]) -> None:
    """Make the change to ruamel.yaml's data: in place, so that comments stay, where it is alone.

    What an anchor shares with others is copied into the service first.
    """
    uses = _uses(data)
    distinct = {id(service): service for service in data["services"].values()}
    for service in distinct.values():  # a service that is an alias of another is the same
        for key in ("volumes", "labels"):
            if key in service and uses[id(service[key])] > 1:
                value = service[key]
                service[key] = list(value) if isinstance(value, list) else dict(value)
        if "volumes" in service:
            service["volumes"].extend(mounts)
        else:
            service["volumes"] = list(mounts)
        if isinstance(service.get("labels"), list):
            service["labels"].append("=".join(label))
        elif "labels" in service:
            service["labels"][label[0]] = label[1]
        else:
            service["labels"] = dict([label])


def _uses(data: Any) -> Counter[int]:
    """How many lists and mappings hold each list and mapping, by its id."""
    uses: Counter[int] = Counter()
    visited: set[int] = set()
    pending = [data]
    while pending:
        holder = pending.pop()
        if id(holder) in visited:
            continue
        visited.add(id(holder))
        parts = holder.values() if isinstance(holder, dict) else holder
        children = [part for part in parts if isinstance(part, dict | list)]
        uses.update(map(id, children))
        pending += children
    return uses
