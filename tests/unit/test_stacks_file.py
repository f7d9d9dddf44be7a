"""phoenix_stacks_config.json: stacks without a manifest of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phoenix.components import stack as deployment
from phoenix.declaration.load import load_site
from tests.unit.site_builder import Declaration, minimal, problem

FILE = "phoenix_stacks_config.json"
PLACE = "docker_stacks.notes"
LABELS = [
    "traefik.enable=true",
    "traefik.http.routers.notes.rule=Host(`notes.internal.thinkheads.ai`)",
    "traefik.http.routers.notes.entrypoints=websecure",
    "traefik.http.services.notes.loadbalancer.server.port=80",
    "traefik.http.services.notes.loadbalancer.server.scheme=https",
]
COMPOSE = {"services": {"web": {"image": "example/notes:1.0", "ports": ["8100:80"]}}}


def notes(**more: Any) -> dict[str, Any]:
    """A stack as the file has it."""
    production = {
        "variables": [{"name": "LANGUAGE", "value": "en"}],
        "files": [{"source": "data/notes/app.env", "destination_in_container": "/app/.env"}],
        "services": {"web": {"traefik_labels": LABELS}},
    }
    return {
        "description": "Notes.",
        "compose_file_path": "data/notes/docker-compose.yml",
        "environments": {"production": production},
        **more,
    }


def declared(folder: Path, stacks: dict[str, Any], compose: str = "data/notes") -> Declaration:
    """The minimal site with stacks of the file, the first deployed, its compose file in place."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps({"docker_stacks": stacks}))
    (folder / compose).mkdir(parents=True)
    (folder / compose / "docker-compose.yml").write_text(json.dumps(COMPOSE))
    (folder / "data/notes").mkdir(parents=True, exist_ok=True)
    (folder / "data/notes/app.env").write_text("A=1\n")
    declaration = minimal()
    declaration.vm["vms"][1]["docker_stacks"].append(next(iter(stacks)))
    return declaration


def test_a_listed_stack_is_deployed_with_its_route_variables_and_files(tmp_path: Path) -> None:
    site = declared(tmp_path, {"notes": notes()}).load(tmp_path)
    (stack,) = (s for s in site.host("worker").docker_stacks if s.name == "notes")
    assert (stack.source.file, stack.source.path) == (FILE, f"{PLACE}.environments.production")
    assert stack.compose_file == tmp_path / "data/notes/docker-compose.yml"
    assert [variable.name for variable in stack.variables] == ["LANGUAGE"]
    service = site.service("notes")
    assert (service.port, service.scheme, service.owner.name) == (8100, "https", "worker")
    assert service.deployment == stack
    assert service.compose_service == "web"
    (file,) = deployment.files(stack, lambda _name: None).values()  # type: ignore[arg-type,return-value]
    assert file.data == b"A=1\n"


def test_the_compose_file_may_be_in_the_stacks_folder(tmp_path: Path) -> None:
    listed = {"notes": notes(compose_file_path="stacks/notes/docker-compose.yml")}
    site = declared(tmp_path, listed, compose="stacks/notes").load(tmp_path)
    assert site.service("notes").deployment is not None
    assert not [w for w in site.warnings if "compose_file_path" in w.path]


def test_a_path_that_leads_nowhere_falls_back_to_the_stacks_folder_and_says_so(
    tmp_path: Path,
) -> None:
    listed = {"notes": notes(compose_file_path="elsewhere/docker-compose.yml")}
    site = declared(tmp_path, listed, compose="stacks/notes").load(tmp_path)
    finding = problem(site.warnings, FILE, f"{PLACE}.compose_file_path")
    assert finding.fix == 'write "stacks/notes/docker-compose.yml"'


def test_a_missing_compose_file_names_each_place_where_it_was_looked_for(tmp_path: Path) -> None:
    listed = {"notes": notes(compose_file_path="none/docker-compose.yml")}
    findings = declared(tmp_path, listed).refused(tmp_path)
    finding = problem(findings, FILE, f"{PLACE}.compose_file_path")
    for place in ("none", "stacks/none", "stacks/notes"):
        assert str(tmp_path / place / "docker-compose.yml") in finding.message


def test_a_missing_compose_file_of_a_stack_that_nobody_deploys_is_told_alone(
    tmp_path: Path,
) -> None:
    listed = {"notes": notes(), "later": notes(compose_file_path="none/docker-compose.yml")}
    site = declared(tmp_path, listed).load(tmp_path)
    finding = problem(site.warnings, FILE, "docker_stacks.later.compose_file_path")
    assert "no compose file" in finding.message


def test_a_path_out_of_the_site_is_refused(tmp_path: Path) -> None:
    listed = {"notes": notes(compose_file_path="../other/docker-compose.yml")}
    findings = declared(tmp_path, listed, compose="stacks/notes").refused(tmp_path)
    assert "leads out" in problem(findings, FILE, f"{PLACE}.compose_file_path").message


def test_a_manifest_of_its_own_holds_and_the_difference_is_told(tmp_path: Path) -> None:
    declaration = declared(tmp_path, {"notes": notes()})
    del declaration.vm["vms"][1]["docker_stacks"][-1]
    manifest, compose = declaration.stacks["shop"]
    listed = {"shop": notes(environments=manifest["environments"])}
    (tmp_path / FILE).write_text(json.dumps({"docker_stacks": listed}))
    site = declaration.load(tmp_path)
    assert site.service("shop").deployment.source.file == "stacks/shop/phoenix.json"  # type: ignore[union-attr]
    finding = problem(site.warnings, FILE, "docker_stacks.shop")
    assert "differ in description" in finding.message
    assert compose


def test_plain_secrets_are_told_and_a_gateway_name_of_no_service(tmp_path: Path) -> None:
    stack = notes(nginx_proxy={"hostname": "memo.internal.thinkheads.ai"})
    variables = stack["environments"]["production"]["variables"]
    variables.append({"name": "DATABASE_PASS", "value": "x"})
    site = declared(tmp_path, {"notes": stack}).load(tmp_path)
    path = f"{PLACE}.environments.production.variables[1]"
    messages = [warning.message for warning in site.warnings if warning.path == path]
    assert any("secret in clear text" in message for message in messages), messages
    assert "memo" in problem(site.warnings, FILE, f"{PLACE}.nginx_proxy.hostname").message


def test_errors_in_the_file_name_the_place_in_it(tmp_path: Path) -> None:
    stack = notes()
    stack["environments"]["production"]["services"]["nobody"] = {"traefik_labels": LABELS}
    findings = declared(tmp_path, {"notes": stack}).refused(tmp_path)
    path = f"{PLACE}.environments.production.services.nobody"
    assert "no service 'nobody'" in problem(findings, FILE, path).message


def test_without_the_file_nothing_changes(tmp_path: Path) -> None:
    minimal().load(tmp_path)
    assert not load_site(tmp_path).warnings


def test_a_stack_that_is_portainer_itself_is_told_and_not_checked_for_compose(
    tmp_path: Path,
) -> None:
    image = {"image": "portainer/portainer-ce:2.33.0", "ports": ["9443:9443"]}
    compose = {"services": {"portainer": image}, "secrets": {"key": {"external": True}}}
    manifest: dict[str, Any] = {"environments": {"production": {}}}
    declaration = minimal()
    declaration.stacks["panel"] = (manifest, compose)
    declaration.vm["vms"][0]["docker_stacks"] = ["panel"]
    warned = problem(declaration.load(tmp_path).warnings, "phoenix_vm_configs.json",
                     "vms[0].docker_stacks[0]")  # fmt: skip
    assert "it is Portainer itself" in warned.message
    declaration.vm["vms"][0]["docker_stacks"] = []
    declaration.vm["vms"][1]["docker_stacks"].append("panel")
    file = "stacks/panel/docker-compose.yml"
    problem(declaration.refused(tmp_path), file, "secrets.key.external")
