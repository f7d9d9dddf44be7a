"""What of a stack is copied from its old host, and whether it fits on the new one."""

from __future__ import annotations

import json

import pytest

from phoenix.components.move.contents import Contents, ContentsError, Place, read
from phoenix.components.move.space import fits

DATA = "/var/lib/docker/volumes/shop_data/_data"
LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.volume": "data"}


def lines(*rows: list[object]) -> Contents:
    return read(json.dumps(row) for row in rows)


def bind(source: str, *, writes: bool) -> dict[str, object]:
    return {"Type": "bind", "Source": source, "Destination": "/d", "RW": writes}


def test_named_volumes_are_copied_with_their_labels() -> None:
    output_lines = lines(
        ["container", "/shop-web-1", [{"Type": "volume", "Name": "shop_data", "Source": DATA}]],
        ["volume", "shop_data", "local", None, LABELS, DATA],
        ["volume", "outside", "local", {}, None, "/o"],
    )
    assert output_lines.places == (
        Place("volume", "shop_data", DATA, tuple(f"{k}={v}" for k, v in LABELS.items())),
        Place("volume", "outside", "/o"),
    )
    assert (output_lines.notes, output_lines.faults) == ((), ())


@pytest.mark.parametrize(
    ("driver", "options"),
    [("nfs", None), ("local", {"type": "nfs", "device": ":/export"}), ("local", {"device": "/x"})],
)
def test_data_that_are_elsewhere_are_not_copied(driver: str, options: object) -> None:
    output_lines = lines(["volume", "shop_data", driver, options, LABELS, DATA])
    assert output_lines.places == ()
    assert "the volume shop_data is not copied: its data are elsewhere" in output_lines.notes[0]


def test_anonymous_volumes_are_told() -> None:
    name = "ab" * 32
    mount = {"Type": "volume", "Name": name, "Source": DATA, "Destination": "/cache"}
    output_lines = lines(
        ["container", "/shop-web-1", [mount]], ["volume", name, "local", None, {}, DATA]
    )
    assert output_lines.places == ()
    sentence = "the anonymous volume abababababab (/cache of shop-web-1) is not copied"
    assert output_lines.notes[0].startswith(sentence)
    alone = lines(["volume", name, "local", None, {}, DATA])
    assert "is not copied" in alone.notes[0]


def test_a_volume_that_another_stack_writes_to_is_a_fault() -> None:
    output_lines = lines(
        [
            "user",
            "/other-web-1",
            [{"Type": "volume", "Name": "shop_data"}, bind("/x", writes=True)],
        ],
        ["volume", "shop_data", "local", None, LABELS, DATA],
    )
    assert output_lines.faults == (
        "other-web-1 runs and uses the volume shop_data as well: stop it first",
    )


def test_directories_that_containers_write_to_are_copied_once() -> None:
    output_lines = lines(
        ["container", "/a", [bind("/srv/shop", writes=True), bind("/srv/shop/sub", writes=True)]],
        ["container", "/b", [bind("/srv/shop", writes=True), bind("/srv/certs", writes=False)]],
    )
    assert output_lines.places == (Place("directory", "/srv/shop", "/srv/shop"),)
    assert output_lines.notes == ("/srv/certs is mounted read-only, and is not copied",)


@pytest.mark.parametrize(
    "path",
    ["/", "/var/run/docker.sock", "/etc/phoenix/tls", "/proc", "/sys/fs/cgroup", "/dev/dri",
     "/var/lib/docker/volumes"],
)  # fmt: skip
def test_what_every_host_has_is_not_copied(path: str) -> None:
    assert lines(["container", "/a", [bind(path, writes=True)]]) == Contents((), (), ())


def test_a_name_like_a_directory_of_the_host_is_none() -> None:
    assert lines(["container", "/a", [bind("/etcetera", writes=True)]]).places != ()


@pytest.mark.parametrize(
    "line", ["", "null", "[]", '["container"]', '["volume", "x"]', "docker: no"]
)
def test_an_answer_of_another_form_is_named(line: str) -> None:
    with pytest.raises(ContentsError, match="unexpected answer of docker"):
        read([line])


def test_all_copies_of_one_file_system_must_fit_together() -> None:
    gib = 1 << 30
    free = [f"/dev/vda1 {2 * gib}", f"/dev/vda1 {2 * gib}", f"/dev/mapper/a b {9 * gib}"]
    assert fits([gib // 2, gib // 2, gib], free) == ""
    fault = fits([gib, gib, gib], free)
    assert fault == "2214 MiB are needed on /dev/vda1, and 2048 MiB are free"


def test_nothing_needs_no_room() -> None:
    assert fits([], []) == ""


def test_the_stack_s_own_pair_goes_along() -> None:
    """The CA would prove its name where it leads to: on the old host, until the move is proven."""
    own = "/etc/phoenix/stacks/shop-production/tls"
    places = lines(["container", "/a", [bind(own, writes=False)]]).places
    assert [place.directory for place in places] == [own]
