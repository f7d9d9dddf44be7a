"""Stacks of type Swarm: what Portainer does with them, and how they are converged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from phoenix import portainer_api as api
from phoenix.portainer_api.removal import remove_stacks
from tests.contract.conftest import Start
from tests.contract.swarm_double import SWARM_ID, SwarmDouble
from tests.contract.test_client import Site

ANEW = "(containers are made anew, volumes kept)"
WEB = "services:\n  web:\n    image: {image}\n{more}"


def content(image: str = "double/image:1", more: str = "") -> str:
    return WEB.format(image=image, more=more)


def with_file(name: str) -> str:
    return content(
        more="    secrets: [{source: f0, target: /run/key}]\n"
        f"secrets:\n  f0: {{external: true, name: {name}}}\n"
    )


@pytest.fixture
def site(fresh: Start) -> Iterator[Site]:
    site = Site(fresh(agent_secret="agent secret"))
    yield site
    site.client.close()


def double(site: Site) -> SwarmDouble:
    return site.double.swarm


def converge(
    site: Site, text: str | None = None, *files: api.SwarmFile, seconds: float = 20.0, **more: Any
) -> list[str]:
    """The steps that were taken of the stack `app`; `seconds`: how long it may take to run."""
    desired = site.desired(content=text or content(), **more)
    assert isinstance(desired, api.DesiredStack)
    engine = api.SwarmStacks(site.client, files)
    outcome = api.converge(engine, desired, seconds=seconds, poll=0.02, log=site.lines.append)
    return list(outcome.actions)


# -- the server ------------------------------------------------------------------------------------


def create(site: Site, **body: object) -> tuple[int, str]:
    sent = {"Name": "Raw!", "SwarmID": SWARM_ID, "StackFileContent": content(), **body}
    path = f"/stacks/create/swarm/string?endpointId={site.endpoint.id}"
    answer = site.server.admin("POST", path, json=sent)
    if answer.status_code == 200:
        site.server.settle(answer.json()["Id"])
    return answer.status_code, answer.text


def test_a_swarm_stack_is_stored_as_such_and_deployed_by_docker_stack(site: Site) -> None:
    assert create(site)[0] == 200
    (row,) = site.client.stacks()
    assert (row.name, row.type, row.swarm, row.status) == ("raw", 1, SWARM_ID, 1)
    (asked,) = double(site).deployed
    assert asked["words"][:3] == ["stack", "deploy", "--with-registry-auth"]
    assert list(double(site).services("raw")) == ["raw_web"]
    by_endpoint = site.client.stacks(site.endpoint.id)
    assert by_endpoint == (), "a filter by environment leaves its compose stacks"
    asked_for = {"filters": f'{{"SwarmID": "{SWARM_ID}"}}'}
    rows = site.server.admin("GET", "/stacks", params=asked_for).json()
    assert [row["Name"] for row in rows] == ["raw"]


def test_what_the_server_refuses(site: Site) -> None:
    status, text = create(site, SwarmID="")
    assert status == 400
    assert "Invalid Swarm ID" in text
    assert create(site)[0] == 200
    assert create(site)[0] == 409
    double(site).manages = False
    assert create(site, Name="other")[0] == 500


def test_an_update_prunes_where_it_is_asked_and_resolves_no_image(site: Site) -> None:
    two = content(more="  old:\n    image: double/image:1\n")
    create(site, StackFileContent=two)
    (row,) = site.client.stacks()
    body = {"StackFileContent": content(), "Prune": True}
    site.server.admin("PUT", f"/stacks/{row.id}?endpointId={site.endpoint.id}", json=body)
    site.server.settle(row.id)
    assert list(double(site).services("raw")) == ["raw_web"]
    assert {"--prune", "--resolve-image=never"} <= set(double(site).deployed[-1]["words"])


def test_a_variable_reaches_docker_as_it_is(site: Site) -> None:
    text = content(more='    environment: ["A=${PASSWORD}"]\n')
    converge(site, text, env={"PASSWORD": "a$b #c 'x' \"y\""})
    assert double(site).deployed[-1]["outer"]["PASSWORD"] == "a$b #c 'x' \"y\""
    assert converge(site, text, env={"PASSWORD": "a$b #c 'x' \"y\""}) == []


# -- converging ------------------------------------------------------------------------------------


def test_created_once_updated_and_removed(site: Site) -> None:
    assert converge(site) == ["create"]
    assert converge(site) == []
    changed = content(more="    deploy: {replicas: 2}\n")
    assert converge(site, changed) == [
        "update: the compose file differs",
        "update: service web has 1 replicas, not 2",
    ]
    assert converge(site, changed) == []
    assert converge(site, present=False) == ["delete (volumes kept)"]
    assert double(site).services() == {}
    assert converge(site, present=False) == []


def test_what_a_person_changed_is_put_back(site: Site) -> None:
    converge(site)
    (service,) = double(site).services().values()
    service["Spec"]["Mode"]["Replicated"]["Replicas"] = 3
    service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] = "double/image:9@sha256:0"
    assert converge(site) == [
        "update: service web has 3 replicas, not 1",
        "update: service web has the image double/image:9, not double/image:1",
    ]
    double(site).remove("services", service["ID"])
    assert converge(site) == ["update: service web has no container"]
    assert converge(site) == []


def test_an_update_that_fails_is_rolled_back(site: Site) -> None:
    converge(site)
    with pytest.raises(api.StackFailedError) as failed:
        converge(site, content("double/crash:2"))
    assert failed.value.restored is True
    assert "its update ended: task: non-zero exit (3)" in failed.value.reason
    assert failed.value.logs == ("web | double: last words of the task",), (
        "and not of its neighbours"
    )
    (service,) = double(site).services().values()
    assert service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == "double/image:1"
    assert converge(site) == []


def test_a_new_stack_that_never_runs_says_why(site: Site) -> None:
    with pytest.raises(api.StackFailedError) as failed:
        converge(site, content("double/crash:1"))
    assert "3 tasks failed: task: non-zero exit (3)" in failed.value.reason
    assert failed.value.restored is None


def test_a_task_that_finds_no_node_is_waited_for_and_told(site: Site) -> None:
    with pytest.raises(api.StackFailedError) as failed:
        converge(site, content("double/pending:1"), seconds=1.0)
    assert "web.1 (pending: no suitable node)" in str(failed.value)


def test_a_file_of_other_content_is_a_new_version_and_the_old_one_goes(site: Site) -> None:
    first, second = (api.SwarmFile(f"app-0-{n}", f"value {n}".encode(), True) for n in (1, 2))
    config = api.SwarmFile("app-1-1", b"plain", False)
    assert converge(site, with_file(first.name), first, config) == ["create"]
    assert (double(site).names("secrets"), double(site).content("secrets")) == (
        ["app-0-1"], [b"value 1"],
    )  # fmt: skip
    assert converge(site, with_file(first.name), first) == []
    assert converge(site, with_file(second.name), second) == ["update: the compose file differs"]
    assert double(site).names("secrets") == ["app-0-2"]
    assert double(site).names("configs") == [], "nothing uses it"


def test_a_failed_version_leaves_the_former_secret_in_use(site: Site) -> None:
    first, second = (api.SwarmFile(f"app-0-{n}", f"value {n}".encode(), True) for n in (1, 2))
    converge(site, with_file(first.name), first)
    with pytest.raises(api.StackFailedError) as failed:
        converge(site, with_file(second.name).replace("double/image:1", "double/crash:2"), second)
    assert failed.value.restored is True
    assert double(site).names("secrets") == ["app-0-1"]
    assert not any("value" in line for line in site.lines)


def test_a_secret_of_a_person_stays(site: Site) -> None:
    foreign_secret = {"Spec": {"Name": "theirs", "Labels": {"com.docker.stack.namespace": "app"}}}
    double(site).keep("secrets", foreign_secret)
    converge(site)
    assert double(site).names("secrets") == ["theirs"]


def test_a_stack_changes_its_type_in_one_step_each_way(site: Site) -> None:
    site.converge(site.desired())
    assert converge(site) == [f"delete and create: its type changes from compose to Swarm {ANEW}"]
    assert (site.ids(), list(double(site).services())) == ([], ["app_web"])
    back = site.converge(site.desired()).actions
    assert back == (f"delete and create: its type changes from Swarm to compose {ANEW}",)
    assert (len(site.ids()), list(double(site).services())) == (1, [])


def test_services_that_no_portainer_knows_are_refused_with_the_way(site: Site) -> None:
    converge(site)
    (row,) = site.server.server.store.rows("stacks")  # type: ignore[union-attr]
    site.server.server.store.rows("stacks").remove(row)  # type: ignore[union-attr]
    with pytest.raises(api.RefusedError, match="docker stack rm app on a manager"):
        converge(site)


def test_another_manager_takes_the_stack_without_touching_a_task(site: Site) -> None:
    converge(site)
    tasks = dict(double(site).objects["tasks"])
    other = site.server.register("second", site.server.agent_url).json()["Id"]
    first, site.endpoint = site.endpoint, site.endpoint.model_copy(update={"id": other})
    (step,) = converge(site)
    assert step.startswith("associate Portainer's stack 1 with this environment")
    assert converge(site) == []
    assert double(site).objects["tasks"] == tasks
    assert first.id != other


def test_a_host_that_is_no_manager_is_an_error_with_the_fix(site: Site) -> None:
    double(site).manages = False
    with pytest.raises(api.PortainerError, match="no manager of a swarm that works"):
        converge(site)


def test_a_removal_finds_a_stack_of_either_type(site: Site) -> None:
    converge(site)
    remove_stacks(site.client, "App", "drphoenix", site.lines.append)
    assert (site.client.stacks(), double(site).services()) == ((), {})
