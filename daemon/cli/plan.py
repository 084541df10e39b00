"""`provisiond plan`."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli import lists, out
from daemon.cli.lazy import Noun, State


@click.group(cls=Noun)
def plan() -> None:
    """What is sold."""


def _row(item: dict[str, Any]) -> out.Row:
    free = "unknown" if item["available"] is None else item["available"]
    return item["name"], free, item["module"], item["server_type"], item["title"], list(item["prices"])


@plan.command("list")
@lists.page_options
@click.pass_obj
def list_plans(state: State, limit: int, after: str | None, *, everything: bool) -> None:
    """All plans, with what is free now."""
    columns = ("PLAN", "FREE", "MODULE", "SERVER TYPE", "TITLE", "CURRENCIES")
    lists.show(state, "/v1/plans", {}, columns, _row, limit=limit, after=after, everything=everything)
