"""What the benchmark of scale reads is there."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import handshake, scale, servers, synthetic
from benchmarks.simulated import answer
from facts.config_tree import ConfigTree
from lab import light
from lab.settings import LabError, Settings, subnet_for
from phoenix.declaration.load import load_site


def test_a_handshake_has_the_whole_certificate_in_it(tmp_path: Path) -> None:
    few, many = handshake.measure(tmp_path, (1, 400), repeat=2, rounds=1)
    assert (few.names, many.names) == (1, 400)
    assert many.certificate - few.certificate > 399 * len(handshake.name(0))
    assert many.sent - few.sent > 399 * len(handshake.name(0))
    assert few.sent < handshake.WINDOW < many.sent
    assert min(few.server, few.client, many.server, many.client) > 0


def run_of(hosts: int, wall: float) -> dict[str, Any]:
    measured = scale.Run(wall, 1, 100)._asdict()
    return {"hosts": hosts, "parallel": hosts, "changing": measured, "unchanged": measured,
            "connections": 1.0, "commands": 5.0}  # fmt: skip


@pytest.mark.parametrize(("wall", "met"), [(40 * 3.0, True), (40 * 3.2, False)])
def test_the_goal_is_of_the_time_of_a_host(wall: float, met: bool) -> None:
    runs = [run_of(5, 5), run_of(20, 20), run_of(40, wall), {**run_of(40, 999), "parallel": 5}]
    assert scale.print_report({"light": runs}) is met


def test_light_hosts_that_do_not_fit_are_refused_before_any_is_made() -> None:
    with pytest.raises(LabError, match="250 hosts do not fit"):
        light.up(Settings("light", subnet_for("light")), 250)


def test_a_simulated_host_has_none_of_the_trees_that_it_is_asked_about() -> None:
    trees = [{"base": f"/base/{name}", "units": (), "paths": ("/a", "/b")} for name in ("x", "y")]
    lines = answer(ConfigTree.joined(trees).get_raw_value())
    parts = ConfigTree.parted(lines, 2)
    assert [ConfigTree().parse(part).files for part in parts] == [{}, {}]


def test_servers_have_the_configuration_of_the_site_at_addresses_of_one_machine(
    tmp_path: Path,
) -> None:
    synthetic.write(tmp_path, 3)
    written = servers._files(load_site(tmp_path), tmp_path)
    files = {path: content for path, (content, _) in written.items()}
    first, following = files["/bench/nginx.conf"], files["/bench/nginx.conf.next"]
    assert first != following
    assert b"listen 10.64.0.2:443 ssl" in first
    assert b"listen 443" not in first
    assert b"address: 10.64.0.3:443" in files["/bench/traefik.yml"]
    assert files["/bench/marker"] in files["/bench/phoenix.yml"]
    assert files["/bench/marker.next"] in files["/bench/phoenix.yml.next"]
    assert b"10.64.0.2/32" not in files["/bench/phoenix.yml"]
    assert b"PRIVATE KEY" in files["/etc/phoenix/tls/gateway/privkey.pem"]
