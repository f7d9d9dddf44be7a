"""checks.sh run for real, with stand-ins for what it asks: systemd, and Portainer's API."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from cryptography import x509

from phoenix.components.step_ca.authority import DATABASE
from phoenix.files import text
from phoenix.health.checks import ISSUED, checks
from phoenix.shell import Script
from tests.unit.site_builder import minimal

API = "https://portainer.test:9443/api"


def stand_in(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def fault(folder: Path, *command: str, **environment: str) -> str:
    """What one check finds, with the programs of `folder` before those of the machine."""
    (text_of_fault,) = faults(folder, command, **environment)
    return text_of_fault


def faults(folder: Path, *commands: tuple[str, ...], **environment: str) -> list[str]:
    """What several checks of one run find, in their order."""
    # A fault counts when it is seen twice, a second apart; a look at sockets pauses for less.
    stand_in(folder, "sleep", 'case "$1" in 0.*) exec /bin/sleep "$1" ;; esac')
    lines = ["\t".join(command) for command in commands]
    process = subprocess.run(
        Script("checks", text(DATABASE, "health/checks.sh")).argv("15 5", *lines),
        capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, **environment, "PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    answers = [line.partition("\t") for line in process.stdout.rstrip("\n").split("\n")]
    assert [number for number, _, _ in answers] == list(map(str, range(len(commands)))), process
    return [message for _, _, message in answers]


SYSTEMCTL = """
[ "$1 ${10}" = "show ${UNIT:-nginx.service}" ] || { echo "unexpected: $*" >&2; exit 1; }
printf 'MainPID=%s\\nInvocationID=%s\\n' "${MAIN:-0}" "${ID:-}"
printf 'LoadState=%s\\nActiveState=%s\\n' "$LOAD" "$ACTIVE"
"""


def test_a_check_that_waits_begins_first_and_takes_nobodys_turn(tmp_path: Path) -> None:
    """Else a host whose other checks have ended waits for the pings of the last one."""
    started = tmp_path / "started"
    stand_in(tmp_path, "ip", 'case "$*" in *192.0.2.1/32*) ;; *) echo "2: eth0 inet" ;; esac')
    stand_in(tmp_path, "arping", f"touch {started}")
    stand_in(tmp_path, "others", f"until [ -e {started} ]; do /bin/sleep 0.05; done")
    turns = re.search(r"^parallel=(\d+)$", text("health/checks.sh"), re.MULTILINE)
    assert turns
    others = [("guard_holds", str(tmp_path / "others"))] * int(turns[1])
    held = ("address_is_held", "192.0.2.1", "192.0.2.2")
    assert faults(tmp_path, *others, held) == [""] * (len(others) + 1)


@pytest.mark.parametrize(
    ("load", "active", "words"),
    [
        ("loaded", "active", ""),
        ("loaded", "inactive", "is inactive: its last words"),
        ("loaded", "failed", "is failed: its last words"),
        ("loaded", "activating", "is activating: its last words"),
        ("not-found", "inactive", "is inactive: its last words"),
        ("masked", "inactive", "is masked and inactive: its last words"),
        ("masked", "active", "is masked and active: its last words"),
    ],
)
def test_unit_runs_only_when_it_is_active_and_will_be_after_a_reboot(
    tmp_path: Path, load: str, active: str, words: str
) -> None:
    stand_in(tmp_path, "systemctl", SYSTEMCTL)
    stand_in(tmp_path, "journalctl", "echo its last words")
    assert fault(tmp_path, "unit_runs", "nginx.service", LOAD=load, ACTIVE=active) == words


def test_a_unit_of_which_systemd_says_nothing_is_not_well(tmp_path: Path) -> None:
    stand_in(tmp_path, "systemctl", "echo Failed to connect to bus >&2; exit 1")
    assert fault(tmp_path, "unit_runs", "nginx.service") == (
        "systemd does not answer: Failed to connect to bus"
    )


def test_a_unit_that_has_come_up_meanwhile_is_well(tmp_path: Path) -> None:
    """The second look is a question of its own, not what the first one has heard."""
    first = tmp_path / "first"
    stand_in(
        tmp_path,
        "systemctl",
        f"state=active; mkdir {first} 2>/dev/null && state=activating\n"
        "printf 'MainPID=0\\nLoadState=loaded\\nActiveState=%s\\n' $state",
    )
    stand_in(tmp_path, "journalctl", "echo its last words")
    assert fault(tmp_path, "unit_runs", "nginx.service") == ""
    assert first.exists()


def test_units_of_a_host_are_asked_for_at_once_and_told_apart(tmp_path: Path) -> None:
    log = tmp_path / "asked"
    stand_in(
        tmp_path,
        "systemctl",
        f'shift 9; echo "$*" >>{log}; first=1\n'
        'for unit; do [ -n "$first" ] || echo; first=\n'
        "case $unit in up*) state=active ;; *) state=inactive ;; esac\n"
        "printf 'MainPID=0\\nLoadState=loaded\\nActiveState=%s\\n' $state; done",
    )
    stand_in(tmp_path, "journalctl", "echo its last words")
    units = ("up@a.timer", "down.service", "up.service")
    texts = faults(tmp_path, *(("unit_runs", unit) for unit in units))
    assert texts == ["", "is inactive: its last words", ""]
    asked = log.read_text().splitlines()
    assert asked == [" ".join(units), "down.service"], "all at once, and the failed one again"


@pytest.mark.parametrize("active", ["activating", "failed", "inactive"])
def test_a_failed_start_is_told_in_the_words_of_the_program(tmp_path: Path, active: str) -> None:
    """As of a port that another process has; a unit that was stopped said something else last."""
    stand_in(tmp_path, "systemctl", SYSTEMCTL)
    words = "case $* in *INVOCATION_ID=0ab1) echo the port is taken;; *) echo stopped;; esac"
    stand_in(tmp_path, "journalctl", words)
    fault_text = fault(
        tmp_path, "unit_runs", "nginx.service", LOAD="loaded", ACTIVE=active, ID="0ab1"
    )
    assert (
        fault_text == f"is {active}: {'stopped' if active == 'inactive' else 'the port is taken'}"
    )


def test_a_failed_start_is_told_in_its_last_three_lines(tmp_path: Path) -> None:
    stand_in(tmp_path, "systemctl", SYSTEMCTL)
    stand_in(tmp_path, "journalctl", "seq 1 20")
    state = {"LOAD": "loaded", "ACTIVE": "failed", "ID": "0ab1"}
    assert fault(tmp_path, "unit_runs", "nginx.service", **state) == "is failed: 18 19 20"


def test_a_start_that_has_just_begun_is_told_by_the_one_before_it(tmp_path: Path) -> None:
    """Nginx warns of its own configuration first, and tries for seconds before it gives up."""
    stand_in(tmp_path, "systemctl", SYSTEMCTL)
    warned = "nginx: [warn] the directive is deprecated"
    words = (
        f"case $* in *INVOCATION_ID=0ab1) echo '{warned}';; "
        f"*_SYSTEMD_UNIT=nginx.service) printf '%s\\n' '{warned}' 'the port is taken' '{warned}';; "
        "*) echo Scheduled restart job;; esac"
    )
    stand_in(tmp_path, "journalctl", words)
    fault_text = fault(
        tmp_path, "unit_runs", "nginx.service", LOAD="loaded", ACTIVE="activating", ID="0ab1"
    )
    assert fault_text == "is activating: the port is taken"


TORN = (
    "Error opening database of Type badgerv2 with source /etc/step-ca/db: error opening Badger "
    "database: During db.vlog.open: Value log truncate required to run DB."
)


@pytest.mark.parametrize(
    ("log", "answers", "words"),
    [
        (TORN, False, f"cannot open its database: {TORN}"),
        (f"Serving HTTPS on :9000 ...\\n{TORN}", False, f"cannot open its database: {TORN}"),
        ("opening Badger database: manifest has bad magic", False,
         "cannot open its database: opening Badger database: manifest has bad magic"),
        # It was given another one since, or it does not run for another reason.
        (f"{TORN}\\nServing HTTPS on :9000 ...", False, ""),
        (TORN, True, ""),
        ("error opening database of Type badgerv2: mkdir: permission denied", False, ""),
        ("error opening database of Type badgerv2: no space left on device", False, ""),
    ],
)  # fmt: skip
def test_a_ca_that_cannot_open_its_database_says_so(
    tmp_path: Path, log: str, answers: bool, words: str
) -> None:
    stand_in(tmp_path, "systemctl", SYSTEMCTL)
    stand_in(tmp_path, "curl", f"exit {int(not answers)}")
    stand_in(tmp_path, "journalctl", f"printf '%b\\n' '{log}'")
    (tmp_path / "ca/certs").mkdir(parents=True)
    directory = str(tmp_path / "ca")
    more = ("ca_database_opens", directory, "step-ca.service", "9000")

    def text_of_fault() -> str:
        return fault(
            tmp_path,
            "unit_runs",
            "step-ca.service",
            *more,
            LOAD="loaded",
            ACTIVE="activating",
            UNIT="step-ca.service",
        )

    other = "is activating: " + log.replace("\\n", " ")
    assert text_of_fault() == (
        other if answers else f"cannot open its database: {directory}/db is missing"
    )
    (tmp_path / "ca/db").mkdir()
    assert text_of_fault() == (words or other)


@pytest.mark.parametrize("path", ["/health[1-9]", "/health{a,b}", "/health?of=[x]"])
def test_a_path_is_asked_for_as_it_is_declared(tmp_path: Path, path: str) -> None:
    """curl takes brackets and braces for patterns of its own, and asks for each of nine paths."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}{path}"
        assert fault(tmp_path, "request_gives", "200", url, "/dev/null") == ""
        server.shutdown()
    assert set(asked) == {path}


def api(folder: Path) -> tuple[str, str, str]:
    """URL, root and file of the key, which is there."""
    key = folder / "key"
    key.write_text("X-API-Key: ptr_x\n")
    return API, "/root.pem", str(key)


def portainer(folder: Path, answers: Mapping[str, object]) -> None:
    """curl that answers as Portainer's API does at these paths."""
    for path, answer in answers.items():
        (folder / path.replace("/", "_")).write_text(json.dumps(answer))
    stand_in(
        folder,
        "curl",
        f"""
        for word; do url=$word; done
        path=${{url#{API}}}; path=${{path%%\\?*}}
        cat "{folder}/$(printf %s "$path" | tr / _)"
    """,
    )


ENDPOINTS = [{"Id": 1, "Name": "first"}, {"Id": 2, "Name": "second"}]
ACTIVE, STOPPED, DEPLOYING = 1, 2, 3


def stack(endpoint: int, status: int, name: str = "shop") -> dict[str, object]:
    return {"Name": name, "EndpointId": endpoint, "Status": status}


@pytest.mark.parametrize(
    ("stacks", "words"),
    [
        ([stack(1, ACTIVE)], ""),
        ([stack(1, ACTIVE), stack(2, STOPPED)], ""),
        ([stack(2, ACTIVE)], "is not there"),
        ([stack(1, STOPPED), stack(2, ACTIVE)], "is 2"),
        ([stack(1, DEPLOYING)], "is 3"),
        ([stack(1, ACTIVE, name="cart")], "is not there"),
    ],
)
def test_stack_of_another_endpoint_with_the_same_name_is_another_stack(
    tmp_path: Path, stacks: list[dict[str, object]], words: str
) -> None:
    portainer(tmp_path, {"/endpoints": ENDPOINTS, "/stacks": stacks})
    message = fault(tmp_path, "stack_is_active", *api(tmp_path), "first", "shop")
    assert message.partition(" (")[0] == words


@pytest.mark.parametrize(
    "check",
    [("portainer_knows_us",), ("endpoint_is_up", "first"), ("stack_is_active", "first", "shop")],
)
def test_a_missing_key_is_told_in_words(tmp_path: Path, check: tuple[str, ...]) -> None:
    portainer(tmp_path, {"/endpoints": ENDPOINTS, "/stacks": []})
    url, root, key = api(tmp_path)
    Path(key).unlink()
    fault_text = fault(tmp_path, check[0], url, root, key, *check[1:])
    assert fault_text.endswith(f"there is no API key in {key}"), fault_text
    for words in ("jq", "curl", "parse error"):
        assert words not in fault_text, fault_text


@pytest.mark.parametrize(
    "check", [("endpoint_is_up", "first"), ("stack_is_active", "first", "shop")]
)
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("<html>502</html>", "Portainer's answer is no list: <html>502</html>"),
        ("curl: (7) Failed to connect", "Portainer cannot be asked: curl: (7) Failed to connect"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_list_is_told_in_words(
    tmp_path: Path, check: tuple[str, ...], answer: str, words: str
) -> None:
    stand_in(tmp_path, "curl", f"echo '{answer}'; exit {7 if answer.startswith('curl') else 0}")
    assert fault(tmp_path, check[0], *api(tmp_path), *check[1:]) == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, ""),
        (22, "the API key is refused: no such key"),
        (7, "Portainer does not answer: no such key"),
    ],
)
def test_a_portainer_that_refuses_the_key_is_told_from_a_silent_one(
    tmp_path: Path, status: int, words: str
) -> None:
    """Without --fail-with-body curl succeeds with any status (curl(1))."""
    refuses = f"case \" $* \" in *' --fail-with-body '*) exit {status} ;; esac"
    stand_in(tmp_path, "curl", f"echo no such key; {refuses}")
    assert fault(tmp_path, "portainer_knows_us", *api(tmp_path)) == words


def test_an_endpoint_whose_docker_is_silent_is_not_up(tmp_path: Path) -> None:
    portainer(tmp_path, {"/endpoints": ENDPOINTS})
    fault_text = fault(tmp_path, "endpoint_is_up", *api(tmp_path), "first")
    assert fault_text.startswith("the Docker behind it does not answer: ")


def test_endpoint_that_portainer_does_not_have_is_told(tmp_path: Path) -> None:
    portainer(tmp_path, {"/endpoints": ENDPOINTS, "/endpoints/2/docker/_ping": "OK"})
    assert fault(tmp_path, "endpoint_is_up", *api(tmp_path), "second") == ""
    assert (
        fault(tmp_path, "endpoint_is_up", *api(tmp_path), "third")
        == "Portainer has no endpoint third"
    )


def issued(folder: Path) -> Path:
    """A pair for a.test that is valid for another day, and the place of phoenix-acme's notes."""
    pair = folder / "tls/gateway"
    pair.mkdir(parents=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/", "-addext", "subjectAltName=DNS:a.test",
         "-keyout", pair / "privkey.pem", "-out", pair / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "var/gateway").mkdir(parents=True)
    return pair


def test_a_renewal_that_failed_is_a_fault_while_the_certificate_is_still_valid(
    tmp_path: Path,
) -> None:
    pair = issued(tmp_path)
    where = {"PHOENIX_ACME_VAR": str(tmp_path / "var")}
    assert fault(tmp_path, "pair_fits", str(pair), "gateway", "a.test", **where) == ""
    note = "2026-11-24 18:05 UTC: https://ca gave no certificate for a.test: port 80 refused"
    (tmp_path / "var/gateway/failure").write_text(note + "\n")
    fault_text = fault(tmp_path, "pair_fits", str(pair), "gateway", "a.test", **where)
    assert fault_text.startswith(f"the last renewal failed: {note} (the certificate ends "), (
        fault_text
    )


def test_a_key_of_another_certificate_is_a_fault(tmp_path: Path) -> None:
    pair = issued(tmp_path)
    issued(tmp_path / "other")
    shutil.copy(tmp_path / "other/tls/gateway/privkey.pem", pair)
    check = ("pair_fits", str(pair), "gateway", "a.test")
    assert fault(tmp_path, *check) == f"{pair}/privkey.pem is not the key of the certificate"
    (pair / "fullchain.pem").write_text("none")
    (pair / "privkey.pem").unlink()
    assert fault(tmp_path, *check) == f"{pair}/fullchain.pem is missing or no certificate"


def at(folder: Path, moment: float) -> None:
    """Have the host's clock say so many seconds since 1970."""
    script = f'case "$*" in +%s) echo {int(moment)} ;; *) exec /bin/date "$@" ;; esac'
    stand_in(folder, "date", script)


def test_a_pair_that_has_expired_is_a_fault_also_where_no_renewal_failed(tmp_path: Path) -> None:
    """Its timer may never have run."""
    pair = issued(tmp_path)
    where = {"PHOENIX_ACME_VAR": str(tmp_path / "var")}
    at(tmp_path, time.time() + 2 * 86400)
    fault_text = fault(tmp_path, "pair_fits", str(pair), "gateway", "a.test", **where)
    assert fault_text.startswith("the certificate has expired: ")
    (tmp_path / "var/gateway/failure").write_text("port 80 refused\n")
    fault_text = fault(tmp_path, "pair_fits", str(pair), "gateway", "a.test", **where)
    assert fault_text.endswith("; its renewal failed: port 80 refused")


def test_a_served_certificate_is_to_have_more_than_a_tenth_of_its_life(
    tmp_path: Path, tls_server: tuple[str, Path]
) -> None:
    port, pair = tls_server
    (leaf,) = x509.load_pem_x509_certificates((pair / "fullchain.pem").read_bytes())
    end = leaf.not_valid_after_utc.timestamp()
    tenth = (end - leaf.not_valid_before_utc.timestamp()) / 10
    for moment, words in (
        (end - tenth - 60, ""), (end - tenth + 60, ": it is not being renewed"),
        (end + 60, " has expired: "),
    ):  # fmt: skip
        at(tmp_path, moment)
        session = ("127.0.0.1", port, "a.test")
        verified, fault_text = faults(
            tmp_path,
            ("tls_verifies", *session, str(pair / "fullchain.pem")),
            ("served_is_fresh", *session),
        )
        assert verified == "", "openssl has the machine's own clock"
        assert words in fault_text
        assert bool(fault_text) == bool(words)


def test_a_service_whose_process_is_stopped_hangs(tmp_path: Path) -> None:
    """systemd calls it active; its certificate and its answers are not at fault."""
    stand_in(tmp_path, "systemctl", SYSTEMCTL)
    with subprocess.Popen(["sleep", "60"]) as process:
        state = {"LOAD": "loaded", "ACTIVE": "active", "MAIN": str(process.pid)}
        assert fault(tmp_path, "unit_runs", "nginx.service", **state) == ""
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        fault_text = fault(tmp_path, "unit_runs", "nginx.service", **state)
        process.kill()
    assert fault_text == (
        f"is active, and hangs: its process {process.pid} is stopped (SIGSTOP, or a debugger)"
    )


def test_a_service_whose_child_process_is_stopped_hangs(tmp_path: Path) -> None:
    """As a worker of Nginx, whose main process takes no connections."""
    stand_in(tmp_path, "systemctl", SYSTEMCTL)
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"], process_group=0) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (child := children.read_text().strip()):
            time.sleep(0.01)
        state = {"LOAD": "loaded", "ACTIVE": "active", "MAIN": str(process.pid)}
        assert fault(tmp_path, "unit_runs", "nginx.service", **state) == ""
        os.kill(int(child), signal.SIGSTOP)
        fault_text = fault(tmp_path, "unit_runs", "nginx.service", **state)
        os.killpg(process.pid, signal.SIGKILL)
    assert fault_text.startswith(f"is active, and hangs: its process {child} is stopped")


def table(unit: str, *rows: tuple[str, int, int]) -> str:
    head = f"Filesystem {unit} Used Available Capacity Mounted on"
    lines = [f"/dev/x 100 {used} {left} 0% {place}" for place, used, left in rows]
    return "\n".join([head, *lines])


@pytest.mark.parametrize(
    ("room", "files", "words"),
    [
        ([("/", 50, 50)], [("/", 80, 20)], ""),
        ([("/", 85, 15)], [("/", 50, 50)], ""),
        ([("/", 90, 10)], [("/", 50, 50)], "~/ has 10% of its room left;"),
        ([("/", 95, 5)], [("/", 50, 50)], "~/ has 5% of its room left;"),
        ([("/", 50, 50)], [("/", 99, 1)], "/ has 1% of its room for files left;"),
        ([("/", 97, 3), ("/var", 90, 10)], [("/", 0, 0), ("/var", 1, 9)],
         "/ has 3% of its room left;"),
        ([], [], "df gives no answer"),
    ],
)  # fmt: skip
def test_room_is_warned_of_before_it_is_a_fault(
    tmp_path: Path,
    room: list[tuple[str, int, int]],
    files: list[tuple[str, int, int]],
    words: str,
) -> None:
    bytes_, inodes = table("1024-blocks", *room), table("Inodes", *files)
    stand_in(tmp_path, "df", f"case $1 in -P) echo '{bytes_}' ;; -Pi) echo '{inodes}' ;; esac")
    assert fault(tmp_path, "has_room", "/", "/no/such/place") == words


def test_room_of_which_df_tells_half_is_not_known(tmp_path: Path) -> None:
    stand_in(tmp_path, "df", f"[ $1 = -Pi ] || echo '{table('1024-blocks', ('/', 1, 99))}'")
    assert fault(tmp_path, "has_room", "/") == "df gives no answer"


def test_a_read_only_disk_is_a_fault(tmp_path: Path) -> None:
    """/proc is mounted everywhere: `sed` tells of it as of a read-only root."""
    bytes_, inodes = table("1024-blocks", ("/", 1, 99)), table("Inodes", ("/", 1, 99))
    stand_in(tmp_path, "df", f"case $1 in -P) echo '{bytes_}' ;; -Pi) echo '{inodes}' ;; esac")
    stand_in(
        tmp_path, "sed",
        'case "$2" in */mounts) echo "mount /dev/x / ext4 ro,relatime 0 0" ;;'
        ' *) exec /bin/sed "$@" ;; esac',
    )  # fmt: skip
    assert fault(tmp_path, "has_room", "/") == "/ is read-only;"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("worker", ""),
        ("Worker", ""),
        ("worker.example.com", ""),
        ("sub.worker", "~it calls itself sub.worker, and is declared as worker: hostnamectl"),
        ("localhost", "~it calls itself localhost, and is declared as worker: hostnamectl"),
        ("worker-2", "~it calls itself worker-2, and is declared as worker: hostnamectl"),
        ("", "uname gives no answer"),
    ],
)
def test_a_name_that_was_changed_by_hand_is_told(tmp_path: Path, name: str, words: str) -> None:
    stand_in(tmp_path, "uname", f'[ "$1" = -n ] && echo "{name}"')
    fault_text = fault(tmp_path, "is_called", "worker")
    assert fault_text.startswith(words)
    assert bool(fault_text) == bool(words)


def test_a_dot_of_a_declared_name_is_a_hyphen_of_the_host_name(tmp_path: Path) -> None:
    stand_in(tmp_path, "uname", "echo web.one")
    assert fault(tmp_path, "is_called", "web-one") == ""


@pytest.mark.parametrize("locale", ["tr_TR.UTF-8", "de_DE.UTF-8", "no_SUCH.locale", "C"])
def test_a_host_s_language_changes_nothing(tmp_path: Path, locale: str) -> None:
    """Headings, commas in numbers and names of months are those of the C locale everywhere."""
    spoken = "case ${LC_ALL:-$LANG} in C) ;; *) echo Dateisystem; exit 0 ;; esac"
    room, files = table("1024-blocks", ("/", 90, 10)), table("Inodes", ("/", 50, 50))
    stand_in(
        tmp_path, "df", f"{spoken}\ncase $1 in -P) echo '{room}' ;; -Pi) echo '{files}' ;; esac"
    )
    language = {"LANG": locale, "LC_ALL": locale, "LC_NUMERIC": locale, "LANGUAGE": locale[:2]}
    assert fault(tmp_path, "has_room", "/", **language) == "~/ has 10% of its room left;"
    stand_in(tmp_path, "curl", 'echo "date: $(LC_ALL=C /bin/date -uR -d "1 hour ago")"')
    clock = fault(tmp_path, "clock_agrees", "https://10.0.0.10/health", **language)
    assert clock.startswith("this clock is 360"), clock
    stand_in(tmp_path, "uname", "echo WORKER-I")  # whose small letter is another one in Turkish
    assert fault(tmp_path, "is_called", "worker-i", **language) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, ""), (58, ""), (-58, ""), (63, "ahead of"), (-63, "behind"), (86400 * 365, "ahead of")],
)
def test_a_clock_may_be_a_minute_off(tmp_path: Path, seconds: int, words: str) -> None:
    """step-ca dates a leaf a minute back, so that a host within it takes each certificate."""
    stand_in(tmp_path, "curl", f'echo "date: $(/bin/date -uR -d "{-seconds} seconds")"')
    fault_text = fault(tmp_path, "clock_agrees", "https://10.0.0.10/health")
    assert bool(fault_text) == bool(words), fault_text
    assert words in fault_text


DIRECTORY = '{"newNonce":"https://ca/acme/new-nonce","newOrder":"https://ca/acme/new-order"}'


@pytest.mark.parametrize(
    ("nonce", "words"),
    [
        ("HTTP/2 200\nReplay-Nonce: abc", ""),
        ("HTTP/2 500 \ncontent-length: 0", "the CA takes no ACME orders: no nonce, but HTTP/2 500"),
        ("curl: (28) Operation timed out after 10001 milliseconds with 0 bytes received",
         "the CA takes no ACME orders: no nonce, but accepts the connection and then says nothing"),
    ],
)  # fmt: skip
def test_a_ca_that_gives_no_nonce_takes_no_orders(tmp_path: Path, nonce: str, words: str) -> None:
    """With its disk full step-ca answers /health, and no client gets a certificate."""
    stand_in(
        tmp_path, "curl",
        f'for word; do url=$word; done; case $url in */new-nonce) echo "{nonce}" ;; '
        f"*) echo '{DIRECTORY}' ;; esac",
    )  # fmt: skip
    asked = ("https://ca/acme/acme/directory", "/root.crt", "10.0.0.10")
    fault_text = fault(tmp_path, "acme_answers", *asked)
    assert fault_text.startswith(words.rstrip()), fault_text
    assert bool(fault_text) == bool(words)


def test_a_ca_takes_orders_whatever_its_own_resolver_says(tmp_path: Path) -> None:
    """A resolver that knows no names is a fault of DNS there, and told as that."""
    stand_in(
        tmp_path, "curl",
        f"for word; do url=$word; done; case \"$*\" in *'--connect-to ::10.0.0.10: '*) ;; *) "
        "echo 'curl: (6) Could not resolve host: ca'; exit 6 ;; esac; "
        f"case $url in */new-nonce) echo 'Replay-Nonce: abc' ;; *) echo '{DIRECTORY}' ;; esac",
    )  # fmt: skip
    asked = ("https://ca/acme/acme/directory", "/root.crt", "10.0.0.10")
    assert fault(tmp_path, "acme_answers", *asked) == ""


@pytest.mark.parametrize("header", ["", "Replay-Nonce: abc"])
def test_a_ca_whose_directory_is_an_error_takes_no_orders(tmp_path: Path, header: str) -> None:
    """step-ca gives a nonce with an error as well."""
    stand_in(
        tmp_path, "curl",
        'case " $* " in *" -sSI "*) echo "HTTP/2 500"; echo "$HEADER" ;;\n'
        "*' --fail '*) echo 'curl: (22) The requested URL returned error: 500'; exit 22 ;;\n"
        "*) echo no such provisioner ;; esac",
    )  # fmt: skip
    asked = ("https://ca/acme/acme/directory", "/root.crt", "10.0.0.10")
    assert fault(tmp_path, "acme_answers", *asked, HEADER=header) == (
        "the CA gives no ACME directory: curl: (22) The requested URL returned error: 500"
    )


URL = "https://a.test/x"


@pytest.mark.parametrize(
    "check",
    [
        ("acme_answers", URL, "/root.crt", "10.0.0.10"),
        ("request_gives", "200", URL, "/root.crt", "10.0.0.20"),
        ("grpc_gives", "200", URL, "/root.crt"),
        ("login_is_asked", URL, "/root.crt"),
        ("portainer_knows_us", URL, "/root.crt", "KEY"),
        ("endpoint_is_up", URL, "/root.crt", "KEY", "first"),
        ("stack_is_active", URL, "/root.crt", "KEY", "first", "shop"),
    ],
)
def test_a_request_believes_the_site_s_root_alone(tmp_path: Path, check: tuple[str, ...]) -> None:
    """Whoever answers in the server's place must not be told as it."""
    _, _, key = api(tmp_path)
    log, endpoints = tmp_path / "asked", tmp_path / "endpoints"
    endpoints.write_text(json.dumps(ENDPOINTS))
    stand_in(
        tmp_path, "curl",
        f"echo \"$*\" >>{log}; case \"$*\" in *endpoints*) cat {endpoints} ;; "
        f"*) echo '{DIRECTORY}' ;; esac",
    )  # fmt: skip
    fault(tmp_path, *(key if word == "KEY" else word for word in check))
    calls = log.read_text().splitlines()
    assert calls
    for call in calls:
        assert "--cacert /root.crt " in call, call
        assert not re.search(r"(^| )(-[A-Za-z]*k[A-Za-z]*|--insecure)( |$)", call), call


def test_requests_that_go_out_together_believe_the_root_of_the_site(tmp_path: Path) -> None:
    log = logged(tmp_path, "curl")
    faults(
        tmp_path,
        ("tls_verifies", "127.0.0.1", "1", "a.test", "/root.crt"),
        ("request_gives", "200", "https://127.0.0.1:1/", "/root.crt"),
    )
    # The second call is the check's own, after the first has failed.
    together, _, _ = " ".join(log.read_text().split()).partition(" -sSg ")
    assert " -sZg " in together
    assert "--cacert /root.crt " in together
    assert not re.search(r"(^| )(-[A-Za-z]*k[A-Za-z]*|--insecure)( |$)", together), together


@pytest.mark.parametrize(
    ("check", "place"),
    [
        (("request_gives", "200", URL, "/root.crt", "10.0.0.20"), "--connect-to ::10.0.0.20: "),
        (("name_is_rejected", "10.0.0.20", "x.test"), "--resolve x.test:443:10.0.0.20 "),
    ],
)
def test_a_gateway_is_asked_at_its_address_whatever_dns_says(
    tmp_path: Path, check: tuple[str, ...], place: str
) -> None:
    log = tmp_path / "asked"
    stand_in(tmp_path, "curl", f'echo "$*" >>{log}; exit 6')
    fault(tmp_path, *check)
    assert all(place in call for call in log.read_text().splitlines())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("2 200", ""),
        ("1.1 200", "gives 1.1 200, not 2 200 (HTTP version, status)"),
        ("2 502", "gives 2 502, not 2 200 (HTTP version, status)"),
    ],
)
def test_a_grpc_server_answers_by_http_2(tmp_path: Path, answer: str, words: str) -> None:
    stand_in(tmp_path, "curl", f"case \" $* \" in *' --http2 '*) printf '{answer}' ;; esac")
    assert fault(tmp_path, "grpc_gives", "200", URL, "/root.crt") == words


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Portainer-Agent: 2.27", ""),
        ("HTTP/1.1 404 Not Found", "no agent answers at https://a.test/x: HTTP/1.1 404 Not Found"),
        ("curl: (7) Failed", "no agent answers at https://a.test/x: curl: (7) Failed"),
    ],
)
def test_an_agent_is_known_by_its_header(tmp_path: Path, said: str, words: str) -> None:
    stand_in(tmp_path, "curl", f"echo '{said}'")
    assert fault(tmp_path, "agent_pings", URL) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is missing"),
        ("", "holds no certificate"),
        ("# nothing\n", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
    ],
)
def test_a_host_without_roots_says_so(tmp_path: Path, text: str | None, words: str) -> None:
    roots = tmp_path / "roots.pem"
    if text is not None:
        roots.write_text(text)
    expected = f"{roots} {words}" if words else ""
    assert fault(tmp_path, "roots_are_there", str(roots)) == expected


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (0, "the gateway answers for x.test, which nobody declared"),
        *((status, "") for status in (7, 28, 35, 52, 55, 56)),
        (2, "it could not be tried: curl ended with 2"),
        (60, "it could not be tried: curl ended with 60"),
    ],
)
def test_a_name_that_nobody_declared_is_refused(tmp_path: Path, ended: int, words: str) -> None:
    """curl(1), exit codes: 35 is a handshake that the server ended."""
    stand_in(tmp_path, "curl", f"exit {ended}")
    assert fault(tmp_path, "name_is_rejected", "127.0.0.1", "x.test") == words


@pytest.mark.parametrize(
    ("status", "words"),
    [
        *((status, "") for status in ("301", "302", "303", "307", "308", "401", "403")),
        *((status, "lets everyone in") for status in ("200", "204")),
        *((status, "where a log-in should be asked for") for status in ("304", "404", "502")),
    ],
)
def test_a_client_without_a_log_in_is_sent_to_one_or_refused(
    tmp_path: Path, status: str, words: str
) -> None:
    stand_in(tmp_path, "curl", f"printf {status}")
    fault_text = fault(tmp_path, "login_is_asked", "https://a.test/", "/roots.pem")
    assert words in fault_text
    assert bool(fault_text) == bool(words)


@pytest.mark.parametrize("port", [2375, 2376])
def test_docker_listens_at_none_of_its_ports(tmp_path: Path, port: int) -> None:
    """By TLS too: whoever has a certificate of the CA would be root on the host."""
    stand_in(tmp_path, "ss", f'case "$*" in *":{port}"*) echo "LISTEN 0 0 *:{port} *:*" ;; esac')
    assert fault(tmp_path, "docker_has_no_port") == (
        f"Docker listens on the network: LISTEN 0 0 *:{port} *:*"
    )
    stand_in(tmp_path, "ss", "exit 0")
    assert fault(tmp_path, "docker_has_no_port") == ""
    stand_in(tmp_path, "ss", "exit 255")
    assert fault(tmp_path, "docker_has_no_port") == "the ports could not be listed:"


@pytest.mark.parametrize(
    ("check", "killed"),
    [
        (("keys_are_private", "/etc"), "find"),
        (("roots_are_there", "/etc/hosts"), "cat"),
        (("docker_has_no_port",), "ss"),
        (("serves_no_stranger", "127.0.0.1", "x.test", "1"), "openssl"),
        (("name_is_rejected", "127.0.0.1", "x.test"), "curl"),
        (("containers_are_well", "shop"), "awk"),
        (("names_resolve", "a.test=10.0.0.1"), "awk"),
        (("has_room", "/"), "awk"),
        (("has_room", "/"), "df"),
    ],
)
def test_no_check_passes_where_its_program_is_killed(
    tmp_path: Path, check: tuple[str, ...], killed: str
) -> None:
    """As where memory is full: its silence is no proof."""
    listed = "a net\\tshop\\tweb shop-web-1 running Up 2 hours\\n"
    stand_in(tmp_path, "docker", f"printf '{listed}'")
    stand_in(tmp_path, "dig", "echo")
    stand_in(tmp_path, killed, "kill -KILL $$")
    assert fault(tmp_path, *check) not in ("", "~")


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("$(/bin/date -uR)", ""),
        ("$(/bin/date -uR -d '59 seconds ago')", ""),
        ("$(/bin/date -uR -d '1 hour ago')", "this clock is 360"),
        ("$(/bin/date -uR -d 'next year')", "this clock is "),
        ("", ""),
    ],
)
def test_a_wrong_clock_is_told_as_such(tmp_path: Path, date: str, words: str) -> None:
    """To it, certificates seem expired or not yet valid, and they are not at fault."""
    stand_in(tmp_path, "curl", f'echo "HTTP/2 405"; echo "date: {date}" | sed "/: $/d"')
    fault_text = fault(tmp_path, "clock_agrees", "https://10.0.0.10/health")
    assert fault_text.startswith(words), fault_text
    assert bool(fault_text) == bool(words)
    if "year" in date:
        assert " s behind the CA's: here it is " in fault_text


def test_every_check_can_say_that_all_is_well(tmp_path: Path) -> None:
    """One that cannot is a fault on a site that is well."""
    script = text("health/checks.sh")
    every = {check.function for check in checks(minimal().load(tmp_path))}
    for function in every - {ISSUED}:  # which no host makes
        (body,) = re.findall(rf"^{function}\(\) {{(.*?)^}}", script, re.M | re.S)
        assert re.search(r'\bwell\b|print "\+"', body), function


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("tlsv13 alert certificate required:ssl/record/rec_layer_s3.c:1605:SSL alert number", ""),
        ("connect:errno=111; exit 1", ""),
        ("Connecting to 10.0.0.12; exit 1", ""),
        ("Connecting to 10.0.0.12; exit 137", "openssl cannot ask 10.0.0.12 port 443"),
        ("HTTP/1.1 404 Not Found", "10.0.0.12 port 443 answers to this host"),
        ("verify return:1", "10.0.0.12 port 443 takes a client without a certificate"),
        ("", "openssl cannot ask 10.0.0.12 port 443"),
    ],
)
def test_a_stranger_must_be_turned_away(tmp_path: Path, answer: str, words: str) -> None:
    text, _, end = answer.partition("; ")
    stand_in(tmp_path, "openssl", f"echo '{text}'; {end or ':'}")
    fault_text = fault(tmp_path, "serves_no_stranger", "10.0.0.12", "proxy.test", "443")
    assert fault_text.startswith(words), fault_text
    assert bool(fault_text) == bool(words)


@pytest.fixture
def open_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.mark.parametrize("asked", ["ports_are_shut", "ports_are_shut_to_containers"])
def test_what_no_flow_opens_must_not_answer(tmp_path: Path, open_port: str, asked: str) -> None:
    listed = "a shop_net\\tshop\\tweb shop-web-1 running Up 2 hours\\n"
    listed += "b two,one\\t\\t x running Up 2 hours\\nc bridge\\t\\t y exited Exited (0)\\n"
    asked_of = 'case "$*" in *"{{.State.Pid}} a b") echo 0; echo 77 ;; esac'
    stand_in(tmp_path, "docker", f'case $1 in ps) printf "{listed}" ;; *) {asked_of} ;; esac')
    entered = tmp_path / "entered"
    enter = f'[ "$1 $2 $3" = "-t 77 -n" ] || exit 1; : >{entered}; shift 3; exec "$@"'
    stand_in(tmp_path, "nsenter", enter)
    with socket.create_server(("127.0.0.1", 0)) as other:
        shut = str(other.getsockname()[1])
    assert fault(tmp_path, asked, "127.0.0.1", shut) == ""
    fault_text = fault(tmp_path, asked, "127.0.0.1", shut, open_port)
    assert (
        fault_text == f"127.0.0.1 answers at port {open_port}, which the site's flows do not open"
    )
    assert entered.exists() == (asked == "ports_are_shut_to_containers")
    # A check whose probe dies fails.
    stand_in(tmp_path, "bash", "kill -KILL $$")
    assert fault(tmp_path, asked, "127.0.0.1", shut) == "only 0 of 1 ports could be asked"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port of which Linux drops every question: its queue of connections is full (listen(2))."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as server,
        socket.create_connection(server.getsockname()),
    ):
        yield server


PINGED = "echo '3 packets transmitted, 3 received, 0% packet loss, time 202ms'"
LOST = "echo '3 packets transmitted, 2 received, 33% packet loss, time 202ms'"


@pytest.mark.parametrize("ping", [PINGED, LOST, "exit 1"])
def test_a_silent_port_is_shut(tmp_path: Path, silent: socket.socket, ping: str) -> None:
    log = tmp_path / "pinged"
    stand_in(tmp_path, "ping", f'echo "$*" >>{log}\n{ping}')
    port = str(silent.getsockname()[1])
    assert fault(tmp_path, "ports_are_shut", "127.0.0.1", port) == ""
    assert log.read_text().split()[-1:] == ["127.0.0.1"]


@pytest.mark.parametrize("ping", [f"until [ -e heard ]; do :; done; {PINGED}", LOST, "exit 1"])
def test_a_port_that_answers_late_is_open(tmp_path: Path, silent: socket.socket, ping: str) -> None:
    """The kernel asks again after a second: before the last ping is answered, or without one."""
    stand_in(tmp_path, "ping", f"cd {tmp_path}; : >asked; {ping}")
    port = silent.getsockname()[1]

    def answer() -> None:
        while not (tmp_path / "asked").exists():
            time.sleep(0.01)
        silent.accept()[0].close()  # who filled the queue
        while True:  # a fault is asked for a second time
            silent.accept()[0].close()
            (tmp_path / "heard").touch()

    with ThreadPoolExecutor() as pool:
        answering = pool.submit(answer)
        answer_of_check = fault(tmp_path, "ports_are_shut", "127.0.0.1", str(port))
        silent.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OSError, match="Invalid argument"):
            answering.result()
    words = f"127.0.0.1 answers at port {port}, which the site's flows do not open"
    assert answer_of_check == words


@pytest.mark.parametrize("network", ["host", "none", ""])  # "": that of another container
def test_a_container_without_a_network_of_its_own_is_not_asked(
    tmp_path: Path, open_port: str, network: str
) -> None:
    listed = f"a {network}\\tshop\\tweb shop-web-1 running Up 2 hours\\n"
    stand_in(tmp_path, "docker", f'case $1 in ps) printf "{listed}" ;; *) echo 77 ;; esac')
    assert fault(tmp_path, "ports_are_shut_to_containers", "127.0.0.1", open_port) == ""
    stand_in(tmp_path, "docker", "echo no daemon >&2; exit 1")
    fault_text = fault(tmp_path, "ports_are_shut_to_containers", "127.0.0.1", open_port)
    assert fault_text.startswith("Docker does not list its containers"), fault_text


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", ""),
        ("echo the table is gone; exit 1", "the guard does not hold: the table is gone"),
        ("kill -KILL $$", "the guard does not hold: "),
    ],
)
def test_a_guard_that_does_not_hold_is_told_in_its_words(
    tmp_path: Path, script: str, words: str
) -> None:
    stand_in(tmp_path, "guard", script)
    fault_text = fault(tmp_path, "guard_holds", str(tmp_path / "guard"))
    assert words in fault_text, fault_text
    assert bool(fault_text) == bool(words)


@pytest.mark.parametrize("check", ["networks_hold", "folders_are_mounted"])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 0", ""),
        ("echo vmbr1 is down; exit 1", "vmbr1 is down"),
        ("exit 1", "it could not be asked"),
    ],
)
def test_networks_and_folders_that_do_not_hold_are_told(
    tmp_path: Path, check: str, script: str, words: str
) -> None:
    stand_in(tmp_path, "program", f'[ "$1" = holds ] || exit 0; {script}')
    fault_text = fault(tmp_path, check, str(tmp_path / "program"))
    assert fault_text.startswith(words)
    assert bool(fault_text) == bool(words)


def test_updates_that_failed_and_a_reboot_that_is_due_are_warned_of(tmp_path: Path) -> None:
    """apt's timers tell how they ended, Debian's kernels and libraries that a reboot is due."""
    due = tmp_path / "reboot-required"
    stand_in(
        tmp_path, "systemctl", 'case "$*" in *"$FAILED"*) echo exit-code;; *) echo success;; esac'
    )

    def warning(failed: str = "none") -> str:
        return fault(tmp_path, "updates_are_done", FAILED=failed, PHOENIX_REBOOT_REQUIRED=str(due))

    assert warning() == ""
    assert (
        warning("apt-daily-upgrade.service") == "~apt-daily-upgrade.service has failed (exit-code)"
    )
    due.touch()
    os.utime(due, (1_800_000_000, 1_800_000_000))
    assert warning() == "~a reboot is due since 2027-01-15 08:00 UTC"
    due.with_name("reboot-required.pkgs").write_text("linux-image\nlibc6\nlinux-image\n")
    assert warning() == "~a reboot is due since 2027-01-15 08:00 UTC, for libc6 linux-image"
    stand_in(tmp_path, "systemctl", "echo no bus; exit 1")
    assert warning() == "systemd does not answer: no bus"


def test_updates_are_told_from_the_answer_about_all_units(tmp_path: Path) -> None:
    log = tmp_path / "asked"
    stand_in(
        tmp_path,
        "systemctl",
        f'echo "$*" >>{log}\n'
        '[ "$2" != -P ] || { case "$*" in *"$FAILED"*) echo exit-code ;; *) echo success ;; esac\n'
        "exit; }\n"
        'shift 11; first=1; for unit; do [ -n "$first" ] || echo; first=; result=success\n'
        '[ "$unit" != "$FAILED" ] || result=exit-code; echo "LoadState=loaded"\n'
        'printf "ActiveState=active\\nMainPID=0\\nInvocationID=\\nResult=%s\\n" $result; done',
    )
    due = str(tmp_path / "none")
    both = (("unit_runs", "nginx.service"), ("updates_are_done",))
    assert faults(tmp_path, *both, FAILED="none", PHOENIX_REBOOT_REQUIRED=due) == ["", ""]
    assert len(log.read_text().splitlines()) == 1, "all of them by one question"
    failed = {"FAILED": "apt-daily.service", "PHOENIX_REBOOT_REQUIRED": due}
    assert faults(tmp_path, *both, **failed) == [
        "", "~apt-daily.service has failed (exit-code)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("shop_web 1/1", ""),
        ("shop_web 2/1", ""),  # one of them is being stopped, or the new one takes over
        ("shop_web 0/1 (1/1 completed)", ""),
        ("shop_web 0/1", "shop_web has 0/1 tasks: Failed 3 seconds ago on b task: exit 1"),
        ("shop_web 9/10", "shop_web has 9/10 tasks: Failed 3 seconds ago on b task: exit 1"),
        ("shop_web x", "shop_web has x tasks: Failed 3 seconds ago on b task: exit 1"),
        ("", "the swarm has no service of it"),
    ],
)
def test_a_service_of_a_swarm_has_its_tasks(tmp_path: Path, listed: str, words: str) -> None:
    (tmp_path / "listed").write_text(f"{listed}\n" if listed else "")
    stand_in(
        tmp_path,
        "docker",
        f'case "$*" in "service ls "*) cat {tmp_path}/listed ;;\n'
        '*) echo "Running 1 second ago on a "\n'
        'echo "Failed 3 seconds ago on b task: exit 1" ;; esac',
    )
    assert fault(tmp_path, "tasks_are_well", "shop-production") == words


@pytest.mark.parametrize("program", ["3.5", "3.0"])
def test_a_server_that_hangs_does_not_take_a_client_without_a_certificate(
    tmp_path: Path, program: str
) -> None:
    """Its kernel takes the connection, and no certificate comes; openssl 3.5 says where it goes."""
    prefix = "echo Connecting to 127.0.0.1 >&2; " if program == "3.5" else ""
    stand_in(tmp_path, "openssl", f'{prefix}exec /usr/bin/openssl "$@"')
    stand_in(tmp_path, "timeout", 'shift; exec /usr/bin/timeout 1 "$@"')
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        port = str(hangs.getsockname()[1])
        assert fault(tmp_path, "serves_no_stranger", "127.0.0.1", "proxy.test", port) == ""


def test_who_answers_nobody_does_not_take_a_client_without_a_certificate(tmp_path: Path) -> None:
    """A firewall drops what is sent: openssl waits, and says nothing. Others tell that."""
    stand_in(tmp_path, "openssl", "exec /bin/sleep 60")
    stand_in(tmp_path, "timeout", 'shift; exec /usr/bin/timeout 1 "$@"')
    assert fault(tmp_path, "serves_no_stranger", "192.0.2.1", "proxy.test", "443") == ""


def test_a_watcher_whose_looks_all_fail_is_told(tmp_path: Path) -> None:
    """Its timer is active, and nobody else raises an alarm."""
    looked = tmp_path / "metrics"
    check = "watcher_looks", str(looked), "phoenix-watch-judge.timer"
    stand_in(tmp_path, "systemctl", 'echo "$SINCE"')
    up = float(Path("/proc/uptime").read_text().split()[0])
    assert fault(tmp_path, *check, SINCE=str(int(up * 1e6))) == "", "a first look is awaited"
    looked.touch()
    assert fault(tmp_path, *check, SINCE="0") == ""
    old = time.time() - 3600
    os.utime(looked, (old, old))
    text_of_fault = fault(tmp_path, *check, SINCE="0")
    assert text_of_fault.startswith("the watcher has not looked for 36")
    assert text_of_fault.endswith("journalctl -u phoenix-watch-judge.service")
    if up < 400:
        pytest.skip("this machine has just booted")
    looked.unlink()
    assert "has not looked for" in fault(tmp_path, *check, SINCE=str(int((up - 350) * 1e6)))


def logged(folder: Path, name: str) -> Path:
    """Has each call of a program of this machine logged, a line each."""
    log = folder / f"{name}.log"
    program = shutil.which(name)
    assert program is not None
    stand_in(folder, name, f'echo "$*" >>{log}; exec {program} "$@"')
    return log


def _refuse_without_name(_: object, name: str | None, __: object) -> int | None:
    return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if name in (None, "x.test") else None


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The port of a TLS server with three names, and the folder of its pair.

    Whoever asks it for no name, or for x.test, is refused.
    """
    pair = tmp_path_factory.mktemp("pair")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", pair / "privkey.pem", "-out", pair / "fullchain.pem", "-days", "9",
         "-subj", "/CN=a.test", "-addext", "subjectAltName=DNS:a.test,DNS:b.test,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair / "fullchain.pem", pair / "privkey.pem")
    context.sni_callback = _refuse_without_name

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=serve, args=(listening,), daemon=True).start()
        yield str(listening.getsockname()[1]), pair
        listening.shutdown(socket.SHUT_RDWR)


def test_checks_of_one_server_share_a_session_and_are_told_apart(
    tmp_path: Path, tls_server: tuple[str, Path]
) -> None:
    port, pair = tls_server
    sessions, locks = logged(tmp_path, "openssl"), logged(tmp_path, "flock")
    root = str(pair / "fullchain.pem")
    other = tmp_path / "other"
    other.mkdir()
    (other / "fullchain.pem").write_text("none")
    end = ("127.0.0.1", port, "a.test")
    assert faults(
        tmp_path,
        ("port_answers", *end[:2]),
        ("tls_verifies", *end, root),
        ("served_is_fresh", *end),
        ("pair_is_served", str(pair), *end),
    ) == ["", "", "", ""]
    assert [line.split()[0] for line in sessions.read_text().splitlines()] == ["s_client"]
    assert not locks.exists(), "one shell asks: it waits for no other"
    answers = faults(
        tmp_path,
        ("tls_verifies", *end, root),
        ("tls_verifies", "127.0.0.1", port, "c.test", root),
        ("tls_verifies", "127.0.0.1", port, "b.test", root),
        ("served_is_fresh", *end),
        ("pair_is_served", str(other), *end),
        ("pair_is_served", str(pair), *end),
    )
    assert [not answer for answer in answers] == [True, False, True, True, False, True], answers
    assert "does not prove to be c.test" in answers[1]
    assert answers[4].endswith("the file is missing")


def test_each_check_of_tls_has_the_root_that_it_names(
    tmp_path: Path, tls_server: tuple[str, Path]
) -> None:
    port, pair = tls_server
    other = issued(tmp_path) / "fullchain.pem"
    end = ("tls_verifies", "127.0.0.1", port, "a.test")
    first, second = faults(tmp_path, (*end, str(pair / "fullchain.pem")), (*end, str(other)))
    assert first == ""
    assert "does not prove to be a.test" in second


@pytest.mark.parametrize(
    ("name", "proof", "words"),
    [
        ("a.test", "ca", ""),
        ("127.0.0.1", "ca", ""),
        ("c.test", "ca", "does not prove to be c.test: hostname mismatch"),
        ("127.0.0.2", "ca", "does not prove to be 127.0.0.2: IP address mismatch"),
        ("a.test", "public", ""),
        ("c.test", "public", "does not prove to be c.test: hostname mismatch"),
        ("x.test", "public", "does not prove to be x.test: "),
    ],
)
def test_an_external_service_proves_its_name(
    tmp_path: Path, tls_server: tuple[str, Path], name: str, proof: str, words: str
) -> None:
    port, pair = tls_server
    own = str(pair / "fullchain.pem")
    trusted = {"SSL_CERT_FILE": own if proof == "public" else "/dev/null"}
    check = ("external_proves", "127.0.0.1", port, name, proof, own if proof == "ca" else "-")
    fault_text = fault(tmp_path, *check, **trusted)
    assert words in fault_text, fault_text
    assert bool(fault_text) == bool(words)


def test_a_service_that_has_not_loaded_its_renewed_pair_is_told(
    tmp_path: Path, tls_server: tuple[str, Path]
) -> None:
    port, pair = tls_server
    end = ("127.0.0.1", port, "a.test")
    renewed = issued(tmp_path)
    verifies, is_served = faults(
        tmp_path,
        ("tls_verifies", *end, str(pair / "fullchain.pem")),
        ("pair_is_served", str(renewed), *end),
    )
    assert verifies == ""
    numbers = [
        f"serial={x509.load_pem_x509_certificate(file.read_bytes()).serial_number:X}"
        for file in (pair / "fullchain.pem", renewed / "fullchain.pem")
    ]
    served, file = [
        number.replace("=", "=0") if len(number) % 2 == 0 else number for number in numbers
    ]
    assert is_served == f"port {port} serves {served}, the file is {file}"


def test_without_a_session_one_check_alone_is_at_fault(tmp_path: Path) -> None:
    stand_in(tmp_path, "openssl", "echo 'connect:errno=111' >&2; exit 1")
    end = ("10.0.0.20", "443", "a.test")
    checks_ = (
        ("tls_verifies", *end, "/root.pem"),
        ("served_is_fresh", *end),
        ("pair_is_served", str(issued(tmp_path)), *end),
    )
    assert [bool(text) for text in faults(tmp_path, *checks_)] == [True, False, False]


@contextlib.contextmanager
def clock_of(pair: Path, seconds: float | None) -> Iterator[str]:
    """The port of a TLS server whose clock is so many seconds ahead; None: it hangs after TLS."""
    released = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if seconds is None:
                released.wait(60)
                return
            self.send_response(200)
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + (seconds or 0))

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair / "fullchain.pem", pair / "privkey.pem")
    context.sni_callback = _refuse_without_name
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield str(server.server_port)
        finally:
            released.set()
            server.shutdown()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, ""), (-3600, " s ahead of the CA's"), (3600, " s behind the CA's"), (None, "")],
)
def test_the_session_with_the_ca_tells_its_clock(
    tmp_path: Path, tls_server: tuple[str, Path], seconds: float | None, words: str
) -> None:
    """That it hangs behind its session, the check of what it answers tells."""
    _, pair = tls_server
    sessions = logged(tmp_path, "openssl")
    stand_in(tmp_path, "curl", f"echo asked >>{tmp_path}/curl.log; exit 1")
    if seconds is None:
        program = shutil.which("timeout")
        stand_in(tmp_path, "timeout", f'shift; exec {program} 0.5 "$@"')
    with clock_of(pair, seconds) as port:
        end = ("127.0.0.1", port, "a.test")
        clock, *others = faults(
            tmp_path,
            ("clock_agrees", f"https://127.0.0.1:{port}/health"),
            ("port_answers", *end[:2]),
            ("tls_verifies", *end, str(pair / "fullchain.pem")),
            ("served_is_fresh", *end),
        )
    assert others == ["", "", ""]
    assert words in clock
    assert bool(clock) == bool(words), clock
    asked = [line.split()[0] for line in sessions.read_text().splitlines()]
    # A fault is looked at a second time, and so is silence.
    assert asked == ["s_client"] * (1 if seconds == 0 else 2), asked
    assert not (tmp_path / "curl.log").exists()


def test_a_session_that_fails_is_asked_for_again_by_each_check(
    tmp_path: Path, tls_server: tuple[str, Path]
) -> None:
    """The first time is no proof: a busy machine misses a deadline."""
    port, pair = tls_server
    end = ("127.0.0.1", port, "a.test")
    program, first = shutil.which("openssl"), tmp_path / "first"
    stand_in(
        tmp_path,
        "openssl",
        f'[ "$1" != s_client ] || mkdir {first} 2>/dev/null || exec {program} "$@"',
    )
    stand_in(tmp_path, "bash", "exit 1")
    assert faults(
        tmp_path,
        ("port_answers", *end[:2]),
        ("tls_verifies", *end, str(pair / "fullchain.pem")),
        ("served_is_fresh", *end),
    ) == ["", "", ""]


def test_routers_are_asked_for_at_once_and_told_apart(tmp_path: Path) -> None:
    locks = logged(tmp_path, "flock")
    stand_in(
        tmp_path,
        "curl",
        'for word; do case "$word" in http:*/bad) echo \'{"error":["no such service"]}\' ;; '
        "http:*/gone) echo '404 page not found' ;; http:*) echo '{\"status\":\"enabled\"}' ;; "
        '*) continue ;; esac; echo; echo "$word"; done',
    )
    names = ("shop", "bad", "gone", "shop-next")
    assert faults(tmp_path, *(("router_is_enabled", f"http://t/{name}") for name in names)) == [
        "",
        '"error":["no such service"]',
        "Traefik does not have this router",
        "",
    ]
    assert len(locks.read_text().splitlines()) == 1


def test_without_awk_each_check_is_run_on_its_own(tmp_path: Path) -> None:
    stand_in(tmp_path, "awk", "exit 137")
    stand_in(
        tmp_path,
        "systemctl",
        "shift 9; case $1 in up*) state=active ;; *) state=inactive ;; esac\n"
        "printf 'MainPID=0\\nLoadState=loaded\\nActiveState=%s\\n' $state",
    )
    stand_in(tmp_path, "journalctl", "echo its last words")
    units = ("up.timer", "down.service", "up.service")
    assert faults(tmp_path, *(("unit_runs", unit) for unit in units)) == [
        "",
        "is inactive: its last words",
        "",
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.test", "*.b.test", "10.0.0.1"), ""),
        (("10.0.0.1", "*.b.test", "a.test"), ""),
        (("a.test", "*.b.test"), "for a.test *.b.test 10.0.0.1, not a.test *.b.test"),
        (("a.test", "*.b.test", "10.0.0.1", "c.test"), ", not a.test *.b.test 10.0.0.1 c.test"),
        (("a.test", "x.b.test", "10.0.0.1"), ", not a.test x.b.test 10.0.0.1"),
        (("a.test", "b.test", "10.0.0.1"), ", not a.test b.test 10.0.0.1"),
    ],
)
def test_a_certificate_carries_exactly_its_names(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/", "-addext",
         "subjectAltName=DNS:a.test,DNS:*.b.test,IP:10.0.0.1",
         "-keyout", tmp_path / "privkey.pem", "-out", tmp_path / "fullchain.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    fault_text = fault(tmp_path, "pair_fits", str(tmp_path), "gateway", *names)
    assert fault_text.startswith("the certificate is for " if words else "")
    assert fault_text.endswith(words)
    assert bool(fault_text) == bool(words)


def test_a_key_that_others_can_read_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    for name, mode in (("a", 0o600), ("b c", 0o640), ("d", 0o400)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    check = ("keys_are_private", str(folder))
    assert fault(tmp_path, *check) == f"{folder}/b c can be read by others"
    (folder / "b c").chmod(0o600)
    assert fault(tmp_path, *check) == ""
    for key in folder.iterdir():
        key.unlink()
    assert fault(tmp_path, *check) == "no key can be looked at:"
    folder.rmdir()
    assert fault(tmp_path, *check).startswith("no key can be looked at: find: ")


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1), datetime(2026, 11, 7, 8, 9, 8), datetime(2028, 2, 29, 12),
        datetime(2099, 12, 31, 23, 59, 59), datetime(2100, 3, 1), datetime(2400, 2, 29, 0, 0, 1),
    ],
)  # fmt: skip
def test_the_dates_of_certificates_are_read_without_another_program(moment: datetime) -> None:
    """A check is made each minute, and each `date` is a process."""
    expected = int(moment.replace(tzinfo=UTC).timestamp())
    written = f"{moment:%b} {moment.day:2} {moment:%H:%M:%S %Y} GMT"
    assert seconds_of(written) == expected
    assert seconds_of("Bad time value") == seconds_of("") == seconds_of(f"x{written}") == 0
    for short in ("Jan", "Jan 1", "Jan 1 10:00:00"):
        assert seconds_of(short) == 0


def seconds_of(written: str) -> int:
    checks_text = text("health/checks.sh")
    start = checks_text.index("seconds_of() {")
    function = checks_text[start : checks_text.index("\n}\n", start) + 3]
    script = f'{function}\nseconds_of $1\necho "$seconds"'
    return int(subprocess.check_output(["sh", "-c", script, "sh", written], text=True))


@pytest.mark.parametrize(
    "script",
    ["health/checks.sh", "components/acme/phoenix-acme", "components/watch/phoenix-watch"],
)
def test_a_certificate_is_read_without_all_roots_of_the_system(script: str) -> None:
    """`openssl x509` reads them first: two thirds of its time, in what is run again and again."""
    calls = re.findall(r"(?<!#)(\S+) openssl x509 ", text(script))
    assert calls
    assert all(before.endswith("SSL_CERT_FILE=/dev/null") for before in calls)
