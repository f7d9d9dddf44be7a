"""The gateway of a site whose names need several certificates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import synthetic
from phoenix.derived import certificates
from tests.deploys.recorder import Run, run

GATEWAY = "gateway"


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "MAX_NAMES", 12)


def deployed(folder: Path, *, at_work: bool) -> Run:
    """The gateway's deploy; one that is `at_work` has its first certificate alone."""
    synthetic.write(folder, 16)
    state = {
        "error": "", "due": "names differ", "pair": "issued", "serial": "1", "not_after": 2**33,
        "loaded": True, "permissions": "ok", "failure": "", "also": "",
    }  # fmt: skip
    missing = {**state, "due": "missing", "pair": "missing", "loaded": False}

    def status(command: str) -> list[str]:
        return [json.dumps(missing if "gateway-2" in command or not at_work else state)]

    return run(
        "nginx", folder / "secrets.json", responses={"acme-status": status},
        site_inventories=folder, site_stacks=folder / "stacks",
    )  # fmt: skip


def course(done: Run) -> list[str]:
    """What the certificates and the configuration are told, in order."""
    words = []
    for sent in done.sent:
        if "phoenix-acme" in sent.command and not sent.files():
            words += [" ".join(sent.command.split()[-2:])]
        elif "/etc/nginx/nginx.conf" in sent.files():
            words += ["configuration"]
    return [word for word in words if word.split()[0] in ("ensure", "placeholder", "configuration")]


def test_the_first_start_is_made_with_a_placeholder_for_each(tmp_path: Path) -> None:
    done = deployed(tmp_path, at_work=False)
    assert not done.failed
    assert course(done) == [
        "placeholder gateway-2", "placeholder gateway", "configuration", "ensure gateway",
        "ensure gateway-2",
    ]  # fmt: skip


def test_names_move_to_a_certificate_that_is_there(tmp_path: Path) -> None:
    """Nginx serves them by the first one until then, and the first one is renewed last."""
    done = deployed(tmp_path, at_work=True)
    assert course(done)[:3] == ["ensure gateway-2", "configuration", "ensure gateway"]
    files = done.files(GATEWAY)
    assert "/etc/phoenix/acme/gateway-2.conf" in files
    assert "/etc/phoenix/tls/gateway-2/" in files["/etc/nginx/nginx.conf"]
