"""Check every hop, from the guest that makes each connection; exit 1 names the first cause.

`--data verify_only=["nginx"]` makes the checks of what is named alone (see phoenix.health.proof).
"""

from datetime import timedelta

from pyinfra import host

from deploys.context import setting_errors, settings, site, site_host
from operations.home import start_page
from operations.verification import judge, run_checks
from phoenix.derived import home
from phoenix.health.checks import checks
from phoenix.health.proof import ONLY, proof
from phoenix.runs.results import VERDICT

with setting_errors():
    only = host.data.get(ONLY)
    chosen = checks(site()) if only is None else proof(site(), only)

run_checks(
    name="Verify: checks",
    site=site(),
    chosen=chosen,
    room=(settings().room_warning_percent, settings().room_least_percent),
    certificates=only is None,
)
has_page = site_host() in home.served_by(site())
has_page = has_page and site_host() not in home.watched_by(site())  # else it is the watcher's
if has_page and only is None:
    start_page(  # before the verdict: it tells of faults
        name="Verify: start page",
        site=site(),
        old_after=timedelta(hours=settings().home_old_hours),
        tells=settings().home_tells,
    )
judge(name=VERDICT, site=site())
