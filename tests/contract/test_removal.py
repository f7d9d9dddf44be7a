"""Taking what nobody declares any more out of Portainer, on the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from phoenix import portainer_api as api
from phoenix.portainer_api.removal import remove_environment, remove_stacks, stacks_left
from tests.contract.conftest import Start
from tests.contract.test_client import Site

NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture
def site(fresh: Start) -> Iterator[Site]:
    site = Site(fresh(agent_secret="agent secret"))
    site.converge(site.desired("ours"))
    site.converge(site.desired("theirs"))
    yield site
    site.client.close()


def names(site: Site) -> list[str]:
    return sorted(stack.name for stack in site.client.stacks())


def test_a_stack_goes_and_others_stay(site: Site) -> None:
    for _ in range(2):
        remove_stacks(site.client, "Ours", "drphoenix", site.lines.append)
        assert (names(site), site.ids("ours")) == (["theirs"], [])
        assert site.ids("theirs")
    assert site.lines[-1] == "stack ours: gone from Portainer"
    assert stacks_left(site.client, "ours", "drphoenix") == []


def test_an_environment_that_answers_is_cleared_of_what_is_ours(site: Site) -> None:
    for _ in range(2):
        remove_environment(site.client, "drphoenix", {"ours"}, site.lines.append, down=True)
    assert site.client.endpoints() == ()
    assert names(site) == ["theirs"], "what is not ours stays in Portainer"
    assert site.double.of("theirs"), "and runs on"
    assert site.double.of("ours") == []


def test_of_a_host_that_is_gone_portainer_forgets_all(site: Site) -> None:
    other, _ = api.ensure_endpoint(site.client, "other", f"{site.server.agent_url}/")
    if other.id == site.endpoint.id:
        other = site.client.create_agent_endpoint("second", site.server.agent_url)
    site.client.update_endpoint(site.endpoint.id, URL=NOWHERE)
    name = site.client.endpoint(site.endpoint.id).name
    site.double.down("ours")  # its host went with it
    remove_environment(site.client, name, {"ours", "theirs"}, site.lines.append, down=True)
    assert [endpoint.id for endpoint in site.client.endpoints()] == [other.id]
    assert site.double.of("theirs"), "an orphan is not taken down on a host that has its name"
    assert names(site) == ["theirs"]
    assert any("shows stack theirs as an orphan" in line for line in site.lines), site.lines


def test_a_former_name_of_the_same_docker_takes_nothing_down(site: Site) -> None:
    site.client.create_agent_endpoint("renamed", site.server.agent_url)
    remove_environment(site.client, "drphoenix", {"ours"}, site.lines.append, down=False)
    assert [endpoint.name for endpoint in site.client.endpoints()] == ["renamed"]
    assert site.double.of("ours"), "its containers are those of the endpoint that is declared"
