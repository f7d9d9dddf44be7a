"""Constant load from the lab's client: one new connection per request, each answer on record."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.integration.project import deadline_factor, missed
from tests.integration.site_lab import ROOT_FILE, SiteLab

# One curl per request: a new connection and a whole handshake each. --resolve: DNS has tests of
# its own; what is under load here is the data path.
LOOP = """
while [ ! -e {stop} ]; do
  curl -s -o /dev/null --max-time 30 --retry 0 --cacert {root} {options} \
    --resolve {name}:443:{address} \
    -w '%{{http_code}} %{{exitcode}} %{{errormsg}}\\n' https://{name}{path} >>{log} || true
  sleep 0.02
done
touch {stop}.done
"""


@dataclass
class Load:
    """What the requests of one load got so far."""

    site: SiteLab
    log: str

    def answers(self) -> Counter[str]:
        """ "STATUS CURL-EXIT-CODE MESSAGE" -> how often."""
        return Counter(line.strip() for line in self.site.sh("client", f"cat {self.log}").out
                       .splitlines())  # fmt: skip

    def wait_for(self, count: int) -> None:
        """Wait for so many answers: a busy client asks seldom.

        Raises:
            DeadlineError: they do not come.
        """
        end = time.monotonic() + 120 * deadline_factor()
        while self.answers().total() < count:
            if time.monotonic() > end:
                raise missed(f"{count} answers under load", 120 * deadline_factor())
            time.sleep(0.5)

    def failures(self) -> dict[str, int]:
        """Everything but a 200."""
        return {status: count for status, count in self.answers().items()
                if not status.startswith("200 0")}  # fmt: skip


@contextmanager
def load(site: SiteLab, service: str = "", path: str = "", options: str = "") -> Iterator[Load]:
    """Ask for one backend again and again until the block ends; the first where none is named.

    Args:
        site: the lab.
        service: the backend's name.
        path: what is asked for; the path of its health check where none is given.
        options: further words for curl, quoted for the shell.
    """
    route = next(
        candidate for candidate in site.backends if service in ("", candidate.service.name)
    )
    mark = f"/tmp/load-{uuid.uuid4().hex}"
    load = Load(site, f"{mark}.log")
    script = LOOP.format(stop=mark, root=ROOT_FILE, name=route.fqdn,
                         path=path or route.health_path, address=site.address("gateway"),
                         log=load.log, options=options)  # fmt: skip
    container = site.docker.containers.get(site.state.client)
    container.exec_run(["sh", "-c", script], detach=True)
    try:
        yield load
    finally:
        tries = round(400 * deadline_factor())  # the last request may take what curl gives it
        wait = f"touch {mark}; for i in $(seq {tries}); do [ -e {mark}.done ] && exit 0; sleep 0.1;"
        site.sh("client", f"{wait} done; exit 1", ok=True)
