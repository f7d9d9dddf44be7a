"""What a setting or a key may hold at most and at least: of every number, size, time, URL, port.

The fields are found by reflection, so that a new one is asked as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from phoenix.declaration import setting_types, settings
from phoenix.declaration.pins import ARTIFACTS
from phoenix.declaration.settings import Settings
from phoenix.declaration.value_types import TextType
from phoenix.site.findings import Finding
from phoenix.site.secret_names import PLATFORM
from phoenix.validation import setting_values as validation
from tests.fuzz.targets import readable, sound_site
from tests.unit.model_fields import Value, values
from tests.unit.site_builder import minimal, stack

EVERY = values()


def refuses(value: Value, content: Any) -> bool:
    try:
        TypeAdapter(value.type).validate_python(content)
    except ValidationError:
        return True
    return False


def checks(value: Value) -> Iterator[Any]:
    """What checks a value, that of named types within it included."""
    for check in getattr(value.type, "__metadata__", ()):
        yield check
        yield from getattr(check, "metadata", ())


NUMBERS = [value for value in EVERY if value.base is int]


@pytest.mark.parametrize("value", NUMBERS, ids=[value.place for value in NUMBERS])
def test_a_number_has_bounds(value: Value) -> None:
    least = [check.ge for check in checks(value) if hasattr(check, "ge")]
    most = [check.le for check in checks(value) if hasattr(check, "le")]
    assert least, f"{value.place} may be negative"
    assert most, f"{value.place} may be of any size"
    beyond = (min(least) - 1, max(most) + 1, -1, 10**18, 10**40, -(10**5000), 10**5000)
    for content in (*beyond, True, False, "many", 1.5, None, [1], "", "\u0661x", 1e40):
        assert refuses(value, content), f"{value.place} takes {str(content)[:50]}"
    assert not refuses(value, min(least))
    assert not refuses(value, max(most))


BACKUPS = next(value for value in EVERY if value.place == "RawBackups.target")
"""A folder, or what only restic reads: no URL that anything else could."""
URLS = [
    value
    for value in EVERY
    if value is not BACKUPS
    and any("://" in check.pattern for check in checks(value) if isinstance(check, TextType))
]
NO_URL = (
    "", "a", "//a/b", "ftp://a/b", "gopher://a", "javascript:alert(1)", "data:,x", "ssh://a",
    "https:/a", "https:///a", "https://", "https://a:0/", "https://a:99999/", "https://a:65536",
    "https://a:-1/", "https://a:+80/", "https://a:8 0/", "https://user@a/", "https://a:b@c/",
    "https://a b/", "https://a/b c", 'https://a/"b', "https://a/'b", "https://a/`b`", "https://a/<",
    "https://a/[1-9]", "https://a/{b,c}", "https://a/b#c", "https://a/\\b", "https://a/|b",
    "https://-a/", "https://a..b/", "https://\u0430/", "https://a/\u00e9", "https://a\u202eb/",
    "https://a/\n", "https://a/\rb", "https://a/\0", "HTTPS://a", " https://a", "https://a ",
    "file://host/a", "file:/a", "https://a/" + "b" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("value", URLS, ids=[value.place for value in URLS])
def test_a_url_is_one_of_a_scheme_that_its_reader_speaks(value: Value) -> None:
    for text in NO_URL:
        assert refuses(value, text), f"{value.place} takes {text[:50]!r}"
    assert not refuses(value, "https://a.example.com:8006"), value.place
    plain = any("http|" in check.pattern for check in checks(value) if isinstance(check, TextType))
    assert refuses(value, "http://a.example.com/") is not plain


def test_a_place_of_backups_is_none_of_those_urls_either() -> None:
    for text in (*NO_URL, "https://a.example.com:8006", "s3:http://a/b", "sftp://a/b"):
        assert refuses(BACKUPS, text), f"it takes {text[:50]!r}"
    assert not refuses(BACKUPS, "sftp://phoenix@nas.example.com:2222/srv/backups")


def test_what_takes_urls_is_known() -> None:
    """A field that is named so has that form."""
    named = {
        v.place for v in EVERY if re.search(r"url|mirror|redirect_to", v.place) and v.base is str
    }
    apis = {"ProxmoxSettings.api", "ProxmoxSettings.other_apis[]"}
    assert named == {value.place for value in URLS} - apis


LENGTHS: dict[object, tuple[str, ...]] = {
    setting_types.GoDuration: (
        "0s", "0h0m0s", "-1h", "1d", "99999999999h", "9" * 4000 + "s", "1e9s", "1h 30m", "h", "",
        "1", "\u0661h", "1h\n", "+1h", ".5h", "1h1", "300y",
    ),
    setting_types.NginxTime: (
        "0", "0s", "0ms", "-1", "-1s", "999999999", "999999999w", "25d", "1y", "1M", "9" * 4000,
        "1s1h", "1s1s", "1 h", "", "s", "1e3", "1.5h", "\u0661s", "1s;", "1s\n",
    ),
    setting_types.Size: (
        "0", "0m", "-1", "-1m", "999999999999999999", "9999999g", "1t", "1kb", "1 m", "", "m",
        "1e3m", "1.5m", "\u0661m", "1m;", "1m\n", "+1m",
    ),
    setting_types.NginxSize: (
        "0m", "-1", "-1m", "999999999999999999", "9999999g", "1t", "1kb", "1 m", "", "m", "1m;",
        "1m\n", "00",
    ),
}  # fmt: skip
SOUND: dict[object, tuple[str, ...]] = {
    setting_types.GoDuration: ("1s", "5m", "24h", "1h30m", "1.5h"),
    setting_types.NginxTime: ("1", "300", "300s", "1h30m", "500ms", "24d", "1w2d3h4m5s6ms"),
    setting_types.Size: ("1", "10m", "512K", "999999g"),
    setting_types.NginxSize: ("0", "1", "10m", "512K", "999999g"),
}


@pytest.mark.parametrize("kind", LENGTHS, ids=["Go", "nginx time", "size", "nginx size"])
def test_a_time_or_size_is_neither_nothing_nor_without_end(kind: Any) -> None:
    for content in LENGTHS[kind]:
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(content)
    for content in SOUND[kind]:
        assert TypeAdapter(kind).validate_python(content) == content


def test_what_takes_a_time_or_size_is_known() -> None:
    """A setting that is named so has one of those types, or is a number."""
    typed = set()
    for name, info in settings.fields().items():
        for kind in LENGTHS:
            if info.annotation is str and [*info.metadata] == [*kind.__metadata__]:  # type: ignore[attr-defined]
                typed.add(name)
    named = {
        name
        for name, info in settings.fields().items()
        if re.search(r"lifetime|timeout|size|max_body", name) and info.annotation is str
    }
    assert typed >= named, named - typed
    assert len(typed) == 6, typed


PORTS = (
    ("registries", lambda port: {f"a.example:{port}": {"username": "u", "secret": "a_password"}}),
    ("portainer_image", lambda port: f"a.example:{port}/b:1"),
    ("portainer_agent_image", lambda port: f"a.example:{port}/b:1"),
    ("image_archives", lambda port: {f"a:{port}/b:1": {"url": "https://a", "sha256": "0" * 64}}),
    ("docker_insecure_registries", lambda port: [f"a.example:{port}"]),
    ("docker_registry_mirrors", lambda port: [f"https://a.example:{port}"]),
    ("docker_apt_url", lambda port: f"https://a.example:{port}/linux"),
    ("portainer_url", lambda port: f"https://a.example:{port}"),
    ("proxmox_api", lambda port: f"https://a.example:{port}"),
    ("proxmox_other_apis", lambda port: [f"https://a.example:{port}"]),
    ("proxmox_images", lambda port: {"a.img": {"url": f"http://a:{port}/", "sha256": "0" * 64}}),
)  # fmt: skip


@pytest.mark.parametrize(("name", "setting_of"), PORTS, ids=[name for name, _ in PORTS])
def test_a_port_within_a_setting_is_one_that_there_is(name: str, setting_of: Any) -> None:
    for port in (1, 80, 5000, 65535):
        assert settings.read({name: setting_of(port)})[1] == (), port
    invalid: tuple[int | str, ...] = (0, "00", "080", 65536, 99999, 100000, -1, "\u0661")
    for other in invalid:
        _, findings = settings.read({name: setting_of(other)})
        assert findings, f"{name} takes port {other}"
        readable(findings)


@pytest.mark.parametrize("secret", [*PLATFORM, *(f"{name}_new" for name in PLATFORM)])
def test_a_registry_is_not_told_a_secret_of_the_platform(secret: str) -> None:
    _, (finding,) = settings.read(
        {"registries": {"a.example": {"username": "u", "secret": secret}}}
    )
    assert finding.path == "registries[a.example].secret" or "secret" in finding.path
    assert "is the platform's" in finding.message
    assert "registry_password" in finding.fix


def findings_of(**options: Any) -> list[Finding]:
    """What is wrong with settings of the shipped site."""
    chosen, findings = settings.read(options)
    assert findings == ()
    return list(
        validation.check(sound_site(), chosen, faulty=(), ssh_key=None, home=Path("/nonexistent"))
    )


def test_a_registry_is_not_told_a_secret_of_a_stack() -> None:
    secret = "thinkheads_ai_app_database_pass"
    (finding,) = findings_of(registries={"a.example": {"username": "u", "secret": secret}})
    assert finding.path == "registries.a.example.secret"
    assert "would have the registry's password" in finding.message


@pytest.mark.parametrize(
    ("options", "path", "fix"),
    [
        ({"step_ca_years": 1, "step_ca_lifetime_maximum": "8761h"}, "step_ca_lifetime_maximum",
         "write at most 8760h"),
        ({"room_warning_percent": 3}, "room_warning_percent", "write a number from 5 to 100"),
        ({"backup_recipients": ["age1abc"]}, "backup_recipients", "age-keygen"),
        ({"dns_upstreams": []}, "dns_upstreams", "write addresses of resolvers"),
        ({"dns_upstreams": ["10.0.0.13"]}, "dns_upstreams", "write addresses of resolvers"),
        ({"step_ca_lifetime_default": "48h"}, "step_ca_lifetime_default", "minimum <= default"),
        ({"artifacts": {**ARTIFACTS, "traefik": {"any": {"version": "3.7.15"}}}},
         "artifacts.traefik.any", "write version, url and sha256"),
        ({"image_archives": {"a:1": {"url": "https://a"}}}, "image_archives.a:1", "sha256sum"),
        ({"stack_variables": {"qdrant_service": {"NO": "x"}}}, "stack_variables.qdrant_service",
         "stacks/qdrant_service/phoenix.json"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_told_with_what_to_write(
    options: dict[str, Any], path: str, fix: str
) -> None:
    faults = [finding for finding in findings_of(**options) if finding.severity == "error"]
    assert [finding.path for finding in faults] == [path]
    assert fix in faults[0].fix
    readable(faults)


def test_no_finding_sends_the_reader_to_the_reference_alone() -> None:
    """Each says itself what to write: asked with values of every wrong type."""
    invalid: tuple[Any, ...] = (
        None, True, -1, 0, 10**12, 10**5000, 1.5, "", "\0", "a b", "\ud800", [], [None], {}, {1: 2},
        {"a": {}}, {"a": {"b": 1}}, [[]], object(), b"x", {"101": {"vlan": "x"}}, {"\u0661": {}},
    )  # fmt: skip
    asked = 0
    for name in settings.fields():
        for value in invalid:
            _, findings = settings.read({name: value})
            asked += len(findings)
            for finding in findings:
                assert finding.fix, finding
                assert "docs/reference.md" not in finding.fix, finding
                assert settings.name_of(finding.path) == name, finding
            readable(findings)
    assert asked > 1000


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "224.0.0.1", "255.255.255.255", "fe80::1%eth0\nnameserver 6.6.6.6", "1.1.1",  # noqa: S104
     "fe80::1%a b", "::", "fe80::1%", "10.0.0.1/32", " 10.0.0.1", "\u0661.1.1.1", "fe80::1%;x"],
)  # fmt: skip
def test_a_name_server_has_an_address_of_one_line(address: str) -> None:
    for name in ("resolver_fallback", "dns_upstreams"):
        _, findings = settings.read({name: [address]})
        assert findings, f"{name} takes {address!r}"


def test_more_name_servers_than_a_resolver_reads_are_refused() -> None:
    """resolv.conf(5): three, of which the first is the site's own."""
    assert settings.read({"resolver_fallback": ["fe80::1%eth0", "9.9.9.9"]})[1] == ()
    _, (finding,) = settings.read({"resolver_fallback": ["9.9.9.9", "1.1.1.1", "8.8.8.8"]})
    assert finding.fix == "write 2 at most"


@pytest.mark.parametrize("base", [0, "fe80::%x/64", "172.30.0.1/16", "172.30.0.0/33", "a", None])
def test_an_address_pool_is_a_network(base: Any) -> None:
    _, findings = settings.read({"docker_address_pools": [{"base": base, "size": 24}]})
    assert findings
    readable(findings)


def volumes(**body: Any) -> Mapping[str, Any]:
    return {"data": body} if body else {"data": None}


TAKEN = (
    ({"volumes": volumes(name="portainer_data")}, "volumes.data"),
    ({"volumes": {"portainer_data": {"external": True}}}, "volumes.portainer_data"),
    ({"volumes": {"data": {"external": {"name": "portainer_data"}}}}, "volumes.data"),
    ({"volumes": volumes(name="${V:-portainer_data}")}, "volumes.data"),
    ({"services": {"container_name": "portainer"}}, "services.web.container_name"),
)


@pytest.mark.parametrize(("change", "path"), TAKEN, ids=[path for _, path in TAKEN])
@pytest.mark.parametrize("own", [True, False], ids=["Portainer's guest", "a Docker host"])
def test_a_stack_takes_nothing_of_portainer_s(
    tmp_path: Path, change: dict[str, Any], path: str, own: bool
) -> None:
    declared = minimal()
    manifest, compose = stack("more", 8001, published="8001:80")
    declared.stacks["more"] = (manifest, compose)
    compose["services"]["web"] |= change.get("services", {})
    compose |= {"volumes": change["volumes"]} if "volumes" in change else {}
    entry = next(
        vm for vm in declared.vm["vms"] if (vm.get("portainer_role") == "agent") is not own
    )
    entry.setdefault("docker_stacks", []).append("more")
    if not own:
        assert declared.load(tmp_path).docker_hosts
        return
    (finding,) = declared.refused(tmp_path)
    assert (finding.file, finding.path) == ("stacks/more/docker-compose.yml", path)
    assert "is Portainer's own on" in finding.message
    assert "another name" in finding.fix


def test_a_volume_of_the_project_s_own_may_be_called_like_portainer_s(tmp_path: Path) -> None:
    """Compose puts the project's name in front of it."""
    declared = minimal()
    declared.stacks["more"] = stack("more", 8001, published="8001:80")
    declared.stacks["more"][1]["volumes"] = {"portainer_data": None}
    next(vm for vm in declared.vm["vms"] if vm.get("portainer_role") != "agent").setdefault(
        "docker_stacks", []
    ).append("more")
    assert declared.load(tmp_path)


def test_the_defaults_are_within_their_own_bounds() -> None:
    chosen = Settings()
    for name in Settings.model_fields:
        if name != "proxmox":
            value = getattr(chosen, name)
            value = list(value) if isinstance(value, tuple) else value
            assert settings.read({name: value})[1] == (), name
    for name in settings.ProxmoxSettings.model_fields:
        value = getattr(chosen.proxmox, name)
        assert settings.read({f"proxmox_{name}": value})[1] == (), name
