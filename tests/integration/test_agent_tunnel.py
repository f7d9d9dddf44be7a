"""Portainer and its agents speak through a tunnel in which both ends prove who they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.portainer.tunnel import UNIT
from phoenix.derived import control_plane
from phoenix.site.model import Service
from phoenix.site.names import AGENT_CONTAINER
from tests.integration.portainer_lab import PortainerLab
from tests.integration.site_lab import SiteLab, eventually

pytestmark = pytest.mark.timeout(420)
PAIR = "-cert {0}/fullchain.pem -cert_chain {0}/fullchain.pem -key {0}/privkey.pem"
PROGRAM = "phoenix-test-impostor"


@pytest.fixture(scope="module")
def lab_(site: SiteLab) -> PortainerLab:
    return PortainerLab(site)


@pytest.fixture(scope="module")
def agent(lab_: PortainerLab) -> Service:
    return control_plane.agent(lab_.site.site, lab_.site.site.host(lab_.agent))


def ping(site: SiteLab, host: str, agent: Service) -> str:
    """A ping of the agent by the tunnel's entrance: the status, 000 where there is no answer."""
    command = "curl -sk -o /dev/null -w '%{http_code}' --max-time 10 "
    return site.sh(
        host, f"{command} https://{control_plane.agent_entrance(agent)}:{agent.port}/ping"
    ).out


def is_turned_away(site: SiteLab, host: str, agent: Service, pair: str = "") -> bool:
    """Whether the agent's end of the tunnel refuses a TLS client with this pair, or with none."""
    command = f"openssl s_client -connect {agent.owner.address}:{agent.port} -ign_eof "
    command += (
        f"-servername {agent.owner.fqdn} {PAIR.format(f'{CERTIFICATES}/{pair}') if pair else ''}"
    )
    output = site.sh(host, f"sleep 3 | timeout 5 {command}").text
    assert "CONNECTED" in output, output
    return " alert " in output


def test_the_server_s_guest_gets_through_and_must_sign(lab_: PortainerLab, agent: Service) -> None:
    site = lab_.site
    assert ping(site, lab_.server, agent) == "204"
    assert not is_turned_away(site, lab_.server, agent, "host")
    unsigned = site.sh(
        lab_.server,
        "curl -sk --max-time 20 -o /dev/null -w '%{http_code}' "
        f"https://{control_plane.agent_entrance(agent)}:{agent.port}/containers/json",
    )
    assert unsigned.out == "403", unsigned


def test_who_shows_no_certificate_or_another_guest_s_gets_nothing(
    lab_: PortainerLab, agent: Service
) -> None:
    site = lab_.site
    assert is_turned_away(site, lab_.server, agent), "whom the agent's guard lets in"
    with site.unguarded(lab_.agent):
        for host in ("client", "hypervisor", lab_.server, lab_.agent):
            assert is_turned_away(site, host, agent), host
        # Certificates of the site's CA, for other names
        assert is_turned_away(site, "gateway", agent, "gateway")
        assert is_turned_away(site, lab_.agent, agent, "host")


def test_a_stack_reaches_the_agent_neither_by_the_loopback_nor_by_the_guest(
    lab_: PortainerLab, agent: Service
) -> None:
    site = lab_.site
    container = site.sh(lab_.agent, "docker ps -q --filter publish=8000", ok=True).out.strip()
    loopback = f"import socket; socket.create_connection(('127.0.0.1', {agent.port}), 3)"
    refused = site.sh(lab_.agent, f'docker exec {container} python3 -c "{loopback}"')
    assert "ConnectionRefusedError" in refused.text, refused
    unproven = (
        "import ssl, urllib.request as r; c = ssl._create_unverified_context(); "
        f"r.urlopen('https://{agent.owner.address}:{agent.port}/ping', context=c, timeout=5)"
    )
    unheard = site.sh(lab_.agent, f'docker exec {container} python3 -c "{unproven}"')
    assert "timed out" in unheard.text, unheard
    with site.unguarded(lab_.agent):
        turned_away = site.sh(lab_.agent, f'docker exec {container} python3 -c "{unproven}"')
    assert re.search("CERTIFICATE_REQUIRED|reset by peer", turned_away.text), turned_away


def test_the_agent_itself_listens_on_the_loopback_alone(lab_: PortainerLab, agent: Service) -> None:
    listening = lab_.site.sh(lab_.agent, f"ss -Hltnp 'sport = :{agent.port}'", ok=True).out
    by_program = {line.split()[3] for line in listening.splitlines() if "stunnel" not in line}
    assert by_program == {f"127.0.0.1:{agent.port}"}, listening
    mode = "docker inspect -f '{{.HostConfig.NetworkMode}}' portainer_agent"
    assert lab_.site.sh(lab_.agent, mode, ok=True).out.strip() == "host", "it has an own address"


def test_the_agent_reaches_a_docker_whose_socket_was_made_anew(lab_: PortainerLab) -> None:
    """As an upgrade of Docker makes it; the stacks' containers go on meanwhile."""

    def started() -> dict[str, str]:
        projects = lab_.running().values()
        return {
            container.name: container.started
            for project in projects
            for container in project.values()
        }

    before = started()
    lab_.site.sh(lab_.agent, "systemctl restart docker.socket docker.service", ok=True)

    def answers() -> bool:
        path = f"/endpoints/{lab_.endpoint()['Id']}/docker/_ping"
        return lab_.api("GET", path)[0] == 200

    lab_.eventually("Portainer reaches Docker through the agent", answers)
    changed = {name for name, moment in started().items() if moment != before[name]}
    assert changed == {AGENT_CONTAINER}, "what has the socket, and nothing else"


@contextmanager
def impostor(site: SiteLab, host: str, agent: Service, pair: str) -> Iterator[str]:
    """A TLS server in the place of the agent's end of the tunnel; gives the path of its log."""
    log = "/root/impostor.log"
    server = (
        f"openssl s_server -accept {site.address(host)}:{agent.port} -www -cert {pair}.pem "
        f"-key {pair}.key"
    )
    site.sh(host, f"systemctl stop {UNIT}; rm -f {log}", ok=True)
    site.sh(host, f"systemd-run -q --unit={PROGRAM} -p StandardOutput=file:{log} {server}", ok=True)
    try:
        yield log
    finally:
        site.sh(host, f"systemctl stop {PROGRAM}; rm -f {log}; systemctl start {UNIT}", ok=True)


def test_an_agent_that_does_not_prove_its_name_is_not_spoken_to(
    lab_: PortainerLab, agent: Service
) -> None:
    """The attacker who took the agent's address, with a certificate of another guest of ours."""
    site = lab_.site
    for file, end in (("fullchain.pem", "pem"), ("privkey.pem", "key")):
        content = site.sh("traefik", f"cat {CERTIFICATES}/traefik/{file}", ok=True).out
        site.put(lab_.agent, f"/root/impostor.{end}", content, 0o600)
    try:
        with impostor(site, lab_.agent, agent, "/root/impostor") as log:
            url = f"https://{site.address(lab_.agent)}:{agent.port}/"
            direct = f"curl -sk --max-time 10 {url} | head -c 200"
            eventually(
                "the impostor answers: else it proves nothing",
                lambda: "s_server" in site.sh(lab_.server, direct).out,
                seconds=30,
            )
            assert ping(site, lab_.server, agent) == "000"
            assert lab_.api("GET", f"/endpoints/{lab_.endpoint()['Id']}/docker/_ping")[0] != 200
            assert "X-Portaineragent" not in site.sh(lab_.agent, f"cat {log}").out.title()
            output = site.sh(lab_.server, f"journalctl -u {UNIT} -n 30 -o cat", ok=True).out
            assert "CERT: " in output, output
    finally:
        site.sh(lab_.agent, "rm -f /root/impostor.*")
    lab_.eventually(
        "the server reaches the agent again",
        lambda: lab_.api("GET", f"/endpoints/{lab_.endpoint()['Id']}/docker/_ping")[0] == 200,
    )


def test_a_renewed_certificate_is_taken_without_a_break(lab_: PortainerLab, agent: Service) -> None:
    site = lab_.site
    address, name = site.address(lab_.agent), agent.owner.fqdn

    def serial() -> str:
        command = f"openssl s_client -connect {address}:{agent.port} -servername {name} </dev/null"
        done = site.sh(lab_.server, f"{command} 2>/dev/null | openssl x509 -noout -serial")
        return done.out.strip()

    before = serial()
    pid = site.sh(lab_.agent, f"systemctl show -p MainPID {UNIT}", ok=True).out
    run = site.project.run("deploys/certs_renew.py", data={"certs_renew": lab_.agent})
    assert run.returncode == 0, run.explain()
    lab_.eventually("the tunnel serves the new certificate", lambda: serial() not in ("", before))
    assert site.sh(lab_.agent, f"systemctl show -p MainPID {UNIT}", ok=True).out == pid
    assert ping(site, lab_.server, agent) == "204"
