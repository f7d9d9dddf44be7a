"""A slip of the pen is told alike wherever it stands: one rule, and the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix.cli.containers import check_service
from phoenix.declaration import settings
from phoenix.derived.find import choose
from phoenix.secrets import catalog
from phoenix.secrets.store import SecretStore
from phoenix.site import suggestions
from phoenix.site.findings import ConfigError, NameLookupError, SettingError
from tests.unit.project_copy import phoenix
from tests.unit.site_builder import VM, Declaration, minimal, problem


def found(declared: Declaration, folder: Path) -> str:
    """All that is said of a declaration."""
    try:
        findings = declared.load(folder).warnings
    except ConfigError as error:
        findings = (*error.findings, *error.warnings)
    return "\n".join(map(str, findings))


def of_json_key(folder: Path, word: str) -> str:
    declared = minimal()
    declared.vm["vms"][0][word] = {}
    return found(declared, folder)


def of_setting(folder: Path, word: str) -> str:
    ((_, fix),) = settings.unknown([word])
    return fix


def of_setting_of_proxmox(folder: Path, word: str) -> str:
    _, (finding,) = settings.read({f"proxmox_{word}": 1})
    return finding.fix.replace("proxmox_", "")


def of_word_of_a_key(folder: Path, word: str) -> str:
    declared = minimal()
    declared.vm["vms"][0]["traefik_service"]["check"] = word
    return found(declared, folder)


def of_word_of_a_setting(folder: Path, word: str) -> str:
    _, (finding,) = settings.read({"docker_packages": word})
    return finding.fix


def of_word_of_a_form(folder: Path, word: str) -> str:
    declared = minimal()
    share = {"path": "/tank", "clients": ["10.0.0.24"], "options": f"rw,{word}"}
    declared.hypervisor = {"nfs": {"exports": [share]}}
    return found(declared, folder)


def of_service_in_explain(folder: Path, word: str) -> str:
    minimal().load(folder)
    return phoenix("explain", word, "-i", folder).stdout


def of_name(folder: Path, word: str) -> str:
    with pytest.raises(NameLookupError) as caught:
        choose(minimal().load(folder), word, first=())
    return str(caught.value)


def of_name_of_a_kind(folder: Path, word: str) -> str:
    return of_name(folder, f"guest:{word}").replace("guest:", "")


def of_container_in_logs(folder: Path, word: str) -> str:
    declared = minimal()
    declared.stacks["shop"][1]["services"]["scheduler"] = {"image": "example/db:1"}
    with pytest.raises(NameLookupError) as caught:
        check_service("stack:shop", word, declared.load(folder))
    return str(caught.value)


def of_stack_of_a_guest(folder: Path, word: str) -> str:
    declared = minimal()
    declared.stacks["orders"] = declared.stacks.pop("shop")
    declared.vm["vms"][1]["docker_stacks"] = [word]
    return found(declared, folder)


def of_secret(folder: Path, word: str) -> str:
    with pytest.raises(SettingError) as caught:
        catalog.rotatable([word], minimal().load(folder), SecretStore(folder / "secrets.json"))
    return str(caught.value)


def of_file(folder: Path, word: str) -> str:
    folder.mkdir(parents=True)
    (folder / f"{word}.json").write_text("{}")
    return found(minimal(), folder).replace(".json", "")


def of_verb(folder: Path, word: str) -> str:
    return phoenix(word).stderr


def of_verb_of_a_group(folder: Path, word: str) -> str:
    return phoenix("secrets", word).stderr


def of_option(folder: Path, word: str) -> str:
    return phoenix("validate", f"--{word}").stderr.replace("--", "")


PLACES: list[tuple[Callable[[Path, str], str], str]] = [
    (of_json_key, "network_config"),
    (of_setting, "timezone"),
    (of_setting_of_proxmox, "firewall"),
    (of_word_of_a_key, "none"),
    (of_word_of_a_setting, "distribution"),
    (of_word_of_a_form, "no_root_squash"),
    (of_service_in_explain, "portainer"),
    (of_name, "portainer"),
    (of_name_of_a_kind, "worker"),
    (of_container_in_logs, "scheduler"),
    (of_stack_of_a_guest, "orders"),
    (of_secret, "portainer_admin_password"),
    (of_file, "phoenix_vm_configs"),
    (of_verb, "status"),
    (of_verb_of_a_group, "rotate"),
    (of_option, "inventory"),
]


def swapped(word: str) -> str:
    middle = len(word) // 2
    return word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]


def less_a_letter(word: str) -> str:
    return word[:1] + word[2:]


def doubled(word: str) -> str:
    return word[:2] + word[1:]


def other_number(word: str) -> str:
    return word.removesuffix("s") if word.endswith("s") else f"{word}s"


SLIPS = [swapped, less_a_letter, doubled, other_number, str.upper]
ANY_CASE = (of_name, of_name_of_a_kind, of_service_in_explain)
"""A name of the site is found in any case."""
CASES = [
    pytest.param(place, slip, name, id=f"{place.__name__}-{slip.__name__}")
    for place, name in PLACES
    for slip in SLIPS
    if slip is not str.upper or place not in ANY_CASE
]


@pytest.mark.parametrize(("place", "slip", "name"), CASES)
def test_a_slip_is_told_alike_in_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path, str], str],
    slip: Callable[[str], str], name: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    said = " ".join(place(tmp_path / "site", slip(name)).split())
    offered = said.lower().partition("did you mean ")[2].partition("?")[0]
    assert f"'{name}'" in offered.replace("' or '", "', '").split(", "), said


@pytest.mark.parametrize(
    ("place", "name"), [pair for pair in PLACES if pair[0] not in (of_file, of_word_of_a_key)]
)
def test_a_beginning_stands_for_the_name_in_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path, str], str], name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = " ".join(place(tmp_path / "site", name[: max(3, len(name) // 2)]).split())
    assert f"'{name}'" in said.lower().partition("did you mean ")[2].partition("?")[0], said


@pytest.mark.parametrize("place", [pair[0] for pair in PLACES])
def test_what_is_like_nothing_is_told_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path, str], str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "id you mean" not in place(tmp_path / "site", "qjkqjkqjk")


# -- the rule --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("IP", ["ip", "vip"], ["ip"]),
        ("pi", ["ip", "mac"], ["ip"]),
        ("docker-data-root", ["docker_data_root", "docker_data"], ["docker_data_root"]),
        ("memorymb", ["memory_mb", "memory"], ["memory_mb"]),
        ("policy", ["policies", "polite"], ["policies"]),
        ("address", ["addresses", "dress"], ["addresses"]),
        ("treafik_user", ["traefik_dashboard_user", "ssh_user"], ["traefik_dashboard_user"]),
        ("prom", ["prometheus", "grafana"], ["prometheus"]),
        ("pr", ["prometheus", "grafana"], []),
        ("web", ["web1", "web2", "web3", "web4", "mail"], ["web1", "web2", "web3"]),
        ("ngnix", ["nginx", "nginx-two", "mail"], ["nginx"]),
        ("", ["nginx"], []),
        ("___", ["---", "nginx"], []),
        ("nginx", [], []),
    ],
)
def test_the_nearest_names_come_alone_and_first(
    word: str, known: list[str], expected: list[str]
) -> None:
    assert list(suggestions.similar(word, known)) == expected
    assert list(suggestions.similar(word, reversed(known))) == expected, (
        "whatever order they come in"
    )


def test_what_nobody_wrote_by_hand_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = "a" * suggestions.MAX_LENGTH
    assert suggestions.similar(longest, [f"{longest[:-1]}b"]) == (f"{longest[:-1]}b",)
    assert suggestions.similar(longest, [f"{longest}b"]) == ()
    monkeypatch.setattr(suggestions, "SequenceMatcher", None)  # whoever compared now would fail
    assert (
        suggestions.similar(f"{longest}b", [longest])
        == suggestions.misspelt(f"{longest}b", [longest])
        == ()
    )


def test_the_words_are_those_of_one_sentence() -> None:
    assert suggestions.did_you_mean([]) == suggestions.sentence([]) == ""
    assert suggestions.did_you_mean(["a"]) == "did you mean 'a'?"
    assert suggestions.did_you_mean(["a", "b"]) == "did you mean 'a' or 'b'?"
    assert suggestions.sentence(["a", "b", "c"]) == "Did you mean 'a', 'b' or 'c'?"
    assert suggestions.fix("xyz", ["abc"]) == "remove it"
    assert suggestions.fix("abd", ["abc"], "go on") == "did you mean 'abc'? else go on"
    assert suggestions.hint(["a"], ["a", "b"]) == "Did you mean 'a'?"
    assert suggestions.hint([], ["a", "b"]) == "There are: a, b"
    assert suggestions.hint([], []) == "There is none"


@pytest.mark.parametrize("file", ["phoenix.json", "manifest.json", "configs.json", "vm.json"])
def test_a_file_of_somebody_else_is_no_misspelt_one(tmp_path: Path, file: str) -> None:
    """Nothing but its name says that a file is wrong: a part of the name is not enough."""
    tmp_path.joinpath(file).write_text("{}")
    assert minimal().load(tmp_path).warnings == ()


# -- what names have in common -----------------------------------------------------------------


def test_the_kind_in_front_of_a_name_makes_no_likeness(tmp_path: Path) -> None:
    site = minimal().load(tmp_path)
    with pytest.raises(
        NameLookupError, match=r"no stack is called 'stack:zzz'\. There are: stack:"
    ):
        choose(site, "stack:zzz", first=())


@pytest.mark.parametrize(
    ("label", "fix"),
    [
        ("shpo", "did you mean 'shop.{zone}'? else correct it, or declare the service"),
        ("zzz", "correct it, or declare the service"),
    ],
)
def test_the_domain_of_a_name_makes_no_likeness(tmp_path: Path, label: str, fix: str) -> None:
    declared = minimal()
    zone = declared.load(tmp_path / "a").domain
    old = {"name": "old", "redirect_to": f"https://{label}.{zone}/"}
    declared.vm["vms"][1]["traefik_service"] = old
    findings = declared.refused(tmp_path / "b")
    assert problem(findings, VM, "vms[1].traefik_service.redirect_to").fix == fix.format(zone=zone)
