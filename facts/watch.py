"""What the watcher last saw."""

from __future__ import annotations

from pydantic import ValidationError
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from facts.command import script
from facts.host_fact import HostFact, marked
from phoenix.health.watched import FILE, WATCHED, Watched
from phoenix.shell import Script

_SCRIPT = Script("watch", '[ ! -e "$1" ] || cat "$1"')


class WatchersLook(HostFact[Watched | None]):
    """The watcher's last look; None where there was none yet."""

    @override
    def command(self) -> StringCommand:
        return marked(script(_SCRIPT, FILE))

    @override
    def parse(self, lines: list[str]) -> Watched | None:
        """The look from its file.

        Raises:
            FactProcessError: it is of another form.
        """
        if not lines:
            return None
        try:
            return WATCHED.validate_json("\n".join(lines))
        except ValidationError as error:
            raise FactProcessError(f"{FILE} cannot be read: {error}") from error
