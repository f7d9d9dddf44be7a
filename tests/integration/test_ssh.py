"""SSH is hardened, and a change to it can never lock the operator out."""

from __future__ import annotations

import time

import pytest

from tests.integration.project import Project, deadline_factor
from tests.integration.site_lab import SiteLab

DROP_IN = "phoenix/components/base/sshd.conf"
TREE = "/var/lib/phoenix/trees/ssh"
LIVE = "/etc/ssh/sshd_config.d/10-phoenix.conf"


def can_log_in(site: SiteLab, host: str) -> None:
    """A server that has just been told to read its files anew may need a moment for it."""
    end = time.monotonic() + 30 * deadline_factor()
    while (done := site.ssh(host)).returncode != 0:
        assert time.monotonic() < end, done.stderr
        time.sleep(0.5)


def test_passwords_are_refused(site: SiteLab) -> None:
    for host in site.state.hosts:
        done = site.ssh(
            host, "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1",
            "-o", "PreferredAuthentications=password,keyboard-interactive",
        )  # fmt: skip
        assert done.returncode == 255, done
        # The server names the methods that it would accept.
        assert "Permission denied (publickey)." in done.stderr, f"{host}: {done.stderr}"
        can_log_in(site, host)


@pytest.mark.usefixtures("repaired")
def test_broken_drop_in_never_goes_live(site: SiteLab, variant: Project) -> None:
    before = site.units_of("gateway", ["ssh.service"]), site.sh("gateway", f"cat {LIVE}", ok=True)
    variant.replace(DROP_IN, "MaxAuthTries 4", "MaxAuthTries many")
    run = variant.run("deploys/base.py", "--limit", "nginx")
    assert run.returncode == 1, run.explain()
    assert "refused by their checker; nothing was changed" in run.output, run.explain()
    assert "MaxAuthTries" in run.output, run.explain()
    after = site.units_of("gateway", ["ssh.service"]), site.sh("gateway", f"cat {LIVE}", ok=True)
    assert after == before
    can_log_in(site, "gateway")


@pytest.mark.usefixtures("repaired")
@pytest.mark.parametrize("first", [False, True], ids=["a change", "the first deploy"])
def test_drop_in_that_locks_out_is_undone(site: SiteLab, variant: Project, *, first: bool) -> None:
    """Valid for sshd, so only the proof by a new login can find it."""
    if first:
        site.sh("gateway", f"rm -rf {LIVE} {TREE}; systemctl restart ssh", ok=True)
    before = site.sh("gateway", f"cat {LIVE}").out
    variant.replace(DROP_IN, "MaxAuthTries 4", "MaxAuthTries 4\nAllowUsers nobody")
    run = variant.run("deploys/base.py", "--limit", "nginx")
    assert run.returncode == 1, run.explain()
    assert "a new SSH login fails with the new files" in run.output, run.explain()
    assert "the previous ones are back" in run.output, run.explain()
    assert site.sh("gateway", f"cat {LIVE}").out == before
    assert (before == "") == first
    can_log_in(site, "gateway")
    last_run = site.project.run("deploys/base.py", "--limit", "nginx")
    assert last_run.returncode == 0, last_run.explain()


@pytest.mark.usefixtures("repaired")
def test_lock_out_is_undone_without_the_operator(site: SiteLab, variant: Project) -> None:
    """The control machine vanishes after the change: the guest goes back by itself."""
    before = site.sh("gateway", f"cat {LIVE}", ok=True).out
    variant.replace(DROP_IN, "MaxAuthTries 4", "MaxAuthTries 4\nAllowUsers nobody")
    started = variant.start(
        "inventories/lab.py", "deploys/base.py", "-y", "--limit", "nginx",
        "--data", "ssh_confirm_seconds=8",
    )  # fmt: skip
    tries = round(600 * deadline_factor())

    def until(condition: str) -> str:
        return f"for i in $(seq {tries}); do {condition} && exit 0; sleep 0.05; done; exit 1"

    site.sh("gateway", until(f"grep -q '^AllowUsers nobody' {LIVE}"), ok=True)
    started.kill()
    site.sh("gateway", until(f"! grep -q AllowUsers {LIVE}"), ok=True)
    assert site.sh("gateway", f"cat {LIVE}", ok=True).out == before
    logged = site.sh("gateway", until("systemctl is-active -q ssh"))
    assert logged.code == 0, logged.text
    can_log_in(site, "gateway")
