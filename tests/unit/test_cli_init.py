"""`phoenix init`: a folder that is a site, from questions, from none, or from a Proxmox VE host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from phoenix.cli import project
from phoenix.cli.app import app
from phoenix.cli.exits import CommandError, StoppedError
from phoenix.cli.init import init
from phoenix.cli.new_site import contents, folder, hypervisor, questions
from phoenix.cli.new_site.answers import role_of
from phoenix.declaration.load import LXC_FILE, VM_FILE
from tests.unit.project_copy import ROOT, phoenix


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret and no program of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PHOENIX_SITE", raising=False)
    monkeypatch.delenv("PHOENIX_INVENTORY", raising=False)
    monkeypatch.delenv("PHOENIX_ENVIRONMENT", raising=False)


def new_site(site: Path, *words: str, code: int = 0) -> dict[str, Any]:
    result = phoenix("init", site, "--defaults", "--json", *words)
    assert result.exit_code == code, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def tree(site: Path) -> dict[str, str]:
    files = (path for path in site.rglob("*") if path.is_file())
    return {str(file.relative_to(site)): file.read_text() for file in files}


def test_the_examples_of_help_make_a_site(tmp_path: Path) -> None:
    text = re.sub(r" \\\n +", " ", init.__doc__ or "")  # an example may go on in the next line
    examples = [line for line in text.splitlines() if "site --defaults" in line]
    assert len(examples) == 2
    for number, example in enumerate(examples):
        words = example.split()
        site = tmp_path / str(number)
        result = phoenix("init", site, *words[words.index("--defaults") :])
        assert result.exit_code == 0, result.exception


def test_a_role_that_is_missing_is_told_once(tmp_path: Path) -> None:
    result = phoenix(
        "init", tmp_path / "site", "--defaults", "--guest", "ca:step_ca", "--guest", "web:nginx"
    )
    assert result.exit_code == 1
    assert str(result.exception).splitlines() == [
        "nothing was written, the site would not be sound:",
        f"- {LXC_FILE}: no guest has the role traefik",
        f'    fix: add "role": "traefik" to its entry in {LXC_FILE} or {VM_FILE}',
    ]


@pytest.mark.parametrize(
    ("network", "fix"),
    [("10.0.0.5/24", "write 10.0.0.0/24"), ("300.1.1.0/24", "write a network, as 192.168.1.0/24")],
)
def test_what_is_no_network_is_told_with_the_fix(tmp_path: Path, network: str, fix: str) -> None:
    result = phoenix(
        "init", tmp_path / "site", "--defaults", "--network", network,
        environment={"COLUMNS": "200"},
    )  # fmt: skip
    assert result.exit_code == 64
    assert fix in result.stderr


def test_the_next_commands_work_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the folder, where the README goes next: a relative --site would miss it from there."""
    monkeypatch.chdir(tmp_path)
    commands = [step["command"] for step in new_site(Path("my site"))["next"]]
    assert commands[:2] == ["cd 'my site'", "phoenix validate --strict"]
    monkeypatch.chdir(tmp_path / "my site")
    for command in ("phoenix validate --strict", "phoenix graph"):
        assert command in commands
        assert phoenix(*command.split()[1:]).exit_code == 0
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert new_site(Path())["next"][0]["command"] == "phoenix validate --strict"


def test_a_site_without_questions_is_sound(tmp_path: Path) -> None:
    site = tmp_path / "site"
    report = new_site(site, "--domain", "home.example.com", "--network", "10.20.0.0/24")
    assert report["domain"] == "home.example.com"
    assert report["hosts"]["pve"] == "10.20.0.2"
    assert report["secrets"] is None
    assert any("sops is not installed" in note for note in report["notes"])
    assert {"--strict", "plan", "sync"} <= {w for s in report["next"] for w in s["command"].split()}
    result = phoenix("validate", "--strict", "--site", site)
    assert result.exit_code == 0, result.output
    loaded = project.load(site / contents.INVENTORY)
    assert loaded.site.domain == "home.example.com"
    assert {r for host in loaded.site.guests for r in host.roles} == {
        "nginx", "traefik", "step_ca", "portainer", "docker",
    }  # fmt: skip
    assert loaded.settings.step_ca_organisation == "home.example.com"
    assert loaded.secrets.path == tmp_path / "home/.config/phoenix/home.example.com/secrets.json"


def test_every_answer_has_an_option(tmp_path: Path) -> None:
    site = tmp_path / "site"
    report = new_site(
        site, "--network", "172.20.5.0/24", "--gateway", "172.20.5.254", "--hypervisor", "node1",
        "--address", "172.20.5.200", "--guest", "ca:step_ca", "--guest", "front:nginx@172.20.5.80",
        "--guest", "traefik", "--guest", "nas", "--guest", "box:docker",
        "--timezone", "Europe/Vienna", "--organisation", 'The "Lab"',
    )  # fmt: skip
    assert report["hosts"] == {
        "node1": "172.20.5.200", "ca": "172.20.5.10", "front": "172.20.5.80",
        "traefik": "172.20.5.11", "nas": "172.20.5.12", "box": "172.20.5.13",
    }  # fmt: skip
    loaded = project.load(site / contents.INVENTORY)
    assert str(loaded.site.hypervisor.gateway) == "172.20.5.254"
    assert loaded.site.host("nas").roles == frozenset()
    assert loaded.settings.timezone == "Europe/Vienna"
    assert loaded.settings.step_ca_organisation == 'The "Lab"'
    assert phoenix("validate", "--strict", "--site", site).exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--guest", "a:cook"), "'cook' is not a role"),
        (("--guest", "a@10.0.0.5"), "10.0.0.5 is not in the site's network"),
        (("--guest", "a@b"), "'b' is not an IPv4 address"),
        (("--guest", "Not A Name"), "is not a guest"),
        (("--domain", "nodot"), "site.domain"),
        (("--timezone", "Mars/Base"), "timezone"),
        (("--network", "10.0.0.0/30"), "too small"),
        (("--address", "10.0.0.9", "--network", "10.1.0.0/24"), "--address 10.0.0.9 is not in"),
        (("--guest", "one:nginx", "--guest", "two:nginx"), "virtual_address"),
        (("--gateway", "10.0.0.9", "--address", "10.0.0.9"), "10.0.0.9"),
    ],
)
def test_an_answer_that_cannot_be_used_writes_nothing(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    site = tmp_path / "site"
    result = phoenix("init", site, "--defaults", *words)
    assert result.exit_code == 1, result.output
    assert message in str(result.exception), result.exception
    assert not site.exists()


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CommandError, match=r"not empty \(mine.txt\)"):
        folder.check(tmp_path)
    result = phoenix("init", tmp_path, "--defaults")
    assert result.exit_code == 1
    assert tree(tmp_path) == {"mine.txt": "mine"}


def test_a_new_repository_is_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "site" / ".git").mkdir(parents=True)
    new_site(tmp_path / "site")


def test_a_folder_inside_the_code_is_refused() -> None:
    with pytest.raises(CommandError, match="inside the code"):
        folder.check(ROOT / "my-site")


def test_an_interrupted_one_is_finished_with_its_own_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, site = tmp_path / "whole", tmp_path / "site"
    new_site(whole, "--domain", "one.example.com")
    put = folder.write_whole

    def dies(file: Path, text: str) -> None:
        if file.name == "phoenix_lxc_configs.json" and file.is_relative_to(site):
            raise KeyboardInterrupt
        put(file, text)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "write_whole", dies)
        result = phoenix("init", site, "--defaults", "--domain", "one.example.com")
    assert isinstance(result.exception, StoppedError), result.output
    assert (site / folder.JOURNAL).exists()
    assert not (site / contents.INVENTORY).exists()
    (site / contents.SETTINGS).write_text('timezone = "Europe/Vienna"\n')  # edited since
    report = new_site(site, "--domain", "other.example.com")
    assert report["finished"] is True
    assert report["domain"] == "one.example.com"
    expected = tree(whole) | {contents.SETTINGS: 'timezone = "Europe/Vienna"\n'}
    assert tree(site) == expected
    assert phoenix("init", site, "--defaults").exit_code == 1  # it is whole: not empty


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "site")])
    assert result.exit_code == 1
    assert "give --defaults or --from" in str(result.exception)


def test_questions_have_the_defaults_of_the_answers_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [
        "lab.example.com", "no network", "10.9.8.0/24", "", "", "", "-", "front", "", "-",
        "d1@10.9.8.77, d2", "Europe/Vienna", "",
    ]  # fmt: skip

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal)
    answers = iter(typed)
    monkeypatch.setattr(typer, "prompt", lambda _text, default: next(answers) or default)
    answered = questions.answers(questions.Options(), defaults=False, source=None)
    assert next(answers, None) is None
    assert (answered.domain, str(answered.network), str(answered.gateway)) == (
        "lab.example.com", "10.9.8.0/24", "10.9.8.1",
    )  # fmt: skip
    assert [(guest.name, guest.role, str(guest.address.ip)) for guest in answered.guests] == [
        ("front", "traefik", "10.9.8.10"), ("step-ca", "step_ca", "10.9.8.12"),
        ("d1", "docker", "10.9.8.77"), ("d2", "docker", "10.9.8.11"),
    ]  # fmt: skip


def test_each_answer_is_looked_at_before_the_next_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is said with what to write, and no answer before it is lost."""
    typed = {
        "my home": "a lower-case DNS name with a dot", "home.lan": "",
        "192.168.7": "a network, as 192.168.1.0/24", "192.168.7.5/24": "write 192.168.7.0/24",
        "192.168.7.0/29": "/28 or larger", "192.168.7.0/24": "",
        "192.168.8.1": "192.168.8.1 is not in the site's network 192.168.7.0/24", "192.168.7.1": "",
        "my pve": "is not a host name", "pve1": "",
        "192.168.8.2": "192.168.8.2 is not in", "192.168.7.2": "",
        "web@192.168.9.1": "web: 192.168.9.1 is not in", "web one": "a site has one of these",
        "web@192.168.7.10": "",
        "proxy@192.168.7.10": "two guests would have the address 192.168.7.10", "proxy": "",
        "pki": "", "-": "",
        "d1, web": "two guests would have the name web", "d1,d2@192.168.7.50": "",
        "Vienna": "there is no time zone 'Vienna'", "Europe/Vienna": "",
        "x" * 200: "write at most 39 characters", "Me & Co": "",
    }  # fmt: skip
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter(typed)
    monkeypatch.setattr(typer, "prompt", lambda _text, default: next(answers) or default)
    answered = questions.answers(questions.Options(), defaults=False, source=None)
    assert next(answers, None) is None
    output = capsys.readouterr().out
    assert [fault for fault in typed.values() if fault not in output] == []
    assert (answered.domain, answered.hypervisor, answered.timezone) == (
        "home.lan",
        "pve1",
        "Europe/Vienna",
    )
    assert [(guest.name, guest.role) for guest in answered.guests] == [
        ("web", "nginx"), ("proxy", "traefik"), ("pki", "step_ca"), ("d1", "docker"),
        ("d2", "docker"),
    ]  # fmt: skip


def test_plain_pyinfra_reads_the_site_and_its_settings(tmp_path: Path) -> None:
    site = tmp_path / "site"
    new_site(site, "--domain", "home.example.com", "--timezone", "Europe/Vienna")
    done = subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), site / contents.INVENTORY, "debug-inventory",
         "--group-data", site / "group_data"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"timezone": "Europe/Vienna"' in done.stdout + done.stderr, done.stdout
    assert "docker01" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Nginx-Phoenix", "nginx"), ("traefik_internal", "traefik"), ("step-ca", "step_ca"),
        ("ca", "step_ca"), ("my-ca-01", "step_ca"), ("docker-host", "docker"), ("cache", None),
        ("pihole", None), ("Portainer", "portainer"), ("reverseproxy", "nginx"),
    ],
)  # fmt: skip
def test_a_name_speaks_of_a_role(name: str, role: str | None) -> None:
    assert role_of(name) == role


SAID = r"""
@@ node
pve7

@@ domain
example.net

@@ timezone
Europe/Lisbon

@@ routes
[{"dst":"default","gateway":"10.50.0.1","dev":"vmbr0","flags":[]}]

@@ addresses
[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
 {"ifname":"vmbr0","addr_info":[{"family":"inet","local":"10.50.0.7","prefixlen":24,"scope":"global"}]}]

@@ guests lxc
[{"vmid":"120","status":"running"}]

@@ config lxc 120
{"hostname":"proxy","net0":"name=eth0,bridge=vmbr0,ip=10.50.0.20/24,gw=10.50.0.1"}

@@ ports lxc 120
LISTEN 0 511 0.0.0.0:443 0.0.0.0:*

@@ config lxc 121
{"hostname":"media","net0":"name=eth0,bridge=vmbr0,ip=dhcp"}

@@ addresses lxc 121
[{"ifname":"eth0","addr_info":[{"family":"inet","local":"10.50.0.21","prefixlen":24,"scope":"global"}]}]

@@ ports lxc 121
LISTEN 0 4096 *:8096 *:*
LISTEN 0 4096 127.0.0.1:9090 0.0.0.0:*

@@ config lxc 122
{"hostname":"elsewhere","net0":"name=eth0,bridge=vmbr1,ip=172.16.0.5/24"}

@@ config lxc 123
{"hostname":"off","net0":"name=eth0,bridge=vmbr0,ip=dhcp"}

@@ guests qemu
[{"vmid":200,"status":"running"}]

@@ config qemu 200
{"name":"docker-a","net0":"virtio=AA:BB:CC:00:00:01,bridge=vmbr0"}

@@ agent qemu 200
[{"name":"lo","ip-addresses":[{"ip-address":"127.0.0.1","ip-address-type":"ipv4","prefix":8}]},
 {"name":"docker0","ip-addresses":[{"ip-address":"172.17.0.1","ip-address-type":"ipv4","prefix":16}]},
 {"name":"ens18","ip-addresses":[{"ip-address":"10.50.0.30","ip-address-type":"ipv4","prefix":24}]}]

@@ config qemu 201
{"name":"docker-template","net0":"virtio=AA:BB:CC:00:00:02,bridge=vmbr0","template":1}

@@ config qemu 202
{"name":"portainer","ipconfig0":"ip=10.50.0.31/24,gw=10.50.0.1"}
"""


def test_a_hypervisor_s_guests_have_the_roles_that_their_names_speak_of() -> None:
    answers = hypervisor.answers(SAID)
    assert (answers.hypervisor, str(answers.address), str(answers.gateway)) == (
        "pve7", "10.50.0.7/24", "10.50.0.1",
    )  # fmt: skip
    assert (answers.domain, answers.timezone) == ("internal.example.net", "Europe/Lisbon")
    guests = [
        (guest.vmid, guest.name, guest.kind, guest.role, str(guest.address.ip))
        for guest in answers.guests
    ]
    assert guests == [
        (101, "step-ca", "lxc", "step_ca", "10.50.0.10"),
        (102, "traefik", "lxc", "traefik", "10.50.0.11"),
        (120, "proxy", "lxc", "nginx", "10.50.0.20"),
        (200, "docker-a", "vm", "docker", "10.50.0.30"),
        (202, "portainer", "vm", "portainer", "10.50.0.31"),
    ]  # fmt: skip


def test_what_is_not_taken_in_is_told_with_the_command_that_does_it() -> None:
    notes = "\n".join(hypervisor.answers(SAID).notes)
    assert "phoenix add host media --ip 10.50.0.21 --id 121 --kind lxc" in notes
    assert "phoenix add service jellyfin --host media --port 8096 --scheme http" in notes
    assert "prometheus" not in notes  # on the loopback alone
    assert "elsewhere (122) is left alone: 172.16.0.5 is outside of 10.50.0.0/24" in notes
    assert "off (123) is left alone: it is not running" in notes
    assert "docker-a has 10.50.0.30 by DHCP" in notes
    assert "no guest of pve7 is the CA" in notes
    assert "docker-template" not in notes


def test_a_site_of_a_hypervisor_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor, "ask", lambda target: SAID)
    report = new_site(tmp_path / "site", "--from", "root@pve7")
    assert report["hosts"]["proxy"] == "10.50.0.20"
    result = phoenix("validate", "--strict", "--site", tmp_path / "site")
    assert result.exit_code == 0, result.output


def test_a_host_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    program.chmod(0o755)
    with pytest.raises(CommandError, match=r"Permission denied[\s\S]*ssh root@h true"):
        hypervisor.ask("root@h")
    program.write_text("#!/bin/sh\necho '@@ none'\n")
    with pytest.raises(CommandError, match="is not a Proxmox VE host"):
        hypervisor.ask("me@h")
    with pytest.raises(CommandError, match="is not a host"):
        hypervisor.ask("-oProxyCommand=x")


def test_the_script_reads_a_host_with_proxmox_programs(tmp_path: Path) -> None:
    """The script itself, with programs that answer as Proxmox VE's do."""
    programs = {
        "pvesh": 'case "$2" in */lxc) echo \'[{"vmid":"120","name":"web"},{"vmid":121}]\';;'
        " */qemu) echo '[]';; */config) echo '{\"hostname\":\"web\"}';; esac",
        "pct": 'case "$1" in status) [ "$2" = 120 ] && echo "status: running" || echo stopped;;'
        ' exec) shift 3; echo "ran $*";; esac',
        "qm": "exit 1",
        "ip": "echo '[]'",
    }
    folder_of = tmp_path / "programs"
    folder_of.mkdir()
    for name, body in programs.items():
        (folder_of / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder_of / name).chmod(0o755)
    script = (ROOT / "phoenix/cli/new_site/read_hypervisor.sh").read_text()
    done = subprocess.run(
        ["/bin/sh", "-s"], input=script, capture_output=True, text=True, check=True,
        env={"PATH": f"{folder_of}:/usr/bin:/bin"},
    )  # fmt: skip
    parts = hypervisor.parts(done.stdout)
    assert [name for name in parts if name.startswith("config")] == [
        "config lxc 120", "config lxc 121",
    ]  # fmt: skip
    assert parts["ports lxc 120"] == "ran ss -Hltn"
    assert "ports lxc 121" not in parts
    assert done.stderr == ""
