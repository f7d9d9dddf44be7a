"""Certificates renew by themselves, served anew without a restart or a failed request."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.integration.load import load
from tests.integration.project import deadline_factor
from tests.integration.site_lab import SiteLab, print_figure

# Their timers look every five seconds and renew with a third left. step-ca adds a minute of
# backdating to what it gives.
LIFETIME = "2m"
DEADLINE = 200.0 * deadline_factor()
DEPLOYS = ("deploys/step_ca.py", "deploys/traefik.py", "deploys/nginx.py")


def converge(site: SiteLab, lifetime: str) -> None:
    data = {"step_ca_lifetime_default": lifetime, "step_ca_lifetime_minimum": lifetime}
    for deploy in DEPLOYS:
        run = site.project.run(deploy, data=data if lifetime == LIFETIME else None)
        assert run.returncode == 0, run.explain()


def fresh_certificates(site: SiteLab) -> None:
    """Certificates of the CA's present lifetime, where there are still older ones."""
    for role in ("gateway", "traefik"):
        site.sh(role, f"phoenix-acme renew {role}", ok=True)


@pytest.fixture
def short_lived(site: SiteLab) -> Iterator[None]:
    """The CA gives minutes; afterwards days again, and certificates that last."""
    try:
        converge(site, LIFETIME)
        fresh_certificates(site)
        yield
    finally:
        converge(site, "24h")
        fresh_certificates(site)
        wait_for_traefik(site, 60)


def proxy_name(site: SiteLab) -> str:
    return f"{site.roles['traefik']}.host.{site.site.domain}"


def serial(site: SiteLab, role: str) -> str:
    """Of the certificate that is served; empty unless it is verified."""
    name = site.backends[0].fqdn if role == "gateway" else proxy_name(site)
    text = site.leaf(f"{site.address(role)}:443", name, "-serial")
    return re.sub(r"^serial=", "", text).strip()


def wait_for_traefik(site: SiteLab, seconds: float) -> None:
    end = time.monotonic() + seconds * deadline_factor()
    while not serial(site, "traefik"):
        assert time.monotonic() < end, "Traefik serves no certificate of the CA"
        time.sleep(0.5)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("short_lived")
def test_renewal_without_restart_or_failure(site: SiteLab) -> None:
    wait_for_traefik(site, 60)
    units = {role: site.unit(role) for role in ("gateway", "traefik")}
    old = {role: serial(site, role) for role in units}
    assert all(old.values()), old
    waiting, begin = set(units), time.monotonic()
    with load(site) as requests:
        while waiting and time.monotonic() - begin < DEADLINE:
            for role in sorted(waiting):
                new = serial(site, role)
                if new and new != old[role]:
                    print_figure(
                        f"{role} renewed after", f"{time.monotonic() - begin:.0f} s: {new}"
                    )
                    waiting.discard(role)
            time.sleep(1)
        requests.wait_for(101)
    answers = requests.answers()
    print_figure("answers under load", dict(answers))
    log = site.sh("gateway", "journalctl -q --no-pager -o cat -u phoenix-acme@gateway -n 20").out
    assert not waiting, f"not renewed within {DEADLINE} s: {waiting}\n{log}"
    assert requests.failures() == {}
    assert {role: site.unit(role) for role in units} == units, "a service was restarted"
