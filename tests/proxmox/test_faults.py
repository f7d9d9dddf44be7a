"""Injected faults: each ends with a clear message, and the next run finishes the work."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from phoenix.net.https import HttpsAdapter
from phoenix.proxmox import power
from phoenix.proxmox.client import Client
from phoenix.proxmox.converge import Options, converge
from phoenix.proxmox.errors import (
    LockedError,
    LoginError,
    ProxmoxError,
    QuorumError,
    TaskFailedError,
    TaskTimeoutError,
    UnreachableError,
)
from phoenix.proxmox.plan import Plan
from phoenix.proxmox.preflight import preflight
from phoenix.proxmox.transport import Trust
from tests.proxmox.conftest import make_client
from tests.proxmox.pve import NODE, Pve, converged, run, shut_down

Planned = Callable[..., Plan]


def finishes(pve: Pve, client: Client, planned: Planned) -> None:
    """The next run, the fault gone, is as declared, and the one after writes nothing."""
    pve.fake.failures.clear()
    converged(pve, client, planned())
    pve.forget()
    assert not run(client, planned())
    assert pve.writes() == []


def test_a_failing_task_shows_its_log(pve: Pve, client: Client, planned: Planned) -> None:
    run_until = planned().guests
    clone = f"/nodes/{NODE}/lxc/900/clone"
    known = [e["name"] for e in pve.fake.errors_for("POST", clone) if e["in_task"]]
    assert known, "fakepve knows no failing task of a clone"
    pve.fake.fail("POST", clone, error=known[0])
    with pytest.raises(TaskFailedError, match="vzclone") as caught:
        run(client, planned())
    assert "TASK ERROR" in str(caught.value), caught.value
    assert pve.guest(run_until[2].vmid) is None
    finishes(pve, client, planned)


def test_a_guest_that_does_not_start(pve: Pve, client: Client, planned: Planned) -> None:
    for guest in planned().guests:
        converge(client, guest, Options())
    pve.guest(101).start_error = "unable to open network namespace"
    with pytest.raises(TaskFailedError, match="unable to open network namespace"):
        run(client, planned())
    assert pve.guest(103).status == "running"
    pve.guest(101).start_error = None
    finishes(pve, client, planned)


def test_a_busy_lock_is_waited_for_then_explained(
    site: Any, pve: Pve, client: Client, planned: Planned
) -> None:
    converged(pve, client, planned())
    pve.fake.snapshot_lock(101, "backup")
    more = planned(proxmox_guests={101: {"tags": ("edge",)}})
    with pytest.raises(LockedError, match="backup") as caught:
        run(client, more)
    assert "pct unlock" in str(caught.value)
    pve.fake.unlock(101)
    assert run(client, more)


def test_a_lock_that_goes_is_no_error(
    pve: Pve, fakepve_url: str, fakepve_cafile: str, planned: Planned
) -> None:
    waits: list[float] = []

    def unlocking(seconds: float) -> None:
        waits.append(seconds)
        if pve.guest(101) is not None:
            pve.fake.unlock(101)

    client = make_client(
        fakepve_url, Trust(ca_file=fakepve_cafile), sleep=unlocking, lock_seconds=60
    )
    converged(pve, client, planned())
    waits.clear()
    pve.fake.snapshot_lock(101, "backup")
    assert run(client, planned(proxmox_guests={101: {"tags": ("edge",)}}))
    assert waits


def test_lost_quorum(pve: Pve, client: Client, planned: Planned) -> None:
    plan = planned()
    pve.fake.lose_quorum()
    pve.fake.add_node("second")  # a cluster of one node always has a quorum
    with pytest.raises(QuorumError, match="pvecm status"):
        preflight(client, plan.guests, plan.settings)
    with pytest.raises(QuorumError):
        converge(client, plan.guests[0], Options())
    pve.fake.regain_quorum()
    finishes(pve, client, planned)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("seed", range(4))
def test_a_flaky_network(pve: Pve, client: Client, planned: Planned, seed: int) -> None:
    """One answer in twelve is lost, of writes too: what happened is looked up, not guessed."""
    pve.fake._random.seed(seed)
    pve.fake.flaky_network(drop_rate=0.08)
    reasons = []
    for _ in range(30):
        try:
            run(client, planned())
            break
        except ProxmoxError as error:
            reasons.append(str(error))
    unclear = [r for r in reasons if "fix: " not in r and "no answer" not in r]
    assert not unclear, unclear
    pve.fake.flaky_network()
    finishes(pve, client, planned)
    assert [guest.vmid for guest in pve.fake.cts] == [900, 103, 101, 102]


def test_an_api_that_is_not_there(fakepve_cafile: str) -> None:
    client = make_client("https://127.0.0.1:9", Trust(ca_file=fakepve_cafile))
    with pytest.raises(UnreachableError, match="tried 5 times"):
        client.get("version")
    with pytest.raises(UnreachableError, match="no answer"):
        client.write("POST", "nodes/x/lxc", {"vmid": 100})


def test_an_api_that_hangs(
    pve: Pve, fakepve_url: str, fakepve_cafile: str, planned: Planned
) -> None:
    client = make_client(fakepve_url, Trust(ca_file=fakepve_cafile), seconds=1.0)
    pve.fake.time_scale = 0.02
    pve.fake.flaky_network(hang_rate=1.0)
    with pytest.raises(UnreachableError, match="ReadTimeout"):
        client.get("version")
    pve.fake.flaky_network()
    pve.fake.time_scale = 0.0


def test_a_redirect_is_not_followed_with_the_token(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sends_on(*_: Any, **__: Any) -> requests.Response:
        answer = requests.Response()
        answer.status_code, answer._content = 302, b""
        answer.headers["location"] = "https://elsewhere.test/"
        return answer

    monkeypatch.setattr(HttpsAdapter, "send", sends_on)
    with pytest.raises(ProxmoxError, match=r"redirects to https://elsewhere\.test/"):
        client.get("version")


def test_a_missing_template(pve: Pve, client: Client, planned: Planned) -> None:
    volume = "vztmpl/ubuntu-24.04-standard_24.04-2_amd64.tar.zst"
    content = pve.fake.storages["local"]["volumes"].pop(volume)
    faults = preflight(client, planned().guests, planned().settings)
    assert len(faults) == 1, faults
    assert f"local:{volume} is not there" in faults[0]
    assert "proxmox_images" in faults[0]
    assert pve.writes() == []
    pve.fake.storages["local"]["volumes"][volume] = content
    finishes(pve, client, planned)


def test_a_missing_template_is_downloaded_by_setting(
    pve: Pve, client: Client, planned: Planned
) -> None:
    file = "noble-server-cloudimg-amd64.img"
    del pve.fake.storages["local"]["volumes"]["import/noble-server-cloudimg-amd64.qcow2"]
    image = {"url": "https://images.example/noble.img", "sha256": "ab" * 32}
    plan = planned(proxmox_images={file: image})
    run(client, plan)
    sent = [body for _, path, body in pve.writes() if path.endswith("download-url")]
    assert sent == [
        {
            "content": "import",
            "filename": "noble-server-cloudimg-amd64.qcow2",
            "url": image["url"],
            "checksum": image["sha256"],
            "checksum-algorithm": "sha256",
        }
    ]


def test_a_full_storage(pve: Pve, client: Client, planned: Planned) -> None:
    pve.fake.storages["quickOS-lxc-disks"]["avail"] = 10 * 1024**3
    faults = preflight(client, planned().guests, planned().settings)
    assert len(faults) == 1, faults
    assert "10.0 GiB free" in faults[0]
    assert pve.writes() == []


def test_a_storage_that_fills_up_on_the_way(pve: Pve, client: Client, planned: Planned) -> None:
    plan = planned()
    for guest in plan.guests[:-1]:
        converge(client, guest, Options())
    avail = pve.fake.storages["quickOS-vm-disks"]["avail"]
    pve.fake.fail("POST", f"/nodes/{NODE}/qemu/9000/clone", 500, "out of space")
    with pytest.raises(ProxmoxError, match="out of space"):
        converge(client, plan.guests[-1], Options())
    pve.fake.storages["quickOS-vm-disks"]["avail"] = avail
    finishes(pve, client, planned)


def test_an_absent_storage(pve: Pve, client: Client, planned: Planned) -> None:
    del pve.fake.storages["quickOS-vm-disks"]
    faults = preflight(client, planned().guests, planned().settings)
    assert len(faults) == 1, faults
    assert "no storage 'quickOS-vm-disks'" in faults[0]
    assert "phoenix_vm_configs.json: vms[" in faults[0]


def test_a_task_that_does_not_end(
    pve: Pve, fakepve_url: str, fakepve_cafile: str, planned: Planned
) -> None:
    client = make_client(fakepve_url, Trust(ca_file=fakepve_cafile), task_seconds=0.2)
    converged(pve, client, planned())
    shut_down(client, 103)
    pve.guest(103).start_secs = 3000
    pve.fake.time_scale = 0.001
    with pytest.raises(TaskTimeoutError, match=r"still runs after 0\.2 s"):
        power.start(client, 103)
    pve.fake.time_scale = 0.0


def test_a_wrong_token_and_a_missing_privilege(
    pve: Pve, fakepve_url: str, fakepve_cafile: str, planned: Planned
) -> None:
    trust = Trust(ca_file=fakepve_cafile)
    stranger = make_client(fakepve_url, trust, token="phoenix@pve!deploy=WRONGSECRET")
    with pytest.raises(LoginError, match="proxmox_api_token") as caught:
        stranger.get("version")
    assert "WRONGSECRET" not in str(caught.value)
    with pytest.raises(LoginError, match="USER@REALM!ID=SECRET") as caught:
        make_client(fakepve_url, trust, token="NOTATOKENATALL")
    assert "NOTATOKENATALL" not in str(caught.value)
    pve.only("VM.Audit", "Datastore.Audit", "Sys.Audit")
    client = make_client(fakepve_url, trust)
    with pytest.raises(LoginError, match=r"docs/proxmox\.md lists"):
        converge(client, planned().guests[0], Options())


def test_trust_by_fingerprint(pve: Pve, fakepve_url: str, fakepve_cafile: str) -> None:
    pem = Path(fakepve_cafile).read_bytes()
    digest = x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex(":").upper()
    assert make_client(fakepve_url, Trust(fingerprint=digest)).get("version")["release"]
    other = hashlib.sha256(b"another certificate").hexdigest()
    with pytest.raises(UnreachableError, match="not the expected one"):
        make_client(fakepve_url, Trust(fingerprint=other)).get("version")


def test_trust_by_ca_alone_and_never_without(pve: Pve, fakepve_url: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(ssl.get_server_certificate(_address(fakepve_url)))
    assert make_client(fakepve_url, Trust(ca_file=str(other))).get("version")
    with pytest.raises(ProxmoxError, match="can't be verified"):
        make_client(fakepve_url, Trust())
    with pytest.raises(ProxmoxError, match="proxmox_ca_file"):
        make_client(fakepve_url, Trust(ca_file=str(tmp_path / "absent.pem")))


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("https://").partition(":")
    return host, int(port)
