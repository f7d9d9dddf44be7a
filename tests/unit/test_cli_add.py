"""`phoenix add`: a person's own text with one entry more, written only where it is sound."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli import project as projects
from tests.unit.project_copy import phoenix
from tests.unit.project_copy import project as project_copy
from tests.unit.site_builder import LXC, VM

project = project_copy


def texts(project: Path) -> dict[str, str]:
    files = [*(project / "inventories").glob("*.json"), *(project / "stacks").rglob("*")]
    return {str(file.relative_to(project)): file.read_text() for file in files if file.is_file()}


def added(project: Path, *words: str) -> dict[str, Any]:
    result = phoenix("add", *words, "--json", "--site", project)
    assert result.exit_code == 0, (result.output, result.exception)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def refused(project: Path, *words: str) -> str:
    before = texts(project)
    result = phoenix("add", *words, "--site", project)
    assert result.exit_code != 0, result.output
    assert texts(project) == before
    return f"{result.output}{result.exception}"


def site(project: Path) -> Any:
    return projects.load(project / "inventories/phoenix.py").site


def only_added(before: str, after: str) -> list[str]:
    """The lines that are new; each old one is still there, in its place, a comma apart."""
    rest = iter(after.splitlines())
    new = []
    for line in before.splitlines():
        for other in rest:
            if other.removesuffix(",") == line.removesuffix(","):
                break
            new.append(other)
        else:
            pytest.fail(f"gone: {line}")
    return new + list(rest)


def test_a_service_of_a_guest(project: Path) -> None:
    before = texts(project)
    report = added(
        project, "service", "wiki", "--host", "drphoenix", "--port", "8444",
        "--health-path", "/up", "--alias", "docs",
    )  # fmt: skip
    after = texts(project)
    assert {name for name in after if after[name] != before.get(name)} == {f"inventories/{VM}"}
    new = only_added(before[f"inventories/{VM}"], after[f"inventories/{VM}"])
    assert [line.strip() for line in new][:3] == ['"traefik_service": {', '"name": "wiki",',
                                                  '"port": 8444,']  # fmt: skip
    assert '\n+                "name": "wiki",\n' in report["diff"]
    assert report["next"] == "phoenix plan wiki"
    wiki = site(project).service("wiki")
    assert (wiki.owner.name, wiki.health_path, len(wiki.aliases)) == ("drphoenix", "/up", 1)


def test_a_route_to_a_stack_s_service(project: Path) -> None:
    manifest = project / "stacks/qdrant_service/phoenix.json"
    data = json.loads(manifest.read_text())
    del data["environments"]["production"]["services"]
    data["environments"]["production"]["tls"] = {}
    manifest.write_text(json.dumps(data))  # on one line
    report = added(project, "service", "vectors", "--stack", "qdrant_service", "--port", "6333")
    assert report["files"] == ["stacks/qdrant_service/phoenix.json"]
    assert manifest.read_text().count("\n") == 0, "what stood on one line stays there"
    assert site(project).service("vectors").compose_service == "qdrant"


def test_hosts_have_free_ids_and_agents_of_their_own(project: Path) -> None:
    added(project, "host", "docker02", "--ip", "10.0.0.31", "--role", "docker")
    added(project, "host", "NAS", "--ip", "10.0.0.40")
    loaded = site(project)
    assert (loaded.host("docker02").vmid, loaded.host("docker02").kind) == (1003, "vm")
    assert (loaded.host("nas").vmid, loaded.host("nas").kind) == (104, "lxc")
    assert len({host.name for host in loaded.agents}) == 2
    assert phoenix("validate", "--strict", "--site", project).exit_code == 0


def test_a_new_stack_has_a_folder_and_a_route(project: Path) -> None:
    report = added(
        project, "stack", "who", "--host", "drphoenix", "--image", "traefik/whoami:v1.11",
        "--publish", "8088:80", "--service", "who", "--scheme", "http",
    )  # fmt: skip
    assert set(report["files"]) == {
        "stacks/who/docker-compose.yml", "stacks/who/phoenix.json", f"inventories/{VM}",
    }  # fmt: skip
    who = site(project).service("who")
    assert (who.port, who.scheme, who.owner.name) == (8088, "http", "drphoenix")
    assert "/dev/null" in report["diff"]


def test_a_compose_file_is_copied_as_it_is(project: Path, tmp_path: Path) -> None:
    compose = tmp_path / "mine.yml"
    compose.write_text('services:\n  a:   # mine\n    image: "a:1"\n')
    added(project, "stack", "mine", "--host", "drphoenix", "--compose", str(compose))
    assert (project / "stacks/mine/docker-compose.yml").read_text() == compose.read_text()
    assert "mine-production" in {
        docker_stack.project for docker_stack in site(project).host("1002").docker_stacks
    }


def test_a_stack_that_is_there_is_named_on_one_more_host(project: Path) -> None:
    added(project, "host", "docker02", "--ip", "10.0.0.31", "--role", "docker")
    report = added(
        project, "stack", "qdrant_service", "--host", "docker02", "--environment", "testing"
    )
    assert report["files"] == [f"inventories/{VM}"]
    (stack,) = site(project).host("docker02").docker_stacks
    assert stack.project == "qdrant_service-testing"


def test_dry_shows_and_writes_nothing(project: Path) -> None:
    before = texts(project)
    words = ("service", "wiki", "--host", "drphoenix", "--port", "8444", "--dry")
    result = phoenix("add", *words, "--site", project)
    assert result.exit_code == 0, result.output
    assert '+            "traefik_service": {' in result.stdout
    assert "nothing was written" in result.stdout
    assert texts(project) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("service", "portainer", "--host", "drphoenix", "--port", "1"), "duplicate service name"),
        (("service", "x", "--host", "nobody", "--port", "1"), "no guest is called 'nobody'"),
        (("service", "x", "--host", "phoenix", "--port", "1"), "is the hypervisor"),
        (("service", "x", "--port", "1"), "name its guest by --host"),
        (("service", "x", "--stack", "nothing", "--port", "1"), "no stack 'nothing'. There are: "),
        (("service", "x", "--stack", "../stacks/qdrant_service", "--port", "1"), "is no stack"),
        (("service", "x", "--host", "drphoenix", "--port", "9", "--service", "web"), "--service"),
        (("service", "x", "--host", "drphoenix", "--port", "9", "--environment", "e"),
         "--environment"),
        (("service", "x", "--stack", "qdrant_service", "--port", "1", "--environment", "e"),
         "has no environment 'e'. There are: "),
        (("service", "x", "--host", "drphoenix", "--port", "9", "--scheme", "gopher"), "scheme"),
        (("host", "h", "--ip", "10.9.9.9"), "not in the site's network"),
        (("host", "h", "--ip", "10.0.0.102"), "10.0.0.102"),
        (("host", "drphoenix", "--ip", "10.0.0.77"), "there is a host drphoenix"),
        (("host", "a_b", "--ip", "10.0.0.77"), "is not a host name"),
        (("host", "h", "--ip", "10.0.0.77", "--role", "cook"), "'cook' is not a role"),
        (("host", "h", "--ip", "10.0.0.77", "--role", "nginx"), "nginx"),
        (("host", "h", "--ip", "10.0.0.77", "--id", "101"), "101"),
        (("stack", "new", "--host", "drphoenix"), "there is no stack new"),
        (("stack", "qdrant_service", "--host", "drphoenix"), "qdrant_service"),
        (("stack", "qdrant_service", "--host", "drphoenix", "--image", "x:1"), "is there already"),
        (("stack", "s", "--host", "drphoenix", "--image", "x:1", "--publish", "no"), "--publish"),
        (("stack", "../s", "--host", "drphoenix", "--image", "x:1"), "'../s' is not a name"),
        (("stack", "..", "--host", "drphoenix", "--image", "x:1"), "'..' is not a name"),
        (("stack", "s", "--host", "drphoenix", "--image", "x:1", "--port", "80"), "--port"),
        (("stack", "s", "--host", "drphoenix", "--image", "x:1", "--scheme", "http"), "--scheme"),
        (("stack", "s", "--host", "drphoenix", "--publish", "80"), "--publish is of --image"),
        (("stack", "s", "--host", "drphoenix", "--image", "X:1"), "not a name of an image"),
    ],
)  # fmt: skip
def test_what_would_not_be_sound_writes_nothing(
    project: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refused(project, *words)


TWO = """services:
  web: {image: "e/w:1", ports: !override ["8080:80"]}
  "my.db": {image: "e/d:1", ports: ["8432:5432"]}
"""


def test_a_route_leads_to_the_service_that_publishes_its_port(
    project: Path, tmp_path: Path
) -> None:
    compose = tmp_path / "mine.yml"
    compose.write_text(TWO.replace("!override ", ""))
    words = ("stack", "mine", "--host", "drphoenix", "--compose", str(compose),
             "--scheme", "http")  # fmt: skip
    message = refused(project, *words, "--service", "mine", "--port", "80")
    assert "none of them publishes port 80" in message
    added(project, *words, "--service", "mine", "--port", "8080")
    added(project, "service", "db", "--stack", "mine", "--port", "8432", "--scheme", "http")
    services = {name: site(project).service(name).compose_service for name in ("mine", "db")}
    assert services == {"mine": "web", "db": "my.db"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TWO, "!override"),
        ("services: [", "is not valid YAML"),
        ("", "is empty"),
        ("- web\n", "is not a mapping"),
        ("services: {web: null}", "services.web"),
    ],
)
def test_a_compose_file_that_cannot_be_used_is_told(
    project: Path, tmp_path: Path, text: str, message: str
) -> None:
    compose = tmp_path / "mine.yml"
    compose.write_text(text)
    words = ("stack", "mine", "--host", "drphoenix", "--compose", str(compose))
    assert message in refused(project, *words)
    route = ("--service", "mine", "--port", "8080", "--scheme", "http")
    assert message in refused(project, *words, *route)
    assert "give one of the two" in refused(project, *words, "--image", "x:1")


def test_a_stack_of_the_stacks_file_is_named_on_a_host(project: Path) -> None:
    stack = {"compose_file_path": "mine.yml", "environments": {"production": {"services": {}}}}
    listed = {"docker_stacks": {"listed": stack}}
    (project / "inventories/phoenix_stacks_config.json").write_text(json.dumps(listed))
    (project / "inventories/mine.yml").write_text("services: {web: {image: 'e/w:1'}}")
    message = refused(project, "service", "x", "--stack", "listed", "--port", "6333")
    assert "listed stands in phoenix_stacks_config.json" in message
    added(project, "stack", "listed", "--host", "drphoenix")
    projects_there = {stack.project for stack in site(project).host("1002").docker_stacks}
    assert "listed-production" in projects_there


def test_links_of_a_person_s_own_stay(project: Path) -> None:
    """Files of the site that are kept elsewhere, relative links as well."""
    real = (project / "inventories" / VM).rename(project / "vms.json")
    (project / "inventories" / VM).symlink_to(f"../{real.name}")
    (project / "inventories" / LXC).rename(project / LXC)
    (project / "inventories" / LXC).symlink_to(f"../{LXC}")
    wiki = project / "elsewhere/wiki"
    wiki.mkdir(parents=True)
    (wiki / "docker-compose.yml").write_text("services: {web: {image: 'e/w:1'}}")
    (wiki / "phoenix.json").write_text('{"environments": {"production": {"services": {}}}}')
    (wiki / "around").symlink_to("..")
    (wiki / "nowhere").symlink_to("/nowhere")
    os.mkfifo(wiki / "pipe")
    (project / "stacks/wiki").symlink_to("../elsewhere/wiki")
    added(project, "stack", "wiki", "--host", "drphoenix")
    assert (project / "inventories" / VM).is_symlink()
    assert '"wiki"' in real.read_text()


def test_places_of_the_copy_are_not_told(project: Path) -> None:
    stack = {"compose_file_path": "none.yml", "environments": {"production": {"services": {}}}}
    (project / "inventories/phoenix_stacks_config.json").write_text(
        json.dumps({"docker_stacks": {"listed": stack}})
    )
    assert any(str(project) in warning.message for warning in site(project).warnings)
    report = added(project, "host", "h", "--ip", "10.0.0.77", "--dry")
    assert report["warnings"] == [], "what was told before is not told anew"
    message = refused(project, "stack", "listed", "--host", "drphoenix")
    assert str(project) in message
    assert "phoenix-add-" not in message


def test_a_faulty_declaration_is_repaired_first(project: Path) -> None:
    (project / "inventories" / LXC).write_text("{")
    message = refused(project, "host", "h", "--ip", "10.0.0.77")
    assert "not valid JSON" in message
    assert "phoenix validate" in message


def test_a_further_service_stands_beside_the_first(project: Path) -> None:
    added(project, "service", "console", "--host", "portainer", "--port", "9444")
    added(project, "service", "other", "--host", "1001", "--port", "9445")
    owned = {service.name for service in site(project).services if service.owner.vmid == 1001}
    assert {"portainer", "console", "other"} <= owned
    assert phoenix("validate", "--strict", "--site", project).exit_code == 0


def test_a_service_that_would_lead_nowhere_is_not_written(project: Path) -> None:
    message = refused(project, "service", "wiki", "--host", "nginx-phoenix", "--port", "8443")
    assert "would lead nowhere" in message
    assert "the gateway would be routed through itself" in message


def test_a_name_that_is_not_there_is_told_with_those_that_are(project: Path) -> None:
    message = refused(project, "service", "x", "--host", "nobody", "--port", "1")
    assert "There are: phoenix, " in message
    assert "phoenix add host nobody" in message
    message = refused(project, "service", "x", "--host", "drphenix", "--port", "1")
    assert "Did you mean 'drphoenix'?" in message


def test_a_host_has_an_address_of_any_network(project: Path) -> None:
    file = project / "inventories/phoenix_hypervisor_config.json"
    file.write_text(
        json.dumps({"networks": {"internal": {"subnet": "172.16.100.0/26", "bridge": "vmbr100",
                                              "nat": True}}})
    )  # fmt: skip
    assert "not in the site's networks: 10.0.0.0/24, 172.16.100.0/26" in refused(
        project, "host", "h", "--ip", "172.16.101.9"
    )
    added(project, "host", "inner", "--ip", "172.16.100.9")
    assert str(site(project).host("inner").managed.prefixlen) == "26"


# -- and taken out again ---------------------------------------------------------------------------


def undeclared(project: Path, name: str, *words: str, code: int = 0) -> str:
    result = phoenix("remove", name, "--undeclare", *words, "--site", project)
    assert result.exit_code == code, (result.output, result.exception)
    return f"{result.output}{result.exception or ''}"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("service", "wiki", "--host", "drphoenix", "--port", "8444"), "wiki"),
        (("host", "git01", "--ip", "10.0.0.40"), "git01"),
        (("host", "docker02", "--ip", "10.0.0.31", "--role", "docker"), "docker02"),
        (("stack", "qdrant_service", "--host", "portainer", "--environment", "testing"),
         "qdrant_service-testing"),
    ],
)  # fmt: skip
def test_what_was_added_is_taken_out(project: Path, words: tuple[str, ...], name: str) -> None:
    before = texts(project)
    added(project, *words)
    assert undeclared(project, name, "--dry").endswith("sound; nothing was written\n")
    assert texts(project) != before
    output = undeclared(project, name)
    assert "next: phoenix plan" in output
    assert {file: json.loads(text) for file, text in texts(project).items() if "json" in file} == {
        file: json.loads(text) for file, text in before.items() if "json" in file
    } or name == "qdrant_service-testing"
    assert not [service for service in site(project).services if service.name == name]
    assert name not in {host.name for host in site(project).hosts}
    assert name not in {
        stack.project for host in site(project).guests for stack in host.docker_stacks
    }


def test_a_stack_s_service_goes_with_the_entry_that_it_was_alone_in(project: Path) -> None:
    added(project, "stack", "who", "--host", "drphoenix", "--image", "traefik/whoami:v1.11",
          "--publish", "8088:80", "--service", "hello", "--scheme", "http")  # fmt: skip
    undeclared(project, "hello")
    manifest = json.loads((project / "stacks/who/phoenix.json").read_text())
    assert manifest == {"environments": {"production": {"services": {}}}}
    output = undeclared(project, "who")
    assert "stacks/who stays where it is" in output
    assert (project / "stacks/who/docker-compose.yml").is_file()


def test_the_entry_is_cut_where_portainer_s_own_stack_stands_before_it(project: Path) -> None:
    """It is declared and not deployed: places are those of the file, and not of what runs."""
    own = project / "stacks/portainer_service"
    own.mkdir()
    (own / "phoenix.json").write_text(json.dumps({"environments": {"production": {}}}))
    compose = {"services": {"portainer": {"image": "portainer/portainer-ce:2.27.0"}}}
    (own / "docker-compose.yml").write_text(json.dumps(compose))
    file = project / "inventories" / VM
    declared = json.loads(file.read_text())
    (guest,) = [candidate for candidate in declared["vms"] if candidate.get("role") == "portainer"]
    guest["docker_stacks"] = [
        "portainer_service", {"name": "qdrant_service", "environment": "testing"},
    ]  # fmt: skip
    file.write_text(json.dumps(declared, indent=4))
    output = phoenix("explain", "qdrant_service-testing", "--site", project).output
    assert "docker_stacks[1]" in output
    undeclared(project, "qdrant_service-testing")
    (guest,) = [
        candidate
        for candidate in json.loads(file.read_text())["vms"]
        if candidate["name"] == guest["name"]
    ]
    assert guest["docker_stacks"] == ["portainer_service"]


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("never-heard-of", (), "no service, guest or stack is called 'never-heard-of'"),
        ("portainer", (), "service:portainer or guest:portainer"),
        ("phoenix", (), "is the hypervisor"),
        ("step-ca", (), "nothing was written"),
        ("home", (), "has no entry of its own"),
        ("qdrant", ("--volumes",), "leave --volumes and --destroy out"),
    ],
)
def test_what_cannot_be_taken_out_writes_nothing(
    project: Path, name: str, words: tuple[str, ...], message: str
) -> None:
    before = texts(project)
    assert message in undeclared(project, name, *words, code=1)
    assert texts(project) == before


def test_a_dry_removal_from_hosts_is_wrong_usage(project: Path) -> None:
    result = phoenix("remove", "who", "--dry", "--site", project)
    assert "--dry is of --undeclare" in str(result.exception)


def test_a_stack_that_needs_a_variable_is_told_how_it_is_added(
    project: Path, tmp_path: Path
) -> None:
    """No option gives a variable's value, so the fix in a file that is not there would mislead."""
    compose = tmp_path / "mine.yml"
    compose.write_text("services: {web: {image: 'a:1', environment: ['T=${TOKEN:?}']}}\n")
    told = refused(project, "stack", "mine", "--host", "drphoenix", "--compose", str(compose))
    assert "required variable TOKEN is missing a value" in told
    assert "or write docker-compose.yml and phoenix.json in stacks/mine yourself" in told
    assert not (project / "stacks/mine").exists()


def test_a_host_is_named_as_for_every_verb(project: Path) -> None:
    host = site(project).host("drphoenix")
    ways = (host.name.upper(), str(host.vmid), host.fqdn, str(host.address), f"guest:{host.name}",
            f"https://{host.fqdn}:8443/")  # fmt: skip
    reports = [
        added(project, "service", "wiki", "--host", way, "--port", "8444", "--dry") for way in ways
    ]
    assert {report["diff"] for report in reports} == {reports[0]["diff"]}
    message = refused(project, "service", "wiki", "--host", "drphenix", "--port", "8444")
    assert "Did you mean 'drphoenix'?" in message
    assert "phoenix add host drphenix" in message
    message = refused(project, "service", "wiki", "--host", "traefik", "--port", "8444")
    assert "no guest is called 'traefik'" in message


def test_a_stack_is_named_as_for_every_verb(project: Path) -> None:
    manifest = project / "stacks/qdrant_service/phoenix.json"
    data = json.loads(manifest.read_text())
    del data["environments"]["production"]["services"]
    data["environments"]["production"]["tls"] = {}
    manifest.write_text(json.dumps(data))
    words = ("service", "vectors", "--port", "6333", "--dry", "--stack")
    ways = ("qdrant_service", "stack:qdrant_service", "QDRANT_SERVICE", "qdrant_service-production")
    reports = [added(project, *words, way) for way in ways]
    assert {report["diff"] for report in reports} == {reports[0]["diff"]}
    message = refused(project, *words, "qdrant_service-production", "--environment", "testing")
    assert "is the environment production: leave one of the two out" in message
