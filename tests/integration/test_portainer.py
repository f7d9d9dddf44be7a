"""Portainer: reached and used through the gateway, left alone by a second run, closed to others."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix.components.nginx.nginx_conf import ACCESS_LOG
from phoenix.components.portainer.compose_files import API_KEY_FILE
from phoenix.site.names import SERVER_VOLUME
from tests.integration.portainer_lab import ROOT_FILE, PortainerLab
from tests.integration.project import deadline_factor
from tests.integration.site_lab import SiteLab, print_figure
from tests.integration.test_secrets import logs_with

CONSOLE = Path(__file__).with_name("console_client.py")
PATH = "/root/phoenix-it-console"
OTHER = "PHOENIX_SECRET_PORTAINER_AGENT_SECRET"


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> PortainerLab:
    return PortainerLab(site)


def test_all_services_answer_a_client_with_only_the_root(lab_: PortainerLab) -> None:
    lab_.assert_serving()
    domain = lab_.site.site.domain
    names = {f"{name}.{domain}" for name in ("portainer", "qdrant", "app")}
    assert names <= lab_.serving().keys(), lab_.serving()
    page = lab_.site.curl(f"{lab_.url}/")
    assert page.status == 200, page
    assert "Portainer" in page.body, page
    collections = lab_.site.qdrant("/collections")
    assert json.loads(collections.body)["status"] == "ok", collections


def test_login_through_the_gateway(lab_: PortainerLab) -> None:
    status, answer = lab_.login(lab_.site.secrets["portainer_admin_password"])
    assert status == 200, (status, answer)
    assert answer["jwt"].count(".") == 2
    status, answer = lab_.login("not the password at all")
    assert status == 422, (status, answer)


def test_console_through_the_whole_chain(lab_: PortainerLab) -> None:
    """Client, Nginx, Traefik, server, agent, Docker: a command typed into the app's container."""
    site, container = lab_.site, lab_.container_of(lab_.app)
    number = lab_.endpoint()["Id"]
    status, answer = lab_.api(
        "POST", f"/endpoints/{number}/docker/containers/{container.id}/exec",
        {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": True,
         "Cmd": ["sh"]},
    )  # fmt: skip
    assert status == 201, answer
    _, login = lab_.login(site.secrets["portainer_admin_password"])
    path = f"/api/websocket/exec?endpointId={number}&id={answer['Id']}&token={login['jwt']}"
    site.put("client", PATH, path, 0o600)
    site.put("client", "/root/console_client.py", CONSOLE.read_bytes())
    name = lab_.url.removeprefix("https://")
    # The terminal echoes the command, but only a shell in the container fills in its name.
    words = ["python3", "/root/console_client.py", name, ROOT_FILE, PATH,
             "echo it-$(cat /etc/hostname)-here; exit", f"it-{container.id[:12]}-here"]  # fmt: skip
    result = site.sh("client", f"timeout 30 {shlex.join(words)}")
    site.sh("client", f"rm {PATH}")
    assert result.code == 0, result.text
    # The gateway has logged the session, which has ended, and not its token.
    log, session = ACCESS_LOG, '"method":"GET","path":"/api/websocket/exec"'
    lab_.eventually(
        "the gateway logs the session",
        lambda: site.sh("gateway", f"grep -qF '{session}' {log}").code == 0,
    )
    for host in ("gateway", "traefik"):
        assert logs_with(site, host, login["jwt"]) == "", f"the token is in a log of {host}"


def test_second_run_sends_nothing_and_restarts_nothing(lab_: PortainerLab) -> None:
    before, units = lab_.running(), control_units(lab_)
    run, requests = lab_.sent_by(lambda: lab_.site.project.run("deploys/all.py"))
    assert run.returncode == 0, run.explain()
    assert run.other_changes == []
    looked = {name for name, host in run.pairs("no_change") if host == lab_.agent}
    for part in ("Docker: daemon", "Portainer agent", "Portainer: endpoint", f"Stack {lab_.app}"):
        assert any(name.endswith(part) for name in looked), (part, looked)
    assert [request for request in requests if request[0] == "GET"], (
        "the log saw not even the looks"
    )
    changing = [request for request in requests if request[0] not in ("GET", "HEAD")]
    assert changing == [], changing
    print_figure("requests of a no-change run", len(requests))
    assert lab_.running() == before
    assert control_units(lab_) == units


def control_units(lab_: PortainerLab) -> dict[str, object]:
    return {
        lab_.server: lab_.site.units_of(
            lab_.server, ["docker.service", "phoenix-portainer.service"]
        ),
        lab_.agent: lab_.site.units_of(
            lab_.agent, ["docker.service", "phoenix-portainer-agent.service"]
        ),
    }


def reaches(lab_: PortainerLab, source: str, host: str, port: int) -> bool:
    address = lab_.site.address(host)
    return lab_.site.sh(source, f"timeout 5 bash -c ': </dev/tcp/{address}/{port}'").code == 0


def test_docker_has_no_port(lab_: PortainerLab) -> None:
    for host in (lab_.server, lab_.agent):
        listening = lab_.site.sh(host, "ss -Hltnp", ok=True).out
        assert "sshd" in listening, listening
        owned = [line for line in listening.splitlines() if '"dockerd"' in line]
        assert owned == [], owned
        assert not reaches(lab_, "client", host, 2375)
        assert not reaches(lab_, "client", host, 2376)


def test_key_file_is_for_root_alone(lab_: PortainerLab) -> None:
    mode_and_owner = lab_.site.sh(
        lab_.server, f"stat -c '%a %U' {API_KEY_FILE}", ok=True
    ).out.strip()
    assert mode_and_owner == "600 root"


@pytest.fixture
def other_agent_secret(lab_: PortainerLab) -> Iterator[None]:
    """The server has another AGENT_SECRET than the agent; put right afterwards."""
    other = {OTHER: "another-secret-of-the-test"}
    run = lab_.site.project.run("deploys/portainer.py", "--limit", lab_.server, environment=other)
    assert run.returncode == 0, run.explain()
    yield
    run = lab_.site.project.run("deploys/portainer.py")
    assert run.returncode == 0, run.explain()


@pytest.mark.usefixtures("other_agent_secret")
def test_wrong_agent_secret_is_refused(lab_: PortainerLab) -> None:
    number = lab_.endpoint()["Id"]
    status, answer = lab_.api("GET", f"/endpoints/{number}/docker/containers/json")
    assert status >= 400, (status, answer)
    run = lab_.site.project.run("deploys/verify.py")
    assert run.returncode == 1, run.explain()
    assert f"Portainer's endpoint {lab_.endpoint_name}" in run.output, run.explain()
    assert "first cause: http" in run.output, run.explain()


def test_changed_password_is_explained_and_nothing_is_lost(lab_: PortainerLab) -> None:
    """The secret says another password than Portainer's data, and the key is gone: no way in."""
    site, before = lab_.site, lab_.running()
    rows = lab_.get("/stacks"), lab_.get("/endpoints?excludeSnapshots=true")
    password = site.secrets["portainer_admin_password"]
    site.sh(lab_.server, f"mv {API_KEY_FILE} {API_KEY_FILE}.kept", ok=True)
    try:
        run = site.project.run(
            "deploys/portainer.py",
            environment={"PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD": "quite-another-password"},
        )
        assert run.returncode == 1, run.explain()
        for words in ("the given password do not log in", "give the password it was made with"):
            assert words in run.output, run.explain()
        assert "Traceback" not in run.output, run.explain()
        assert "quite-another-password" not in run.output, run.explain()
    finally:
        site.sh(lab_.server, f"mv {API_KEY_FILE}.kept {API_KEY_FILE}", ok=True)
        repair_run = site.project.run("deploys/portainer.py")
    assert repair_run.returncode == 0, repair_run.explain()
    assert (lab_.get("/stacks"), lab_.get("/endpoints?excludeSnapshots=true")) == rows
    for project in (lab_.qdrant, lab_.app):
        assert lab_.containers(project) == before[project]
    status, answer = lab_.login(password)
    assert status == 200, answer


NEWER = "phoenix-lab-portainer:2.40.0"
BROKEN = "phoenix-lab-portainer:2.41.0"
_PROGRAM = "python3 -m portainer_emulator --version"
_FILES = "--sslcert /certificates/host/fullchain.pem --sslkey /certificates/host/privkey.pem"


DATABASE = f"$(docker volume inspect -f '{{{{.Mountpoint}}}}' {SERVER_VOLUME})/portainer.db"
KEPT = "/var/lib/phoenix/trees/portainer/database/portainer.db"


def schema(lab_: PortainerLab) -> str:
    """The version whose server has migrated the database last."""
    return str(json.loads(lab_.site.sh(lab_.server, f"cat {DATABASE}", ok=True).out)["schema"])


def put_back(lab_: PortainerLab, file: str) -> None:
    """A person's way back to an earlier database."""
    unit = "phoenix-portainer.service"
    lab_.site.sh(lab_.server, f"systemctl stop {unit}; cp {file} {DATABASE}", ok=True)


@pytest.fixture
def images(lab_: PortainerLab) -> Iterator[None]:
    """Newer servers on Portainer's guest: one that works, one that migrates and is not reached."""
    site, run = lab_.site, lab_.site.project.run("deploys/portainer.py")
    assert run.returncode == 0, run.explain()
    entries = {
        NEWER: ["python3", "-m", "portainer_emulator", "--version", "2.40.0", "server"],
        BROKEN: ["sh", "-c", f"{_PROGRAM} 2.41.0 server --bind-https 127.0.0.1:9 {_FILES}"],
    }
    for image, entry in entries.items():
        change = shlex.quote(f"ENTRYPOINT {json.dumps(entry)}")
        site.sh(lab_.server, f"docker commit --change {change} portainer {image}", ok=True)
    site.sh(lab_.server, f"cp {DATABASE} /root/it-portainer.db", ok=True)
    yield
    put_back(lab_, "/root/it-portainer.db")
    run = site.project.run("deploys/portainer.py", "deploys/stacks.py")
    site.sh(lab_.server, f"docker rmi {NEWER} {BROKEN}")
    assert run.returncode == 0, run.explain()
    lab_.assert_serving()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("images")
def test_an_upgrade_is_taken_back_with_its_database_and_a_downgrade_is_refused(
    lab_: PortainerLab,
) -> None:
    site, before = lab_.site, lab_.get("/system/status")["Version"]
    rows = lab_.get("/stacks")
    # How long a server is waited for is for slow disks; that it ends, and how, is tried here.
    impatient = site.project.variant("impatient-server")
    seconds = f"health=database.answers,\n        deadline={round(15 * deadline_factor())}"
    impatient.replace(
        "deploys/portainer_trees.py", "health=database.answers,\n        deadline=120", seconds
    )
    run = impatient.run("deploys/portainer.py", data={"portainer_image": BROKEN})
    assert run.returncode == 1, run.explain()
    assert "the previous configuration serves again" in run.output, run.explain()
    assert (lab_.get("/system/status")["Version"], schema(lab_)) == (before, before)
    assert lab_.get("/stacks") == rows

    run = site.project.run("deploys/portainer.py", data={"portainer_image": NEWER})
    assert run.returncode == 0, run.explain()
    assert (lab_.get("/system/status")["Version"], schema(lab_)) == ("2.40.0", "2.40.0")
    # The lab's own image has no version in its tag: the server itself has to refuse, at once.
    run = site.project.run("deploys/portainer.py")
    assert run.returncode == 1, run.explain()
    assert "The database schema version does not align" in run.output, run.explain()
    assert lab_.get("/system/status")["Version"] == "2.40.0"
    put_back(lab_, KEPT)  # the way back that a refusal by the tag tells
    run = site.project.run("deploys/portainer.py")
    assert run.returncode == 0, run.explain()
    assert (lab_.get("/system/status")["Version"], schema(lab_)) == (before, before)
    assert lab_.get("/stacks") == rows
