"""A place on a guest that takes alarms, for tests and benchmarks: what came is lines of JSON."""

from __future__ import annotations

UNIT, MESSAGES, PROGRAM = (
    "phoenix-test-hook", "/run/phoenix-test-messages", "/root/phoenix-test-hook.py",
)  # fmt: skip
URL = "json://hook:planted-in-a-url@127.0.0.1:8099/alarm"
"""For the secret `alarm_urls`; it holds a password that no log may have."""
SERVER = f"""
import http.server
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open("{MESSAGES}", "ab") as file:
            file.write(body.replace(b"\\n", b" ") + b"\\n")
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8099), Hook).serve_forever()
"""
START = f"systemd-run -q --collect --unit {UNIT} python3 {PROGRAM}"
STOP = f"systemctl stop {UNIT}; rm -f {MESSAGES} {PROGRAM}"
