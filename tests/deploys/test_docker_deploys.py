"""docker, portainer and stacks as whole deploys, against a recorder that is no real host.

Portainer itself is no fake here: what its API is told is tested on the emulator (tests/contract)
and in the lab (tests/integration).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploys.recorder import ROOT, Run, assert_restarts_without_an_end, run

PLANTED = "planted-5ecret-of-the-test"
SERVER, AGENT = "portainer", "drphoenix"
NAMES = (
    "PORTAINER_ADMIN_PASSWORD", "PORTAINER_AGENT_SECRET", "THINKHEADS_AI_APP_DATABASE_PASS",
)  # fmt: skip
LOOKED = "Taking over: what was here before Phoenix"
DIRECTORY = "/etc/phoenix/portainer"
TUNNEL = "/etc/phoenix/portainer-tunnel.conf"
SECRET_FILES = {f"{DIRECTORY}/agent.env", f"{DIRECTORY}/admin_password"}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(f"PHOENIX_SECRET_{name}", PLANTED)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One run of each on fresh hosts. There is no CA to ask for, so the API is out of reach."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setenv(f"PHOENIX_SECRET_{name}", PLANTED)
        return {
            name: run(name, tmp_path_factory.mktemp(name) / "secrets.json")
            for name in ("docker", "portainer", "stacks")
        }


def hosts(done: Run) -> set[str]:
    """Who was sent anything; the CA's guest is only asked for the root."""
    return {sent.host for sent in done.sent} - {"step-ca"}


def test_docker_is_for_both_guests_with_one_configuration(fresh: dict[str, Run]) -> None:
    result = fresh["docker"]
    assert result.operations == [LOOKED, "Docker: packages", "Docker: daemon"]
    assert hosts(result) == {SERVER, AGENT}
    assert not result.failed
    files = {host: result.files(host)["/etc/docker/daemon.json"] for host in (SERVER, AGENT)}
    assert files[SERVER] == files[AGENT]
    assert "hosts" not in json.loads(files[AGENT])
    installs = [sent.command for sent in result.sent if " install " in sent.command]
    assert len(installs) == 2, installs
    assert all("docker.io" in install for install in installs), installs
    assert "dockerd --validate" in str([s.files() for s in result.sent]), "used without a check"


INSTALL = " install "


def test_docker_that_fails_on_a_host_is_not_touched_on_the_next_of_its_batch(
    tmp_path: Path,
) -> None:
    fails = {SERVER: INSTALL}
    apart = run("docker", tmp_path / "secrets.json", failing=fails, serial="1")
    together = run("docker", tmp_path / "secrets.json", failing=fails, serial="100%")
    installed = [
        {sent.host for sent in done.sent if INSTALL in sent.command} for done in (apart, together)
    ]
    assert (apart.failed, installed[0]) == ({SERVER}, {AGENT, SERVER})
    assert (together.failed, installed[1]) == ({AGENT, SERVER}, {SERVER})


def test_hosts_of_a_batch_come_one_after_the_other(tmp_path: Path) -> None:
    done = run("docker", tmp_path / "secrets.json", serial="2")
    sent = [request.host for request in done.sent if INSTALL in request.command or request.files()]
    assert sent == [sent[0], sent[0], sent[-1], sent[-1]], sent
    assert {*sent} == {AGENT, SERVER}


def test_dockers_own_packages_come_from_a_source_with_a_pinned_key(tmp_path: Path) -> None:
    release = ["x86_64", "ID=debian", "VERSION_CODENAME=trixie"]
    result = run(
        "docker",
        tmp_path / "secrets.json",
        docker_packages="docker",
        docker_apt_url="https://docker.example/linux",
        docker_apt_key_sha256="0" * 64,
        responses={re.compile("uname -m"): lambda _: release},
    )
    assert result.operations == [
        LOOKED, "Docker: package source", "Docker: packages", "Docker: daemon",
    ]  # fmt: skip
    (sources, *_) = [s.files() for s in result.sent if "docker.sources" in str(s.files())]
    text = sources["/etc/apt/sources.list.d/docker.sources"]
    for words in ("https://docker.example/linux/debian", "trixie", "Signed-By: /etc/apt/keyrings/"):
        assert words in text, text
    # The key is fetched and compared before the source that trusts it is put in place.
    assert "0" * 64 in sources["apply"] + sources["params"], sources


def test_portainer_comes_in_order_on_its_own_hosts(fresh: dict[str, Run]) -> None:
    result = fresh["portainer"]
    assert hosts(result) == {SERVER, AGENT}
    order = [name for name in result.operations if SERVER in result.changed[name]]
    assert order == [
        "Portainer: packages", "Portainer: packages of the tunnel", "Portainer: tunnel",
        "Portainer: image", "Portainer: server",
        "Portainer: administrator and API key",
    ]  # fmt: skip
    order = [name for name in result.operations if AGENT in result.changed[name]]
    assert order == [
        "Portainer agent: image", "Portainer agent", "Portainer agent: packages of the tunnel",
        "Portainer agent: tunnel", "Portainer: endpoint",
    ]  # fmt: skip


def test_server_and_agent_run_the_pinned_images(fresh: dict[str, Run]) -> None:
    for host, repository in ((SERVER, "portainer/portainer-ce"), (AGENT, "portainer/agent")):
        files = fresh["portainer"].files(host)
        main = yaml.safe_load(files[f"{DIRECTORY}/compose.yml"])["services"]["main"]
        name, _, tag = main["image"].partition(":")
        assert name == repository
        assert re.fullmatch(r"\d+\.\d+\.\d+", tag), main["image"]
        pulled = [s.command for s in fresh["portainer"].sent if "docker pull" in s.command]
        assert any(command.endswith(main["image"]) for command in pulled), pulled


@pytest.mark.parametrize("component", ["docker", "portainer"])
@pytest.mark.parametrize("host", [SERVER, AGENT])
def test_docker_and_portainer_restart_without_an_end(
    fresh: dict[str, Run], component: str, host: str
) -> None:
    assert_restarts_without_an_end(fresh[component], host)


@pytest.mark.parametrize(
    ("host", "unit"),
    [(SERVER, "phoenix-portainer.service"), (AGENT, "phoenix-portainer-agent.service")],
)
def test_portainer_is_not_given_up_when_docker_fails_to_start(
    fresh: dict[str, Run], host: str, unit: str
) -> None:
    """systemd never restarts a service whose start was cancelled for what it Requires=."""
    lines = fresh["portainer"].files(host)[f"/etc/systemd/system/{unit}"].splitlines()
    assert not [line for line in lines if line.startswith(("Requires=", "BindsTo="))]
    assert {"Wants=docker.service", "StopPropagatedFrom=docker.service"} <= set(lines)
    assert "WantedBy=multi-user.target docker.service" in lines


def test_secrets_are_in_their_own_files_alone(fresh: dict[str, Run]) -> None:
    actual = set()
    for name, result in fresh.items():
        for sent in result.sent:
            assert PLANTED not in sent.command, (name, sent.command)
            files = sent.files()
            manifest = files.pop("manifest", "")
            holding = {path for path, content in files.items() if PLANTED in content}
            actual |= holding
            for path in holding:
                (line,) = [row for row in manifest.splitlines() if row.endswith(f"\t{path}")]
                assert line.split("\t")[:3] == ["600", "root", "root"], line
    assert actual == SECRET_FILES


def test_both_sides_get_the_same_agent_secret(fresh: dict[str, Run]) -> None:
    result = fresh["portainer"]
    for host in (SERVER, AGENT):
        assert result.files(host)[f"{DIRECTORY}/agent.env"] == f"AGENT_SECRET={PLANTED}\n"


def test_without_a_ca_nothing_is_sent_to_portainer_and_the_fix_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = run("stacks", tmp_path / "secrets.json")
    assert result.failed == {AGENT}
    assert "run deploys/step_ca.py" in caplog.text, caplog.text
    assert PLANTED not in caplog.text


def test_images_from_archives_are_checked_by_digest(tmp_path: Path) -> None:
    archive = {"url": "file:///srv/agent.tar", "sha256": "1" * 64}
    settings = run(
        "portainer", tmp_path / "secrets.json",
        portainer_agent_image="example/agent:1", image_archives={"example/agent:1": archive},
    )  # fmt: skip
    loads = [s for s in settings.sent if s.host == AGENT and "docker load" in s.command]
    assert len(loads) == 1, loads
    assert archive["url"] in loads[0].command
    assert archive["sha256"] in loads[0].command
    pulls = [s for s in settings.sent if s.host == AGENT and "docker pull" in s.command]
    assert pulls == [], pulls


@pytest.mark.parametrize(
    ("component", "change", "message"),
    [
        ("docker", {"docker_packages": "snap"}, "the inventory: docker_packages: is 'snap'"),
        (
            "portainer",
            {"image_archives": {"portainer/agent:2.39.9": {"url": "file:///a.tar"}}},
            "give url and sha256 of the archive",
        ),
        (
            "stacks",
            {"stack_variables": {"qdrant_service": {"QDRANT_IMAEG": "x"}}},
            "the stack has no variable QDRANT_IMAEG",
        ),
        (
            "stacks",
            {"stacks_prune": ["qdrant_service-production"]},
            "remove it from one of the two",
        ),
    ],
)
def test_bad_settings_end_the_run_before_a_host_is_touched(
    tmp_path: Path, component: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run(component, tmp_path / "secrets.json", **change)
    output = f"{caught.value.args} {vars(caught.value)}"
    assert message in output.replace('"', "'").replace("\\'", "'"), output
    assert PLANTED not in output, output


def test_short_administrator_password_is_refused_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD", "elevenbytes")
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run("portainer", tmp_path / "secrets.json")
    output = f"{caught.value.args} {vars(caught.value)}"
    assert "portainer_admin_password is shorter than 12 bytes" in output, output
    assert "elevenbytes" not in output, output


def test_ports_of_the_site_are_in_what_the_guests_are_given(tmp_path: Path) -> None:
    """Another port than the default: listened on, tunnelled, asked for health, and registered."""
    for name in ("phoenix_lxc_configs.json", "phoenix_vm_configs.json"):
        declared = json.loads((ROOT / "inventories" / name).read_text())
        for guest in declared.get("vms", []):
            if guest["vmid"] == 1001:
                guest["traefik_service"]["port"] = 8443
            if guest["vmid"] == 1002:
                own = {"name": "portainer-agent", "port": 9100, "exposure": "direct"}
                guest["traefik_service"] = own
        (tmp_path / name).write_text(json.dumps(declared))
    result = run("portainer", tmp_path / "secrets.json", site_inventories=str(tmp_path))
    server, agent = (result.files(host) for host in (SERVER, AGENT))
    compose = f"{DIRECTORY}/compose.yml"
    assert ":8443" in yaml.safe_load(server[compose])["services"]["main"]["command"]
    environment = yaml.safe_load(agent[compose])["services"]["main"]["environment"]
    assert environment == {"AGENT_HOST": "127.0.0.1", "AGENT_PORT": "9100"}
    tunnels = server[TUNNEL], agent[TUNNEL]
    assert all("10.0.0.102:9100" in text for text in tunnels), tunnels
    sent = "\n".join(text for request in result.sent for text in request.files().values())
    assert "portainer.host.internal.thinkheads.ai:8443" in sent
    assert "https://127.0.0.1:9100/ping" in sent
