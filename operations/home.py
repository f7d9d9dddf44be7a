"""The start page: the outcomes of this run's checks."""

from __future__ import annotations

import base64
import getpass
import hashlib
import socket
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError
from pyinfra import host, logger
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.state import StateStage

from facts.command import script
from facts.home import HomePage, HomeState
from operations.host_state import ask, question
from operations.operation import operation
from operations.verification import diagnosis, failed_hosts, outcomes, served_certificates
from phoenix.derived import home
from phoenix.health.page import Page, Stamp, build, for_strangers, headline
from phoenix.health.page_html import render
from phoenix.runs.revision import of_this_run
from phoenix.shell import Script
from phoenix.site.model import Site

_PROJECT = Path(__file__).parent.parent

# Two lines of base64 come in. The data is renamed last: the next run sees by it whether this one
# was complete. A kill at any moment leaves each file whole, old or new.
_WRITE = Script(
    "home-page",
    """
umask 022; mkdir -p "$1" && cd "$1" && exec 9>.lock && flock -w 60 9 || exit 1
read -r page && read -r data || exit 1
printf %s "$page" | base64 -d >.index.html.new && printf %s "$data" | base64 -d >.home.json.new &&
mv -f .index.html.new index.html && mv -f .home.json.new home.json
""",
)


@operation(stops=False)
def start_page(
    site: Site, old_after: timedelta, *, tells: str = "everything"
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Write the page of this run's outcomes, unless the one that is there says the same.

    It comes between `run_checks` and `judge`: the page tells of a broken site, too. A run that was
    limited to some hosts leaves it alone, as it knows nothing of the others; a host that failed
    earlier in the run appears with checks that were not run.

    Args:
        site: the site.
        old_after: from when on the page calls itself old, after it was written.
        tells: `everything`, or `services` alone.
    """
    if host.state.current_stage < StateStage.Execute:
        host.noop("the page is written after the checks")
        return
    by_host = outcomes(site)
    reached = by_host.keys() | set(failed_hosts())
    left_out = [member.name for member in site.hosts if member.name not in reached]
    if left_out:
        host.noop(f"the page stays: this run left out {', '.join(left_out)}")
        return
    present = ask(question(HomePage))
    now = datetime.now(UTC).replace(microsecond=0)
    page = build(
        site,
        [outcome for own_outcomes in by_host.values() for outcome in own_outcomes],
        diagnosis(site),
        served_certificates(site),
        of_this_run(_PROJECT),
        Stamp(at=now, by=_operator(), old_at=now + old_after),
    )
    if tells == "services":
        page = for_strangers(page)
    if _is_current(present, page):
        host.noop("the page says the same already")
        return
    logger.info("%sthe page says: %s", host.print_prefix, headline(page.health))
    lines = (render(page), page.model_dump_json() + "\n")
    yield script(
        _WRITE,
        home.PAGE,
        stdin="".join(f"{base64.b64encode(text.encode()).decode()}\n" for text in lines),
    )


def _operator() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _is_current(present: HomeState, page: Page) -> bool:
    """Whether the host's page is complete, from this project's template, and up to date."""
    try:
        present_page = Page.model_validate_json(present.data)
    except ValidationError:
        return False
    unchanged = hashlib.sha256(render(present_page).encode()).hexdigest() == present.sha256
    current = page.same_as(present_page) and not page.stamp.follows(present_page.stamp)
    return unchanged and current
