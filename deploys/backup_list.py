"""The hosts' snapshots and what their timers have noted, for `phoenix backup list`."""

from deploys.context import site, site_host
from facts.host_fact import FactError
from facts.restic import Backups
from operations.host_state import ask_all, question
from phoenix.derived.backups import of_host
from phoenix.runs.reporter import value

if of_host(site(), site_host()):
    (answer,) = ask_all([question(Backups)])
    if isinstance(answer, FactError):
        value("backups", site_host().name, {"error": str(answer)})
    else:
        value("backups", site_host().name, answer.model_dump(mode="json"))
