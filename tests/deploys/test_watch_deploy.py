"""The watch: what each host and the watcher are sent, and where no secret may be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from phoenix.components.watch import files as watch
from phoenix.declaration.load import load_site
from phoenix.health.checks import made_on
from phoenix.watch.plan import from_json
from tests.deploys.recorder import Run, run
from tests.unit.site_builder import minimal

KEY = "planted-key-of-the-watch-of-this-test"
URLS = "json://me:planted-password@192.0.2.1/hook\n"


def site(
    folder: Path, watcher: str | None = "hypervisor", *, alone: bool = False, scraper: str = ""
) -> Path:
    declared = minimal()
    if scraper:
        declared.lxc.setdefault("site", {})["scraper"] = scraper
    if watcher is not None:
        declared.lxc.setdefault("site", {})["watcher"] = watcher
    if alone:
        declared.vm["vms"][1]["leave_alone"] = ["watch"]
    declared.write(folder)
    return folder


def deployed(folder: Path, tmp_path: Path, deploy: str = "watch", **more: object) -> Run:
    place = {"site_inventories": str(folder), "site_stacks": str(folder / "stacks")}
    return run(deploy, tmp_path / "secrets.json", **place, **more)  # type: ignore[arg-type]


@pytest.fixture
def environment_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_WATCH_KEY", KEY)
    monkeypatch.setenv("PHOENIX_SECRET_ALARM_URLS", URLS)


@pytest.mark.usefixtures("environment_secrets")
def test_each_host_gets_its_own_checks_and_the_watcher_all_that_it_must_know(
    tmp_path: Path,
) -> None:
    folder = site(tmp_path / "site")
    declared = load_site(folder)
    done = deployed(folder, tmp_path)
    assert not done.failed
    assert done.operations == [
        "Watch: packages", "Watch: the watcher", "Watch: this host's checks by a timer",
    ]  # fmt: skip
    plan = from_json(done.files("phoenix")[watch.PLAN])
    assert plan.hosts == tuple(host.name for host in declared.hosts)
    pairs = set()
    for host in declared.hosts:
        files = done.files(host.name)
        listed = files[watch.CHECKS].splitlines()
        assert listed == ["\t".join(check.command) for check in made_on(declared, host)]
        config = dict(line.split("=", 1) for line in files[watch.CONFIG].splitlines())
        assert config["PLAN"] == plan.lists[host.name]
        assert config["ENTRANCE"] == f"{declared.hypervisor.fqdn}:8470:10.0.0.13:8470"
        assert bool(config["LOCK"].strip("'")) == (host == declared.hypervisor)
        pairs.add(files[watch.PAIR])
        assert (
            files[watch.CERTIFICATE_OF_THE_WATCHER]
            in done.files("phoenix")[watch.PAIR_OF_THE_WATCHER]
        )
        certificate = files[watch.PAIR].partition("-----BEGIN PRIVATE")[0]
        assert certificate in done.files("phoenix")[watch.CERTIFICATES_OF_HOSTS]
        timer = files[f"/etc/systemd/system/{watch.TIMER}"]
        assert re.search(r"^OnCalendar=\*:0/1:\d+$", timer, re.M), timer
    assert len(pairs) == len(declared.hosts)


@pytest.mark.usefixtures("environment_secrets")
def test_no_secret_is_in_a_command_or_for_others_to_read(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "site"), tmp_path)
    secret = {watch.PAIR, watch.PAIR_OF_THE_WATCHER, watch.ALARMS}
    for sent in done.sent:
        assert KEY not in sent.command + json.dumps(sent.files())
        assert "planted" not in sent.command
        for path, content in sent.files().items():
            if "PRIVATE KEY" in content or "planted" in content:
                assert path in secret, path
        for row in sent.files().get("manifest", "").splitlines():
            if row.split("\t")[-1] in secret:
                assert row.startswith("600\troot\troot\t"), row
    assert done.files("phoenix")[watch.ALARMS] == URLS
    assert watch.ALARMS not in done.files("gateway")


@pytest.mark.usefixtures("environment_secrets")
def test_what_tells_how_a_site_is_reached_is_for_root_alone(tmp_path: Path) -> None:
    """The plan and the checks name every host, port and path; pairs and alarms are secret."""
    done = deployed(site(tmp_path / "site"), tmp_path)
    manifests = [text for sent in done.sent if (text := sent.files().get("manifest"))]
    modes: dict[str, set[int]] = {}
    for line in "".join(manifests).splitlines():
        mode, *_, path = line.split("\t")
        modes.setdefault(path, set()).add(int(mode, 8))
    own = {watch.PLAN, watch.CHECKS, watch.PAIR, watch.PAIR_OF_THE_WATCHER, watch.ALARMS}
    assert {path for path, each in modes.items() if each == {0o600}} == own
    assert not any(mode & 0o022 for each in modes.values() for mode in each)


def test_apprise_is_installed_where_alarms_go_somewhere_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = site(tmp_path / "site", "101")
    none = deployed(folder, tmp_path)
    assert not [request for request in none.sent if re.search(r"\bapprise\b", request.command)]
    assert watch.ALARMS not in none.files("gateway")
    monkeypatch.setenv("PHOENIX_SECRET_ALARM_URLS", URLS)
    some = deployed(folder, tmp_path)
    assert {
        request.host for request in some.sent if re.search(r"\bapprise\b", request.command)
    } == {"gateway"}


def test_a_site_without_a_watcher_gets_nothing_and_a_host_that_is_left_alone_neither(
    tmp_path: Path,
) -> None:
    assert deployed(site(tmp_path / "off", None), tmp_path).sent == []
    done = deployed(site(tmp_path / "on", alone=True), tmp_path)
    assert "worker" not in {request.host for request in done.sent}
    assert "worker" not in from_json(done.files("phoenix")[watch.PLAN]).hosts


def test_reports_may_come_in_from_the_watched_hosts_alone(tmp_path: Path) -> None:
    for watcher, name in (("hypervisor", "phoenix"), ("101", "gateway")):
        folder = site(tmp_path / name, watcher, alone=True)
        rules = deployed(folder, tmp_path, "guard").files(name)["/etc/phoenix/guard.nft"]
        sources = re.findall(r"^\s*ip saddr (\S+) tcp dport 8470 accept", rules, re.M)
        hosts = [host for host in load_site(folder).hosts if host.name not in (name, "worker")]
        assert sorted(sources) == sorted(str(host.address) for host in hosts)
    off = deployed(site(tmp_path / "off", None), tmp_path, "guard").files("phoenix")
    assert "8470" not in off["/etc/phoenix/guard.nft"]


def test_an_interval_holds_for_hosts_and_watcher(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "site"), tmp_path, watch_interval=10)
    files = done.files("phoenix")
    assert from_json(files[watch.PLAN]).interval == 10
    assert re.search(r"OnCalendar=\*:\*:\d/10$", files[f"/etc/systemd/system/{watch.TIMER}"], re.M)
    assert "phoenix.watch judge 10\n" in files[f"/etc/systemd/system/{watch.LOOKS}"]
    looks = files[f"/etc/systemd/system/{watch.JUDGE}"]
    assert "\nOnActiveSec=1s\nOnCalendar=minutely\n" in looks, "at once, and then each minute"
    timer = done.files("proxy")[f"/etc/systemd/system/{watch.PAGE_TIMER}"]
    assert "OnCalendar=*:*:0/10\n" in timer


def test_a_test_of_the_alarms_is_sent_by_the_watcher(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "site", "101"), tmp_path, "alert_test")
    assert {request.host for request in done.sent} == {"gateway"}
    assert "phoenix.watch test" in done.sent[-1].command


@pytest.mark.usefixtures("environment_secrets")
def test_the_start_page_is_fetched_on_its_own_guest_and_no_run_writes_it(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "on"), tmp_path)
    timer = f"/etc/systemd/system/{watch.PAGE_TIMER}"
    hosts = [host.name for host in load_site(tmp_path / "on").hosts]
    assert [name for name in hosts if timer in done.files(name)] == ["proxy"]
    assert done.files("proxy")[watch.PAGE_PROGRAM].startswith("#!/bin/sh")
    assert "OnCalendar=*:*:0/15\n" in done.files("proxy")[timer]
    known = from_json(done.files("phoenix")[watch.PLAN])
    assert (known.page_hosts, known.tells) == (("proxy",), "everything")
    few = deployed(tmp_path / "on", tmp_path, home_tells="services")
    assert from_json(few.files("phoenix")[watch.PLAN]).tells == "services"
    assert "Verify: start page" not in deployed(tmp_path / "on", tmp_path, "verify").operations
    site(tmp_path / "off", None)
    assert "Verify: start page" in deployed(tmp_path / "off", tmp_path, "verify").operations


@pytest.mark.usefixtures("environment_secrets")
def test_whoever_reads_metrics_gets_all_that_it_needs_and_no_host_s_key(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "site", scraper="192.0.2.7"), tmp_path)
    files = done.files("phoenix")
    own = {path: text for path, text in files.items() if path.startswith(f"{watch.METRICS}/")}
    assert {path.rpartition("/")[2] for path in own} == {
        "prometheus.yml", watch.RULES, "watcher.crt", "scraper.pem",
    }  # fmt: skip
    pair = own[f"{watch.METRICS}/scraper.pem"]
    certificate = pair.partition("-----BEGIN PRIVATE")[0]
    assert certificate in files[watch.CERTIFICATES_OF_HOSTS]
    assert from_json(files[watch.PLAN]).scraper
    assert 'targets: ["10.0.0.13:8470"]' in own[f"{watch.METRICS}/prometheus.yml"]
    for sent in done.sent:
        for row in sent.files().get("manifest", "").splitlines():
            if row.endswith("scraper.pem"):
                assert row.startswith("600\troot\troot\t"), row
    assert not [host for host in ("gateway", "proxy") if pair in done.files(host).values()]
    off = deployed(site(tmp_path / "off"), tmp_path).files("phoenix")
    assert not [path for path in off if path.startswith(watch.METRICS)]
    assert from_json(off[watch.PLAN]).scraper == ""


@pytest.mark.usefixtures("environment_secrets")
def test_the_ca_s_guest_alone_reports_what_the_ca_issued(tmp_path: Path) -> None:
    done = deployed(site(tmp_path / "site"), tmp_path)
    declared = load_site(tmp_path / "site")
    assert declared.ca is not None
    for host in declared.hosts:
        files = done.files(host.name)
        config = dict(line.split("=", 1) for line in files[watch.CONFIG].splitlines())
        assert (watch.ISSUED_PROGRAM in files) == (host == declared.ca)
        assert bool(config["ISSUED"].strip("'")) == (host == declared.ca)
    known = from_json(done.files("phoenix")[watch.PLAN])
    assert known.owners["portainer.internal.thinkheads.ai"] == (("gateway", "gateway"),)
    title = f"service on {declared.ca.name}: certificates that the CA issued"
    assert known.fixes[title].commands == ("phoenix certs rotate root",)
