"""A declaration that was edited after a command had read it: its runs do not begin."""

from __future__ import annotations

import os

from pyinfra import host

from operations import run_refused
from phoenix.declaration import file_digests

_looked: list[str] = []
_SHOWN = 5


def check() -> None:
    """Refuse this run where files are others than the command read; once, before its first step.

    By then a run has read all of them. One of plain pyinfra reads them once alone.
    """
    before = os.environ.get(file_digests.VARIABLE, "")
    if not before or _looked:
        return
    _looked.append(before)
    files = file_digests.changed_files(before, host.data.dict())  # type: ignore[no-untyped-call]
    if files:
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        run_refused.refuse_run(
            "the declaration was edited after this command had read it, so it does not go on "
            f"({', '.join(files[:_SHOWN])}{more}). fix: call it again, and it does what the files "
            "say now"
        )
