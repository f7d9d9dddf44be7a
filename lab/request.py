"""The proof at the end of `run`: a verified HTTPS request from a machine that is no host."""

from __future__ import annotations

from lab import preflight
from lab.guests import load_site
from lab.image import pack
from lab.progress import say
from lab.settings import LabError, Settings
from lab.state import LabState
from phoenix import routes, site
from phoenix.services import CA_PORT

ROOT_FILE = "/root/phoenix-root.pem"


def request(lab: LabState, settings: Settings) -> int:
    """Ask for the first routed service by name, trusting the root alone; print what came.

    :return: 0 for a status of 2xx or 3xx over a verified connection, else 1
    """
    model = load_site(settings)
    fqdn, path = routed_service(model)
    client = preflight.connect()
    # On the CA's own loopback nobody is in between, so no trust is needed to learn the root.
    if model.ca is None:
        raise LabError("The site declares no certificate authority, so nothing can be verified.")
    roots = f"https://127.0.0.1:{CA_PORT}/roots.pem"
    answer = client.containers.get(lab.container(model.ca.name)).exec_run(
        ["curl", "-fsSk", "--max-time", "10", roots]
    )
    if answer.exit_code != 0:
        raise LabError(f"Step-CA does not tell its root: {answer.output.decode().strip()}")
    visitor = client.containers.get(lab.client)
    visitor.put_archive("/", pack({ROOT_FILE: (answer.output, 0o644)}))
    report = "\nHTTP %{http_version} %{http_code} from %{remote_ip} in %{time_total} s\n"
    url = f"https://{fqdn}{path}"
    say(f"client: curl --cacert {ROOT_FILE} {url}")
    result = visitor.exec_run(
        ["curl", "-sS", "--fail", "--max-time", "20", "--cacert", ROOT_FILE, "-w", report, url]
    )
    print(result.output.decode(errors="replace").strip())
    if result.exit_code != 0:
        say(f"the request failed: curl's status {result.exit_code}")
        return 1
    say(f"{url} answers, verified against the lab's own root")
    return 0


def routed_service(model: site.Site) -> tuple[str, str]:
    """Name and health path of the first service behind the gateway; LabError where none is."""
    for route in routes.routes(model):
        if route.kind == "backend":
            return route.fqdn, route.health_path
    raise LabError("The site routes no service, so there is nothing to ask for.")
