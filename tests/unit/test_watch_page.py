"""The start page as the watcher keeps it: the site now, the last 90 days, and its way there."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phoenix.derived import home
from phoenix.health.page import Page
from phoenix.health.watch_plan import plan
from phoenix.site.findings import ConfigError
from phoenix.site.model import Site
from phoenix.watch import live, page_html
from phoenix.watch.__main__ import look
from phoenix.watch.causes import walk
from phoenix.watch.history import KEPT, History
from phoenix.watch.judge import Arrival, State, observe
from phoenix.watch.plan import Plan, from_json
from phoenix.watch.report import Report, Run, Validity
from tests.unit.site_builder import LXC, lxc, minimal, problem

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
DAY = 86_400


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    declared = minimal()
    declared.lxc.setdefault("site", {})["watcher"] = "hypervisor"
    return declared.load(tmp_path_factory.mktemp("site"))


@dataclass
class Watched:
    """A watched site at a moment: which checks fail, and which hosts are silent."""

    site: Site
    folder: Path
    faults: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    tells: str = "everything"
    state: State = field(default_factory=State)

    @property
    def plan(self) -> Plan:
        return from_json(plan(self.site, 60, {}, tells=self.tells).to_json())

    def page(self, now: float = NOW) -> Page:
        known = self.plan
        runs = {"deploy": Run("ok", int(now) - 60, "ann@desk", "ab" * 20, int(now) - 60)}
        arrivals = {
            host: Arrival(
                Report(
                    host, known.lists[host], 1,
                    tuple(self.faults.get(check.unit or check.title, "")
                          if not self.faults.get(check.title) else self.faults[check.title]
                          for check in known.made_on(host)),
                    certificates={"own": Validity(int(now) - 100, int(now) + 7200)},
                    runs=runs if host == self.site.hypervisor.name else {},
                ),
                now - 600 if host in self.silent else now,
            )
            for host in known.hosts
        }  # fmt: skip
        self.state.at, self.state.began = now - 15, now - 3600
        observed = observe(known, arrivals, self.state, now)
        history = History(self.folder)
        walked = walk(known.paths, observed.findings)
        history.add(live.service_states(known, walked), now, 160, 60)
        data = live.page(known, observed, walked=walked, history=history, working=False, now=now)
        return Page.model_validate_json(json.dumps(data))


@pytest.fixture
def watched(site: Site, tmp_path: Path) -> Watched:
    return Watched(site, tmp_path / "history")


def text(page: Page) -> str:
    return page_html.html(page.model_dump(mode="json"), "v")


def nginx(watched: Watched) -> str:
    (title,) = [c.title for c in watched.plan.checks if c.hop == "Nginx (nginx.service)"]
    return title


def test_a_sound_site_is_told_as_it_is_now(watched: Watched) -> None:
    page = watched.page()
    total = len(watched.plan.checks)
    assert (page.health.state, page.health.checks, page.health.not_run) == ("ok", total, 0)
    assert {service.name: service.health.state for service in page.services} == {
        "portainer": "ok", "shop": "ok", "traefik": "ok",
    }  # fmt: skip
    assert {host.name: host.health.state for host in page.hosts} == {
        host.name: "ok" for host in watched.site.hosts
    }
    assert {(certificate.holder, certificate.name) for certificate in page.held} == {
        (host.name, "own") for host in watched.site.hosts
    }
    shown = text(page)
    assert "Healthy" in shown
    assert "Was healthy" not in shown
    assert "by ann@desk, revision <code>abababababab</code>" in shown
    assert '<body class="watch">' in shown


def test_a_fault_is_on_the_page_with_the_look_that_sees_it_first(watched: Watched) -> None:
    watched.faults[nginx(watched)] = "PANIC 203.0.113.9"
    page = watched.page()
    assert page.health.state == "broken"
    assert page.health.first_cause is not None
    assert page.health.first_cause.hop == "Nginx (nginx.service)"
    assert {service.health.state for service in page.services} == {"broken"}
    assert "Not healthy" in text(page)
    assert "PANIC" not in text(page) + page.model_dump_json(), "log lines are not for everyone"


def test_what_is_not_known_is_not_told_as_well(watched: Watched) -> None:
    watched.silent = {host.name for host in watched.site.hosts}
    page = watched.page()
    assert page.health.state == "unknown"
    assert {service.health.state for service in page.services} == {"unknown"}
    assert {host.health.state for host in page.hosts} == {"unknown"}
    assert "Not known" in text(page)
    assert 'class="state ok"' not in re.sub(r"(?s)<section aria-labelledby=.certificates.*", "",
                                            text(page))  # fmt: skip


def test_strangers_learn_of_services_alone_where_that_is_chosen(watched: Watched) -> None:
    watched.tells = "services"
    watched.faults[nginx(watched)] = "is inactive"
    page = watched.page()
    shown = page.model_dump_json() + text(page)
    for host in watched.site.hosts:
        assert str(host.address) not in shown
        assert f'"{host.name}"' not in shown
    assert "ann@desk" not in shown
    assert "nginx" not in shown.lower()
    assert {service.health.state for service in page.services} == {"broken"}


def test_the_reader_s_time_decides_how_old_it_is(watched: Watched) -> None:
    shown = text(watched.page())

    def ages(later: float) -> list[str]:
        """What nginx leaves of the blocks that ask for the time."""
        left = []
        for word, digits, inside in re.findall(
            r'<!--# if expr="\$msec (!?=) /\^\(\?:([\d|]+)\)/" -->(.*?)<!--# endif -->', shown, re.S
        ):
            fits = bool(re.match(f"(?:{digits})", f"{NOW + later:.3f}"))
            if fits == (word == "="):
                left.append(re.sub("<.*?>", "", inside).strip())
        return left

    assert ages(10) == [", less than a minute ago"]
    assert ages(80) == [", minutes ago"]
    for later, age in (
        (120, "minutes ago"),
        (1200, "less than an hour ago"),
        (2 * DAY, "days ago"),
    ):
        old, how = ages(later)
        assert old.startswith("This is old")
        assert how == f", {age}"


# -- what was seen of each day ---------------------------------------------------------------------


def looks(folder: Path, start: float, seconds: int, state: str, step: int = 60) -> None:
    for at in range(0, seconds, step):
        History(folder).add({"app": state}, start + at, 160, step)  # type: ignore[dict-item]


def test_a_day_has_how_long_a_service_was_well_and_broken(tmp_path: Path) -> None:
    looks(tmp_path, NOW, 3600, "ok")
    looks(tmp_path, NOW + 3600, 600, "broken")
    looks(tmp_path, NOW + 4200, 600, "unknown")
    (day,) = History(tmp_path).of("app", NOW)
    assert day == {"day": "2026-11-26", "ok": 3540, "broken": 600}
    looks(tmp_path, NOW + 4200 + DAY, 120, "ok")
    assert History(tmp_path).of("app", NOW + DAY)[1] == {"day": "2026-11-27", "ok": 60, "broken": 0}


def test_the_time_in_which_nobody_looked_is_not_known(tmp_path: Path) -> None:
    looks(tmp_path, NOW, 120, "ok")
    looks(tmp_path, NOW + 7200, 120, "broken")
    assert History(tmp_path).of("app", NOW) == [{"day": "2026-11-26", "ok": 60, "broken": 60}]


def test_looks_that_come_sooner_write_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)
    assert history.add({"app": "ok"}, NOW, 160, 60)
    assert not history.add({"app": "ok"}, NOW + 15, 160, 60)
    assert history.add({"app": "ok"}, NOW + 60, 160, 60)
    assert history.of("app", NOW)[0]["ok"] == 60


def test_ninety_days_are_kept_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("a person's")
    for day in range(KEPT + 30):
        looks(tmp_path, NOW + day * DAY, 120, "ok")
    assert len(History(tmp_path).of("app", NOW + (KEPT + 29) * DAY)) == KEPT
    assert len(list(tmp_path.iterdir())) == KEPT + 1
    assert sum(file.stat().st_size for file in tmp_path.glob("20*.json")) < KEPT * 100


@pytest.mark.parametrize("torn", ["", "{", '{"until": 1, "services": {"app": [1]}}', "null", "[]"])
def test_a_torn_day_costs_that_day_alone(
    tmp_path: Path, torn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(3):
        looks(tmp_path, NOW + day * DAY, 120, "ok")
    (tmp_path / "2026-11-28.json").write_text(torn)
    looks(tmp_path, NOW + 2 * DAY + 120, 120, "broken")
    later = History(tmp_path).of("app", NOW + 2 * DAY)
    assert [(day["day"], day["ok"], day["broken"]) for day in later] == [
        ("2026-11-26", 60, 0), ("2026-11-27", 60, 0), ("2026-11-28", 0, 60),
    ]  # fmt: skip
    assert "2026-11-28.json cannot be read" in capsys.readouterr().out


def test_a_clock_that_is_set_back_and_forth_loses_no_other_day(tmp_path: Path) -> None:
    looks(tmp_path, NOW, 120, "ok")
    looks(tmp_path, NOW - 3 * DAY, 120, "ok")
    looks(tmp_path, NOW + 300 * DAY, 120, "ok")
    looks(tmp_path, NOW + 60, 120, "ok")
    assert [(day["day"], day["ok"]) for day in History(tmp_path).of("app", NOW + 180)] == [
        ("2026-11-23", 60), ("2026-11-26", 120),
    ]  # fmt: skip


def test_the_history_is_shown_as_bars_and_in_words(watched: Watched) -> None:
    for day in range(5, 0, -1):
        state = "broken" if day == 3 else "ok"
        for at in (0, 60, 120):
            History(watched.folder).add({"shop": state}, NOW - day * DAY + at, 160, 60)  # type: ignore[dict-item]
    shown = text(watched.page())
    card = shown[shown.index(">shop</a>") :]
    card = card[: card.index("</li>")]
    assert '<path class="broken" d="M86 0h.8v10h-.8z"/>' in card
    assert 'class="ok" d="M84 0h.8v10h-.8zM85 ' in card
    assert "Healthy 80 % of 5 days; last fault 2026-11-23, 2 min" in card


def test_a_short_fault_makes_no_broken_day(watched: Watched) -> None:
    looks(watched.folder, NOW - DAY, 6000, "ok")
    looks(watched.folder, NOW - DAY + 6000, 120, "broken")
    for file in watched.folder.iterdir():
        file.write_text(file.read_text().replace('"app"', '"shop"'))
    assert '<path class="partly" d="M88 0h.8v10h-.8z"/>' in text(watched.page())


# -- its way to the host that serves it ------------------------------------------------------------


def test_a_look_writes_page_and_data(site: Site, tmp_path: Path) -> None:
    etc, run, var, shown = (tmp_path / name for name in ("etc", "run", "var", "shown"))
    for folder in (etc, run, var):
        folder.mkdir()
    (etc / "watcher.json").write_text(plan(site, 60, {}).to_json())
    assert look(etc, run, var, shown, lambda *_: True) == 0
    page = Page.model_validate_json((shown / "home.json").read_text())
    assert page.health.state == "unknown", "nobody has reported"
    assert (shown / "index.html").read_text().startswith("<!DOCTYPE html>")
    assert {file.name for file in shown.iterdir()} == {"home.json", "index.html", "metrics"}
    assert len(list((var / "history").iterdir())) == 1


def test_the_page_is_the_watcher_s_where_its_host_reports_alone(tmp_path: Path) -> None:
    def of(**more: object) -> Site:
        declared = minimal()
        if more.get("watcher"):
            declared.lxc.setdefault("site", {})["watcher"] = "hypervisor"
        if "left" in more:
            declared.lxc["lxc_configs"]["102"]["leave_alone"] = more["left"]
        return declared.load(tmp_path / str(len(list(tmp_path.iterdir()))))

    site = of(watcher=True)
    assert home.watched_by(site) == site.traefiks
    assert home.watched_by(of()) == ()
    assert home.watched_by(of(watcher=True, left=["watch"])) == ()
    assert home.watched_by(of(watcher=True, left=["start_page"])) == ()


@pytest.mark.parametrize("answers", [True, False])
def test_a_page_that_does_not_come_leaves_the_former_one(tmp_path: Path, *, answers: bool) -> None:
    etc, page, programs = tmp_path / "etc", tmp_path / "page", tmp_path / "bin"
    for folder in (etc, page, programs):
        folder.mkdir()
    (etc / "watch.conf").write_text("URL='https://w:8470/report'\nENTRANCE='w:8470:a:8470'\n")
    for name in ("index.html", "home.json"):
        (page / name).write_text("former")
    curl = programs / "curl"
    writes = 'while [ $# -gt 0 ]; do [ "$1" != -o ] || { echo "$3" >"$2"; }; shift; done'
    curl.write_text(f"#!/bin/sh\n{writes}\nexit {0 if answers else 22}\n")
    curl.chmod(0o755)
    done = subprocess.run(
        ["sh", ROOT / "phoenix/components/watch/phoenix-watch-page"],
        env={"PATH": f"{programs}:/usr/bin:/bin", "PHOENIX_WATCH_ETC": str(etc),
             "PHOENIX_HOME_PAGE": str(page)}, check=False,
    )  # fmt: skip
    got = {name: (page / name).read_text().strip() for name in ("index.html", "home.json")}
    if answers:
        assert got == {"index.html": "https://w:8470/page", "home.json": "https://w:8470/home.json"}
    else:
        assert done.returncode != 0
        assert set(got.values()) == {"former"}


def test_half_a_page_is_none_though_the_next_file_comes(tmp_path: Path) -> None:
    """The real curl ends as its last file did, unless it is told to end at the first fault."""
    etc, page, programs = tmp_path / "etc", tmp_path / "www", tmp_path / "bin"
    for folder in (etc, page, programs):
        folder.mkdir()
    (tmp_path / "home.json").write_text("new")
    (etc / "watch.conf").write_text(f"URL='file://{tmp_path}/report'\nENTRANCE='w:1:a:1'\n")
    for name in ("index.html", "home.json"):
        (page / name).write_text("former")
    (page / ".index.html.live").write_text("ha")  # as where the connection broke
    done = subprocess.run(
        ["sh", ROOT / "phoenix/components/watch/phoenix-watch-page"],
        env={"PATH": "/usr/bin:/bin", "PHOENIX_WATCH_ETC": str(etc),
             "PHOENIX_HOME_PAGE": str(page)}, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert {(page / name).read_text() for name in ("index.html", "home.json")} == {"former"}


def test_a_page_of_a_run_is_never_green() -> None:
    """What it tells is not known to hold now: its marks have the colour of soft text."""
    style = (ROOT / "phoenix/components/home/style.css").read_text()
    rule = ":where(.run) .mark.ok, :where(.run) .state.ok { color: var(--soft); }"
    assert rule in style
    assert style.index(rule) > style.index(".state.ok { color: var(--ok); }")
    assert style.index(rule) < style.index(".old ~ * .mark"), "what is old looks so"


def test_times_of_the_stamp_are_those_of_the_look(watched: Watched) -> None:
    stamp = watched.page().stamp
    assert stamp.at.timestamp() == NOW
    assert stamp.old_at - stamp.at == timedelta(seconds=live.OLD_SECONDS)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("icon", "a whole word", "has 12 characters"),
        ("icon", "", "is not an icon"),
        ("description", "", "is empty"),
        ("description", "two\nlines", "line break"),
        ("description", "x" * 201, "has 201 characters"),
    ],
)
def test_what_cannot_be_shown_is_a_finding(
    tmp_path: Path, key: str, value: str, fault: str
) -> None:
    declared = minimal()
    wiki = {"name": "wiki", "port": 80, key: value}
    declared.lxc["lxc_configs"]["104"] = lxc("wiki", None, 25, traefik_service=wiki)
    with pytest.raises(ConfigError) as caught:
        declared.load(tmp_path)
    place = f"lxc_configs.104.traefik_service.{key}"
    assert fault in problem(caught.value.findings, LXC, place).message


def test_what_a_service_is_stands_on_its_card(tmp_path: Path) -> None:
    declared = minimal()
    wiki = {"name": "wiki", "port": 80, "description": "What we <know>", "icon": "📚"}
    declared.lxc["lxc_configs"]["104"] = lxc("wiki", None, 25, traefik_service=wiki)
    declared.lxc.setdefault("site", {})["watcher"] = "hypervisor"
    shown = text(Watched(declared.load(tmp_path / "s"), tmp_path / "h").page())
    assert '<span class="icon" aria-hidden="true">📚</span>' in shown
    assert '<p class="what">What we &lt;know&gt;</p>' in shown
    assert '<span class="icon" aria-hidden="true">P</span>' in shown, "Portainer has none"
