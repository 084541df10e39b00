"""`provisiond demo`: the main job end to end with the real daemon, then a month of metering on a virtual clock."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from daemon.cli.demo import month, order
from daemon.cli.demo.outcome import DemoError
from daemon.cli.lazy import JsonCommand, State
from daemon.domain.errors import ProvisiondError

PARTS = ("order", "month")


@click.command(cls=JsonCommand)
@click.option("--only", type=click.Choice(PARTS), help="One part: the order with the real daemon, or the month.")
@click.option(
    "--miscount",
    is_flag=True,
    help="Change the sandbox's own count by one byte before it is compared: it must be found.",
)
@click.pass_obj
def demo(state: State, only: str | None, *, miscount: bool) -> None:
    """Show the main job end to end, and a month counted to the byte.

    First the real daemon on simulated panels: order, provision, count, release, and the same server sold again. Then a month on a
    virtual clock, whose usage records are compared with what the simulated servers really sent.
    """
    console = Console(quiet=state.json)
    answer: dict[str, Any] = {"ok": True, "error": None}
    try:
        asyncio.run(_demo(console, [only] if only else PARTS, miscount=miscount))
    except (DemoError, ProvisiondError) as error:
        answer = {"ok": False, "error": str(error)}
        console.print(f"[red]The demo failed:[/] {escape(str(error))}")
    if state.json:
        click.echo(json.dumps(answer))
    if not answer["ok"]:
        raise SystemExit(1)


async def _demo(console: Console, parts: Sequence[str], *, miscount: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="provisiond-demo-") as folder:
        for part in parts:
            own = Path(tempfile.mkdtemp(dir=folder))
            if part == "order":
                await order.tell(own, console)
            else:
                await month.tell(own, console, miscount=miscount)
    console.print("\n[bold green]Everything was given back and counted to the byte.[/]")
