"""What a run does on the control machine alone, while its hosts have nothing to do, is short."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from phoenix.portainer_api import errors as portainer
from phoenix.proxmox import errors as proxmox
from phoenix.secrets.errors import SecretError
from phoenix.site.findings import OperatorError
from tests.unit.project_copy import ROOT

_IMPORTS = """
import json, sys
import pyinfra_cli.main
import operations.ssh_connecting
import phoenix.declaration.inventory
import deploys.preparation
print(json.dumps(sorted(sys.modules)))
"""
_END = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 0))
{begin}
"""
_CONFIG = """
import runpy
from pyinfra.api import Config
from pyinfra.context import ctx_config
with ctx_config.use(Config()):
    runpy.run_path("config.py")
"""


def printed(program: str) -> str:
    """What a new Python prints that runs a program at the top of the project."""
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return process.stdout.strip()


def test_hosts_are_asked_before_http_is_imported() -> None:
    modules = set(json.loads(printed(_IMPORTS)))
    assert "deploys.preparation" in modules
    assert not modules & {"requests", "urllib3", "proxmoxer", "phoenix.portainer_api"}


@pytest.mark.parametrize("begin", [_CONFIG, "import phoenix.cli"])
def test_python_ends_without_a_search_for_garbage(begin: str) -> None:
    assert printed(_END.format(begin=begin)) == "True"


@pytest.mark.parametrize(
    "error",
    [
        portainer.PortainerError, portainer.UnreachableError, proxmox.ProxmoxError,
        proxmox.LostAnswerError, SecretError,
    ],
)  # fmt: skip
def test_errors_whose_text_is_for_the_operator(error: type[Exception]) -> None:
    assert issubclass(error, OperatorError)
