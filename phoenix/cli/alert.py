"""`phoenix alert`: whether alarms reach people."""

from __future__ import annotations

import typer

from phoenix.cli import options

app = typer.Typer(no_args_is_help=True, help="Alarms of the watcher: test that they arrive.")


@app.callback()
def _group() -> None:
    """Alarms of the watcher: test that they arrive."""


@app.command("test")
def try_places(
    inventory: options.InventoryOption = options.DEFAULT_INVENTORY,
    as_json: options.JsonOption = False,
) -> None:
    """Send a test from the watcher to every place where alarms go.

    The places are the URLs of the secret alarm_urls, as the last sync gave them to the watcher.

    Examples:
      phoenix alert test

    Exit code: 0 each place has taken it, 1 one has not, or there is none.
    """
    from phoenix.cli import project
    from phoenix.cli.converge import converge, finish
    from phoenix.cli.exits import CommandError
    from phoenix.cli.targets import Work

    site = project.load(inventory)
    watcher = site.site.watcher
    if watcher is None:
        raise CommandError(
            'no host watches this site: write "watcher": "hypervisor" into "site" of '
            "phoenix_lxc_configs.json (docs/watch.md), then run `phoenix sync`"
        )
    work = Work(("deploys/alert_test.py",), (watcher.name,), {})
    finish(converge(site, [work], "alert test", quiet=as_json, notes=True), as_json)
