"""The pure half of phoenix.portainer_api: the plan, compose reading, names, logs, masking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from phoenix.portainer_api import errors, sync
from phoenix.portainer_api.compose import read_services
from phoenix.portainer_api.converge import diff, mask
from phoenix.portainer_api.dockerlogs import demultiplex
from phoenix.portainer_api.models import ContainerSummary, Endpoint, Stack
from phoenix.portainer_api.setup import plan_endpoint
from phoenix.site.names import normalise_name

FILE = "services:\n  web:\n    image: web:1\n"


def stack(**more: Any) -> Stack:
    row = {"Id": 7, "Name": "app", "Type": 2, "EndpointId": 3, "Status": 1, "Env": None}
    return Stack.model_validate({**row, **more})


def container(
    service: str = "web",
    state: str = "running",
    status: str = "Up 5 minutes (healthy)",
    **more: Any,
) -> ContainerSummary:
    labels = {
        "com.docker.compose.service": service,
        "com.docker.compose.oneoff": more.get("one_off", "False"),
        "com.docker.compose.project.working_dir": more.get("where", "/data/compose/7"),
    }
    identity = more.get("id", f"id-{service}")
    row = {"Id": identity, "Names": [f"/app-{service}-1"], "State": state, "Status": status}
    return ContainerSummary.model_validate({**row, "Labels": labels})


def observed_of(
    present: Stack | None, *containers: ContainerSummary, content: str | None = FILE
) -> Any:
    return sync.ObservedStack((present,) if present else (), content, containers)


def desired_of(content: str = FILE, **more: Any) -> sync.DesiredStack:
    return sync.desired_stack("app", content, 3, more.pop("env", None), **more)


SETTLED = sync.Nothing(stack())
OLD = sync.LeftOver("id-old", "app-old-1", "old")
LABELLED = FILE + "    labels: [kind=private]\n"


@pytest.mark.parametrize(
    ("desired", "observed", "expected"),
    [
        pytest.param(desired_of(), observed_of(stack(), container()), SETTLED, id="settled"),
        pytest.param(desired_of(), observed_of(None), sync.Create(), id="missing"),
        pytest.param(
            desired_of(),
            observed_of(None, container()),
            sync.Create(("app-web-1",)),
            id="rebuilt server",
        ),
        pytest.param(
            desired_of(), observed_of(stack(Status=2)), sync.Start(stack(Status=2)), id="stopped"
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(Status=2), container()),
            sync.Update(stack(Status=2), ("it is stopped",)),
            id="stopped with left-overs is no start: that would be a 409",
        ),
        pytest.param(
            desired_of(present=False),
            observed_of(stack(), container()),
            sync.Delete(stack()),
            id="delete",
        ),
        pytest.param(desired_of(present=False), observed_of(None), sync.Nothing(None), id="absent"),
        pytest.param(
            desired_of(),
            observed_of(stack(Status=3), container()),
            sync.Wait(stack(Status=3), "a deployment is under way"),
            id="deploying",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(), container(status="Up 2 seconds (health: starting)")),
            sync.Wait(stack(), "containers are still starting"),
            id="starting",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(), container(), content=FILE + "\n"),
            sync.Update(stack(), ("the compose file differs",)),
            id="one byte",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(), container(), content=None),
            sync.Update(stack(), ("the server has lost the compose file",)),
            id="file lost",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack()),
            sync.Update(stack(), ("service web has no container",)),
            id="no containers behind Status 1",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(), container(status="Up 5 minutes (unhealthy)")),
            sync.Update(stack(), ("container app-web-1 is unhealthy",), restart=("id-web",)),
            id="unhealthy",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(), container(), container("old")),
            sync.Clear(stack(), (OLD,)),
            id="left-over service",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(), container(), container("old"), content=FILE + "\n"),
            sync.Update(stack(), ("the compose file differs",), remove=(OLD,)),
            id="left-over service goes before the update",
        ),
        pytest.param(
            desired_of(),
            observed_of(None, container(), container("old")),
            sync.Create(("app-web-1",), (OLD,)),
            id="left-over service goes before the adoption",
        ),
        pytest.param(
            desired_of(FILE + "  old:\n    image: old:1\n    profiles: [debug]\n"),
            observed_of(
                stack(),
                container(),
                container("old"),
                content=FILE + "  old:\n    image: old:1\n    profiles: [debug]\n",
            ),
            SETTLED,
            id="a service behind a profile is no left-over",
        ),
        pytest.param(
            desired_of(),
            observed_of(stack(), container(), container("old", one_off="True")),
            SETTLED,
            id="what a person runs once is no left-over",
        ),
        pytest.param(
            desired_of(),
            replace(observed_of(stack(), container(), content=None), rewrites=False),
            sync.Recreate(stack(), "the server has lost the compose file"),
            id="file lost where an update does not write it",
        ),
        pytest.param(
            desired_of(),
            replace(observed_of(None, container()), elsewhere=stack(EndpointId=9)),
            sync.Associate(stack(EndpointId=9)),
            id="on an environment that is gone",
        ),
    ],
)
def test_plan(desired: sync.DesiredStack, observed: sync.ObservedStack, expected: Any) -> None:
    assert sync.plan(desired, observed) == expected


@pytest.mark.parametrize(
    ("desired", "observed", "word"),
    [
        (desired_of(), observed_of(stack(GitConfig={"URL": "x"}), container()), "git"),
        (desired_of(), observed_of(stack(WorkflowID=4), container()), "git"),
        (desired_of(), observed_of(None, container(where="/srv/x")), "/srv/x"),
        (desired_of(), sync.ObservedStack((stack(), stack(Id=8))), "7, 8"),
        (
            desired_of(LABELLED),
            replace(
                observed_of(stack(), content=LABELLED), hidden=frozenset({("kind", "private")})
            ),
            "kind=private",
        ),
    ],
)
def test_refusals(desired: sync.DesiredStack, observed: sync.ObservedStack, word: str) -> None:
    step = sync.plan(desired, observed)
    assert isinstance(step, sync.Refuse), step
    assert word in step.reason, step.reason


def test_failed_status_is_drift_with_its_reason() -> None:
    steps = [{"Status": 4, "Message": "no such image"}]
    step = sync.plan(
        desired_of(), observed_of(stack(Status=4, DeploymentStatus=steps), container())
    )
    assert isinstance(step, sync.Update), step
    assert step.reasons == ("the last deployment failed: no such image",)


def test_environment_is_compared_as_a_mapping() -> None:
    pairs = [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    observed = observed_of(stack(Env=pairs), container())
    assert isinstance(sync.plan(desired_of(env={"A": "1", "B": "2"}), observed), sync.Nothing)
    step = sync.plan(desired_of(env={"A": "9", "C": ""}), observed)
    assert isinstance(step, sync.Update), step
    assert step.reasons == ("env: C added", "env: B removed", "env: A changed")


def test_one_shot_service_may_end_with_zero_only() -> None:
    content = (
        FILE + "    depends_on: {init: {condition: service_completed_successfully}}\n"
        "  init:\n    image: init:1\n"
    )
    ended = container("init", "exited", "Exited (0) 1 minute ago")
    failed = container("init", "exited", "Exited (1) 1 minute ago")
    observed = observed_of(stack(), container(), ended, content=content)
    assert isinstance(sync.plan(desired_of(content), observed), sync.Nothing)
    observed = observed_of(stack(), container(), failed, content=content)
    assert isinstance(sync.plan(desired_of(content), observed), sync.Update)


names = st.text("ABCDEF_", min_size=1, max_size=6)
values = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))


@given(st.dictionaries(names, values), st.dictionaries(names, values))
def test_environments_are_equal_or_every_difference_is_named(
    before: dict[str, str], after: dict[str, str]
) -> None:
    changes = sync.env_changes(before, after)
    assert (changes == []) == (before == after), changes
    differing = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    assert {change.split()[0] for change in changes} == differing


def test_a_plan_shows_both_versions_of_an_image_and_no_secret() -> None:
    """What is secret is declared: each variable that the caller did not call public."""
    before = {"IMAGE": "app:1.0", "PASS": "old-secret", "GONE": "unknown-secret", "SAME": "x"}
    desired = sync.desired_stack(
        "app", FILE, 1,
        {"IMAGE": "app:1.1", "PASS": SecretStr("new-secret"), "LEVEL": "debug", "SAME": "x"},
        public=["IMAGE", "LEVEL", "SAME"],
    )  # fmt: skip
    observed = observed_of(
        stack(Env=[{"name": name, "value": value} for name, value in before.items()]), container()
    )
    lines = diff(desired, observed)
    assert "env IMAGE: app:1.0 -> app:1.1" in lines
    assert "env LEVEL: (none) -> debug" in lines
    assert "env PASS changed (value masked)" in lines
    assert "env GONE removed (value masked)" in lines
    assert not any("secret" in line or "SAME" in line for line in lines), lines


@pytest.mark.parametrize("value", ["old-secret", "old 'secret' $x"])
def test_a_secret_that_becomes_a_plain_variable_is_not_shown(value: str) -> None:
    """What is deployed does not tell what was a secret: every one that is known is masked."""
    desired = sync.desired_stack("app", FILE, 1, {"LEVEL": "debug"}, public=["LEVEL"])
    before = [{"name": "LEVEL", "value": sync.with_quoted([value])[-1]}]
    observed = observed_of(stack(Env=before), container())
    (line,) = diff(desired, observed, [SecretStr(value), SecretStr("another")])
    assert line == "env LEVEL: *** -> debug"


@pytest.mark.parametrize(
    ("name", "content", "env", "word"),
    [
        ("-", FILE, {}, "letter or digit"),
        ("!!!", FILE, {}, "letter or digit"),
        ("app", "services: [", {}, "YAML"),
        ("app", "version: 3\n", {}, "services"),
        ("app", "services:\n  web: 3\n", {}, r"services\.web"),
        ("app", FILE, {"A": "with\0NUL"}, r"env\.A"),
        ("app", FILE, {"A B": "x"}, "variable name"),
    ],
)
def test_bad_input_is_refused(name: str, content: str, env: dict[str, str], word: str) -> None:
    with pytest.raises(errors.InvalidInputError, match=word):
        sync.desired_stack(name, content, 3, env)


@given(st.text())
def test_names_normalise_to_a_project_name_or_are_refused(name: str) -> None:
    try:
        normal = normalise_name(name)
    except ValueError:
        return
    assert normalise_name(normal) == normal
    assert normal[0].isalnum(), normal


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("web:1", "web:1"),
        ("${IMAGE}", "reg/app:2"),
        ("$IMAGE", "reg/app:2"),
        ("web:${TAG:-9}", "web:9"),
        ("web:${EMPTY:-9}", "web:9"),
        ("web:${EMPTY-9}", "web:"),
        ("web:${TAG}", None),
        ("${TAG:?must be set}", None),
    ],
)
def test_image_references(image: str, expected: str | None) -> None:
    env = {"IMAGE": "reg/app:2", "EMPTY": ""}
    content = f"services:\n  web:\n    image: '{image}'\n"
    assert read_services(content, env)[0].image == expected


def test_services_that_do_not_start_are_left_out() -> None:
    content = (
        "services:\n  a: {image: x}\n  b: {image: x, profiles: [debug]}\n"
        "  c: {image: x, scale: 0}\n  d: {image: x, deploy: {replicas: 0}}\n  e: {build: .}\n"
    )
    match = read_services(content, {})
    assert [(spec.name, spec.image) for spec in match] == [("a", "x"), ("e", None)]


def frame(kind: int, data: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300)), min_size=1))
def test_log_frames_are_joined(frames: list[tuple[int, bytes]]) -> None:
    stream = b"".join(frame(kind, data) for kind, data in frames)
    joined = b"".join(data for _, data in frames)
    assert demultiplex(stream) == joined.decode("utf-8", "replace").splitlines()


def test_terminal_logs_are_raw() -> None:
    assert demultiplex(b"plain\r\nlines\r\n") == ["plain", "lines"]


def test_mask_takes_the_longest_first_and_leaves_short_values() -> None:
    assert mask("secret-and-more secret 1", ["secret", "secret-and-more", "1"]) == "*** *** 1"


def endpoint(**more: Any) -> Endpoint:
    row = {"Id": 1, "Name": "docker", "Type": 2, "URL": "tcp://10.0.0.2:9001"}
    tls = {"TLS": True, "TLSSkipVerify": True}
    return Endpoint.model_validate({**row, "TLSConfig": tls, **more})


@pytest.mark.parametrize(
    ("endpoints", "reasons"),
    [
        ((endpoint(),), ()),
        ((endpoint(URL="10.0.0.2:9001"),), ()),
        ((), ("register docker at tcp://10.0.0.2:9001",)),
        ((endpoint(URL="tcp://old:9001"),),
         ("move docker from tcp://old:9001 to tcp://10.0.0.2:9001",)),
        ((endpoint(Name="old"),), ("rename old to docker",)),
        ((endpoint(Name="other", URL="tcp://old:9001"),),
         ("register docker at tcp://10.0.0.2:9001",)),
        ((endpoint(TLSConfig={"TLS": False}),), ("set the TLS flags an agent needs",)),
    ],
)  # fmt: skip
def test_endpoint_plan(endpoints: tuple[Endpoint, ...], reasons: tuple[str, ...]) -> None:
    assert plan_endpoint(endpoints, "docker", "tcp://10.0.0.2:9001").reasons == reasons


def test_endpoint_of_another_kind_is_refused() -> None:
    with pytest.raises(errors.InvalidInputError, match="type 1"):
        plan_endpoint((endpoint(Type=1),), "docker", "tcp://10.0.0.2:9001")


def test_the_servers_own_docker_is_matched_by_its_socket() -> None:
    """One that a person registered in the wizard is renamed; an agent of its name is refused."""
    url = "unix:///var/run/docker.sock"
    assert plan_endpoint((), "control", url).reasons == (f"register control at {url}",)
    tls = {"TLS": False, "TLSSkipVerify": False}
    local = endpoint(Type=1, Name="local", URL=url, TLSConfig=tls)
    assert plan_endpoint((local,), "control", url).reasons == ("rename local to control",)
    assert plan_endpoint((local,), "local", url).reasons == ()
    with pytest.raises(errors.InvalidInputError, match="no Docker socket"):
        plan_endpoint((endpoint(Name="control"),), "control", url)


def test_stack_is_matched_by_its_name_at_its_endpoint() -> None:
    stacks = [stack(Id=1), stack(Id=2, Name="App", EndpointId=4), stack(Id=3, Name="cart")]
    stacks += [stack(Id=5, Type=1), stack(Id=6, Name="app-two"), stack(Id=7, Name="my-app")]
    assert [match.id for match in sync.matching(stacks, "app", 3)] == [1]
    assert [match.id for match in sync.matching(stacks, "app", 4)] == [2]
    assert sync.matching(stacks, "app", 9) == ()
