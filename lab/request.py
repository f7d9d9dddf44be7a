"""The proof at the end of `run`: a verified HTTPS request from a machine that is not a host."""

from __future__ import annotations

from lab import inside, preflight
from lab.guests import lab_site
from lab.image import pack
from lab.progress import say
from lab.settings import LabError, Settings
from lab.state import LabState
from phoenix.derived import control_plane, routes
from phoenix.site.model import Site

ROOT_FILE = "/root/phoenix-root.pem"
_REPORT = "HTTP/%{http_version} %{http_code}, certificate verified"
_CURL = ("curl", "-sS", "-o", "/dev/null", "--max-time", "20", "-w", _REPORT)


def request(lab: LabState, settings: Settings) -> int:
    """Ask for every routed service by name, trusting the root alone; print what came.

    Returns:
        0 if each answered as it should over a verified connection, else 1.
    """
    model = lab_site(settings)
    expected = expectations(model)
    client = preflight.connect()
    # On the CA's own loopback nobody is in between, so its answer is the root.
    if model.ca is None:
        raise LabError("The site declares no certificate authority, so nothing can be verified.")
    roots = f"https://127.0.0.1:{control_plane.ca(model).port}/roots.pem"
    ca = client.containers.get(lab.container(model.ca.name))
    answer = inside.run(ca, "curl", "-fsSk", "--max-time", "10", roots)
    if answer.returncode != 0:
        raise LabError(f"Step-CA does not tell its root: {answer.stderr.strip()}")
    visitor = client.containers.get(lab.client)
    visitor.put_archive("/", pack({ROOT_FILE: (answer.stdout.encode(), 0o644)}))
    say(f"a client that is not a host of the site, and trusts {ROOT_FILE} alone:")
    failures = 0
    for url, status in expected.items():
        result = inside.run(visitor, *_CURL, "--cacert", ROOT_FILE, url)
        output = (result.stdout + result.stderr).strip()
        as_expected = result.returncode == 0 and f" {status}," in output
        failures += not as_expected
        print(f"  {url:<66} {output}{'' if as_expected else f'   FAILED, expected {status}'}")
    return 1 if failures else 0


def expectations(model: Site) -> dict[str, int]:
    """URL -> status for each name behind the gateway; LabError where there is none.

    The dashboard asks for a login, so it answers 401 to somebody who has none.
    """
    statuses = {
        f"https://{route.fqdn}{'/dashboard/' if route.kind == 'dashboard' else route.health_path}":
            401 if route.kind == "dashboard" else 200
        for route in routes.routes(model)
    }  # fmt: skip
    if not statuses:
        raise LabError("The site routes no service, so there is nothing to ask for.")
    return statuses
