"""A machine on the segment asks for a certificate of a name that is another's: it gets none.

It takes the other's place towards the CA: by ARP, with the other's MAC address as well, or by
answers in the name server's stead. The client is Debian's lego.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lab.image import pack
from lab.settings import LABEL
from phoenix.components.acme.phoenix_acme_conf import CERTIFICATES
from phoenix.components.step_ca.issuance import TEMPLATE
from phoenix.components.trust import ROOTS
from phoenix.derived.routes import gateway_names
from phoenix.site.secret_names import ISSUANCE_KEY
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure

PROGRAM = (Path(__file__).parent / "attacker.py").read_text()
HOST = "attacker"
HOST_PART = 251
KEYS = "/var/lib/phoenix-acme/gateway/keys"
REFUSED = "/finalize :: urn:ietf:params:acme:error:serverInternal"
"""How step-ca says that its template refuses a request whose names were proven."""


@dataclass(frozen=True)
class Attacker:
    """A container of the lab's network that is none of the site's hosts, and root in itself."""

    site: SiteLab
    address: str
    mac: str

    def sh(self, command: str, *, ok: bool = False) -> str:
        """Run a shell command in it; both its streams."""
        return self.site.sh(HOST, command, ok=ok).text

    @contextmanager
    def running(self, *words: str) -> Iterator[None]:
        """`attacker.py` in the background."""
        start = f"python3 /root/attacker.py {' '.join(words)} >/root/log 2>&1 & echo $!"
        process = self.sh(f"{start}", ok=True).strip()
        try:
            yield
            assert not self.sh("cat /root/log"), self.sh("cat /root/log")
        finally:
            self.sh(f"kill {process}")

    @contextmanager
    def has(self, address: str, *, mac: str = "") -> Iterator[None]:
        """It has an address that is another's, with the CA in the belief that it has."""
        # He speaks to the CA from it: the CA's guest answers the site's hosts alone.
        ca = self.site.address("ca")
        take = f"ip address add {address}/32 dev lo && ip route add {ca}/32 dev eth0 src {address}"
        if mac:
            take += f" && ip link set eth0 address {mac}"
        self.sh(take, ok=True)
        try:
            with self.running("arp", ca, address, self.address):
                self.sh("sleep 2")
                yield
        finally:
            self.sh(f"ip route del {ca}/32; ip address del {address}/32 dev lo")
            self.sh(f"ip link set eth0 address {self.mac}")
            self.site.sh("ca", "ip neighbour flush dev eth0")  # what it was told
            # So was everybody on the segment; who went on through this container, since it
            # forwards, would lose the host with it.
            (owner,) = {
                role for role in ("gateway", "hypervisor") if self.site.address(role) == address
            }
            mac = self.site.sh(owner, "cat /sys/class/net/eth0/address", ok=True).out.strip()
            self.sh(f"python3 /root/attacker.py give {ca} {address} {mac}", ok=True)
            for role in ("gateway", "hypervisor"):  # the bridge learns again where they are
                self.site.sh(role, f"ping -c 1 -W 1 {ca}")

    def asks_for(self, name: str, request: str = "") -> str:
        """What lego says that asks for a certificate of a name, and proves it on port 80 here.

        Args:
            name: the name.
            request: in its place, lego's option for a request of his own.
        """
        directory = f"https://ca.{self.site.site.domain}:9000/acme/acme/directory"
        return self.sh(
            f"rm -rf /root/lego; LEGO_CA_CERTIFICATES={ROOT_FILE} timeout 60 lego --server "
            f"{directory} --accept-tos --email it@example.com --path /root/lego --http "
            f"{request or f'--domains {name}'} run; cat /root/lego/certificates/*.crt 2>/dev/null"
        )


@pytest.fixture(scope="module")
def attacker(site: SiteLab) -> Iterator[Attacker]:
    lego = site.docker.containers.get(site.state.container(site.roles["gateway"]))
    program, _ = lego.get_archive("/usr/bin/lego")
    ca = site.address("ca")
    container = site.docker.containers.create(
        site.docker.containers.get(site.state.client).image,
        ["sleep", "infinity"],
        name=site.state.container(HOST),
        labels={LABEL: site.settings.name},
        cap_add=["NET_ADMIN", "NET_RAW"],
        init=True,
        extra_hosts={f"ca.{site.site.domain}": ca},
    )
    try:
        network = site.docker.networks.get(site.settings.network)
        address = str(site.settings.subnet[HOST_PART])
        for other in site.docker.networks.list(names=["bridge"]):
            other.disconnect(container)
        network.connect(container, ipv4_address=address)
        root = site.sh("client", f"cat {ROOT_FILE}", ok=True).out.encode()
        container.put_archive("/usr/bin", b"".join(program))
        container.put_archive(
            "/", pack({"root/attacker.py": (PROGRAM.encode(), 0o644), ROOT_FILE: (root, 0o644)})
        )
        container.start()
        attacker = Attacker(site, address, "")
        mac = attacker.sh("cat /sys/class/net/eth0/address", ok=True).strip()
        yield replace(attacker, mac=mac)
    finally:
        container.remove(force=True, v=True)


@contextmanager
def spoofed(attacker: Attacker, how: str) -> Iterator[None]:
    """The attacker stands in the gateway's place, as the CA sees it."""
    site = attacker.site
    gateway = site.address("gateway")
    if how == "arp":
        with attacker.has(gateway):
            yield
    elif how == "mac":
        mac = site.sh("gateway", "cat /sys/class/net/eth0/address", ok=True).out.strip()
        with attacker.has(gateway, mac=mac):
            yield
    else:
        server = site.address("hypervisor")
        with attacker.has(server), attacker.running("dns", server, attacker.address):
            yield


@pytest.mark.parametrize("how", ["arp", "mac", "dns"])
def test_who_stands_in_another_s_place_gets_no_certificate(attacker: Attacker, how: str) -> None:
    name = gateway_names(attacker.site.site)[0]
    with spoofed(attacker, how):
        output = attacker.asks_for(name)
    print_figure(f"{how}: lego said", output)
    assert "[INFO] acme: Registering account" in output, output
    assert "BEGIN CERTIFICATE" not in output, output


@contextmanager
def no_proof_asked_for(site: SiteLab) -> Iterator[None]:
    """A CA that goes by the challenge alone, until the block ends."""
    bound = site.sh("ca", f"cat {TEMPLATE}", ok=True).out
    unbound = re.sub(r"\{\{- if ne .*?\{\{- end -\}\}\n", "", bound, flags=re.DOTALL)
    assert unbound != bound
    write = f"cat >$(readlink -f {TEMPLATE})"
    site.sh("ca", f"{write} <<'EOF'\n{unbound}EOF", ok=True)
    try:
        yield
    finally:
        site.sh("ca", f"{write} <<'EOF'\n{bound}EOF", ok=True)


def test_without_the_proof_he_would_get_it(attacker: Attacker) -> None:
    """The tests above can fail: the same attack on a CA that asks for no proof."""
    site = attacker.site
    # The gateway notes its keys since a minute ago: step-ca dates certificates back by one.
    since = f'sed -i "1s/^[0-9]*/$(($(date +%s) - 61))/" {KEYS}'
    site.sh("gateway", f"phoenix-acme renew gateway && {since}", ok=True)
    with no_proof_asked_for(site), spoofed(attacker, "mac"):
        output = attacker.asks_for(gateway_names(site.site)[0])
    assert "BEGIN CERTIFICATE" in output, output
    try:
        assert_told(site)
    finally:  # for the tests that come after: as if the gateway had asked for it
        key = "openssl x509 -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum"
        digest = attacker.sh(f"cat /root/lego/certificates/*[!r].crt | {key}", ok=True).split()[0]
        site.sh("gateway", f'echo "$(date +%s) {digest}" >>{KEYS}', ok=True)
    warning = f"{gateway_names(site.site)[0]} to a key that"
    assert warning not in " ".join(site.project.phoenix("doctor").stdout.split())


def assert_told(site: SiteLab) -> None:
    """By status, doctor and the start page: a certificate went to somebody else."""
    name = gateway_names(site.site)[0]
    warning = f"{name} to a key that {site.roles['gateway']} never made"
    for done in site.project.looks(["status"], ["doctor"]):
        shown = " ".join(done.stdout.split())
        print_figure("shown", shown)
        assert f"warning: certificate on {site.roles['ca']}: what it has issued: {warning}" in shown
    run = site.project.run("deploys/verify.py")
    assert run.returncode == 0, run.explain()
    assert warning in run.output, run.explain()
    page = site.curl(f"https://home.{site.site.domain}/home.json").body
    assert {"host": site.roles["ca"], "hop": "what it has issued"} in json.loads(page)["warnings"]


def test_the_proof_of_one_guest_is_none_for_another_s_names(attacker: Attacker) -> None:
    """Root on Traefik's guest stands in the gateway's place, and shows what his own guest has."""
    site = attacker.site
    shown = site.sh("traefik", "sed -n s/^PROOF=//p /etc/phoenix/acme/traefik.conf", ok=True).out
    name = gateway_names(site.site)[0]
    attacker.sh(
        f"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /root/key.pem"
        f" -subj /serialNumber={shown.strip()} -addext subjectAltName=DNS:{name}"
        " -out /root/request.pem",
        ok=True,
    )
    with spoofed(attacker, "mac"):
        output = attacker.asks_for("", "--csr /root/request.pem")
    assert "BEGIN CERTIFICATE" not in output, output
    assert REFUSED in output, output


IN_SCRATCH = "work=$(mktemp -d); trap 'rm -rf $work' EXIT; cd $work"
OWN = """set -eu; work=$(mktemp -d); trap 'rm -rf $work' EXIT; cd $work
of() {{ sed -n "s/^$1=//p" /etc/phoenix/acme/traefik.conf; }}
PROOF=$(of PROOF) ROOT=$(of ROOT) DIRECTORY=$(of DIRECTORY)
san=$(printf ',DNS:%s' $(of DOMAINS) | tail -c +2){more}
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out r.csr \\
    -subj /serialNumber=$PROOF -addext "subjectAltName=$san" {extensions} 2>/dev/null
digest=$(openssl pkey -in key.pem -pubout -outform DER | sha256sum)
echo "$(date +%s) ${{digest%% *}}" >>/var/lib/phoenix-acme/traefik/keys
LEGO_CA_CERTIFICATES=$ROOT timeout 60 lego --server $DIRECTORY --accept-tos --path . \\
    --email it@example.com --csr r.csr --http run || true
cat certificates/*[!r].crt 2>/dev/null || true
"""
"""What root on Traefik's guest gets who asks for more than its names, with its own true proof."""


@pytest.mark.parametrize(
    "more",
    ["email:root@{domain}", "URI:spiffe://{domain}/gateway", "IP:{gateway}"],
    ids=["email", "URI", "IP"],
)
def test_the_proof_of_its_names_brings_no_name_of_another_kind(site: SiteLab, more: str) -> None:
    names = more.format(domain=site.site.domain, gateway=site.address("gateway"))
    output = site.sh("traefik", OWN.format(more=f",{names}", extensions="")).text
    assert "BEGIN CERTIFICATE" not in output, output
    assert "urn:ietf:params:acme:error:badCSR" in output, output


def test_no_guest_gets_a_certificate_that_signs_others(site: SiteLab) -> None:
    asked = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign"
    certificate = site.sh("traefik", OWN.format(more="", extensions=asked), ok=True).out
    site.put("client", "/root/given.pem", certificate)
    look = "openssl x509 -in /root/given.pem -noout -text"
    text = site.sh("client", look, ok=True).out
    assert "DNS:" in text, text
    assert "CA:TRUE" not in text, text
    assert "Certificate Sign" not in text, text


@pytest.mark.parametrize("way", ["renew", "rekey"])
def test_a_pair_renews_nothing_by_itself(site: SiteLab, way: str) -> None:
    """Who has stolen one has it for the rest of its day: step-ca would renew it for ever."""
    pair, url = f"{CERTIFICATES}/traefik", f"https://ca.{site.site.domain}:9000/1.0/{way}"
    body = "echo '{}' >b"
    if way == "rekey":
        body = (
            "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x "
            "-keyout key.pem -out r.csr 2>/dev/null; python3 -c 'import json; "
            'print(json.dumps({"csr": open("r.csr").read()}))\' >b'
        )
    ask = f"curl -s -w ' %{{http_code}}' --cacert {ROOTS} -X POST -d @b {url}"
    shown = f"--cert {pair}/fullchain.pem --key {pair}/privkey.pem"
    both = f"{ask} | tr -d '\\n'; echo; {ask} {shown} | tr -d '\\n'"
    done = site.sh("traefik", f"{IN_SCRATCH}; {body}; {both}", ok=True)
    without, refused = done.out.splitlines()
    assert without.endswith(" 400"), without
    assert "missing client certificate" in without, "it was not the certificate that was refused"
    assert refused.endswith(" 401"), refused
    assert '"crt"' not in refused, refused


@pytest.mark.usefixtures("former_values_return")
def test_key_of_proofs_is_changed_everywhere_at_once(site: SiteLab) -> None:
    def shown() -> str:
        return site.sh("gateway", "grep ^PROOF= /etc/phoenix/acme/gateway.conf", ok=True).out

    before = shown()
    rotated = site.project.phoenix("secrets", "rotate", ISSUANCE_KEY)
    assert rotated.returncode == 0, rotated.stdout + rotated.stderr
    assert shown() != before
    for role in ("gateway", "traefik"):
        site.sh(role, f"phoenix-acme renew {role}", ok=True)
    site.sh("gateway", f"sed -i 's/^PROOF=.*/{before.strip()}/' /etc/phoenix/acme/gateway.conf")
    try:
        refused = site.sh("gateway", "phoenix-acme renew gateway")
        assert refused.code != 0, refused
        assert "is PROOF in /etc/phoenix/acme/gateway.conf the one" in refused.err, refused
    finally:
        synced = site.project.phoenix("sync", "-y", "nginx")
        assert synced.returncode == 0, synced.stdout + synced.stderr
    assert site.sh("gateway", "phoenix-acme ensure gateway").code == 0
