"""`provisiond --help` is instant: what costs time is imported by the command that needs it."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from daemon.cli.main import COMMANDS, cli

HEAVY = ("aiohttp", "tortoise", "rich", "pydantic", "structlog", "ruamel", "cryptography", "asyncio")


def loaded(*arguments: str) -> set[str]:
    """The libraries that a command line loads."""
    code = (
        "import sys\nfrom daemon.cli.main import cli\n"
        f"try: cli({list(arguments)!r}, prog_name='provisiond')\nexcept SystemExit: pass\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_imports_nothing_that_costs_time() -> None:
    assert loaded("--help").isdisjoint(HEAVY)


@pytest.mark.parametrize("noun", ["order", "service", "operation", "task", "usage", "plan", "token"])
def test_help_of_a_noun_loads_no_database_and_no_tables(noun: str) -> None:
    assert loaded(noun, "--help").isdisjoint({"tortoise", "rich", "ruamel"})


@pytest.mark.parametrize("name", list(COMMANDS))
def test_what_the_list_of_commands_says_is_what_the_command_says(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    first = (command.help or "").strip().splitlines()[0]
    assert first.startswith(COMMANDS[name].help.removesuffix("."))
