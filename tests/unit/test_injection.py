"""No text of a declaration becomes a line, a directive, a key or a command of its own.

Every place where text may stand is found in the models (`tests.unit.text_places`) and filled with
hostile text. What the loader takes is rendered, and each output is read back by a parser of its
own: it has the parts that it has with a harmless word, and the text in the place of that word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from phoenix.declaration import hypervisor_file, json_errors, json_keys
from phoenix.declaration import settings as setting_model
from phoenix.declaration.load import load_site
from phoenix.declaration.stacks import StackCatalog
from phoenix.site.findings import ConfigError, Finding, Report, SettingError
from phoenix.site.model import Site
from tests.fuzz.cases import SETTINGS, site_files
from tests.fuzz.outputs import outputs
from tests.fuzz.targets import folder, readable, sound_site, write
from tests.unit.model_fields import values
from tests.unit.output_parts import differences
from tests.unit.text_places import FILES, KEY, Place, beside, places, put, sound

MARK = "INJECTED"
HOSTILE = (
    f"\n{MARK}", f"\r{MARK}", f"\r\n{MARK}", f"\t{MARK}", f"\0{MARK}", f"\x1b[2J{MARK}",
    f"\x85{MARK}", f"\u2028{MARK}", f"\u202e{MARK}", f"\u200f{MARK}", f"\ufeff{MARK}",
    f"\ud800{MARK}",
    f"\u0430{MARK}", f"\u0661{MARK}", f" {MARK}", f'"{MARK}', f"'{MARK}", f"$({MARK})", f"`{MARK}`",
    f"${{{MARK}}}", f"${MARK}", f"$${MARK}", f";{MARK}", f"; {MARK}", f"|{MARK}", f"&{MARK}",
    f"<{MARK}>", f"#{MARK}", f" #{MARK}", f"{{{MARK}}}", f"{{{{ {MARK} }}}}", f"{{% {MARK} %}}",
    f"%{MARK}", f"%%{MARK}", f"\\{MARK}", f"\\n{MARK}", f",{MARK}=1", f"={MARK}", f": {MARK}",
    f"/../{MARK}", f"[1-9]*?{MARK}", f"~{MARK}", f"@{MARK}", f"!{MARK}", "x" * 120_000,
)  # fmt: skip
WHOLE = (
    f"-{MARK}", f"--{MARK}", f"@{MARK}", f"&{MARK}", f"*{MARK}", f"!{MARK}", f"|{MARK}", f">{MARK}",
    f"~{MARK}", f"[{MARK}", f"{{{MARK}", f"%{MARK}", f"`{MARK}", f" {MARK} ", f"../{MARK}", ".inf",
    "0b1011101", "12:30:45", "2001-01-01", "1_000_001",
)  # fmt: skip
"""What means something where it begins a word, or is one."""
PLACES = places()


def shapes(place: Place, data: Any) -> Iterator[tuple[type[BaseModel], Any]]:
    """The models that the loader asks about the part of a file in which a place is."""
    if place.kind == "hypervisor":
        yield from _of_hypervisor(place, data)
        return
    match (place.kind, *place.steps):
        case ("lxc", "site", *_):
            yield json_keys.RawSite, data["site"]
        case ("lxc", "lxc_configs", str(vmid), *inner) if inner and inner != [KEY]:
            yield json_keys.RawLxc, data["lxc_configs"][vmid]
        case ("vm", "vm_defaults", *_):
            yield json_keys.RawVmDefaults, data["vm_defaults"]
        case ("vm", "vms", int(number), *_):
            yield json_keys.RawVm, data["vms"][number]
        case ("stack", "environments", str(name), *inner) if inner and inner != [KEY]:
            yield json_keys.RawEnvironment, data["environments"][name]
        case ("stack", *_):
            yield json_keys.RawStack, data
        case ("stacks", "docker_stacks", str(name), "environments", str(one), *inner) if (
            inner and inner != [KEY]
        ):
            yield json_keys.RawEnvironment, data["docker_stacks"][name]["environments"][one]
        case ("stacks", "docker_stacks", str(name), *inner) if inner and inner != [KEY]:
            yield json_keys.RawListedStack, data["docker_stacks"][name]


def _of_hypervisor(place: Place, data: Any) -> Iterator[tuple[type[BaseModel], Any]]:
    yield hypervisor_file.RawHypervisorFile, data
    if place.steps[0] == "networks" and place.steps[2:] not in ((), (KEY,)):
        yield hypervisor_file.RawNamedNetwork, data["networks"][place.steps[1]]


def load(place: Place, text: Any) -> tuple[Site, setting_model.Settings] | tuple[Finding, ...]:
    """The site and its settings with `text` at a place, or why they are refused."""
    if place.kind == "settings":
        chosen, findings = setting_model.read(put(SETTINGS, place, text))
        return findings or (sound_site(), chosen)
    label = FILES[place.kind]
    data = put(site_files()[label], place, text)
    report = Report()
    for model, part in shapes(place, data):
        json_errors.validate(model, part, label, "", report)
    if report.errors:
        return report.errors
    files = {**beside(place), label: data}
    for name, content in files.items():
        write(folder(), name, json.dumps(content))
    try:
        return load_site(folder()), setting_model.Settings()
    except ConfigError as error:
        return error.findings
    finally:
        for name in files:
            write(folder(), name, json.dumps(site_files()[name]))


def rendered(place: Place, text: str) -> Mapping[str, str] | None:
    """Every output with `text` at a place; None where it is refused."""
    loaded = load(place, text)
    if isinstance(loaded[0], Finding):
        readable(loaded)
        return None
    try:
        return outputs(*loaded)
    except (SettingError, ConfigError):
        return None  # said by validate, too


def is_of_stacks(place: Place) -> bool:
    """Whether the text there may decide on stacks that no guest deploys."""
    names = {"domain", "environment", "docker_stacks", "stack"}
    return place.kind in {"stack", "stacks"} or any(
        word in str(step) for step in place.steps for word in names
    )


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES, ids=map(str, PLACES))
def test_hostile_text_is_refused_or_stays_in_its_place(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_of_stacks(place):
        # They are the same each time, and nothing is made of them: a third of each load.
        monkeypatch.setattr(StackCatalog, "check_others", lambda _catalog: None)
    own = sound(place)
    words = ("Plainword", "plainword", f"{own}plainword", own)
    plain = next(
        (word, plain_outputs) for word in words if (plain_outputs := rendered(place, word))
    )
    number = rendered(place, "0plainword")  # it is sorted where a number is
    for text in (*HOSTILE, *WHOLE, *(own + tail for tail in HOSTILE)):
        if "features." in str(place) and text.startswith(f"{own};"):
            continue  # the one value that is a list (pct.conf(5): mount=fstype;fstype)
        hostile = rendered(place, text)
        if hostile is not None:
            word, harmless = ("0plainword", number) if number and text[0].isdigit() else plain
            assert differences(harmless, word, hostile, text) == [], (text, word)


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES, ids=map(str, PLACES))
def test_each_place_is_read(place: Place) -> None:
    """So that what the test above refuses is refused for the text, and not for anything else."""
    assert rendered(place, sound(place)) is not None, load(place, sound(place))
    invalid = "\0" if place.steps[-1] == KEY else {"no": "text"}
    assert isinstance(load(place, invalid)[0], Finding), f"{place} is not read"


def test_every_text_field_of_every_model_is_a_place() -> None:
    """Compared with the models themselves, by another reflection than the schemas'."""
    tried = {str(step) for place in PLACES for step in place.steps}
    fields = {re.sub(r"[\[\]{}.*]+$", "", value.place.partition(".")[2])
              for value in values() if value.base is str}  # fmt: skip
    assert len(fields) > 60
    tried |= {re.sub(r"(?=[A-Z])", "_", step).lower() for step in tried}  # by its alias
    missing = {name for name in fields if name not in tried and f"proxmox_{name}" not in tried}
    assert missing == set(), missing


SAMPLES = {
    "dnsmasq.conf": ("local=/{}/\nserver=9.9.9.9\n", ("\n", ",", " #", '"')),
    "nginx.conf": ("http {{ server {{ server_name a {}; }} }}\n", (";", " ", "}", "{")),
    "routes.yml": ("a: {}\nb: [x]\n", ("\n", ": ", " #")),
    "ca.json": ('{{"a": "{}"}}', ('", "b": "',)),
    "traefik.service": ("[Service]\nExecStart=/p {}\n", ("\n", "%")),
    "a host.conf": ("DOMAINS=a {}\n", ("\n", " ")),
    "PVE 101 net0": ("name=eth0,bridge={}", (",", "\n")),
    "probe words": ("curl\n{}\n", ("\n", "\r")),
    "a guard.nft": ('tcp dport 1 accept comment "{}"\n', ("\n", '" accept', '"; accept; "')),
    "validate.sh": ("test -e {}\n", (";", " ", "$(", "|", "\n")),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_an_injected_part_would_be_seen(name: str) -> None:
    """The parsers take the hostile text for what the program would take it for."""
    form, marks = SAMPLES[name]
    plain = {name: form.format("plainword")}
    assert differences(plain, "plainword", {name: form.format("other")}, "other") == []
    for mark in marks:
        text = f"{mark}{MARK}"
        hostile = {name: form.format(f"x{text}")}
        try:
            differing = differences(plain, "plainword", hostile, f"x{text}")
        except (AssertionError, ValueError, yaml.YAMLError):
            continue  # no such file at all
        assert differing == [name], (name, mark)
