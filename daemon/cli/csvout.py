"""`--csv`: the same answer for a spreadsheet, as the API writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from daemon.cli import client
from daemon.cli.lazy import State

F = TypeVar("F", bound=Callable[..., Any])


def option(command: F) -> F:
    """`--csv`."""
    wanted = click.option(
        "--csv", is_flag=True, expose_value=False, callback=_csv, help="Print CSV, for a spreadsheet."
    )
    return wanted(command)


def _csv(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's own call
    if value:
        ctx.ensure_object(State).csv = True


def emit(state: State, path: str, query: dict[str, Any], *, everything: bool = False) -> None:
    """Print an answer; of a list one page, or `everything`: the pages after it without their headings."""
    if state.json:
        raise click.UsageError("--json and --csv are two answers: expected one of them")
    text, following = client.as_csv(state, path, query)
    click.echo(text, nl=False)
    while everything and following is not None:
        text, following = client.as_csv(state, path, {**query, "after": following})
        click.echo(text.partition("\r\n")[2], nl=False)
    if following is not None:
        click.echo(f"more: --after {following}, or --all", err=True)
