"""A site moves to another domain: refused before a host is touched; the way told works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.load import load
from tests.integration.project import Project
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure

NEW = "moved.example.net"
CA = "/etc/step-ca"


def permitted(site: SiteLab) -> set[str]:
    """What the CA's root and intermediate both vouch for."""
    constraints = []
    for name in ("root", "intermediate"):
        text = f"openssl x509 -in {CA}/certs/{name}_ca.crt -noout -ext nameConstraints"
        lines = site.sh("ca", text, ok=True).out.splitlines()
        constraints.append(
            {line.strip() for line in lines if line.strip().startswith(("DNS:", "IP:"))}
        )
    return constraints[0] & constraints[1]


def given_to_the_client(site: SiteLab) -> None:
    """All roots that the hosts trust, as an operator gives them to a client that is not a host."""
    roots = site.sh("ca", "cat /etc/phoenix/roots.pem", ok=True).out
    site.put("client", f"{ROOT_FILE}.new", roots)
    site.sh("client", f"mv {ROOT_FILE}.new {ROOT_FILE}", ok=True)


def output_of(project: Project, *words: str, code: int) -> str:
    """What the command says, on one line; it must end with this code."""
    done = project.phoenix(*words)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, text
    assert "Traceback" not in text, text
    return text


@pytest.fixture
def moved(site: SiteLab, variant: Project) -> Iterator[Project]:
    """The same site in another domain; the lab goes back to its own one afterwards."""
    file = "inventories/phoenix_lxc_configs.json"
    declared = variant.json(file)
    declared["site"]["domain"] = NEW
    variant.write_json(file, declared)
    yield variant
    # After a failed test the hosts may name a CA that is not served: a sync comes first there.
    site.project.phoenix("sync", "-y")
    for words in (("certs", "rotate", "root"), ("sync", "-y")) * 2:
        output_of(site.project, *words, code=0)
    given_to_the_client(site)
    assert f"DNS:{NEW}" not in permitted(site)


@pytest.mark.timeout(1800)
def test_a_site_moves_to_another_domain(site: SiteLab, moved: Project) -> None:
    """Bug report 2: DNS changed first, then the CA refused every name, and nothing worked."""
    old = site.site.domain
    assert output_of(site.project, "plan", code=0)
    assert output_of(moved, "validate", code=0)
    for words in (("plan",), ("sync", "-y"), ("sync", "-y", "dns"), ("plan", "nginx")):
        report = output_of(moved, *words, code=1)
        assert f"{NEW} is declared" in report, report
        assert "`phoenix certs rotate root`" in report, report
    assert output_of(site.project, "plan", code=0), "nothing was changed"
    report = output_of(moved, "certs", "rotate", "intermediate", code=1)
    assert "root vouches for" in report, report
    assert "by `phoenix certs rotate root`" in report, report

    with load(site) as requests:
        # Interrupted before the CA signs with the next keys, and dropped.
        output_of(moved, "certs", "rotate", "root", "--prepare", code=0)
        output_of(moved, "certs", "rotate", "abandon", code=0)
        assert site.sh("ca", f"test -e {CA}/rotation").code != 0
        assert f"DNS:{NEW}" not in permitted(site)
        # Next keys that vouch for too little, as an earlier release made them.
        output_of(site.project, "certs", "rotate", "root", "--prepare", code=0)
        report = output_of(moved, "certs", "rotate", "root", "--prepare", code=0)
        assert "made again" in report, report
        given_to_the_client(site)
        output_of(moved, "certs", "rotate", "continue", code=0)
        assert {f"DNS:{old}", f"DNS:{NEW}"} <= permitted(site)
        assert output_of(site.project, "plan", code=0), "the site is in its old domain still"
        print_figure("answers under the old name", dict(requests.answers()))
        requests.wait_for(51)
        assert requests.failures() == {}

    output_of(moved, "sync", "-y", code=0)
    assert output_of(moved, "plan", code=0)
    for route in site.backends:
        answer = site.curl(f"https://{route.service.name}.{NEW}{route.health_path}")
        assert answer.status == 200, answer
    leftover = site.sh("gateway", f"grep -rl {old} /etc/nginx /etc/phoenix /etc/resolv.conf").out
    assert leftover == "", leftover
    report = output_of(site.project, "plan", code=2)
    assert old in report, "the CA vouches for both: the way back is open"

    output_of(moved, "certs", "rotate", "root", code=0)
    assert f"DNS:{old}" not in permitted(site)
    assert output_of(moved, "plan", code=0)
    assert f"{old} is declared" in output_of(site.project, "plan", code=1)
