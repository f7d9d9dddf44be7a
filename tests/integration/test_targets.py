"""A target is whole: a new stack by its name alone, from its record to a request for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab.settings import ROOT
from tests.integration.project import Project
from tests.integration.site_lab import SiteLab
from tests.integration.test_stack_ways import edit_guest

pytestmark = pytest.mark.timeout(900)
PROJECT, PORT = "fresh-production", 8443
URLS = tuple(f"https://{name}.internal.thinkheads.ai/" for name in ("fresh", "newest"))
USER = '    user: "1000:1000"\n'


def documented(image: str) -> str:
    """The compose file of docs/services.md for an application that is not root, with an image."""
    page = (ROOT / "docs/services.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    assert USER in text
    serve = f'    command: ["python3", "-m", "lab.standin", "fresh={PORT}"]\n'
    return text.replace("example/web:1.0", image).replace(USER, USER + serve)


def documented_reader() -> dict[str, object]:
    """Who reads the key, as docs/services.md says it for that user."""
    page = (ROOT / "docs/services.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith('"tls": ')]
    entry: dict[str, object] = json.loads(f"{{{line}}}")
    return entry


SERVICE = {"name": "fresh", "aliases": ["newest"], "port": PORT, "scheme": "https"}


NAMED = {"qdrant_service": "qdrant", "thinkheads_ai_app": "app"}
"""The folders of two stacks, and the name of the service that each has."""


def test_two_services_that_exchange_their_names(site: SiteLab, variant: Project) -> None:
    """Each name leads to the other one's application, with a certificate that has it."""
    domain, paths = site.site.domain, {r.service.name: r.health_path for r in site.backends}

    def served() -> dict[tuple[str, str], tuple[int, bool]]:
        """For each name and each application's path: the status, and whether `app` answers."""
        answers = {
            (name, path): site.curl(f"https://{name}.{domain}{path}")
            for name in NAMED.values()
            for path in {paths[name] for name in NAMED.values()}
        }
        return {
            asked: (answer.status, '"service": "app"' in answer.body)
            for asked, answer in answers.items()
        }

    def undeclared(project: Project) -> list[object]:
        """What a plan tells that is declared nowhere."""
        report = json.loads(project.phoenix("plan", "--json").stdout)
        items: list[object] = report["undeclared"]["items"]
        return items

    first, second = NAMED.values()
    before, beside = served(), undeclared(site.project)
    assert before[first, paths[first]] == (200, False), before
    assert before[second, paths[second]] == (200, True), before
    for folder, name in NAMED.items():
        file = f"stacks/{folder}/phoenix.json"
        text = json.dumps(variant.json(file))
        new = json.dumps(second if name == first else first)
        assert f'"name": {json.dumps(name)}' in text
        changed = text.replace(f'"name": {json.dumps(name)}', f'"name": {new}')
        variant.write_json(file, json.loads(changed))
    try:
        done = variant.phoenix("sync", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["verified"], done.stdout
        assert served() == {
            (second if name == first else first, path): answer
            for (name, path), answer in before.items()
        }
        assert undeclared(variant) == beside
    finally:
        back = site.project.phoenix("sync")
    assert back.returncode == 0, back.stdout + back.stderr
    assert served() == before


@pytest.fixture(scope="module")
def declared(site: SiteLab) -> Iterator[Project]:
    """The site with one more stack; afterwards it is as it was."""
    variant = site.project.variant("declared")
    folder = variant.path / "stacks/fresh"
    folder.mkdir()
    (folder / "docker-compose.yml").write_text(documented(site.state.images["app"]))
    services = {"web": {"traefik_service": SERVICE}}
    manifest = {"environments": {"production": {"services": services, **documented_reader()}}}
    variant.write_json("stacks/fresh/phoenix.json", manifest)
    (guest,) = [entry for entry in variant.json("inventories/phoenix_vm_configs.json")["vms"]
                if entry["vmid"] == 1002]  # fmt: skip
    edit_guest(variant, 1002, docker_stacks=[*guest["docker_stacks"], "fresh"])
    yield variant
    gone = {"stacks_prune": json.dumps([PROJECT])}
    run = site.project.run("deploys/all.py", data=gone)
    assert run.returncode == 0, run.explain()
    left = site.project.phoenix("remove", f"acme-stack-{PROJECT}", "-y")
    assert left.returncode == 0, left.stdout + left.stderr


def test_a_new_stack_by_its_name_ends_proven(site: SiteLab, declared: Project) -> None:
    for url in URLS:
        assert site.curl(url).status != 200, f"{url} answers before anything was deployed"
    done = declared.phoenix("sync", "stack:fresh", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert (summary["ok"], summary["verified"]) == (True, True), summary
    for url in URLS:  # the client trusts the site's root alone
        assert site.curl(url).status == 200, url
    changed = {step for host in summary["hosts"] for step in host["changed"]}
    assert not any("qdrant" in step or "thinkheads" in step for step in changed), changed

    again = json.loads(declared.phoenix("sync", "stack:fresh", "--json").stdout)
    assert again["verified"], again
    assert [step for host in again["hosts"] for step in host["changed"]] == []
    whoami = ("sh", "-c", "cat /etc/hostname; stat -Lc %u /proc/1 /tls/privkey.pem")
    inside = declared.phoenix("exec", "stack:fresh", "--", *whoami)
    assert inside.returncode == 0, inside.stderr
    name, *users = inside.stdout.split()
    assert name != "drphoenix", "it ran on the host"
    assert users == ["1000", "1000"], "the application of the documentation is not root"
    logs = declared.phoenix("logs", "stack:fresh/web", "-n", "5")
    assert logs.returncode == 0, logs.stderr


def test_a_broken_application_ends_its_own_sync_and_no_other(
    site: SiteLab, declared: Project
) -> None:
    if site.curl(URLS[0]).status != 200:  # it is there after the test above
        done = declared.phoenix("sync", "stack:fresh", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
    site.sh("drphoenix", f"docker stop {PROJECT}-web-1", ok=True)
    nginx = json.loads(declared.phoenix("sync", "nginx", "--json").stdout)
    assert (nginx["ok"], nginx["verified"]) == (True, True), nginx
    proof = declared.phoenix("doctor", "fresh", "--json")
    assert proof.returncode != 0, proof.stdout
    put_back = json.loads(declared.phoenix("sync", "stack:fresh", "--json").stdout)
    assert (put_back["ok"], put_back["verified"]) == (True, True), put_back
