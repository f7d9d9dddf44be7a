"""The templates and scripts that lie beside the code that uses them.

Names are paths below `phoenix/`, such as "components/nginx/nginx.conf.j2".
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from phoenix import shell

FOLDER = Path(__file__).parent


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
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=shell.quote if is_shell else None,
        autoescape=False,  # noqa: S701
    )
