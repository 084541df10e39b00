"""Lists: one page, or all pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from daemon.cli import client, csvout, out
from daemon.cli.lazy import State

F = TypeVar("F", bound=Callable[..., Any])
MOST = 500


def page_options(command: F) -> F:
    """`--limit`, `--after`, `--all` and `--csv`."""
    command = csvout.option(command)
    command = click.option("--all", "everything", is_flag=True, help="All pages.")(command)
    command = click.option("--after", help="Go on after this cursor.")(command)
    return click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True)(command)


def show(
    state: State,
    path: str,
    query: dict[str, Any],
    columns: Sequence[str],
    row: Callable[[dict[str, Any]], out.Row],
    *,
    limit: int = 50,
    after: str | None = None,
    everything: bool = False,
) -> None:
    """Ask for a list and show it."""
    query = {**query, "limit": MOST if everything else limit}
    if state.csv:
        csvout.emit(state, path, {**query, "after": after}, everything=everything)
        return
    body = client.ask(state, "GET", path, query={**query, "after": after})
    items, following = body["items"], body["next"]
    while everything and following is not None:
        body = client.ask(state, "GET", path, query={**query, "after": following})
        items, following = items + body["items"], body["next"]

    def human(_body: Any) -> None:
        out.table(columns, [row(item) for item in items])
        if following is not None:
            click.echo(f"more: --after {following}, or --all", err=True)

    out.emit(state, {"items": items, "next": following}, human)
