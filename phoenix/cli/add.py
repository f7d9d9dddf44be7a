"""`phoenix add`: a service, host or stack for the declaration, in a person's own text."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phoenix.cli import complete, options
from phoenix.cli.exits import CommandError
from phoenix.site import suggestions

if TYPE_CHECKING:
    from phoenix.cli.adding import Draft

app = typer.Typer(
    no_args_is_help=True,
    help="Add a service, host or stack to the declaration; `remove --undeclare` is the "
    "counterpart.",
)
_DRY = "Show the difference, and write nothing."
DryOption = Annotated[bool, typer.Option("--dry", help=_DRY)]
SchemeOption = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="How Traefik speaks to it: http or https. "
        "Default: http for a container's service, else https.",
    ),
]
HealthOption = Annotated[
    str | None, typer.Option("--health-path", metavar="PATH", help="Path that the checks ask for.")
]
AliasOption = Annotated[
    list[str] | None, typer.Option(help="One more name of it; may be given again.")
]
_HOST = typer.Option("--host", help="A guest.", autocompletion=complete.guests)


@app.command()
def service(
    name: Annotated[str, typer.Argument(help="Its label: https://NAME.DOMAIN.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port that it is served at.")],
    host: Annotated[str | None, _HOST] = None,
    stack: Annotated[
        str | None,
        typer.Option(help="A stack, instead of --host.", autocompletion=complete.stacks),
    ] = None,
    compose_service: Annotated[
        str | None, typer.Option("--service", help="Service of the stack's compose file.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option(help="Environment of the stack. Default: the site's.")
    ] = None,
    scheme: SchemeOption = None,
    health_path: HealthOption = None,
    alias: AliasOption = None,
    dry: DryOption = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Declare a service of a guest, or of a stack.

    The file keeps its form: one entry is added. It is proven in a copy of the site first, and
    written only if that is sound. No host is touched. A machine outside the site, such as a NAS,
    stands in external_services (docs/routes.md).

    Examples:
      phoenix add service wiki --host docker01 --port 8443
      phoenix add service git --host git01 --port 3000 --scheme http
      phoenix add service shop --stack shop --port 8080 --dry

    Exit code: 0 written (or sound, with --dry), 1 it would not be sound: nothing was written.
    """
    from phoenix.cli.adding import Route

    options.named(name)
    draft = _draft(inventory)
    route = Route(name.lower(), port, scheme, health_path, tuple(alias or ()))
    if (host is None) == (stack is None):
        raise CommandError("name its guest by --host, or its stack by --stack")
    if stack is None and (compose_service or environment):
        raise CommandError(
            "--service and --environment are of a stack's service: name it by --stack"
        )
    if host is not None:
        draft.add_service(draft.host(host), route)
    else:
        folder, named = draft.stack(stack or "")
        if environment and named and environment != named:
            raise CommandError(
                f"--stack {stack} is the environment {named}: leave one of the two out"
            )
        where = environment or named or draft.site.environment
        draft.add_stack_service(folder, where, compose_service or "", route)
    _finish(draft, f"phoenix plan {route.name}", dry=dry, as_json=as_json)


@app.command()
def host(
    name: Annotated[str, typer.Argument(help="Its host name.")],
    ip: Annotated[IPv4Address, typer.Option(parser=IPv4Address, metavar="IP", help="Its address.")],
    kind: Annotated[
        str | None, typer.Option(metavar="lxc|vm", help="Default: vm for Docker, else lxc.")
    ] = None,
    vmid: Annotated[
        int | None, typer.Option("--id", min=100, help="Its id in Proxmox VE. Default: a free one.")
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            help="step_ca, traefik, nginx, portainer, docker or name_server. Default: none."
        ),
    ] = None,
    dry: DryOption = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Declare a guest.

    It exists, or Phoenix makes it through Proxmox VE's API (docs/proxmox.md). The file keeps its
    form, and is written only if the site is sound with it. No host is touched.

    Examples:
      phoenix add host docker02 --ip 10.0.0.31 --role docker
      phoenix add host git01 --ip 10.0.0.40 --kind vm --id 210

    Exit code: 0 written (or sound, with --dry), 1 it would not be sound: nothing was written.
    """
    from phoenix.site.roles import ROLES

    options.named(name)
    if role is not None and role not in ROLES:
        raise CommandError(f"{role!r} is not a role. {suggestions.hint_for(role, ROLES)}")
    if kind not in (None, "lxc", "vm"):
        raise CommandError(f"--kind {kind}: write lxc or vm")
    draft = _draft(inventory)
    draft.add_host(name, ip, kind=kind, vmid=vmid, role=role)
    _finish(draft, f"phoenix plan {name.lower()}", dry=dry, as_json=as_json)


def _published(text: str) -> tuple[int, int]:
    first, _, second = text.partition(":")
    pair = [
        int(number) if number.isascii() and number.isdigit() else 0
        for number in (first, second or first)
    ]
    if not all(1 <= number <= 65535 for number in pair):
        raise CommandError(f"--publish {text}: write a port, as 8080, or two, as 8080:80")
    return pair[0], pair[1]


@app.command()
def stack(
    name: Annotated[str, typer.Argument(help="Its folder in stacks/.")],
    host: Annotated[str, _HOST],
    compose: Annotated[
        Path | None, typer.Option(help="A compose file to copy.", exists=True, dir_okay=False)
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Or an image, for a compose file of one service.")
    ] = None,
    publish: Annotated[
        str | None,
        typer.Option(
            metavar="PORT[:PORT]",
            help="Port on the host, and the one in the container of --image.",
        ),
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="Label of its name: https://SERVICE.DOMAIN.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on the host of --service, beside --publish."),
    ] = None,
    environment: Annotated[
        str | None, typer.Option(help="Its environment. Default: the site's.")
    ] = None,
    scheme: SchemeOption = None,
    health_path: HealthOption = None,
    dry: DryOption = False,
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Declare a stack on a Docker host; its folder is made where there is none.

    The files keep their form, and are written only if the site is sound with them. No host is
    touched.

    Examples:
      phoenix add stack qdrant_service --host docker02
      phoenix add stack wiki --host docker01 --compose ~/wiki/compose.yml
      phoenix add stack who --host docker01 --image traefik/whoami:v1.11 \\
                        --publish 8080:80 --service who --scheme http

    Exit code: 0 written (or sound, with --dry), 1 it would not be sound: nothing was written.
    """
    from phoenix.cli.adding import Route

    options.named(name)
    if compose is not None and image is not None:
        raise CommandError("--compose and --image: give one of the two")
    if publish is not None and image is None:
        raise CommandError("--publish is of --image; a compose file says what it publishes itself")
    if service is None and (port or scheme or health_path):
        raise CommandError("--port, --scheme and --health-path are of --service: give its label")
    ports = _published(publish) if publish is not None else None
    route = None
    if service is not None:
        chosen_port = port or (ports[0] if ports else None)
        if chosen_port is None:
            raise CommandError("--service needs the port on the host: --port, or --publish")
        route = Route(service.lower(), chosen_port, scheme, health_path)
    draft = _draft(inventory)
    draft.add_stack(
        name, draft.host(host), environment,
        compose=_text(compose) if compose is not None else None,
        image=image, publish=ports, route=route,
    )  # fmt: skip
    _finish(draft, f"phoenix plan stack:{name}", dry=dry, as_json=as_json)


def _text(file: Path) -> str:
    """A compose file that somebody names: a regular one, of a size that fits its purpose.

    Raises:
        CommandError: it cannot be read.
    """
    from phoenix.declaration.json_errors import read_text
    from phoenix.site.findings import Report

    report = Report()
    text = read_text(file, str(file), "correct the path", report)
    if text is None:
        raise CommandError("; ".join(map(str, report.findings)))
    return text


def _draft(inventory: Path) -> Draft:
    from phoenix.cli import offline
    from phoenix.cli.adding import Draft

    return Draft(offline.read(inventory))


def _finish(draft: Draft, command: str, *, dry: bool, as_json: bool) -> None:
    from phoenix.cli import output
    from phoenix.cli.adding import print_added

    report = draft.finish(command, dry=dry)
    output.emit(as_json, report, lambda console: print_added(console, report))
