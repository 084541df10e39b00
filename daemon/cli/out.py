"""How answers are shown: JSON, a rich table on a terminal, plain aligned text elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from daemon.cli.lazy import State
from daemon.domain.errors import ProvisiondError

Row = Sequence[Any]


def emit(state: State, body: Any, human: Callable[[Any], None]) -> None:
    """Show `body` as JSON or by `human`."""
    if state.json:
        click.echo(json.dumps(body, ensure_ascii=False))
    else:
        human(body)


def quiet() -> None:
    """For commands that work without a daemon: their answer is on standard output, warnings go to standard error."""
    from daemon.observability import logs

    logs.configure("warning")


def complain(error: ProvisiondError) -> None:
    """Say what went wrong; mistakes in the settings begin with their place, as compilers and editors have it."""
    before = "" if error.code == "settings" else "provisiond: "
    click.echo(f"{before}{error.message}", err=True)


def safe(text: str) -> str:
    """Text for a terminal: a name from outside can't move the cursor or change colours."""
    return "".join(c if c.isprintable() else "?" for c in text)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(cell(item) for item in value) or "-"
    return safe(str(value))


def moment(text: str | None) -> str:
    """A time of the API, to the second, in UTC."""
    if text is None:
        return "-"
    from datetime import UTC, datetime

    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def table(columns: Sequence[str], rows: Iterable[Row]) -> None:
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        click.echo("(none)")
    elif sys.stdout.isatty():
        _rich(columns, cells)
    else:
        _aligned([list(columns), *cells])


def width(elsewhere: int) -> int:
    """Of the terminal."""
    if not sys.stdout.isatty():
        return elsewhere
    import shutil

    return shutil.get_terminal_size((elsewhere, 24)).columns


def can_show(text: str) -> bool:
    """Whether the terminal knows these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def drawing(lines: Sequence[str]) -> None:
    """A heading, a picture in colour where there is colour, and a last line of text."""
    if not sys.stdout.isatty():
        click.echo("\n".join(lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for number, line in enumerate(lines):
        console.print(Text(line, style="cyan" if 0 < number < len(lines) - 1 else ""))


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """One thing, a line for each of its facts."""
    shown = [(name, cell(value)) for name, value in pairs]
    width = max(len(name) for name, _ in shown) + 2
    for name, value in shown:
        click.echo(f"{name:<{width}}{value}")


def _aligned(lines: list[list[str]]) -> None:
    widths = [max(len(line[number]) for line in lines) for number in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip())


def _rich(columns: Sequence[str], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(value) for value in row))
    Console().print(shown)
