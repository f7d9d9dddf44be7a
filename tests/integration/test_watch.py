"""The site watches itself: one alarm with the true cause, one word when it is over, no forgery.

And its start page shows what is wrong now, in a browser, and its metrics go to their reader alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import expect, sync_playwright
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from lab import alarm_hook
from phoenix.components.watch import files as watch
from phoenix.derived.certificates import certificates
from phoenix.derived.components import WATCHED, WATCHER
from phoenix.site.secret_names import WATCH_KEY
from tests.integration import browser as browsers
from tests.integration.browser import Heard
from tests.integration.project import Project, deadline_factor
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure

pytestmark = pytest.mark.timeout(400)
INTERVAL = 10


@dataclass(frozen=True)
class Watching:
    """A site whose hypervisor watches it."""

    site: SiteLab
    project: Project

    def phoenix(self, *words: str) -> Any:
        done = self.project.phoenix(
            *words, "--json", environment={"PHOENIX_SECRET_ALARM_URLS": alarm_hook.URL}
        )
        assert done.returncode in (0, 2), done.stdout + done.stderr
        return json.loads(done.stdout)

    def messages(self) -> list[dict[str, str]]:
        """What came to the hook so far."""
        out = self.site.sh("hypervisor", f"cat {alarm_hook.MESSAGES} 2>/dev/null").out
        return [json.loads(line) for line in out.splitlines()]

    def came(self, count: int) -> list[dict[str, str]]:
        """The messages, once there are `count`."""
        self.until(f"{count} messages", lambda: len(self.messages()) >= count)
        return self.messages()

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 120 * deadline_factor()
        while not holds():
            log = self.site.sh("hypervisor", "journalctl -q -u phoenix-watch-judge -n 20").out
            assert time.monotonic() < end, f"not in time: {what}\n{log}"
            time.sleep(1)

    def look(self) -> Any:
        """The watcher's last look, as its file has it."""
        return json.loads(self.site.sh("hypervisor", "cat /var/lib/phoenix-watch/status.json").out)

    def rounds(self, count: int) -> None:
        """Until each host has reported so often again."""
        for _ in range(count):
            before = {host["name"]: host["seen"] for host in self.look()["hosts"]}
            self.until(
                "every host reports",
                lambda before=before: all(  # type: ignore[misc]
                    host["seen"] and host["seen"] != before[host["name"]]
                    for host in self.look()["hosts"]
                ),
            )


@pytest.fixture(scope="module")
def watching(site: SiteLab) -> Iterator[Watching]:
    project = site.project.variant("watching")
    file = "inventories/phoenix_lxc_configs.json"
    declared = project.json(file)
    declared.setdefault("site", {})["watcher"] = "hypervisor"
    declared["site"]["scraper"] = site.roles["traefik"]
    project.write_json(file, declared)
    lab = (project.path / "group_data/lab.py").read_text()
    project.write("group_data/lab.py", f"{lab}watch_interval = {INTERVAL}\nwatch_backup_days = 0\n")
    site.put("hypervisor", alarm_hook.PROGRAM, alarm_hook.SERVER)
    site.sh("hypervisor", alarm_hook.START, ok=True)
    watching = Watching(site, project)
    try:
        watching.phoenix("sync", "guard", "watch")
        watching.until(
            "a first look",
            lambda: site.sh("hypervisor", "[ -s /var/lib/phoenix-watch/status.json ]").code == 0,
        )
        watching.rounds(1)
        yield watching
    finally:
        site.sh("hypervisor", alarm_hook.STOP)
        for host in site.site.hosts:
            for tree in (WATCHED, WATCHER):
                apply = f"/var/lib/phoenix/trees/{tree}/current/apply"
                site.sh(host.name, f"[ ! -e {apply} ] || sh {apply} remove", ok=True)
        site.sh("hypervisor", f"rm -rf {watch.VAR} {' '.join(watch.RUN)}")
        site.project.phoenix("sync", "guard")
        site.project.phoenix("remove", WATCH_KEY, "-y")


def test_a_second_sync_changes_nothing_and_status_tells_who_reported(watching: Watching) -> None:
    done = watching.phoenix("sync", "guard", "watch")
    assert {host["host"]: host["changed"] for host in done["hosts"] if host["changed"]} == {}
    assert done["verified"]
    watched = watching.phoenix("status", "--no-drift")["watched"]
    assert [host["name"] for host in watched["hosts"]] == [
        host.name for host in watching.site.site.hosts
    ]
    assert all(host["seen"] for host in watched["hosts"])
    assert (watched["causes"], watched["places"], watched["waiting"]) == ([], 1, 0)


def test_a_test_of_the_alarms_arrives_and_no_url_is_in_any_log(watching: Watching) -> None:
    before = len(watching.messages())
    watching.phoenix("alert", "test")
    (message,) = watching.came(before + 1)[before:]
    assert message["title"] == f"[{watching.site.site.domain}] a test of the alarms"
    logs = watching.site.sh("hypervisor", "journalctl -q --no-pager -b").out
    assert "a test of the alarms" not in message["message"]
    assert "planted-in-a-url" not in logs


def test_a_guest_that_writes_as_another_is_refused(watching: Watching) -> None:
    """With the certificate that it has, and by the way that its own reports go."""
    site, gateway = watching.site, watching.site.roles["gateway"]
    send = (
        f". {watch.CONFIG}; printf 'phoenix-watch 1\\nhost\\t%s\\nplan\\tx\\n' {{name}} | "
        "curl -sS -o /dev/null -w '%{{http_code}}' --noproxy '*' --max-time 20 {pair} "
        f'--cacert {watch.CERTIFICATE_OF_THE_WATCHER} --connect-to "$ENTRANCE" '
        '--data-binary @- "$URL"'
    )
    own_pair = f"--cert {watch.PAIR}"
    assert site.sh("traefik", send.format(name=gateway, pair=own_pair)).out == "403"
    assert site.sh("traefik", send.format(name=site.roles["traefik"], pair=own_pair)).out == "204"
    nobody = site.sh("traefik", send.format(name=gateway, pair=""))
    assert (nobody.code != 0, nobody.out) == (True, "000"), nobody.text
    stranger = site.sh(
        "client",
        f"timeout 5 bash -c ': </dev/tcp/{site.address('hypervisor')}/8470' && echo open",
    )
    assert "open" not in stranger.out, "the guard lets in the site's hosts alone"
    watching.rounds(1)


def test_a_stopped_gateway_is_one_alarm_with_its_cause_and_one_end(watching: Watching) -> None:
    before = len(watching.messages())
    watching.rounds(1)
    watching.site.sh("gateway", "systemctl stop nginx", ok=True)
    began = time.monotonic()
    try:
        watching.came(before + 1)
        print_figure("seconds from fault to alarm", round(time.monotonic() - began))
        watching.rounds(2)
    finally:
        watching.site.sh("gateway", "systemctl start nginx", ok=True)
    watching.came(before + 2)
    watching.rounds(2)
    alarm, *rest = watching.messages()[before:]
    nginx = f"{watching.site.roles['gateway']}: Nginx (nginx.service)"
    domain = watching.site.site.domain
    assert [message["title"] for message in rest] == [f"[{domain}] over: {nginx}"]
    assert alarm["title"] == f"[{domain}] fault: {nginx}"
    assert alarm["type"] == "failure"
    assert "phoenix sync nginx" in alarm["message"]
    assert watching.look()["causes"] == []


def test_the_page_shows_a_fault_within_two_minutes_and_its_end(
    watching: Watching, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In a real browser, without a script, and on a page that loads itself anew."""
    browsers.needed()
    site = watching.site
    root = site.sh("client", f"cat {ROOT_FILE}", ok=True).out
    unit = "phoenix-portainer.service"
    before = len(watching.messages())
    folder = tmp_path_factory.mktemp("chromium") / "home"
    with (
        sync_playwright() as playwright,
        browsers.chromium(playwright, folder, site.address("hypervisor"), root) as browser,
    ):
        page = browser.new_context(java_script_enabled=False).new_page()
        heard = Heard()
        heard.listen(page)

        def shows(headline: str, state: str) -> None:
            card = page.locator(".cards li").filter(
                has=page.get_by_role("heading", name="portainer")
            )
            end = time.monotonic() + 120 * deadline_factor()
            while True:
                page.goto(f"https://home.{site.site.domain}/")
                shown = page.locator(".verdict .headline").inner_text()
                words = card.locator(".state").inner_text().strip()
                if headline in shown and words == state:
                    return
                assert time.monotonic() < end, (shown, words)
                time.sleep(1)

        shows("checks passed", "Healthy")
        assert page.locator(".old").count() == 0
        expect(page.locator(".asof")).to_contain_text("less than a minute ago")
        assert page.locator(".history path").count() > 0, "what was seen today"
        site.sh("portainer", f"systemctl stop {unit}", ok=True)
        began = time.monotonic()
        try:
            shows("failed", "Not healthy")
            print_figure("seconds from fault to page", round(time.monotonic() - began))
            assert time.monotonic() - began < 120 * deadline_factor()
            expect(page.locator(".verdict")).to_contain_text("First cause")
            assert page.locator(".cards .state.ok").count() > 0, "the others are healthy"
        finally:
            site.sh("portainer", f"systemctl start {unit}", ok=True)
        shows("checks passed", "Healthy")
        assert heard.complaints == []
        timer = watch.PAGE_TIMER
        site.sh("traefik", f"systemctl stop {timer}", ok=True)
        try:  # what nobody renews is old, whatever it says
            page_file = "/var/lib/phoenix/home/index.html"
            site.sh("traefik", f"sed -i 's,!= /^(?:[0-9|]*)/,!= /^(?:16)/,' {page_file}", ok=True)
            page.goto(f"https://home.{site.site.domain}/")
            expect(page.locator(".old")).to_contain_text("nothing has come from the watcher since")
        finally:
            site.sh("traefik", f"systemctl start {timer}", ok=True)
    if len(watching.messages()) > before:  # it was seen twice: then its end is told as well
        watching.came(before + 2)
    watching.until("all is well", lambda: watching.look()["causes"] == [])


def test_metrics_go_to_the_declared_reader_alone(watching: Watching) -> None:
    """With the files that the watcher has for it, by the way that the guard opens."""
    site, place = watching.site, "/root/phoenix-test-metrics"
    try:
        for name in ("scraper.pem", "watcher.crt"):
            text = site.sh("hypervisor", f"cat {watch.METRICS}/{name}", ok=True).out
            site.put("traefik", f"{place}/{name}", f"{text}\n")
        name, address = site.site.hypervisor.fqdn, site.address("hypervisor")
        curl = (
            f"curl -sS --fail --noproxy '*' --max-time 20 --cacert {place}/watcher.crt "
            f"--connect-to {name}:8470:{address}:8470 https://{name}:8470/metrics"
        )
        text = site.sh("traefik", f"{curl} --cert {place}/scraper.pem", ok=True).out
        samples = [sample for family in text_string_to_metric_families(f"{text.rstrip()}\n")
                   for sample in family.samples]  # fmt: skip
        refused = site.sh("traefik", f"{curl} --cert {watch.PAIR}")
        assert (refused.code, "403" in refused.text) == (22, True), refused.text
    finally:
        site.sh("traefik", f"rm -rf {place}")
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    for service in site.site.services:
        if service.exposure == "gateway" and service.kind != "home":
            assert values["phoenix_service_ok", service.name] == 1
    holders = {certificate.host for certificate in certificates(site.site)}
    for host in site.site.hosts:
        assert values["phoenix_host_silent", host.name] == 0
        dates = [sample for sample in samples if sample.labels.get("host") == host.name
                 and sample.name == "phoenix_certificate_not_after_timestamp_seconds"]  # fmt: skip
        assert all(sample.value > time.time() for sample in dates)
        assert bool(dates) == (host in holders), host.name
    assert values["phoenix_run_ok", "deploy"] == 1
    assert time.time() - values["phoenix_run_ended_timestamp_seconds", "deploy"] < 3600
    assert [
        sample for sample in samples if sample.name == "phoenix_check_ok" and sample.value == 0
    ] == []
