"""`provisiond db`: what is done to the database without a daemon."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from daemon.cli import exits, out
from daemon.cli.lazy import Noun, State


@click.group(cls=Noun)
def db() -> None:
    """The database."""


@db.command("migrate")
@click.pass_obj
def migrate(state: State) -> None:
    """Make or upgrade the tables. Refused while a daemon works on the same state_dir."""
    from daemon import app

    out.quiet()
    done = asyncio.run(app.migrate(state.config))
    out.emit(state, {"done": done}, lambda body: click.echo(body["done"]))


@db.command("check")
@click.pass_obj
def check(state: State) -> None:
    """Look for what is wrong: version, integrity, and the chain of the audit log."""
    from daemon import app

    out.quiet()
    problems = asyncio.run(app.check_database(state.config))

    def human(body: Any) -> None:
        for problem in body["problems"]:
            click.echo(problem)
        if not body["problems"]:
            click.echo("all is well")

    out.emit(state, {"problems": problems}, human)
    raise SystemExit(exits.DATABASE if problems else 0)
