"""What a person had: the scripts that find it and move it aside, and what is decided of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from facts.host_fact import BEGIN, END
from facts.taking_over import Standing
from phoenix.components.config_tree.tree import BASE
from phoenix.components.dnsmasq import dnsmasq_conf
from phoenix.components.taking_over.decision import GIVE_WAY, WAYS, decide
from phoenix.components.taking_over.residents import (
    Container,
    Listener,
    Place,
    ResidentError,
    Residents,
    clashes,
    parse,
    places,
)
from phoenix.declaration.settings import Settings, TakingOver, read
from phoenix.derived.dns import records
from phoenix.site.model import Site
from phoenix.site.names import SERVER_VOLUME
from tests.unit.site_builder import minimal

RESOLVER = Place("resolver", "dns", (53,), ("10.0.0.13",))
PORTAINER = Place("portainer", "portainer", (9443,))
EVERY = "0.0.0.0"  # noqa: S104  # as ss(8) writes it
DNSMASQ = Listener("resolver", "udp", EVERY, 53, "dnsmasq", unit="dnsmasq.service")
BY_HAND = Container(
    "portainer", "portainer", "portainer/portainer-ce:2.27.0", "", "running", "/data/p"
)
PUBLISHED = Listener(
    "portainer", "tcp", EVERY, 9443, "docker-proxy", "", "portainer", BY_HAND.image
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return minimal().load(tmp_path_factory.mktemp("site"))


# -- what is decided -------------------------------------------------------------------------------


def test_without_a_word_the_host_is_refused_and_each_choice_is_told() -> None:
    verdict = decide([RESOLVER], Residents((DNSMASQ,)), TakingOver(agent="replace"))
    text = "\n".join(verdict.refused)
    assert "dnsmasq.service on port 53: the name server of the site needs its place" in text
    assert "nothing was touched on this host" in text
    for choice, does in WAYS["resolver"].items():
        line = f"taking_over = {{'agent': 'replace', 'resolver': '{choice}'}}"
        assert line in text
        assert does in text
    assert verdict.records == {}


def test_the_line_to_write_is_read_as_the_setting() -> None:
    """Each line that a refusal names is one that the settings take."""
    found = Residents((DNSMASQ, PUBLISHED), (BY_HAND,))
    refused = decide([RESOLVER, PORTAINER], found, TakingOver()).refused
    lines = [line.strip() for line in refused if line.strip().startswith("taking_over = ")]
    assert len(lines) == len(WAYS["resolver"]) + len(WAYS["portainer"])
    for line in lines:
        named: dict[str, object] = {}
        exec(line, named)  # noqa: S102  # as group_data is read
        settings, findings = read({"taking_over": named["taking_over"]})
        assert not findings
        assert settings.taking_over != TakingOver()


def test_every_choice_of_the_setting_is_explained_and_every_kind_may_be_said() -> None:
    for kind, ways in WAYS.items():
        for choice in ways:
            assert TakingOver(**{kind: choice}).of(kind) == choice
        with pytest.raises(ValueError, match=kind):
            TakingOver(**{kind: "destroy"})
    assert set(WAYS) == set(TakingOver.model_fields)
    assert Settings().taking_over == TakingOver()


def test_what_is_replaced_gives_way_by_its_unit() -> None:
    verdict = decide([RESOLVER], Residents((DNSMASQ, DNSMASQ)), TakingOver(resolver="replace"))
    assert verdict.refused == ()
    assert verdict.records == {"resolver": ("unit dnsmasq.service",)}
    (line,) = verdict.does
    assert line.startswith("dnsmasq.service on port 53: it is stopped")


def test_what_is_kept_is_left_alone() -> None:
    verdict = decide([RESOLVER], Residents((DNSMASQ,)), TakingOver(resolver="keep"))
    assert (verdict.refused, verdict.records) == ((), {})
    assert "127.0.0.1, port 5335" in verdict.does[0]


def test_a_portainer_by_hand_is_adopted_with_its_data() -> None:
    found = Residents((PUBLISHED,), (BY_HAND,))
    verdict = decide([PORTAINER], found, TakingOver(portainer="adopt"))
    assert verdict.records == {"portainer": ("container portainer", "data /data/p")}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (
            Residents((Listener("portainer", "tcp", EVERY, 9443, "python3"),)),
            "process python3 on port 9443 belongs to no systemd unit and no container",
        ),
        (
            Residents((Listener("portainer", "tcp", "*", 9443, "caddy", "caddy.service"),)),
            "caddy.service on port 9443 is no Portainer, so it cannot be adopted",
        ),
        (
            Residents((), (BY_HAND, Container("portainer", "old", BY_HAND.image, data="/data/q"))),
            "the containers portainer, old all have data of Portainer",
        ),
    ],
)
def test_what_cannot_give_way_is_refused(found: Residents, why: str) -> None:
    verdict = decide([PORTAINER], found, TakingOver(portainer="adopt"))
    assert why in "\n".join(verdict.refused)
    assert verdict.records == {}


@pytest.mark.parametrize(
    ("listener", "stands"),
    [
        (DNSMASQ, True),
        (Listener("resolver", "tcp", "10.0.0.13", 53, "named", "named.service"), True),
        (Listener("resolver", "udp", "127.0.0.53", 53, "systemd-resolve"), False),
        (Listener("resolver", "udp", "192.168.122.1", 53, "dnsmasq"), False),
        (Listener("resolver", "udp", "10.0.0.13", 53, "dnsmasq", "phoenix-dns.service"), False),
    ],
)
def test_only_who_is_in_the_way_is_told(listener: Listener, stands: bool) -> None:
    assert bool(clashes(RESOLVER, Residents((listener,)))) == stands


def test_phoenix_s_own_is_no_stranger() -> None:
    ours = Container("agent", "portainer_agent", "portainer/agent:2", "phoenix-portainer-agent")
    agent = Place("agent", "portainer-agent", (9001,))
    assert clashes(agent, Residents((), (ours,))) == []


def test_each_place_is_on_the_host_that_takes_it(site: Site) -> None:
    taken = {(host.name, one.kind) for host in site.hosts for one in places(site, host)}
    assert {
        (site.hypervisor.name, "resolver"),
        *((host.name, "agent") for host in site.agents if site.portainer),
        *((host.name, kind) for host, kind in (
            (site.ca, "ca"), (site.traefik, "traefik"), (site.gateway, "nginx"),
            (site.portainer, "portainer"),
        ) if host is not None),
    } == taken  # fmt: skip


def test_a_kept_resolver_has_ours_behind_it_on_the_loopback(site: Site) -> None:
    text = dnsmasq_conf.config(site, records(site), ["9.9.9.9"], behind_another=True)
    lines = text.splitlines()
    assert "listen-address=127.0.0.1" in lines
    assert "port=5335" in lines
    assert str(site.hypervisor.address) not in [line.partition("=")[2] for line in lines]
    assert dnsmasq_conf.server(site, behind_another=True) == ("127.0.0.1", 5335)
    assert dnsmasq_conf.server(site, behind_another=False) == (str(site.hypervisor.address), 53)
    how = "\n".join(dnsmasq_conf.forwarding(site))
    assert f"server=/{site.domain}/127.0.0.1#5335" in how


# -- what a host answers ---------------------------------------------------------------------------


def test_names_that_no_command_may_be_given_are_left_out() -> None:
    line = "listener\tresolver\tudp\t0.0.0.0:53\tx\ta b;rm -rf.service\t../x\timage\t"
    (one,) = parse([line]).listeners
    assert (one.unit, one.container) == ("", "")
    for line in ("listener\tresolver\tudp", "listener\tother\tudp\t*:1\t\t\t\t\t", "what"):
        with pytest.raises(ResidentError, match="unexpected line"):
            parse([line])


SS = """\
udp   UNCONN 0      0            0.0.0.0:53         0.0.0.0:*    users:(("dnsmasq",pid=4242,fd=4))
tcp   LISTEN 0      4096      127.0.0.53%lo:53      0.0.0.0:*    users:(("systemd-resolve",pid=1,fd=5))
tcp   LISTEN 0      4096            [::]:9443          [::]:*    users:(("docker-proxy",pid=77,fd=4))
tcp   LISTEN 0      128          0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=3,fd=3))
"""  # noqa: E501
DOCKER = """#!/bin/sh
case "$1 $2 $3" in
"ps -q --filter") echo f00 ;;
"ps -a --format") echo "portainer portainer/portainer-ce:2.27.0"; echo "web nginx:1"
  echo "old-before-phoenix portainer/portainer-ce:2.27.0" ;;
"inspect -f "*State*) printf 'running\\t/data/p\\n' ;;
"inspect -f "*) printf '/portainer\\tportainer/portainer-ce:2.27.0\\t\\n' ;;
esac
"""


def looking(tmp_path: Path, *words: str, ss: str = SS) -> Residents:
    """The fact's own command, with programs and files of a host below `tmp_path`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "4242").mkdir()
    (tmp_path / "4242/cgroup").write_text("0::/system.slice/dnsmasq.service\n")
    (tmp_path / "ss").write_text(ss)
    for name, text in (("ss", f"#!/bin/sh\ncat {tmp_path}/ss\n"), ("docker", DOCKER)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    line = Standing().command(words).get_raw_value()
    line = line.replace(BASE, f"{tmp_path}/trees").replace("/proc/$2", f"{tmp_path}/$2")
    line = line.replace("[ -S /var/run/docker.sock ]", "true")
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, f"{END} 0"), done
    return Standing().parse(lines[1:-1])


def test_a_host_tells_who_listens_where_and_whose_container_it_is(tmp_path: Path) -> None:
    found = looking(tmp_path, RESOLVER.word, PORTAINER.word)
    assert clashes(RESOLVER, found) == [DNSMASQ]
    (published,) = clashes(PORTAINER, found)
    assert isinstance(published, Listener)
    assert (published.container, published.unit) == ("portainer", "")
    assert found.containers == (BY_HAND,)


def test_a_place_whose_tree_is_there_is_not_looked_at(tmp_path: Path) -> None:
    for tree in ("dns", "portainer"):
        (tmp_path / "trees" / tree / "current").mkdir(parents=True)
    assert looking(tmp_path, RESOLVER.word, PORTAINER.word) == Residents()


def test_a_host_that_has_nothing_answers_with_nothing(tmp_path: Path) -> None:
    assert looking(tmp_path, RESOLVER.word, ss="") == Residents()


# -- how it gives way ------------------------------------------------------------------------------

STATE = """#!/bin/sh
# A systemd and a Docker whose state is files below $STATE.
cd "$STATE" || exit 1
case ${0##*/} in
systemctl)
  verb=$1; shift; while case ${1:-} in -*) true ;; *) false ;; esac; do shift; done; u=${1:-}
  case $verb in
  show) ;;
  is-enabled) [ -e "boot.$u" ] ;;
  is-active) [ -e "run.$u" ] ;;
  enable) : >"boot.$u" ;;
  disable) rm -f "boot.$u" ;;
  start) : >"run.$u" ;;
  stop) [ ! -e "stubborn.$u" ] || exit 1; rm -f "run.$u" ;;
  esac ;;
docker)
  case $1 in
  inspect) for n; do :; done; [ "$n" = -f ] || last=$n
    [ -e "box.$last" ] || exit 1
    case "$*" in *RestartPolicy*) cat "box.$last" ;;
      *Running*) [ -e "up.$last" ] && echo true || echo false ;;
      *project*) echo "$(cat "project.$last" 2>/dev/null)" ;; esac ;;
  update) echo "${2#--restart=}:0" >"box.$3" ;;
  stop) rm -f "up.$2" ;;
  start) : >"up.$2" ;;
  rename) mv "box.$2" "box.$3"; [ ! -e "up.$2" ] || mv "up.$2" "up.$3" ;;
  rm) rm -f "box.$3" "up.$3" ;;
  volume) case $2 in create) mkdir -p "volume.$3" ;;
    inspect) for n; do :; done; [ -d "volume.$n" ] || exit 1; echo "$STATE/volume.$n" ;; esac ;;
  esac ;;
esac
"""


class Hand:
    """A host where what a person had gives way, and comes back."""

    def __init__(self, top: Path) -> None:
        self.state, self.records = top / "state", top / "taken_over"
        (top / "bin").mkdir()
        self.state.mkdir()
        self.records.mkdir()
        for name in ("systemctl", "docker"):
            (top / "bin" / name).write_text(STATE)
            (top / "bin" / name).chmod(0o755)
        self.path = f"{top / 'bin'}:{os.environ['PATH']}"

    def has(self, *names: str) -> None:
        for name in names:
            (self.state / name).write_text("unless-stopped:0\n")

    def now(self) -> set[str]:
        return {path.name for path in self.state.iterdir()}

    def run(self, verb: str, kind: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            GIVE_WAY.argv(verb, self.records, kind, SERVER_VOLUME),
            env={**os.environ, "PATH": self.path, "STATE": str(self.state)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path)


def test_a_unit_gives_way_and_comes_back(hand: Hand) -> None:
    hand.has("run.dnsmasq.service", "boot.dnsmasq.service")
    (hand.records / "resolver").write_text("unit dnsmasq.service\n")
    assert hand.run("stop", "resolver").returncode == 0
    assert hand.now() == set()
    assert (hand.records / "resolver.done").read_text() == "unit dnsmasq.service boot\n"
    again = hand.run("stop", "resolver")
    assert (again.returncode, hand.now()) == (0, set())
    back = hand.run("back", "resolver")
    assert back.returncode == 0, back
    assert hand.now() == {"run.dnsmasq.service", "boot.dnsmasq.service"}
    assert "what was here before runs again" in back.stderr
    assert hand.run("back", "resolver").returncode == 0


def test_a_unit_that_was_not_started_at_boot_is_not_afterwards(hand: Hand) -> None:
    hand.has("run.named.service")
    (hand.records / "resolver").write_text("unit named.service\n")
    assert hand.run("stop", "resolver").returncode == 0
    assert hand.run("back", "resolver").returncode == 0
    assert hand.now() == {"run.named.service"}


def test_what_does_not_stop_leaves_everything_as_it_was(hand: Hand) -> None:
    before = {"run.a.service", "boot.a.service", "run.b.service", "boot.b.service"}
    hand.has(*before, "stubborn.b.service")
    (hand.records / "traefik").write_text("unit a.service\nunit b.service\n")
    assert hand.run("stop", "traefik").returncode == 1
    assert hand.now() - {"stubborn.b.service"} == before
    assert (hand.records / "traefik").exists(), "the next run tries again"


def portainer_by_hand(hand: Hand, data: Path) -> None:
    hand.has("box.portainer", "up.portainer")
    data.mkdir()
    (data / "portainer.db").write_text("theirs")
    (hand.records / "portainer").write_text(f"container portainer\ndata {data}\n")


def test_a_portainer_is_kept_aside_and_its_data_go_into_our_volume(
    hand: Hand, tmp_path: Path
) -> None:
    portainer_by_hand(hand, tmp_path / "data")
    stopped = hand.run("stop", "portainer")
    assert stopped.returncode == 0, stopped
    assert hand.now() == {"box.portainer-before-phoenix", f"volume.{SERVER_VOLUME}"}
    assert (hand.state / "box.portainer-before-phoenix").read_text() == "no:0\n"
    ours = hand.state / f"volume.{SERVER_VOLUME}" / "portainer.db"
    for kept in (
        ours,
        tmp_path / "data/portainer.db",
        hand.records / "portainer-data/portainer.db",
    ):
        assert kept.read_text() == "theirs", kept
    # Ours has begun, migrated its copy, and did not come up.
    ours.write_text("migrated")
    hand.has("box.portainer")
    (hand.state / "project.portainer").write_text("phoenix-portainer")
    back = hand.run("back", "portainer")
    assert back.returncode == 0, back
    assert {"box.portainer", "up.portainer"} <= hand.now()
    assert (hand.state / "box.portainer").read_text() == "unless-stopped:0\n"
    assert (tmp_path / "data/portainer.db").read_text() == "theirs"
    assert not ours.exists(), "the next run copies anew"


def test_data_in_the_volume_of_our_name_are_used_where_they_are_and_put_back(
    hand: Hand,
) -> None:
    data = hand.state / f"volume.{SERVER_VOLUME}"
    portainer_by_hand(hand, data)
    assert hand.run("stop", "portainer").returncode == 0
    assert (data / "portainer.db").read_text() == "theirs"
    (data / "portainer.db").write_text("migrated")
    assert hand.run("back", "portainer").returncode == 0
    assert (data / "portainer.db").read_text() == "theirs"


def test_data_of_two_portainers_are_never_mixed(hand: Hand, tmp_path: Path) -> None:
    portainer_by_hand(hand, tmp_path / "data")
    volume = hand.state / f"volume.{SERVER_VOLUME}"
    volume.mkdir()
    (volume / "portainer.db").write_text("another one's")
    stopped = hand.run("stop", "portainer")
    assert stopped.returncode == 1
    assert "holds the data of another Portainer" in stopped.stderr
    assert {"box.portainer", "up.portainer"} <= hand.now(), "it runs again"
    assert (volume / "portainer.db").read_text() == "another one's"
