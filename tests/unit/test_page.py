"""The start page: what it tells of a site and its checks, and that it is safe to show."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from phoenix.components.x509 import CertificateInfo
from phoenix.derived import home
from phoenix.derived.endpoints import endpoints
from phoenix.health import page_html
from phoenix.health.checks import checks
from phoenix.health.diagnosis import diagnose
from phoenix.health.page import Page, Stamp, build, for_strangers, headline
from phoenix.health.page_html import STYLE, render
from phoenix.health.paths import paths
from phoenix.health.served import Served, served
from phoenix.runs.revision import NONE, Revision
from phoenix.site.model import Site
from phoenix.watch.causes import Check, Findings, Outcome
from phoenix.watch.page_html import time_left, within
from tests.unit.site_builder import minimal

NOW = datetime(2026, 11, 24, 18, 40, tzinfo=UTC)
DAY = timedelta(days=1)
STAMP = Stamp(at=NOW, by="ann@desk", old_at=NOW + DAY)
COMMIT = "0123456789abcdef" * 2 + "01234567"
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


def leaf(hours: int) -> CertificateInfo:
    start, end = NOW - timedelta(hours=1), NOW + timedelta(hours=hours)
    return CertificateInfo("x", ("x",), (), "The CA", start, end, "ab12", "", "", is_ca=False)


def no_fault(check: Check) -> str:
    return ""


def checked_page(
    site: Site, fault: Callable[[Check], str] = no_fault, *, without: str = ""
) -> Page:
    """A page of checks that find what `fault` says; the host `without` has run none."""
    outcomes = [Outcome(check, fault(check)) for check in checks(site) if check.host != without]
    records = [served(end, leaf(20 + i), "") for i, end in enumerate(endpoints(site))]
    return page_of(site, outcomes, records, Revision(commit=COMMIT, dirty=False))


def page_of(site: Site, outcomes: list[Outcome], records: list[Served], revision: Revision) -> Page:
    diagnosis = diagnose(site, paths(site), Findings(outcomes))
    return build(site, outcomes, diagnosis, records, revision, STAMP)


def test_sound_site_says_so_and_links_every_service_but_itself(site: Site) -> None:
    page = checked_page(site)
    total = len(checks(site))
    assert headline(page.health) == f"All {total} checks passed"
    assert [(s.name, s.url, s.stack) for s in page.services] == [
        ("portainer", "https://portainer.internal.thinkheads.ai/", None),
        ("shop", "https://shop.internal.thinkheads.ai/", "shop-production"),
        ("traefik", "https://traefik.internal.thinkheads.ai/dashboard/", None),
    ]
    assert {s.health.state for s in page.services} == {"ok"}
    assert sum(host.health.checks for host in page.hosts) == total
    text = render(page)
    for service in page.services:
        assert f'<a href="{service.url}">{service.name}</a>' in text
    assert f"<code>{COMMIT[:12]}</code>" in text
    assert '<time datetime="2026-11-24T18:40:00Z">24 Nov 2026, 18:40 UTC</time> by ann@desk' in text


def test_service_s_certificates_end_with_the_first_on_its_path(site: Site) -> None:
    page = checked_page(site)
    assert [(c.holder, c.port) for c in page.certificates] == [
        ("gateway", 443), ("proxy", 443), ("control", 9443), ("worker", 8000), ("worker", 9001),
        ("authority", 9000),
    ]  # fmt: skip
    assert {s.certificate_until for s in page.services} == {NOW + timedelta(hours=20)}
    refused = "Connection refused"
    silent = [served(end, None, refused) if end.port == 8000 else served(end, leaf(9), "")
              for end in endpoints(site)]  # fmt: skip
    page = page_of(site, [], silent, NONE)
    assert {s.name: s.certificate_until for s in page.services} == {
        "portainer": NOW + timedelta(hours=9),
        "shop": None,
        "traefik": NOW + timedelta(hours=9),
    }
    (row,) = [c for c in page.certificates if (c.holder, c.port) == ("worker", 8000)]
    assert (row.not_after, row.fault) == (None, "Connection refused")
    assert "Connection refused" in render(page)
    assert "no revision" in render(page)


@pytest.mark.parametrize(
    ("function", "word", "broken"),
    [
        ("request_gives", "https://shop.", {"shop"}),
        ("router_is_enabled", "/shop@file", {"shop"}),
        ("tls_verifies", "portainer.internal.thinkheads.ai", {"portainer"}),
        ("tls_verifies", "shop.stack.internal.thinkheads.ai", {"shop"}),
        ("tls_verifies", "proxy.host.internal.thinkheads.ai", {"portainer", "shop", "traefik"}),
        ("containers_are_well", "shop-production", {"shop"}),
        ("unit_runs", "nginx.service", {"portainer", "shop", "traefik"}),
        ("unit_runs", "phoenix-portainer.service", {"portainer"}),
        ("unit_runs", "phoenix-portainer-agent.service", set()),
        ("unit_runs", "phoenix-dns.service", {"portainer", "shop", "traefik"}),
        ("unit_runs", "phoenix-acme@gateway.timer", set()),
        ("stack_is_active", "shop-production", set()),
    ],
)
def test_a_fault_breaks_the_services_whose_requests_meet_it(
    site: Site, function: str, word: str, broken: set[str]
) -> None:
    page = checked_page(
        site, lambda c: "bad" if c.function == function and word in " ".join(c.command[1:]) else ""
    )
    assert page.health.state == "broken", "the fault was not there"
    assert {s.name for s in page.services if s.health.state == "broken"} == broken


def test_broken_site_names_the_first_cause_and_keeps_what_was_heard_there(site: Site) -> None:
    page = checked_page(site, lambda c: "PANIC at line 7" if c.function == "request_gives" or (
        c.unit == "nginx.service") else "")  # fmt: skip
    assert headline(page.health) == f"5 of {len(checks(site))} checks failed"
    text = render(page)
    assert "First cause, seen from gateway: Nginx (nginx.service): does not run" in text
    assert "Was not healthy" in text
    assert "PANIC" not in text + page.model_dump_json(), "log lines are not for everyone"


def test_host_that_made_no_checks_is_neither_well_nor_broken(site: Site) -> None:
    page = checked_page(site, without="worker")
    own_checks = len([c for c in checks(site) if c.host == "worker"])
    assert headline(page.health) == f"{own_checks} of {len(checks(site))} checks were not run"
    states = {s.name: s.health.state for s in page.services}
    assert states == {"portainer": "ok", "shop": "ok", "traefik": "ok"}, "a request arrived"
    broken = checked_page(
        site, lambda c: "x" if c.function == "request_gives" else "", without="worker"
    )
    assert headline(broken.health).endswith(f" checks failed, {own_checks} were not run")
    assert {s.health.state for s in broken.services} == {"broken"}
    hidden = checked_page(site, without=site.hypervisor.name)
    assert {s.health.state for s in hidden.services} == {"unknown"}, "no request was made"
    assert "Not checked" in render(hidden)


def test_same_page_is_one_that_differs_in_its_stamp_alone(site: Site) -> None:
    page = checked_page(site)
    stamp = Stamp(at=NOW + DAY, by="bob@desk", old_at=NOW + 2 * DAY)
    later = page.model_copy(update={"stamp": stamp})
    assert page.same_as(later)
    assert Page.model_validate_json(page.model_dump_json()) == page
    assert not page.same_as(checked_page(site, lambda c: "x" if c.layer == "http" else ""))
    assert not page.same_as(page.model_copy(update={"revision": NONE}))
    renewed = [c.model_copy(update={"serial": "cd"}) for c in page.certificates]
    assert not page.same_as(page.model_copy(update={"certificates": tuple(renewed)}))


def test_strangers_learn_of_services_alone_where_that_is_chosen(site: Site) -> None:
    outcomes = [Outcome(check, "no" if n % 3 else "") for n, check in enumerate(checks(site))]
    revision = Revision(commit="abcdef0123456789", dirty=True)
    whole = page_of(site, outcomes, [], revision)
    page = for_strangers(whole)
    shown = page.model_dump_json() + render(page)
    for host in site.hosts:
        assert str(host.address) not in shown
        assert f">{host.name}<" not in shown
        assert f'"{host.name}"' not in shown
    assert "abcdef" not in shown
    assert whole.stamp.by not in shown
    assert {service.name: service.health.state for service in page.services} == {
        service.name: service.health.state for service in whole.services
    }
    assert for_strangers(page) == page, "a run that finds the same leaves it alone"


def fresh(stamp: Stamp) -> str:
    return within(stamp.at.timestamp(), stamp.old_at.timestamp())


def is_fresh(stamp: Stamp, at: datetime) -> bool:
    """What nginx finds for its `$msec` at that time."""
    return bool(re.match(f"^(?:{fresh(stamp)})", f"{at.timestamp():.3f}"))


@pytest.mark.parametrize("hours", [1, 24, 8760])
def test_it_is_old_from_the_declared_age_on_and_never_before(hours: int) -> None:
    age, step = timedelta(hours=hours), timedelta(seconds=100)
    at = NOW + timedelta(seconds=4321)
    stamp = Stamp(at=at, by="ann@desk", old_at=at + age)
    moments = [at + age * part / 97 for part in range(97)]
    assert all(is_fresh(stamp, moment) for moment in [at, *moments, at + age - step])
    assert not any(is_fresh(stamp, at + age + later) for later in (step, age, 100 * age))
    assert not is_fresh(stamp, at - step), "the clock is wrong, here or there"
    assert len(fresh(stamp)) < 2000, "nginx compiles it at each request"


def test_it_is_written_anew_when_half_of_its_time_is_over() -> None:
    def at(hours: int, lasts: int = 24) -> Stamp:
        begin = NOW + timedelta(hours=hours)
        return Stamp(at=begin, by="ann@desk", old_at=begin + timedelta(hours=lasts))

    assert [at(hours).follows(STAMP) for hours in (0, 11, 12, 40)] == [False, False, True, True]
    assert at(0, lasts=48).follows(STAMP), "the setting was changed"


class Sightings(HTMLParser):
    """Tags and attributes of a page, and that its elements are closed in order."""

    VOID = ("meta", "link", "img", "br", "wbr", "circle", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, (tag, self.open)


def test_page_needs_nothing_that_its_policy_forbids(site: Site) -> None:
    parsed = Sightings(render(checked_page(site)))
    names = {name for name, _ in parsed.tags}
    assert not names & {"script", "style", "iframe", "form", "object", "base"}, names
    attributes = {key for _, attrs in parsed.tags for key in attrs}
    assert not {key for key in attributes if key == "style" or key.startswith("on")}, attributes
    loaded = [attrs[key] or "" for tag, attrs in parsed.tags for key in ("src", "href")
              if key in attrs and tag != "a"]  # fmt: skip
    assert loaded, "no style, no icon"
    assert all(url.startswith(("/", "#")) for url in loaded), loaded
    assert ("html", {"lang": "en"}) in parsed.tags
    assert [attrs["name"] for tag, attrs in parsed.tags if tag == "meta" and "name" in attrs] == [
        "viewport", "color-scheme", "robots",
    ]  # fmt: skip
    assert "script-src" not in home.CONTENT_SECURITY_POLICY
    assert "unsafe" not in home.CONTENT_SECURITY_POLICY


def test_nasty_names_stay_text(site: Site) -> None:
    nasty = '"><script>alert(1)</script>&'
    page = checked_page(site)
    page = page.model_copy(
        update={
            "domain": nasty,
            "stamp": Stamp(at=NOW, by=nasty, old_at=NOW + DAY),
            "services": tuple(s.model_copy(update={"name": nasty}) for s in page.services),
            "certificates": tuple(
                c.model_copy(update={"server_name": nasty, "fault": nasty, "issuer": nasty})
                for c in page.certificates
            ),
            "hosts": tuple(h.model_copy(update={"name": nasty}) for h in page.hosts),
        }
    )
    text = render(page)
    assert "<script" not in text
    assert "alert" in text, "the names are shown"
    Sightings(text)


def test_style_is_asked_for_by_its_content(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (style,) = re.findall(r'href="(/style\.css\?\w{12})"', render(checked_page(site)))
    monkeypatch.setattr(page_html, "STYLE", Path(__file__))
    page_html.version.cache_clear()
    try:
        assert style not in render(checked_page(site))
    finally:
        page_html.version.cache_clear()


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        (timedelta(days=12, hours=3), "12 days left"),
        (timedelta(hours=47), "47 hours left"),
        (timedelta(minutes=119), "119 minutes left"),
        (timedelta(0), "expired"),
        (-timedelta(days=9), "expired"),
    ],
)
def test_what_is_left_is_told_in_the_unit_that_fits(rest: timedelta, words: str) -> None:
    assert time_left(NOW + rest, NOW) == words


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_has_the_contrast_that_wcag_asks_for(scheme: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    assert len(blocks) == len(SCHEMES), "one set of colours a scheme"
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[SCHEMES.index(scheme)]))
    pairs = [(text, back) for text in ("text", "soft", "link", "ok", "broken", "unknown")
             for back in ("page", "card")]  # fmt: skip
    pairs += [(text, f"{state}-back") for state in ("ok", "broken", "unknown")
              for text in ("text", "soft", state)]  # fmt: skip
    for text, back in pairs:
        high, low = sorted((luminance(colours[text]), luminance(colours[back])), reverse=True)
        ratio = (high + 0.05) / (low + 0.05)
        assert ratio >= 4.5, f"{scheme}: {text} on {back} is {ratio:.2f}:1"


def test_long_names_may_break_after_their_dots_and_are_escaped_all_the_same(site: Site) -> None:
    text = render(checked_page(site))
    assert "proxy.<wbr>host.<wbr>internal.<wbr>thinkheads.<wbr>ai" in text
    page = checked_page(site)
    odd = tuple(c.model_copy(update={"server_name": "<b>.<i>"}) for c in page.certificates)
    assert "&lt;b&gt;.<wbr>&lt;i&gt;" in render(page.model_copy(update={"certificates": odd}))
