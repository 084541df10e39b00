"""The reference page of the command line, made from the commands so that they can't drift.

`python -m daemon.cli.reference` writes it, with `--check` it only says whether it differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from daemon.cli.exits import EXITS
from daemon.cli.main import cli

PAGE = "docs/reference/cli.md"

_INTRO = """\
# Command line

Made from the code by `python -m daemon.cli.reference`; a test fails when this page and the commands differ.

Commands that ask for data or change it speak to the running daemon over its Unix socket, `state_dir/provisiond.sock`: whoever may open the
socket may do everything, and is recorded with its uid. `run`, `check`, `demo`, `sandbox`, `module probe`, `module pin` and `db` work without
a daemon.

On a terminal, lists are tables; elsewhere they are aligned text. `--json`, before or after the command, prints the answer of the
[HTTP API](api.md) in one line, for a refused request the problem. Messages for people go to standard error.

A request whose answer was lost may be repeated with the same `--key`: nothing is done twice.
"""


def page() -> str:
    lines = [_INTRO, "## Exit codes\n", "| code | meaning |\n|---|---|"]
    lines += [f"| {number} | {meaning} |" for number, meaning in EXITS.items()]
    context = click.Context(cli, info_name="provisiond")
    lines += ["\n## Options of every command\n", *_options(cli, context)]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        lines += _command(command, click.Context(command, info_name=name, parent=context), 2)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    usage = " ".join([context.command_path, *(piece for piece in command.collect_usage_pieces(context))])
    yield f"\n{'#' * level} {context.command_path}\n"
    yield " ".join((command.help or "").replace("\b", "").split()) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=context), level + 1)
        return
    yield f"    {usage}\n"
    yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            yield f"- `{record[0]}`" + (f": {' '.join(record[1].split())}" if record[1] else "")


def main(arguments: Sequence[str], root: Path) -> int:
    path, text = root / PAGE, page()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in arguments:
        sys.stdout.write(f"{PAGE} differs from the code: python -m daemon.cli.reference\n")
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{PAGE}: written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[2]))
