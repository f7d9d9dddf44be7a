"""`phoenix validate`: everything that a run would refuse is found offline, where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phoenix.cli.reports.validate import Verdict
from tests.unit.project_copy import INHERITED, changed, phoenix
from tests.unit.project_copy import project as project
from tests.unit.site_builder import LXC, VM

INVENTORY = "inventories/phoenix.py"


def verdict(project: Path, *words: str, code: int) -> Verdict:
    result = phoenix("validate", "--json", "-i", project / INVENTORY, *words)
    assert result.exit_code == code, result.output
    return Verdict.model_validate(json.loads(result.stdout), extra="forbid")


def test_nothing_is_wrong_with_the_real_site(project: Path) -> None:
    assert verdict(project, "--strict", code=0).findings == []
    result = phoenix("validate", "-i", project / INVENTORY)
    assert result.stdout.splitlines() == [
        "nothing is wrong with inventories/phoenix.py: 0 errors, 0 warnings"
    ]


@pytest.mark.parametrize(("words", "code"), [((), 0), (("--strict",), 1)])
def test_files_of_the_earlier_system_are_accepted_with_warnings(
    words: tuple[str, ...], code: int
) -> None:
    result = phoenix("validate", "-i", INHERITED, *words)
    assert result.exit_code == code, result.output
    last = result.stdout.splitlines()[-1]
    assert last.startswith("1 error, " if words else "0 errors, "), last
    assert "not used: the GPU's driver on the hypervisor stays with you" in result.stdout


def test_a_directory_will_do_and_has_the_settings_of_its_project(project: Path) -> None:
    (project / "group_data" / "all.py").write_text("dns_upstreams = []\n")
    result = phoenix("validate", "--json", "-i", project / "inventories")
    assert result.exit_code == 1, result.output
    findings = json.loads(result.stdout)["findings"]
    assert [(finding["path"], finding["line"]) for finding in findings] == [("dns_upstreams", 1)], (
        findings
    )


def test_faulty_declaration_is_told_though_the_inventory_itself_ends(project: Path) -> None:
    def spoil(data: Any) -> None:
        data["vms"][2]["network_config"]["ip"] = "10.0.0.111/24"
        data["vms"][1]["memroy_mb"] = 5

    changed(project / "inventories" / VM, spoil)
    report = verdict(project, code=1)
    assert (report.errors, report.warnings) == (1, 1), report
    error, warning = report.findings
    assert (error.file, error.path) == (VM, "vms[2].network_config.ip")
    lines = (project / "inventories" / VM).read_text().splitlines()
    assert error.line is not None
    assert lines[error.line - 1].strip().startswith('"ip": "10.0.0.111/24"')
    assert error.fix == "give one of them a free address"
    assert warning.path == "vms[1].memroy_mb"
    assert warning.fix == "did you mean 'memory_mb'? else remove it"
    output = phoenix("validate", "-i", project / INVENTORY).stdout
    assert output.splitlines()[0] == VM
    assert f"  error  line {error.line}, vms[2].network_config.ip" in output
    assert output.splitlines()[-1] == "1 error, 1 warning"


def test_text_that_is_no_json_is_told_with_its_line(project: Path) -> None:
    (project / "inventories" / LXC).write_text('{\n  "lxc_configs": {,}\n}')
    finding = verdict(project, code=1).findings[0]
    assert (finding.file, finding.line) == (LXC, 2), finding


def test_fault_in_a_stack_has_the_compose_file_s_line(project: Path) -> None:
    file = project / "stacks/qdrant_service/docker-compose.yml"
    file.write_text(file.read_text().replace("${QDRANT_IMAGE}", "qdrant/qdrant"))
    findings = verdict(project, "--strict", code=2).findings
    images = [finding for finding in findings if finding.path == "services.qdrant.image"]
    assert len(images) == 1, findings
    assert images[0].line is not None
    assert 'image: "qdrant/qdrant"' in file.read_text().splitlines()[images[0].line - 1]


FAULTS = [
    ("dns_upstreams = []", "dns_upstreams", "name at least one resolver"),
    ('dns_upstreams = ["10.0.0.13"]', "dns_upstreams", "this server: a loop"),
    ('resolver_fallback = ["nine"]', "resolver_fallback[0]", "nine"),
    ('timezone = "Europe/Berln"', "timezone", "no time zone 'Europe/Berln'"),
    ('step_ca_lifetime_default = "1 day"', "step_ca_lifetime_default", "not a duration"),
    ('step_ca_lifetime_default = "48h"', "step_ca_lifetime_default", "do not hold"),
    ('step_ca_years = "ten"', "step_ca_years", "'ten'"),
    ("ssh_confirm_seconds = 0", "ssh_confirm_seconds", "is 0"),
    ('nginx_max_body = "512 MB"', "nginx_max_body", "not a size"),
    ('nginx_read_timeout = "soon"', "nginx_read_timeout", "not a time"),
    ('docker_packages = "snap"', "docker_packages", "'snap'"),
    ('docker_apt_key_sha256 = "12"', "docker_apt_key_sha256", "64 hexadecimal"),
    ('artifacts = {"traefik": {"any": {"version": "3.7.15"}}}', "artifacts.step-ca.any", "missing"),
    ('image_archives = {"a:1": {"url": "https://x/a.tar"}}', "image_archives.a:1", "sha256"),
    ('image_archives = {"a:1": {"url": "ftp://x", "sha256": "0"}}', "image_archives.a:1.url", "//"),
    ('stack_variables = {"qdrant_service": {"QDRANT": "1"}}', "stack_variables.qdrant_service",
     "no variable QDRANT"),
    ('stacks_prune = ["qdrant_service-production"]', "stacks_prune[0]", "remove it from one"),
    ('proxmox_firewall_out = "ALLOW"', "proxmox_firewall_out", "ACCEPT"),
    ("proxmox_fierwall = True", "proxmox_fierwall", "no code reads this"),
    ('proxmox_api = "ssh"', "proxmox_api", "no secret proxmox_api_token"),
    ('proxmox_api = "ssh"', "proxmox_api", "then `phoenix secrets import FILE` here"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "words"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_setting_that_a_run_would_refuse(project: Path, text: str, path: str, words: str) -> None:
    """In the inventory's own settings file, which comes before `all`."""
    (project / "group_data" / "phoenix.py").write_text(f'"""Ours."""\n\n{text}\n')
    errors = [
        finding for finding in verdict(project, code=1).findings if finding.severity == "error"
    ]
    hits = [
        finding
        for finding in errors
        if finding.path == path and words in finding.message + finding.fix
    ]
    assert len(hits) == 1, errors
    assert (hits[0].file, hits[0].line) == ("group_data/phoenix.py", 3)


WARNINGS = [
    ('nginx_max_boddy = "1m"', "nginx_max_boddy", "did you mean 'nginx_max_body'? else remove it"),
    ('ssh_usr = "root"', "ssh_usr", "did you mean 'ssh_user'? else remove it"),
    ('portainer_image = "portainer/portainer-ce"', "portainer_image", "name a version"),
    ('stack_variables = {"qdrant": {}}', "stack_variables.qdrant", "'qdrant_service'?"),
    ('from phoenix.declaration.pins import ARTIFACTS\nartifacts = {**ARTIFACTS, "nginx": {}}',
     "artifacts.nginx", "remove it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "fix"), WARNINGS, ids=[case[1] for case in WARNINGS])
def test_setting_that_is_unwise_or_that_nothing_reads(
    project: Path, text: str, path: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / "group_data" / "phoenix.py").write_text(text + "\n")
    reads_nothing = "boddy" in text or "usr" in text
    findings = verdict(project, "--strict", code=1 if reads_nothing else 2).findings
    assert [finding.severity for finding in findings] == ["error" if reads_nothing else "warning"]
    findings = verdict(project, code=0).findings
    assert [(finding.path, finding.severity) for finding in findings] == [(path, "warning")], (
        findings
    )
    assert fix in findings[0].fix


def test_settings_pyinfra_reads_and_private_names_are_no_typos(project: Path) -> None:
    text = 'import os\n\n_home = os.sep\nssh_port = 22\nssh_user = "root"\n_sudo = True\n'
    (project / "group_data" / "nginx.py").write_text(text)
    assert verdict(project, "--strict", code=0).findings == []


def test_a_log_in_in_group_data_is_told_where_it_belongs(project: Path) -> None:
    (project / "group_data" / "nginx.py").write_text('ssh_port = 2222\nssh_user = "admin"\n')
    (project / "group_data" / "all.py").open("a").write('ssh_key = "~/k"\n')
    findings = verdict(project, "--strict", code=2).findings
    by_place = {(f.file, f.path): (f.message, f.fix) for f in findings}
    assert "inventory's own goes before it" in by_place["group_data/nginx.py", "ssh_user"][0]
    assert "pyinfra alone reads it" in by_place["group_data/nginx.py", "ssh_port"][0]
    assert (
        'site.logins.nginx in phoenix_lxc_configs.json: {"port"'
        in (by_place["group_data/nginx.py", "ssh_port"][1])
    )
    assert (
        'site.login in phoenix_lxc_configs.json: {"identity_file"'
        in (by_place["group_data/all.py", "ssh_key"][1])
    )


def test_settings_of_a_group_are_those_of_its_guests_alone(project: Path) -> None:
    (project / "group_data" / "traefik.py").write_text('step_ca_lifetime_default = "soon"\n')
    findings = verdict(project, code=1).findings
    assert [finding.file for finding in findings] == ["group_data/traefik.py"], findings


def test_the_nearest_value_counts_and_is_blamed(project: Path) -> None:
    """The inventory's before its settings file's before that of all."""
    settings, inventory = project / "group_data", project / INVENTORY
    with (settings / "all.py").open("a") as file:
        file.write("dns_upstreams = []\n")
    assert verdict(project, code=1).findings[0].file == "group_data/all.py"
    (settings / "phoenix.py").write_text('dns_upstreams = ["9.9.9.9"]\n')
    assert verdict(project, "--strict", code=0).findings == []
    text = inventory.read_text().replace('"ssh_user"', '"dns_upstreams": ["x"], "ssh_user"')
    inventory.write_text(text)
    assert verdict(project, code=1).findings[0].file == INVENTORY


def test_file_that_no_group_reads_and_one_that_fails(project: Path) -> None:
    (project / "group_data" / "trafik.py").write_text("x = 1\n")
    (project / "group_data" / "nginx.py").write_text("x = (\n")
    findings = verdict(project, code=1).findings
    reported = {
        (finding.file, finding.severity, finding.line)
        for finding in findings
        if finding.path != "x"
    }
    assert reported == {
        ("group_data/trafik.py", "warning", None),
        ("group_data/nginx.py", "error", 1),
    }, findings
    assert "did you mean 'traefik'?" in str(findings)


def test_missing_role_is_found(project: Path) -> None:
    def without_portainer(data: Any) -> None:
        del data["vms"][1]["role"], data["vms"][1]["portainer_role"]
        data["vms"][1]["role"] = "docker"

    changed(project / "inventories" / VM, without_portainer)
    findings = verdict(project, code=1).findings
    assert any("no guest has the role portainer" in finding.message for finding in findings), (
        findings
    )


def test_secret_is_checked_and_never_shown(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_PORTAINER_ADMIN_PASSWORD", "hush-hush")
    monkeypatch.setenv("PHOENIX_SECRET_STEP_CA_PASSWORD_FILE", "/no/such/file")
    result = phoenix("validate", "-i", project / INVENTORY)
    assert result.exit_code == 1, result.output
    assert "shorter than 12 bytes" in result.stdout
    assert "PHOENIX_SECRET_STEP_CA_PASSWORD_FILE" in result.stdout
    assert "hush-hush" not in result.output
    home = project.parent / "home"
    assert not home.exists(), "nothing is made, secrets least of all"


def test_value_that_no_variable_can_hold_is_found_and_not_shown(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = project.parent / "secret"
    secret.write_bytes(b"hush\0hush")
    monkeypatch.setenv("PHOENIX_SECRET_THINKHEADS_AI_APP_DATABASE_PASS_FILE", str(secret))
    result = phoenix("validate", "-i", project / INVENTORY)
    assert result.exit_code == 1, result.output
    assert "secret thinkheads_ai_app_database_pass has a null character" in result.stdout
    assert "hush" not in result.output
    monkeypatch.delenv("PHOENIX_SECRET_THINKHEADS_AI_APP_DATABASE_PASS_FILE")
    text = 'stack_variables = {"qdrant_service": {"QDRANT_LOG_LEVEL": "a\\0b"}}\n'
    (project / "group_data" / "phoenix.py").write_text(text)
    (finding,) = verdict(project, code=1).findings
    assert (finding.file, finding.line) == ("group_data/phoenix.py", 1)
    assert finding.path.endswith("qdrant_service.QDRANT_LOG_LEVEL")
    assert "has a null character" in finding.message


def test_proxmox_is_well_with_its_token(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOENIX_SECRET_PROXMOX_API_TOKEN", "phoenix@pve!x=1")
    (project / "group_data" / "phoenix.py").write_text('proxmox_api = "ssh"\n')
    assert verdict(project, "--strict", code=0).findings == []


def test_inventory_that_fails_is_told_without_a_traceback(project: Path) -> None:
    (project / INVENTORY).write_text("import no_such_module\n")
    result = phoenix("validate", "-i", project / INVENTORY)
    assert result.exit_code == 1
    assert "cannot be executed: ModuleNotFoundError" in str(result.exception)


def test_absent_inventory_is_reported_with_the_fix() -> None:
    result = phoenix("validate", "-i", "/nowhere/site.py")
    assert result.exit_code == 1
    assert "there is no inventory /nowhere/site.py" in str(result.exception)


def test_settings_in_the_folder_of_the_json_files_are_told(project: Path) -> None:
    """They stand beside it; those in it would be taken for settings that hold."""
    folder = project / "inventories"
    (folder / "group_data").mkdir()
    (folder / "group_data" / "all.py").write_text('timezone = "Europe/Berlin"\n')
    result = phoenix("validate", "-i", folder)
    assert result.exit_code == 0
    assert "inventories/group_data" in result.stdout
    assert "`phoenix` reads no settings here" in result.stdout
    assert phoenix("validate", "-i", folder, "--strict").exit_code != 0
