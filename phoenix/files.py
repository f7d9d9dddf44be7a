"""The templates and scripts that lie beside the code that uses them.

Names are paths below `phoenix/`, such as "components/nginx/nginx.conf.j2".
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent


@cache
def data(name: str) -> bytes:
    """The bytes of one file. Raises FileNotFoundError where there is none."""
    return (FOLDER / name).read_bytes()


def text(name: str) -> str:
    """The text of one file (UTF-8). Raises FileNotFoundError where there is none."""
    return data(name).decode()


def render(name: str, /, **values: object) -> str:
    """A template for a guest, with every variable given.

    Raises:
        jinja2.UndefinedError: the template uses a variable that is not in `values`.
    """
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    # nginx.conf, units and shell: nothing here is HTML, so there is nothing to escape.
    return Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
