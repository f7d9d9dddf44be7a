"""phoenix.portainer_api against the emulator, in both deployment models."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from phoenix import portainer_api as api
from tests.contract.conftest import Start
from tests.contract.docker_double import LOG_LINE, DockerDouble
from tests.contract.harness import PASSWORD, Portainer, dial_tcp

SECRET = "planted-secret-value"
CREDENTIALS = api.Credentials(SecretStr(PASSWORD))


class Site:
    """A server, a client with a key, and an endpoint."""

    def __init__(self, server: Portainer) -> None:
        assert server.double is not None
        self.server = server
        self.double: DockerDouble = server.double
        self.client = connect(server)
        self.access = api.ensure_access(self.client, CREDENTIALS, None)
        self.endpoint, _ = api.ensure_endpoint(self.client, "drphoenix", server.agent_url)
        self.lines: list[str] = []

    def desired(self, name: str = "app", content: str | None = None, **more: object) -> object:
        text = self.server.compose() if content is None else content
        env = more.pop("env", {"PASSWORD": SECRET})
        return api.desired_stack(name, text, self.endpoint.id, env, **more)  # type: ignore[arg-type]

    def converge(self, desired: object, seconds: float = 10.0) -> api.Outcome:
        assert isinstance(desired, api.DesiredStack)
        return api.converge(self.client, desired, seconds=seconds, poll=0.02, log=self.lines.append)

    def ids(self, name: str = "app") -> list[str]:
        return [container.id for container in self.client.containers(self.endpoint.id, name)]


def connect(server: Portainer, **more: object) -> api.PortainerClient:
    return api.PortainerClient(server.url, server.ca.read_text(), **more)  # type: ignore[arg-type]


@pytest.fixture
def site(fresh: Start) -> Iterator[Site]:
    fresh_site = Site(fresh(agent_secret="agent secret"))
    yield fresh_site
    fresh_site.client.close()


def test_password_is_changed_once_and_a_cut_off_change_is_finished(fresh: Start) -> None:
    server = fresh()
    old, new = SecretStr(PASSWORD), SecretStr("another long password")
    client = connect(server)
    assert api.ensure_password(client, "admin", old, new)
    assert client.whoami().username == "admin", "the client goes on with the new password"
    # The run was killed before it could note that Portainer has the new one.
    again = connect(server)
    assert not api.ensure_password(again, "admin", old, new)
    with pytest.raises(api.InvalidInputError, match="neither the present nor the new") as caught:
        api.ensure_password(again, "admin", old, SecretStr("yet another password"))
    for hidden in (PASSWORD, "another"):
        assert hidden not in str(caught.value)
    with pytest.raises(api.ApiError, match="does not meet the minimum strength"):
        api.ensure_password(again, "admin", new, SecretStr("short"))
    assert again.posted
    for opened in (client, again):
        opened.close()


def test_server_without_administrator_has_no_password_to_change(fresh: Start) -> None:
    client = connect(fresh(admin_password=None, setup_token=""))
    assert not api.ensure_password(client, "admin", None, SecretStr(PASSWORD))
    assert client.posted == 0
    client.close()


def test_from_nothing_to_a_key_and_back_with_no_post(fresh: Start, mode: str) -> None:
    if mode == "async":  # a 2.43+ server that was started without a password file
        with pytest.raises(api.SetupTokenError, match="--admin-password-file"):
            api.ensure_access(connect(fresh(admin_password=None)), CREDENTIALS, None)
    server = fresh(admin_password=None, setup_token="")
    access = api.ensure_access(connect(server), CREDENTIALS, None)
    assert access.actions[0] == "created administrator admin"
    again = connect(server)
    assert api.ensure_access(again, CREDENTIALS, access.api_key).actions == ()
    assert again.posted == 0
    lost = api.ensure_access(connect(server), CREDENTIALS, None)
    assert len(connect(server, api_key=lost.api_key).api_keys(1)) == 1, "lost keys are revoked"


def test_other_password_and_lock_are_explained(fresh: Start) -> None:
    wrong_password = api.Credentials(SecretStr("a different password"))
    with pytest.raises(api.AuthenticationError, match="reset-password"):
        api.ensure_access(connect(fresh()), wrong_password, None)
    locked = connect(fresh(admin_password=None, admin_seconds=0.0))
    with pytest.raises(api.AdminInitTimeoutError, match="Restart the Portainer container"):
        locked.wait_ready(1)


def test_tls_trusts_our_root_alone_and_the_url_names_the_server(site: Site, tmp_path: Path) -> None:
    port = int(site.server.url.rsplit(":", 1)[1])
    root = site.server.ca.read_text()
    dial = dial_tcp("127.0.0.1", port)
    client = api.PortainerClient("https://localhost:9443", root, dial=dial)
    assert client.status().version, "another port than the URL's, the same verified name"
    misnamed = api.PortainerClient("https://portainer.invalid:9443", root, dial=dial)
    with pytest.raises(api.UnreachableError, match=r"(?i)hostname mismatch|doesn't match"):
        misnamed.status()
    from tests.contract.harness import make_certificate

    other = make_certificate(tmp_path)[0].read_text()
    stranger = api.PortainerClient(site.server.url, other)
    with pytest.raises(api.UnreachableError, match="TLS"):
        stranger.status()


def test_nobody_listens_is_unreachable_even_for_a_post(site: Site) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        dead = api.PortainerClient(
            f"https://localhost:{bound.getsockname()[1]}", site.server.ca.read_text()
        )
        with pytest.raises(api.UnreachableError, match="refused"):
            dead.login("admin", SecretStr(PASSWORD))
        with pytest.raises(api.UnreachableError, match="refused"):
            dead.status()


def test_endpoint_moves_and_renames_without_a_second_one(site: Site) -> None:
    same, actions = api.ensure_endpoint(site.client, "drphoenix", site.server.agent_url)
    assert (same.id, actions) == (site.endpoint.id, ())
    site.client.update_endpoint(same.id, URL="tcp://127.0.0.1:1")
    moved, actions = api.ensure_endpoint(site.client, "drphoenix", site.server.agent_url)
    assert (moved.id, moved.status) == (same.id, 1)
    assert "move drphoenix" in actions[0]
    renamed, actions = api.ensure_endpoint(site.client, "docker2", site.server.agent_url)
    assert (renamed.id, renamed.name) == (same.id, "docker2"), actions
    assert len(site.client.endpoints()) == 1
    with pytest.raises(api.UnreachableError, match="AGENT_SECRET"):
        api.ensure_endpoint(site.client, "docker2", "tcp://127.0.0.1:1")


def test_a_stack_on_the_servers_own_docker(site: Site) -> None:
    """Registered once by its socket; deployed, left alone and removed there, by no agent."""
    url = f"unix://{site.server.directory}/docker.sock"
    for expected in (("register control at " + url,), ()):
        local, actions = api.ensure_endpoint(site.client, "control", url)
        assert (local.type, local.url, actions) == (1, url, expected)
    on_agent = site.desired()
    assert isinstance(on_agent, api.DesiredStack)
    desired = replace(on_agent, endpoint_id=local.id)
    assert site.converge(desired).actions == ("create",)
    assert site.converge(desired).changed is False
    assert [stack.endpoint_id for stack in site.client.stacks()] == [local.id]
    assert site.converge(replace(desired, present=False)).changed
    assert site.client.containers(local.id, "app") == ()


def test_create_then_nothing(site: Site) -> None:
    assert site.converge(site.desired()).actions == ("create",)
    before, posted = site.ids(), site.client.posted
    assert site.converge(site.desired()).changed is False
    assert (site.ids(), site.client.posted) == (before, posted), "no request that changes"


def test_one_variable_changes_one_stack(site: Site) -> None:
    site.converge(site.desired())
    site.converge(site.desired("other"))
    other = site.ids("other")
    outcome = site.converge(site.desired(env={"PASSWORD": "rotated-value", "NEW": "x"}))
    assert outcome.actions == ("update: env: NEW added", "update: env: PASSWORD changed")
    assert site.ids("other") == other
    assert site.converge(site.desired(env={"NEW": "x", "PASSWORD": "rotated-value"})).actions == ()


def test_variables_arrive_byte_for_byte(site: Site) -> None:
    """Through the server's env file, which compose reads by rules of its own."""
    sent = {
        f"V{number}": value
        for number, value in enumerate(
            ["a$b", "a$$b", "${HOME}", "a #b", '"x"', " lead", "trail ", "${NOSUCH", "it's", 'it"s',
             "a\\b", "'$x' \"#y", "two\nlines", "ü", "", "#x", "a=b"]
        )
    }  # fmt: skip
    desired = site.desired(env=sent)
    assert site.converge(desired).actions == ("create",)
    (container,) = site.double.of("app")
    assert container["Env"] == sent
    assert site.converge(desired).changed is False


def test_changes_by_hand_are_put_back(site: Site) -> None:
    desired = site.desired()
    site.converge(desired)
    stack = site.client.stacks(site.endpoint.id)[0]
    site.client.update_stack(stack, site.server.compose(service="byhand"), {})
    site.server.settle(stack.id)
    assert isinstance(desired, api.DesiredStack)
    observed = site.client.observe("app", site.endpoint.id)
    shown = "\n".join(api.diff(desired, observed))
    assert "-  byhand:" in shown, shown
    assert "+  web:" in shown, shown
    assert "env PASSWORD added" in shown, shown
    assert SECRET not in shown
    assert site.converge(desired).changed
    assert site.converge(desired).changed is False


def test_stopped_and_lost_containers_are_drift(site: Site) -> None:
    desired = site.desired()
    site.converge(desired)
    stop = f"/stacks/{site.client.stacks()[0].id}/stop?endpointId={site.endpoint.id}"
    assert site.server.admin("POST", stop).status_code == 200
    assert site.converge(desired).actions == ("start",)
    site.double.down("app")
    assert site.converge(desired).actions == ("update: service web has no container",)
    site.double.of("app")[0].update(State="exited", Status="Exited (137) 1 second ago")
    assert "exited" in site.converge(desired).actions[0]
    site.double.of("app")[0].update(Status="Up 1 minute (unhealthy)")
    assert site.converge(desired).actions == ("update: container app-web-1 is unhealthy",)
    assert site.converge(desired).changed is False


def test_missing_image_touches_no_container(site: Site) -> None:
    site.converge(site.desired())
    before, posted = site.ids(), site.client.posted
    with pytest.raises(api.StackFailedError, match=r"cannot be pulled.*No container was touched"):
        site.converge(site.desired(content=site.server.compose("reg.invalid/missing:2")))
    assert site.ids() == before
    assert site.client.posted == posted + 1, "one pull, no deployment"


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("fault", ["unhealthy", "crash"])
def test_failed_update_is_put_back_with_the_logs_shown(site: Site, fault: str) -> None:
    site.converge(site.desired())
    with pytest.raises(api.StackFailedError) as caught:
        site.converge(site.desired(content=site.server.compose(**{fault: "yes"})))
    error = caught.value
    assert error.restored is True, str(error)
    assert any(LOG_LINE in line for line in error.logs), str(error)
    assert SECRET not in str(error) + "".join(site.lines), str(error)
    assert "***" in str(error), "the log held the secret, and it was masked"
    assert site.converge(site.desired()).changed is False, "the old version runs, by the old file"


def test_failed_deployment_itself_is_put_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image exists when looked for, and compose fails all the same."""
    site.converge(site.desired())
    monkeypatch.setattr(api.PortainerClient, "image_present", lambda *_: True)
    with pytest.raises(api.StackFailedError, match="manifest") as caught:
        site.converge(site.desired(content=site.server.compose("reg.invalid/missing:2")))
    assert caught.value.restored is True, str(caught.value)
    assert site.converge(site.desired()).changed is False


def test_foreign_containers_are_refused(site: Site) -> None:
    site.double.add("app", "web", "/srv/by-hand")
    before = site.ids()
    with pytest.raises(api.RefusedError, match="/srv/by-hand"):
        site.converge(site.desired())
    assert site.ids() == before


def test_rebuilt_server_adopts_without_touching_containers(fresh: Start) -> None:
    old = Site(fresh(agent_secret="agent secret"))
    old.converge(old.desired())
    before = old.ids()
    new = Site(old.server)  # the same agent; now a server from nothing
    data = fresh(agent_secret="agent secret")
    client = connect(data)
    api.ensure_access(client, CREDENTIALS, None)
    endpoint, _ = api.ensure_endpoint(client, "drphoenix", old.server.agent_url)
    desired = api.desired_stack("app", old.server.compose(), endpoint.id, {"PASSWORD": SECRET})
    outcome = api.converge(client, desired, seconds=10, poll=0.02)
    assert outcome.actions == ("create, adopting app-web-1",)
    assert new.ids() == before, "adopted, not recreated"


PORT = '    ports: ["18080:80"]\n'


def test_stacks_of_a_deleted_endpoint_come_back_and_no_container_is_touched(site: Site) -> None:
    site.converge(site.desired())
    before = site.ids()
    site.client.delete_endpoint(site.endpoint.id)
    site.endpoint, _ = api.ensure_endpoint(site.client, "drphoenix", site.server.agent_url)
    outcome = site.converge(site.desired())
    assert [line.partition(":")[0] for line in outcome.actions] == [
        "associate Portainer's stack 1 with this environment"
    ]
    assert site.ids() == before
    assert site.converge(site.desired()).changed is False
    assert [(row.id, row.endpoint_id) for row in site.client.stacks()] == [(1, site.endpoint.id)]


def test_an_endpoint_that_was_renamed_and_moved_leaves_its_stacks(site: Site) -> None:
    """Registered anew: the row with the old endpoint's id would make each create a 409."""
    site.converge(site.desired())
    before, old = site.ids(), site.endpoint.id
    site.client.update_endpoint(old, Name="by-hand", URL="tcp://127.0.0.1:1")
    site.endpoint, actions = api.ensure_endpoint(site.client, "drphoenix", site.server.agent_url)
    assert site.endpoint.id != old, actions
    assert site.converge(site.desired()).changed
    assert site.ids() == before
    assert [row.endpoint_id for row in site.client.stacks()] == [site.endpoint.id]


def test_the_stack_of_another_host_is_never_taken(site: Site, fresh: Start) -> None:
    """Both have one of this name; here its row is lost, and the number in the labels misleads."""
    other = fresh(agent_secret="agent secret")
    other_endpoint, _ = api.ensure_endpoint(site.client, "other", other.agent_url)
    site.converge(site.desired())
    desired = site.desired()
    assert isinstance(desired, api.DesiredStack)
    site.converge(replace(desired, endpoint_id=other_endpoint.id))
    assert site.server.server is not None
    rows = site.server.server.store.rows("stacks")
    for container in site.double.of("app"):
        container["Labels"]["com.docker.compose.project.working_dir"] = "/data/compose/2"
    del rows[0]
    with pytest.raises(api.StackFailedError, match="Another environment"):
        site.converge(desired)
    assert [row.endpoint_id for row in site.client.stacks()] == [other_endpoint.id]


def test_a_lost_compose_file_is_written_again_by_deleting_and_creating(site: Site) -> None:
    site.converge(site.desired())
    (site.server.directory / "data/compose/1/docker-compose.yml").unlink()
    outcome = site.converge(site.desired())
    assert "the server has lost the compose file" in outcome.actions[0], outcome
    (row,) = site.client.stacks()
    assert site.client.stack_file(row.id) == site.server.compose()
    assert row.env_mapping == {"PASSWORD": SECRET}
    assert len(site.ids()) == 1
    assert site.converge(site.desired()).changed is False


def test_a_renamed_service_has_its_port(site: Site) -> None:
    site.converge(site.desired(content=site.server.compose() + PORT))
    renamed = site.desired(content=site.server.compose(service="site") + PORT)
    outcome = site.converge(renamed)
    assert outcome.actions[0] == (
        "remove container app-web-1: the compose file has no service web any more"
    )
    containers_seen = site.client.containers(site.endpoint.id, "app")
    assert [(container.service, container.state) for container in containers_seen] == [
        ("site", "running")
    ]
    assert site.converge(renamed).changed is False


def test_a_renamed_service_that_fails_gives_its_port_back(site: Site) -> None:
    before = site.desired(content=site.server.compose() + PORT)
    site.converge(before)
    unhealthy_content = site.server.compose(service="site", unhealthy="yes") + PORT
    with pytest.raises(api.StackFailedError) as caught:
        site.converge(site.desired(content=unhealthy_content))
    assert caught.value.restored is True, str(caught.value)
    assert site.converge(before).changed is False
    containers_seen = site.client.containers(site.endpoint.id, "app")
    assert [(container.service, container.state) for container in containers_seen] == [
        ("web", "running")
    ]


def test_a_removed_service_does_not_run_on(site: Site) -> None:
    old = site.server.compose(service="old").removeprefix("services:\n")
    site.converge(site.desired(content=site.server.compose() + old))
    assert len(site.ids()) == 2
    site.converge(site.desired())
    containers_seen = site.client.containers(site.endpoint.id, "app")
    assert [container.service for container in containers_seen] == ["web"]
    # An earlier release has left one: it goes, and nothing is deployed.
    left = site.double.add("app", "older", "/data/compose/1")
    web = containers_seen[0].id
    outcome = site.converge(site.desired())
    assert outcome.actions == (
        "remove container app-older-1: the compose file has no service older any more",
    )
    assert site.ids() == [web]
    assert left not in site.double.containers


def test_containers_that_portainer_hides_are_told(site: Site) -> None:
    desired = site.desired(content=site.server.compose(kind="private"))
    site.converge(desired)
    before = [container["Id"] for container in site.double.of("app")]
    labels = [{"name": "double.kind", "value": "private"}]
    site.server.admin("PUT", "/settings", json={"BlackListedLabels": labels})
    with pytest.raises(api.RefusedError, match="Hidden containers"):
        site.converge(desired)
    assert [container["Id"] for container in site.double.of("app")] == before


def test_a_deployment_error_is_told_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.PortainerClient, "image_present", lambda *_: True)
    with pytest.raises(api.StackFailedError) as caught:
        site.converge(site.desired(content=site.server.compose("reg.invalid/missing:2")))
    assert str(caught.value).count("manifest for") == 1, str(caught.value)


def test_an_environment_that_is_gone_deletes_no_stack(site: Site) -> None:
    site.converge(site.desired())
    (row,) = site.client.stacks()
    with pytest.raises(api.NotFoundError, match="the endpoint associated to the stack"):
        site.client.delete_stack(row, 999)
    assert site.client.stacks() == (row,)


def test_a_silent_agent_is_named(site: Site) -> None:
    site.client.update_endpoint(site.endpoint.id, URL="tcp://127.0.0.1:1")
    seconds = iter(range(0, 10_000, 30))
    client = connect(
        site.server, api_key=site.access.api_key, clock=lambda: next(seconds), sleep=lambda _: None
    )
    with pytest.raises(api.ApiError, match="check that its agent runs"):
        client.containers(site.endpoint.id, "app")


def test_an_administrator_of_another_name(fresh: Start) -> None:
    server = fresh(admin_password=None, setup_token="")
    boss = api.Credentials(SecretStr(PASSWORD), "boss")
    key = api.ensure_access(connect(server), boss, None).api_key
    with pytest.raises(api.AuthenticationError, match=r"another name.*add a user admin"):
        api.ensure_access(connect(server), CREDENTIALS, None)
    access = api.ensure_access(connect(server), CREDENTIALS, None, spare_key=key)
    assert access.actions[0] == "created administrator admin beside Portainer's others"
    client = connect(server, api_key=access.api_key)
    assert (client.whoami().username, client.whoami().role) == ("admin", 1)
    # Of its own name it has one: another password is no reason for a second one.
    other = api.Credentials(SecretStr("quite another password"))
    with pytest.raises(api.AuthenticationError, match="do not log in"):
        api.ensure_access(connect(server), other, None, spare_key=access.api_key)


def test_git_managed_is_refused(site: Site, tmp_path: Path) -> None:
    site.converge(site.desired())
    assert site.server.server is not None
    row = site.server.server.store.rows("stacks")[0]
    row["GitConfig"] = {"URL": "https://git.invalid/x"}
    with pytest.raises(api.RefusedError, match="git"):
        site.converge(site.desired(content=site.server.compose(service="new")))


def test_absent_is_deleted_once(site: Site) -> None:
    site.converge(site.desired())
    gone = site.desired(present=False)
    assert site.converge(gone).actions == ("delete (volumes kept)",)
    assert site.ids() == []
    assert site.converge(gone).changed is False


def test_lost_answer_reads_the_state_and_never_posts_again(site: Site) -> None:
    # A server that answers before it has deployed is given any time that its machine needs.
    seconds = 60 if site.server.asynchronous else 0.3
    short_deadline = connect(site.server, api_key=site.access.api_key, deploy_seconds=seconds)
    for content in (site.server.compose(slow="1.2"), site.server.compose(slow="1.1")):
        desired = api.desired_stack("slow", content, site.endpoint.id)
        started, posted = time.monotonic(), short_deadline.posted
        api.converge(short_deadline, desired, seconds=20, poll=0.05, log=site.lines.append)
        assert short_deadline.posted == posted + 1, site.lines
        assert time.monotonic() - started > 1, "it waited for the deployment"
        time.sleep(1.0)  # UpdateDate counts whole seconds
    notes = [line for line in site.lines if "instead of asking again" in line]
    assert bool(notes) is (not site.server.asynchronous), site.lines


def test_secrets_show_nowhere(site: Site) -> None:
    desired = site.desired()
    site.converge(desired)
    stack = site.client.stacks()[0]
    key = site.access.api_key.get_secret_value()
    shown = " ".join([repr(desired), repr(stack), str(stack), repr(site.client), *site.lines,
                      repr(site.access), repr(CREDENTIALS), str(vars(site.client))])  # fmt: skip
    for secret in (SECRET, key, PASSWORD):
        assert secret not in shown, "a secret shows in a repr or a log line"
    assert SECRET in json.dumps(stack.env_mapping), "it is there all the same"
