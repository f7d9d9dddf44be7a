"""The templates and scripts that lie beside the code that uses them.

Names are paths below `phoenix/`, such as "components/nginx/nginx.conf.j2".
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from typing_extensions import override

from phoenix import shell

FOLDER = Path(__file__).parent


class _Compiled(BytecodeCache):
    """Templates as Jinja has compiled them, kept where Python keeps compiled modules.

    Jinja compares the source, its own version and Python's. Where Python keeps no
    compiled modules, or may not write, each process compiles anew.
    """

    folder = FOLDER / "__pycache__"

    @override
    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError), self._file(bucket).open("rb") as file:
            bucket.load_bytecode(file)

    @override
    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                bucket.write_bytecode(file)
            Path(temporary).replace(self._file(bucket))

    def _file(self, bucket: Bucket) -> Path:
        return self.folder / f"{bucket.key}.jinja"


@cache
def data(name: str) -> bytes:
    """The bytes of one file. Raises FileNotFoundError where there is none."""
    return (FOLDER / name).read_bytes()


def text(*names: str) -> str:
    """The text (UTF-8) of one file, or of several, one behind the other.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    return b"".join(data(name) for name in names).decode()


def render(name: str, /, **values: object) -> str:
    """A template for a guest, with every variable given.

    In shell (`NAME.sh.j2`) each value is quoted, as `shell.quote` does: it stands outside of
    quotes there, as a word of its own or as a part of one.

    Raises:
        jinja2.UndefinedError: the template uses a variable that is not in `values`.
    """
    return _environment(name.endswith(".sh.j2")).get_template(name).render(**values)


@cache
def _environment(is_shell: bool) -> Environment:
    # nginx.conf, units and shell: nothing here is HTML, so there is nothing to escape.
    return Environment(
        loader=FileSystemLoader(FOLDER),
        bytecode_cache=_Compiled(),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=shell.quote if is_shell else None,
        autoescape=False,  # noqa: S701
    )
