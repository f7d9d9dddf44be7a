"""Services as people have them, asked from outside: names, paths, log-ins, other machines, TCP."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.project import Project
from tests.integration.site_lab import ROOT_FILE, SiteLab

WEBSOCKET = (Path(__file__).parent / "websocket_client.py").read_text()
LXC = "inventories/phoenix_lxc_configs.json"
APP = "stacks/thinkheads_ai_app/phoenix.json"
FAR = "/root/far"
FAR_PORT, ECHO_PORT, DOOR, RPC_PORT, OWN_PORT = 8999, 7777, 7778, 7779, 7780
SERVER = """
import http.server, ssl
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"not managed: " + self.path.encode())
server = http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("FAR.pem", "FAR.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
""".replace("PORT)", f"{FAR_PORT})").replace("FAR", FAR)
ECHO = f"""
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1000):
            self.request.sendall(b"echo " + data)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("0.0.0.0", {ECHO_PORT}), Echo).serve_forever()
"""
RPC = f"""
import socketserver
def frame(kind, flags, stream, body=b""):
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
def field(name, value):  # RFC 7541, section 6.2.2
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value
class Rpc(socketserver.StreamRequestHandler):
    def handle(self):
        self.rfile.read(24)
        self.wfile.write(frame(4, 0, 0))
        while len(head := self.rfile.read(9)) == 9:
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            body = self.rfile.read(int.from_bytes(head[:3], "big"))
            if kind in (4, 6) and not flags & 1:  # SETTINGS and PING are acknowledged
                self.wfile.write(frame(kind, 1, 0, body if kind == 6 else b""))
            if kind in (0, 1) and flags & 1:  # the request is whole
                start = bytes([0x88]) + field(b"content-type", b"application/grpc")
                self.wfile.write(frame(1, 4, stream, start))
                self.wfile.write(frame(0, 0, stream, bytes([0, 0, 0, 0, 2]) + b"ok"))
                self.wfile.write(frame(1, 5, stream, field(b"grpc-status", b"0")))
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("0.0.0.0", {RPC_PORT}), Rpc).serve_forever()
"""
"""Answers each call of gRPC by HTTP/2 without TLS (RFC 9113, section 3.3)."""
PROGRAMS = {
    "echo": "python3 /root/test-echo.py",
    "rpc": "python3 /root/test-rpc.py",
    "own": f"openssl s_server -accept {OWN_PORT} -cert /root/own.pem -key /root/own.key -quiet",
}


@pytest.fixture(scope="module")
def fingerprint(site: SiteLab) -> Iterator[str]:
    """Somebody's own server with a certificate of its own: the client, which no guard protects."""
    site.put("client", f"{FAR}.py", SERVER)
    site.sh(
        "client",
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {FAR}.key "
        f"-out {FAR}.pem -days 9 -subj /CN=box -addext subjectAltName=DNS:box.lan && "
        f"{{ setsid python3 {FAR}.py >{FAR}.log 2>&1 & echo $! >{FAR}.pid; }}",
        ok=True,
    )
    shown = site.sh("client", f"openssl x509 -in {FAR}.pem -noout -fingerprint -sha256", ok=True)
    yield shown.out.strip().partition("=")[2]
    site.sh("client", f"kill $(cat {FAR}.pid); rm -f {FAR}.*")


@pytest.fixture(scope="module")
def services(site: SiteLab, fingerprint: str) -> Iterator[Project]:
    """The site with further services, converged; afterwards a whole run without them succeeds."""
    for name, text in (("echo", ECHO), ("rpc", RPC)):
        site.put("ca", f"/root/test-{name}.py", text)
    command_of_openssl = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9"
    )
    site.sh(
        "ca",
        f"{command_of_openssl} -keyout /root/own.key -out /root/own.pem -subj /CN=its-own",
        ok=True,
    )
    for name, command in PROGRAMS.items():
        site.sh("ca", f"systemd-run --unit=test-{name} {command}", ok=True)
    project = site.project.variant("services")
    route = {"port": 8000, "scheme": "https", "health_path": "/health",
             "server_name": f"app.stack.{site.site.domain}"}  # fmt: skip
    manifest = project.json(APP)
    app = manifest["environments"]["production"]["services"]["thinkheads_ai_app"]
    app["traefik_service"] |= {"aliases": ["shop", "shop.team"]}
    app["traefik_services"] = [
        {**route, "name": "app", "path": "/api", "strip_path": True},
        {**route, "name": "locked", "basic_auth": [{"user": "anna", "secret": "APP_ANNA"}]},
        {**route, "name": "walled", "allowed_networks": ["192.0.2.0/24"]},
        {**route, "name": "open", "allowed_networks": ["site"], "max_body": "1k",
         "response_headers": {"X-Robots-Tag": "noindex"}},
        {**route, "name": "denied",
         "forward_auth": {"url": f"https://app.{site.site.domain}/status/401"}},
        {**route, "name": "granted", "check": "none",
         "forward_auth": {"url": f"https://app.{site.site.domain}/health"}},
        {"name": "old", "redirect_to": f"https://app.{site.site.domain}",
         "redirect_keep_path": True},
    ]  # fmt: skip
    project.write_json(APP, manifest)
    declared = project.json(LXC)
    address = site.sh("client", "hostname -i", ok=True).out.split()[0]
    nas = {"address": address, "port": FAR_PORT}
    declared["external_services"] = [
        {**nas, "name": "nas", "fingerprint": fingerprint},
        {**nas, "name": "wrong", "fingerprint": "ab" * 32, "check": "none"},
    ]
    (ca,) = (
        lxc_config
        for lxc_config in declared["lxc_configs"].values()
        if lxc_config.get("role") == "step_ca"
    )
    ca["traefik_services"] = [
        {"name": "echo", "port": ECHO_PORT, "scheme": "tcp", "gateway_port": DOOR},
        {"name": "rpc", "port": RPC_PORT, "scheme": "grpc"},
        {"name": "own", "port": OWN_PORT, "scheme": "tls", "check": "none"},
    ]
    project.write_json(LXC, declared)
    run = project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    again = project.run("deploys/all.py")
    assert (again.returncode, again.other_changes) == (0, []), again.explain()
    yield project
    units = " ".join(f"test-{name}" for name in PROGRAMS)
    site.sh("ca", f"systemctl stop {units}; rm -f /root/test-*.py /root/own.*")
    run = site.project.run("deploys/all.py")
    assert run.returncode == 0, run.explain()
    done = site.project.phoenix("remove", f"acme-host@{site.roles['ca']}", "-y")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("services")
@pytest.mark.timeout(1800)
def test_further_names_answer(site: SiteLab) -> None:
    for name in ("shop", "shop.team"):
        answer = site.curl(f"https://{name}.{site.site.domain}/health")
        assert (answer.status, json.loads(answer.body)["service"]) == (200, "app"), answer


@pytest.mark.usefixtures("services")
def test_a_path_is_another_service_s(site: SiteLab) -> None:
    root = f"https://app.{site.site.domain}"
    for asked, got in (("/api/x?q=1", "/x?q=1"), ("/apis/x", "/apis/x"), ("/x", "/x")):
        answer = site.curl(f"{root}{asked}")
        assert json.loads(answer.body)["path"] == got, answer


@pytest.mark.usefixtures("services")
def test_a_password_is_asked_for_and_stays_at_traefik(site: SiteLab) -> None:
    url = f"https://locked.{site.site.domain}/x"
    assert site.curl(url).status == 401
    assert site.curl(url, "-u", "anna:wrong").status == 401
    token = base64.b64encode(f"anna:{site.secrets['app_anna']}".encode()).decode()
    site.put("client", "/root/anna.header", f"Authorization: Basic {token}\n", 0o600)
    answer = site.curl(url, "-H", "@/root/anna.header", "-H", "Remote-User: root")
    headers = json.loads(answer.body)["headers"]
    assert answer.status == 200
    assert not {"authorization", "remote-user"} & {name.lower() for name in headers}


@pytest.mark.usefixtures("services")
def test_networks_are_those_of_the_connection(site: SiteLab) -> None:
    for name, status in (("walled", 403), ("open", 200)):
        url = f"https://{name}.{site.site.domain}/health"
        assert site.curl(url, "-H", "X-Forwarded-For: 192.0.2.9").status == status


@pytest.mark.usefixtures("services")
def test_a_body_is_limited_and_a_header_added(site: SiteLab) -> None:
    url = f"https://open.{site.site.domain}/x"
    site.sh("client", "head -c 2000 /dev/zero >/root/body", ok=True)
    assert site.curl(url, "--data-binary", "@/root/body").status == 413
    assert site.curl(url).headers["x-robots-tag"] == "noindex"


@pytest.mark.usefixtures("services")
def test_a_redirect_keeps_the_path(site: SiteLab) -> None:
    answer = site.curl(f"https://old.{site.site.domain}/a?b=c")
    assert answer.status == 302
    assert answer.headers["location"] == f"https://app.{site.site.domain}/a?b=c"


@pytest.mark.usefixtures("services")
def test_a_websocket_goes_through_a_server_of_its_own(site: SiteLab) -> None:
    site.put("client", "/root/ws.py", WEBSOCKET)
    name = f"open.{site.site.domain}"
    done = site.sh("client", f"python3 /root/ws.py {name} {ROOT_FILE} hello", ok=True)
    assert done.out == "hello"


@pytest.mark.usefixtures("services")
def test_another_s_service_is_trusted_by_its_fingerprint_alone(site: SiteLab) -> None:
    answer = site.curl(f"https://nas.{site.site.domain}/files")
    assert (answer.status, answer.body) == (200, "not managed: /files"), answer
    refused = site.curl(f"https://wrong.{site.site.domain}/files")
    assert refused.status == 503, refused
    asked = site.sh("client", f"grep -c 'GET /files' {FAR}.log").out
    assert asked == "1\n", "the wrong one never reached it"


@pytest.mark.usefixtures("services")
def test_tcp_goes_through_the_gateway_and_past_it_nowhere(site: SiteLab) -> None:
    ask = "timeout 5 bash -c 'exec 3<>/dev/tcp/{}/{}; echo hi >&3; head -n 1 <&3'"
    through = site.sh("client", ask.format(f"echo.{site.site.domain}", DOOR))
    assert through.out == "echo hi\n", through
    assert site.sh("client", ask.format(site.address("ca"), ECHO_PORT)).out == ""


@pytest.mark.usefixtures("services")
def test_a_server_is_asked_whether_a_request_may_enter(site: SiteLab) -> None:
    for name, status in (("denied", 401), ("granted", 200)):
        assert site.curl(f"https://{name}.{site.site.domain}/x").status == status, name


@pytest.mark.usefixtures("services")
def test_a_call_of_grpc_goes_by_http2_all_the_way(site: SiteLab) -> None:
    site.put("client", "/root/call", b"\0\0\0\0\0")
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    url = f"https://rpc.{site.site.domain}/a.Service/Call"
    asked = site.sh(
        "client",
        "curl -sS --max-time 20 --http2 -D /root/call.head -o /root/call.body --cacert "
        + " ".join([ROOT_FILE, *(f"'{word}'" for word in headers)])
        + f" --data-binary @/root/call {url}; cat /root/call.head; od -c /root/call.body",
    )
    assert asked.out.startswith("HTTP/2 200"), asked
    assert "grpc-status: 0" in asked.out, asked
    assert "o   k" in asked.out, asked


@pytest.mark.usefixtures("services")
def test_tls_is_passed_on_to_its_own_certificate(site: SiteLab) -> None:
    name = f"own.{site.site.domain}"
    output = site.s_client(f"{site.address('gateway')}:{OWN_PORT}", name).text
    assert "CN=its-own" in output.replace(" ", ""), output


def test_the_plan_and_the_files_have_no_password(site: SiteLab, services: Project) -> None:
    password = site.secrets["app_anna"]
    plan = services.phoenix("plan")
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert password not in plan.stdout + plan.stderr
    users = site.sh("traefik", "cat /etc/traefik/users/locked.users", ok=True).out
    assert re.fullmatch(r"anna:\$2b\$10\$\S{53}\n", users), users
    mode = site.sh("traefik", "stat -Lc '%a %G' /etc/traefik/users/locked.users", ok=True).out
    assert mode == "640 traefik\n"
