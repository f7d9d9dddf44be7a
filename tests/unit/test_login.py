"""How a host is logged in to: one declaration, for pyinfra and for ssh(1)."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.connectors.sshuserclient.client import SSHClient

from operations import connection, sudo
from operations.connection import send_all
from operations.sudo import SudoError, install
from phoenix.components.guard import ruleset
from phoenix.declaration import inventory
from phoenix.derived import login
from phoenix.derived.login import host_data
from phoenix.net.ssh_command import CONNECT_SECONDS, ssh_command
from phoenix.secrets import catalog
from phoenix.site.model import SshLogin
from tests.unit.site_builder import LXC, VM, lxc, minimal, problem

ROOT_DATA = {"ssh_user": "root", "ssh_key": "/k", "ssh_strict_host_key_checking": "yes"}


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_what_is_declared_of_a_host_goes_before_what_is_declared_of_the_site(
    tmp_path: Path,
) -> None:
    data = minimal()
    data.lxc["site"] = {
        "login": {"user": "admin", "port": 2222, "sudo": True},
        "hypervisor": {"login": {"user": "root", "sudo": False}},
    }
    data.lxc["lxc_configs"]["101"]["login"] = {"port": 22, "sudo_password": "sudo_of_admin"}
    site = data.load(tmp_path)
    groups = inventory.groups(site, dict(ROOT_DATA))
    of = {name: values for hosts in groups.values() for name, values in hosts}
    hypervisor = of[site.hypervisor.name]
    assert (hypervisor["ssh_user"], hypervisor["ssh_port"]) == ("root", 2222)
    assert "site_sudo" not in hypervisor
    own = of["gateway"]
    assert (own["ssh_user"], own["ssh_port"], own["site_sudo"]) == ("admin", 22, True)
    assert own["site_sudo_secret"] == "sudo_of_admin"


def test_two_hosts_of_one_name_are_refused(tmp_path: Path) -> None:
    """By one name of ~/.ssh/config each of them would be set up on the same machine."""
    data = minimal()
    data.lxc["site"] = {"login": {"name": "nas"}}
    finding = problem(data.refused(tmp_path / "all"), LXC, "site.login.name")
    assert (
        "phoenix, authority, gateway, proxy, control, worker would be the same" in finding.message
    )
    data.lxc["site"] = {"logins": {"vm": {"name": "nas", "port": 2222}}}
    finding = problem(data.refused(tmp_path / "group"), LXC, "site.logins.vm.name")
    assert "control, worker would be the same machine" in finding.message
    data.vm["vms"][0]["login"] = {"port": 2223}
    assert not data.load(tmp_path / "ports").warnings, "one address, with a port for each"
    data.lxc["site"] = {}
    for vm in data.vm["vms"]:
        vm["login"] = {"name": "nas"}
    problem(data.refused(tmp_path / "own"), VM, "vms[1].login.name")


@pytest.mark.parametrize(
    ("site", "path", "words"),
    [
        ({"login": {"user": "admin"}}, "login.user", "on phoenix, authority, gateway"),
        ({"login": {"user": "admin", "sudo": False}}, "login.user", "uses no sudo"),
        ({"logins": {"vm": {"user": "admin"}}}, "logins.vm.user", "on control, worker"),
        ({"login": {"sudo_password": "x"}}, "login.sudo_password", "nothing asks for it"),
        ({"logins": {"vm": {"sudo_password": "x"}}, "login": {"user": "root"}},
         "logins.vm.sudo_password", "nothing asks"),
        ({"logins": {"name_server": {"port": 2222}}}, "logins.name_server", "no host is in"),
    ],
)  # fmt: skip
def test_a_log_in_that_has_no_effect_is_told(
    tmp_path: Path, site: dict[str, Any], path: str, words: str
) -> None:
    data = minimal()
    data.lxc["site"] = site
    assert words in problem(data.load(tmp_path).warnings, LXC, f"site.{path}").message


def test_a_log_in_that_has_an_effect_is_well(tmp_path: Path) -> None:
    data = minimal()
    data.lxc["site"] = {
        "login": {"user": "admin", "sudo": True, "sudo_password": "x"},
        "logins": {"hypervisor": {"user": "root", "sudo": False}},
    }
    assert not data.load(tmp_path).warnings


def test_a_group_s_log_in_goes_between_the_site_s_and_the_host_s(tmp_path: Path) -> None:
    """pyinfra's own group data lose to the data that an inventory gives each host."""
    data = minimal()
    data.lxc["site"] = {
        "login": {"user": "admin", "sudo": True},
        "logins": {
            "docker": {"port": 2200, "user": "docker"},
            "vm": {"user": "debian", "port": 2222, "jump": "me@bastion"},
            "hypervisor": {"user": "root", "sudo": False},
        },
    }
    data.vm["vms"][1]["login"] = {"port": 22}
    site = data.load(tmp_path)
    logins = {host.name: host.login for host in site.hosts}
    assert logins[site.hypervisor.name] == SshLogin(user="root")
    assert logins["gateway"] == SshLogin(user="admin", sudo=True)
    vm = {"user": "docker", "port": 2200, "jump": "me@bastion", "sudo": True}
    assert logins["control"] == SshLogin(**vm), "Portainer's guest runs Docker: its role before vm"
    assert logins["worker"] == SshLogin(**{**vm, "port": 22})
    groups = inventory.groups(site, dict(ROOT_DATA))
    of = {name: values for hosts in groups.values() for name, values in hosts}
    assert (of["control"]["ssh_user"], of["control"]["ssh_port"]) == ("docker", 2200)
    assert Path(of["control"]["ssh_config_file"]).read_text().count("ProxyJump me@bastion") == 1
    assert "tcp dport 2200" in ruleset.ruleset(site, site.host("control"))


def test_a_log_in_of_a_group_that_is_none_is_refused(tmp_path: Path) -> None:
    data = minimal()
    data.lxc["site"] = {"logins": {"dockers": {"user": "x"}}}
    (finding,) = data.refused(tmp_path)
    assert finding.path.startswith("site.logins"), finding


@pytest.mark.parametrize("invalid", [{"users": "x"}, {"jump": "-oProxyCommand=x"}, {"port": 0}])
def test_a_log_in_that_nothing_reads_or_that_is_an_option_is_refused(
    tmp_path: Path, invalid: dict[str, Any]
) -> None:
    data = minimal()
    data.lxc["site"] = {"login": invalid}
    (finding,) = data.refused(tmp_path)
    assert finding.path.startswith("site.login"), finding


def test_a_name_of_the_person_s_own_options_leaves_user_and_key_to_them() -> None:
    data = host_data(SshLogin(name="nas"), "10.0.0.5", ROOT_DATA)
    assert data == {"ssh_hostname": "nas", "ssh_strict_host_key_checking": "yes"}
    assert ssh_command("x", data, ["true"])[-3:] == ["--", "nas", "true"]


def test_a_jump_host_is_the_same_for_pyinfra_and_for_ssh(tmp_path: Path) -> None:
    by = SshLogin(user="admin", jump="me@bastion:2200", identity_file="~/k")
    known = tmp_path / "known_hosts"
    data = host_data(by, "10.0.0.5", {**ROOT_DATA, "ssh_known_hosts_file": str(known)})
    file = data["ssh_config_file"]
    words = ssh_command("x", data, ["true"])
    assert words[words.index("-F") + 1] == file
    text = Path(file).read_text()
    from pyinfra.connectors.sshuserclient.config import SSHConfig

    options = SSHConfig()
    options.parse(io.StringIO(text.replace("  Include ~/.ssh/config\n", "")))
    assert options.lookup("10.0.0.5")["proxyjump"] == "me@bastion:2200"
    hop = options.lookup("bastion")
    assert hop["stricthostkeychecking"] == "yes"
    assert hop["userknownhostsfile"] == str(known)
    assert list(hop["identityfile"]) == [str(Path("~/k").expanduser())]
    assert SSHClient.derive_shorthand(options, "me@bastion:2200")[1]["port"] == 2200
    assert host_data(by, "10.0.0.5", data)["ssh_config_file"] == file, "made once"


def options_of_ssh(words: list[str]) -> set[str]:
    """What ssh(1) itself makes of its words: each option with its value."""
    done = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("data", "changed"),
    [
        ({}, set()),
        ({"ssh_strict_host_key_checking": "yes"}, {"stricthostkeychecking true"}),
        ({"ssh_user": "u", "ssh_port": 2200}, {"user u", "port 2200"}),
        (
            {"ssh_known_hosts_file": "/k/known"},  # ssh(1) learns no keys into files of one's own
            {"userknownhostsfile /k/known", "updatehostkeys false"},
        ),
        ({"ssh_key": __file__}, {f"identityfile {__file__}", "identitiesonly yes"}),
    ],
)
def test_ssh_is_as_strict_as_by_itself_or_stricter(data: dict[str, Any], changed: set[str]) -> None:
    """Host keys are asked for, nothing is forwarded: only what the inventory says is different."""
    own = {"ssh_hostname": "10.0.0.9", "ssh_config_file": "/dev/null", **data}
    ours = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"]
    alone = ["ssh", "-T", "-F", "/dev/null", *ours, "--", "10.0.0.9", "true"]
    assert "stricthostkeychecking ask" in options_of_ssh(alone)
    made = options_of_ssh(ssh_command("x", own, ["true"]))
    assert made - options_of_ssh(alone) == changed


def test_commands_of_a_user_run_by_sudo() -> None:
    data = {"ssh_hostname": "h", "ssh_user": "admin", "site_sudo": True}
    assert ssh_command("h", data, ["id", "-u"])[-1] == "sudo -n -- id -u"
    assert ssh_command("h", data, ["id"], terminal=True)[-1] == "sudo -- id"


class Channel:
    def __init__(self, host: Transport) -> None:
        self.host, self.given = host, b""

    def settimeout(self, _seconds: float) -> None: ...

    def exec_command(self, command: str) -> None:
        self.command = command
        self.host.commands.append(command)

    def send(self, data: bytes) -> int:
        self.given += data[:3]
        self.host.given += data[:3]
        return len(data[:3])

    def shutdown_write(self) -> None: ...

    def makefile_stderr(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(b"" if self._allowed() else b"sudo: a password is required\n")

    def recv_exit_status(self) -> int:
        return 0 if self._allowed() else 1

    def _allowed(self) -> bool:
        return self.host.free or self.given == b"right\n"


class Transport:
    """A host of which `free` says that sudo asks for nothing; else for "right"."""

    def __init__(self, *, free: bool) -> None:
        self.free = free
        self.commands: list[str] = []
        self.given = b""

    def get_username(self) -> str:
        return "admin"

    def open_session(self, **_options: Any) -> Channel:
        return Channel(self)


class Host:
    name = "h"

    def __init__(self, **data: Any) -> None:
        values = {"site_secrets": "/none/secrets.json", **data}

        class Data:
            @staticmethod
            def dict() -> Any:
                return values

        self.data = Data


def test_every_channel_of_a_connection_runs_by_sudo() -> None:
    host: Any = Transport(free=True)
    install(Host(site_sudo=True), host, send_all)  # type: ignore[arg-type]
    install(Host(site_sudo=True), host, send_all)  # type: ignore[arg-type]
    host.open_session().exec_command("echo 'a b'")
    assert host.commands[-1] == """sudo -n -H -- sh -c 'echo '"'"'a b'"'"''"""
    assert host.commands[:-1] == ["LC_ALL=C sudo -k -n true"]
    assert host.given == b""


def test_the_password_goes_by_standard_input_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_SUDO_PASSWORD", "right")
    host: Any = Transport(free=False)
    install(Host(site_sudo=True, site_sudo_secret="sudo_password"), host, send_all)  # type: ignore[arg-type]
    channel = host.open_session()
    channel.exec_command("id")
    assert channel.command == sudo.line("id", asks=True)
    assert channel.given == b"right\n"
    assert not any("right" in command for command in host.commands)


@pytest.mark.parametrize(
    ("secret", "password", "message"),
    [
        (None, None, "no sudo without a password"),
        ("sudo_password", None, "the secret sudo_password is not given"),
        ("sudo_password", "wrong", "sudo refuses admin"),
    ],
)
def test_a_log_in_without_rights_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, secret: str | None, password: str | None, message: str
) -> None:
    monkeypatch.delenv("PHOENIX_SECRET_SUDO_PASSWORD", raising=False)
    if password:
        monkeypatch.setenv("PHOENIX_SECRET_SUDO_PASSWORD", password)
    host: Any = Transport(free=False)
    with pytest.raises(SudoError, match=message):
        install(Host(site_sudo=True, site_sudo_secret=secret), host, send_all)  # type: ignore[arg-type]
    assert all(command.startswith("LC_ALL=C sudo -k") for command in host.commands)


def test_a_sudo_that_hangs_costs_its_own_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that asks a directory that is down. It was a traceback, and the end of the run."""
    messages: list[str] = []
    left: list[Any] = []
    monkeypatch.setattr(connection, "print_reason", lambda _, reason: messages.append(reason))
    hangs: Any = Transport(free=True)
    hangs.open_session = lambda **_: (_ for _ in ()).throw(TimeoutError("timed out"))

    def of(name: str, transport: Any) -> Any:
        host: Any = Host(site_sudo=True)
        host.name = name
        client = SimpleNamespace(get_transport=lambda: transport)
        host.connector = SimpleNamespace(client=client, run_shell_command=None)
        return host

    class Run:
        inventory = SimpleNamespace(get_active_hosts=lambda: [of("a", hangs)])
        fail_hosts = staticmethod(left.extend)

    connection.watch_all(Run())  # type: ignore[arg-type]
    assert messages == ["a: sudo does not answer there: timed out"]
    assert [host.name for host in left] == ["a"]
    assert hangs.commands == []


def test_root_is_left_alone() -> None:
    host: Any = Transport(free=False)
    install(Host(), host, send_all)  # type: ignore[arg-type]
    host.open_session().exec_command("id")
    assert host.commands == ["id"]


def test_firewall_advice_and_secrets_follow_the_log_in(tmp_path: Path) -> None:
    data = minimal()
    data.lxc["site"] = {
        "login": {"user": "admin", "sudo": True, "sudo_password": "sudo_password"},
    }
    data.lxc["lxc_configs"]["101"]["login"] = {"port": 2222, "jump": "me@bastion"}
    site = data.load(tmp_path)
    gateway, proxy = site.host("gateway"), site.host("proxy")
    assert "tcp dport 2222" in ruleset.ruleset(site, gateway)
    assert "tcp dport 22 " in ruleset.ruleset(site, proxy)
    assert ruleset.ssh_from(site, gateway)
    assert login.ssh_command(gateway) == f"ssh -J me@bastion -p 2222 admin@{gateway.address} sudo"
    assert "sudo_password" in {use.name for use in catalog.uses(site)}
    assert login.ssh_command(site.host("proxy").model_copy(update={"login": SshLogin()})) == (
        f"ssh root@{proxy.address}"
    )


@pytest.mark.parametrize(
    ("vmid", "port", "user"),
    [
        ("101", 443, "Nginx"),
        ("101", 8082, "Nginx"),
        ("102", 443, "Traefik"),
        ("102", 80, "the ACME http-01 challenge"),
        ("102", 8083, "the start page"),
        ("103", 8470, "the watcher"),
        ("phoenix", 53, "the name server"),
        ("phoenix", 8006, "Proxmox VE"),
        ("phoenix", 2049, "the NFS server"),
    ],
)
def test_ssh_at_a_port_that_phoenix_serves_something_else_at_is_refused(
    tmp_path: Path, vmid: str, port: int, user: str
) -> None:
    declared = minimal()
    site: dict[str, Any] = {"watcher": "authority"}
    declared.lxc["site"] = site
    if vmid == "phoenix":
        shared = [{"path": "/tank/a", "clients": ["10.0.0.24"], "options": "rw,sync"}]
        declared.hypervisor = {"nfs": {"exports": shared}}
        site["hypervisor"] = {"name": vmid, "ip": "10.0.0.13/24", "login": {"port": port}}
        path = "site.hypervisor.login.port"
    else:
        declared.lxc["lxc_configs"][vmid]["login"] = {"port": port}
        path = f"lxc_configs.{vmid}.login.port"
    found = problem(declared.refused(tmp_path), LXC, path)
    assert user in found.message
    assert found.message.startswith(f"SSH at port {port} of ")


def test_ssh_s_own_port_is_the_one_that_is_declared(tmp_path: Path) -> None:
    """As where sshd has moved, so that a service for git may have port 22."""
    declared = minimal()
    git = {"name": "git", "port": 22, "scheme": "tcp"}
    declared.lxc["lxc_configs"]["104"] = lxc("data", None, 25, traefik_services=[git])
    at_22 = problem(
        declared.refused(tmp_path / "22"), LXC, "lxc_configs.104.traefik_services[0].port"
    )
    assert "port 22 of the gateway is taken by SSH" in at_22.message
    declared.lxc["lxc_configs"]["101"]["login"] = {"port": 2222}
    assert declared.load(tmp_path / "moved").warnings == ()
    declared.lxc["site"] = {"logins": {"nginx": {"port": 443}}}
    del declared.lxc["lxc_configs"]["101"]["login"]
    assert problem(declared.refused(tmp_path / "all"), LXC, "site.logins.nginx.port")


@pytest.mark.parametrize(
    ("guest", "port", "place"),
    [
        (("lxc", "103"), 9000, (LXC, "lxc_configs.103.traefik_service.port")),
        (("vm", 0), 9443, (VM, "vms[0].traefik_service.port")),
        (("vm", 1), 9001, (VM, "vms[1].traefik_service.port")),
        (("vm", 0), 9001, (VM, "vms[1].traefik_service.port")),
        (("vm", 1), 8000, ("stacks/shop/docker-compose.yml", "services.web.ports")),
    ],
)
def test_what_a_host_serves_leaves_ssh_its_port(
    tmp_path: Path, guest: tuple[str, Any], port: int, place: tuple[str, str]
) -> None:
    declared = minimal()
    entries = {"lxc": declared.lxc["lxc_configs"], "vm": declared.vm["vms"]}[guest[0]]
    entries[guest[1]]["login"] = {"port": port}
    assert "is taken by SSH" in problem(declared.refused(tmp_path), *place).message
