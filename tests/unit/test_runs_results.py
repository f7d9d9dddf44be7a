"""The course of a run, from its events."""

from __future__ import annotations

from typing import Any

from phoenix.runs.results import FIRST_CAUSE, Course, component_of, last_words, title_of

STEP = "deploys/all.py | deploys/nginx.py | Nginx: configuration and service"
VERDICT = "deploys/verify.py | Verify: verdict"


def course_of(*events: dict[str, Any]) -> Course:
    course = Course()
    for event in events:
        course.add(event)
    return course


def connect(host: str, *, reason: str = "") -> dict[str, Any]:
    return {"event": "connect", "host": host, "ok": not reason, "reason": reason}


def step(name: str, *hosts: str) -> dict[str, Any]:
    return {"event": "step", "step": name, "number": 1, "count": 2, "hosts": list(hosts)}


def step_end(name: str, changed: list[str], unchanged: list[str]) -> dict[str, Any]:
    return {"event": "step_done", "step": name, "changed": changed, "unchanged": unchanged}


def line(name: str, host: str, text: str) -> dict[str, Any]:
    return {"event": "line", "level": "error", "host": host, "step": name, "text": text,
            "executing": True}  # fmt: skip


def failed(name: str, host: str) -> dict[str, Any]:
    return {"event": "host_failed", "step": name, "host": host}


def test_outcomes_are_the_worst_of_a_host() -> None:
    course = course_of(
        connect("a"), connect("b"), connect("c"),
        step("one.py | One", "a", "b"), step_end("one.py | One", ["a"], ["b"]),
        step("two.py | Two", "a", "b"), step_end("two.py | Two", [], ["a", "b"]),
    )  # fmt: skip
    assert [course.outcome(host) for host in ("a", "b", "c")] == ["changed", "unchanged", None]
    assert course.changed == [("one.py | One", "a")]
    assert course.first_cause is None


def test_a_failure_has_the_words_of_its_own_step_alone() -> None:
    course = course_of(
        connect("gateway"),
        line(STEP, "gateway", "said while it was prepared"),
        step(STEP, "gateway"),
        line("another", "gateway", "of another step"),
        line(STEP, "gateway", "nginx: [emerg] unexpected end of file"),
        line(STEP, "gateway", "Success"),
        failed(STEP, "gateway"),
    )
    assert course.first_cause is not None
    assert course.first_cause.reason == ["nginx: [emerg] unexpected end of file"]
    assert course.outcome("gateway") == "failed"


def test_hosts_of_a_batch_do_a_step_one_after_the_other() -> None:
    course = course_of(
        step(STEP, "a"), step(STEP, "c"), line(STEP, "c", "of its own"), step_end(STEP, ["a"], []),
        step(STEP, "b"), line(STEP, "c", "no room"), failed(STEP, "c"),
    )  # fmt: skip
    assert [(done.hosts, done.outcomes) for done in course.steps] == [
        (["a"], {"a": "changed"}), (["c"], {"c": "failed"}), (["b"], {}),
    ]  # fmt: skip
    assert course.failures[0].reason == ["of its own", "no room"]


def test_what_a_step_has_waited_for_is_no_reason() -> None:
    course = course_of(
        step(STEP, "phoenix"),
        line(STEP, "phoenix", "waiting up to 2 s for SSH of proxy"),
        line(STEP, "phoenix", "guest 102 (proxy): nothing answers on 10.0.0.21:22"),
        failed(STEP, "phoenix"),
    )
    assert course.failures[0].reason == ["guest 102 (proxy): nothing answers on 10.0.0.21:22"]


def test_a_guest_that_does_not_answer_is_the_first_cause() -> None:
    course = course_of(
        connect("traefik", reason="timed out"),
        connect("gateway"),
        step(STEP, "gateway"), line(STEP, "gateway", "502"), failed(STEP, "gateway"),
    )  # fmt: skip
    assert course.first_cause is not None
    assert course.first_cause.host == "traefik"
    assert course.first_cause.reason[:2] == [
        "traefik: it does not answer in time",
        "  timed out",
    ]
    assert course.hosts == ["gateway", "traefik"]


def test_hosts_that_do_not_answer_are_told_in_the_same_order_each_time() -> None:
    for order in (("nas", "docker", "proxy"), ("proxy", "nas", "docker")):
        cause = course_of(*(connect(host, reason="timed out") for host in order)).first_cause
        assert cause is not None
        assert cause.reason[0] == "docker, nas, proxy: it does not answer in time"


def test_of_several_verdicts_that_of_the_host_with_the_first_cause_is_the_cause() -> None:
    course = course_of(
        connect("a"), connect("b"), step(VERDICT, "a", "b"),
        line(VERDICT, "a", "http: a request: gives 502, not 200"),
        {"event": "value", "name": FIRST_CAUSE, "host": "a", "data": "b"}, failed(VERDICT, "a"),
        line(VERDICT, "b", "first cause: service: Traefik: is inactive"),
        {"event": "value", "name": FIRST_CAUSE, "host": "b", "data": "b"}, failed(VERDICT, "b"),
    )  # fmt: skip
    assert course.first_cause is not None
    assert course.first_cause.host == "b"
    assert len(course.failures) == 2


def test_values_and_unknowns_are_kept_by_host() -> None:
    course = course_of(
        {"event": "value", "name": "probes", "host": "a", "data": [1]},
        {"event": "unknown", "step": STEP, "host": "a", "reason": "no CA yet"},
        {"event": "something a later version sends"},
    )
    assert course.values == {"probes": {"a": [1]}}
    assert course.unknown == {STEP: {"a": "no CA yet"}}


def test_names_of_steps() -> None:
    assert component_of(STEP) == "nginx"
    assert title_of(STEP) == "Nginx: configuration and service"
    assert component_of("Nginx: configuration") == ""


def test_why_a_run_ended_before_it_began() -> None:
    lines = ["--> Loading inventory...", "--> pyinfra error in /p/deploys/context.py line 58: no",
             "second line", "--> Disconnecting from hosts..."]  # fmt: skip
    assert last_words(lines) == ["no", "second line"]
    assert last_words(["a", "", "b"], most=1) == ["b"]
    course = ["--> Loading config...", "Loading: deploys/base.py", "Loading: deploys/dns.py", "why"]
    assert last_words(course) == ["why"]
    named = ["--> pyinfra error: no", "Loading: deploys/base.py", "more"]
    assert last_words(named) == ["no", "more"]
    refused = [
        "    [a] /etc/timezone is missing",
        "--> Operation error in /p/operations/failure.py line 29: nothing was changed.",
        *(f"container {number} needs root" for number in range(20)),
        "      [portainer]          Error: could not load fact: facts.config_tree.ConfigTree",
    ]
    expected = ["nothing was changed.", *(f"container {number} needs root" for number in range(20))]
    assert last_words(refused) == expected, "whole, from its beginning, without other hosts' lines"
