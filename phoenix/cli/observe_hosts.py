"""One look at the site for `status` and `doctor`: a dry run of facts, and what came of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from phoenix.cli import output, project
from phoenix.cli.exits import CommandError
from phoenix.health.observation import Observed
from phoenix.runs.process import Finished, run

OBSERVE = "deploys/observe.py"


def observe(
    site: project.Project,
    kinds: Sequence[str],
    hosts: Collection[str] = (),
    *deploys: str,
    quiet: bool,
) -> tuple[Observed, Finished]:
    """Ask `hosts` (empty: all) for `kinds`; `deploys` are planned in the same run, after it.

    Hosts that do not answer are in the result; they do not end the look.

    Raises:
        CommandError: the run itself could not be carried out.
    """
    request = site.request(
        OBSERVE, *deploys, limit=tuple(sorted(hosts)), data={"observe": list(kinds)}, dry=True
    )
    console = output.notes()
    if quiet or not console.is_terminal:
        finished = run(request)
    else:
        count = len(hosts) or len(site.site.hosts)
        with console.status(f"looking at {output.count(count, 'host')}"):
            finished = run(request)
    observed = Observed(finished.course.values, finished.course.unreachable)
    if finished.returncode != 0 and not (observed.values or observed.silent):
        raise CommandError("the run could not be carried out:\n" + "\n".join(finished.last_lines))
    return observed, finished
