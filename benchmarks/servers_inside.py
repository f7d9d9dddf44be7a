"""Nginx, Traefik and dnsmasq with the configuration of a site, by the number of its names.

Runs inside a container, with Python alone: `servers_inside.py FOLDER SECONDS` prints JSON. FOLDER
has the files of `benchmarks.servers`. CPU time is what the kernel accounts to the processes, in
ticks of 10 ms; memory is their share (PSS).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "home.bench.example.com"
_TICKS = os.sysconf("SC_CLK_TCK")


def main(folder: Path, seconds: int) -> None:
    """Measure each server; what it prints is all that is told."""
    with Path("/etc/hosts").open("a", encoding="ascii") as hosts:
        hosts.write(f"10.64.0.2 {NAME}\n")
    traefik = start_traefik(folder)
    nginx = start_nginx(folder)
    result = {"dnsmasq": dnsmasq(folder), "nginx": nginx(), "traefik": traefik()}
    load(f"https://{NAME}/", 1)  # caches and connections
    result["path"] = requests_of(f"https://{NAME}/", seconds)
    result["connections"] = requests_of(f"https://{NAME}/", seconds, "-H", "Connection: close")
    for name in ("nginx", "traefik"):
        result[name]["memory_loaded"] = memory(processes(name))
    print(json.dumps(result))
    for name in ("nginx", "backend", "traefik"):
        for each in processes(name):
            os.kill(each, signal.SIGKILL)


def processes(name: str) -> list[int]:
    """Process ids of a program's."""
    return [
        int(file.parent.name)
        for file in Path("/proc").glob("[0-9]*/comm")
        if file.read_text().strip() == name
    ]


def proc_files(ids: Sequence[int], name: str) -> list[str]:
    """A file of /proc of each process that is still there."""
    texts = []
    for each in ids:
        with suppress(OSError):
            texts.append(Path(f"/proc/{each}/{name}").read_text())
    return texts


def cpu(ids: Sequence[int]) -> float:
    """CPU seconds of processes."""
    fields = [text.rsplit(")", 1)[1].split() for text in proc_files(ids, "stat")]
    return sum(int(each[11]) + int(each[12]) for each in fields) / _TICKS


def memory(ids: Sequence[int]) -> float:
    """MiB of processes, what they share counted once."""
    text = "".join(proc_files(ids, "smaps_rollup"))
    return sum(map(int, re.findall(r"^Pss: +(\d+) kB", text, re.M))) / 1024


def answer(url: str) -> str:
    """What is there; empty where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  # written above
            return str(response.read().decode())
    except OSError:
        return ""


def wait(true: Callable[[], bool], subject: str) -> None:
    """Wait until something is true, or end the program."""
    end = time.monotonic() + 60
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"no answer in 60 s: {subject}")
        time.sleep(0.005)


def start_nginx(folder: Path) -> Callable[[], dict[str, float]]:
    """Start Nginx and a backend; gives what reloads and measures it."""
    backend = ("daemon on; pid /run/backend.pid; worker_processes 1; events {} "
               "http { access_log off; "
               "server { listen 127.0.0.1:8083; keepalive_requests 1000000; "
               'location / { return 200 "backend"; } } }')  # fmt: skip
    Path("/run/backend.conf").write_text(backend)
    # By another name its processes are told from the gateway's.
    shutil.copy("/usr/sbin/nginx", "/usr/local/bin/backend")
    subprocess.run(["/usr/local/bin/backend", "-c", "/run/backend.conf"], check=True)
    shutil.copy(folder / "nginx.conf", "/etc/nginx/nginx.conf")
    following = (folder / "nginx.conf.next").read_text()
    generation, next_generation = (
        re.findall(r'return 200 "([0-9a-f]{16})', text)[0]
        for text in ((folder / "nginx.conf").read_text(), following)
    )
    status = re.findall(r"listen (127\.0\.0\.1:\d+);", following)[0]
    url = f"http://{status}/generation"
    subprocess.run(["nginx"], check=True)
    wait(lambda: answer(url).strip() == generation, "nginx")

    def measure() -> dict[str, float]:
        before = memory(processes("nginx"))
        Path("/etc/nginx/nginx.conf").write_text(following)
        usage = os.times()
        subprocess.run(["nginx", "-t", "-q"], check=True)
        after = os.times()
        began = time.monotonic()
        subprocess.run(["nginx", "-s", "reload"], check=True)
        wait(lambda: answer(url).strip() == next_generation, "nginx reload")
        seconds = time.monotonic() - began
        check = after.children_user + after.children_system
        check -= usage.children_user + usage.children_system
        return {"memory": before, "check_cpu": check, "reload": seconds}

    return measure


def start_traefik(folder: Path) -> Callable[[], dict[str, float]]:
    """Start Traefik; gives what reloads and measures it."""
    for name in ("traefik.yml", "dashboard.users"):
        Path("/etc/traefik/dynamic").mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, f"/etc/traefik/{name}")
    routes = Path("/etc/traefik/dynamic/phoenix.yml")
    shutil.copy(folder / "phoenix.yml", routes)
    environment = {**os.environ, "GOGC": "400", "GOMEMLIMIT": "256MiB"}
    process = subprocess.Popen(
        ["/usr/local/bin/traefik", "--configFile=/etc/traefik/traefik.yml"], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = "http://127.0.0.1:8081/api/http/middlewares"
    wait(lambda: (folder / "marker").read_text() in answer(url), "Traefik")

    def measure() -> dict[str, float]:
        before, used = memory([process.pid]), cpu([process.pid])
        shutil.copy(folder / "phoenix.yml.next", routes)
        began = time.monotonic()
        process.send_signal(signal.SIGHUP)
        wait(lambda: (folder / "marker.next").read_text() in answer(url), "Traefik's reload")
        seconds = time.monotonic() - began
        time.sleep(1)
        return {
            "memory": before,
            "reload": seconds,
            "reload_cpu": cpu([process.pid]) - used,
        }

    return measure


def dnsmasq(folder: Path) -> dict[str, float]:
    """Start dnsmasq, ask it 20,000 times, end it."""
    began = time.monotonic()
    process = subprocess.Popen(
        ["dnsmasq", "--keep-in-foreground", "--user=root", f"--conf-file={folder / 'dnsmasq.conf'}"]
    )
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(0.05)
    client.connect(("10.64.0.13", 53))
    labels = b"".join(bytes([len(part)]) + part.encode() for part in NAME.split("."))
    question = labels + b"\0" + struct.pack(">HH", 1, 1)

    def ask(number: int) -> bool:
        client.send(struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + question)
        try:
            return client.recv(512)[7] == 1  # one answer
        except OSError:
            return False

    wait(lambda: ask(1), "dnsmasq")
    seconds = time.monotonic() - began
    client.settimeout(5)
    used, number = cpu([process.pid]), 20000
    for each in range(number):
        if not ask(each):
            raise SystemExit("dnsmasq gave no answer")
    result = {
        "start": seconds,
        "memory": memory([process.pid]),
        "us": (cpu([process.pid]) - used) / number * 1e6,
    }
    process.terminate()
    process.wait()
    return result


def load(url: str, seconds: int, *options: str) -> str:
    """The report of wrk; any answer but 2xx ends the program."""
    done = subprocess.run(
        ["wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "5s", "--latency", *options, url],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    if "Non-2xx" in done.stdout:
        raise SystemExit(done.stdout)
    return done.stdout


def requests_of(url: str, seconds: int, *options: str) -> dict[str, Any]:
    """The report of a load, and what each server spent on it."""
    servers = {name: processes(name) for name in ("nginx", "traefik")}
    before = {name: cpu(ids) for name, ids in servers.items()}
    report = load(url, seconds, *options)
    return {"report": report, **{name: cpu(ids) - before[name] for name, ids in servers.items()}}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
