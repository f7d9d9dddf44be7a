"""`phoenix plan --out FILE` and `phoenix sync FILE`; the question in a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli import app as command
from phoenix.cli import converge, exits
from phoenix.cli import project as cli_project
from phoenix.cli.reports import plan as reports
from phoenix.components.move.decision import PENDING
from phoenix.declaration import file_digests
from phoenix.net.ssh_faults import FAULTS
from phoenix.proxmox.desired import TO_MAKE
from phoenix.runs import lock
from phoenix.runs.history import TOLD, End, Entry, Start
from phoenix.runs.process import Finished, Request
from phoenix.runs.results import Course
from tests.unit.project_copy import project as project
from tests.unit.test_history import NOW

INVENTORY = "inventories/phoenix.py"
STEP = "deploys/nginx.py | Nginx: configuration"


class Site:
    """A site as runs see it: what a dry run would find, and which calls changed it."""

    def __init__(self) -> None:
        self.details = ["-     worker_connections 4000;"]
        self.history: list[str] = []
        self.silent = ""
        self.to_make: list[str] = []
        self.moves: list[str] = []
        self.failing = ""
        self.synced: list[Request] = []

    def look(self, request: Request, **_: Any) -> Finished:
        course = Course()
        assert request.dry
        course.add({"event": "connect", "host": "nginx", "ok": not self.silent,
                   "reason": self.silent})  # fmt: skip
        course.add({"event": "value", "name": TOLD, "host": "phoenix", "data": self.history})
        course.add({"event": "value", "name": TO_MAKE, "host": "phoenix", "data": self.to_make})
        if self.moves:
            course.add({"event": "value", "name": PENDING, "host": "b", "data": self.moves})
        for text in self.details:
            course.add({"event": "line", "step": STEP, "host": "nginx", "text": text})
        step = {"name": STEP, "hosts_with_change": ["nginx"] if self.details else [],
                "hosts_with_conditional_change": []}  # fmt: skip
        return Finished(int(bool(self.silent)), course, {"plan": [step]}, ())

    def sync(self, request: Request, **_: Any) -> Finished:
        assert not request.dry
        self.synced.append(request)
        course = Course()
        course.add({"event": "step", "step": STEP, "hosts": ["nginx"]})
        failed = bool(self.failing) and self.failing in request.deploys
        return Finished(int(failed), course, {}, ())

    @property
    def files(self) -> list[str]:
        """The last deploy file of each call that was not for the lock alone."""
        return [
            synced_stack.deploys[-1]
            for synced_stack in self.synced
            if len(synced_stack.deploys) > 1
        ]


@pytest.fixture
def site(project: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site()
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))
    monkeypatch.setattr(reports, "run", site.look)
    monkeypatch.setattr(converge, "run", site.sync)
    return site


@pytest.fixture
def phoenix(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: str) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["phoenix", *words])
        with pytest.raises(SystemExit) as ended:
            command.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


def test_a_kept_plan_is_applied_to_its_own_targets(
    site: Site, phoenix: Any, tmp_path: Path
) -> None:
    plan_file = tmp_path / "change.json"
    code, _, _ = phoenix("plan", "nginx", "--out", str(plan_file))
    assert code == exits.CHANGES
    assert plan_file.stat().st_mode & 0o777 == 0o600
    code, _, err = phoenix("sync", str(plan_file))
    assert code == 0, err
    (request,) = site.synced
    assert request.deploys == ("deploys/lock.py", "deploys/nginx.py", "deploys/verify.py")


def test_a_plan_that_is_no_longer_true_is_refused_with_the_difference(
    site: Site, phoenix: Any, tmp_path: Path
) -> None:
    plan_file = tmp_path / "change.json"
    phoenix("plan", "nginx", "--out", str(plan_file))
    site.details = ["-     worker_connections 9999;"]
    code, out, err = phoenix("sync", str(plan_file), "--json")
    assert code == exits.ERROR
    assert "worker_connections 4000" in err
    assert "worker_connections 9999" in json.loads(out)["error"]
    assert site.synced == []


def test_a_host_that_is_silent_now_is_refused_with_its_cause(
    site: Site, phoenix: Any, tmp_path: Path
) -> None:
    plan_file = tmp_path / "change.json"
    phoenix("plan", "nginx", "--out", str(plan_file))
    site.silent = "Could not connect (timed out)"
    code, _, err = phoenix("sync", str(plan_file))
    assert (code, site.synced) == (exits.ERROR, [])
    assert "does not answer in time" in err


def test_a_plan_with_a_silent_host_is_not_kept(site: Site, phoenix: Any, tmp_path: Path) -> None:
    site.silent = "Could not connect (timed out)"
    code, _, err = phoenix("plan", "nginx", "--out", str(tmp_path / "change.json"))
    assert code == exits.ERROR
    assert "not kept" in err
    assert not (tmp_path / "change.json").exists()


def test_a_guest_that_the_sync_makes_first_is_no_silent_host(
    site: Site, phoenix: Any, tmp_path: Path
) -> None:
    """It does not exist yet; a guest that exists and is silent is a failure beside it."""
    site.silent = "Could not connect (timed out)"
    site.to_make = ["nginx"]
    plan_file = tmp_path / "change.json"
    code, out, err = phoenix("plan", "nginx", "--out", str(plan_file))
    assert code == exits.CHANGES, err
    assert "  all that is declared for it\n" in out
    assert "the guest does not exist yet: a sync makes it first" in out
    assert "first cause" not in out
    assert plan_file.exists()
    code, _, err = phoenix("sync", str(plan_file))
    assert code == exits.OK, err
    site.to_make = ["another"]
    code, out, _ = phoenix("plan", "nginx")
    assert code == exits.ERROR
    assert "does not answer in time" in out


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("{}", "is not a plan"), ("garbage", "is not a plan")],
)
@pytest.mark.usefixtures("site")
def test_a_file_that_is_no_plan(
    phoenix: Any, tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "change.json"
    if content is not None:
        file.write_text(content)
    code, _, err = phoenix("sync", str(file))
    assert code == exits.ERROR
    assert words in err


@pytest.mark.usefixtures("site")
def test_a_plan_of_another_site(phoenix: Any, tmp_path: Path) -> None:
    plan_file = tmp_path / "change.json"
    phoenix("plan", "nginx", "--out", str(plan_file))
    plan_file.write_text(json.dumps(json.loads(plan_file.read_text()) | {"site": "another"}))
    code, _, err = phoenix("sync", str(plan_file))
    assert code == exits.ERROR
    assert "is a plan for another" in err


@pytest.mark.parametrize(
    "change",
    [
        {"site": "a\x1b[2Jb"},
        {"site": "a" * 100_000},
        {"targets": ["\x1b[2J"]},
        {"changes": [{"host": "nginx", "component": "", "step": "s", "details": ["\x1b]0;x\x07"],
                      "unknown": ""}]},
    ],
)  # fmt: skip
def test_a_doctored_plan_sends_nothing_to_a_terminal_or_a_host(
    site: Site, phoenix: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    plan_file = tmp_path / "change.json"
    phoenix("plan", "nginx", "--out", str(plan_file))
    plan_file.write_text(json.dumps(json.loads(plan_file.read_text()) | change))
    code, out, err = phoenix("sync", str(plan_file))
    assert (code, site.synced) == (exits.ERROR, [])
    assert (out + err).replace("\n", "").isprintable()
    assert len(err) < 5000


def test_a_target_that_is_named_very_often_is_one(site: Site, phoenix: Any, tmp_path: Path) -> None:
    plan_file = tmp_path / "change.json"
    phoenix("plan", "nginx", "--out", str(plan_file))
    often = {"targets": ["nginx"] * 100_000}
    plan_file.write_text(json.dumps(json.loads(plan_file.read_text()) | often))
    code, _, err = phoenix("sync", str(plan_file))
    assert code == exits.OK, err
    assert json.loads(site.synced[0].environment[lock.OWNER])["command"] == "phoenix sync nginx"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix.cli.sync.in_terminal", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_is_shown_the_plan_and_asked(
    site: Site, phoenix: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [False, True]
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answers.pop(0))
    code, out, _ = phoenix("sync", "nginx")
    assert (code, site.synced) == (exits.CHANGES, [])
    assert "worker_connections 4000" in out
    assert "Nothing was changed." in out
    code, _, _ = phoenix("sync", "nginx")
    assert (code, len(site.synced)) == (0, 1)
    code, out, _ = phoenix("sync", "nginx", "-y")
    assert (code, len(site.synced)) == (0, 2), "not asked again: there is no third answer"
    assert "worker_connections" not in out


@pytest.mark.usefixtures("terminal")
def test_what_is_edited_at_the_question_is_not_what_was_agreed_to(
    site: Site, phoenix: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run is told what the files were before the plan (operations/declaration_edits.py)."""
    before = file_digests.to_text(file_digests.digests(cli_project.load(Path(INVENTORY)).data))

    def edit_and_agree(*_: Any, **__: Any) -> bool:
        (project / "group_data" / "all.py").write_text("nginx_max_body = '1m'\n")
        return True

    monkeypatch.setattr("typer.confirm", edit_and_agree)
    phoenix("sync", "nginx")
    digests = [request.environment[file_digests.VARIABLE] for request in site.synced]
    assert digests
    assert set(digests) == {before}
    loaded = cli_project.load(Path(INVENTORY))
    assert file_digests.changed_files(before, loaded.data) == ("group_data/all.py",)


@pytest.mark.usefixtures("terminal")
def test_nothing_to_do_is_not_asked(
    site: Site, phoenix: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.details = []
    monkeypatch.setattr("typer.confirm", lambda *_, **__: pytest.fail("asked"))
    assert phoenix("sync", "nginx")[0] == 0


def test_a_script_is_not_asked(site: Site, phoenix: Any) -> None:
    assert phoenix("sync", "nginx")[0] == 0
    assert len(site.synced) == 1


def test_older_is_said_to_the_run_alone(site: Site, phoenix: Any) -> None:
    assert phoenix("sync", "nginx", "--older")[0] == 0
    assert phoenix("sync", "nginx")[0] == 0
    assert [synced_stack.environment.get("PHOENIX_OLDER") for synced_stack in site.synced] == [
        "1",
        None,
    ]


def test_a_size_of_batches_is_a_setting_of_this_run(site: Site, phoenix: Any) -> None:
    assert phoenix("sync", "nginx", "--serial", "20%")[0] == 0
    assert phoenix("sync", "nginx")[0] == 0
    assert [request.data.get("serial") for request in site.synced] == ["20%", None]
    code, _, err = phoenix("sync", "nginx", "--serial", "0")
    assert code == exits.ERROR
    assert "--serial '0' is not a size of a batch: write a number of hosts" in err
    assert len(site.synced) == 2


def test_a_plan_says_what_is_deployed_and_not_committed(site: Site, phoenix: Any) -> None:
    entry = Entry(
        start=Start(run="1", user="ann", machine="desk", command="phoenix sync", commit="c" * 40,
                    dirty=True, deploys=True, began=NOW),
        end=End(result="ok", changed=1, hosts=[], failed=[]), ended=NOW,
    )  # fmt: skip
    site.history = [entry.model_dump_json()]
    code, out, _ = phoenix("plan", "nginx")
    assert code == exits.CHANGES
    assert "not committed, by ann@desk" in out
    assert "not committed" in json.loads(phoenix("plan", "nginx", "--json")[1])["deployed"]


def test_every_silent_host_of_every_call_is_named_with_its_fix(
    site: Site, phoenix: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call is of the hypervisor, the second of gateway and proxy."""
    reasons = {
        "phoenix": FAULTS["no_route"].says,
        "nginx-phoenix": FAULTS["unknown_host_key"].says,
        "traefik-internal": FAULTS["unknown_host_key"].says,
    }

    def look(request: Request, **_: Any) -> Finished:
        course = Course()
        for number, (host, reason) in enumerate(reasons.items()):
            if host in request.limit:
                course.add({"event": "connect", "host": host, "ok": False, "reason": reason,
                           "address": f"10.0.0.{number}"})  # fmt: skip
        return Finished(1, course, None, ())

    monkeypatch.setattr(reports, "run", look)
    code, out, _ = phoenix("plan", "dns", "nginx", "traefik")
    assert code == exits.ERROR
    assert out.startswith("first cause: no connection by SSH\n")
    assert f"phoenix: {FAULTS['no_route'].says}" in out
    assert f"nginx-phoenix, traefik-internal: {FAULTS['unknown_host_key'].says}" in out
    for address in ("10.0.0.1", "10.0.0.2"):
        assert f"ssh-keyscan -t ed25519 {address} | ssh-keygen -lf -" in out


def test_what_two_calls_find_is_counted_once(site: Site, phoenix: Any) -> None:
    """A guest's services have routes on the gateway, whose own component is a target too."""
    code, out, _ = phoenix("plan", "nginx", "drphoenix")
    assert code == exits.CHANGES
    assert "1 step would change 1 host. Nothing was touched." in out, out


def test_what_only_the_run_can_know_is_counted_by_itself(
    site: Site, phoenix: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(request: Request, **options: Any) -> Finished:
        report = site.look(request, **options)
        report.course.add({"event": "unknown", "step": STEP, "host": "nginx", "reason": "no root"})
        return report

    monkeypatch.setattr(reports, "run", look)
    code, out, _ = phoenix("plan", "nginx")
    assert code == exits.CHANGES
    assert "known only while running: no root" in out
    assert "1 step may: only the run can know. Nothing was touched." in out


def test_a_step_that_would_fail_is_counted_as_that(
    site: Site, phoenix: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that refuses what stands on a host: nothing would be changed by it."""

    def look(request: Request, **options: Any) -> Finished:
        report = site.look(request, **options)
        report.course.add({"event": "would_fail", "step": STEP, "host": "nginx"})
        return report

    monkeypatch.setattr(reports, "run", look)
    code, out, _ = phoenix("plan", "nginx")
    assert code == exits.CHANGES
    assert "it would fail, and change nothing" in out
    assert "1 step would fail. Nothing was touched." in out, out
    (change,) = json.loads(phoenix("plan", "nginx", "--json")[1])["changes"]
    assert change["fails"] is True


# What is undeclared is looked at last: before the end the old copy is there, and is nobody's.
MOVE = ["deploys/moves.py", "deploys/all.py", "deploys/finish_moves.py", "deploys/observe.py"]


def test_asked_to_move_the_move_comes_first_and_the_end_last(site: Site, phoenix: Any) -> None:
    code, _, err = phoenix("sync", "--move")
    assert code == 0, err
    assert site.files == MOVE
    assert [
        synced_stack.deploys
        for synced_stack in site.synced
        if "deploys/observe.py" in synced_stack.deploys
    ] == [("deploys/lock.py", "deploys/observe.py")]


def test_after_a_move_that_failed_nothing_follows(site: Site, phoenix: Any) -> None:
    site.failing = "deploys/moves.py"
    code, _, _ = phoenix("sync", "--move")
    assert (code, site.files) == (exits.ERROR, MOVE[:1])


def test_without_proof_of_the_new_copy_the_old_one_stays(site: Site, phoenix: Any) -> None:
    site.failing = "deploys/all.py"
    code, _, _ = phoenix("sync", "--move")
    assert (code, site.files) == (exits.ERROR, MOVE[:2])


def test_a_run_that_is_refused_for_a_move_makes_no_later_call(site: Site, phoenix: Any) -> None:
    site.failing = "deploys/check_moves.py"
    code, _, _ = phoenix("sync", "qdrant")
    assert (code, site.files) == (exits.ERROR, ["deploys/check_moves.py"])


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("answer", "files"), [(True, MOVE), (False, MOVE[1:2])])
def test_a_terminal_is_asked_for_the_move_as_well(
    site: Site, phoenix: Any, monkeypatch: pytest.MonkeyPatch, answer: bool, files: list[str]
) -> None:
    site.moves = ["stack shop moves from a to b (no volumes)"]
    answers = [True, answer]
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answers.pop(0))
    _, out, _ = phoenix("sync")
    assert "stack shop moves from a to b" in out
    assert site.files == files


def test_a_stack_that_starts_new_is_named_to_every_call(site: Site, phoenix: Any) -> None:
    words = ("--new", "qdrant_service", "--new", "QDRANT_service-production")
    phoenix("sync", *words, "--new", "stack:thinkheads_ai_app")
    assert {synced_stack.environment.get("PHOENIX_NEW") for synced_stack in site.synced} == {
        "qdrant_service-production,thinkheads_ai_app-production"
    }


def test_a_stack_that_there_is_not_starts_no_run(site: Site, phoenix: Any) -> None:
    code, _, err = phoenix("sync", "--new", "qdrant_servce")
    assert (code, site.synced) == (exits.ERROR, [])
    assert "no stack is called 'qdrant_servce'. Did you mean 'qdrant_service'?" in err
