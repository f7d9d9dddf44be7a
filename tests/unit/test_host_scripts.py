"""Scripts that trees bring to hosts: what each accepts, and what it refuses with which words.

They run in `sh`, on stand-ins for the programs that a host has. What larger scripts do, files of
their own ask: `test_acme_script.py`, `test_check_script.py`, `test_apply_script.py` and others.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from phoenix.components.keepalived.keepalived_conf import Instance
from phoenix.files import render, text


@dataclass
class Machine:
    """A folder of programs. Each notes its name and words, separated by blanks, when it is called.

    `alone` hides this machine's own programs, beside those of `tools`.
    """

    folder: Path
    alone: bool = False
    programs: dict[str, str] = field(default_factory=dict)

    def run(self, script: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The end of a script, with `programs` in `sh`, and further variables."""
        bin_folder = self.folder / "bin"
        shutil.rmtree(bin_folder, ignore_errors=True)
        bin_folder.mkdir(parents=True)
        self.noted.write_text("")
        for name, body in self.programs.items():
            file = bin_folder / name
            file.write_text(f'#!/bin/sh\necho {name} "$@" >>{self.noted}\n{body}\n')
            file.chmod(0o755)
        if self.alone:
            for name in ("grep", "sh"):
                (bin_folder / name).symlink_to(str(shutil.which(name)))
        path = str(bin_folder) if self.alone else f"{bin_folder}:{os.environ['PATH']}"
        return subprocess.run(
            ["/bin/sh", "-c", script, "sh", *words],
            env={"PATH": path, **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def noted(self) -> Path:
        return self.folder / "noted"

    @property
    def calls(self) -> list[str]:
        return self.noted.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


# -- keepalived ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "answered", "well"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_a_virtual_address_is_held_here_or_answers(
    machine: Machine, own: bool, answered: bool, well: bool
) -> None:
    instance = Instance(
        "lan", IPv4Address("10.0.0.9"), "ens18", IPv4Address("10.0.0.20"), (), 1
    )  # fmt: skip
    machine.programs = {
        "ip": "echo '2: ens18 inet 10.0.0.9/32 scope global ens18'" if own else ":",
        "arping": f"exit {0 if answered else 1}",
    }
    done = machine.run(render("components/keepalived/health.sh.j2", instances=[instance]))
    assert (done.returncode == 0) is well, done
    assert done.stdout == ("" if well else "10.0.0.9 is held by no gateway\n")
    assert machine.calls[0] == "ip -4 -o address show to 10.0.0.9/32"
    assert machine.calls[1:] == (
        [] if own else ["arping -q -c 1 -w 1 -I ens18 -s 10.0.0.20 10.0.0.9"]
    )


# -- NFS -------------------------------------------------------------------------------------------


def test_a_folder_to_share_is_there(machine: Machine, tmp_path: Path) -> None:
    script = render("components/nfs/validate.sh.j2", folders=f"{tmp_path} {tmp_path}/media")
    done = machine.run(script)
    assert done.returncode == 1
    assert f"{tmp_path}/media is no directory on the hypervisor" in done.stdout
    (tmp_path / "media").mkdir()
    assert machine.run(script).returncode == 0


TANK, B = "/tank  10.0.0.2(rw,sync)", "/tank/b  10.0.1.0/24(ro)"
TANK_IS_MISSING = "/tank is not shared with 10.0.0.2"
B_IS_MISSING = "/tank/b is not shared with 10.0.1.0/24"


@pytest.mark.parametrize(
    ("shared", "missing"),
    [
        ([TANK, B], ""),
        (["/tank  10.0.0.24(rw,sync)", B], TANK_IS_MISSING),
        ([TANK, "/tank/b  10.0.1.0/25(ro)"], B_IS_MISSING),
        ([TANK, "/tank  10.0.1.0/24(ro)"], B_IS_MISSING),
        ([], TANK_IS_MISSING),
    ],
)
def test_each_folder_is_shared_with_each_of_its_clients(
    machine: Machine, shared: list[str], missing: str
) -> None:
    machine.programs = {"exportfs": "\n".join(f"echo '{line}'" for line in shared) or ":"}
    shares = "/tank=10.0.0.2/32 /tank/b=10.0.1.0/24"
    done = machine.run(render("components/nfs/health.sh.j2", shares=shares))
    assert (done.returncode == 0) == (not missing), done
    assert missing in done.stdout
    assert machine.calls == ["exportfs -s"]


def test_an_nfs_server_that_tells_nothing_is_not_well(machine: Machine) -> None:
    machine.programs = {"exportfs": "exit 1"}
    script = render("components/nfs/health.sh.j2", shares="")
    assert machine.run(script).returncode == 1


# -- step-ca ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "well"),
    [("0.30.2", True), ("0.20.0", True), ("0.20", True), ("0.19.9", False), ("0.9.0", False)],
)
def test_a_step_ca_that_does_not_enforce_the_policy_is_refused(
    machine: Machine, tmp_path: Path, version: str, well: bool
) -> None:
    root = authority(tmp_path)
    done = machine.run(ca_check(tmp_path, version), ROOT=str(root))
    assert (done.returncode == 0) is well, done
    assert well or f"it is version '{version}'" in done.stdout


@pytest.mark.parametrize("lost", ["root", "crt", "key"])
@pytest.mark.parametrize("empty", [False, True])
def test_a_ca_without_a_file_of_its_own_is_refused(
    machine: Machine, tmp_path: Path, lost: str, empty: bool
) -> None:
    root = authority(tmp_path)
    (tmp_path / lost).write_text("") if empty else (tmp_path / lost).unlink()
    done = machine.run(ca_check(tmp_path, "0.30.2"), ROOT=str(root))
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path}/{lost} is missing: was the CA initialised?\n"


def authority(folder: Path) -> Path:
    """A proposed ca.json with three files that are there; gives the root of what is proposed."""
    for name in ("root", "crt", "key"):
        (folder / name).write_text("x")
    lines = [f'  "{name}": "{folder}/{name}",' for name in ("root", "crt")]
    lines += [f'  "key": "{folder}/key"', '    "key": "/elsewhere"']
    (folder / "ca.json").write_text("{\n" + "\n".join(lines) + "\n}\n")
    return folder


def ca_check(folder: Path, version: str) -> str:
    """The check, of a program that says this version."""
    program = folder / "program"
    program.write_text(f"#!/bin/sh\necho 'Smallstep CA/{version} (linux/amd64)'\n")
    program.chmod(0o755)
    return render("components/step_ca/validate.sh.j2", program=str(folder), config="/ca.json")


@pytest.mark.parametrize(
    ("health", "lifetime", "well"),
    [("ok", "24h0m0s", True), ("starting", "24h0m0s", False), ("ok", "1h0m0s", False)],
)
def test_a_ca_is_well_with_the_lifetime_that_was_set(
    machine: Machine, health: str, lifetime: str, well: bool
) -> None:
    machine.programs = {
        "curl": f"""case "$*" in
    *'--cacert /r https://10.0.0.22:9000/health') echo '{{"status":"{health}"}}' ;;
    *'--cacert /r https://10.0.0.22:9000/provisioners')
        echo '{{"claims": {{"defaultTLSCertDuration": "{lifetime}"}}}}' ;;
    *) exit 9 ;;
    esac"""
    }
    script = render("components/step_ca/health.sh.j2", root="/r", lifetime="24h",
                    url="https://10.0.0.22:9000")  # fmt: skip
    done = machine.run(script)
    assert (done.returncode == 0) is well, done
    assert ("the CA runs with other lifetimes than 24h" in done.stdout) is (
        health == "ok" and not well
    )


# -- Docker's packages -----------------------------------------------------------------------------

RIGHT = "the right key"


@pytest.mark.parametrize(
    ("present", "served", "asked", "well"),
    [
        (RIGHT, "nothing", False, True),
        (None, RIGHT, True, True),
        ("an old key", RIGHT, True, True),
        (None, "another key", True, False),
        ("an old key", "another key", True, False),
    ],
)
def test_the_key_of_dockers_packages_is_the_one_that_is_pinned(
    machine: Machine, tmp_path: Path, present: str | None, served: str, asked: bool, well: bool
) -> None:
    key = tmp_path / "keyrings/docker.asc"
    if present is not None:
        key.parent.mkdir()
        key.write_text(present)
    # the place is the word behind -o
    machine.programs = {"curl": f'while [ "$1" != -o ]; do shift; done; printf "{served}" >"$2"'}
    script = render(
        "components/docker/apt-key.sh.j2", key=str(key), url="https://a.example/gpg",
        sha256=hashlib.sha256(RIGHT.encode()).hexdigest(),
    )  # fmt: skip
    done = machine.run(script)
    assert (done.returncode == 0) is well, done
    assert [call.split()[-1] for call in machine.calls] == ["https://a.example/gpg"] * asked
    if well:
        assert key.read_text() == RIGHT
        assert not asked or key.stat().st_mode & 0o777 == 0o644
    else:
        assert "https://a.example/gpg is not the key that was pinned" in done.stdout
        assert (key.read_text() if key.exists() else None) == present


def test_a_key_that_cannot_be_got_leaves_the_one_that_is_there(
    machine: Machine, tmp_path: Path
) -> None:
    key = tmp_path / "docker.asc"
    key.write_text("an old key")
    machine.programs = {"curl": "exit 22"}
    script = render("components/docker/apt-key.sh.j2", key=str(key), url="u", sha256="0" * 64)
    assert machine.run(script).returncode == 22
    assert key.read_text() == "an old key"


# -- further networks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "bridge", "ifup", "main", "refused"),
    [
        (True, True, True, "source /etc/network/interfaces.d/*", ""),
        (True, True, True, "  source-directory\t/etc/network/interfaces.d", ""),
        (True, True, True, "# source /etc/network/interfaces.d/*", "does not read the folder of"),
        (True, True, True, "", "does not read the folder of"),
        (True, True, False, "source /etc/network/interfaces.d/*", "this host has no ifup"),
        (True, False, False, "", ""),  # no bridge of ours: nothing for ifup to do
        (False, False, True, "source /etc/network/interfaces.d/*", "no rules"),
    ],
)
def test_a_bridge_is_refused_where_nothing_would_bring_it_up(
    machine: Machine, tmp_path: Path, rules: bool, bridge: bool, ifup: bool, main: str, refused: str
) -> None:
    (tmp_path / "interfaces").write_text(f"auto lo\n{main}\n")
    if bridge:
        (tmp_path / "bridges").write_text("auto vmbr9\n")
    machine.alone = True
    machine.programs = {"nft": ":" if rules else "echo no rules; exit 1"}
    machine.programs |= {"ifup": ":"} if ifup else {}
    script = render("components/networks/validate.sh.j2", rules="/rules.nft", file="/bridges",
                    main=str(tmp_path / "interfaces"))  # fmt: skip
    done = machine.run(script, ROOT=str(tmp_path))
    assert (done.returncode == 0) == (not refused), done
    assert refused in done.stdout
    assert machine.calls == [f"nft -c -f {tmp_path}/rules.nft"]


# -- the guard -------------------------------------------------------------------------------------

LISTED = """table inet phoenix {
\tset taken_up {
\t\ttype inet_service
\t\telements = { 0-65535 timeout 5m expires 4m10s }
\t}
\tchain input {
\t\ttcp dport 22 accept
\t}
}
"""


@dataclass
class Guard:
    """The guard's program on an nft that has a table in a file and notes what it is to load."""

    machine: Machine
    folder: Path

    def __post_init__(self) -> None:
        self.machine.programs["nft"] = f"""case "$*" in
        '-s list table inet phoenix') cat {self.table} 2>/dev/null ;;
        'list set inet phoenix taken_up') grep expires {self.table} 2>/dev/null ;;
        '-f -') cat >{self.given}; [ ! -e {self.folder}/refuses ] ;;
        *) exit 9 ;;
        esac"""
        self.rules.write_text("table inet phoenix { }\n")

    @property
    def table(self) -> Path:
        return self.folder / "table"

    @property
    def rules(self) -> Path:
        return self.folder / "guard.nft"

    @property
    def loaded(self) -> Path:
        return self.folder / "loaded"

    @property
    def given(self) -> Path:
        return self.folder / "given"

    def run(self, verb: str) -> subprocess.CompletedProcess[str]:
        script = text("components/guard/phoenix-guard")
        script = script.replace("/etc/phoenix/guard.nft", str(self.rules))
        script = script.replace("/run/phoenix-guard.loaded", str(self.loaded))
        return self.machine.run(script, verb)


@pytest.fixture
def guard(machine: Machine, tmp_path: Path) -> Guard:
    return Guard(machine, tmp_path)


@pytest.mark.parametrize(
    ("before", "element"),
    [
        (None, "add element inet phoenix taken_up { 0-65535 timeout 5m }\n"),
        (LISTED, "add element inet phoenix taken_up { 0-65535 timeout 4m10s }\n"),
    ],
)
def test_connections_are_taken_up_for_five_minutes_from_the_first_load(
    guard: Guard, before: str | None, element: str
) -> None:
    if before is not None:
        guard.table.write_text(before)
    guard.run("load")
    assert guard.given.read_text() == f"table inet phoenix {{ }}\n{element}"


def test_later_nothing_is_taken_up(guard: Guard) -> None:
    guard.table.write_text(LISTED.replace(" expires 4m10s", ""))
    guard.machine.programs["nft"] = guard.machine.programs["nft"].replace("grep expires", "cat")
    assert guard.run("load").returncode == 0
    assert guard.given.read_text() == "table inet phoenix { }\n"


def test_rules_that_the_kernel_refuses_are_not_noted_as_loaded(guard: Guard) -> None:
    guard.table.write_text(LISTED)
    (guard.folder / "refuses").touch()
    assert guard.run("load").returncode != 0
    assert not guard.loaded.exists()


def test_the_guard_holds_until_its_table_is_changed(guard: Guard) -> None:
    for is_empty in (False, True):  # as a load leaves it that was ended
        if is_empty:
            guard.loaded.touch()
        done = guard.run("holds")
        assert (done.returncode, done.stdout) == (
            1, "its rules were never loaded since the host started\n",
        )  # fmt: skip
    guard.table.write_text(LISTED)
    assert guard.run("load").returncode == 0
    assert guard.run("holds").returncode == 0
    guard.table.write_text(LISTED.replace("expires 4m10s", "expires 9s"))
    done = guard.run("holds")
    assert (done.returncode, done.stdout) == (0, ""), "time goes by"
    guard.table.write_text(LISTED.replace("dport 22 accept", "dport 23 accept"))
    done = guard.run("holds")
    assert (done.returncode, done.stdout) == (
        1,
        (
            "nftables was changed by hand: is missing: tcp dport 22 accept;"
            "is not ours: tcp dport 23 accept\n"
        ),
    )
    guard.table.unlink()
    done = guard.run("holds")
    assert (done.returncode, done.stdout) == (1, "the table inet phoenix is gone from nftables\n")


def test_of_many_changes_five_are_told(guard: Guard) -> None:
    guard.table.write_text(LISTED)
    guard.run("load")
    rules = "".join(f"\t\ttcp dport {port} accept\n" for port in range(100, 120))
    guard.table.write_text(LISTED.replace("\t\ttcp dport 22 accept\n", rules))
    assert guard.run("holds").stdout.count(";") == 4


def test_a_guard_that_goes_takes_its_table_and_its_note_along(guard: Guard) -> None:
    guard.table.write_text(LISTED)
    guard.run("load")
    assert guard.run("remove").returncode == 0
    assert guard.given.read_text() == "table inet phoenix\ndelete table inet phoenix\n"
    assert not guard.loaded.exists()


def test_the_guard_knows_three_words(guard: Guard) -> None:
    done = guard.run("unload")
    assert (done.returncode, guard.machine.calls) == (2, [])
    assert "usage: phoenix-guard load | holds | remove" in done.stderr


# -- Traefik ---------------------------------------------------------------------------------------

PROVES = """case " $* " in
{cases}
esac"""


def proving(names: Mapping[str, str]) -> str:
    """An openssl that proves, at each ADDRESS:PORT, one name by the roots /r."""
    cases = "\n".join(
        f"*' -connect {at} -servername {name} -verify_hostname {name} -verify_return_error"
        f" -CAfile /r ') echo 'Verified peername: {name}' ;;"
        for at, name in names.items()
    )
    return PROVES.format(cases=cases)


@pytest.mark.parametrize(
    ("loaded", "routers", "name", "fault"),
    [
        (True, "[]", "proxy.test", ""),
        (False, "[]", "proxy.test", "Traefik has not loaded these routes"),
        (True, '[{"error":["no such service"]}]', "proxy.test", '"error":["no such service"]'),
        (True, "[]", "other.test", "no certificate for proxy.test from the CA yet"),
    ],
)
def test_traefik_is_well_with_these_routes_and_the_ca_s_certificate(
    machine: Machine, loaded: bool, routers: str, name: str, fault: str
) -> None:
    machine.programs = {
        "curl": f"""case "$*" in
        *http://api/middlewares/marker@file) exit {0 if loaded else 22} ;;
        *http://api/routers) echo '{routers}' ;;
        *) exit 9 ;;
        esac""",
        "timeout": 'shift; exec "$@"',
        "openssl": proving({"127.0.0.1:443": name}),
    }
    script = render("components/traefik/health.sh.j2", api="http://api", marker="marker",
                    name="proxy.test", root="/r")  # fmt: skip
    done = machine.run(script)
    assert (done.returncode == 0) == (not fault), done
    assert fault in done.stdout


@pytest.mark.parametrize(
    ("second", "well"),
    [
        ("new.test", True),
        ("old.test", False),  # an earlier release's, which is proven until its host is synced
        ("strange.test", True),  # serves nobody now, and holds nobody up
    ],
)
def test_no_route_is_switched_to_a_name_that_its_backend_does_not_prove(
    machine: Machine, second: str, well: bool
) -> None:
    machine.programs = {
        "timeout": 'shift; exec "$@"',
        "openssl": proving({"10.0.0.24:8000": "a.test", "10.0.0.25:8001": second}),
    }
    words = ["/r", "10.0.0.24", "8000", "a.test", "former.test",
             "10.0.0.25", "8001", "new.test", "old.test"]  # fmt: skip
    script = text("components/proves.sh", "components/traefik/backend_names.sh")
    done = machine.run(script, *words)
    assert (done.returncode == 0) is well, done
    assert done.stderr == (
        ""
        if well
        else "10.0.0.25 port 8001 still proves to be old.test, and not new.test: sync its Docker"
        " host first, or the whole site\n"
    )


@dataclass
class TraefikCheck:
    """The check of a configuration, with a Traefik that notes what it was started with.

    Attributes:
        comes_up: whether it answers; None: it ends at once, with two lines in its log.
        has: the middleware that it has loaded.
        faults: what its API shows of routers, services and middlewares.
    """

    machine: Machine
    folder: Path
    comes_up: bool | None = True
    has: str = "phoenix-1"
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def started_with(self) -> Path:
        return self.folder / "started-with"

    @property
    def proposed(self) -> Path:
        return self.folder / "proposed"

    def put(self, name: str, content: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        ready, program = self.folder / "ready", self.folder / "traefik"
        ready.unlink(missing_ok=True)
        body = 'echo \'{"level":"info"}\'; echo \'{"level":"error","no":1}\'; exit 1'
        if self.comes_up is not None:
            log = 'echo \'{"level":"error","why":"unknown"}\'\n'
            body = f"{log}touch {ready}\nexec /bin/sleep 600"
        program.write_text(
            f'#!/bin/sh\nconfig=${{1#--configFile=}}\ncp -r "${{config%/*}}" {self.started_with}\n'
            f"{body}\n"
        )
        program.chmod(0o755)
        shown = "".join(
            f"*http://127.0.0.1:8081/api/http/{kind}) echo '{self.faults.get(kind, '[]')}' ;;\n"
            for kind in ("routers", "services", "middlewares")
        )
        up = f"[ -e {ready} ]" if self.comes_up else "exit 7"
        self.machine.programs = {
            "unshare": 'shift; exec "$@"',
            "ip": ":",
            "timeout": 'shift 3; exec "$@"',
            "sleep": f"exec /bin/sleep {0.01 if self.comes_up is False else 0.1}",
            "curl": f"""case "$*" in
            *http://127.0.0.1:8081/ping) {up} ;;
            *http://127.0.0.1:8081/api/http/middlewares/{self.has}@file) ;;
            {shown}*) exit 22 ;;
            esac""",
        }
        script = text("components/traefik/check.sh")
        script = script.replace(" /etc/traefik/dynamic/*", f" {self.folder}/current/*")
        self.put("check", script)
        self.put("static.yml", "directory: /etc/traefik/dynamic\n")
        (self.folder / "tmp").mkdir(exist_ok=True)
        done = self.machine.run(
            'exec sh "$@"', str(self.folder / "check"), str(program),
            str(self.folder / "static.yml"), *words, TMPDIR=str(self.folder / "tmp"),
        )  # fmt: skip
        assert list((self.folder / "tmp").iterdir()) == []
        return done


@pytest.fixture
def traefik(machine: Machine, tmp_path: Path) -> TraefikCheck:
    check = TraefikCheck(machine, tmp_path)
    for name in ("phoenix.yml", "own.yaml", "own.toml"):
        check.put(f"current/{name}", f"now {name}\n")
    users = "/etc/traefik/dashboard.users /etc/traefik/users/a.users\n"
    check.put("proposed/etc/traefik/dynamic/phoenix.yml", users)
    return check


def test_proposed_routes_are_tried_beside_the_others_in_a_network_of_their_own(
    traefik: TraefikCheck,
) -> None:
    done = traefik.run(str(traefik.proposed), "phoenix-1")
    assert (done.returncode, done.stdout) == (0, ""), done
    calls = traefik.machine.calls
    assert calls[0].startswith("unshare --net sh ")
    assert "ip link set lo up" in calls
    (given,) = [call for call in calls if call.startswith("timeout ")]
    work = Path(given.partition("--configFile=")[2]).parent
    assert (traefik.started_with / "traefik.yml").read_text() == f"directory: {work}/dynamic\n"
    tried = {file.name: file.read_text() for file in (traefik.started_with / "dynamic").iterdir()}
    below = f"{traefik.proposed}/etc/traefik"
    assert tried == {
        "phoenix.yml": f"{below}/dashboard.users {below}/users/a.users\n",
        "own.yaml": "now own.yaml\n",
        "own.toml": "now own.toml\n",
    }


def test_a_static_configuration_is_tried_without_routes(traefik: TraefikCheck) -> None:
    done = traefik.run()
    assert (done.returncode, done.stdout) == (0, ""), done
    assert list((traefik.started_with / "dynamic").iterdir()) == []
    assert not [call for call in traefik.machine.calls if "/api/" in call]


def test_a_traefik_that_ends_says_why(traefik: TraefikCheck) -> None:
    traefik.comes_up = None
    done = traefik.run()
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "Traefik does not start with this configuration:", '{"level":"error","no":1}',
    ]  # fmt: skip


def test_a_traefik_that_answers_nothing_is_refused(traefik: TraefikCheck) -> None:
    traefik.comes_up = False
    done = traefik.run(str(traefik.proposed), "phoenix-1")
    assert done.returncode == 1
    assert done.stdout.startswith("Traefik did not come up within 20 s\n")


def test_routes_that_are_not_loaded_are_refused_with_traefiks_words(traefik: TraefikCheck) -> None:
    traefik.has = "phoenix-0"
    done = traefik.run(str(traefik.proposed), "phoenix-1")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "Traefik does not take these routes:", '{"level":"error","why":"unknown"}',
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["routers", "services", "middlewares"])
def test_a_fault_that_traefik_reports_is_refused(traefik: TraefikCheck, kind: str) -> None:
    traefik.faults = {kind: '[{"name":"a","error":["not found"]}]'}
    done = traefik.run(str(traefik.proposed), "phoenix-1")
    assert (done.returncode, done.stdout) == (
        1, f'Traefik reports errors in the {kind}: "error":["not found"]\n',
    )  # fmt: skip
