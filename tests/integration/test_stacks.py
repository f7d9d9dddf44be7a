"""Stacks: one is changed alone, hands are undone, pruned ones keep their data, faults are named."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import shlex
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from phoenix.components.traefik.traefik_yml import DYNAMIC
from phoenix.components.trust import ROOTS
from phoenix.derived.certificates import HOST_PAIRS, stack_directory
from phoenix.site.names import SERVER_VOLUME
from phoenix.site.secret_names import BACKUP_KEY
from tests.integration.load import load
from tests.integration.portainer_lab import PortainerLab, planned
from tests.integration.project import Project, Run, deadline_factor
from tests.integration.site_lab import SiteLab, print_figure
from tests.integration.test_certificates import LEGO
from tests.integration.test_secrets import logs_with, process_lists

DATABASE_PASS = "PHOENIX_SECRET_THINKHEADS_AI_APP_DATABASE_PASS"
STACKS = "deploys/stacks.py"
MARK = '    init: true\n    restart: unless-stopped\n    ports:\n      - "${QDRANT_HTTP_PORT}'


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> Iterator[PortainerLab]:
    """The converged lab; after the module a run puts everything back."""
    lab = PortainerLab(site)
    yield lab
    run = site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    lab.assert_serving()


def changed(run: Run) -> list[str]:
    """Names of the operations that changed something, all on the agent's host."""
    return [name.rpartition(" | ")[2] for name, _ in run.other_changes]


def test_deploy_works_alone(lab_: PortainerLab) -> None:
    before = lab_.running()
    run = lab_.site.project.run(STACKS, "--limit", lab_.agent)
    assert run.returncode == 0, run.explain()
    assert {host for _, host in run.pairs("no_change")} == {lab_.agent}, run.explain()
    assert run.changes == []
    assert lab_.running() == before


def test_edited_compose_file_changes_that_stack_alone(lab_: PortainerLab, variant: Project) -> None:
    before = lab_.running()
    file = "stacks/qdrant_service/docker-compose.yml"
    variant.replace(file, MARK, f"    labels: {{it: edited}}\n{MARK}")
    run = variant.run(STACKS, "--diff")
    assert run.returncode == 0, run.explain()
    assert changed(run) == [f"Stack {lab_.qdrant}"]
    assert "+    labels: {it: edited}" in run.output, run.explain()
    after = lab_.running()
    assert after[lab_.qdrant] != before[lab_.qdrant]
    assert {**after, lab_.qdrant: before[lab_.qdrant]} == before, "another one was touched"
    assert lab_.stack_file(lab_.qdrant) == (variant.path / file).read_text()
    again = variant.run(STACKS)
    assert again.changes == [], again.explain()
    lab_.assert_serving()


@pytest.mark.usefixtures("former_values_return")
def test_changed_secret_changes_that_stack_alone_and_leaks_nowhere(lab_: PortainerLab) -> None:
    site, planted = lab_.site, f"it-{secrets.token_hex(16)}"
    site.project.run(STACKS)  # whatever an earlier test left
    before = lab_.running()
    site.sh(lab_.agent, f"logger -t phoenix-it control-{planted[3:11]}", ok=True)
    with process_lists(site) as lines:
        run = site.project.run(
            "deploys/all.py", "-vvv", "--diff", environment={DATABASE_PASS: planted}
        )
    assert run.returncode == 0, run.explain()
    assert changed(run) == [f"Stack {lab_.app}"]
    after = lab_.running()
    assert {**after, lab_.app: before[lab_.app]} == before, "another one was touched"
    inside = site.sh(lab_.agent, f"docker exec {lab_.container_of(lab_.app).name} env", ok=True).out
    assert f"DATABASE_PASS={planted}\n" in inside, "it was not used, so this test proves nothing"
    stored = site.secrets
    debug = Path(site.project.path, "pyinfra-debug.log")
    places = {
        "output": run.output,
        "process list": "\n".join(lines),
        "pyinfra-debug.log": debug.read_text() if debug.exists() else "",
    }
    assert "env DATABASE_PASS changed (value masked)" in run.output, run.explain()
    assert logs_with(site, lab_.agent, f"control-{planted[3:11]}"), "the log search finds nothing"
    key = site.sh(lab_.server, "cut -d' ' -f2 /etc/phoenix/portainer-api.header", ok=True).out
    names = ("portainer_admin_password", "portainer_agent_secret")
    for secret in (planted, key.strip(), *(stored[name] for name in names)):
        assert len(secret) > 15, "too short to be searched for"
        for place, text in places.items():
            assert secret not in text, f"the secret is in the {place}"
        for host in site.state.hosts:
            assert logs_with(site, host, secret) == "", f"the secret is in a log of {host}"


@pytest.fixture
def drift(lab_: PortainerLab) -> None:
    """A stack edited in Portainer's pages, a stack stopped there."""
    run = lab_.site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    edited = lab_.stack_file(lab_.qdrant) + "# by hand\n"
    env = lab_.stack(lab_.qdrant)["Env"]
    body = {"StackFileContent": edited, "Env": env, "Prune": False}
    lab_.change_stack(lab_.qdrant, "PUT", body=body)
    assert lab_.stack_file(lab_.qdrant).endswith("# by hand\n")
    lab_.change_stack(lab_.app, "POST", "/stop")
    assert lab_.containers(lab_.app) == {}


def plan_of(run: Run) -> dict[str, list[str]]:
    """Operation -> hosts that it would change; two hosts' stacks may be one operation's."""
    assert run.returncode == 0, run.explain()
    start = run.output.index('{"plan"')
    plan = json.JSONDecoder().raw_decode(run.output[start:])[0]["plan"]
    return {
        name: change["hosts_with_change"]
        for change in plan
        if change["hosts_with_change"]
        for name in change["names"]
    }


@pytest.mark.usefixtures("drift")
def test_what_hands_did_is_seen_named_and_put_back(lab_: PortainerLab) -> None:
    """Verify names the stopped stack, a dry run shows both, a run fixes both."""
    verify = lab_.site.project.run("deploys/verify.py")
    assert verify.returncode == 1, verify.explain()
    first = f"first cause: service: containers of {lab_.app}: there are none"
    assert first in verify.output, verify.explain()
    assert f"the stack {lab_.app} on drphoenix in Portainer: is 2" in verify.output, (
        verify.explain()
    )

    before = lab_.running()
    dry, requests = lab_.sent_by(lambda: planned(lab_.site.project, STACKS))
    assert plan_of(dry) == {
        f"Stack {lab_.qdrant}": [lab_.agent], f"Stack {lab_.app}": [lab_.agent],
    }  # fmt: skip
    for words in (
        f"stack {lab_.qdrant}: update: the compose file differs",
        "-# by hand",
        f"stack {lab_.app}: start",
    ):
        assert words in dry.output, dry.explain()
    assert {request[0] for request in requests} == {"GET"}, requests
    assert lab_.running() == before

    run = lab_.site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    assert set(changed(run)) == {f"Stack {lab_.qdrant}", f"Stack {lab_.app}"}
    assert "by hand" not in lab_.stack_file(lab_.qdrant)
    assert lab_.site.project.run(STACKS).changes == []
    lab_.assert_serving()


def test_container_removed_by_hand_comes_back(lab_: PortainerLab) -> None:
    lab_.wait_well()
    other = lab_.containers(lab_.app)
    lab_.site.sh(lab_.agent, f"docker rm -f {lab_.container_of(lab_.qdrant).name}", ok=True)
    dry = planned(lab_.site.project, STACKS)
    assert plan_of(dry) == {f"Stack {lab_.qdrant}": [lab_.agent]}
    assert "service qdrant has no container" in dry.output, dry.explain()
    run = lab_.site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    assert changed(run) == [f"Stack {lab_.qdrant}"]
    assert lab_.container_of(lab_.qdrant).health == "healthy"
    assert lab_.containers(lab_.app) == other


def test_a_deleted_endpoint_comes_back_with_its_stacks(lab_: PortainerLab) -> None:
    """Deleted in Portainer's pages: planned, repaired, and no container is touched."""
    site = lab_.site
    lab_.wait_well()
    before, old = lab_.running(), lab_.endpoint()["Id"]
    rows = {row["Name"]: row["Id"] for row in lab_.get("/stacks")}
    status, answer = lab_.api("DELETE", f"/endpoints/{old}")
    assert status == 204, answer
    dry = planned(site.project, "deploys/portainer.py")
    for project in (lab_.qdrant, lab_.app):
        words = f"stack {project}, whose environment was deleted in Portainer, is associated"
        assert words in dry.output, dry.explain()
    run = site.project.run("deploys/portainer.py", STACKS)
    assert run.returncode == 0, run.explain()
    assert lab_.endpoint()["Id"] != old
    associated = {row["Name"]: row["Id"] for row in lab_.get("/stacks")}
    assert associated == rows, "associated, not made again"
    assert {row["EndpointId"] for row in lab_.get("/stacks")} == {lab_.endpoint()["Id"]}
    assert lab_.running() == before
    again = site.project.run("deploys/portainer.py", STACKS)
    assert again.other_changes == [], again.explain()
    lab_.assert_serving()


def test_a_compose_file_that_the_server_lost_is_put_back(lab_: PortainerLab) -> None:
    site = lab_.site
    content, other = lab_.stack_file(lab_.qdrant), lab_.containers(lab_.app)
    volumes = set(site.sh(lab_.agent, "docker volume ls -q", ok=True).out.split())
    where = site.sh(
        lab_.server, f"docker volume inspect -f '{{{{.Mountpoint}}}}' {SERVER_VOLUME}", ok=True
    ).out.strip()
    number = lab_.stack(lab_.qdrant)["Id"]
    site.sh(lab_.server, f"rm {where}/compose/{number}/docker-compose.yml", ok=True)
    dry = planned(site.project, STACKS)
    assert "the server has lost the compose file" in dry.output, dry.explain()
    run = site.project.run(STACKS)
    assert run.returncode == 0, run.explain()
    assert changed(run) == [f"Stack {lab_.qdrant}"]
    assert lab_.stack_file(lab_.qdrant) == content
    after = set(site.sh(lab_.agent, "docker volume ls -q", ok=True).out.split())
    assert volumes <= after, "volumes stay; one without a name is made anew beside the old"
    assert lab_.containers(lab_.app) == other
    assert site.project.run(STACKS).changes == []
    lab_.assert_serving()


def test_a_renamed_service_takes_over_its_port(lab_: PortainerLab, variant: Project) -> None:
    """Both names publish the same port: the old container goes first, and none is left over."""
    file = "stacks/qdrant_service/docker-compose.yml"
    text = (variant.path / file).read_text()
    assert text.count("\n  qdrant:\n") == 1
    variant.write(file, text.replace("\n  qdrant:\n", "\n  vectors:\n"))
    manifest = "stacks/qdrant_service/phoenix.json"
    named = (variant.path / manifest).read_text()
    variant.write(manifest, named.replace('"qdrant": {', '"vectors": {'))
    run = variant.run(STACKS)
    assert run.returncode == 0, run.explain()
    assert "the compose file has no service qdrant any more" in run.output, run.explain()
    assert [name.split("-")[-2] for name in lab_.containers(lab_.qdrant)] == ["vectors"]
    back = lab_.site.project.run(STACKS)
    assert back.returncode == 0, back.explain()
    assert lab_.container_of(lab_.qdrant).health == "healthy"
    lab_.assert_serving()


EXTRA_COMPOSE = """\
services:
  extra:
    image: "{image}"
    command: ["sleep", "infinity"]
    init: true
    stop_signal: SIGTERM
    volumes: ["kept:/kept"]
volumes:
  kept:
"""


def test_pruned_by_name_alone_and_its_volume_stays(lab_: PortainerLab, variant: Project) -> None:
    site, name = lab_.site, "it_extra-production"
    volume, present = f"{name}_kept", "docker volume ls -q --filter name=it_extra"
    folder = variant.path / "stacks/it_extra"
    folder.mkdir()
    image = site.state.images["app"]
    (folder / "docker-compose.yml").write_text(EXTRA_COMPOSE.format(image=image))
    variant.write_json("stacks/it_extra/phoenix.json", {"environments": {"production": {}}})
    file = "inventories/phoenix_vm_configs.json"
    declared = variant.json(file)
    (worker,) = [vm for vm in declared["vms"] if vm.get("docker_stacks")]
    worker["docker_stacks"].append("it_extra")
    variant.write_json(file, declared)
    run = variant.run(STACKS)
    assert run.returncode == 0, run.explain()
    assert changed(run) == [f"Stack {name}"]
    container = lab_.container_of(name)

    forgotten = site.project.run(STACKS)
    assert forgotten.returncode == 0, forgotten.explain()
    assert lab_.container_of(name) == container, (
        "it left the configuration, and nobody said: remove it"
    )

    both = variant.run(STACKS, data={"stacks_prune": json.dumps([name])})
    assert both.returncode == 1, both.explain()
    assert "remove it from one of the two" in both.output, both.explain()
    assert lab_.container_of(name) == container

    pruned = site.project.run(STACKS, data={"stacks_prune": json.dumps([name])})
    assert pruned.returncode == 0, pruned.explain()
    assert changed(pruned) == [f"Stack {name} is gone"]
    assert lab_.containers(name) == {}
    assert name not in [row["Name"] for row in lab_.get("/stacks")]
    assert site.sh(lab_.agent, present, ok=True).out.strip() == volume
    site.sh(lab_.agent, f"docker volume rm {volume}", ok=True)


def test_stopped_agent_is_named(lab_: PortainerLab) -> None:
    unit = "phoenix-portainer-agent.service"
    lab_.site.sh(lab_.agent, f"systemctl stop {unit}", ok=True)
    try:
        run = lab_.site.project.run("deploys/verify.py")
    finally:
        lab_.site.sh(lab_.agent, f"systemctl start {unit}", ok=True)
    assert run.returncode == 1, run.explain()
    first = f"first cause: service: Portainer's agent ({unit}): is "
    assert first in run.output, run.explain()
    lab_.assert_serving()
    lab_.eventually(
        "the agent answers Portainer again",
        lambda: lab_.api("GET", f"/endpoints/{lab_.endpoint()['Id']}/docker/_ping")[0] == 200,
    )


# -- backups by a timer ----------------------------------------------------------------------------

TARGET = "/srv/it-backups"


@pytest.fixture
def backed_up(lab_: PortainerLab, variant: Project) -> Iterator[Project]:
    """The site with backups into a folder of each host; afterwards nothing of them is left."""
    file = "inventories/phoenix_lxc_configs.json"
    declared = variant.json(file)
    declared.setdefault("site", {})["backups"] = {"target": TARGET}
    variant.write_json(file, declared)
    manifest = "stacks/qdrant_service/phoenix.json"
    stack = variant.json(manifest)
    stack["environments"]["production"]["backup"] = {}
    variant.write_json(manifest, stack)
    yield variant
    for name in ("it_kept", "it_newer"):
        lab_.site.qdrant(f"/collections/{name}", "-X", "DELETE")
    apply = "/var/lib/phoenix/trees/restic/current/apply"
    for host in lab_.site.site.hosts:
        clean = f"[ ! -e {apply} ] || sh {apply} remove && rm -rf {TARGET} /var/lib/phoenix-backup"
        lab_.site.sh(host.name, clean, ok=True)
    lab_.site.project.phoenix("remove", BACKUP_KEY, "-y")


def test_a_lost_volume_comes_back_as_it_was_at_a_moment(
    lab_: PortainerLab, backed_up: Project
) -> None:
    site, part = lab_.site, f"stack:{lab_.qdrant}"

    def phoenix(*words: str, code: int = 0) -> dict[str, Any]:
        done = backed_up.phoenix(*words, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def collections() -> set[str]:
        collections_there = json.loads(site.qdrant("/collections").body)["result"]["collections"]
        return {row["name"] for row in collections_there}

    def add(name: str) -> None:
        put = ("-X", "PUT", "-H", "Content-Type: application/json", "-d", '{"size": 4}')
        assert site.qdrant(f"/collections/{name}", *put).status == 200

    phoenix("sync", "restic")
    again = phoenix("sync", "restic")
    assert {host["host"]: host["changed"] for host in again["hosts"] if host["changed"]} == {}
    add("it_kept")
    phoenix("backup", "now")
    phoenix("backup", "prove")
    listed = phoenix("backup", "list")["parts"]
    assert [row["part"] for row in listed] == ["ca", "portainer", part]
    assert all(row["proven_snapshot"] == row["snapshot"] for row in listed), listed
    for not_restored in ("ca", "portainer"):  # what stands there is theirs, and newer
        result = phoenix("restore", "--at", "latest", not_restored)
        assert {at["host"]: at["changed"] for at in result["hosts"] if at["changed"]} == {}
    at = datetime.now().astimezone().isoformat()
    add("it_newer")
    phoenix("backup", "now")
    print_figure(
        "snapshots",
        {row["part"]: len(row["snapshots"]) for row in phoenix("backup", "list")["parts"]},
    )

    name, volume = lab_.container_of(lab_.qdrant).name, f"{lab_.qdrant}_qdrant_data"
    site.sh(lab_.agent, f"docker rm -f {name} && docker volume rm {volume}", ok=True)
    phoenix("restore", "--at", at, part)
    run = backed_up.run(STACKS)
    assert run.returncode == 0, run.explain()
    lab_.eventually("it serves what was backed up", lambda: "it_kept" in collections())
    assert "it_newer" not in collections()
    refused = backed_up.phoenix("restore", "--at", "latest", part)
    assert refused.returncode == 1
    assert "--replace" in refused.stdout + refused.stderr
    phoenix("restore", "--at", "latest", part, "--replace")
    lab_.eventually("it serves the newest", lambda: {"it_kept", "it_newer"} <= collections())
    site.sh(lab_.agent, f"ls /var/lib/phoenix-backup/before/{part}.*/qdrant_data", ok=True)

    site.sh(lab_.agent, f"mv {TARGET} {TARGET}.gone", ok=True)
    failed = backed_up.phoenix("backup", "now")
    assert failed.returncode == 1
    assert "Is there a repository at the following location?" in failed.stdout + failed.stderr
    doctor = backed_up.phoenix("doctor", lab_.agent)
    assert "no other is begun in its place" in doctor.stdout, doctor.stdout + doctor.stderr
    site.sh(lab_.agent, f"rm -rf {TARGET} && mv {TARGET}.gone {TARGET}", ok=True)
    password = site.sh(lab_.agent, "cat /etc/phoenix/backup.password", ok=True).out.strip()
    assert password not in site.sh(lab_.agent, "journalctl -q --no-pager -b").out
    lab_.assert_serving()


SFTP_USER, SFTP_FOLDER = "it-backups", "/srv/it-sftp"
DATABASE = "/qdrant/storage/it.db"
WRITE = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
READ = (
    "import json, sqlite3, sys; print(json.dumps(sqlite3.connect(sys.argv[1])"
    ".execute('SELECT text FROM notes ORDER BY rowid').fetchall()))"
)
DUMP = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).iterdump(), sep=chr(10))"
LOAD = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())"


@pytest.fixture
def to_sftp(lab_: PortainerLab, backed_up: Project, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`phoenix` on a site that backs up to an SFTP server: the secrets, and a stack's dump.

    The server allows its user SFTP alone.
    """
    site, server = lab_.site, "hypervisor"
    for name in ("login", "reader"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(words, check=True)
    file, manifest = "inventories/phoenix_lxc_configs.json", "stacks/qdrant_service/phoenix.json"
    declared, stack = backed_up.json(file), backed_up.json(manifest)
    host_key = site.sh(server, "cat /etc/ssh/ssh_host_ed25519_key.pub", ok=True).out
    declared["site"]["backups"] = {
        "target": f"sftp://{SFTP_USER}@{site.address(server)}{SFTP_FOLDER}",
        "sftp_host_key": " ".join(host_key.split()[:2]),
        "secrets_for": [(tmp_path / "reader.pub").read_text().strip()],
    }
    stack["environments"]["production"]["backup"] = {
        "volumes": [],
        "dumps": [
            {
                "service": "qdrant",
                "command": ["python3", "-c", DUMP, DATABASE],
                "load": ["python3", "-c", LOAD, DATABASE],
            }
        ],
    }
    backed_up.write_json(file, declared)
    backed_up.write_json(manifest, stack)
    home = f"/var/lib/{SFTP_USER}"
    allowed = f'restrict,command="internal-sftp" {(tmp_path / "login.pub").read_text()}'
    site.sh(server, f"useradd -m -d {home} -p '*' {SFTP_USER} && install -d -m 700 -o {SFTP_USER} "
                    f"{home}/.ssh {SFTP_FOLDER}", ok=True)  # fmt: skip
    site.put(server, f"{home}/.ssh/authorized_keys", allowed)

    def phoenix(*words: str, code: int = 0) -> Any:
        login = {"PHOENIX_SECRET_BACKUP_SSH_KEY_FILE": str(tmp_path / "login")}
        done = backed_up.phoenix(*words, "--json", environment=login)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    try:
        phoenix("sync", "guard", "restic")
        yield phoenix
    finally:
        site.sh(server, f"userdel -r {SFTP_USER} 2>/dev/null; rm -rf {SFTP_FOLDER}")
        site.sh(lab_.agent, "rm -rf /root/it-restored")
        inside(lab_, lab_.qdrant, f"rm -f {DATABASE}")
        done = site.project.phoenix("sync", "guard")
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_and_a_dump_come_back_from_an_sftp_server(
    lab_: PortainerLab, to_sftp: Callable[..., Any], tmp_path: Path
) -> None:
    """By Phoenix, and by restic, age and SQLite alone, with what the documentation says."""
    site, part = lab_.site, f"stack:{lab_.qdrant}"
    rows = [("first",), ("it's the second",)]
    script = "CREATE TABLE notes(text); INSERT INTO notes VALUES ('first'), ('it''s the second');"
    inside(lab_, lab_.qdrant, shlex.join(["python3", "-c", WRITE, DATABASE, script]))
    again = to_sftp("sync", "guard", "restic")
    assert {host["host"]: host["changed"] for host in again["hosts"] if host["changed"]} == {}
    to_sftp("backup", "now")
    to_sftp("backup", "prove")
    listed = to_sftp("backup", "list")["parts"]
    assert [row["part"] for row in listed] == ["ca", "secrets", "portainer", part]
    assert all(row["proven_snapshot"] == row["snapshot"] for row in listed), listed

    def by_restic(host: str, tag: str, path: str) -> str:
        """What restic itself restores of a host's repository, with the secret alone."""
        key = site.secrets[BACKUP_KEY].encode()
        password = hmac.digest(key, b"phoenix backup " + host.encode(), "sha256").hex()
        site.put(lab_.agent, "/root/it-restored/password", password)
        reach = (
            f"ssh -F /dev/null -i /etc/phoenix/backup.ssh -o StrictHostKeyChecking=no "
            f"-o UserKnownHostsFile=/dev/null {SFTP_USER}@{site.address('hypervisor')} -s sftp"
        )
        words = ["restic", "-o", f"sftp.command={reach}",
                 "-r", f"sftp:{SFTP_USER}@{site.address('hypervisor')}:{SFTP_FOLDER}/{host}",
                 "--password-file", "/root/it-restored/password", "restore", "latest", "--tag", tag,
                 "--target", f"/root/it-restored/{host}"]  # fmt: skip
        site.sh(lab_.agent, shlex.join(words), ok=True)
        return site.sh(
            lab_.agent, f"base64 -w 0 /root/it-restored/{host}/var/lib/phoenix-backup/copy/{path}",
            ok=True,
        ).out  # fmt: skip

    dump = base64.b64decode(by_restic(lab_.agent, part, f"{part}/dumps/qdrant")).decode()
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(dump)
        assert database.execute("SELECT text FROM notes ORDER BY rowid").fetchall() == rows
    escrow = by_restic(site.roles["ca"], "secrets", "secrets/data/secrets/secrets.age")
    site.put("client", "/root/it-escrow/secrets.age", base64.b64decode(escrow))
    site.put("client", "/root/it-escrow/reader", (tmp_path / "reader").read_text(), mode=0o600)
    age = "apt-get -qq update && apt-get install -qq -y --no-install-recommends age"
    site.sh("client", f"DEBIAN_FRONTEND=noninteractive sh -c '{age}'", ok=True)
    opened = site.sh("client", "cd /root/it-escrow && age -d -i reader secrets.age", ok=True).out
    assert json.loads(opened) == site.secrets
    assert site.secrets["portainer_admin_password"] not in base64.b64decode(escrow).decode(
        errors="replace"
    )
    site.sh("client", "rm -rf /root/it-escrow", ok=True)

    inside(lab_, lab_.qdrant, f"rm -f {DATABASE}")
    to_sftp("restore", "--at", "latest", part)
    read = inside(lab_, lab_.qdrant, shlex.join(["python3", "-c", READ, DATABASE]))
    assert json.loads(read) == [list(row) for row in rows]
    store, stored = site.settings.directory / "secrets.json", site.secrets
    content = store.read_bytes()
    store.unlink()
    try:
        to_sftp("restore", "--at", "latest", "secrets", "-k", str(tmp_path / "reader"))
        assert site.secrets == stored
        assert store.stat().st_mode & 0o777 == 0o600
    finally:
        store.write_bytes(content)
        store.chmod(0o600)

    known = "/etc/phoenix/backup.known_hosts"
    other = (tmp_path / "reader.pub").read_text().split()[1]
    site.sh(lab_.agent, f"cp -p {known} /root/it-restored/ && "
            f"sed -i 's,ssh-ed25519 .*,ssh-ed25519 {other},' {known}", ok=True)  # fmt: skip
    failed = site.sh(lab_.agent, "phoenix-backup run")
    site.sh(lab_.agent, f"cp -p /root/it-restored/backup.known_hosts {known}", ok=True)
    assert failed.code == 1, failed.text
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in failed.text


# -- stacks are apart ------------------------------------------------------------------------------

HOST_KEY = f"{HOST_PAIRS}/host/privkey.pem"
IMPOSTOR = "phoenix-it-impostor"


def key_of(project: str) -> str:
    return f"{stack_directory(project)}/privkey.pem"


def line_of(lab_: PortainerLab, path: str) -> str:
    """A line of a key's PEM that no other key has."""
    return lab_.site.sh(lab_.agent, f"sed -n 2p {path}", ok=True).out.strip()


def inside(lab_: PortainerLab, project: str, command: str) -> str:
    name = lab_.container_of(project).name
    return lab_.site.sh(lab_.agent, f"docker exec {name} sh -c {shlex.quote(command)}").out


def test_a_stack_sees_no_other_key_or_secret(lab_: PortainerLab) -> None:
    """As root in each container: every file of it, its variables, and what it may write to."""
    everywhere = ["/proc", "/sys"]
    for project, other in ((lab_.app, lab_.qdrant), (lab_.qdrant, lab_.app)):
        own = line_of(lab_, key_of(project))
        others = [line_of(lab_, path) for path in (HOST_KEY, key_of(other))]
        assert all(len(line) > 40 for line in (own, *others)), "too short to be searched for"
        look = "grep -rlF" + "".join(f" --exclude-dir={path[1:]}" for path in everywhere)
        file = inside(lab_, project, f"{look} -e {shlex.quote(own)} / 2>/dev/null")
        assert "/tls/" in file, f"the search of {project} does not even find its own key: {file}"
        for line in others:
            file = inside(lab_, project, f"{look} -e {shlex.quote(line)} / 2>/dev/null")
            assert file == "", f"{project} reads another key at {file}"
        assert inside(lab_, project, "touch /tls/x 2>/dev/null && echo written") == ""
    stored = lab_.site.secrets
    own_secrets = {
        lab_.app: "thinkheads_ai_app_database_pass",
        lab_.qdrant: "qdrant_service_api_key",
    }
    for project, own in own_secrets.items():
        seen_inside = inside(lab_, project, "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'")
        assert stored[own] in seen_inside, "not even its own secret is seen"
        for name, value in stored.items():
            assert name == own or value not in seen_inside, f"{project} has {name}"


def impostor(lab_: PortainerLab, project: str) -> str:
    """What a client gets for Qdrant while a container with `project`'s pair has its port."""
    site, stack = lab_.site, lab_.stacks["qdrant_service"]
    (route,) = [service for service in site.backends if service.service.name == "qdrant"]
    victim = lab_.container_of(stack.project).name
    site.sh(lab_.agent, f"docker stop {victim}", ok=True)
    try:
        site.sh(
            lab_.agent,
            f"docker run -d --name {IMPOSTOR} -p {route.service.port}:9999 "
            f"-v {stack_directory(project)}:/tls:ro {site.state.images['app']} "
            "python3 -m lab.standin impostor=9999",
            ok=True,
        )
        direct = site.sh(
            lab_.agent,
            f"curl -sk --retry 20 --retry-all-errors --retry-delay 1 --max-time 30 "
            f"https://127.0.0.1:{route.service.port}/",
        ).out
        assert "impostor" in direct, f"nobody stands in Qdrant's place: {direct}"
        return site.curl(f"https://{route.fqdn}/").body
    finally:
        site.sh(lab_.agent, f"docker rm -f {IMPOSTOR}; docker start {victim}", ok=True)
        lab_.wait_well()


def test_a_stack_cannot_pass_for_another(lab_: PortainerLab) -> None:
    """With its own pair at the other's place it gets no request; with the other's it would."""
    assert "impostor" in impostor(lab_, lab_.qdrant), "the attack itself does not work"
    assert "impostor" not in impostor(lab_, lab_.app)
    lab_.assert_serving()


def test_a_stack_gets_no_certificate_for_another_s_name(lab_: PortainerLab) -> None:
    """From a container's network, which reaches the CA, by the site's own ACME client."""
    site, domain = lab_.site, lab_.site.site.domain
    name = lab_.container_of(lab_.app).name
    pid = site.sh(lab_.agent, f"docker inspect -f '{{{{.State.Pid}}}}' {name}", ok=True).out.strip()
    for name_of_another in ("qdrant.stack", f"{lab_.agent}.host", "app"):
        order = LEGO.format(
            root=ROOTS, directory=f"https://ca.{domain}:9000/acme/acme/directory", domain=domain,
            name=f"{name_of_another}.{domain}",
        ).replace("timeout 60", f"timeout {min(25, 6 * deadline_factor()):.0f}")  # fmt: skip
        done = site.sh(lab_.agent, f"nsenter -t {pid} -n sh -c {shlex.quote(order)}")
        assert done.code != 0, done.text
        assert "BEGIN CERTIFICATE" not in done.text
        assert "acme" in done.text, f"the CA was not even asked: {done.text}"


def as_before(lab_: PortainerLab, project: str, names: dict[str, str]) -> None:
    """By hand, in Portainer: the stack mounts the pair of its host, as it did before."""
    text = lab_.stack_file(project)
    for new, old in names.items():
        assert new in text, (new, text)
        text = text.replace(new, old)
    env = [
        {**variable, "value": HOST_PAIRS} if variable["name"] == "PHOENIX_TLS_DIR" else variable
        for variable in lab_.stack(project)["Env"]
    ]
    body = {"StackFileContent": text, "Env": env, "Prune": False}
    lab_.change_stack(project, "PUT", body=body)


def test_stacks_of_an_earlier_release_move_over_without_a_lost_request(lab_: PortainerLab) -> None:
    site, domain = lab_.site, lab_.site.site.domain
    files = {"/tls/fullchain.pem": "/tls/host/fullchain.pem",
             "/tls/privkey.pem": "/tls/host/privkey.pem"}  # fmt: skip
    for project in (lab_.qdrant, lab_.app):
        as_before(lab_, project, files)
    routes = site.sh("traefik", f"readlink -f {DYNAMIC}/phoenix.yml", ok=True).out.strip()
    of_host = site.site.host(lab_.agent).fqdn
    site.sh(
        "traefik", f"sed -i -E 's/(app|qdrant)\\.stack\\.{domain}/{of_host}/' {routes}", ok=True
    )
    site.sh("traefik", "systemctl reload traefik.service", ok=True)
    lab_.wait_well()
    lab_.eventually("the old way serves", lambda: set(lab_.serving().values()) == {200})
    mounts = "docker ps -q --filter volume=/etc/phoenix/tls"
    assert len(site.sh(lab_.agent, mounts, ok=True).out.split()) == 2

    with load(site, "app") as app, load(site, "qdrant") as qdrant:
        run = site.project.run("deploys/all.py")
        assert run.returncode == 0, run.explain()
        for requests in (app, qdrant):
            requests.wait_for(51)
    for requests in (app, qdrant):
        print_figure("answers under load", dict(requests.answers()))
        assert requests.failures() == {}
    assert site.sh(lab_.agent, mounts, ok=True).out == "", "a stack still reads the host's pair"
    names = site.sh(
        lab_.agent, f"openssl x509 -in {HOST_PAIRS}/host/fullchain.pem -noout -ext subjectAltName"
    ).out
    assert "stack" not in names, names
    assert of_host in names
    again = site.project.run("deploys/all.py")
    assert again.changes == [], again.explain()
