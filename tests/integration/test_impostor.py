"""A server in Traefik's place without Traefik's certificate: it sees no request."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from tests.integration.project import deadline_factor
from tests.integration.site_lab import SiteLab, print_figure

SERVER = (Path(__file__).parent / "impostor.py").read_text()
FOLDER = "/root/impostor"
LOG = f"{FOLDER}/log"
UNIT = "phoenix-test-impostor"
ERRORS = "/var/log/nginx/error.log"

# A CA of its own and a leaf for NAME, as whoever has no key of ours can make them.
FOREIGN = """set -eu; cd {folder}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=foreign \\
    -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=leaf \\
    -addext subjectAltName=DNS:{name} -keyout privkey.pem -out leaf.csr 2>/dev/null
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 \\
    -copy_extensions copyall -out leaf.pem 2>/dev/null
cat leaf.pem ca.pem >fullchain.pem
"""


def foreign(site: SiteLab) -> None:
    """Traefik's name, certified by a CA that nobody here trusts."""
    name = f"{site.roles['traefik']}.host.{site.site.domain}"
    site.sh("traefik", FOREIGN.format(folder=FOLDER, name=name), ok=True)


def another_host(site: SiteLab) -> None:
    """The pair of a backend's host, of our CA: what whoever broke into that host has."""
    copy_pair(site, site.backends[0].service.owner.name, "host")


def traefik_itself(site: SiteLab) -> None:
    """Traefik's own pair, with which the impostor is as good as Traefik."""
    copy_pair(site, "traefik", "traefik")


def copy_pair(site: SiteLab, host: str, certificate: str) -> None:
    for file in ("fullchain.pem", "privkey.pem"):
        content = site.sh(host, f"cat {CERTIFICATES}/{certificate}/{file}", ok=True).out
        site.put("traefik", f"{FOLDER}/{file}", content, 0o600)


@contextmanager
def impostor(site: SiteLab, make_pair: Callable[[SiteLab], None]) -> Iterator[None]:
    """On Traefik's address and port, until the block ends and Traefik serves again."""
    site.sh("traefik", f"rm -rf {FOLDER}; mkdir -m 0700 {FOLDER}", ok=True)
    make_pair(site)
    site.put("traefik", f"{FOLDER}/impostor.py", SERVER)
    started = f"systemd-run --quiet --collect --unit={UNIT} python3 {FOLDER}/impostor.py {FOLDER}"
    seconds = round(30 * deadline_factor())
    listens = f"timeout {seconds} sh -c 'until grep -qx listening {LOG}; do sleep 0.1; done'"
    try:
        site.sh("traefik", f"systemctl stop traefik.service && {started} && {listens}", ok=True)
        yield
    finally:
        site.sh("traefik", f"systemctl stop {UNIT}.service; rm -rf {FOLDER}")
        site.sh("traefik", "systemctl start traefik.service", ok=True)
        # Traefik listens before it has its routes.
        end = time.monotonic() + 30 * deadline_factor()
        while answers := [answer for route in site.backends if (answer := site.serves(route))]:
            assert time.monotonic() < end, answers
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("make_pair", "reason"),
    [
        (foreign, "upstream SSL certificate verify error"),
        (another_host, "upstream SSL certificate does not match"),
    ],
    ids=["foreign CA", "our CA, another name"],
)
def test_impostor_gets_no_request(
    site: SiteLab, make_pair: Callable[[SiteLab], None], reason: str
) -> None:
    mark = uuid.uuid4().hex
    route = site.backends[0]
    with impostor(site, make_pair):
        answer = site.curl(
            f"https://{route.fqdn}/{mark}", "-H", f"Authorization: Bearer {mark}", "-d", mark
        )
        log = site.sh("traefik", f"cat {LOG}", ok=True).out
        errors = site.sh("gateway", f"grep {mark} {ERRORS}").out
    print_figure("what the impostor saw", log)
    assert answer.status == 502, answer
    assert "connected" in log, f"the gateway did not even connect:\n{log}"
    assert "received" not in log, log
    assert mark not in log, log
    assert reason in errors, errors


def test_impostor_with_traefik_s_own_certificate_would_get_it(site: SiteLab) -> None:
    """The tests above can fail: the same server, the true certificate."""
    mark = uuid.uuid4().hex
    with impostor(site, traefik_itself):
        answer = site.curl(f"https://{site.backends[0].fqdn}/{mark}")
        log = site.sh("traefik", f"cat {LOG}", ok=True).out
    assert (answer.status, answer.body) == (200, "impostor"), answer
    assert f"received GET /{mark} " in log, log
