"""The command line. Everything beyond `--help` is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from daemon.cli import out
from daemon.cli.exits import EXITS, exit_of
from daemon.cli.lazy import DEFAULT_CONFIG, Later, LazyGroup, State, json_option
from daemon.domain.errors import ProvisiondError

COMMANDS: dict[str, Later] = {
    "run": Later("daemon.cli.run", "run", "Run the daemon until it is told to stop."),
    "check": Later("daemon.cli.check", "check", "Check the settings, and ask every platform how it is."),
    "demo": Later(
        "daemon.cli.demo",
        "demo",
        "Show the main job end to end, and a month counted to the byte.",
    ),
    "sandbox": Later("daemon.cli.sandbox", "sandbox", "Run simulated panels to try things on."),
    "plan": Later("daemon.cli.plan", "plan", "What is sold."),
    "order": Later("daemon.cli.order", "order", "Order, or see what an order would do."),
    "service": Later("daemon.cli.service", "service", "What customers have."),
    "operation": Later("daemon.cli.operation", "operation", "What is being done, and what it waits for."),
    "task": Later("daemon.cli.task", "task", "What a person must do."),
    "usage": Later("daemon.cli.usage", "usage", "What services used."),
    "module": Later("daemon.cli.module", "module", "The platforms that carry services."),
    "token": Later("daemon.cli.token", "token", "Who may use the HTTP API."),
    "db": Later("daemon.cli.db", "db", "The database."),
}


class Root(LazyGroup):
    """Turns our errors into a sentence and an exit code, whichever command they came from."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ProvisiondError as error:
            out.complain(error)
            ctx.exit(exit_of(error))


def _epilog() -> str:
    return "\b\nExit codes:\n" + "\n".join(f"  {number}  {meaning}" for number, meaning in EXITS.items())


@click.group(
    cls=Root,
    later=COMMANDS,
    epilog=_epilog(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    envvar="PROVISIOND_CONFIG",
    show_default=True,
    help="The daemon's provisiond.yaml; the other folders are beside it.",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    envvar="PROVISIOND_SOCKET",
    help="The daemon's socket, where it isn't state_dir/provisiond.sock.",
)
@click.version_option(package_name="provisiond", prog_name="provisiond")
@click.pass_context
def cli(ctx: click.Context, config: Path, socket: Path | None) -> None:
    """Rent out dedicated servers: order, provision, count, give back."""
    state = ctx.ensure_object(State)
    state.config, state.socket = config, socket


cli.params.append(json_option())
