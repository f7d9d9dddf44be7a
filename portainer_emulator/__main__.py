"""``python3 -m portainer_emulator server|agent``, with the real programs' flags and environment."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from . import agent, server
from .store import SchemaError

DEFAULT_VERSIONS = {"sync": "2.39.1", "async": "2.45.0"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="portainer_emulator")
    parser.add_argument(
        "--mode",
        choices=sorted(DEFAULT_VERSIONS),
        default=os.environ.get("EMULATOR_MODE", "sync"),
        help="deployment model; EMULATOR_MODE in the environment sets it too",
    )
    parser.add_argument("--version", help="the version to report")
    commands = parser.add_subparsers(dest="command", required=True)
    run_agent = commands.add_parser("agent")
    run_agent.add_argument("--docker-socket", default=agent.DOCKER_SOCKET)
    run_server = commands.add_parser("server")
    run_server.add_argument("--bind-https", default=":9443")
    run_server.add_argument("--sslcert", type=Path, required=True)
    run_server.add_argument("--sslkey", type=Path, required=True)
    run_server.add_argument("--data", "-d", type=Path, default=Path("/data"))
    run_server.add_argument("--admin-password-file", type=Path)
    run_server.add_argument("--http-disabled", action="store_true", help="always so here")
    run_server.add_argument("--tunnel-addr", help="of the server for Edge agents: none is here")
    run_server.add_argument("--tunnel-port", type=int, help="as --tunnel-addr")
    run_server.add_argument("--setup-token")
    run_server.add_argument("--no-setup-token", action="store_true")
    run_server.add_argument("--admin-seconds", type=float, default=300.0, help="for tests")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


def _run_agent(options: argparse.Namespace, version: str) -> None:
    host = os.environ.get("AGENT_HOST", "0.0.0.0")  # noqa: S104 - the real agent's default
    port = int(os.environ.get("AGENT_PORT", "9001"))
    secret = os.environ.get("AGENT_SECRET", "")
    program = agent.Agent(options.docker_socket, secret, version)
    agent.serve(program, host, port)
    agent.serve(program, "127.0.0.1", agent.INTERNAL_PORT)
    _say(f"agent {version} (emulator) listens on {host}:{port}")


def _run_server(options: argparse.Namespace, version: str) -> None:
    password = None
    if options.admin_password_file is not None:
        password = options.admin_password_file.read_text().removesuffix("\n")
    settings = server.Settings(
        data=options.data,
        version=version,
        asynchronous=options.mode == "async",
        admin_password=password,
        setup_token="" if options.no_setup_token else options.setup_token,
        agent_secret=os.environ.get("AGENT_SECRET", ""),
        admin_seconds=options.admin_seconds,
        certificate=(options.sslcert, options.sslkey),
    )
    host, _, port = options.bind_https.rpartition(":")
    try:
        portainer = server.Portainer(settings, _say, request_log=_say)
    except SchemaError as error:
        _say(f"FTL {error}")
        sys.exit(1)
    server.serve(portainer, host or "0.0.0.0", int(port), options.sslcert, options.sslkey)  # noqa: S104
    _say(f"Portainer {version} (emulator, {options.mode}) listens on {host}:{port}")


def main() -> None:
    """Runs until SIGTERM."""
    options = _parser().parse_args()
    version = options.version or DEFAULT_VERSIONS[options.mode]
    (_run_agent if options.command == "agent" else _run_server)(options, version)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())  # as PID 1 it has no default action
    ended.wait()


main()
