"""Each stack has a pair of its own and reaches no other's: what is derived, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from phoenix.components import stack as deployment
from phoenix.components.acme import phoenix_acme_conf as acme
from phoenix.components.traefik.traefik_yml import dynamic_config
from phoenix.derived import dns
from phoenix.derived.certificates import HostCertificate, certificates
from phoenix.site.model import Site
from phoenix.site.names import has_policy
from phoenix.validation.project import missing_roles
from tests.unit.site_builder import Declaration, minimal, problem, stack, vm

ZONE = "internal.thinkheads.ai"
COMPOSE = "stacks/shop/docker-compose.yml"
MANIFEST = "stacks/shop/phoenix.json"
OWN = "/etc/phoenix/stacks/shop-production/tls"


def web(declared: Declaration, **keys: Any) -> Declaration:
    """The minimal site, with more in the compose service of its stack."""
    declared.stacks["shop"][1]["services"]["web"].update(keys)
    return declared


def environment(declared: Declaration, **keys: Any) -> Declaration:
    declared.stacks["shop"][0]["environments"]["production"].update(keys)
    return declared


def two_stacks() -> Declaration:
    declared = minimal()
    declared.stacks["wiki"] = stack("wiki", 8100)
    declared.vm["vms"][1]["docker_stacks"].append("wiki")
    return declared


def of_stacks(site: Site) -> dict[str, HostCertificate]:
    return {
        certificate.project: certificate
        for certificate in certificates(site)
        if certificate.project
    }


# -- what is derived -------------------------------------------------------------------------------


def test_each_stack_has_a_pair_for_its_own_names_alone(tmp_path: Path) -> None:
    site = two_stacks().load(tmp_path)
    pairs = of_stacks(site)
    assert {project: pair.sans for project, pair in pairs.items()} == {
        "shop-production": (f"shop.stack.{ZONE}",),
        "wiki-production": (f"wiki.stack.{ZONE}",),
    }
    directories = {pair.directory for pair in pairs.values()}
    assert directories == {OWN, OWN.replace("shop", "wiki")}
    names = [name for certificate in certificates(site) for name in certificate.sans]
    assert len(names) == len(set(names)), "whoever has one key can pass for another"
    assert all(has_policy(name, ZONE) for name in names), "the CA would refuse it"
    leads = {record.name: str(record.address) for record in dns.records(site)}
    assert leads[f"shop.stack.{ZONE}"] == "10.0.0.24", "the CA asks the Docker host itself"


def test_traefik_verifies_each_backend_by_its_own_name(tmp_path: Path) -> None:
    loaded = yaml.safe_load(dynamic_config(two_stacks().load(tmp_path))[0])
    verified = {
        name: transport["serverName"]
        for name, transport in loaded["http"]["serversTransports"].items()
    }
    assert (verified["shop"], verified["wiki"]) == (f"shop.stack.{ZONE}", f"wiki.stack.{ZONE}")
    assert len(set(verified.values())) == len(verified), verified


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_pair_comes_with_https(tmp_path: Path, scheme: str) -> None:
    declared = minimal()
    route = declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    route["traefik_service"]["scheme"] = scheme
    assert bool(of_stacks(declared.load(tmp_path))) is (scheme == "https")


def test_a_stack_without_a_service_is_named_by_itself(tmp_path: Path) -> None:
    declared = minimal()
    declared.stacks["pg_db"] = (
        {"environments": {"production": {"tls": {"uid": 999, "gid": 999, "mode": "0440"}}}},
        {"services": {"db": {"image": "postgres:17.1", "ports": ["5432:5432"],
                             "volumes": ["${PHOENIX_TLS_DIR}:/tls:ro"]}}},
    )  # fmt: skip
    declared.vm["vms"][1]["docker_stacks"].append("pg_db")
    site = declared.load(tmp_path)
    pair = of_stacks(site)["pg_db-production"]
    assert pair.sans == (f"pg-db-production.stack.{ZONE}",)
    text = acme.configuration(
        pair, directory="https://ca/acme/acme/directory", root="/r", proof=SecretStr("0" * 64)
    )
    assert "PLACE=/etc/phoenix/stacks/pg_db-production/tls\n" in text
    assert "KEY_OWNER=999\nKEY_GROUP=999\nKEY_MODE=0440\n" in text
    assert f"pg-db-production.stack.{ZONE}" in {record.name for record in dns.records(site)}


def test_https_without_the_pair_in_a_container_is_warned_of(tmp_path: Path) -> None:
    """As `phoenix add stack --image` writes it: Traefik would verify a certificate of nobody."""
    (warning,) = missing_roles(minimal().load(tmp_path / "https"))
    assert (warning.file, warning.path, warning.severity) == (
        MANIFEST, "environments.production.services.web.traefik_service", "warning",
    )  # fmt: skip
    assert f"no container of the stack has the certificate of shop.stack.{ZONE}" in warning.message
    assert 'mount "${PHOENIX_TLS_DIR}:/tls:ro"' in warning.fix
    assert 'write "scheme": "http"' in warning.fix


@pytest.mark.parametrize("reason", ["the pair is mounted", "http", "access to the host"])
def test_a_stack_that_needs_no_pair_or_has_it_is_not_warned_of(tmp_path: Path, reason: str) -> None:
    declared = minimal()
    if reason == "the pair is mounted":
        web(declared, volumes=["${PHOENIX_TLS_DIR}:/tls:ro"])
    elif reason == "http":
        route = declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]
        route["traefik_service"]["scheme"] = "http"
    else:
        environment(declared, host_access=True)
    assert missing_roles(declared.load(tmp_path)) == ()


def test_a_renewal_reaches_the_containers_of_its_stack_alone(tmp_path: Path) -> None:
    pair = of_stacks(two_stacks().load(tmp_path))["shop-production"]
    command = acme.containers_take(pair)
    assert "\n" not in command, "a line of the configuration"
    assert "project=shop-production;" in command
    assert "com.docker.compose.project=$project" in command
    assert "wiki" not in command


def test_phoenix_gives_the_directory_where_the_compose_file_asks(tmp_path: Path) -> None:
    declared = web(minimal(), volumes=["${PHOENIX_TLS_DIR}:/tls:ro"])
    (only,) = declared.load(tmp_path / "asks").host("worker").docker_stacks
    assert [(v.name, v.value) for v in only.variables] == [("PHOENIX_TLS_DIR", OWN)]
    (silent,) = minimal().load(tmp_path / "silent").host("worker").docker_stacks
    assert silent.variables == (), "a stack that does not ask is not deployed anew"


# -- what is refused -------------------------------------------------------------------------------

WRONG_MOUNTS = {
    "the host's pairs": "/etc/phoenix/tls:/tls:ro",
    "one of them": "/etc/phoenix/tls/host:/tls:ro",
    "another way to them": "/var/../etc//phoenix/./tls:/tls:ro",
    "all of Phoenix": "/etc/phoenix:/p:ro",
    "another stack's": "/etc/phoenix/stacks/wiki-production/tls:/tls:ro",
    "all stacks": "/etc/phoenix/stacks:/s:ro",
    "what begins like its own": "/etc/phoenix/stacks/shop-production-2:/s:ro",
    "compose files with secrets": "/etc/phoenix/compose:/c:ro",
    "the disk": "/:/host:ro",
    "its configuration": "/etc:/host:ro",
    "Docker's directory": "/var/lib/docker:/d:ro",
    "another's volume": "/var/lib/docker/volumes/x/_data:/d",
    "the ACME account": "/var/lib/phoenix-acme:/a",
    "root's keys": "/root/.ssh:/k:ro",
    "the host's SSH keys": "/etc/ssh:/k:ro",
    "its own, to write to": f"{OWN}:/tls",
    "its own, to write to by a word": f"{OWN}:/tls:rw",
}


@pytest.mark.parametrize("mount", WRONG_MOUNTS.values(), ids=WRONG_MOUNTS)
def test_a_mount_of_other_keys_is_refused(tmp_path: Path, mount: str) -> None:
    findings = web(minimal(), volumes=["data:/data", mount]).refused(tmp_path / "short")
    finding = problem(findings, COMPOSE, "services.web.volumes[1]")
    assert finding.severity == "error"
    assert finding.fix
    source, target, *mode = mount.split(":")
    entry = {"type": "bind", "source": source, "target": target, "read_only": mode == ["ro"]}
    findings = web(minimal(), volumes=[entry]).refused(tmp_path / "long")
    problem(findings, COMPOSE, "services.web.volumes[0]")


def test_the_fix_of_the_old_mount_says_what_to_write(tmp_path: Path) -> None:
    """What a site of an earlier release has: the variable, with the host's directory."""
    declared = web(minimal(), volumes=["${PHOENIX_TLS_DIR}:/tls:ro"])
    environment(declared, variables=[{"name": "PHOENIX_TLS_DIR", "value": "/etc/phoenix/tls"}])
    finding = problem(declared.refused(tmp_path), COMPOSE, "services.web.volumes[0]")
    assert "'/etc/phoenix/tls' has the host's own key" in finding.message
    assert "remove the variable PHOENIX_TLS_DIR from its phoenix.json" in finding.fix
    environment(declared, variables=[])
    declared.load(tmp_path)


@pytest.mark.parametrize(
    ("top", "path"),
    [
        ({"volumes": {"x": {"driver_opts": {"type": "none", "o": "bind",
                                            "device": "/etc/phoenix/tls"}}}},
         "volumes.x.driver_opts.device"),
        ({"secrets": {"k": {"file": "/etc/phoenix/tls/host/privkey.pem"}}}, "secrets.k.file"),
        ({"configs": {"k": {"file": "/etc/ssh/ssh_host_ed25519_key"}}}, "configs.k.file"),
    ],
)  # fmt: skip
def test_every_other_way_to_a_file_of_the_host_is_refused(
    tmp_path: Path, top: dict[str, Any], path: str
) -> None:
    declared = minimal()
    declared.stacks["shop"][1].update(top)
    problem(declared.refused(tmp_path), COMPOSE, path)


DISKS = ("/dev/sda", "/dev/vda1", "/dev/nvme0n1p2", "/dev/dm-0", "/dev/mapper/pve-root", "/dev/mem",
         "/dev/disk/by-label/root", "/dev/block/8:0", "/dev/../dev//sda", "/dev")  # fmt: skip


@pytest.mark.parametrize("disk", DISKS)
def test_the_host_s_disk_is_no_way_to_its_keys(tmp_path: Path, disk: str) -> None:
    """A container reads a device that it is given, whatever files lie on it."""
    for keys in ({"devices": [f"{disk}:/dev/x"]}, {"devices": [{"source": disk, "target": "/x"}]}):
        findings = web(minimal(), **keys).refused(tmp_path / "no")
        problem(findings, COMPOSE, "services.web.devices[0]")
        declared = environment(web(minimal(), **keys), host_access=True)
        assert declared.load(tmp_path / "wanted").warnings == ()
    declared = minimal()
    options = {"type": "ext4", "device": disk}
    declared.stacks["shop"][1]["volumes"] = {"x": {"driver_opts": options}}
    problem(declared.refused(tmp_path / "volume"), COMPOSE, "volumes.x.driver_opts.device")


@pytest.mark.parametrize("device", ["/dev/dri", "/dev/net/tun", "/dev/nvidia0", "/dev/ttyUSB0"])
def test_other_devices_are_given(tmp_path: Path, device: str) -> None:
    assert web(minimal(), devices=[device]).load(tmp_path).warnings == ()


@pytest.mark.parametrize("rule", ["b 8:0 rwm", "a *:* rwm", "b *:* r"])
def test_a_device_that_a_container_makes_itself_is_none_either(tmp_path: Path, rule: str) -> None:
    """CAP_MKNOD is one of Docker's defaults."""
    path = "services.web.device_cgroup_rules[0]"
    findings = web(minimal(), device_cgroup_rules=[rule]).refused(tmp_path / "no")
    problem(findings, COMPOSE, path)
    assert web(minimal(), device_cgroup_rules=["c 189:* rwm"]).load(tmp_path / "usb")


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"type": "overlay", "device": "overlay",
          "o": "lowerdir=/etc/phoenix:/srv/a,upperdir=/srv/u,workdir=/srv/w"}, "o"),
        ({"type": "overlay", "device": "x", "o": "ro,lowerdir=/srv/a:/root/.ssh"}, "o"),
        ({"type": "proc", "device": "proc"}, "type"),
        ({"type": "sysfs", "device": "sysfs"}, "type"),
        ({"type": "${KIND}", "device": "cgroup2"}, "type"),
    ],
)  # fmt: skip
def test_no_volume_is_made_of_what_is_the_host_s(
    tmp_path: Path, options: dict[str, str], path: str
) -> None:
    declared = environment(minimal(), variables=[{"name": "KIND", "value": "devtmpfs"}])
    declared.stacks["shop"][1]["volumes"] = {"x": {"driver_opts": options}}
    problem(declared.refused(tmp_path), COMPOSE, f"volumes.x.driver_opts.{path}")


def test_a_volume_of_another_machine_is_no_way_to_the_host(tmp_path: Path) -> None:
    declared = web(minimal(), volumes=["shop:/x"])
    options = {"type": "nfs", "o": "addr=10.0.0.7,rw,nolock", "device": ":/srv/shop"}
    declared.stacks["shop"][1]["volumes"] = {"shop": {"driver_opts": options}}
    assert declared.load(tmp_path).warnings == ()


def networked(**network: Any) -> Declaration:
    declared = web(minimal(), networks=["lan", "default"])
    declared.stacks["shop"][1]["networks"] = {"lan": network}
    return declared


BRIDGE = "com.docker.network.bridge.name"


@pytest.mark.parametrize(
    ("network", "path"),
    [
        ({"driver": "macvlan", "driver_opts": {"parent": "eth0"}}, "driver"),
        ({"driver": "ipvlan"}, "driver"),
        ({"driver": "${DRIVER}"}, "driver"),
        ({"driver_opts": {BRIDGE: "shop0"}}, f"driver_opts.{BRIDGE}"),
    ],
)
def test_a_network_that_passes_the_guard_is_refused(
    tmp_path: Path, network: dict[str, Any], path: str
) -> None:
    """Its containers are no containers to the host's rules: machines of the segment, or unknown."""
    named = "DRIVER" in str(network)
    variables = [{"name": "DRIVER", "value": "ipvlan"}] if named else []
    declared = environment(networked(**network), variables=variables)
    finding = problem(declared.refused(tmp_path / "no"), COMPOSE, f"networks.lan.{path}")
    assert "host_access" in finding.fix
    environment(declared, host_access=True)
    assert declared.load(tmp_path / "wanted").warnings == ()


@pytest.mark.parametrize(
    ("network", "path"),
    [({"driver": "host"}, ""), ({"external": True, "name": "host"}, ""),
     ({"driver": "weave"}, ".driver")],
)  # fmt: skip
def test_a_network_that_may_pass_it_is_warned_of(
    tmp_path: Path, network: dict[str, Any], path: str
) -> None:
    warned = networked(**network).load(tmp_path).warnings
    assert [(warning.file, warning.path) for warning in warned] == [
        (COMPOSE, f"networks.lan{path}")
    ]


@pytest.mark.parametrize(
    "network",
    [{}, {"driver": "bridge"}, {"driver_opts": {BRIDGE: "br-shop"}}, {"external": True},
     {"driver": "bridge", "internal": True, "ipam": {"config": [{"subnet": "172.30.0.0/24"}]}}],
)  # fmt: skip
def test_a_network_whose_bridge_the_guard_knows_is_well(
    tmp_path: Path, network: dict[str, Any]
) -> None:
    assert networked(**network).load(tmp_path).warnings == ()


@pytest.mark.parametrize("key", ["devices", "cap_add", "security_opt", "post_start", "pre_stop",
                                 "volumes_from", "device_cgroup_rules"])  # fmt: skip
def test_a_scalar_in_the_place_of_a_list_is_told(tmp_path: Path, key: str) -> None:
    problem(web(minimal(), **{key: 5}).refused(tmp_path), COMPOSE, f"services.web.{key}")


def test_a_program_of_the_server_that_deploys_is_not_run(tmp_path: Path) -> None:
    findings = web(minimal(), provider={"type": "sh"}).refused(tmp_path)
    problem(findings, COMPOSE, "services.web.provider")


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"pid": "container:wiki-1"}, "pid"),
        ({"ipc": "container:wiki-1"}, "ipc"),
        ({"volumes_from": ["container:wiki-1:ro"]}, "volumes_from[0]"),
    ],
)
def test_another_stack_s_container_is_no_source(
    tmp_path: Path, keys: dict[str, Any], path: str
) -> None:
    problem(web(minimal(), **keys).refused(tmp_path / "no"), COMPOSE, f"services.web.{path}")
    environment(web(minimal(), **keys), host_access=True).load(tmp_path / "wanted")


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"privileged": True}, "privileged"),
        ({"privileged": "yes"}, "privileged"),
        ({"privileged": "${UP:-ON}"}, "privileged"),
        ({"pid": "host"}, "pid"),
        ({"cap_add": ["CAP_SYS_ADMIN"]}, "cap_add[0]"),
        ({"volumes": ["/var/run/docker.sock:/var/run/docker.sock"]}, "volumes[0]"),
        ({"volumes": ["/run:/run"]}, "volumes[0]"),
        ({"volumes": ["/proc:/host/proc"]}, "volumes[0]"),
        ({"volumes": ["/usr/local/bin:/b"]}, "volumes[0]"),
        ({"volumes": ["/etc/cron.d:/c"]}, "volumes[0]"),
        ({"security_opt": ["systempaths=unconfined"]}, "security_opt[0]"),
        ({"post_start": [{"command": "id", "privileged": True}]}, "post_start[0]"),
        ({"use_api_socket": True}, "use_api_socket"),
    ],
)
def test_root_on_the_host_is_warned_of_unless_it_is_declared(
    tmp_path: Path, keys: dict[str, Any], path: str
) -> None:
    warned = web(minimal(), **keys).load(tmp_path / "warned").warnings
    assert [(warning.file, warning.path) for warning in warned] == [
        (COMPOSE, f"services.web.{path}")
    ]
    assert "host_access" in warned[0].fix
    declared = environment(web(minimal(), **keys), host_access=True)
    assert declared.load(tmp_path / "declared").warnings == ()


def test_no_access_to_the_host_opens_its_own_pairs(tmp_path: Path) -> None:
    declared = web(minimal(), volumes=["/etc/phoenix/tls:/tls:ro"])
    environment(declared, host_access=True)
    problem(declared.refused(tmp_path), COMPOSE, "services.web.volumes[0]")


@pytest.mark.parametrize(
    "volumes",
    [
        [f"{OWN}:/tls:ro"],
        [
            "/srv/shop:/data",
            "data:/var/lib/x",
            "/dev/dri:/dev/dri",
            "/etc/localtime:/etc/localtime",
        ],
        ["/proc:/host/proc:ro", "/sys:/host/sys:ro", "/usr/share/zoneinfo:/usr/share/zoneinfo"],
        ["/etc/phoenix/stacks/shop-production/0:/x:ro"],
        ["tmp:/etc/phoenix/tls"],
    ],
)
def test_what_is_its_own_is_mounted(tmp_path: Path, volumes: list[str]) -> None:
    declared = web(minimal(), volumes=volumes)
    named = [mount.partition(":")[0] for mount in volumes if mount[0] not in "/$"]
    declared.stacks["shop"][1]["volumes"] = {name: {} for name in named}
    assert declared.load(tmp_path).warnings == ()


@pytest.mark.parametrize("name", [f"wiki.stack.{ZONE}", f"worker.host.{ZONE}"])
def test_no_stack_gets_a_certificate_for_another_s_name(tmp_path: Path, name: str) -> None:
    """By `server_name`: another stack's on the same host, or the host's own."""
    declared = two_stacks()
    route = declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    route["traefik_service"]["server_name"] = name
    messages = [finding.message for finding in declared.refused(tmp_path)]
    assert any(f"{name} would be in two certificates" in message for message in messages), messages


def test_nor_one_on_another_host(tmp_path: Path) -> None:
    declared = two_stacks()
    declared.vm["vms"][1]["docker_stacks"] = ["shop"]
    declared.vm["vms"].append(vm(1003, "other", "docker", 25, docker_stacks=["wiki"]))
    route = declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    route["traefik_service"]["server_name"] = f"wiki.stack.{ZONE}"
    assert "two owners claim" in str(declared.refused(tmp_path)[-1])


def test_a_pair_that_nobody_gets_is_not_mounted(tmp_path: Path) -> None:
    declared = web(minimal(), volumes=["${PHOENIX_TLS_DIR}:/tls:ro"])
    route = declared.stacks["shop"][0]["environments"]["production"]["services"]["web"]
    route["traefik_service"]["scheme"] = "http"
    finding = problem(declared.refused(tmp_path / "no"), MANIFEST, "environments.production")
    assert '"tls": {}' in finding.fix
    environment(declared, tls={}).load(tmp_path / "yes")


@pytest.mark.parametrize("answer", ["reload", "SIGKILL", "", "restart; id", "sighup"])
@pytest.mark.parametrize("form", ["list", "mapping"])
def test_an_unknown_way_to_take_a_certificate_is_refused(
    tmp_path: Path, answer: str, form: str
) -> None:
    label = "ai.thinkheads.phoenix.certificate"
    labels: Any = {label: answer} if form == "mapping" else [f"{label}={answer}"]
    finding = problem(
        web(minimal(), labels=labels).refused(tmp_path), COMPOSE, "services.web.labels"
    )
    assert "SIGHUP" in finding.fix


@pytest.mark.parametrize(
    "tls",
    [{"uid": -1}, {"uid": 4294967295}, {"gid": "web"}, {"mode": "0644"}, {"mode": "0666"},
     {"mode": 400}],
)  # fmt: skip
def test_a_key_that_everybody_reads_is_refused(tmp_path: Path, tls: dict[str, Any]) -> None:
    findings = environment(minimal(), tls=tls).refused(tmp_path)
    problem(findings, MANIFEST, f"environments.production.tls.{next(iter(tls))}")


# -- values of the settings ------------------------------------------------------------------------


def test_a_setting_does_not_bring_the_old_mount_back(tmp_path: Path) -> None:
    """`stack_variables` is not known when the files are checked."""
    declared = web(minimal(), volumes=["${PHOENIX_TLS_DIR}:/tls:ro", "${MORE}:/more"])
    declared.stacks["shop"][1]["volumes"] = {"data": {}}
    environment(declared, variables=[{"name": "MORE", "value": "data"}])
    (only,) = declared.load(tmp_path).host("worker").docker_stacks

    def prepared(**overrides: str) -> None:
        deployment.prepare(only, overrides, lambda name: SecretStr("secret"))

    prepared(MORE="/srv/data")
    for overrides in ({"PHOENIX_TLS_DIR": "/etc/phoenix/tls"}, {"MORE": "/etc/phoenix"}):
        with pytest.raises(deployment.DeploymentError, match=r"could pass for another"):
            prepared(**overrides)
