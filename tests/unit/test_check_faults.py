"""`phoenix/health/checks.sh`, run for real with stand-ins for the programs that it asks.

A silent check is a fault: one that was not run, did not end, or could not write.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from phoenix.components.traefik import traefik_yml

SCRIPT = (Path(__file__).parents[2] / "phoenix/health/checks.sh").read_text()
NOT_ENDED = "this check did not finish"


def _full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@dataclass
class Guest:
    """A directory of stand-ins, in front of this machine's own programs."""

    top: Path

    def program(self, name: str, body: str) -> None:
        path = self.top / "bin" / name
        path.write_text(f'#!/bin/sh\necho "$@" >>{self.top}/{name}.calls\n{body}\n')
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        path = self.top / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def run_checks(self, *checks: str, full: bool = False, words: str = "15 5") -> list[str]:
        """The faults, in order; every answer must be there."""
        process = subprocess.run(
            ["/bin/sh", "-c", SCRIPT, "checks", words,
             *(check.replace(" ", "\t") for check in checks)],
            env={**os.environ, "PATH": f"{self.top / 'bin'}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=True, timeout=120, restore_signals=False,
            preexec_fn=_full_disk if full else None,
        )  # fmt: skip
        lines = [line.partition("\t") for line in process.stdout.splitlines()]
        assert [number for number, _, _ in lines] == [str(i) for i in range(len(checks))]
        return [fault for _, _, fault in lines]


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    (tmp_path / "bin").mkdir()
    guest = Guest(tmp_path)
    guest.program("sleep", "")  # between a first and a second try
    return guest


def test_all_well_and_a_fault_between(guest: Guest) -> None:
    guest.program("find", 'case "$1" in */open) printf "644 %s/key" "$1" ;; *) echo 600 ;; esac')
    checks = ("keys_are_private /a", "keys_are_private /open", "keys_are_private /b")
    assert guest.run_checks(*checks) == ["", "/open/key can be read by others", ""]
    assert len([*filter(None, guest.calls("find"))]) == 4, "a fault counts when it is seen twice"


def test_where_no_file_can_be_made_every_check_is_a_fault(guest: Guest) -> None:
    guest.program("mktemp", "echo 'mktemp: No space left on device' >&2; exit 1")
    guest.program("find", "")
    faults = guest.run_checks("keys_are_private /a", "keys_are_private /b")
    assert [fault[:26] for fault in faults] == ["this check was not run: no"] * 2
    assert guest.calls("find") == []


def test_what_cannot_be_written_is_a_fault(guest: Guest) -> None:
    """As on a disk that is full: files can be made, and no byte be put into them."""
    guest.program("find", "")
    faults = guest.run_checks("keys_are_private /a", "keys_are_private /b", full=True)
    assert all(fault.startswith(NOT_ENDED) for fault in faults), faults


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_check_that_is_killed_is_a_fault(guest: Guest, signal: str) -> None:
    # `find` runs in a command substitution: its parent's parent is the check itself.
    guest.program("find", f'read -r _ _ _ check _ </proc/$PPID/stat; kill -{signal} "$check"')
    first, second = guest.run_checks("keys_are_private /a", "no_such_check x")
    assert first.startswith(NOT_ENDED), first
    # "Permission denied": where the PATH has a folder that this user may not read
    assert re.search("no_such_check: (not found|Permission denied)", second), second


def test_checks_run_side_by_side_and_not_all_at_once(guest: Guest) -> None:
    running = guest.top / "running"
    running.mkdir()
    guest.program(
        "find",
        f"cd {running}; : >$$; ls | wc -l >>{guest.top}/most; /bin/sleep 0.1; rm $$; echo 600 $1",
    )
    assert guest.run_checks(*(f"keys_are_private /{number}" for number in range(100))) == [""] * 100
    most = max(map(int, (guest.top / "most").read_text().split()))
    assert 1 < most <= 32, most


SESSION = """case $1 in
s_client) cat <<'EOT'
CONNECTED(00000003)
 0 s:CN = gw.example
-----BEGIN CERTIFICATE-----
-----END CERTIFICATE-----
Verify return code: 0 (ok)
EOT
;;
x509) case "$*" in *-in*) ;; *) cat >/dev/null ;; esac; echo serial=01
 case "$*" in *-startdate*) echo 'notBefore=Jan  1 00:00:00 2020 GMT'
  echo 'notAfter=Jan  1 00:00:00 2100 GMT' ;; esac ;;
esac"""
END = "10.0.0.20 443 gw.example"
TLS = (
    f"tls_verifies {END} /roots.pem", f"served_is_fresh {END}", "port_answers 10.0.0.20 443",
    f"pair_is_served /pair {END}",
)  # fmt: skip


def test_checks_of_one_endpoint_share_a_session(guest: Guest) -> None:
    guest.program("openssl", SESSION)
    assert guest.run_checks(*TLS) == ["", "", "", ""]
    (session,) = [call for call in guest.calls("openssl") if call.startswith("s_client")]
    assert "-CAfile /roots.pem" in session
    assert "-verify_hostname gw.example" in session


def test_a_session_that_does_not_verify_is_a_fault_of_tls_alone(guest: Guest) -> None:
    broken = SESSION.replace(
        "Verify return code: 0 (ok)",
        "depth=0 CN = gw.example\nverify error:num=20:unable to get local issuer certificate\n"
        "Verify return code: 20 (unable to get local issuer certificate)",
    )
    guest.program("openssl", broken)
    tls, fresh, port, _ = guest.run_checks(*TLS)
    assert tls.startswith(
        "10.0.0.20 port 443 does not prove to be gw.example: unable to get local issuer certificate"
    ), tls
    assert (fresh, port) == ("", "")
    assert sum(call.startswith("s_client") for call in guest.calls("openssl")) == 2


def test_no_session_at_all_is_no_port_and_no_tls(guest: Guest) -> None:
    guest.program("openssl", "echo 'connect:errno=111' >&2; exit 1")
    guest.program("bash", "exit 1")
    tls, _, port, _ = guest.run_checks(*TLS)
    assert "no TLS session" in tls
    assert "10.0.0.20 port 443 does not answer" in port


@pytest.mark.parametrize(
    ("session", "seconds", "tries"),
    [
        ("echo 'connect:errno=113' >&2; exit 1", "", (1, 1)),  # no route to host
        ("", "124", (1, 1)),  # nothing came within the time
        ("echo 'connect:errno=111' >&2; exit 1", "", (5, 6)),  # a service that starts refuses
    ],
)
def test_who_is_silent_is_waited_for_by_one_check_alone(
    guest: Guest, session: str, seconds: str, tries: tuple[int, int]
) -> None:
    """A session and a connection after it: whoever asks the same port has it from them."""
    guest.program("openssl", session)
    guest.program("bash", "exit 1")
    if seconds:
        guest.program("timeout", f'shift; [ "$1" = bash ] || exit {seconds}; exec "$@"')
    port = "port_answers 10.0.0.20 443"
    faults = guest.run_checks(port, port, *TLS[:2], port)
    assert ["does not answer" in fault for fault in faults] == [True, True, False, False, True]
    assert "no TLS session" in faults[2]
    asked = "openssl" if not seconds else "timeout"
    sessions = [call for call in guest.calls(asked) if "s_client" in call]
    assert (len(sessions), len(guest.calls("bash"))) == tries


def dig(*answers: str) -> str:
    return "cat <<'EOT'\n" + "\n".join(answers) + "\nEOT"


KNOWN = (
    ";; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1", ";a.example.\t\tIN\tA",
    "a.example.\t60\tIN\tA\t10.0.0.1",
)  # fmt: skip
UNKNOWN = (";; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: 2", ";no.example.\t\tIN\tA")
NAMES = ("names_resolve a.example=10.0.0.1", "name_is_unknown no.example")


def test_all_names_are_asked_for_at_once(guest: Guest) -> None:
    guest.program("dig", dig(*KNOWN, *UNKNOWN))
    assert guest.run_checks(*NAMES) == ["", ""]
    (call,) = guest.calls("dig")
    assert "a.example A no.example A" in call


def test_a_name_server_that_says_nothing_is_a_fault_of_both(guest: Guest) -> None:
    guest.program("dig", "echo ';; no servers could be reached'; exit 9")
    assert guest.run_checks(*NAMES) == [
        "the name server gives no answer about a.example;",
        "the name server gives no answer about no.example",
    ]


def test_a_wrong_address_and_a_name_that_nobody_declared(guest: Guest) -> None:
    answer = "no.example.\t60\tIN\tA\t203.0.113.9"
    guest.program("dig", dig(*KNOWN, UNKNOWN[0].replace("NXDOMAIN", "NOERROR"), UNKNOWN[1], answer))
    assert guest.run_checks("names_resolve a.example=10.0.0.2", NAMES[1]) == [
        "a.example is 10.0.0.1 here, not 10.0.0.2;",
        "no.example is NOERROR 203.0.113.9; nobody declared it",
    ]


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ("10.0.0.1,172.16.9.1", ""),
        ("172.16.9.1,10.0.0.1", ""),
        ("10.0.0.1", "a.example is 10.0.0.1 172.16.9.1 here, not 10.0.0.1;"),
        (
            "10.0.0.1,172.16.9.1,10.7.0.1",
            "a.example is 10.0.0.1 172.16.9.1 here, not 10.0.0.1,172.16.9.1,10.7.0.1;",
        ),
    ],
)
def test_a_name_has_all_its_addresses_in_any_order(
    guest: Guest, expected: str, message: str
) -> None:
    guest.program("dig", dig(*KNOWN, "a.example.\t60\tIN\tA\t172.16.9.1"))
    assert guest.run_checks(f"names_resolve a.example={expected}") == [message]


@pytest.mark.parametrize(
    "answer",
    [
        (KNOWN[0], KNOWN[1].replace("a.example", "A.Example"), KNOWN[2]),
        (*KNOWN[:2], "a.example.\t60\tIN\tCNAME\tb.example.", "b.example.\t60\tIN\tA\t10.0.0.1"),
    ],
    ids=["in capitals", "by another name"],
)
def test_a_name_is_the_same_however_the_server_writes_it(
    guest: Guest, answer: tuple[str, ...]
) -> None:
    guest.program("dig", dig(*answer))
    assert guest.run_checks(NAMES[0]) == [""]


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("10.0.0.1 a.example", ""),
        ("127.0.1.1 a.example", ""),  # Debian's line for the host's own name
        ("10.0.0.9 b.example # a.example", ""),
        ("10.0.0.9 b a.example", "a.example is 10.0.0.9 in /etc/hosts, not 10.0.0.1;"),
    ],
)
def test_what_the_host_s_own_file_says_of_a_name_counts(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, hosts: str, message: str
) -> None:
    """Programs read it before they ask a name server."""
    file = guest.top / "hosts"
    file.write_text(f"{hosts}\n")
    monkeypatch.setitem(globals(), "SCRIPT", SCRIPT.replace("- /etc/hosts <<", f"- {file} <<"))
    guest.program("dig", dig(*KNOWN))
    assert guest.run_checks(NAMES[0]) == [message]


@pytest.mark.parametrize("silent", ["10.0.0.10", "10.0.0.25", "none"])
def test_names_are_asked_of_a_server_that_answers(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """Each later question would wait for the silent one."""
    servers = guest.top / "resolv.conf"
    servers.write_text("search example\nnameserver 10.0.0.10\nnameserver 10.0.0.25\n")
    monkeypatch.setitem(globals(), "SCRIPT", SCRIPT.replace("</etc/resolv.conf", f"<{servers}"))
    guest.program("dig", f'case "$*" in *@{silent}*) exit 9 ;; esac\n{dig(*KNOWN)}')
    assert guest.run_checks(NAMES[0]) == [""]
    (question,) = [call for call in guest.calls("dig") if "a.example" in call]
    assert question.startswith("@10.0.0.25 " if silent == "10.0.0.10" else "@10.0.0.10 ")


def test_a_host_with_one_name_server_asks_it_at_once(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = guest.top / "resolv.conf"
    servers.write_text("nameserver 10.0.0.10\n")
    monkeypatch.setitem(globals(), "SCRIPT", SCRIPT.replace("</etc/resolv.conf", f"<{servers}"))
    guest.program("dig", dig(*KNOWN))
    assert guest.run_checks(NAMES[0]) == [""]
    assert len(guest.calls("dig")) == 1
    assert "@" not in guest.calls("dig")[0]


def test_a_docker_that_does_not_answer_is_told(guest: Guest) -> None:
    guest.program("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert guest.run_checks("containers_are_well shop") == [
        "Docker does not list its containers: Cannot connect to the Docker daemon"
    ]


def test_containers_are_told_apart_by_their_project(guest: Guest) -> None:
    listed = "a n\\tshop\\tw web running Up 2 hours\\nb n\\tother\\td db exited Exited (1)\\n"
    guest.program("docker", f"printf '{listed}c n\\t\\t shop running Up 2 hours\\n'")
    checks = [f"containers_are_well {name}" for name in ("shop", "other", "x")]
    assert guest.run_checks(*checks) == [
        "", "db exited Exited (1)", "there are none",
    ]  # fmt: skip


def test_a_container_that_has_come_up_meanwhile_is_well(guest: Guest) -> None:
    """The second look asks Docker anew, not what other checks have heard."""
    guest.program(
        "docker",
        f"state='running Up 2 hours'\n"
        f"mkdir {guest.top}/first 2>/dev/null && state='created Created'\n"
        'printf "a n\\tshop\\tweb shop-web-1 $state\\n"',
    )
    assert guest.run_checks("containers_are_well shop") == [""]
    assert len(guest.calls("docker")) == 2


def test_a_container_that_may_end_has_ended_with_success(guest: Guest) -> None:
    listed = "a n\\tshop\\tinit shop-init-1 exited Exited ({}) 2 hours ago\\n"
    check = "containers_are_well shop init"
    guest.program("docker", f"printf '{listed.format(0)}'")
    assert guest.run_checks(check, "containers_are_well shop") == [
        "", "shop-init-1 exited Exited (0) 2 hours ago",
    ]  # fmt: skip
    guest.program("docker", f"printf '{listed.format(1)}'")
    assert guest.run_checks(check) == ["shop-init-1 exited Exited (1) 2 hours ago"]


def test_a_router_of_which_traefik_says_nothing_is_not_there(guest: Guest) -> None:
    guest.program("curl", "")
    url = "http://127.0.0.1:8080/api/http/routers/a@file"
    assert guest.run_checks(f"router_is_enabled {url}") == ["Traefik does not have this router"]


def test_requests_go_out_together_and_one_that_fails_is_made_again(guest: Guest) -> None:
    guest.program(
        "curl",
        'case "$*" in *-sZ*) echo "200 https://a.example/ 0.1"; echo "502 https://b.example/ 3.1";;'
        " *) printf 503 ;; esac",
    )
    first, second = (f"request_gives 200 https://{name}.example/ /roots.pem" for name in "ab")
    assert guest.run_checks(first, second) == ["", "gives 503, not 200"]
    for option in ("-sZ", "-sS"):  # all together, and the bad one by itself
        assert sum(option in call for call in guest.calls("curl")) == 1


def test_a_request_that_traefik_has_tried_for_long_is_not_made_again(guest: Guest) -> None:
    guest.program("curl", 'echo "504 https://b.example/ 12.734021"')
    assert guest.run_checks("request_gives 200 https://b.example/ /roots.pem") == [
        "gives 504, not 200"
    ]
    assert not any("-sS" in call for call in guest.calls("curl"))
    assert traefik_yml.RETRY_TIMEOUT == "10s"  # how long it tries


def test_routers_are_asked_for_at_once(guest: Guest) -> None:
    urls = [f"http://127.0.0.1:8080/api/http/routers/{name}@file" for name in "abc"]
    guest.program(
        "curl",
        f"""case "$*" in
*{urls[2]}*{urls[1]}*|*{urls[1]}*{urls[2]}*) printf '{{"status":"enabled"}}\\n{urls[0]}\\n'
 printf '{{"status":"disabled","error":["no"]}}\\n{urls[1]}\\n' ;;
*{urls[1]}*) printf '{{"status":"disabled","error":["no"]}}' ;;
*) echo '404 page not found' ;; esac""",
    )
    assert guest.run_checks(*(f"router_is_enabled {url}" for url in urls)) == [
        "", '"error":["no"]', "Traefik does not have this router",
    ]  # fmt: skip


BUSY = f'[ -e "$0.first" ] || {{ : >"$0.first"; exit 124; }}\n{SESSION}'


@pytest.mark.parametrize(
    ("openssl", "connects", "faults", "asked"),
    [
        # It takes the connection, and needs time for the rest.
        (BUSY, 0, ["", ""], ["5 openssl", "5 bash", "8 openssl"]),
        # It takes connections, and no session comes of any.
        ("exit 124", 0, ["hangs", "no TLS session"], ["5 openssl", "5 bash", "8 openssl"]),
        # What is sent is dropped.
        ("exit 124", 1, ["does not answer", "no TLS session"], ["5 openssl", "5 bash"]),
    ],
)
def test_a_session_has_the_limit_of_a_connection_first(
    guest: Guest, openssl: str, connects: int, faults: list[str], asked: list[str]
) -> None:
    """openssl has none for connecting: what was dropped cost its eight seconds, and five more."""
    guest.program("timeout", 'shift; exec "$@"')
    guest.program("openssl", openssl)
    guest.program("bash", f"exit {connects}")
    actual = guest.run_checks("port_answers 10.0.0.20 443", TLS[0])
    for fault, words in zip(actual, faults, strict=True):
        assert words in fault
        assert bool(words) == bool(fault)
    assert [" ".join(call.split()[:2]) for call in guest.calls("timeout")] == asked


def test_a_ca_that_hangs_before_its_session_is_told_as_such(guest: Guest) -> None:
    """Behind its session is another fault, which the checks of its answers tell."""
    guest.program("timeout", 'shift; exec "$@"')
    guest.program("openssl", "exit 124")
    guest.program("bash", "exit 0")
    clock, port, tls = guest.run_checks(
        "clock_agrees https://10.0.0.20:443/health", "port_answers 10.0.0.20 443", TLS[0]
    )
    assert clock == ""
    assert "hangs" in port
    assert "no TLS session" in tls


def test_a_gateway_that_takes_no_connection_does_not_answer(guest: Guest) -> None:
    guest.program("bash", "exit 9")
    assert guest.run_checks("tcp_passes 10.0.0.20 5432") == ["10.0.0.20 port 5432 does not answer"]


def test_a_backend_that_answers_the_second_question_is_reached(guest: Guest) -> None:
    first = guest.top / "first"
    guest.program("timeout", f'mkdir {first} 2>/dev/null && exit 124; shift; exec "$@"')
    guest.program("bash", "exit 0")
    assert guest.run_checks("tcp_passes 10.0.0.20 5432") == [""]


@pytest.mark.parametrize(
    ("check", "program", "calls"),
    [
        ("tcp_passes 10.0.0.20 5432", "bash", 2),  # the question, and a connection after it
        ("external_proves 10.9.9.9 443 nas.example public -", "openssl", 1),
    ],
)
def test_what_is_dropped_is_waited_for_once(
    guest: Guest, check: str, program: str, calls: int
) -> None:
    guest.program("timeout", 'shift; exec "$@"')
    for name in ("bash", "openssl"):
        guest.program(name, "exit 124")
    (fault,) = guest.run_checks(check)
    assert "does not answer" in fault or "no TLS session" in fault
    assert len(guest.calls(program)) == calls


@pytest.mark.parametrize(
    ("said", "hangs"),
    [
        ("Failed to connect to 10.0.0.10 port 443 after 5001 ms: Timeout was reached", False),
        ("SSL connection timeout", True),
        ("Operation timed out after 10000 milliseconds with 0 bytes received", True),
    ],
)
def test_who_takes_no_connection_is_not_said_to_hang(
    guest: Guest, said: str, *, hangs: bool
) -> None:
    """As curl 7.88 tells it."""
    guest.program("curl", f'echo "curl: (28) {said}"; exit 28')
    (fault,) = guest.run_checks("acme_answers https://ca.example/acme /roots.pem 10.0.0.10")
    assert said in fault
    assert ("it hangs" in fault) == hangs


def test_every_connection_has_a_limit_and_all_have_the_same() -> None:
    calls = re.findall(r"^(?! *#).*?(?:\bcurl -|openssl s_client|/dev/tcp/).*$", SCRIPT, re.M)
    limits = (
        '--connect-timeout "$connect_seconds"', 'timeout "$connect_seconds" ',
        "timeout $((connect_seconds + 2)) ", 'timeout "$seconds" openssl',
    )  # fmt: skip
    unlimited = [line for line in calls if not any(limit in line for limit in limits)]
    assert [line for line in unlimited if "$address/$port" not in line] == []
    assert len(calls) == 7, "one for each kind of question"
    assert re.findall(r"try_session (\S+)", SCRIPT) == ['"$connect_seconds"', '"$tls_seconds"']


@pytest.mark.parametrize("words", ["15 5", "15 5 out", "15 5 sessions out"])
@pytest.mark.parametrize(
    ("check", "answer", "told"),
    [
        ("request_gives 200 https://a.example/ /r.pem", "echo 000 https://a.example/ 15.001", "no"),
        ("request_gives 200 https://a.example/ /r.pem 10.0.0.20", "printf 000; exit 28", "000"),
        ("acme_answers https://ca.example/acme /r.pem 10.0.0.10", "exit 28", "no ACME directory"),
    ],
)
def test_a_request_in_vain_is_made_once_where_a_host_is_out(
    guest: Guest, check: str, answer: str, told: str, words: str
) -> None:
    guest.program("curl", answer)
    (fault,) = guest.run_checks(check, words=words)
    assert told in fault or "out" not in words
    requests = [call for call in guest.calls("curl") if "--max-time" in call]
    assert len(requests) == (1 if "out" in words else 2)


def test_what_answers_badly_is_asked_again_though_a_host_is_out(guest: Guest) -> None:
    guest.program("curl", "echo 502 https://a.example/ 3.1")
    (fault,) = guest.run_checks("request_gives 200 https://a.example/ /r.pem", words="15 5 out")
    assert "not 200" in fault
    assert sum("--max-time" in call for call in guest.calls("curl")) == 2
