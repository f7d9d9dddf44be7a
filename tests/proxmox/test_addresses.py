"""The API at several nodes: the addresses are tried in order, and each that fails is named."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from phoenix.declaration.settings import read
from phoenix.proxmox import access
from phoenix.proxmox.client import Addresses, Client, ReadOnce
from phoenix.proxmox.errors import (
    LostAnswerError,
    ProxmoxError,
    QuorumError,
    UnreachableError,
)
from phoenix.proxmox.observe import check_quorum
from phoenix.proxmox.transport import Endpoint, Trust, connect
from tests.proxmox.conftest import SETTINGS
from tests.proxmox.pve import NODE, Pve

Api = Any
AGENT = f"nodes/{NODE}/lxc/103/config"


@pytest.fixture
def silent() -> str:
    """The URL of a node that is down: nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"https://127.0.0.1:{port}"


def api(url: str, trust: Trust) -> Api:
    return connect(Endpoint(url, SecretStr(str(SETTINGS["token"])), trust, seconds=5.0))


@pytest.fixture
def client_of() -> Callable[..., Client]:
    def make(*apis: Api, log_lines: list[str] | None = None) -> Client:
        log = (log_lines if log_lines is not None else []).append
        return Client(Addresses(*apis), sleep=lambda _seconds: None, log=log)

    return make


def test_the_next_address_is_asked_and_stays(
    pve: Pve,
    fakepve_url: str,
    fakepve_cafile: str,
    silent: str,
    client_of: Callable[..., Client],
) -> None:
    trust = Trust(ca_file=fakepve_cafile)
    log_lines: list[str] = []
    client = client_of(api(silent, trust), api(fakepve_url, trust), log_lines=log_lines)
    assert client.get("nodes")[0]["node"] == NODE
    (line,) = log_lines
    assert line.startswith(f"{silent.removeprefix('https://')}: GET /nodes: no answer: ")
    assert line.endswith(f"asked at {fakepve_url.removeprefix('https://')} instead")
    pve.fake.add_ct(103, "a", node=NODE)
    client.write("PUT", AGENT, {"memory": 768})
    assert len(log_lines) == 1, "the address that answered is asked from then on"
    assert pve.guest(103).config["memory"] == 768


def test_a_write_goes_to_the_next_address_where_the_first_never_had_it(
    pve: Pve,
    fakepve_url: str,
    fakepve_cafile: str,
    silent: str,
    client_of: Callable[..., Client],
) -> None:
    pve.fake.add_ct(103, "a", node=NODE)
    trust = Trust(ca_file=fakepve_cafile)
    client_of(api(silent, trust), api(fakepve_url, trust)).write("PUT", AGENT, {"memory": 768})
    assert [path for _, path, _ in pve.writes()] == [AGENT]


def test_a_write_whose_answer_is_lost_is_sent_to_no_second_address(
    pve: Pve,
    fakepve_url: str,
    fakepve_cafile: str,
    client_of: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pve.fake.add_ct(103, "a", node=NODE)
    trust = Trust(ca_file=fakepve_cafile)
    first = api(fakepve_url, trust)

    def cut(*_arguments: Any, **_options: Any) -> None:
        raise requests.exceptions.ReadTimeout("cut")

    monkeypatch.setattr(first._store["session"], "request", cut)
    with pytest.raises(LostAnswerError):
        client_of(first, api(fakepve_url, trust)).write("PUT", AGENT, {"memory": 768})
    assert pve.writes() == []


def test_a_node_that_is_cut_off_is_passed_over(
    pve: Pve,
    fakepve_url: str,
    fakepve_cafile: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers, with what it knew, and can write nothing. What reads and what writes move on."""
    trust = Trust(ca_file=fakepve_cafile)
    cut, whole = api(fakepve_url, trust), api(fakepve_url, trust)
    addresses = Addresses(cut, whole)
    writer, reader = Client(addresses), ReadOnce(addresses)
    session = cut._store["session"]
    send = session.request

    def without_quorum(*arguments: Any, **options: Any) -> Any:
        pve.fake.quorate = False
        try:
            return send(*arguments, **options)
        finally:
            pve.fake.quorate = True

    monkeypatch.setattr(session, "request", without_quorum)
    pve.fake.add_ct(103, "a", node=NODE)
    pve.fake.add_node("second")
    assert reader.get("nodes")
    check_quorum(reader)
    writer.write("PUT", AGENT, {"memory": 768})
    assert pve.guest(103).config["memory"] == 768
    pve.fake.quorate = False
    with pytest.raises(QuorumError, match="has no quorum"):
        check_quorum(ReadOnce(addresses))


def test_all_addresses_are_named_where_none_answers(
    fakepve_cafile: str, silent: str, client_of: Callable[..., Client]
) -> None:
    trust = Trust(ca_file=fakepve_cafile)
    other = silent.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(UnreachableError) as caught:
        client_of(api(silent, trust), api(other, trust)).get("nodes")
    lines = str(caught.value).splitlines()
    assert [line.split(": GET")[0] for line in lines[1:3]] == [
        f"  {silent.removeprefix('https://')}", f"  {other.removeprefix('https://')}",
    ]  # fmt: skip
    assert "proxmox_other_apis" in lines[0]


def test_an_address_of_somebody_else_gets_no_token(
    pve: Pve, fakepve_url: str, fakepve_cafile: str, client_of: Callable[..., Client]
) -> None:
    """A certificate of another than the cluster: no request is sent, so the token stays here."""
    port = int(fakepve_url.rpartition(":")[2])
    served = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))
    own = hashlib.sha256(served).hexdigest().upper()
    stranger = api(fakepve_url, Trust(fingerprints=frozenset({"00" * 32, "11" * 32})))
    with pytest.raises(UnreachableError, match="is none of those known"):
        client_of(stranger).get("version")
    assert pve.fake.requests == []
    known = api(fakepve_url, Trust(fingerprints=frozenset({"00" * 32, own})))
    assert client_of(stranger, known).get("version")["release"]


def test_other_addresses_are_verified_by_the_ca_or_by_the_nodes_certificates(
    tmp_path: Path,
) -> None:
    def settings(**more: Any) -> Any:
        return read({"proxmox_api": "ssh", **more})[0].proxmox

    others = {"proxmox_other_apis": ("https://pve2.example:8006",)}
    assert access.trust_of_others(settings(), lambda: ()) is None
    by_ca = settings(**others, proxmox_ca_file=str(tmp_path / "ca.pem"))
    assert access.trust_of_others(by_ca, lambda: ()) == Trust(ca_file=str(tmp_path / "ca.pem"))
    by_nodes = access.trust_of_others(settings(**others), lambda: ("AA", "BB"))
    assert by_nodes == Trust(fingerprints=frozenset({"AA", "BB"}))
    with pytest.raises(ProxmoxError, match="proxmox_ca_file"):
        access.trust_of_others(settings(**others), lambda: ())
