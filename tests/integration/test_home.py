"""The start page, through gateway and Traefik, in a browser that trusts the root alone.

The pictures of README.md are kept here: `cp build/screenshots/home-{light,phone}.png docs/`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Playwright, sync_playwright

from lab.settings import ROOT
from tests.integration import browser as browsers
from tests.integration.browser import Heard
from tests.integration.project import Project
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure

SCREENSHOTS = ROOT / "build/screenshots"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
TIMER = "phoenix-acme@gateway.timer"
VERIFY = "deploys/verify.py"


@pytest.fixture(scope="module")
def url(site: SiteLab) -> str:
    return f"https://home.{site.site.domain}/"


@pytest.fixture(scope="module")
def commit(site: SiteLab) -> str:
    """The site as last verified by a checkout: its commit, which has a change in no file."""
    checkout: Project = site.project.variant("home-checkout")
    git = ["git", "-C", str(checkout.path), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    # What Python and pyinfra leave behind is ignored in the repository, too.
    checkout.write(".gitignore", "__pycache__/\nrun.*\npyinfra-debug.log\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "The site"]):
        subprocess.run([*git, *words], check=True)
    run = checkout.run(VERIFY)
    assert run.returncode == 0, run.explain()
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return head.stdout.strip()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """One for the module: it keeps an event loop of its own in this thread."""
    browsers.needed()
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(
    site: SiteLab, playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    root = site.sh("client", f"cat {ROOT_FILE}", ok=True).out
    folder = tmp_path_factory.mktemp("chromium") / "home"
    with browsers.chromium(playwright, folder, site.address("hypervisor"), root) as browser:
        yield browser


def test_every_answer_forbids_what_the_page_does_not_need(site: SiteLab, url: str) -> None:
    kinds = {"": "text/html", "home.json": "application/json", "style.css": "text/css",
             "icon.svg": "image/svg+xml", "nothing": "text/html"}  # fmt: skip
    for path, kind in kinds.items():
        answer = site.curl(url + path)
        assert answer.status == (404 if path == "nothing" else 200), (path, answer)
        assert answer.headers["content-type"].split(";")[0] == kind, (path, answer.headers)
        assert answer.headers["content-security-policy"] == POLICY, path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["referrer-policy"] == "no-referrer", path
        assert answer.headers["cache-control"] == "no-cache", path
        assert "max-age=" in answer.headers["strict-transport-security"], path


def test_page_is_served_to_its_own_guest_s_traefik_alone(site: SiteLab) -> None:
    listening = site.sh("traefik", "ss -Hltn 'sport = :8083 or sport = :80'", ok=True).out
    addresses = {line.split()[3] for line in listening.splitlines()}
    assert addresses == {"127.0.0.1:8083"}, listening
    assert site.sh("traefik", "systemctl is-enabled nginx.service").out.strip() == "masked"
    users = {int(uid) for uid in site.sh("traefik", "ps -C nginx -o uid=", ok=True).out.split()}
    assert users
    assert all(61184 <= uid <= 65519 for uid in users), f"no dynamic user of systemd: {users}"
    log = site.sh("traefik", "journalctl -q -u phoenix-home.service -o cat", ok=True).out
    assert [line for line in log.splitlines() if "[warn]" in line] == []


def test_data_for_programs_is_what_other_tools_see(site: SiteLab, url: str, commit: str) -> None:
    data = json.loads(site.curl(f"{url}home.json").body)
    assert data["revision"] == {"commit": commit, "dirty": False}
    assert data["health"]["state"] == "ok"
    assert {host["name"] for host in data["hosts"]} == set(site.state.hosts)
    served = 0
    for row in data["certificates"]:
        place = f"{row['address']}:{row['port']}"
        assert row["fault"] == "", row
        certificate_text = site.leaf(place, row["server_name"], "-serial", "-enddate")
        assert f"serial={int(row['serial'], 16):X}" in certificate_text.replace(
            "serial=0", "serial="
        ), certificate_text
        end = datetime.strptime(
            certificate_text.split("notAfter=")[1].strip(), "%b %d %H:%M:%S %Y GMT"
        )
        assert datetime.fromisoformat(row["not_after"]) == end.replace(tzinfo=UTC), row
        served += 1
    assert served >= 5, data["certificates"]


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme", "scale"),
    [
        ("light", 1120, 860, "light", 1),
        ("dark", 1120, 860, "dark", 1),
        ("phone", 390, 844, "light", 1.5),
    ],
)
def test_page_in_a_browser(
    site: SiteLab, url: str, commit: str, browser: Browser,
    name: str, width: int, height: int, scheme: Literal["light", "dark"], scale: float,
) -> None:  # fmt: skip
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
    )
    page, heard = context.new_page(), Heard()
    heard.listen(page)
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200
    # Chromium has verified the chain, or there would be no page.
    details = answer.security_details()
    assert details is not None
    assert details["issuer"], "the page came without TLS"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"home-{name}.png")
    assert page.title() == site.site.domain
    assert page.get_by_role("heading", level=1).inner_text() == site.site.domain
    assert re.match(r"All \d\d+ checks passed\n", page.locator(".verdict").inner_text())
    links = {link.inner_text(): link.get_attribute("href") for link in
             page.get_by_role("list").get_by_role("link").all()}  # fmt: skip
    domain = site.site.domain
    assert links == {
        **{route.service.name: f"https://{route.fqdn}/" for route in site.backends},
        "traefik": f"https://traefik.{domain}/dashboard/",
    }
    assert page.get_by_text("Was healthy", exact=True).count() == len(links)
    assert commit[:12] in page.locator("footer").inner_text()
    assert "local changes" not in page.locator("footer").inner_text()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in re.findall(r"\d+", background)[:3])
    assert (brightness < 3 * 128) == (scheme == "dark"), background
    fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert fits, "a reader must scroll sideways"
    context.close()
    assert heard.complaints == []
    assert {urlsplit(request).netloc for request in heard.requests} == {f"home.{domain}"}, (
        heard.requests
    )


def test_page_that_nobody_renews_says_that_it_is_old(
    site: SiteLab, url: str, commit: str, browser: Browser
) -> None:
    """nginx compares the time at each request: another clock is a page of another time."""
    file = "/var/lib/phoenix/home/index.html"
    page = browser.new_page()
    page.goto(url)
    assert page.locator(".old").count() == 0
    assert "msec" not in page.content(), "nginx reads what is meant for it"
    site.sh("traefik", f"cp -p {file} /root/home.html", ok=True)
    site.sh("traefik", f"sed -i 's,/^(?:[0-9|]*)/,/^(?:16)/,' {file}", ok=True)
    try:
        page.goto(url)
        assert page.locator(".old").is_visible()
        assert "phoenix status" in page.locator(".old").inner_text()
        colours = {
            page.locator(selector).first.evaluate("one => getComputedStyle(one).color")
            for selector in (".verdict .mark", ".cards .state")
        }
        assert len(colours) == 1, "one state is told as well"
        page.screenshot(path=SCREENSHOTS / "home-old.png")
    finally:
        site.sh("traefik", f"mv /root/home.html {file}", ok=True)
        page.close()


def test_link_leads_to_the_service(site: SiteLab, url: str, commit: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(url)
    page.get_by_role("link", name="app", exact=True).click()
    page.wait_for_url(f"https://app.{site.site.domain}/**")
    assert '"service": "app"' in page.inner_text("body"), page.content()
    page.close()


def test_browser_without_the_root_sees_no_page(
    site: SiteLab, url: str, playwright: Playwright, tmp_path: Path
) -> None:
    """So that the tests above prove what they seem to."""
    name_server = site.address("hypervisor")
    with browsers.chromium(playwright, tmp_path / "home", name_server, None) as stranger:
        page = stranger.new_page()
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            page.goto(url)


def test_broken_site_says_so_and_a_repaired_one_too(
    site: SiteLab, url: str, commit: str, browser: Browser
) -> None:
    """The verdict fails the run; the page is written all the same, and again by the next run."""
    site.sh("gateway", f"systemctl stop {TIMER}", ok=True)
    try:
        run = site.project.run(VERIFY)
        assert run.returncode == 1, run.explain()
        assert ("Verify: start page", site.roles["traefik"]) in run.changes, run.explain()
        page = browser.new_page(viewport={"width": 1120, "height": 860})
        page.goto(url)
        page.screenshot(path=SCREENSHOTS / "home-broken.png")
        verdict = page.locator(".verdict").inner_text()
        print_figure("the page of a broken site", verdict)
        assert re.match(r"1 of \d+ checks failed\n", verdict), verdict
        assert f"First cause, seen from {site.roles['gateway']}: " in verdict
        assert TIMER in verdict
        assert "no revision" in page.locator("footer").inner_text(), "a copy is no checkout"
        page.close()
    finally:
        site.sh("gateway", f"systemctl start {TIMER}", ok=True)
    run = site.project.run(VERIFY)
    assert run.returncode == 0, run.explain()
    assert '<p class="headline">All ' in site.curl(url).body
