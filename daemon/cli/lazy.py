"""A group whose commands are imported only when they are used, and options that stand before or after the command."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

DEFAULT_CONFIG = Path("/etc/provisiond/provisiond.yaml")


@dataclass
class State:
    """What was said on the whole command line."""

    config: Path = DEFAULT_CONFIG
    socket: Path | None = None
    json: bool = False
    csv: bool = False

    @property
    def command(self) -> str:
        """How to call us again with the same settings."""
        return "provisiond" if self.config == DEFAULT_CONFIG else f"provisiond --config {self.config}"


def _json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's own call
    if value:
        ctx.ensure_object(State).json = True


def json_option() -> click.Option:
    """On every command and group: it works wherever it stands on the line."""
    return click.Option(["--json"], is_flag=True, expose_value=False, callback=_json, help="Print JSON.")


class JsonCommand(click.Command):
    """A command that takes `--json`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(json_option())


class Noun(click.Group):
    """A group of commands about one thing; all of them take `--json`."""

    command_class = JsonCommand

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(json_option())


@dataclass(frozen=True)
class Later:
    """Where a command is, and what `--help` says of it without looking there."""

    module: str
    name: str
    help: str


class LazyGroup(click.Group):
    def __init__(self, *args: Any, later: Mapping[str, Later], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later = later

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.later)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        found = self.later.get(name)
        if found is None:
            return None
        command = getattr(importlib.import_module(found.module), found.name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, found.help) for name, found in self.later.items()])
