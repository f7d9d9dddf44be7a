"""`python3 lab COMMAND`: bootstraps this machine if need be, then runs the command."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python may well start this file
    sys.exit("The lab needs Python 3.11 or newer (Debian 12 or 13).")

# Started as `python3 lab`, the path begins with this directory instead of the project's.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from lab import bootstrap  # noqa: E402
from lab.settings import LabError  # noqa: E402

USAGE = """usage: python3 lab COMMAND
  up              bring the lab up (what runs as it should is kept)
  down            remove its containers, volumes and network
  status          one line per host (--json: the same as JSON)
  shell HOST      a root shell on a host (or on `client`)
  run             up, then the whole deploy, then a verified HTTPS request from the client
  test [ARGS]     lint, types and every test; ARGS go to pytest
  test --fast     the same without the tests that need a lab or long: no root, no Docker Engine

environment:
  PHOENIX_LAB_NAME=lab        another name makes another lab beside the first
  PHOENIX_LAB_SUBNET=A.B.C.0/24
  PHOENIX_LAB_PULL=0          do not look for a registry
  PHOENIX_LAB_DEBIAN_12=HOST  hosts (comma) of Debian 12; the others are of Debian 13
  PHOENIX_LAB_STANDIN=all     or none, or the hosts (comma) that get stand-in backends"""


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit status."""
    # Of `test` the words after it are pytest's.
    asked = arguments[:1] if arguments[:1] == ["test"] else arguments
    if not arguments or arguments[0] == "help" or {"-h", "--help"} & set(asked):
        print(USAGE)
        return 0 if arguments else 2
    fast = arguments[0] == "test" and "--fast" in arguments
    try:
        if not bootstrap.in_venv():
            if fast:
                bootstrap.enter(bootstrap.ensure_venv(), arguments)
            bootstrap.enter(bootstrap.run(browser=arguments[0] == "test"), arguments)
        if not fast:
            bootstrap.ensure_docker()
        from lab import cli  # needs what the bootstrap installs

        return cli.main(arguments, USAGE)
    except LabError as error:
        print(f"\nlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


sys.exit(main(sys.argv[1:]))
