"""The watcher's metrics: whole OpenMetrics, for the declared scraper alone, with tested rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pydantic import SecretStr

from phoenix.components.watch import files as watch
from phoenix.derived.firewall import flows
from phoenix.files import FOLDER
from phoenix.secrets.watch_certificates import of_host, of_scraper, of_watcher
from phoenix.site.findings import ConfigError
from phoenix.site.model import Site
from phoenix.site.ports import WATCH
from phoenix.watch import metrics
from phoenix.watch.causes import Check, CheckedPath, Hop
from phoenix.watch.judge import Arrival, Known, State, observe
from phoenix.watch.plan import Plan
from phoenix.watch.receiver import Readable, Receiver, context
from phoenix.watch.report import Report, Room, Run, Validity
from tests.unit.site_builder import LXC, minimal, problem

NASTY = 'room on "/srv\\data"\nand more'
UNIT = Check("gateway", "service", "Nginx", ("unit_runs",), target="gateway")
ROOM = Check("ca", "service", NASTY, ("has_room",), target="ca")
PLAN = Plan(
    domain="lab.example",
    interval=60,
    lists={"gateway": "a", "ca": "b", "worker": "c"},
    fingerprints={},
    checks=(UNIT, ROOM),
    paths=(CheckedPath("request", "https://app", (Hop("ca", "gateway", "x", (UNIT,)),)),),
    fixes={},
)
NOW = 1_764_158_400.0
KEY = SecretStr("a key of the watch, of this test alone")


def exposed() -> str:
    reports = {
        "gateway": Report(
            "gateway", "a", 1, ("is inactive",), {"/": Room(10, 20)},
            certificates={"own": Validity(100, 200)},
        ),
        "ca": Report(
            "ca", "b", 1, ("",),
            runs={"deploy": Run("failed", 50, "ann@desk", "", 40),
                  "backup": Run("ok", 60, "ann@desk", "", 60)},
        ),
    }  # fmt: skip
    state = State(at=NOW - 15, began=NOW - 9999)
    observed = observe(PLAN, {host: Arrival(report, NOW - 5) for host, report in reports.items()},
                       state, NOW)  # fmt: skip
    announced = Known("fault", "gateway", "service", "Nginx", "is inactive", [], NOW, told=True)
    untold = Known("fault", "ca", "service", "x", "seen once", [], NOW)
    return metrics.text(
        PLAN, observed, states={"app": "broken", "wiki": "ok", "new": "unknown"},
        known=[announced, untold], working=True, waiting=2, now=NOW,
    )  # fmt: skip


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and the labels' values, as another program reads it."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_exposed_is_openmetrics_and_says_what_was_seen() -> None:
    exposition = samples(exposed())
    assert exposition == {
        ("phoenix_watcher_looked_timestamp_seconds",): NOW,
        ("phoenix_host_silent", "gateway"): 0,
        ("phoenix_host_silent", "ca"): 0,
        ("phoenix_host_silent", "worker"): 1,
        ("phoenix_host_reported_timestamp_seconds", "gateway"): NOW - 5,
        ("phoenix_host_reported_timestamp_seconds", "ca"): NOW - 5,
        ("phoenix_filesystem_used_bytes", "gateway", "/"): 10 * 1024,
        ("phoenix_filesystem_available_bytes", "gateway", "/"): 20 * 1024,
        ("phoenix_check_ok", "gateway", "service", "Nginx"): 0,
        ("phoenix_check_ok", "ca", "service", NASTY): 1,
        ("phoenix_check_ok", "gateway", "service", "its report"): 1,
        ("phoenix_check_ok", "ca", "service", "its report"): 1,
        ("phoenix_service_ok", "app"): 0,
        ("phoenix_service_ok", "wiki"): 1,
        ("phoenix_fault", "fault", "gateway", "service", "Nginx"): 1,
        ("phoenix_certificate_not_before_timestamp_seconds", "gateway", "own"): 100,
        ("phoenix_certificate_not_after_timestamp_seconds", "gateway", "own"): 200,
        ("phoenix_run_ok", "deploy"): 0,
        ("phoenix_run_ok", "backup"): 1,
        ("phoenix_run_ended_timestamp_seconds", "deploy"): 50,
        ("phoenix_run_ended_timestamp_seconds", "backup"): 60,
        ("phoenix_run_succeeded_timestamp_seconds", "deploy"): 40,
        ("phoenix_run_succeeded_timestamp_seconds", "backup"): 60,
        ("phoenix_run_at_work",): 1,
        ("phoenix_alarms_waiting",): 2,
    }


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run this test, and there is no promtool")
        pytest.skip("no promtool: python3 lab test installs it")
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def test_each_alert_fires_where_it_should_and_only_there() -> None:
    cases = Path(__file__).with_name("phoenix.rules.test.yml")
    done = promtool("test", "rules", cases)
    assert done.returncode == 0, done.stdout + done.stderr
    rules = yaml.safe_load((FOLDER / "components/watch" / watch.RULES).read_text())
    tests = yaml.safe_load(cases.read_text())["tests"]
    fires = {
        case["alertname"]
        for unit_test in tests
        for case in unit_test["alert_rule_test"]
        if case["exp_alerts"]
    }
    named = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert fires == named
    quiet = {case["alertname"] for case in tests[0]["alert_rule_test"] if not case["exp_alerts"]}
    assert quiet == named


def test_rules_ask_for_metrics_that_there_are() -> None:
    names = {name for name, *_ in samples(exposed())}
    rules = (FOLDER / "components/watch" / watch.RULES).read_text()
    assert set(re.findall(r"\bphoenix_\w+", rules)) <= names


# -- who may read them -----------------------------------------------------------------------------


def site_with(folder: Path, **keys: str) -> Site:
    declared = minimal()
    declared.lxc.setdefault("site", {}).update(keys)
    return declared.load(folder)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"scraper": "101"}, "no host watches the site"),
        ({"watcher": "hypervisor", "scraper": "nobody"}, "is not a host of the site"),
        ({"watcher": "hypervisor", "scraper": "10.0.0.0/24"}, "is not a host of the site"),
        ({"watcher": "hypervisor", "scraper": "fe80::1"}, "is not a host of the site"),
    ],
)
def test_a_scraper_that_is_none_is_a_finding(
    tmp_path: Path, keys: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        site_with(tmp_path, **keys)
    assert says in problem(caught.value.findings, LXC, "site.scraper").message


@pytest.mark.parametrize(
    ("scraper", "address"), [("101", "10.0.0.20"), ("gateway", "10.0.0.20"),
                             ("192.0.2.7", "192.0.2.7"), ("10.0.0.20", "10.0.0.20")],
)  # fmt: skip
def test_its_address_alone_reaches_the_watcher_beside_the_hosts(
    tmp_path: Path, scraper: str, address: str
) -> None:
    site = site_with(tmp_path, watcher="hypervisor", scraper=scraper)
    assert site.scraped_from == address
    let_in = {
        str(getattr(flow.source, "address", flow.source)).removesuffix("/32")
        for flow in flows(site)
        if flow.port == WATCH
    }
    hosts = {str(host.address) for host in site.watched if host != site.watcher}
    assert let_in == hosts | {site.scraped_from}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    """A receiver with metrics and a page, and the folder that Prometheus gets."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    watcher, scraper = of_watcher(KEY, "watcher.example"), of_scraper(KEY, "lab.example")
    host = of_host(KEY, "a.example")
    (tmp_path / "own.pem").write_text(watcher.pem.get_secret_value())
    (tmp_path / "clients.pem").write_text(host.certificate + scraper.certificate)
    (tmp_path / "a.pem").write_text(host.pem.get_secret_value())
    (folder / "watcher.crt").write_text(watcher.certificate)
    (folder / "scraper.pem").write_text(scraper.pem.get_secret_value())
    (tmp_path / "text").write_text(exposed())
    (tmp_path / "index.html").write_text("the page")
    readable = {
        "/metrics": Readable(
            tmp_path / "text", frozenset({scraper.fingerprint}), metrics.CONTENT_TYPE
        ),
        "/page": Readable(tmp_path / "index.html", frozenset({host.fingerprint}), "text/html"),
        "/none": Readable(tmp_path / "none", frozenset({scraper.fingerprint}), "text/html"),
        "/nobody": Readable(tmp_path / "text", frozenset(), "text/html"),
    }
    tls = context(str(tmp_path / "own.pem"), str(tmp_path / "clients.pem"))
    reports = tmp_path / "reports"
    reports.mkdir()
    with Receiver(("127.0.0.1", 0), tls, {host.fingerprint: "a"}, reports, readable) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server, folder
        server.shutdown()
        thread.join()


def asked(server: Receiver, folder: Path, path: str, pair: Path, *more: str) -> tuple[str, str]:
    """Status and body; status 000 without a connection."""
    port = server.server_address[1]
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}", "--cert",
         pair, "--cacert", folder / "watcher.crt", "--connect-to",
         f"watcher.example:8470:127.0.0.1:{port}", *more, f"https://watcher.example:8470{path}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    body, _, status = done.stdout.rpartition("\n")
    return status, body


def test_each_reader_gets_its_own_and_nobody_else_does(
    served: tuple[Receiver, Path], tmp_path: Path
) -> None:
    server, folder = served
    scraper, host = folder / "scraper.pem", tmp_path / "a.pem"
    status, body = asked(server, folder, "/metrics", scraper)
    assert status == "200"
    assert samples(body) == samples(exposed())
    assert asked(server, folder, "/page", host) == ("200", "the page")
    for path, pair, code in (
        ("/metrics", host, "403"), ("/page", scraper, "403"), ("/nobody", host, "403"),
        ("/", scraper, "403"), ("/metrics/../page", scraper, "403"), ("/none", scraper, "503"),
    ):  # fmt: skip
        assert asked(server, folder, path, pair, "--path-as-is") == (code, ""), path
    report = ("--data-binary", "phoenix-watch 1\nhost\ta\nplan\tp\n")
    assert asked(server, folder, "/report", scraper, *report)[0] == "403"
    assert list(server.folder.iterdir()) == [], "who reads metrics reports for nobody"
    stranger = tmp_path / "stranger.pem"
    stranger.write_text(of_scraper(SecretStr("x" * 40), "lab.example").pem.get_secret_value())
    assert asked(server, folder, "/metrics", stranger)[0] == "000"


def test_prometheus_itself_reads_them_with_the_files_that_it_is_given(
    served: tuple[Receiver, Path], tmp_path: Path
) -> None:
    from phoenix.files import render, text

    server, folder = served
    (folder / watch.RULES).write_text(text(f"components/watch/{watch.RULES}"))
    (folder / "prometheus.yml").write_text(
        render(
            "components/watch/prometheus.yml.j2",
            target=f"127.0.0.1:{server.server_address[1]}", name="watcher.example",
            rules=watch.RULES,
        )
    )  # fmt: skip
    checked = promtool("check", "config", folder / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = (folder / "prometheus.yml").read_text().replace("30s", "1s")
    (folder / "quick.yml").write_text(config)
    with subprocess.Popen(
        ["prometheus", f"--config.file={folder / 'quick.yml'}",
         f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            assert result(port, "phoenix_service_ok") == {"app": "0", "wiki": "1"}
        finally:
            process.terminate()


def result(port: int, query: str) -> dict[str, str]:
    """What Prometheus answers, once it has an answer; what it says of its target otherwise."""
    end = time.monotonic() + 60
    reason = ""
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/v1/query?query={query}", timeout=5
            ) as answer:
                rows = json.load(answer)["data"]["result"]
            if rows:
                return {row["metric"]["service"]: row["value"][1] for row in rows}
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/api/v1/targets", timeout=5
            ) as answer:
                reason = answer.read().decode()
        except OSError as error:
            reason = str(error)
        time.sleep(0.2)
    raise AssertionError(reason)
