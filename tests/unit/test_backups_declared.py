"""Backups by a timer: what is declared, what follows, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from phoenix.backup import BackupError
from phoenix.backup.snapshots import Snapshot, moment, newest, parse, parts_named
from phoenix.components.restic import files as restic
from phoenix.derived import backups
from phoenix.derived.components import trees_of
from phoenix.derived.firewall import flows
from phoenix.health.checks import made_on
from phoenix.health.paths import paths
from phoenix.secrets import backup_password, catalog
from phoenix.secrets.errors import SecretError
from phoenix.site.model import Host
from phoenix.site.secret_names import BACKUP_KEY, BACKUP_S3_ID, BACKUP_S3_SECRET, BACKUP_SSH_KEY
from tests.unit.site_builder import LXC, Declaration, minimal, problem

MANIFEST = "stacks/shop/phoenix.json"
IN_STACK = "environments.production.backup"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExa"
HERE = timezone(timedelta(hours=2))
MADE = "a77af58d00a961c1bb5dee47d04acd90ca640b037bfa0fba18aae9578ba0b6d6"
NOW = datetime(2026, 11, 26, 9, 30, tzinfo=HERE)


def declared(backup: Any = None, **site: Any) -> Declaration:
    declaration = minimal()
    declaration.lxc.setdefault("site", {})["backups"] = {"target": "/mnt/backups", **site}
    manifest, compose = declaration.stacks["shop"]
    compose["volumes"] = {"data": {}, "cache": {"name": "fast"}, "old": {"external": True}}
    compose["services"]["web"]["volumes"] = ["data:/data"]
    if backup is not None:
        manifest["environments"]["production"]["backup"] = backup
    return declaration


def test_nothing_is_backed_up_until_the_site_says_so(tmp_path: Path) -> None:
    off = declared({})
    del off.lxc["site"]["backups"]
    site = off.load(tmp_path)
    assert backups.parts(site) == backups.hosts(site) == ()
    assert not [path for path in paths(site) if path.kind == "backup"]
    assert BACKUP_KEY not in [use.name for use in catalog.uses(site)]


def test_without_the_key_what_hosts_have_of_it_is_undeclared(tmp_path: Path) -> None:
    site = declared({}).load(tmp_path / "on")
    assert restic.TREE in trees_of(site, site.host("worker"))
    assert restic.TREE not in trees_of(site, site.host("gateway"))
    off = declared({})
    del off.lxc["site"]["backups"]
    site = off.load(tmp_path / "off")
    assert restic.TREE not in trees_of(site, site.host("worker"))


def test_ca_portainer_and_stacks_that_say_so_are_parts_of_their_hosts(tmp_path: Path) -> None:
    dump = {"service": "web", "command": ["dump", "a b"], "load": ["take"]}
    site = declared({"dumps": [dump]}).load(tmp_path)
    assert [(part.name, part.host.name) for part in backups.parts(site)] == [
        ("ca", "authority"), ("portainer", "control"), ("stack:shop-production", "worker"),
    ]  # fmt: skip
    lines = restic.listed(backups.of_host(site, site.host("worker"))).splitlines()
    assert lines == [
        "stack:shop-production\tvolume\tdata\tshop-production_data\tshop-production",
        "stack:shop-production\tvolume\tcache\tfast\tshop-production",
        "stack:shop-production\tvolume\told\told\t",
        "stack:shop-production\tdump\tweb\tshop-production\tdump 'a b'",
        "stack:shop-production\tload\tweb\tshop-production\ttake",
    ]
    assert restic.listed(backups.of_host(site, site.host("authority"))).splitlines() == [
        "ca\tunit\tstep-ca.service", "ca\tfolder\tca\t/etc/step-ca\tcerts secrets db",
    ]  # fmt: skip
    assert BACKUP_KEY in [use.name for use in catalog.uses(site)]


def test_each_host_makes_checks_of_what_its_timers_have_noted(tmp_path: Path) -> None:
    site = declared({"volumes": ["data"]}, warn_days=3).load(tmp_path)
    commands = [check.command for check in made_on(site, site.host("worker"))]
    assert ("backup_is_good", "stack:shop-production", "3") in commands
    assert ("backups_are_kept",) in commands
    assert ("unit_runs", restic.TIMER) in commands
    assert ("unit_runs", restic.PROOF_TIMER) in commands
    names = [path.name for path in paths(site) if path.kind == "backup"]
    assert names == ["backups of authority", "backups of control", "backups of worker"]


@pytest.mark.parametrize(
    ("backup", "path", "message"),
    [
        ({"volumes": ["dat"]}, "volumes[0]", "no volume 'dat': they are"),
        ({"dumps": [{"service": "db", "command": ["x"]}]}, "dumps[0].service", "no service 'db'"),
        (
            {"dumps": [{"service": "web", "command": ["x"]}, {"service": "web", "command": ["y"]}]},
            "dumps[1].service",
            "another dump",
        ),
        ({"dumps": [{"service": "web", "command": []}]}, "dumps[0].command", ""),
        ({"volume": ["data"]}, "volume", "less would be backed up"),
    ],
)
def test_a_stack_s_backup_that_cannot_be_made_is_refused(
    tmp_path: Path, backup: Any, path: str, message: str
) -> None:
    finding = problem(declared(backup).refused(tmp_path), MANIFEST, f"{IN_STACK}.{path}")
    assert message in finding.message
    assert finding.fix


def test_a_swarm_stack_has_no_backup_by_a_timer(tmp_path: Path) -> None:
    declaration = declared({})
    declaration.stacks["shop"][0]["type"] = "swarm"
    finding = problem(declaration.refused(tmp_path), MANIFEST, IN_STACK)
    assert "Swarm stack" in finding.message


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"target": "backups"}, "target"),
        ({"target": "/mnt/../etc"}, "target"),
        ({"target": "ftp://nas/backups"}, "target"),
        ({"target": "sftp://nas/backups"}, "target"),
        ({"target": "sftp://me@nas:0/backups"}, "target"),
        ({"target": "sftp://me@nas/../etc"}, "target"),
        ({"target": "sftp://me:secret@nas/backups"}, "target"),
        ({"target": "s3:http://nas/backups"}, "target"),
        ({"target": "sftp://me@nas/backups"}, "sftp_host_key"),
        ({"target": "/mnt/backups", "sftp_host_key": HOST_KEY}, "sftp_host_key"),
        ({"target": "sftp://me@nas/backups", "sftp_host_key": "nas ssh-ed25519"}, "sftp_host_key"),
        ({"at": "25:00"}, "at"),
        ({"at": "2:30"}, "at"),
        ({"prove_at": "noon"}, "prove_at"),
        ({"keep": {"daily": -1}}, "keep.daily"),
        ({"keep": {"weekly": "many"}}, "keep.weekly"),
        ({"keep": {"dayly": 1}}, "keep.dayly"),
        ({"keep": {"daily": 0, "weekly": 0, "monthly": 0}}, "keep"),
        ({"warn_days": 0}, "warn_days"),
        ({"secrets_for": ["me"]}, "secrets_for[0]"),
        ({"warn_day": 5}, "warn_day"),
    ],
)
def test_wrong_values_of_the_site_are_refused_with_a_fix(
    tmp_path: Path, keys: dict[str, Any], path: str
) -> None:
    finding = problem(declared({}, **keys).refused(tmp_path), LXC, f"site.backups.{path}")
    assert finding.fix


def test_a_stack_in_no_backup_and_a_folder_that_a_loss_takes_along_are_told(tmp_path: Path) -> None:
    messages = {
        f"{warning.file}: {warning.path}": warning.message
        for warning in declared().load(tmp_path).warnings
    }
    assert "data, cache, old" in messages[f"{MANIFEST}: {IN_STACK}"]
    assert "control" in messages[f"{LXC}: site.backups.target"]
    quiet = declared({"volumes": []})
    for vm in quiet.vm["vms"]:
        vm["volumes"] = [{"type": "nfs", "path": "/srv/backups", "mount_point": "/mnt/backups"}]
    for container in quiet.lxc["lxc_configs"].values():
        container["mount_points"] = [{"container_path": "/mnt", "host_path": "/srv"}]
    site = quiet.load(tmp_path / "quiet")
    assert not [warning for warning in site.warnings if "backup" in warning.path]
    config = restic.config(site.backups, site.host("control")) if site.backups else ""
    assert "MOUNTED=/mnt/backups\n" in config


def test_hosts_begin_at_minutes_of_their_own_and_past_midnight_too(tmp_path: Path) -> None:
    site = declared({}).load(tmp_path)
    times = {restic.calendar("23:55", host) for host in site.hosts}
    assert len(times) > 1
    assert all(calendar.startswith(("*-*-* 23:5", "*-*-* 00:0")) for calendar in times)


def test_each_host_has_a_password_of_its_own_that_a_person_can_make() -> None:
    key = SecretStr("k" * 32)
    password, other = (backup_password.of_host(key, host) for host in ("a", "b"))
    assert password == backup_password.of_host(key, "a") != other
    # python3 -c 'import hmac; print(hmac.digest(b"k" * 32, b"phoenix backup a", "sha256").hex())'
    assert password.get_secret_value() == MADE
    with pytest.raises(SecretError, match="shorter than 32"):
        backup_password.of_host(SecretStr("short"), "a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6h", NOW - timedelta(hours=6)),
        ("2w", NOW - timedelta(weeks=2)),
        ("yesterday", datetime(2026, 11, 25, 23, 59, 59, 999999, tzinfo=HERE)),
        ("2026-11-20", datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=HERE)),
        ("2026-11-20T14:00", datetime(2026, 11, 20, 14, 0, tzinfo=HERE)),
        ("2026-11-20T14:00Z", datetime(2026, 11, 20, 14, 0, tzinfo=UTC)),
    ],
)
def test_a_moment_is_what_an_operator_means(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01T14:00", "2026-07-01T12:00:00+00:00"),
        ("2026-11-20T14:00", "2026-11-20T13:00:00+00:00"),
        ("2026-07-01", "2026-07-01T21:59:59.999999+00:00"),
        ("2026-07-01T14:00Z", "2026-07-01T14:00:00+00:00"),
    ],
)
def test_a_moment_is_by_the_clock_of_its_own_season(text: str, expected: str) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    instant = moment(text, NOW, lambda naive: naive.replace(tzinfo=berlin))
    assert instant.astimezone(UTC).isoformat() == expected


@pytest.mark.parametrize("text", ["", "soon", "0d", "2026-13-01", "12345d"])
def test_what_is_no_moment_is_refused_with_what_may_be_written(text: str) -> None:
    with pytest.raises(BackupError, match="yesterday"):
        moment(text, NOW)


def test_the_latest_is_that_of_a_host_whose_clock_is_ahead_too() -> None:
    snapshots = [
        Snapshot(part="ca", id=name, time=NOW + timedelta(minutes=minutes))
        for name, minutes in (("before", -30), ("ahead", 5))
    ]
    assert newest(snapshots, "ca", moment("latest", NOW)).id == "ahead"
    assert newest(snapshots, "ca", moment("1h", NOW + timedelta(hours=1))).id == "before"
    asked = datetime.fromisoformat(moment("latest", NOW).isoformat())  # as the deploy gets it
    assert newest(snapshots, "ca", asked).id == "ahead"
    with pytest.raises(BackupError, match="no backup of ca: there is none at all"):
        newest([], "ca", asked)


def test_the_last_snapshot_by_a_moment_counts_and_none_of_another_part() -> None:
    snapshots = [
        Snapshot(part="ca", id=str(day), time=datetime(2026, 11, day, tzinfo=UTC))
        for day in (9, 3, 6)
    ]
    snapshots.append(Snapshot(part="other", id="x", time=datetime(2026, 11, 7, tzinfo=UTC)))
    assert newest(snapshots, "ca", datetime(2026, 11, 8, tzinfo=UTC)).id == "6"
    assert newest(snapshots, "ca", datetime(2026, 11, 9, tzinfo=UTC)).id == "9"
    with pytest.raises(BackupError, match="the oldest is of 2026-11-03"):
        newest(snapshots, "ca", datetime(2026, 11, 1, tzinfo=UTC))
    with pytest.raises(BackupError, match="there is none at all"):
        newest(snapshots, "portainer", NOW)


def test_what_a_host_tells_is_read_and_another_form_is_refused() -> None:
    snapshots = [{"short_id": "abc", "tags": ["ca"], "time": "2026-11-26T02:30:01.123456789+01:00"}]
    report = parse([
        json.dumps(snapshots),
        "ca\t1795735195\tabc\t1795735200\tabc\t-\t-",
        "portainer\t-\t-\t-\t-\t2026-11-26 02:31 UTC: Fatal: no room\t-",
    ])  # fmt: skip
    assert report.snapshots[0].time == datetime(2026, 11, 26, 1, 30, 1, 123456, tzinfo=UTC)
    assert report.noted[0].proven_snapshot == "abc"
    assert report.noted[1].backed_up is None
    assert report.noted[1].failure.endswith("no room")
    assert parse(["null"]).snapshots == ()
    for lines in (["{"], ['[{"id": 1}]'], ["[]", "ca\t1"]):
        with pytest.raises((ValueError, KeyError)):
            parse(lines)


def test_a_part_is_named_by_its_stack_or_project(tmp_path: Path) -> None:
    parts = backups.parts(declared({}).load(tmp_path))
    for word in ("stack:shop", "stack:shop-production"):
        assert [part.name for part in parts_named(parts, word)] == ["stack:shop-production"]
    assert parts_named(parts, None) == parts
    for word in ("stack:blog", "shop", "phoenix.age"):
        with pytest.raises(BackupError, match="are: ca, portainer, stack:shop-production"):
            parts_named(parts, word)


def test_an_sftp_server_is_known_by_its_pinned_key_alone(tmp_path: Path) -> None:
    target = "sftp://me@nas.example.com:2222/srv/backups"
    site = declared({}, target=target, sftp_host_key=HOST_KEY).load(tmp_path)
    assert site.backups
    config = restic.config(site.backups, site.host("worker"))
    assert "REPOSITORY=sftp:me@nas.example.com:/srv/backups/worker\n" in config
    for word in ("StrictHostKeyChecking=yes", "-p 2222 me@nas.example.com -s sftp", "-F /dev/null"):
        assert word in config
    assert restic.known_hosts(site.backups.target) == f"[nas.example.com]:2222 {HOST_KEY}\n"
    names = {use.name for use in catalog.uses(site)}
    assert BACKUP_SSH_KEY in names
    assert BACKUP_S3_ID not in names


def test_the_way_to_a_target_in_the_site_is_open_for_hosts_that_back_up(tmp_path: Path) -> None:
    site = declared({}, target="sftp://me@10.0.0.13/srv/b", sftp_host_key=HOST_KEY).load(tmp_path)
    ways = [flow for flow in flows(site) if flow.why == "backups to their target"]
    assert {flow.source.name for flow in ways if isinstance(flow.source, Host)} == {
        "authority", "control", "worker",
    }  # fmt: skip
    assert {(flow.destination, flow.port) for flow in ways} == {(site.hypervisor, 22)}


def test_a_bucket_s_keys_are_a_file_of_restic_s_and_no_environment(tmp_path: Path) -> None:
    site = declared({}, target="s3:https://s3.example.com:9000/phoenix/home").load(tmp_path)
    assert site.backups
    assert site.backups.target.port == 9000
    config = restic.config(site.backups, site.host("worker"))
    assert "REPOSITORY=s3:https://s3.example.com:9000/phoenix/home/worker\n" in config
    assert {BACKUP_S3_ID, BACKUP_S3_SECRET} <= {use.name for use in catalog.uses(site)}
    assert not [warning for warning in site.warnings if warning.path == "site.backups.target"]


@pytest.mark.parametrize(
    ("name", "value"),
    [(BACKUP_SSH_KEY, "no key"), (BACKUP_S3_ID, "two words"), (BACKUP_KEY, "planted-key")],
)
def test_a_secret_that_cannot_be_used_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SecretError) as refused:
        catalog.check(name, SecretStr(value))
    assert name in str(refused.value)
    assert value not in str(refused.value)
