"""A planted secret is in no output, no process list and no log."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from phoenix.secrets.store import htpasswd
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab, print_figure

ME = str(os.getpid())
CONTROL = "phoenix-it-control"
NEEDLE = "/var/lib/phoenix-it-needle"  # what is searched for must not stand in a command line


@contextmanager
def process_lists(site: SiteLab) -> Iterator[set[str]]:
    """Every command line that this machine sees meanwhile, the lab's hosts included: their
    processes are this kernel's too. One of a host's, which is there all the while, proves that."""
    lines: set[str] = set()
    control = f"3600.{secrets.randbelow(10**9)}"
    site.sh("ca", f"systemd-run -q --collect --unit={CONTROL} sleep {control}", ok=True)
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.005):
            for process in Path("/proc").iterdir():
                if process.name.isdigit() and process.name != ME:
                    try:
                        lines.add((process / "cmdline").read_bytes().decode(errors="replace"))
                    except OSError:  # it has ended
                        continue

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield lines
    finally:
        done.set()
        thread.join()
        site.sh("ca", f"systemctl stop {CONTROL}")
    assert any(control in line for line in lines), "the sampler did not see the hosts"


def logs_with(site: SiteLab, host: str, needle: str) -> str:
    """Where a host's journal, logs, root's home and temporary directories hold `needle`.

    Not what runc writes for itself while a container starts a process: root's, for a moment.
    """
    site.put(host, NEEDLE, needle, 0o600)
    output = site.sh(
        host,
        f"journalctl -q --no-pager -o cat -a | grep -cFf {NEEDLE} | sed '/^0$/d;s/^/journal /';"
        f" grep -rlaFf {NEEDLE} --exclude='runc-process*' /var/log /tmp /var/tmp /root;"
        f" rm {NEEDLE}",
    ).out
    return output.strip()


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("repaired", "former_values_return")
def test_dashboard_password_leaks_nowhere(site: SiteLab) -> None:
    planted = f"it-{secrets.token_hex(16)}"
    hashed = htpasswd("admin", SecretStr(planted)).strip()
    site.sh("traefik", f"logger -t phoenix-it control-{planted[3:11]}", ok=True)
    with process_lists(site) as lines:
        run = site.project.run(
            "deploys/all.py", "-vvv", "--diff",
            environment={"PHOENIX_SECRET_TRAEFIK_DASHBOARD_PASSWORD": planted},
        )  # fmt: skip
    assert run.returncode == 0, run.explain()
    assert ("deploys/traefik.py | Traefik: routes", site.roles["traefik"]) in run.changes, (
        run.changes
    )
    users = site.sh("traefik", "cat /etc/traefik/dashboard.users", ok=True).out.strip()
    assert users == hashed, "the planted password was not used, so this test proves nothing"
    assert logs_with(site, "traefik", f"control-{planted[3:11]}"), "the log search finds nothing"
    debug = Path(site.project.path, "pyinfra-debug.log")
    places = {
        "output": run.output,
        "process list": "\n".join(lines),
        "pyinfra-debug.log": debug.read_text() if debug.exists() else "",
    }
    print_figure("command lines sampled", len(lines))
    for secret in (planted, hashed, hashed.split(":")[1]):
        for place, text in places.items():
            assert secret not in text, f"the secret is in the {place}"
        for host in site.state.hosts:
            assert logs_with(site, host, secret) == "", f"the secret is in a log of {host}"


FRESH_CA = """
from deploys.context import secrets, site
from operations import step_ca

step_ca.initialised(
    name="CA", site=site(), organisation="Test", years=1,
    password=secrets().find("step_ca_password"),
)
"""


def test_password_of_a_fresh_ca_leaks_nowhere(site: SiteLab, variant: Project) -> None:
    """A second CA beside the real one, made from a given password and removed again."""
    directory = "/root/ca-of-a-test"
    planted = f"it-{secrets.token_hex(16)}"
    variant.replace(
        "phoenix/components/step_ca/authority.py",
        'DIRECTORY = "/etc/step-ca"',
        f'DIRECTORY = "{directory}"',
    )
    variant.write("deploys/fresh_ca.py", FRESH_CA)
    try:
        with process_lists(site) as lines:
            run = variant.run(
                "deploys/fresh_ca.py", "--limit", "step_ca", "-vvv", "--diff",
                environment={"PHOENIX_SECRET_STEP_CA_PASSWORD": planted},
            )  # fmt: skip
        assert run.returncode == 0, run.explain()
        password = site.sh("ca", f"cat {directory}/secrets/password", ok=True).out.strip()
        assert password == planted, "the planted password was not used, so this test proves nothing"
        key = f"openssl pkey -in {directory}/secrets/intermediate_ca_key -noout -passin file:"
        site.sh("ca", f"{key}{directory}/secrets/password", ok=True)
    finally:
        site.sh("ca", f"rm -rf {directory}")
    assert planted not in run.output, "the secret is in the output"
    assert planted not in "\n".join(lines), "the secret is in a process list"
    for host in site.state.hosts:
        assert logs_with(site, host, planted) == "", f"the secret is in a log of {host}"
