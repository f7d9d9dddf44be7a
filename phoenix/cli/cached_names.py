"""The names of a site, cached for shell completion until one of their sources changes.

The sources are all files and directories that were read while the site was loaded, the directories
around them, where a new file could appear, and this program's own modules. Completion alone uses
the cache.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phoenix.locations import user_cache

Names = Mapping[str, Sequence[str]]
"""Names by kind of thing; those of all kinds under the empty text."""
_Stamp = tuple[int, int, int] | None
"""Time of change in ns, size and inode of a file or directory (stat(2)); None: it is absent."""

_LIBRARIES = (
    f"{Path(os.__file__).parent}{os.sep}",
    *(f"{folder}{os.sep}" for folder in sys.path if folder.endswith("-packages")),
)
_SYSTEM = ("/proc/", "/dev/", "/sys/")
_EVENTS = ("open", "os.listdir", "os.scandir")
"""Of Python's audit events, those that read files (docs.python.org, library/audit_events)."""
_SETTLED = 2.0
"""Seconds: what was changed later may change again within one tick of the file system's clock."""

_opened: dict[str, _Stamp] | None = None


def names(inventory: Path, load: Callable[[], Names]) -> Names:
    """The names of an inventory's site: those kept, where nothing has changed, else `load`'s.

    Args:
        inventory: as it is found from the current directory.
        load: reads the site. What it raises is passed on, and nothing is kept.
    """
    key = _key(inventory)
    file = user_cache() / f"names-{zlib.crc32(key.encode()):08x}.json"
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        stored = json.loads(file.read_text())
        if stored["key"] == key and all(
            _stamp(path) == (tuple(stamp) if stamp else None) for path, stamp in stored["files"]
        ):
            by_kind: Names = stored["names"]
            return by_kind
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _recorded() as stamps:
        loaded = load()
    with suppress(OSError):  # a shell that waits longer is no reason to fail
        _keep(file, key, stamps, loaded)
    return loaded


def matching(by_kind: Names, incomplete: str, kind: str = "") -> list[str]:
    """What can follow of an unfinished word: names, or names of the kind that stands before.

    Args:
        by_kind: the names.
        incomplete: the word so far; its case does not matter.
        kind: the only kind that is offered; empty: all.
    """
    typed = incomplete.lower()
    before, colon, start = typed.partition(":")
    scheme, slashes, host = typed.partition("://")
    if colon and before and before in by_kind and kind in ("", before):
        candidates = [
            f"{before}:{name}" for name in by_kind[before] if name.lower().startswith(start)
        ]
    elif slashes and scheme in ("http", "https") and kind in ("", "service"):
        full = (name for name in by_kind["service"] if "." in name and "/" not in name)
        candidates = [f"{scheme}://{name}" for name in full if name.startswith(host)]
    else:
        candidates = [name for name in by_kind[kind] if name.lower().startswith(typed)]
    # What was typed stays as it is: a shell, and Typer, leave out what begins with other letters.
    return [f"{incomplete}{word[len(incomplete) :]}" for word in candidates]


def _key(inventory: Path) -> str:
    """The key of the names: the inventory as it is found here, in this environment."""
    variables = sorted(item for item in os.environ.items() if item[0].startswith("PHOENIX_"))
    return json.dumps([str(Path.cwd()), str(inventory), os.environ.get("HOME"), variables])


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - of hundreds, while a shell waits
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _keep(file: Path, key: str, stamps: dict[str, _Stamp], loaded: Names) -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "phoenix" and (path := getattr(module, "__file__", None)):
            stamps[path] = _stamp(path)
    newest = max((stamp[0] for stamp in stamps.values() if stamp), default=0)
    if newest > (time.time() - _SETTLED) * 1e9:
        return
    new = file.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps({"key": key, "files": [*stamps.items()], "names": loaded}))
    new.replace(file)


@contextmanager
def _recorded() -> Iterator[dict[str, _Stamp]]:
    """What is opened and listed meanwhile, as it was before that."""
    global _opened
    stamps: dict[str, _Stamp] = {}
    _opened = stamps
    sys.addaudithook(_hook)
    try:
        yield stamps
    finally:
        _opened = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is None or event not in _EVENTS:
        return
    path = "." if arguments[0] is None else arguments[0]
    if isinstance(path, int):
        return
    name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - as the system would find it
    if name.startswith((*_SYSTEM, *_LIBRARIES)) or "__pycache__" in name:
        return
    if event != "open" and name in sys.path:  # listed by an import
        return
    around = (os.path.dirname(name),) if event == "open" else ()  # noqa: PTH120
    for each in (name, *around):
        if each not in _opened:
            _opened[each] = _stamp(each)
