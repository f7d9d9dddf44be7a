"""phoenix-acme against a fake `lego` that signs with a throw-away CA: no network, no root needed.

The real lego and a real step-ca are the lab's business; here every turn of the script is driven.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phoenix.components.x509 import parse_chain, public_key_digest

SCRIPT = Path(__file__).parents[2] / "phoenix/components/acme/phoenix-acme"
USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name

# Answers as lego 4.9 does: --csr and --path in, certificates/NAME.crt (leaf and issuer) out.
# `fault` and `seconds` in $CA steer it; `orders` counts the certificates it gave.
FAKE_LEGO = """#!/bin/sh
set -eu
path= csr=
echo "$*" >"$CA/words_of_lego"
while [ $# -gt 0 ]; do
    case $1 in --path) path=$2; shift ;; --csr) csr=$2; shift ;; esac
    shift
done
mkdir -p "$path/accounts/ca/me" "$path/certificates"
cp "$csr" "$CA/csr"
echo "${LEGO_CA_CERTIFICATES-}" >"$CA/trusted"
umask >"$CA/umask"
port=$CA/../var/http.lock
if [ ! -e "$port" ] || flock -n "$port" true; then echo free; else echo taken; fi >"$CA/port"
fault=$(cat "$CA/fault" 2>/dev/null || true)
case $fault in
    down) echo "Could not create client: connection refused"; exit 1 ;;
    lost-db) if [ -s "$path/accounts/ca/me/key" ]; then
                 echo "acme: error: 500 :: POST :: https://ca/acme/new-order :: "; exit 1
             fi ;;
    broken) echo "acme: error: 500 :: POST :: ca/new-order :: urn:x:serverInternal"; exit 1 ;;
    unproven) echo "acme: error: 0 :: POST :: ca/finalize :: urn:x:serverInternal"; exit 1 ;;
    rejected) echo "acme: error: 400 :: POST new-order :: urn:x:rejectedIdentifier ::"; exit 1 ;;
    slow) sleep 600 ;;
esac
echo key > "$path/accounts/ca/me/key"
case $fault in
    wrong-name) names=DNS:other.test ;;
    *) names=$(openssl req -in "$csr" -noout -text |
           sed -n 's/, /,/g; s/IP Address:/IP:/g; s/^ *\\(DNS:.*\\)/\\1/p') ;;
esac
case $fault in
    wrong-key) openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / \\
                   -keyout "$path/k" -out "$path/c" 2>/dev/null; csr=$path/c ;;
esac
case $fault in for-clients) usage=clientAuth ;; *) usage=serverAuth ;; esac
printf '%s\\n' "extendedKeyUsage=$usage" "subjectAltName=$names" > "$path/ext"
case $fault in other-ca) ca=other ;; by-intermediate) ca=intermediate ;; *) ca=root ;; esac
openssl ca -batch -notext -in "$csr" -cert "$CA/$ca.crt" -keyfile "$CA/$ca.key" \\
    -config "$CA/ca.cnf" -extfile "$path/ext" -out "$path/leaf" -outdir "$path" \\
    -startdate "$(date -u -d "@$(($(date +%s) - $(cat "$CA/age")))" +%Y%m%d%H%M%SZ)" \\
    -enddate "$(date -u -d "$(cat "$CA/left") seconds" +%Y%m%d%H%M%SZ)" 2>"$path/err" ||
    { cat "$path/err"; exit 1; }
cat "$path/leaf" "$CA/$ca.crt" > "$path/certificates/x.crt"
cp "$CA/$ca.crt" "$path/certificates/x.issuer.crt"
echo "$names" >> "$CA/orders"
"""

CA_CONFIG = """
[ca]
default_ca = it
[it]
database = {ca}/index.txt
new_certs_dir = {ca}
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = optional
"""


@dataclass
class Host:
    """One guest's /etc/phoenix and /var/lib/phoenix-acme in a temporary directory."""

    base: Path
    config: dict[str, str] = field(default_factory=dict)

    @property
    def ca(self) -> Path:
        return self.base / "ca"

    @property
    def link(self) -> Path:
        return self.base / "etc/tls/gateway"

    @property
    def versions(self) -> list[str]:
        return sorted(path.name for path in (self.base / "etc/tls/gateway.d").iterdir())

    @property
    def serial(self) -> str:
        return parse_chain((self.link / "fullchain.pem").read_bytes())[0].serial

    @property
    def orders(self) -> int:
        path = self.ca / "orders"
        return len(path.read_text().splitlines()) if path.exists() else 0

    @property
    def reloads(self) -> int:
        path = self.base / "reloads"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def fault(self, kind: str) -> None:
        (self.ca / "fault").write_text(kind)

    def lifetime(self, *, age: int, remaining: int) -> None:
        (self.ca / "age").write_text(str(age))
        (self.ca / "left").write_text(str(remaining))

    def write_config(self, **changes: str) -> None:
        self.config.update(changes)
        path = self.base / "etc/acme/gateway.conf"
        path.write_text("".join(f"{key}={value}\n" for key, value in self.config.items()))
        path.chmod(0o644)

    def start(self, command: str, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SCRIPT, command, "gateway", *words],
            env={
                "PATH": f"{self.base}/bin:{os.environ['PATH']}",
                "CA": str(self.ca),
                "PHOENIX_ACME_ETC": str(self.base / "etc"),
                "PHOENIX_ACME_VAR": str(self.base / "var"),
                "PHOENIX_ACME_RUN": str(self.base / "run"),
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str = "ensure", *, code: int = 0, **environment: str) -> tuple[str, str]:
        process = self.start(command, **environment)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"{command}: exit {process.returncode}\n{out}\n{err}"
        return out, err

    def status(self) -> dict[str, object]:
        out, err = self.run("status")
        assert err == "", err
        answer = json.loads(out)
        assert isinstance(answer, dict)
        return answer

    def assert_sound(self) -> None:
        """What a service would read is one pair that belongs together, and private."""
        public = subprocess.run(
            ["openssl", "pkey", "-in", self.link / "privkey.pem", "-pubout"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        leaf = parse_chain(
            (self.link / "fullchain.pem").read_bytes(), key=public_key_digest(public)
        )[0]
        assert leaf.key_matches, leaf
        mode = stat.S_IMODE((self.link / "privkey.pem").stat().st_mode)
        assert mode == 0o600, oct(mode)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificate and key of two CAs and of `intermediate`, which `root` signed."""
    folder = tmp_path_factory.mktemp("authorities")
    for name in ("root", "other"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "1", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key",
             "-out", folder / f"{name}.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=intermediate", "-CA", folder / "root.crt",
         "-CAkey", folder / "root.key", "-keyout", folder / "intermediate.key",
         "-out", folder / "intermediate.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def host(tmp_path: Path, authorities: Path) -> Host:
    host = Host(tmp_path)
    for folder in ("ca", "bin", "etc/acme"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin/lego").write_text(FAKE_LEGO)
    (tmp_path / "bin/lego").chmod(0o755)
    (host.ca / "ca.cnf").write_text(CA_CONFIG.format(ca=host.ca))
    (host.ca / "index.txt").touch()
    for file in authorities.iterdir():
        shutil.copy(file, host.ca)
    host.lifetime(age=60, remaining=86400)
    host.write_config(
        DOMAINS="app.lab.test gw.lab.test",
        DIRECTORY="https://ca.lab.test/acme/acme/directory",
        ROOT=str(host.ca / "root.crt"),
        CHALLENGE=f"webroot:{tmp_path}",
        KEY_OWNER=USER,
        KEY_GROUP=GROUP,
        KEY_MODE="0600",
        CHECK=f"test -s {host.link}/fullchain.pem",
        RELOAD=f"echo reload >> {tmp_path}/reloads",
        RENEW_FRACTION="3",
    )
    return host


def test_first_issue_then_unchanged(host: Host) -> None:
    assert (host.status()["pair"], host.status()["due"]) == ("missing", "missing")
    out, _ = host.run()
    issued, reloaded = out.splitlines()
    assert issued.startswith("issued "), out
    assert int(issued.split()[1], 16) == int(host.serial, 16), out
    assert reloaded == "reloaded", out
    host.assert_sound()
    places = (host.link, host.link / "fullchain.pem")
    assert [stat.S_IMODE(path.stat().st_mode) for path in places] == [0o755, 0o644]
    before = host.versions
    assert host.run()[0] == "unchanged\n"
    assert (host.orders, host.reloads, host.versions) == (1, 1, before)
    status = host.status()
    assert (status["due"], status["loaded"], status["error"]) == ("", True, ""), status


def test_placeholder_lets_a_service_start_and_is_replaced(host: Host) -> None:
    assert host.run("placeholder")[0] == "placeholder\n"
    host.assert_sound()
    first = host.serial
    shown = ["openssl", "x509", "-in", str(host.link / "fullchain.pem"), "-noout", "-text"]
    text = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert "CA:FALSE" in text, text
    assert "CA:TRUE" not in text, text
    assert "DNS:" in text, text
    assert host.run("placeholder")[0] == "unchanged\n"
    assert (host.status()["pair"], host.status()["due"]) == ("placeholder", "placeholder")
    host.run()
    assert host.serial != first
    assert host.status()["pair"] == "issued"
    assert host.run("placeholder")[0] == "unchanged\n"


def test_half_a_pair_gets_a_placeholder(host: Host) -> None:
    """No service starts with it."""
    host.run()
    (host.link / "privkey.pem").unlink()
    assert host.run("placeholder")[0] == "placeholder\n"
    host.assert_sound()


def test_new_name_is_issued_and_two_versions_are_kept(host: Host) -> None:
    host.run()
    host.write_config(DOMAINS="app.lab.test gw.lab.test new.lab.test")
    assert host.status()["due"] == "names differ"
    host.run()
    leaf = parse_chain((host.link / "fullchain.pem").read_bytes())[0]
    assert leaf.sans == {"app.lab.test", "gw.lab.test", "new.lab.test"}
    for _ in range(2):
        host.run("renew")
        assert len(host.versions) == 2, host.versions
        assert host.link.readlink().name in host.versions


def test_an_address_is_proven_as_an_address(host: Host) -> None:
    """And a name of hexadecimal digits is none."""
    host.write_config(DOMAINS="face.bed 10.0.0.1")
    host.run()
    (leaf, *_) = parse_chain((host.link / "fullchain.pem").read_bytes())
    assert (leaf.dns_sans, leaf.ip_sans) == (("face.bed",), ("10.0.0.1",))
    assert host.run()[0] == "unchanged\n"


def test_a_pair_by_an_intermediate_of_the_root_is_sound(host: Host) -> None:
    host.fault("by-intermediate")
    host.run()
    host.assert_sound()
    assert host.run()[0] == "unchanged\n"


@pytest.mark.parametrize(
    ("challenge", "words", "port"),
    [
        ("webroot:/srv/www", "--http --http.webroot /srv/www run", "free"),
        ("standalone", "--http --http.port :80 run", "taken"),
    ],
)
def test_the_client_has_the_root_the_challenge_and_port_80_for_itself(
    host: Host, challenge: str, words: str, port: str
) -> None:
    host.write_config(CHALLENGE=challenge)
    (host.base / "var").mkdir()
    (host.base / "var/http.lock").touch()
    host.run()
    asked = (host.ca / "words_of_lego").read_text()
    assert asked.endswith(f" {words}\n"), asked
    assert f"--server {host.config['DIRECTORY']} " in asked
    assert "--email phoenix@app.lab.test " in asked
    assert (host.ca / "trusted").read_text() == f"{host.config['ROOT']}\n"
    assert int((host.ca / "umask").read_text(), 8) == 0o22, "the web server reads the challenge"
    assert (host.ca / "port").read_text() == f"{port}\n", "others wait for it"
    host.write_config(EMAIL="me@lab.test")
    host.run("renew")
    assert "--email me@lab.test " in (host.ca / "words_of_lego").read_text()


def noted(host: Host) -> list[str]:
    lines = (host.base / "var/gateway/keys").read_text().splitlines()
    assert all(abs(int(line.split()[0]) - time.time()) < 600 for line in lines), lines
    return [line.split()[1] for line in lines]


def test_each_key_is_noted_before_the_ca_is_asked(host: Host) -> None:
    host.run()
    (leaf, *_) = parse_chain((host.link / "fullchain.pem").read_bytes())
    assert noted(host) == [leaf.public_key]
    host.fault("down")
    host.run("renew", code=1)
    assert len(set(noted(host))) == 2, "a run that dies after the answer has noted its key"
    keys = host.base / "var/gateway/keys"
    keys.write_text("1 old\n" * 600)
    host.run("renew", code=1)
    assert len(keys.read_text().splitlines()) == 500


def test_without_a_note_of_the_key_the_ca_is_not_asked(host: Host) -> None:
    program = host.base / "bin/sha256sum"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    _, err = host.run(code=1)
    assert f"cannot write {host.base}/var/gateway/keys" in err
    assert host.orders == 0


OPENSSL = """#!/bin/sh
echo "$*" >>"$CA/words"
exec {openssl} "$@"
"""


def test_request_shows_the_proof_and_no_command_line_does(host: Host) -> None:
    openssl = shutil.which("openssl")
    program = host.base / "bin/openssl"
    program.write_text(OPENSSL.format(openssl=openssl))
    program.chmod(0o755)
    host.write_config(PROOF="5ca1ab1e")
    host.run()
    shown = subprocess.run(
        [str(openssl), "req", "-in", host.ca / "csr", "-noout", "-subject", "-verify"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.replace(" ", "") == "subject=serialNumber=5ca1ab1e\n", shown
    words = (host.ca / "words").read_text()
    assert "req -new" in words
    assert "5ca1ab1e" not in words
    assert parse_chain((host.link / "fullchain.pem").read_bytes())[0].sans == {
        "app.lab.test", "gw.lab.test",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("age", "remaining", "reason"),
    [
        (60, 29, "less than 1/3 of the lifetime left"),
        (100, 200, ""),
        (60, -5, "expired"),
        (180, 85, "less than 1/3 of the lifetime left"),
    ],
)
def test_due_by_share_of_lifetime(host: Host, age: int, remaining: int, reason: str) -> None:
    host.run()
    host.lifetime(age=age, remaining=remaining)
    # The script refuses to install an expired certificate, so lay this one by hand.
    work = host.base / "by-hand"
    work.mkdir()
    subprocess.run(
        ["openssl", "req", "-new", "-key", host.link / "privkey.pem", "-subj", "/", "-addext",
         "subjectAltName=DNS:app.lab.test,DNS:gw.lab.test", "-out", work / "csr"],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        [host.base / "bin/lego", "--path", work, "--csr", work / "csr", "run"],
        check=True,
        env={**os.environ, "CA": str(host.ca)},
    )
    (host.link / "fullchain.pem").write_bytes((work / "certificates/x.crt").read_bytes())
    assert host.status()["due"] == reason


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong-name", "refused: names differ"),
        ("wrong-key", "refused: key does not match"),
        ("other-ca", "refused: does not chain to the root"),
        ("for-clients", "refused: does not chain to the root"),
        ("down", "connection refused"),
        ("broken", "gave no certificate for app.lab.test gw.lab.test: acme: error: 500"),
        ("rejected", "rejectedIdentifier"),
        ("unproven", "is PROOF in"),
    ],
)
def test_bad_answer_of_the_ca_leaves_the_old_pair(host: Host, fault: str, message: str) -> None:
    host.run()
    before = host.serial, host.reloads, host.versions
    host.fault(fault)
    _, err = host.run("renew", code=1)
    assert message in err, err
    assert (host.serial, host.reloads, host.versions) == before
    assert not list((host.base / "var/gateway").glob("work.*")), "a work directory was left"
    assert ("registering again" in err) == (fault == "broken"), "only an account may be unknown"
    assert ("is PROOF in" in err) == (fault == "unproven")
    assert message in str(host.status()["failure"])
    host.assert_sound()


def test_a_certificate_of_another_root_is_refused_though_the_system_trusts_it(host: Host) -> None:
    host.run()
    before = host.serial, host.versions
    store = host.base / "store"
    store.mkdir()
    shutil.copy(host.ca / "other.crt", store / "other.pem")
    subprocess.run(["openssl", "rehash", store], check=True)
    trusted = {"SSL_CERT_DIR": str(store)}
    subprocess.run(
        ["openssl", "verify", "-CAfile", host.ca / "root.crt", host.ca / "other.crt"],
        check=True, capture_output=True, env={**os.environ, **trusted},
    )  # fmt: skip
    host.fault("other-ca")
    _, err = host.run("renew", code=1, **trusted)
    assert "refused: does not chain to the root" in err, err
    assert (host.serial, host.versions) == before


def test_what_it_keeps_is_for_nobody_else(host: Host) -> None:
    """Also the proof of a time, which is in no configuration then."""
    process = host.start("also", "more.lab.test")
    _, err = process.communicate("the-proof\n", timeout=60)
    assert process.returncode == 0, err
    host.status()
    kept = [host.base / "var/gateway", *(host.base / "var").rglob("*")]
    kept += [host.base / "run", *(host.base / "run").rglob("*")]
    assert {"also", "keys", "key", "gateway"} <= {path.name for path in kept}
    open_to_others = {
        str(path.relative_to(host.base)): oct(path.stat().st_mode) for path in kept
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    }  # fmt: skip
    assert open_to_others == {}


def test_expired_answer_is_refused(host: Host) -> None:
    host.lifetime(age=60, remaining=-1)
    _, err = host.run(code=1)
    assert "refused: expired" in err, err
    assert not host.link.exists()


def test_an_answer_of_the_future_is_refused(host: Host) -> None:
    """As by a CA whose clock is ahead: a service would present what no client takes."""
    host.lifetime(age=-3600, remaining=86400)
    _, err = host.run(code=1)
    assert "refused: not yet valid" in err, err
    assert not host.link.exists()


def test_an_answer_that_is_due_at_once_is_taken(host: Host) -> None:
    """A CA may give shorter lifetimes than we like; without it there would be nothing."""
    host.lifetime(age=86400, remaining=600)
    host.run()
    assert host.status()["due"] == "less than 1/3 of the lifetime left"


def test_a_first_account_is_not_registered_again(host: Host) -> None:
    host.fault("broken")
    _, err = host.run(code=1)
    assert "gave no certificate" in err, err
    assert "registering again" not in err, err


def test_a_pair_that_cannot_be_installed_leaves_the_old_one(host: Host) -> None:
    host.run()
    before = host.serial, host.versions
    host.write_config(KEY_OWNER="no-such-user-here")
    _, err = host.run("renew", code=1)
    assert "cannot install the new pair" in err, err
    assert (host.serial, host.versions) == before
    assert not list((host.base / "etc/tls/gateway.d").glob(".new.*"))
    host.assert_sound()


def test_what_a_killed_run_left_stops_no_other_and_does_not_stay(host: Host) -> None:
    host.run()
    swap = host.base / "etc/tls/.gateway.swap"
    swap.symlink_to("gateway.d/gone")
    left = [host.base / "var/gateway/work.left", host.base / "etc/tls/gateway.d/.new.left"]
    for folder in left:
        folder.mkdir()
    host.run("renew")
    assert [path for path in (*left, swap) if os.path.lexists(path)] == []
    host.assert_sound()


def test_lost_account_is_registered_again_once(host: Host) -> None:
    host.run()
    host.fault("lost-db")
    out, err = host.run("renew")
    assert "registering again" in err, err
    assert "reloaded" in out, out


def test_refused_check_swaps_back(host: Host) -> None:
    host.run()
    old = host.serial
    # Refuses the new pair only: the check before the order must pass.
    host.write_config(CHECK=f"test $(wc -l < {host.ca}/orders) -eq 1")
    _, err = host.run("renew", code=1)
    assert "went back to" in err, err
    assert host.serial == old
    assert host.reloads == 1
    host.assert_sound()
    assert host.status()["loaded"] is True


def test_a_first_pair_that_the_check_refuses_is_taken_back(host: Host) -> None:
    host.write_config(CHECK="false")
    _, err = host.run(code=1)
    assert "and there was no pair before it" in err, err
    assert not os.path.lexists(host.link)
    assert host.reloads == 0


def test_a_pair_that_was_never_loaded_is_not_said_to_be_taken_back(host: Host) -> None:
    host.write_config(RELOAD="false")
    host.run(code=1)
    host.write_config(CHECK="false")
    _, err = host.run(code=1)
    assert f"CHECK refused {host.link.readlink().name}" in err, err
    assert "went back" not in err, err


def test_a_check_that_hangs_is_ended(host: Host) -> None:
    host.run()
    host.write_config(CHECK="sleep 600")
    _, err = host.run("renew", code=1, PHOENIX_ACME_HOOK_SECONDS="1")
    assert "CHECK fails before anything changed" in err, err


def test_what_a_reload_leaves_running_does_not_hold_the_lock(host: Host) -> None:
    host.write_config(RELOAD="sleep 60 & echo $! >" + str(host.base / "pid"))
    host.run()
    lock = ["flock", "-n", str(host.base / "var/gateway/lock"), "true"]
    free = subprocess.run(lock, check=False).returncode == 0
    os.kill(int((host.base / "pid").read_text()), signal.SIGKILL)
    assert free


def test_check_that_fails_anyway_asks_the_ca_for_nothing(host: Host) -> None:
    host.run()
    host.write_config(CHECK="echo broken elsewhere; false")
    _, err = host.run("renew", code=1)
    assert "before anything changed" in err, err
    assert "broken elsewhere" in err, err
    assert host.orders == 1


def test_failed_reload_is_tried_again(host: Host) -> None:
    reload = host.config["RELOAD"]
    host.write_config(RELOAD="echo no such unit; false")
    _, err = host.run(code=1)
    assert "no such unit" in err, err
    assert host.status()["loaded"] is False
    host.write_config(RELOAD=reload)
    assert host.run()[0] == "reloaded\n"
    assert (host.orders, host.reloads) == (1, 1)
    assert host.run()[0] == "unchanged\n"


def test_failed_renewal_is_told_by_status_until_one_succeeds(host: Host) -> None:
    host.run()
    assert host.status()["failure"] == ""
    host.fault("down")
    host.run("renew", code=1)
    failure = str(host.status()["failure"])
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC: ", failure), failure
    assert "gave no certificate for app.lab.test gw.lab.test" in failure, failure
    assert "Could not create client: connection refused" in failure, "the client's own words"
    (host.ca / "fault").unlink()
    host.run("renew")
    assert host.status()["failure"] == ""


def test_a_failure_is_over_when_a_later_run_finds_all_well(host: Host) -> None:
    host.run()
    host.fault("down")
    host.run("renew", code=1)
    assert host.run()[0] == "unchanged\n"
    assert host.status()["failure"] == ""


def test_a_run_without_a_configuration_is_no_failed_renewal(host: Host) -> None:
    """`error` has it, which is over as soon as the configuration is right."""
    host.run()
    host.write_config(TYPO="x")
    host.run(code=1)
    del host.config["TYPO"]
    host.write_config()
    assert (host.status()["error"], host.status()["failure"]) == ("", "")


def test_renewal_that_is_ended_from_outside_is_a_failure(host: Host) -> None:
    host.run()
    host.write_config(CHECK=f"touch {host.base}/hung; sleep 2")
    process = host.start("renew")
    _await(host.base / "hung")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert "it was ended from outside" in str(host.status()["failure"])


def test_failed_reload_becomes_a_restart(host: Host) -> None:
    host.write_config(
        RELOAD="echo 226/NAMESPACE; false", RESTART=f"echo restart >> {host.base}/reloads"
    )
    _, err = host.run()
    assert "226/NAMESPACE" in err, err
    assert "the reload failed, so the service is restarted" in err, err
    assert host.status()["loaded"] is True
    assert host.reloads == 1


def test_failed_restart_after_a_failed_reload_is_no_success(host: Host) -> None:
    host.write_config(RELOAD="false", RESTART="echo no such unit; false")
    _, err = host.run(code=1)
    assert "RESTART" in err, err
    assert host.status()["loaded"] is False
    assert "installed but not loaded" in str(host.status()["failure"])


@pytest.mark.parametrize("stage", ["CHECK", "RELOAD"])
def test_killed_between_install_and_reload(host: Host, stage: str) -> None:
    host.run()
    command = host.config[stage]
    # Hangs from the second order on, that is, once the new pair is installed.
    hang = f"test $(wc -l < {host.ca}/orders) -lt 2 || {{ touch {host.base}/hung; sleep 30; }}"
    host.write_config(**{stage: hang})
    process = host.start("renew")
    _await(host.base / "hung")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert host.status()["loaded"] is False
    host.write_config(**{stage: command})
    out, _ = host.run()
    assert out == "reloaded\n", out
    assert host.orders == 2
    assert host.status()["loaded"] is True
    host.assert_sound()


def test_what_was_installed_is_loaded_though_nobody_listens_any_more(host: Host) -> None:
    """An SSH connection that is cut takes both pipes with it."""
    host.run()
    old = host.serial
    process = host.start("renew")
    for pipe in (process.stdout, process.stderr):
        assert pipe
        pipe.close()
    process.wait(60)
    assert host.serial != old
    assert host.status()["loaded"] is True
    assert host.reloads == 2


def test_killed_after_swap_with_a_pair_the_check_refuses(host: Host) -> None:
    host.run()
    old = host.serial
    hang = f"test $(wc -l < {host.ca}/orders) -lt 2 || {{ touch {host.base}/hung; sleep 30; }}"
    host.write_config(CHECK=hang)
    process = host.start("renew")
    _await(host.base / "hung")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert host.serial != old
    host.write_config(CHECK="false")
    _, err = host.run(code=1)
    assert "went back to" in err, err
    assert host.serial == old


@pytest.mark.fast_cases(3)
@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7])
def test_killed_at_any_point_converges(host: Host, delay: float) -> None:
    host.run()
    process = host.start("renew")
    time.sleep(delay)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate()
    host.assert_sound()
    host.run()
    status = host.status()
    assert (status["due"], status["loaded"]) == ("", True), status
    assert host.run()[0] == "unchanged\n"


def test_mode_of_the_key_is_restored_without_an_order(host: Host) -> None:
    host.run()
    (host.link / "privkey.pem").chmod(0o644)
    assert host.status()["permissions"] == "drifted"
    assert host.run()[0] == "permissions\n"
    host.assert_sound()
    assert (host.orders, host.reloads) == (1, 1)


def test_foreign_key_is_replaced(host: Host) -> None:
    host.run()
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ED25519", "-out", host.link / "privkey.pem"],
        check=True,
    )
    # Refuses the foreign key, which is shorter: as a service's own checker does.
    host.write_config(CHECK=f"test $(wc -c < {host.link}/privkey.pem) -gt 150")
    assert host.status()["due"] == "key does not match"
    host.run()
    host.assert_sound()


def test_a_pair_that_cannot_be_read_or_is_not_whole_is_replaced(host: Host) -> None:
    host.run()
    (host.link / "fullchain.pem").write_text("junk")
    assert host.status()["due"] == "certificate unreadable"
    host.run()
    for file in ("fullchain.pem", "privkey.pem"):
        (host.link / file).unlink()
        assert host.status()["due"] == "missing"
        host.run()
        host.assert_sound()


def test_a_certificate_whose_dates_cannot_be_read_is_replaced(host: Host) -> None:
    """openssl says "Bad time value" of them."""
    host.run()
    real = shutil.which("openssl")
    program = host.base / "bin/openssl"
    program.write_text(
        f'#!/bin/sh\n[ $1 = x509 ] || exec {real} "$@"\n'
        f"{real} \"$@\" | sed 's/^notAfter=.*/notAfter=Bad time value/'\n"
    )
    program.chmod(0o755)
    assert host.status()["due"] == "certificate unreadable"


@pytest.mark.skipif(os.getuid() != 0, reason="root alone gives files away")
def test_the_key_is_of_the_user_and_the_group_that_are_declared(host: Host) -> None:
    host.write_config(KEY_OWNER="daemon", KEY_GROUP="games", KEY_MODE="0640")
    host.run()
    key = (host.link / "privkey.pem").stat()
    owner = pwd.getpwuid(key.st_uid).pw_name, grp.getgrgid(key.st_gid).gr_name
    assert (*owner, stat.S_IMODE(key.st_mode)) == ("daemon", "games", 0o640)


@pytest.mark.parametrize(("group", "mode"), [(GROUP, 0o640), ("", 0o600)])
def test_a_key_without_a_declared_mode_is_for_its_group_at_most(
    host: Host, group: str, mode: int
) -> None:
    if not group and GROUP != "root":
        pytest.skip("only root's group is the default")
    host.write_config(KEY_MODE="", KEY_GROUP=group)
    host.run()
    assert stat.S_IMODE((host.link / "privkey.pem").stat().st_mode) == mode


def test_two_runs_at_once_order_once(host: Host) -> None:
    both = [host.start("ensure") for _ in range(2)]
    answers = sorted(process.communicate(timeout=60)[0] for process in both)
    assert host.orders == 1, answers
    assert answers[1] == "unchanged\n", answers


def test_order_has_a_deadline(host: Host) -> None:
    host.fault("slow")
    _, err = host.run(code=1, PHOENIX_ACME_ISSUE_SECONDS="1")
    assert "gave no certificate" in err, err


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DOMAINS", "", "DOMAINS is empty"),
        *(
            ("DOMAINS", name, "neither a lower-case host name")
            for name in ("a b;touch", "A.test", "a..b", ".a", "a.", "-a", 'a"b\\d')
        ),
        ("DIRECTORY", "http://ca/directory", "DIRECTORY must be the https"),
        ("ROOT", "/nowhere", "ROOT: /nowhere is missing"),
        ("ROOT", "/dev/null", "ROOT: /dev/null is missing or empty"),
        ("CHALLENGE", "dns", "CHALLENGE must be"),
        ("CHALLENGE", "webroot:www", "CHALLENGE must be"),
        ("KEY_MODE", "0644", "KEY_MODE must be"),
        ("KEY_MODE", "0660", "KEY_MODE must be"),
        ("RENEW_FRACTION", "1", "RENEW_FRACTION must be"),
        ("RENEW_FRACTION", "", "RENEW_FRACTION must be"),
        ("RENEW_FRACTION", "100", "RENEW_FRACTION must be"),
        ("TYPO", "x", "not a known KEY=VALUE"),
    ],
)
def test_bad_configuration_is_named(host: Host, key: str, value: str, message: str) -> None:
    host.write_config(**{key: value})
    _, err = host.run(code=1)
    assert message in err, err
    assert message in str(host.status()["error"])


def test_a_configuration_that_is_missing_or_has_half_a_line_is_named(host: Host) -> None:
    conf = host.base / "etc/acme/gateway.conf"
    with conf.open("a") as file:
        file.write("EMAIL\n")
    assert "not a known KEY=VALUE" in host.run(code=1)[1]
    host.write_config(KEY_MODE="0640", KEY_GROUP="")
    assert "KEY_MODE 0640 needs KEY_GROUP" in host.run(code=1)[1]
    conf.unlink()
    assert f"{conf} is missing" in host.run(code=1)[1]
    assert host.status()["error"] == f"{conf} is missing"


@pytest.mark.parametrize("name", ["../gateway", "Gateway", "-x", "a.b", ""])
def test_a_name_that_is_a_path_is_refused(host: Host, name: str) -> None:
    done = subprocess.run([SCRIPT, "ensure", name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be of a-z, 0-9 and -" in done.stderr


def test_configuration_is_never_executed(host: Host) -> None:
    host.write_config(EMAIL=f"$(touch {host.base}/pwned)`touch {host.base}/pwned`")
    host.run()
    assert not (host.base / "pwned").exists()


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_configuration_that_others_may_write_is_refused(host: Host, mode: int) -> None:
    (host.base / "etc/acme/gateway.conf").chmod(mode)
    _, err = host.run(code=1)
    assert "must belong to" in err, err


def test_a_configuration_by_a_link_is_judged_by_the_file_itself(host: Host) -> None:
    """Phoenix's files are links to a generation of them."""
    conf = host.base / "etc/acme/gateway.conf"
    conf.rename(host.base / "generation.conf")
    conf.symlink_to(host.base / "generation.conf")
    host.run()
    conf.chmod(0o664)
    assert "must belong to" in host.run(code=1)[1]


@pytest.mark.skipif(os.getuid() != 0, reason="root alone gives files away")
def test_a_configuration_of_another_user_is_refused(host: Host) -> None:
    os.chown(host.base / "etc/acme/gateway.conf", pwd.getpwnam("daemon").pw_uid, -1)
    assert "must belong to" in host.run(code=1)[1]


def _await(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)


def stack_pair(host: Host) -> Path:
    """Configure the certificate as a stack's: a directory of its own that containers mount."""
    place = host.base / "stacks/shop-production/tls"
    host.write_config(
        PLACE=str(place), KEY_OWNER=str(os.getuid()), KEY_GROUP=str(os.getgid()), KEY_MODE="0440",
        CHECK="",
    )  # fmt: skip
    return place


def test_the_pair_of_a_stack_lies_in_its_own_directory(host: Host) -> None:
    place = stack_pair(host)
    host.run()
    key = place / "privkey.pem"
    chain = parse_chain((place / "fullchain.pem").read_bytes())
    assert chain[0].sans == {"app.lab.test", "gw.lab.test"}
    assert (stat.S_IMODE(key.stat().st_mode), key.stat().st_uid) == (0o440, os.getuid())
    # Whoever mounts it finds all of it inside: no link leads out of the directory.
    assert key.resolve().is_relative_to(place.resolve())
    assert not any(link.readlink().is_absolute() for link in place.rglob("*") if link.is_symlink())
    assert not (host.base / "etc/tls").exists(), "nothing of it is beside the host's own pairs"
    assert host.run()[0] == "unchanged\n"
    mounted = os.open(place, os.O_RDONLY)  # as a bind mount holds it
    try:
        before = parse_chain((place / "fullchain.pem").read_bytes())[0].fingerprint
        host.run("renew")
        held = Path(f"/proc/self/fd/{mounted}/fullchain.pem").read_bytes()
        assert parse_chain(held)[0].fingerprint != before
    finally:
        os.close(mounted)
    assert len(list((place / "versions").iterdir())) == 2


def test_a_key_of_a_stack_gets_its_mode_back(host: Host) -> None:
    place = stack_pair(host)
    host.run()
    (place / "privkey.pem").chmod(0o444)
    assert host.status()["permissions"] == "drifted"
    assert host.run()[0] == "permissions\n"
    assert stat.S_IMODE((place / "privkey.pem").stat().st_mode) == 0o440


@pytest.mark.parametrize("place", ["relative/tls", "/a b", "/a;id", "/a/../../etc"])
def test_an_odd_place_is_refused(host: Host, place: str) -> None:
    host.write_config(PLACE=place)
    assert "PLACE must be a path" in host.run(code=1)[1]


def test_names_of_a_time_come_and_go(host: Host) -> None:
    host.write_config(PROOF="5ca1ab1e")
    host.run()
    for words, sans in (
        (("shop.lab.test", "wiki.lab.test"), {"shop.lab.test", "wiki.lab.test"}),
        ((), set()),
    ):
        process = host.start("also", *words)
        out, err = process.communicate("f" * 64 + "\n", timeout=60)
        assert process.returncode == 0, out + err
        leaf = parse_chain((host.link / "fullchain.pem").read_bytes())[0]
        assert leaf.sans == {"app.lab.test", "gw.lab.test"} | sans
        assert host.status()["also"] == " ".join(words)
        request = ["openssl", "req", "-in", str(host.ca / "csr"), "-noout", "-subject"]
        shown = subprocess.run(request, capture_output=True, text=True, check=True).stdout
        assert ("f" * 64 if words else "5ca1ab1e") in shown, "the proof of just these names"
        assert host.run()[0] == "unchanged\n", "the next run, and the timer, leave them"
    assert host.reloads == 3


@pytest.fixture
def fitting(host: Host) -> Host:
    """One whose pair was found to fit, and that has counted openssl's processes since."""
    host.run()
    real = shutil.which("openssl")
    (host.base / "bin/openssl").write_text(
        f'#!/bin/sh\necho >>{host.base}/asked\nexec {real} "$@"\n'
    )
    (host.base / "bin/openssl").chmod(0o755)
    assert host.status()["due"] == ""
    asked = processes(host)
    assert asked > 0
    assert host.status() == host.status()
    assert processes(host) == asked, "what was found of this very pair is known"
    return host


def processes(host: Host) -> int:
    return len((host.base / "asked").read_text().splitlines())


def test_a_pair_that_fits_is_told_as_before_without_openssl(fitting: Host) -> None:
    known = fitting.status()
    shutil.rmtree(fitting.base / "run")
    assert fitting.status() == known
    assert stat.S_IMODE((fitting.base / "run").stat().st_mode) == 0o700


@pytest.mark.parametrize("file", ["fullchain.pem", "privkey.pem"])
def test_a_pair_whose_bytes_have_changed_is_judged_anew(fitting: Host, file: str) -> None:
    path = fitting.link / file
    before, data = path.stat(), path.read_bytes()
    other = {
        "fullchain.pem": (fitting.ca / "other.crt").read_bytes(),
        "privkey.pem": (fitting.ca / "other.key").read_bytes(),
    }[file]
    path.write_bytes(other)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fitting.status()["due"] == "key does not match"
    path.write_bytes(data)
    assert fitting.status()["due"] == ""


def test_a_pair_that_another_root_does_not_prove_is_judged_anew(fitting: Host) -> None:
    fitting.write_config(ROOT=str(fitting.ca / "other.crt"))
    assert fitting.status()["due"] == "does not chain to the root"
    assert fitting.status()["due"] == "does not chain to the root"


def test_names_and_time_are_asked_of_a_known_pair_as_well(fitting: Host) -> None:
    fitting.write_config(DOMAINS="app.lab.test more.lab.test")
    assert fitting.status()["due"] == "names differ"
    fitting.write_config(DOMAINS="app.lab.test gw.lab.test", RENEW_FRACTION="2")
    note = fitting.base / "run/gateway"
    lines = note.read_text().splitlines()
    note.write_text("\n".join([*lines[:4], "1 2", *lines[5:]]) + "\n")
    assert fitting.status()["due"] == "expired"


@pytest.mark.parametrize("content", ["", "junk\n" * 3, "junk\n" * 9])
def test_a_note_that_is_damaged_is_none(fitting: Host, content: str) -> None:
    known = fitting.status()
    (fitting.base / "run/gateway").write_text(content)
    assert fitting.status() == known
