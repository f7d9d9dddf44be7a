"""YAML as Compose reads it, in bounded time; rewriting keeps what was written."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from phoenix.compose import document
from phoenix.compose.document import ComposeFileError
from phoenix.compose.rewrite import with_mounts
from phoenix.declaration.load import load_site
from phoenix.site.findings import ConfigError
from tests.unit.site_builder import minimal, problem

SCALARS = [  # go-yaml, which Compose uses
    ("yes", "yes"), ("off", "off"), ("No", "No"), ("y", "y"), ("22:30", "22:30"),
    ("2223:22", "2223:22"), ("1:2:3", "1:2:3"), ("2001-12-14", "2001-12-14"),
    ("2001-99-99", "2001-99-99"), ("=", "="), ("true", True), ("FALSE", False), ("~", None),
    ("Null", None), ("", None), ("017", 15), ("0o17", 15), ("0x1F", 31), ("0b11", 3),
    ("1_000", 1000), ("+12", 12), ("-3", -3), ("089", 89.0), ("1.5", 1.5), (".5", 0.5),
    ("1e3", 1000.0), ("1e40", 1e40), ("9" * 5000, float("inf")),
    ("0x" + "f" * 5000, "0x" + "f" * 5000), ("1.2.3", "1.2.3"), ("a: b"[:1], "a"), ("'22'", "22"),
    ("!override 5", "5"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SCALARS, ids=[s[0][:20] for s in SCALARS])
def test_scalars_are_what_compose_reads(text: str, expected: object) -> None:
    value = document.parse(f"key: {text}\n")["key"]
    assert value == expected
    assert type(value) is type(expected)


def test_what_is_reset_is_not_there_as_for_compose() -> None:
    text = "a: !reset 5\nb: {c: !reset {d: 1}, e: [1, !reset 2]}\nf: &x {g: !override [3]}\nh: *x\n"
    expected = {"b": {"e": [1]}, "f": {"g": [3]}, "h": {"g": [3]}}
    assert document.parse(text) == expected
    tags = [("a", "!reset"), ("b.c", "!reset"), ("b.e[1]", "!reset"), ("f.g", "!override")]
    assert list(document.merge_tags(text)) == tags
    for unreadable in ("a: [!reset 1", f"{'[' * 500}!reset 1", "? [1]\n: !reset 2"):
        assert document.merge_tags(unreadable) == ()


RESTARTED = "x-common: &common {restart: always, ports: ['80:80'], command: a}\n"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("ports: !reset []", {"restart": "always", "ports": ["80:80"], "command": "a"}),
        ("ports: !override ['81:81']", {"restart": "always", "ports": ["81:81"], "command": "a"}),
        ("ports: ['81:81'], command: ", {"restart": "always", "ports": ["81:81"], "command": None}),
    ],
)
def test_what_is_reset_leaves_what_a_merge_key_gives(own: str, expected: dict[str, Any]) -> None:
    """The tags act before merge keys do (compose-go, loader/reset.go)."""
    web = document.read(f"{RESTARTED}services: {{web: {{<<: *common, {own}}}}}\n")
    assert web["services"]["web"] == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("ports: !reset []", {}),
        ("ports: !reset ", {}),
        ("ports: !override ['81:81']", {"ports": ["81:81"]}),
        ("ports: ['81:81']", {"ports": ["80:80", "81:81"]}),
        ("deploy: {resources: !reset }", {"ports": ["80:80"], "deploy": {"replicas": 2}}),
        ("<<: {ports: !override ['81:81']}", {"ports": ["81:81"]}),
        ("<<: *changed", {"ports": ["81:81"], "deploy": {"replicas": 3}}),
    ],
)
def test_a_service_takes_nothing_that_it_resets_from_one_that_it_extends(
    own: str, expected: dict[str, Any]
) -> None:
    deploy = {"replicas": 2, "resources": {"limits": {"pids": 5}}}
    text = (
        "x-changed: &changed {ports: !override ['81:81'], deploy: !override {replicas: 3}}\n"
        f"services:\n  base: {{ports: ['80:80'], deploy: {json.dumps(deploy)}}}\n"
        f"  web: {{extends: base, {own}}}\n"
    )
    web = document.read(text)["services"]["web"]
    assert web == {"extends": "base", "deploy": deploy} | expected
    assert document.read(text)["services"]["base"] == {"ports": ["80:80"], "deploy": deploy}
    if "<<" not in own:
        told = [place for place, _ in document.merge_tags(text)]
        assert told == ["x-changed.ports", "x-changed.deploy"], "what acts is no mistake"


@pytest.mark.parametrize(
    ("ports", "place", "words", "fix"),
    [
        ('!override ["8000:8000"]', "services.web.ports", "counts as without it", "remove the tag"),
        ("!reset", "services.web.ports", "Compose leaves this key out", "remove the key"),
        ('["8000:8000", !reset "81:81"]', "services.web.ports[1]", "Compose leaves", "remove the"),
    ],
)
def test_tags_for_another_file_are_told_with_their_fix(
    tmp_path: Path, ports: str, place: str, words: str, fix: str
) -> None:
    declaration = minimal()
    declaration.load(tmp_path)
    file = tmp_path / "stacks/shop/docker-compose.yml"
    file.write_text(f"services:\n  web:\n    image: example.com/web:1.0\n    ports: {ports}\n")
    with pytest.raises(ConfigError) if ports == "!reset" else nullcontext() as caught:
        site = load_site(tmp_path)
    warnings = caught.value.warnings if caught else site.warnings
    for error in caught.value.findings if caught else ():  # a service without its ports
        assert error.message.startswith("compose service 'web' publishes no port 8000")
    finding = problem(warnings, "stacks/shop/docker-compose.yml", place)
    assert words in finding.message
    assert fix in finding.fix
    assert finding.unread


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGE_BOMB = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)
SERVICES = "services:\n  web:\n    image: example/web:1\n"
HOSTILE = {
    "alias bomb": (BOMB + SERVICES, "a4", "more than"),
    "merge bomb": (MERGE_BOMB + SERVICES, "a5.<<", "more than"),
    "recursive anchor": ("x: &x [*x]\n" + SERVICES, "x[0]", "contains itself"),
    "recursive merge": ("x: &x {<<: *x}\n" + SERVICES, "x.<<", "contains itself"),
    "deep nesting": ("x: " + "[" * 100_000, "line 1, column 63", "nested deeper"),
    "deep aliases": ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 90))
                     + SERVICES, "a59", "nested deeper"),
    "long file": (SERVICES + "#" * document.MAX_BYTES, "", "is longer than"),
    "integer service name": ("services:\n  1: {image: x:1}\n", "services", "not a string: 1"),
    "list as a key": ("? [a]\n: b\n" + SERVICES, "", "not a string: a list"),
    "key given twice": (SERVICES + "    image: b:1\n", "services.web.image", "appears twice"),
    "services as a list": ("services: [web]\n", "services", "declares no services"),
    "services as text": ("services: web\n", "services", "declares no services"),
    "no services": ("services: {}\n", "services", "declares no services"),
    "service as text": ("services: {web: x}\n", "services.web", "is not a mapping"),
    "ports as a number": (SERVICES + "    ports: 6333\n", "services.web.ports", "cannot be 6333"),
    "volumes as text": (SERVICES + "    volumes: x\n", "services.web.volumes", "cannot be 'x'"),
    "labels as a number": (SERVICES + "    labels: 1\n", "services.web.labels", "cannot be 1"),
    "label as a number": (SERVICES + "    labels: [1]\n", "services.web.labels[0]", "cannot be 1"),
    "volumes of the file": (SERVICES + "volumes: x\n", "volumes", "is not a mapping"),
    "image as a list": ("services: {web: {image: [x]}}\n", "services.web.image",
                        "cannot be a list"),
    "python object": ("x: !!python/object:os.system []\n" + SERVICES, "line 1, column 4",
                      "is not valid YAML"),
    "bad explicit number": ("x: !!int abc\n" + SERVICES, "", "cannot be read"),
    "NUL": (SERVICES + "x: \"a\0b\"\n", "", "is not valid YAML"),
    "huge range": (SERVICES + "    ports: ['1-999999999:1-999999999']\n", "services.web.ports[0]",
                   "out of range, or ranges of different lengths"),
    "backward range": (SERVICES + "    ports: ['90-80:90-80']\n", "services.web.ports[0]",
                       "out of range, or ranges of different lengths"),
    "float as a port": (SERVICES + "    ports: [1e40]\n", "services.web.ports[0]",
                        "is not a port mapping"),
    "list as a port": (SERVICES + "    ports: [[1]]\n", "services.web.ports[0]",
                       "is not a port mapping"),
    "list in a port": (SERVICES + "    ports: [{target: [1], published: 2}]\n",
                       "services.web.ports[0]", "is not a port mapping"),
    "invalid expression": (SERVICES + "    command: '${'\n", "services.web.command",
                           "invalid expression"),
    "required variable": (SERVICES + "    command: '${KEY:?say it}'\n", "services.web.command",
                          "required variable KEY is missing a value: say it"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "path", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_file_is_a_finding(tmp_path: Path, text: str, path: str, message: str) -> None:
    minimal().load(tmp_path)
    (tmp_path / "stacks/shop/docker-compose.yml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    finding = problem(caught.value.findings, "stacks/shop/docker-compose.yml", path)
    assert message in finding.message, finding
    assert finding.fix, finding


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"files": [{"source": "a\0b", "destination_in_container": "/x"}]},
         "environments.production.files[0].source", "control character"),
        ({"files": [{"source": "x" * 900, "destination_in_container": "/x"}]},
         "environments.production.files[0].source", "there is no file"),
        ({"files": [{"source": "x" * 5000, "destination_in_container": "/x"}]},
         "environments.production.files[0].source", "has 5000 characters"),
    ],
    ids=["NUL", "long name", "longer name"],
)  # fmt: skip
def test_hostile_manifest_is_a_finding(
    tmp_path: Path, change: dict[str, Any], path: str, message: str
) -> None:
    declared = minimal()
    declared.stacks["shop"][0]["environments"]["production"] |= change
    finding = problem(declared.refused(tmp_path), "stacks/shop/phoenix.json", path)
    assert message in finding.message, finding
    assert len(str(finding)) < 400, finding


def test_environment_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    declared = minimal()
    environments = declared.stacks["shop"][0]["environments"]
    environments["../../etc"] = environments["production"]
    declared.vm["vms"][1]["docker_stacks"] = [{"name": "shop", "environment": "../../etc"}]
    finding = problem(
        declared.refused(tmp_path), "stacks/shop/phoenix.json", "environments.../../etc"
    )
    assert "is not an environment name" in finding.message, finding


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ' * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "has a number of 5000 digits"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"lxc_configs": {"101": {"name": "a", "vmid": 1e400}}}', ""),
    ],
    ids=["deep", "digits", "NaN", "1e400"],
)
def test_hostile_inventory_is_a_finding(tmp_path: Path, text: str, message: str) -> None:
    minimal().load(tmp_path)
    (tmp_path / "phoenix_lxc_configs.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert any(message in finding.message for finding in caught.value.findings), caught.value


WRITTEN = """\
# the shop
x-common: &common
  restart: unless-stopped
  volumes: [common:/common]
services:
  # what customers see
  web:
    <<: *common
    image: "example/web:1"   # pinned
    stop_grace_period: 1m30s
    environment: {TLS: yes, CACHE: off, AT: 22:30, MODE: 0600, BIG: 123456789012345678901234567890}
    ports:
      - 2223:22   # not a number of base sixty
      - "8000:80"
    labels:
      - mine=1
  api: &api
    <<: *common
    image: example/api:${TAG:-1.0}
    volumes:
      - data:/data   # kept
    command: >
      serve
      --all
  copy: *api
  plain: {image: example/plain:1, labels: {on: yes}}
volumes:
  data:
  common: ~
"""
MOUNT, LABEL = "/etc/phoenix/stacks/shop/0:/etc/app.conf:ro", ("phoenix.files", "abc")


def test_rewriting_adds_mounts_and_label_and_keeps_the_rest() -> None:
    text = with_mounts(WRITTEN, [MOUNT], LABEL)
    for original in ("# the shop", "# what customers see", "# pinned", "# kept", "- 2223:22",
                 "TLS: yes, CACHE: off, AT: 22:30, MODE: 0600", '"example/web:1"',
                 "123456789012345678901234567890", "command: >\n      serve\n      --all\n",
                 "<<: *common", "copy: *api"):  # fmt: skip
        assert original in text, text
    before, after = document.read(WRITTEN), document.read(text)
    assert list(after["services"]) == list(before["services"])
    for name, service in after["services"].items():
        old = before["services"][name]
        assert service["volumes"] == [*old.get("volumes", []), MOUNT], name
        if isinstance(service["labels"], list):
            assert service["labels"] == [*old["labels"], "phoenix.files=abc"]
        else:
            assert service["labels"] == {**old.get("labels", {}), "phoenix.files": "abc"}
        for key in old.keys() - {"volumes", "labels"}:
            assert service[key] == old[key], (name, key)
    assert after["x-common"]["volumes"] == ["common:/common"], "what is shared stays as it was"


def test_rewriting_accepts_json() -> None:
    text = json.dumps({"services": {"web": {"image": "example/web:1"}}})
    (web,) = document.read(with_mounts(text, [MOUNT], LABEL))["services"].values()
    assert web == {
        "image": "example/web:1", "volumes": [MOUNT], "labels": {"phoenix.files": "abc"},
    }  # fmt: skip


def test_what_cannot_be_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ruamel.yaml.YAML.dump", lambda self, data, stream: stream.write(
        "services: {web: {image: x:1}}"))  # fmt: skip
    with pytest.raises(ComposeFileError, match="mean something else"):
        with_mounts(WRITTEN, [MOUNT], LABEL)
