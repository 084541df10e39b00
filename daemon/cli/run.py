"""`provisiond run`."""

from __future__ import annotations

import asyncio

import click

from daemon.cli import exits, out
from daemon.cli.lazy import JsonCommand, State
from daemon.domain.errors import ConfigError


@click.command(cls=JsonCommand)
@click.pass_obj
def run(state: State) -> None:
    """Run the daemon until it is told to stop."""
    from daemon import app

    try:
        code = asyncio.run(app.run(state.config))
    except ConfigError as error:
        out.complain(error)
        code = exits.exit_of_run(error)
    raise SystemExit(code)
