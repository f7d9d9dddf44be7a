"""What a person reads: the cause first, each thing once, nothing wider than 100 columns."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from phoenix.cli.reports import doctor, status
from phoenix.health import observation
from phoenix.health.checks import checks
from phoenix.health.diagnosis import diagnose
from phoenix.health.paths import paths, select
from phoenix.health.status import Drift, build
from phoenix.site.model import Site
from phoenix.watch.causes import Findings, Outcome
from tests.unit.site_builder import minimal
from tests.unit.test_diagnosis import stopped_proxy
from tests.unit.test_status import NOW, answers_of


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return minimal().load(tmp_path)


def report(site: Site, name: str = "", *, broken: bool = True) -> list[str]:
    outcomes = [Outcome(c, stopped_proxy(c) if broken else "") for c in checks(site)]
    chosen = select(site, name) if name else paths(site)
    diagnosis = diagnose(site, chosen, Findings(outcomes))
    stream = io.StringIO()
    doctor.print_report(Console(file=stream), doctor.Report.of("a site", name, diagnosis))
    return stream.getvalue().splitlines()


def test_cause_and_fix_come_first_and_one_path_stands_for_all(site: Site) -> None:
    lines = report(site)
    assert lines[0] == "first cause: service on proxy: Traefik (traefik.service)"
    assert "    phoenix sync traefik" in lines[:8]
    assert sum("BROKEN" in line for line in lines if line.startswith("https://")) == 1
    assert any(line.startswith("  the same stops: https://") for line in lines)
    assert lines[-1].endswith("paths are well")
    assert max(map(len, lines)) <= 100


def test_a_name_is_told_hop_by_hop_even_when_well(site: Site) -> None:
    lines = report(site, "shop", broken=False)
    hops = [line.split()[:3] for line in lines[1:7]]
    assert hops[1] == [site.hypervisor.name, "→", "gateway"]
    assert hops[2] == ["gateway", "→", "proxy"]
    assert all(" ok" in line for line in lines[1:7]), lines
    assert lines[-1].startswith("all is well")


def test_a_request_that_arrives_is_not_said_to_go_by_a_host_that_was_not_seen(site: Site) -> None:
    """As one of two gateways that is out, or one that serves and lets no operator in."""
    outcomes = [Outcome(check, "") for check in checks(site) if check.host != "gateway"]
    diagnosis = diagnose(site, paths(site), Findings(outcomes, {"gateway": "no route"}))
    stream = io.StringIO()
    doctor.print_report(Console(file=stream), doctor.Report.of("a site", "", diagnosis))
    (well,) = (line for line in stream.getvalue().splitlines() if line.startswith("ok  https://sh"))
    assert "gateway (silent)" in well
    assert well.count("(silent)") == 1


def test_status_of_a_broken_site(site: Site) -> None:
    hosts = {host.name for host in site.hosts}
    silent = {"worker": "No route to host " * 20}
    values = answers_of(site, stopped_proxy)
    values = {kind: {h: v for h, v in of.items() if h != "worker"} for kind, of in values.items()}
    observed = observation.Observed(values, silent)
    outcomes, quiet = observation.outcomes(site, observed, hosts)
    diagnosis = diagnose(site, paths(site), Findings(outcomes, quiet))
    drift = Drift({"proxy": ("Traefik: configuration and service",)}, looked=True)
    site_status = build(
        site, "a site", observation.Observed(values, quiet), outcomes, diagnosis, drift, NOW
    )
    stream = io.StringIO()
    status.print_status(Console(file=stream), site_status)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    (worker,) = [line for line in text.splitlines() if line.startswith("worker  ")][:1]
    assert "silent" in worker
    (proxy,) = [line for line in text.splitlines() if line.startswith("proxy  ")][:1]
    assert "broken" in proxy
    assert "1 step" in proxy
    assert "in 20 h" in text
    assert "first cause: reach on worker" in text
