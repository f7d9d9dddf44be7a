"""The verbs of `phoenix`, each imported when it is called: help and completion stay quick."""

from __future__ import annotations

import json
import re
import sys
from ast import literal_eval
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

import typer
from typer._click import Command, Context  # typer brings its own copy of click
from typer._click.exceptions import BadParameter, NoSuchOption, UsageError
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from phoenix.cli import exits, helptext, options
from phoenix.site import suggestions


class Verb(NamedTuple):
    """Where a verb is, and its first line of help, which is that of its docstring or group."""

    module: str
    name: str
    summary: str


VERBS: dict[str, Verb] = {
    "init": Verb(
        "init",
        "init",
        "Make a new site's folder: declaration, settings, stacks, inventory, .gitignore, SOPS "
        "file.",
    ),
    "validate": Verb(
        "validate",
        "validate",
        "Check the whole configuration, offline: no host is asked and no secret is needed.",
    ),
    "schema": Verb(
        "schema",
        "schema",
        "Show the JSON Schema of the site's files, by which editors complete and check them.",
    ),
    "plan": Verb(
        "plan",
        "plan",
        "Show what `phoenix sync` with the same targets would change, with differences.",
    ),
    "sync": Verb(
        "sync", "sync", "Converge the site, or the targets alone; a second run changes nothing."
    ),
    "add": Verb(
        "add",
        "app",
        "Add a service, host or stack to the declaration; `remove --undeclare` is the counterpart.",
    ),
    "remove": Verb(
        "remove",
        "remove",
        "Remove a thing that Phoenix deployed and that is no longer declared.",
    ),
    "status": Verb(
        "status",
        "status",
        "Show guests, services, certificates, endpoints, stacks, drift and undeclared things.",
    ),
    "doctor": Verb(
        "doctor",
        "doctor",
        "Check each hop of a request on the guest that makes it, and name the first cause.",
    ),
    "check": Verb(
        "check",
        "app",
        "Check a Portainer or Proxmox VE of yours before the first deploy; reads only.",
    ),
    "history": Verb(
        "history",
        "history",
        "Show who ran what on this site, from which revision, when, and with what result.",
    ),
    "logs": Verb("logs", "logs", "Show the log of a component, stack, service or guest."),
    "exec": Verb(
        "exec", "exec_", "Run a command on the host, or in the container, that a name stands for."
    ),
    "explain": Verb(
        "explain",
        "explain",
        "Explain a name: DNS, gateway, router, backend, certificates, flows, and where it is "
        "declared.",
    ),
    "graph": Verb(
        "graph",
        "graph",
        "Draw the topology: clients, gateway, proxy, guests, services, stacks, DNS and CA.",
    ),
    "alert": Verb("alert", "app", "Alarms of the watcher: test that they arrive."),
    "outdated": Verb(
        "outdated",
        "outdated",
        "Show pins that have a newer release, with the reason to update, and images without a "
        "digest.",
    ),
    "backup": Verb(
        "backup",
        "app",
        "Back up the CA, Portainer's data and the generated secrets into one encrypted file.",
    ),
    "restore": Verb(
        "backup",
        "restore",
        "Restore a backup, on new guests or over existing data; then run `phoenix sync`.",
    ),
    "certs": Verb(
        "certs", "app", "Certificates: list them, renew a guest's now, replace the CA's keys."
    ),
    "secrets": Verb(
        "secrets",
        "app",
        "Secrets: list them (never their values), share them with other operators, rotate them.",
    ),
    "lab": Verb("lab", "app", "The container lab: the same site without a Proxmox host."),
}
"""Every verb, in the order in which help shows them."""


class LazyCommands(MutableMapping[str, Command]):
    """The verbs by name; each is imported when it is looked up for the first time."""

    def __init__(self) -> None:
        """Know the names alone."""
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        """The verb with all of its options."""
        if name not in self._loaded:
            self._loaded[name] = _load(name, VERBS[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Command) -> None:
        """Replace a verb."""
        self._loaded[name] = command

    def __delitem__(self, name: str) -> NoReturn:
        """The verbs are fixed."""
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a verb; nothing is imported for that."""
        return name in VERBS

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of help."""
        return iter(VERBS)

    def __len__(self) -> int:
        """How many there are."""
        return len(VERBS)


def _load(name: str, verb: Verb) -> Command:
    handler = getattr(import_module(f"phoenix.cli.{verb.module}"), verb.name)
    group = isinstance(handler, typer.Typer)
    app = handler if group else typer.Typer(rich_markup_mode="rich")
    app.pretty_exceptions_enable = False
    if group:
        _suggesting(app)
    else:
        app.command(name)(handler)
    helptext.tidy(app)
    command = typer.main.get_group(app) if group else _only(app)
    command.name = name
    _take_site(command)
    _name_values(command)
    return command


def _suggesting(app: typer.Typer) -> None:
    """Have a group of verbs, and the groups in it, suggest verbs for an unknown one."""
    app.info.cls = Group
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _suggesting(group.typer_instance)


def _name_values(command: Command) -> None:
    """Show arguments in capitals, as examples do, and flags without a value: they take none."""
    for inner in getattr(command, "commands", {}).values():
        _name_values(inner)
    for parameter in command.params:
        if isinstance(parameter, TyperArgument) and parameter.metavar is None:
            parameter.metavar = str(parameter.name).upper()
        elif isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""


def _take_site(command: Command) -> None:
    """Give `--site` to a verb, or to the verbs of a group, where they take `--inventory`."""
    for inner in getattr(command, "commands", {}).values():
        _take_site(inner)
    names = [parameter.name for parameter in command.params]
    if "inventory" in names:
        command.params.insert(names.index("inventory"), options.site_option())


def _only(app: typer.Typer) -> Command:
    return typer.main.get_command_from_info(
        app.registered_commands[0], pretty_exceptions_short=True, rich_markup_mode="rich"
    )


class Group(TyperGroup):
    """Verbs; for an unknown one it suggests similar ones (`phoenix.site.suggestions`)."""

    def __init__(self, **options: Any) -> None:
        """A typer group without typer's own suggestions."""
        super().__init__(**options | {"suggest_commands": False})

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """The verb that is called.

        Raises:
            UsageError: there is none of that name.
        """
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            unknown = args[0] not in self.commands
            if unknown and (verbs := suggestions.similar(args[0], self.commands)):
                error.message = f"{error.message.rstrip('.')}. {suggestions.sentence(verbs)}"
            raise


def _suggest_option(error: NoSuchOption) -> None:
    """Suggest options for an unknown one, in the place of typer's own suggestions."""
    error.possibilities = None
    if error.ctx is None or not error.option_name.startswith("--"):
        return
    known = [word for parameter in error.ctx.command.get_params(error.ctx)
             for word in (*parameter.opts, *parameter.secondary_opts)]  # fmt: skip
    names = (word.removeprefix("--") for word in known if word.startswith("--"))
    near = [
        f"--{name}" for name in suggestions.similar(error.option_name.removeprefix("--"), names)
    ]
    if near:
        error.message = f"{error.message}. {suggestions.sentence(near)}"


def _suggest_value(error: BadParameter) -> None:
    """Suggest a value for an option with fixed choices; typer names them in its message alone."""
    if match := _NO_CHOICE.search(error.message):
        value, choices = literal_eval(match[1]), literal_eval(f"({match[2]},)")
        question = suggestions.sentence(suggestions.similar(value, choices))
        error.message = f"{error.message} {question}".rstrip()


_NO_CHOICE = re.compile(r"""('.*'|".*") is not one of (.*)\.\Z""", re.DOTALL)
"""typer's message about a value that is no choice: value and choices, as Python literals."""


class LazyGroup(Group):
    """The top of the command line.

    Wrong usage ends with `exits.USAGE`, so that no script takes it for "there are changes", and
    with --json the error is on standard output as well.
    """

    def __init__(self, **options: Any) -> None:
        """Have every verb of `VERBS`."""
        super().__init__(**options)
        self.commands = LazyCommands()

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002
        """The names of all verbs; nothing is imported."""
        return list(VERBS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002
        """A verb as the list of verbs needs it: its name and its summary, nothing imported."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        return TyperCommand(cmd_name, help=verb.summary, rich_markup_mode=self.rich_markup_mode)

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, Command | None, list[str]]:
        """The verb that was called, whole."""
        name, command, arguments = super().resolve_command(ctx, args)
        return name, self.commands[name] if name is not None and command else None, arguments

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run the command line."""
        arguments = list(sys.argv[1:] if args is None else args)
        self._words = arguments
        return super().main(arguments, *more, **options)

    def make_context(self, *values: Any, **options: Any) -> Context:
        """Read the options that stand before the verb."""
        with self._usage():
            return super().make_context(*values, **options)

    def invoke(self, ctx: Context) -> Any:
        """Call the verb."""
        with self._usage():
            return super().invoke(ctx)

    @contextmanager
    def _usage(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:  # typer would end the command without a word
            raise exits.StoppedError("interrupted") from None
        except UsageError as error:
            error.exit_code = exits.USAGE
            if isinstance(error, NoSuchOption):
                _suggest_option(error)
            elif isinstance(error, BadParameter):
                _suggest_value(error)
            if wants_json(getattr(self, "_words", [])):
                sys.stdout.write(error_json(error.format_message(), exits.USAGE))
            raise


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON."""
    return "--json" in arguments[: arguments.index("--") if "--" in arguments else len(arguments)]


def error_json(message: str, code: int) -> str:
    """An error that ends the command, as the one JSON object on standard output."""
    return json.dumps({"error": message, "exit_code": code}, indent=2) + "\n"
