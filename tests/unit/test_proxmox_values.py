"""Proxmox VE's strings as values, and keys compared by value, our part only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.declaration.settings import read
from phoenix.proxmox import values
from phoenix.proxmox.keys import Flag, Key, Nic, Note, Number, Props, SshKeys, Tags, Text, Words

MAC = "52:54:00:AA:BB:CA"
LXC_NET = f"name=eth0,bridge=vmbr0,firewall=1,gw=10.0.0.1,hwaddr={MAC},ip=10.0.0.10/24,type=veth"
WORD = st.from_regex(r"[a-z0-9][a-z0-9./:-]{0,8}", fullmatch=True)
KEYS = st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True)


@given(st.dictionaries(KEYS, WORD, min_size=1))
def test_properties_survive_a_round_trip(properties: dict[str, str]) -> None:
    assert values.parse(values.join(properties)) == properties


@given(st.dictionaries(KEYS.filter(lambda k: k not in ("model", "hwaddr", "virtio")), WORD))
def test_network_cards_survive_a_round_trip(properties: dict[str, str]) -> None:
    for head in ({"model": "virtio", "hwaddr": MAC}, {"model": "e1000"}, {"hwaddr": MAC}):
        whole = {**head, **properties}
        assert values.parse_nic(values.join_nic(whole)) == whole


def test_a_vms_card_leads_with_model_and_mac() -> None:
    actual = values.parse_nic("virtio=bc:24:11:00:00:01,bridge=vmbr0,tag=5")
    assert actual == {
        "model": "virtio",
        "hwaddr": "BC:24:11:00:00:01",
        "bridge": "vmbr0",
        "tag": "5",
    }
    assert values.join_nic(actual) == "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5"
    assert values.parse_nic("model=virtio,macaddr=bc:24:11:00:00:01")["hwaddr"].startswith("BC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("32G", 32 * 1024**3), ("512M", 512 * 1024**2), ("1.5T", 3 * 1024**4 // 2), ("4096", 4096)],
)
def test_sizes(text: str, expected: int) -> None:
    assert values.size_bytes(text) == expected


def test_a_wrong_size_and_a_wrong_tag() -> None:
    with pytest.raises(ValueError, match="'32 apples' is not a size"):
        values.size_bytes("32 apples")
    with pytest.raises(ValueError, match="is not a tag"):
        values.join_tags(["Größe"])


def _name(value: object) -> str:
    """A test's name is the same in every process; a set is not written the same way in two."""
    return str(value) if value is None or isinstance(value, str) else type(value).__name__


SAME: list[tuple[Key, str | None]] = [
    (Number(512, 512), None),
    (Number(1024), "1024"),
    (Flag(False), None),
    (Flag(True), "1"),
    (Text("step-ca", case=False), "Step-CA"),
    (Text("two\nlines"), "two\nlines\n"),
    (Words(("10.0.0.13", "9.9.9.9")), "10.0.0.13,9.9.9.9"),
    (Words(("10.0.0.13",)), " 10.0.0.13 "),
    (Props({"order": "1", "up": "5"}), "up=5,order=1,down=60"),
    (Props({"enabled": "1"}, "enabled"), "1,fstrim_cloned_disks=1"),
    (Props({"enabled": "1"}, "enabled"), "enabled=1"),
    (Props({"current": "4096"}, "current"), "4096"),
    (Props({"nesting": "1"}), "keyctl=1,nesting=yes"),
    (Nic({"hwaddr": MAC, "bridge": "vmbr0", "firewall": "1"}), LXC_NET.lower()),
    (Nic({"bridge": "vmbr0", "firewall": "0"}), "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=0"),
    (Tags(frozenset({"phoenix", "nginx"}), frozenset({"phoenix", "nginx"})), "nginx,mine;phoenix"),
    (SshKeys(("ssh-ed25519 AAAA me",)), "ssh-ed25519%20AAAA%20you%0Assh-rsa%20BBBB"),
    (Note("Managed: x", "Managed"), "a person's"),
]
DIFFERENT: list[tuple[Key, str | None, str]] = [
    (Number(1024), None, "1024"),
    (Number(1024, 512), "512", "1024"),
    (Flag(True), None, "1"),
    (Flag(False), "yes", "0"),
    (Text("a", case=False), None, "a"),
    (Words(("10.0.0.13", "9.9.9.9")), "9.9.9.9 10.0.0.13", "10.0.0.13 9.9.9.9"),
    (Props({"order": "2", "up": "5"}), "order=1,up=5,down=60", "order=2,up=5,down=60"),
    (Props({"enabled": "1"}, "enabled"), "0,fstrim_cloned_disks=1", "1,fstrim_cloned_disks=1"),
    (Props({"ip": "dhcp"}), None, "ip=dhcp"),
    (Nic({"bridge": "b"}), f"virtio={MAC},bridge=a,rate=5", f"virtio={MAC},bridge=b,rate=5"),
    (Nic({"bridge": "vmbr0"}, model="virtio"), None, "virtio,bridge=vmbr0"),
    (Tags(frozenset({"phoenix"}), frozenset({"phoenix", "nginx"})), "nginx;mine", "mine;phoenix"),
    (SshKeys(("ssh-rsa AAAA me",)), "ssh-rsa%20BB", "ssh-rsa%20BB%0Assh-rsa%20AAAA%20me"),
    (Note("Managed: x", "Managed"), "Managed: y", "Managed: x"),
    (Note("Managed: x", "Managed"), None, "Managed: x"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "current"), SAME, ids=_name)
def test_the_same_value_in_another_form_is_no_difference(key: Key, current: str | None) -> None:
    assert key.holds(current), (key, current)


@pytest.mark.parametrize(("key", "current", "after"), DIFFERENT, ids=_name)
def test_a_difference_is_written_beside_what_others_set(
    key: Key, current: str | None, after: str
) -> None:
    assert not key.holds(current)
    assert key.written(current) == after
    assert key.holds(after), "what was written holds"


def test_wrong_settings_are_named() -> None:
    data = {
        "proxmox_api": "http://plain", "proxmox_guests": {"101": {"vlan": 5000}},
        "proxmox_typo": 1, "unrelated": object(),
    }  # fmt: skip
    findings = read(data)[1]
    places = {finding.path for finding in findings}
    assert places == {"proxmox_api", "proxmox_guests.101.vlan", "proxmox_typo"}, findings
