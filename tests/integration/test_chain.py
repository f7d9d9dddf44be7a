"""What a client that trusts only the root gets: client -> Nginx -> Traefik -> backend."""

from __future__ import annotations

import base64
import json
import re
import uuid
from datetime import datetime
from pathlib import Path

import pytest

from phoenix.components.nginx.nginx_conf import ACCESS_LOG, CLIENT_CERTIFICATE
from phoenix.site.removed_headers import REMOVED_HEADERS
from tests.integration.project import Project, deadline_factor
from tests.integration.site_lab import ROOT_FILE, SiteLab, print_figure

UPLOAD_MIB = 20
PROOF = {"app": '"service": "app"', "qdrant": "healthz check passed", "portainer": '"Version"'}
"""What only the right backend answers at its health path."""
ODD = (Path(__file__).parent / "gateway_client.py").read_text()
WEBSOCKET = (Path(__file__).parent / "websocket_client.py").read_text()


@pytest.fixture
def name(site: SiteLab) -> str:
    """The application's: its stand-in tells what it was asked."""
    return next(route.fqdn for route in site.backends if route.service.name == "app")


def test_every_service_answers(site: SiteLab) -> None:
    assert {route.service.name for route in site.backends} == set(PROOF)
    for route in site.backends:
        answer = site.curl(f"https://{route.fqdn}{route.health_path}")
        assert (answer.status, answer.version) == (200, "HTTP/2"), f"{route.fqdn}: {answer}"
        assert PROOF[route.service.name] in answer.body, answer.body
        assert "max-age=" in answer.headers.get("strict-transport-security", ""), answer.headers


def test_internal_names_come_from_the_hypervisor(site: SiteLab, name: str) -> None:
    dns = site.address("hypervisor")
    addresses = site.sh("client", f"dig +short @{dns} {name} A", ok=True).out.strip()
    assert addresses == site.address("gateway")
    absent = f"dig @{dns} nothing.{site.site.domain} A"
    assert "status: NXDOMAIN" in site.sh("client", absent).out


def test_dashboard_needs_the_password(site: SiteLab) -> None:
    url = f"https://traefik.{site.site.domain}/dashboard/"
    refused = site.curl(url)
    assert refused.status == 401, refused
    assert "basic" in refused.headers.get("www-authenticate", "").lower(), refused.headers
    answer = site.curl(url, "-u", "admin:wrong")
    assert answer.status == 401, answer
    password = site.secrets["traefik_dashboard_password"]
    token = base64.b64encode(f"admin:{password}".encode()).decode()
    site.put("client", "/root/dashboard.header", f"Authorization: Basic {token}\n", 0o600)
    allowed = site.curl(url, "-H", "@/root/dashboard.header")
    assert allowed.status == 200, (allowed.status, allowed.error)
    assert "Traefik" in allowed.body, allowed.body[:500]


def test_unknown_name_is_refused_in_the_handshake(site: SiteLab) -> None:
    """RFC 6066, section 3: the alert unrecognized_name."""
    done = site.s_client(site.address("gateway"), f"nothing.{site.site.domain}")
    assert done.code != 0, done.text
    assert "unrecognized name" in done.text, done.text
    assert "BEGIN CERTIFICATE" not in done.text, "a certificate was shown to an unknown name"


@pytest.mark.parametrize("role", ["gateway", "traefik"])
def test_old_tls_is_refused(site: SiteLab, name: str, role: str) -> None:
    """RFC 8996. SECLEVEL=0 lets this client speak it, so that a refusal is the server's."""
    old = ("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    address = site.address(role)
    sni = name if role == "gateway" else f"{site.roles['traefik']}.host.{site.site.domain}"
    # From the gateway: without its certificate Traefik ends every handshake.
    site.put("gateway", ROOT_FILE, site.sh("client", f"cat {ROOT_FILE}", ok=True).out)
    proof = ("-cert", CLIENT_CERTIFICATE, "-key", CLIENT_CERTIFICATE)
    refused = site.s_client(address, sni, *old, *proof, host="gateway")
    assert refused.code != 0, refused.text
    assert "alert protocol version" in refused.text, refused.text
    spoken = site.s_client(address, sni, "-tls1_2", "-verify_return_error", *proof, host="gateway")
    assert spoken.code == 0, spoken.text
    assert "TLSv1.2" in spoken.text, spoken.text


def test_plain_http_is_redirected(site: SiteLab, name: str) -> None:
    answer = site.curl(f"http://{name}/some/path?a=b")
    assert answer.status == 308, answer
    assert answer.headers["location"] == f"https://{name}/some/path?a=b"
    unknown = site.curl(f"http://{site.address('gateway')}/", "-H", "Host: nothing.example.com")
    assert unknown.status == 404, unknown


def test_websocket_echo(site: SiteLab, name: str) -> None:
    site.put("client", "/root/websocket_client.py", WEBSOCKET)
    done = site.sh("client", f"python3 /root/websocket_client.py {name} {ROOT_FILE} 'echo me'")
    assert done.code == 0, done.text
    assert done.out == "echo me", done.text


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
def test_stream_arrives_piece_by_piece(site: SiteLab, name: str, version: str, kind: str) -> None:
    """The backend sends its last event once the client has read the first one."""
    key = uuid.uuid4().hex
    ask = f"curl -sSN --max-time 30 {version} --cacert {ROOT_FILE} https://{name}/stream"
    done = site.sh(
        "client",
        f"{ask}'?key={key}&type={kind}' | {{ read -r event; echo \"read $event\";"
        f" {ask}/continue?key={key} -o /dev/null -w '%{{http_code}}\\n'; cat; }}",
    )
    assert done.out.split("\n") == ["read data: first", "200", "", "data: last", "", ""], done.text


def test_access_log_is_the_gateway_s_and_holds_no_query(site: SiteLab, name: str) -> None:
    mark = uuid.uuid4().hex
    answer = site.curl(f"https://{name}/log/{mark}?token=query-{mark}")
    assert answer.status == 200, answer
    search = f"grep -m 1 /log/{mark} {ACCESS_LOG}"
    tries = round(150 * deadline_factor())
    wait = f"for i in $(seq {tries}); do {search} && exit; sleep 0.1; done; exit 1"
    entry = json.loads(site.sh("gateway", wait, ok=True).out)
    print_figure("the log's entry", entry)
    logged = {key: entry[key] for key in ("client", "host", "method", "path", "protocol", "status")}
    assert logged == {
        "client": site.state.client_address, "host": name, "method": "GET",
        "path": f"/log/{mark}", "protocol": "HTTP/2.0", "status": 200,
    }  # fmt: skip
    assert entry["bytes"] == len(answer.body), entry
    assert entry["seconds"] >= 0, entry
    assert entry["upstream"] == f"{site.address('traefik')}:443", entry
    assert datetime.fromisoformat(entry["time"]).tzinfo is not None, entry
    for host, logs in (("gateway", "/var/log/nginx"), ("traefik", "/var/log")):
        assert site.sh(host, f"grep -rl query-{mark} {logs}").out == "", host
    rotated = site.sh("gateway", "logrotate --debug /etc/logrotate.conf", ok=True).text
    assert ACCESS_LOG in rotated, rotated
    assert "error:" not in rotated, rotated


def test_upload_arrives_whole(site: SiteLab, name: str) -> None:
    site.sh("client", f"head -c {UPLOAD_MIB}M /dev/urandom >/root/upload", ok=True)
    digest = site.sh("client", "sha256sum </root/upload", ok=True).out.split()[0]
    answer = site.curl(f"https://{name}/upload", "-T", "/root/upload")
    assert answer.status == 200, (answer.status, answer.error)
    body = json.loads(answer.body)["body"]
    assert body == {"length": UPLOAD_MIB * 1024**2, "sha256": digest}


def test_forged_forwarding_headers_are_dropped(site: SiteLab, name: str) -> None:
    forged = "203.0.113.66"
    answer = site.curl(
        f"https://{name}/",
        *("-H", f"X-Forwarded-For: {forged}", "-H", f"X-Real-Ip: {forged}"),
        *("-H", f"X_Forwarded_For: {forged}", "-H", f"Forwarded: for={forged}"),
        *(word for header in REMOVED_HEADERS for word in ("-H", f"{header}: {forged}")),
        *("-H", f"X-Mine: kept {forged.replace('.', '-')}"),
    )
    assert answer.status == 200, answer
    headers = json.loads(answer.body)["headers"]
    print_figure("what the backend got", headers)
    chain = [part.strip() for part in headers["x-forwarded-for"].split(",")]
    assert chain[0] == site.state.client_address, headers
    assert forged not in str(headers), headers
    assert headers["x-mine"] == f"kept {forged.replace('.', '-')}", headers


def odd_requests(name: str, mark: str) -> dict[str, tuple[str, str, list[str]]]:
    """What is tried -> server name, request, and the statuses that come back; [] for none."""
    hidden = f"GET /hidden/{mark} HTTP/1.1\r\nHost: {name}\r\n\r\n"
    chunked = "Transfer-Encoding: chunked\r\n"

    def get(host: str, target: str = f"/{mark}", more: str = "") -> str:
        return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"

    def post(more: str, body: str = f"0\r\n\r\n{hidden}") -> str:
        return f"POST /{mark} HTTP/1.1\r\nHost: {name}\r\n{more}\r\n{body}"

    strange = "nothing.example.org"
    return {
        "nothing odd": (name, get(name), ["200"]),
        "upper case and a dot at the end": (name, get(f"{name.upper()}."), ["200"]),
        "no server name": ("", get(name), []),
        "another host": (name, get(strange), ["421"]),
        "an absolute URL of another host": (name, get(name, f"https://{strange}/{mark}"), ["421"]),
        "two hosts": (name, get(name, more=f"Host: {strange}\r\n"), ["400"]),
        "no host": (name, f"GET /{mark} HTTP/1.1\r\n\r\n", ["400"]),
        "no host in HTTP/1.0": (name, f"GET /{mark} HTTP/1.0\r\n\r\n", ["421"]),
        "a user in the host": (name, get(f"{name}@{strange}"), ["421"]),
        "above the root": (name, get(name, f"/../../{mark}"), ["400"]),
        "above the root, encoded": (name, get(name, f"/%2e%2e/%2e%2e/{mark}"), ["400"]),
        "CL.TE": (name, post(f"Content-Length: 6\r\n{chunked}"), ["400"]),
        "TE.TE": (name, post(f"{chunked}Transfer-Encoding: identity\r\n"), ["400"]),
        "an unknown coding": (name, post("Transfer-Encoding: xchunked\r\n"), ["501"]),
        "a blank before the colon": (name, post("Transfer-Encoding : chunked\r\n"), ["400"]),
        "two lengths": (name, post("Content-Length: 0\r\nContent-Length: 9\r\n"), ["400"]),
        "a length below zero": (name, post("Content-Length: -1\r\n"), ["400"]),
        "a folded line": (name, post("Content-Length: 0\r\nX-A: b\r\n " + chunked), ["400"]),
        "NUL": (name, get(name, more="X-A: b\0c\r\n"), ["400"]),
        "CONNECT": (name, f"CONNECT {strange}:443 HTTP/1.1\r\nHost: {name}\r\n\r\n", ["400"]),
        "TRACE": (name, f"TRACE /{mark} HTTP/1.1\r\nHost: {name}\r\n\r\n", ["405"]),
        "an upgrade to HTTP/2": (
            name,
            get(name, more="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
            ["200"],
        ),
    }  # fmt: skip


def test_no_odd_request_passes_the_gateway(site: SiteLab, name: str) -> None:
    mark = uuid.uuid4().hex
    cases = odd_requests(name, mark)
    site.put("client", "/root/gateway_client.py", ODD)
    asked = json.dumps([(server_name, request) for server_name, request, _ in cases.values()])
    site.put("client", "/root/odd.json", asked)
    output = site.sh(
        "client", f"python3 /root/gateway_client.py {name} {ROOT_FILE} </root/odd.json", ok=True
    ).out
    answers = dict(zip(cases, json.loads(output), strict=True))
    assert "unrecognized name" in answers.pop("no server name")[0].lower().replace("_", " ")
    expected = {case: statuses for case, (_, _, statuses) in cases.items() if statuses}
    assert answers == expected
    authority = site.curl(f"https://{name}/{mark}", "--http2", "-H", "Host: nothing.example.org")
    assert authority.status == 421, authority
    assert site.sh("gateway", f"grep -c /hidden/{mark} {ACCESS_LOG}").out.strip() == "0"
    upgrade = ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAA")
    words = [word for header in upgrade for word in ("-H", header)]
    passed = site.curl(f"https://{name}/", "--http1.1", *words)
    headers = json.loads(passed.body)["headers"]
    assert not headers.keys() & {"upgrade", "http2-settings"}, headers


def test_traefik_refuses_whoever_is_not_the_gateway(site: SiteLab, name: str) -> None:
    """TLS by Traefik's own name, the service by Host header, as the gateway does it."""
    proxy = f"{site.roles['traefik']}.host.{site.site.domain}"
    words = ("-H", f"Host: {name}", "-H", f"X-Forwarded-For: {site.address('gateway')}")
    url = f"https://{proxy}/"
    assert site.curl(url, *words, "--max-time", "5").status == 0
    with site.unguarded("traefik"):
        answer = site.curl(url, *words)
    assert answer.status == 0, answer
    assert "certificate required" in answer.error, answer
    site.put("gateway", ROOT_FILE, site.sh("client", f"cat {ROOT_FILE}", ok=True).out)
    allowed = site.curl(url, *words, "--cert", CLIENT_CERTIFICATE, host="gateway")
    assert allowed.status == 200, allowed


@pytest.mark.usefixtures("repaired")
def test_metrics_are_served_on_the_guest_where_the_setting_asks(site: SiteLab) -> None:
    ask = "curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8081/metrics"
    assert site.sh("traefik", ask, ok=True).out == "404"
    run = site.project.run("deploys/traefik.py", data={"traefik_metrics": "True"})
    assert run.returncode == 0, run.explain()
    assert site.serves(site.backends[0]) == ""
    metrics = site.sh("traefik", ask.replace("-o /dev/null -w '%{http_code}'", "-f"), ok=True).out
    assert re.search(r'^traefik_entrypoint_requests_total\{.*entrypoint="websecure"', metrics, re.M)
    assert "traefik_service_" not in metrics
    assert "traefik_router_" not in metrics


@pytest.mark.usefixtures("repaired")
def test_backend_with_another_name_is_refused(site: SiteLab, variant: Project) -> None:
    victim = next(route for route in site.backends if route.service.name == "app")
    other = next(route for route in site.backends if route.service.name != "app")
    manifest = variant.json("stacks/thinkheads_ai_app/phoenix.json")
    service = manifest["environments"]["production"]["services"]["thinkheads_ai_app"]
    service["traefik_service"]["server_name"] = f"impostor.host.{site.site.domain}"
    variant.write_json("stacks/thinkheads_ai_app/phoenix.json", manifest)
    run = variant.run("deploys/traefik.py")
    assert run.returncode == 0, run.explain()
    answer = site.curl(f"https://{victim.fqdn}{victim.health_path}")
    print_figure("Traefik's answer", answer)
    assert answer.status in (500, 502), answer
    assert victim.service.name not in answer.body, answer.body
    assert site.serves(other) == ""
    log = site.sh("traefik", "journalctl -q --no-pager -o cat -u traefik.service -n 50").out
    errors = [line for line in log.splitlines() if "impostor" in line]
    assert errors, f"Traefik does not say why:\n{log}"
    assert re.search(r"certificate is valid for .*not impostor", errors[-1]), errors[-1]
