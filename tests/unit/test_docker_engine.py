"""Docker's daemon.json: what must be in it, what must never be, and what a person had in it.

That dockerd accepts it is seen in the lab, where the deploy validates it before use.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facts.docker import DockerDaemon
from phoenix.components.docker import daemon_json
from phoenix.components.docker.daemon_json import (
    DaemonError,
    DaemonState,
    declared,
    merge,
    restarted_for,
)
from phoenix.declaration.settings import read
from tests.unit.site_builder import minimal

PERSON: dict[str, Any] = {
    "data-root": "/srv/docker",
    "default-address-pools": [{"base": "172.30.0.0/16", "size": 24}],
    "dns": ["192.0.2.1"],
    "dns-search": ["home.example"],
    "hosts": ["tcp://0.0.0.0:2375"],
    "insecure-registries": ["registry.example:5000"],
    "iptables": False,
    "log-driver": "journald",
    "log-opts": {"tag": "{{.Name}}"},
    "registry-mirrors": ["https://mirror.example"],
    "runtimes": {"crun": {"path": "/usr/bin/crun"}},
}
FOREIGN = DaemonState(
    present=json.dumps(PERSON), foreign=True, data_root="/srv/docker", used=True
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Any:
    return minimal().load(tmp_path)


def written(site: Any, state: DaemonState = DaemonState(), **settings: object) -> dict[str, Any]:  # noqa: B008
    typed, findings = read(settings)
    assert not findings, findings
    assert typed is not None
    result = json.loads(merge(declared(site, site.docker_hosts[0], typed), state).daemon)
    assert isinstance(result, dict)
    return result


def test_names_and_logs_come_from_the_site_and_the_settings(site: Any) -> None:
    data = written(site, docker_log_size="7m", docker_log_files=3)
    assert data == {
        "dns": [str(site.hypervisor.address)],
        "dns-search": [site.domain],
        "live-restore": True,
        "log-driver": "local",
        "log-opts": {"max-size": "7m", "max-file": "3"},  # Docker wants strings
    }


def test_what_a_person_had_is_kept_but_for_what_phoenix_needs(site: Any) -> None:
    merged = merge(declared(site, site.docker_hosts[0], read({})[0]), FOREIGN)
    data = json.loads(merged.daemon)
    same = {"data-root", "default-address-pools", "insecure-registries", "log-driver", "log-opts",
            "registry-mirrors", "runtimes"}  # fmt: skip
    assert {key: data[key] for key in same} == {key: PERSON[key] for key in same}
    assert data["dns"] == [str(site.hypervisor.address)]
    assert data["dns-search"] == [site.domain, "home.example"]
    assert not {"hosts", "iptables"} & data.keys()
    assert json.loads(merged.former) == PERSON
    words = "\n".join(merged.words)
    assert "kept: data-root, default-address-pools, insecure-registries" in words
    assert "a setting says otherwise: dns, dns-search" in words
    assert "left out, since it opens Docker's API or its firewall: hosts, iptables" in words


def test_later_runs_keep_it_too_and_settings_win(site: Any) -> None:
    first = merge(declared(site, site.docker_hosts[0], read({})[0]), FOREIGN)
    later = DaemonState(
        present=first.daemon, former=first.former, data_root="/srv/docker", used=True
    )  # fmt: skip
    again = merge(declared(site, site.docker_hosts[0], read({})[0]), later)
    assert (again.daemon, again.former) == (first.daemon, first.former)
    data = written(
        site, later, docker_registry_mirrors=["https://other.example"], docker_log_driver="local",
        docker_runtimes={"runsc": {"runtimeType": "io.containerd.runsc.v1"}},
        docker_address_pools=[{"base": "10.99.0.0/16", "size": 26}],
        docker_insecure_registries="a.example,b.example:5000",
    )  # fmt: skip
    assert data["registry-mirrors"] == ["https://other.example"]
    assert data["runtimes"] == {"runsc": {"runtimeType": "io.containerd.runsc.v1"}}
    assert data["default-address-pools"] == [{"base": "10.99.0.0/16", "size": 26}]
    assert data["insecure-registries"] == ["a.example", "b.example:5000"]
    assert data["log-opts"] == {"max-size": "10m", "max-file": "5"}, "options of another driver"


@pytest.mark.parametrize(
    ("before", "settings", "driver", "options"),
    [
        ({"log-opts": {"max-size": "1g"}}, {}, "json-file", {"max-size": "1g", "max-file": "5"}),
        ({"log-driver": "local"}, {}, "local", {"max-size": "10m", "max-file": "5"}),
        (
            {"log-opts": {"max-size": "1g"}},
            {"docker_log_size": "2m"},
            "json-file",
            {"max-size": "2m", "max-file": "5"},
        ),
        ({}, {"docker_log_driver": "journald"}, "journald", None),
        ({}, {"docker_log_options": {"compress": "true"}}, "local",
         {"max-size": "10m", "max-file": "5", "compress": "true"}),
    ],
)  # fmt: skip
def test_options_are_those_of_their_log_driver(
    site: Any, before: dict[str, Any], settings: dict[str, Any], driver: str, options: Any
) -> None:
    data = written(site, DaemonState(present=json.dumps(before), foreign=True), **settings)
    assert (data["log-driver"], data.get("log-opts")) == (driver, options)


def test_a_data_root_that_would_hide_images_is_refused(site: Any) -> None:
    used = DaemonState(data_root="/var/lib/docker", used=True)
    with pytest.raises(DaemonError, match=r"move /var/lib/docker to /srv/d, and run again"):
        written(site, used, docker_data_root="/srv/d")
    assert written(site, replace(used, used=False), docker_data_root="/srv/d")["data-root"]
    # The setting is removed, and dockerd has everything where it said.
    with pytest.raises(DaemonError, match=r'set docker_data_root = "/srv/d"'):
        written(site, DaemonState(data_root="/srv/d", used=True))


@pytest.mark.parametrize("text", ["{", "[1]", '{"log-opts": 3}', "[" * 100_000])
def test_a_file_that_cannot_be_merged_is_refused(site: Any, text: str) -> None:
    with pytest.raises(DaemonError, match="correct it or move it away"):
        written(site, DaemonState(present=text, foreign=True))


def test_the_fact_reads_whose_file_it_is_and_where_the_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, base, root = tmp_path / "daemon.json", tmp_path / "trees/docker", tmp_path / "data"
    monkeypatch.setattr("facts.docker.DAEMON", str(daemon))
    monkeypatch.setattr("facts.docker.KEPT", str(tmp_path / "kept.json"))
    monkeypatch.setattr("facts.docker.DATA_ROOT", str(tmp_path / "none"))

    def state() -> DaemonState:
        command = DockerDaemon().command(str(base)).get_raw_value()
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        return DockerDaemon().process(done.stdout.splitlines())

    assert state() == DaemonState(data_root=str(tmp_path / "none"))
    text = json.dumps({"data-root": str(root), "labels": ["a=b c"]}, indent=2)
    daemon.write_text(text)
    (root / "volumes").mkdir(parents=True)
    (root / "volumes/metadata.db").write_text("of every dockerd")
    unused = state()
    assert (unused.foreign, unused.data_root, unused.used) == (True, str(root), False)
    assert json.loads(unused.present) == json.loads(text)
    (root / "volumes/precious").mkdir()
    assert state().used
    own = base / "current/root/daemon.json"
    own.parent.mkdir(parents=True)
    daemon.rename(own)
    daemon.symlink_to(own)
    (tmp_path / "kept.json").write_text('{"labels":\n []}\n')
    own_state = state()
    assert (own_state.foreign, json.loads(own_state.former)) == (False, {"labels": []})


def test_the_api_has_no_address(site: Any) -> None:
    text = json.dumps(written(site, FOREIGN))
    assert not set(daemon_json._DROPPED) & json.loads(text).keys(), text
    assert "tcp://" not in text


@pytest.mark.parametrize(
    ("before", "keys"),
    [
        ({}, ()),
        ({"registry-mirrors": ["https://other.example"], "live-restore": False}, ()),
        ({"registry-mirrors": [], "dns": ["192.0.2.1"]}, ("dns",)),
        ({"log-opts": {"max-size": "1g"}, "bip": "10.9.0.1/24"}, ("bip", "log-opts")),
    ],
)
def test_dockerd_is_restarted_for_what_a_reload_does_not_take_up(
    site: Any, before: dict[str, Any], keys: tuple[str, ...]
) -> None:
    typed, _ = read({"docker_registry_mirrors": ["https://mirror.example"]})
    assert typed is not None
    merged = merge(declared(site, site.docker_hosts[0], typed), DaemonState())
    present = json.loads(merged.daemon) | before
    assert restarted_for(json.dumps(present), merged) == keys


def test_a_file_that_cannot_be_read_needs_a_restart(site: Any) -> None:
    typed, _ = read({})
    assert typed is not None
    merged = merge(declared(site, site.docker_hosts[0], typed), DaemonState())
    assert "dns" in restarted_for("no JSON", merged)
    assert restarted_for("", merged) == restarted_for("no JSON", merged)
