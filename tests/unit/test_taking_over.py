"""What a person had: the scripts that find it and move it aside, and what is decided of it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from facts.host_fact import BEGIN, END
from facts.step_ca import CertificateAuthority
from facts.taking_over import ExistingServicesFact
from operations.step_ca import shipped
from operations.taking_over import _RECORD
from phoenix.components.config_tree.tree import BASE
from phoenix.components.dnsmasq import dnsmasq_conf
from phoenix.components.step_ca.authority import CaState, faults
from phoenix.components.taking_over.decision import STOP_EXISTING, WAYS, decide, unfit
from phoenix.components.taking_over.existing_services import (
    Authority,
    Container,
    ExistingServiceError,
    ExistingServices,
    Listener,
    Place,
    clashes,
    parse,
    places,
)
from phoenix.declaration.settings import Settings, TakingOver, read
from phoenix.derived.dns import records
from phoenix.files import text
from phoenix.site.model import Site
from phoenix.site.names import SERVER_VOLUME
from tests.unit.site_builder import minimal
from tests.unit.test_ca_init_script import put_in_store

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
    verdict = decide([RESOLVER], ExistingServices((DNSMASQ,)), TakingOver(agent="replace"))
    text = "\n".join(verdict.refused)
    assert "dnsmasq.service on port 53: the name server of the site takes its place" in text
    assert "nothing was touched on this host" in text
    for choice, effect in WAYS["resolver"].items():
        line = f"taking_over = {{'agent': 'replace', 'resolver': '{choice}'}}"
        assert line in text
        assert effect in text
    assert verdict.records == {}


def test_the_line_to_write_is_read_as_the_setting() -> None:
    """Each line that a refusal names is one that the settings take."""
    existing = ExistingServices((DNSMASQ, PUBLISHED), (BY_HAND,))
    refused = decide([RESOLVER, PORTAINER], existing, TakingOver()).refused
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
    verdict = decide(
        [RESOLVER], ExistingServices((DNSMASQ, DNSMASQ)), TakingOver(resolver="replace")
    )
    assert verdict.refused == ()
    assert verdict.records == {"resolver": ("unit dnsmasq.service",)}
    (line,) = verdict.does
    assert line.startswith("dnsmasq.service on port 53: it is stopped")


def test_systemd_resolved_in_the_resolver_s_place_is_told_and_gives_way() -> None:
    """As Ubuntu has it, with DNSStubListenerExtra= on an address of the host."""
    stub = Listener(
        "resolver", "udp", "127.0.0.53", 53, "systemd-resolve", "systemd-resolved.service"
    )
    extra = replace(stub, address="10.0.0.13")
    assert decide([RESOLVER], ExistingServices((stub,)), TakingOver()).refused == ()
    asked = decide([RESOLVER], ExistingServices((stub, extra)), TakingOver()).refused
    assert asked[0].startswith("systemd-resolved.service on port 53: the name server of the site")
    verdict = decide([RESOLVER], ExistingServices((stub, extra)), TakingOver(resolver="replace"))
    assert verdict.records == {"resolver": ("unit systemd-resolved.service",)}


def test_what_is_kept_is_left_alone() -> None:
    verdict = decide([RESOLVER], ExistingServices((DNSMASQ,)), TakingOver(resolver="keep"))
    assert (verdict.refused, verdict.records) == ((), {})
    assert "127.0.0.1, port 5335" in verdict.does[0]


def test_a_portainer_by_hand_is_adopted_with_its_data() -> None:
    existing = ExistingServices((PUBLISHED,), (BY_HAND,))
    verdict = decide([PORTAINER], existing, TakingOver(portainer="adopt"))
    assert verdict.records == {"portainer": ("container portainer", "data /data/p")}


@pytest.mark.parametrize(
    ("existing", "why"),
    [
        (
            ExistingServices((Listener("portainer", "tcp", EVERY, 9443, "python3"),)),
            "process python3 on port 9443 belongs to no container and no systemd unit",
        ),
        (
            ExistingServices(
                (Listener("portainer", "tcp", "*", 9443, "dockerd", "docker.service"),)
            ),
            "docker.service on port 9443 belongs to no container and no systemd unit that Phoenix",
        ),
        (
            ExistingServices((Listener("portainer", "tcp", "*", 9443, "caddy", "caddy.service"),)),
            "caddy.service on port 9443 is no Portainer, so it cannot be adopted",
        ),
        (
            ExistingServices(
                (), (BY_HAND, Container("portainer", "old", BY_HAND.image, data="/data/q"))
            ),
            "the containers portainer, old all have data of Portainer",
        ),
    ],
)
def test_what_cannot_be_stopped_is_refused(existing: ExistingServices, why: str) -> None:
    verdict = decide([PORTAINER], existing, TakingOver(portainer="adopt"))
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
    assert bool(clashes(RESOLVER, ExistingServices((listener,)))) == stands


def test_phoenix_s_own_is_no_stranger() -> None:
    own_container = Container(
        "agent", "portainer_agent", "portainer/agent:2", "phoenix-portainer-agent"
    )
    agent = Place("agent", "portainer-agent", (9001,))
    assert clashes(agent, ExistingServices((), (own_container,))) == []


def test_each_place_is_on_the_host_that_takes_it(site: Site) -> None:
    by_host = {(host.name, place.kind) for host in site.hosts for place in places(site, host)}
    assert {
        (site.hypervisor.name, "resolver"),
        *((host.name, "agent") for host in site.agents if site.portainer),
        *((host.name, "docker") for host in site.docker_hosts),
        *((service.owner.name, "nginx") for service in site.services if service.kind == "home"),
        *((host.name, kind) for host, kind in (
            (site.ca, "ca"), (site.traefik, "traefik"), (site.gateway, "nginx"),
            (site.portainer, "portainer"),
        ) if host is not None),
    } == by_host  # fmt: skip


def test_a_kept_resolver_has_ours_behind_it_on_the_loopback(site: Site) -> None:
    text = dnsmasq_conf.config(site, records(site), ["9.9.9.9"], behind_another=True)
    lines = text.splitlines()
    assert "listen-address=127.0.0.1" in lines
    assert "port=5335" in lines
    assert str(site.hypervisor.address) not in [line.partition("=")[2] for line in lines]
    assert dnsmasq_conf.server(site.hypervisor, behind_another=True) == ("127.0.0.1", 5335)
    assert dnsmasq_conf.server(site.hypervisor, behind_another=False) == (
        str(site.hypervisor.address),
        53,
    )
    how = "\n".join(dnsmasq_conf.forwarding(site))
    assert f"server=/{site.domain}/127.0.0.1#5335" in how


# -- a CA in another place -------------------------------------------------------------------------

STEP_CA = shipped("init.sh").text
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
PASSWORD = "planted-secret with blank"
CA = Place("ca", "step-ca", (9000,))


def openssl(*words: object, stdin: str = "") -> str:
    return subprocess.run(
        ["openssl", *map(str, words)], input=stdin, capture_output=True, text=True, timeout=30,
        check=True,
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def foreign_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A STEPPATH as `step ca init` leaves it: keys with the first PEM encryption (RFC 1421)."""
    top = tmp_path_factory.mktemp("theirs")
    path = stubs(top)
    subprocess.run(
        ["sh", "-c", STEP_CA, "init", top / ".step", "Person", "thinkheads.ai",
         "10.0.0.0/255.0.0.0", "10"],
        input=f"{PASSWORD}\n", env={**os.environ, "PATH": path}, text=True, check=True, timeout=60,
    )  # fmt: skip
    folder = top / ".step"
    for name in ("intermediate_ca_key", "root_ca_key"):
        key = folder / "secrets" / name
        asked = ("-passin", f"pass:{PASSWORD}", "-passout", f"pass:{PASSWORD}")
        openssl("ec", "-in", key, *asked, "-aes256", "-out", f"{key}.old")
        assert "Proc-Type: 4,ENCRYPTED" in Path(f"{key}.old").read_text()
        Path(f"{key}.old").rename(key)
    (folder / "secrets/password").unlink()
    (folder / "config").mkdir()
    config = {"root": [str(folder / "certs/root_ca.crt")], "federatedRoots": None,
              "crt": str(folder / "certs/intermediate_ca.crt"),
              "key": str(folder / "secrets/intermediate_ca_key"),
              "authority": {"provisioners": [{"key": {"kty": "EC"}}]}}  # fmt: skip
    (folder / "config/ca.json").write_text(json.dumps(config, indent=1))
    return folder


def stubs(top: Path) -> str:
    """The PATH with a user `step`, and with owners that are only noted."""
    programs = top / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("id", "useradd", "chown"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def adopt(
    tmp_path: Path, foreign_ca: Path, password: str = PASSWORD, **other: Path
) -> subprocess.CompletedProcess[str]:
    files = {
        "root": foreign_ca / "certs/root_ca.crt",
        "signer": foreign_ca / "certs/intermediate_ca.crt",
        "key": foreign_ca / "secrets/intermediate_ca_key",
        "root_key": foreign_ca / "secrets/root_ca_key",
    } | other
    script = text("components/taking_over/adopt.sh")
    return subprocess.run(
        ["sh", "-c", script, "adopt", tmp_path / "step-ca", *files.values()],
        input=f"{password}\n", env={**os.environ, "PATH": stubs(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def state_of(folder: Path) -> CaState:
    line = CertificateAuthority().command(str(folder)).get_raw_value()
    output = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    return CertificateAuthority().parse(output.splitlines()[1:-1])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_an_adopted_ca_is_whole_has_the_same_root_and_theirs_stays(
    tmp_path: Path, foreign_ca: Path
) -> None:
    before = contents(foreign_ca)
    done = adopt(tmp_path, foreign_ca)
    assert done.returncode == 0, done
    state = state_of(tmp_path / "step-ca")
    assert faults(state) == []
    assert state.root == (foreign_ca / "certs/root_ca.crt").read_text()
    assert state.modes["secrets/root_ca_key"] == "600"
    key = (tmp_path / "step-ca/secrets/root_ca_key").read_text()
    assert "BEGIN ENCRYPTED PRIVATE KEY" in key, "the form that Phoenix's own keys have"
    assert not (tmp_path / "step-ca/secrets/new").exists()
    assert contents(foreign_ca) == before
    assert PASSWORD not in done.stderr


def refused(tmp_path: Path, done: subprocess.CompletedProcess[str], why: str) -> None:
    assert done.returncode == 3, done
    assert f"nothing was changed: {why}" in done.stderr
    assert not list(tmp_path.glob("step-ca*")), "what was prepared is gone"


def test_a_wrong_password_is_refused(tmp_path: Path, foreign_ca: Path) -> None:
    key = foreign_ca / "secrets/intermediate_ca_key"
    refused(
        tmp_path, adopt(tmp_path, foreign_ca, "another"),
        f"the secret step_ca_password does not open {key}",
    )  # fmt: skip
    refused(tmp_path, adopt(tmp_path, foreign_ca, ""), f"{key} has a password: give it")


def test_a_root_that_does_not_fit_is_refused(
    tmp_path: Path, foreign_ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The machine of the CA trusts its root already.
    store = put_in_store(foreign_ca / "certs/root_ca.crt", tmp_path / "store")
    monkeypatch.setenv("SSL_CERT_DIR", store)
    other = tmp_path / "other.pem"
    openssl(
        "req", "-x509", *NEW_KEY, "-keyout", tmp_path / "other.key",
        "-out", other, "-subj", "/CN=Another", "-days", "9",
    )  # fmt: skip
    refused(
        tmp_path,
        adopt(tmp_path, foreign_ca, root=other),
        f"{foreign_ca}/certs/intermediate_ca.crt is not signed by",
    )
    refused(
        tmp_path,
        adopt(tmp_path, foreign_ca, key=tmp_path / "other.key"),
        f"{tmp_path}/other.key is not the key of",
    )


def test_a_root_key_that_does_not_fit_stays_where_it_is(tmp_path: Path, foreign_ca: Path) -> None:
    key = tmp_path / "root.key"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    done = adopt(tmp_path, foreign_ca, root_key=key)
    assert done.returncode == 0
    assert f"the key of the root stays in {key} alone" in done.stderr
    state = state_of(tmp_path / "step-ca")
    assert faults(state) == []
    assert "secrets/root_ca_key" not in state.modes, "as a root's key that is offline"


def test_keys_without_a_password_get_one(tmp_path: Path, foreign_ca: Path) -> None:
    key = tmp_path / "plain.key"
    openssl(
        "ec",
        "-in",
        foreign_ca / "secrets/intermediate_ca_key",
        "-passin",
        f"pass:{PASSWORD}",
        "-out",
        key,
    )
    done = adopt(tmp_path, foreign_ca, "", key=key)
    assert done.returncode == 0, done
    assert faults(state_of(tmp_path / "step-ca")) == []
    assert "ENCRYPTED" in (tmp_path / "step-ca/secrets/intermediate_ca_key").read_text()


def test_a_ca_that_is_there_is_never_overwritten(tmp_path: Path, foreign_ca: Path) -> None:
    (tmp_path / "step-ca").mkdir()
    done = adopt(tmp_path, foreign_ca)
    assert done.returncode == 3
    assert "step-ca exists already" in done.stderr
    assert list((tmp_path / "step-ca").iterdir()) == []


def authority_of(foreign_ca: Path, **other: object) -> Authority:
    authority = Authority(
        str(foreign_ca), str(foreign_ca / "certs/root_ca.crt"),
        str(foreign_ca / "certs/intermediate_ca.crt"),
        str(foreign_ca / "secrets/intermediate_ca_key"), str(foreign_ca / "secrets/root_ca_key"),
        root=(foreign_ca / "certs/root_ca.crt").read_text(),
        signer=(foreign_ca / "certs/intermediate_ca.crt").read_text(),
    )  # fmt: skip
    return replace(authority, **other)  # type: ignore[arg-type]


def test_a_host_tells_of_a_ca_and_of_the_unit_that_runs_it(
    tmp_path: Path, foreign_ca: Path
) -> None:
    process = tmp_path / "proc/512"
    process.mkdir(parents=True)
    (process / "comm").write_text("step-ca\n")
    (process / "cmdline").write_text(f"/usr/bin/step-ca\0{foreign_ca}/config/ca.json\0")
    (tmp_path / "512").mkdir()
    (tmp_path / "512/cgroup").write_text("0::/system.slice/step-ca.service\n")
    (authority,) = looking(tmp_path, CA.word, ss="").authorities
    assert authority == authority_of(foreign_ca, unit="step-ca.service", runs=True)


def test_without_a_word_a_ca_is_told_and_nothing_is_done(foreign_ca: Path) -> None:
    verdict = decide([CA], ExistingServices(authorities=(authority_of(foreign_ca),)), TakingOver())
    reasons = "\n".join(verdict.refused)
    assert f"the CA in {foreign_ca}: Phoenix's CA takes its place" in reasons
    for choice in ("adopt", "keep", "replace"):
        assert f"taking_over = {{'ca': '{choice}'}}" in reasons


def test_an_adopted_ca_stops_by_its_unit_and_a_kept_one_does_not(foreign_ca: Path) -> None:
    existing = ExistingServices(
        authorities=(authority_of(foreign_ca, unit="step-ca.service", runs=True),)
    )
    verdict = decide([CA], existing, TakingOver(ca="adopt"))
    assert (verdict.refused, verdict.records) == ((), {"ca": ("unit step-ca.service",)})
    verdict = decide([CA], existing, TakingOver(ca="keep"))
    assert (verdict.refused, verdict.records) == ((), {})
    still = ExistingServices(authorities=(authority_of(foreign_ca),))
    verdict = decide([CA], still, TakingOver(ca="adopt"))
    assert (verdict.refused, verdict.records) == ((), {})


@pytest.mark.parametrize(
    ("choice", "changed", "listeners", "why"),
    [
        ("adopt", {"key": "yubikey:slot-id=9c"}, (), "has its key in yubikey:slot-id=9c"),
        ("adopt", {"runs": True}, (), "belongs to no container and no systemd unit"),
        ("replace", {"directory": "/etc/step-ca"}, (), "mv /etc/step-ca /root/.step"),
        ("adopt", {}, ("web.service",), "web.service on port 9000 is not the CA in"),
        ("keep", {}, ("web.service",), "web.service on port 9000 cannot be kept"),
    ],
)
def test_a_ca_that_cannot_become_what_was_said_is_refused(
    foreign_ca: Path, choice: str, changed: dict[str, object], listeners: tuple[str, ...], why: str
) -> None:
    existing = ExistingServices(
        tuple(Listener("ca", "tcp", "*", 9000, "x", unit) for unit in listeners),
        authorities=(authority_of(foreign_ca, **changed),),
    )
    verdict = decide([CA], existing, TakingOver.model_validate({"ca": choice}))
    assert why in "\n".join(verdict.refused)
    assert verdict.records == {}


def test_one_ca_alone_can_be_adopted(foreign_ca: Path) -> None:
    two = (authority_of(foreign_ca), authority_of(foreign_ca, directory="/etc/step"))
    for authorities, why in ((two, "several CAs are in"), ((), "no CA is in /root/.step")):
        listening = (Listener("ca", "tcp", "*", 9000, "x", "x.service"),)
        existing = ExistingServices(listening, authorities=authorities)
        refused = decide([CA], existing, TakingOver(ca="adopt")).refused
        assert why in "\n".join(refused)


def test_a_root_that_may_not_vouch_for_the_site_is_told_before(
    tmp_path: Path, site: Site, foreign_ca: Path
) -> None:
    assert unfit(site, authority_of(foreign_ca)) == ""
    path = stubs(tmp_path)
    subprocess.run(
        ["sh", "-c", STEP_CA, "init", tmp_path / "ca", "Person", "example.net",
         "192.0.2.0/255.255.255.0", "10"],
        input="x\n", env={**os.environ, "PATH": path}, text=True, check=True, timeout=60,
    )  # fmt: skip
    narrow = authority_of(tmp_path / "ca")
    assert f"does not vouch for {site.domain} and" in unfit(site, narrow)
    leaf = authority_of(foreign_ca, signer=leaf_certificate(tmp_path))
    assert "its intermediate certificate 'Leaf' is none of a CA" in unfit(site, leaf)
    assert "cannot be read" in unfit(site, authority_of(foreign_ca, root="junk"))
    verdict = decide(
        [CA], ExistingServices(authorities=(narrow,)), TakingOver(ca="adopt"), partial(unfit, site)
    )
    assert "cannot be adopted: its root certificate does not vouch for" in verdict.refused[0]


def leaf_certificate(tmp_path: Path) -> str:
    return openssl(
        "req", "-x509", *NEW_KEY, "-keyout", tmp_path / "leaf.key",
        "-subj", "/CN=Leaf", "-days", "9", "-addext", "basicConstraints=critical,CA:FALSE",
    )  # fmt: skip


# -- what a host answers ---------------------------------------------------------------------------


def test_names_that_no_command_may_be_given_are_left_out() -> None:
    line = "listener\tresolver\tudp\t0.0.0.0:53\tx\ta b;rm -rf.service\t../x\timage\t"
    (listener,) = parse([line]).listeners
    assert (listener.unit, listener.container) == ("", "")
    for line in ("listener\tresolver\tudp", "listener\tother\tudp\t*:1\t\t\t\t\t", "what"):
        with pytest.raises(ExistingServiceError, match="unexpected answer of the host"):
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


def looking(tmp_path: Path, *words: str, ss: str = SS) -> ExistingServices:
    """The fact's own command, with programs and files of a host below `tmp_path`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "4242").mkdir()
    lab = "a" * 64  # as in a container that is itself a machine, with several hierarchies
    hierarchies = (
        f"7:blkio:/docker/{lab}\n9:name=systemd:/docker/{lab}/system.slice/dnsmasq.service\n"
    )
    (tmp_path / "4242/cgroup").write_text(f"{hierarchies}1:cpu:/docker/{lab}\n0::/\n")
    (tmp_path / "ss").write_text(ss)
    for name, program in (("ss", f"#!/bin/sh\ncat {tmp_path}/ss\n"), ("docker", DOCKER)):
        (programs / name).write_text(program)
        (programs / name).chmod(0o755)
    line = ExistingServicesFact().command(words).get_raw_value()
    line = line.replace(BASE, f"{tmp_path}/trees").replace("/proc/$2", f"{tmp_path}/$2")
    line = line.replace("/proc/[0-9]*", f"{tmp_path}/proc/[0-9]*")
    line = line.replace("/root/.step /etc/step ", "").replace("/etc/traefik", f"{tmp_path}/traefik")
    line = line.replace("[ -S /var/run/docker.sock ]", "true")
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, f"{END} 0"), done
    return ExistingServicesFact().parse(lines[1:-1])


def test_a_host_tells_who_listens_where_and_whose_container_it_is(tmp_path: Path) -> None:
    leftovers = looking(tmp_path, RESOLVER.word, PORTAINER.word)
    assert clashes(RESOLVER, leftovers) == [DNSMASQ]
    (published,) = clashes(PORTAINER, leftovers)
    assert isinstance(published, Listener)
    assert (published.container, published.unit) == ("portainer", "")
    assert leftovers.containers == (BY_HAND,)


def test_a_name_that_a_user_chose_is_no_unit_and_no_command(tmp_path: Path) -> None:
    """Of a user's own systemd, and of a process whose name is written to break the answer."""
    (tmp_path / "77").mkdir()
    slices = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service\n"
    (tmp_path / "77/cgroup").write_text(slices)
    process = tmp_path / "proc/513"
    process.mkdir(parents=True)
    (process / "comm").write_text("step-ca\n")
    folder = f"/tmp/a#e\t$(touch {tmp_path}/ran)"
    (process / "cmdline").write_text(f"step-ca\0{folder}/config/ca.json\0")
    ss = 'tcp LISTEN 0 1 *:9000 *:* users:(("x\ty",pid=77,fd=4))\n'
    leftovers = looking(tmp_path, CA.word, ss=ss)
    (listener,) = leftovers.listeners
    assert listener.unit == ""
    assert "\t" not in listener.process
    assert leftovers.authorities == ()
    assert not (tmp_path / "ran").exists()


def test_a_socket_tells_its_unit_where_root_may_not_see_its_process(tmp_path: Path) -> None:
    """As in a container of Docker's without CAP_SYS_PTRACE: ss(8) names no process."""
    group = f"cgroup:/docker/{'b' * 64}/system.slice/unbound.service"
    ss = f"udp UNCONN 0 0 10.0.0.13:53 0.0.0.0:*      {group}   \n"
    (listener,) = clashes(RESOLVER, looking(tmp_path, RESOLVER.word, ss=ss))
    assert isinstance(listener, Listener)
    assert (listener.unit, listener.process) == ("unbound.service", "")


def test_routes_of_a_person_s_traefik_are_told_by_name_and_url_alone(tmp_path: Path) -> None:
    folder = tmp_path / "traefik"
    (folder / "dynamic").mkdir(parents=True)
    (folder / "traefik.yml").write_text("log: {}\n")
    (folder / "wiki.toml").write_text(
        'rule = "Host(`wiki.example`) || Host(`w.example`)"\n# Host(`old.example`)\n'
        'url = "http://me:planted-5ecret@10.0.0.9:80/path"\n'
        'url = "https://10.0.0.9:8443/path?key=planted-5ecret"\n'
    )
    (folder / "dynamic/tls.yaml").write_text("tls: {options: {default: {}}}\n")
    place = Place("traefik", "traefik", (80, 443))
    leftovers = looking(tmp_path, place.word, ss="")
    by_name = {Path(route.path).name: route for route in leftovers.routes}
    assert by_name.keys() == {"wiki.toml", "tls.yaml"}
    assert by_name["wiki.toml"].names == ("w.example", "wiki.example")
    assert "https://10.0.0.9:8443" in by_name["wiki.toml"].urls
    assert "planted" not in str(leftovers)
    refused = "\n".join(decide([place], leftovers, TakingOver()).refused)
    assert "wiki.toml, routes of Traefik for w.example, wiki.example to http" in refused
    assert "Declare what it leads to as external_services" in refused
    verdict = decide([place], leftovers, TakingOver(traefik="replace"))
    assert verdict.refused == ()
    assert verdict.records == {"traefik": (f"file {folder}/dynamic/tls.yaml",)}
    odd = ExistingServices(
        routes=(replace(by_name["tls.yaml"], path="/etc/traefik/dynamic/a b.yml"),)
    )
    assert "rename it" in decide([place], odd, TakingOver(traefik="replace")).refused[0]


def test_a_place_whose_tree_is_there_is_not_looked_at(tmp_path: Path) -> None:
    for tree in ("dns", "portainer"):
        (tmp_path / "trees" / tree / "current").mkdir(parents=True)
    assert looking(tmp_path, RESOLVER.word, PORTAINER.word) == ExistingServices()


def test_a_host_that_has_nothing_answers_with_nothing(tmp_path: Path) -> None:
    assert looking(tmp_path, RESOLVER.word, ss="") == ExistingServices()


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

    def place_marks(self, *names: str) -> None:
        for name in names:
            (self.state / name).write_text("unless-stopped:0\n")

    def now(self) -> set[str]:
        return {path.name for path in self.state.iterdir()}

    def run(self, verb: str, kind: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            STOP_EXISTING.argv(verb, self.records, kind, SERVER_VOLUME),
            env={**os.environ, "PATH": self.path, "STATE": str(self.state)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path)


def test_a_unit_gives_way_and_comes_back(hand: Hand) -> None:
    hand.place_marks("run.dnsmasq.service", "boot.dnsmasq.service")
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
    hand.place_marks("run.named.service")
    (hand.records / "resolver").write_text("unit named.service\n")
    assert hand.run("stop", "resolver").returncode == 0
    assert hand.run("back", "resolver").returncode == 0
    assert hand.now() == {"run.named.service"}


def test_what_does_not_stop_leaves_everything_as_it_was(hand: Hand) -> None:
    before = {"run.a.service", "boot.a.service", "run.b.service", "boot.b.service"}
    hand.place_marks(*before, "stubborn.b.service")
    (hand.records / "traefik").write_text("unit a.service\nunit b.service\n")
    assert hand.run("stop", "traefik").returncode == 1
    assert hand.now() - {"stubborn.b.service"} == before
    assert (hand.records / "traefik").exists(), "the next run tries again"


def test_a_run_that_was_killed_half_way_is_finished_by_the_next_one(
    hand: Hand, tmp_path: Path
) -> None:
    """All but the end was done, the record is there still; and what was theirs is still known."""
    portainer_by_hand(hand, tmp_path / "data")
    routes = tmp_path / "theirs.yml"
    routes.write_text("http: {}")
    record = hand.records / "portainer"
    record.write_text(f"file {routes}\nunit a.service\n{record.read_text()}")
    lines = record.read_text()
    hand.place_marks("run.a.service", "boot.a.service")
    assert hand.run("stop", "portainer").returncode == 0
    done = (hand.records / "portainer.done").read_text()
    record.write_text(lines)
    own_data = hand.state / f"volume.{SERVER_VOLUME}" / "portainer.db"
    own_data.write_text("half a copy")
    again = hand.run("stop", "portainer")
    assert again.returncode == 0, again
    assert own_data.read_text() == "theirs"
    assert (hand.records / "portainer.done").read_text() == done
    assert not routes.exists()
    assert hand.run("back", "portainer").returncode == 0
    assert {"box.portainer", "up.portainer", "run.a.service", "boot.a.service"} <= hand.now()
    assert (hand.state / "box.portainer").read_text() == "unless-stopped:0\n"
    assert routes.read_text() == "http: {}"


def test_a_container_whose_new_name_is_taken_is_not_stopped(hand: Hand) -> None:
    """One of an earlier stay has it: it was stopped, and the one that ran did not run again."""
    hand.place_marks("box.web", "up.web", "box.web-before-phoenix")
    (hand.records / "traefik").write_text("container web\n")
    stopped = hand.run("stop", "traefik")
    assert stopped.returncode == 1
    assert "a container web-before-phoenix already" in stopped.stderr
    assert hand.now() == {"box.web", "up.web", "box.web-before-phoenix"}
    assert (hand.state / "box.web").read_text() == "unless-stopped:0\n"


def test_what_gave_way_earlier_is_not_mixed_with_what_gives_way_now(tmp_path: Path) -> None:
    def record(line: str) -> None:
        script = _RECORD.line(tmp_path, "traefik").replace("/var/lib/phoenix", str(tmp_path))
        subprocess.run(["sh", "-c", script], input=line, text=True, check=True, timeout=30)

    record("unit a.service\n")
    (tmp_path / "traefik.done").write_text("unit a.service boot\n")
    record("unit b.service\n")
    assert (tmp_path / "traefik.done").exists(), "the run of `a` was killed"
    (tmp_path / "traefik").unlink()
    record("unit b.service\n")
    assert (tmp_path / "traefik.done.earlier").read_text() == "unit a.service boot\n"
    assert not (tmp_path / "traefik.done").exists()


def portainer_by_hand(hand: Hand, data: Path) -> None:
    hand.place_marks("box.portainer", "up.portainer")
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
    own_data = hand.state / f"volume.{SERVER_VOLUME}" / "portainer.db"
    for copied in (
        own_data,
        tmp_path / "data/portainer.db",
        hand.records / "portainer-data/portainer.db",
    ):
        assert copied.read_text() == "theirs", copied
    # Ours has begun, migrated its copy, and did not come up.
    own_data.write_text("migrated")
    hand.place_marks("box.portainer")
    (hand.state / "project.portainer").write_text("phoenix-portainer")
    back = hand.run("back", "portainer")
    assert back.returncode == 0, back
    assert {"box.portainer", "up.portainer"} <= hand.now()
    assert (hand.state / "box.portainer").read_text() == "unless-stopped:0\n"
    assert (tmp_path / "data/portainer.db").read_text() == "theirs"
    assert not own_data.exists(), "the next run copies anew"


def test_data_that_a_full_disk_does_not_take_leave_no_half_copy(hand: Hand, tmp_path: Path) -> None:
    portainer_by_hand(hand, tmp_path / "data")
    full = tmp_path / "bin/cp"
    full.write_text("#!/bin/sh\nfor to; do :; done; mkdir -p $to; echo half >$to/x; exit 1\n")
    full.chmod(0o755)
    assert hand.run("stop", "portainer").returncode == 1
    assert {"box.portainer", "up.portainer"} <= hand.now(), "it runs again"
    assert sorted(path.name for path in hand.records.iterdir()) == ["portainer"]


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
