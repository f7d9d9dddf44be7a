"""A deploy reads settings through the model: wrong ones end it, unknown ones are warned of."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploys import context
from phoenix.declaration.settings import PROXMOX, fields
from tests.deploys.recorder import run
from tests.deploys.written_files import SECRETS, with_two_of_each


def test_wrong_type_ends_the_run_with_file_setting_and_fix(tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # pyinfra wraps what a deploy raises
        run("dns", tmp_path / "secrets.json", timezone=5, dns_stop_rebind="no")
    output = f"{caught.value.args} {vars(caught.value)}"
    assert "group_data/all.py: timezone: is 5" in output
    assert "write text" in output
    assert "dns_stop_rebind" in output
    assert "write True or False" in output


def test_unknown_setting_is_warned_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context._warn_unknown.cache_clear()
    run("dns", tmp_path / "secrets.json", treafik_dashboard_user="me")
    output = capsys.readouterr().err
    warning = (
        "warning: the inventory: treafik_dashboard_user: no code reads this setting\n"
        "    fix: did you mean 'traefik_dashboard_user'?"
    )
    assert output.count(warning) == 1, output


# What the deploys send with another value of a setting, by the deploy that sends it. With the
# default it is not there; what begins with "no " is there with the default alone.
SHOWN: dict[str, tuple[Any, str, str]] = {
    "dns_upstreams": (["1.1.1.1"], "dns", "\nserver=1.1.1.1\n"),
    "dns_stop_rebind": (False, "dns", "no stop-dns-rebind"),
    "resolver_fallback": (["10.0.0.1"], "base", "\nnameserver 10.0.0.1\n"),
    "timezone": ("Europe/Berlin", "base", "Europe/Berlin"),
    "ssh_confirm_seconds": (9, "base", "\nconfirm=9\n"),
    "step_ca_lifetime_minimum": ("6m", "step_ca", '"minTLSCertDuration": "6m"'),
    "step_ca_lifetime_maximum": ("48h", "step_ca", '"maxTLSCertDuration": "48h"'),
    "step_ca_lifetime_default": ("1h30m", "step_ca", '"defaultTLSCertDuration": "1h30m"'),
    "step_ca_organisation": ("1984", "step_ca", " 1984 "),
    "step_ca_years": (77, "step_ca", " 77\n"),
    "artifacts": (
        {n: {"any": {"version": "0.30.9", "url": f"file:///{n}", "sha256": "0" * 64}}
         for n in ("traefik", "step-ca")}, "step_ca", "file:///step-ca"),
    "nginx_hsts_seconds": (0, "nginx", '"max-age=0"'),
    "nginx_max_body": ("7m", "nginx", "client_max_body_size 7m;"),
    "nginx_read_timeout": ("77", "nginx", "proxy_read_timeout 77;"),
    "traefik_dashboard_user": ("1000", "traefik", "1000:$2b$"),
    "traefik_metrics": (True, "traefik", "\nmetrics:\n"),
    "docker_packages": ("docker", "docker", "docker-ce"),
    "docker_apt_url": ("https://mirror.example/d", "docker", "URIs: https://mirror.example/d/"),
    "docker_apt_key_sha256": ("0" * 64, "docker", f"sha256={'0' * 64}\n"),
    "docker_log_size": ("1048576", "docker", '"max-size": "1048576"'),
    "docker_log_files": (2, "docker", '"max-file": "2"'),
    "docker_log_driver": ("json-file", "docker", '"log-driver": "json-file"'),
    "docker_log_options": ({"compress": "true"}, "docker", '"compress": "true"'),
    "docker_data_root": ("/srv/docker", "docker", '"data-root": "/srv/docker"'),
    "docker_address_pools": (
        [{"base": "172.30.0.0/16", "size": 24}], "docker", '"base": "172.30.0.0/16"'),
    "docker_registry_mirrors": (["https://m.example"], "docker", '"https://m.example"'),
    "docker_insecure_registries": (["r.example:5000"], "docker", '"r.example:5000"'),
    "docker_runtimes": ({"crun": {"path": "/usr/bin/crun"}}, "docker", '"path": "/usr/bin/crun"'),
    "swarm_address_pools": (["10.77.0.0/16"], "swarm", "10.77.0.0/16"),
    "portainer_image": ("example/portainer:1.0", "portainer", "image: example/portainer:1.0"),
    "portainer_agent_image": ("example/agent:1.0", "portainer", "image: example/agent:1.0"),
    "image_archives": (
        {"example/web:1.0": {"url": "file:///a.tar", "sha256": "0" * 64}}, "stacks",
        f"file:///a.tar {'0' * 64} example/web:1.0"),
    "room_warning_percent": (31, "verify", " checks '31 "),
    "room_least_percent": (0, "verify", " 0 sessions"),
    "home_tells": ("services", "watch", '"tells": "services"'),
    "watch_interval": (30, "watch", '"interval": 30,'),
    "watch_backup_days": (33, "watch", "\nBACKUP_DAYS=33\n"),
}  # fmt: skip
ELSEWHERE = {
    "serial": "test_docker_deploys",
    "stack_variables": "test_docker_deploys",
    "stacks_prune": "test_docker_deploys",
    "registries": "test_stack_ways",
    "backup_recipients": "test_backup_deploys",
    "taking_over": "test_taking_over",
    "portainer_url": "below",
    "home_old_hours": "below",
}
"""What is shown by tests of other files, or below. Those of `proxmox_` have tests/proxmox."""


def sent(folder: Path, deploy: str, values: dict[str, Any]) -> str:
    """All that a deploy sends to the hosts of a site with two of each."""
    declared = with_two_of_each()
    del declared.lxc["site"]["backups"]  # which have days of their own
    del declared.stacks["shop"][0]["environments"]["production"]["backup"]
    declared.load(folder)
    system = ["x86_64", "ID=debian", 'VERSION_ID="13"', "VERSION_CODENAME=trixie"]
    places: dict[str, Any] = {
        "site_inventories": str(folder),
        "site_stacks": str(folder / "stacks"),
        "responses": {re.compile("uname -m"): lambda _: system},
    }
    done = run(deploy, folder / "secrets.json", **places, **values)
    files = [f"{path}\n{text}" for one in done.sent for path, text in one.files().items()]
    return "\n".join([*(f"{one.command}\n{one.stdin}" for one in done.sent), *files])


@pytest.mark.parametrize("deploy", dict.fromkeys(deploy for _, deploy, _ in SHOWN.values()))
def test_each_setting_reaches_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deploy: str
) -> None:
    for secret in SECRETS:
        monkeypatch.setenv(f"PHOENIX_SECRET_{secret}", "planted-" + "5ecret" * 6)
    monkeypatch.setenv("PHOENIX_SECRET_ALARM_URLS", "json://192.0.2.1/hook")
    rows = {name: row for name, row in SHOWN.items() if row[1] == deploy}
    before = sent(tmp_path / "before", deploy, {})
    after = sent(tmp_path / "after", deploy, {name: value for name, (value, *_) in SHOWN.items()})
    for name, (_, _, text) in rows.items():
        word, _, rest = text.partition(" ")
        is_off = word == "no"
        shown = rest if is_off else text
        assert (shown in before, shown in after) == (is_off, not is_off), name


def test_there_is_a_row_for_each_setting() -> None:
    own = {name for name in fields() if not name.startswith(PROXMOX)}
    assert {*SHOWN, *ELSEWHERE} == own


def test_the_start_page_is_as_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: dict[str, Any] = {}
    monkeypatch.setattr("operations.home.start_page", lambda **given: noted.update(given))
    values: dict[str, Any] = {"home_old_hours": 12, "home_tells": "services"}
    run("verify", tmp_path / "secrets.json", execute=False, **values)
    assert (noted["old_after"], noted["tells"]) == (timedelta(hours=12), "services")


def test_portainers_api_is_asked_at_the_url_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: dict[str, Any] = {}
    monkeypatch.setattr("operations.portainer.admin", lambda **given: noted.update(given))
    url = "https://portainer.example"
    run("portainer", tmp_path / "secrets.json", execute=False, portainer_url=url)
    assert noted["access"].url == url
