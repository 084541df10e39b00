"""`provisiond sandbox`: simulated panels, for trying things and for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from daemon.cli.lazy import JsonCommand, State
from daemon.sandbox.settings import SandboxSettings


def _options(command: Any) -> Any:
    """An option for each setting of the sandbox; what each means stands in its README."""
    defaults = SandboxSettings()
    for item in reversed([item for item in fields(SandboxSettings) if item.name != "now"]):
        default = _shown(getattr(defaults, item.name))
        flag = "--" + item.name.replace("_", "-")
        command = click.option(flag, item.name, metavar="VALUE", help=f"Default: {default or 'none'}.")(command)
    return command


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={number}" for key, number in value.items())
    return ",".join(value) if isinstance(value, tuple) else str(value)


@click.command(cls=JsonCommand)
@click.option("--config", "config_dir", type=click.Path(path_type=Path), help="Write a ready configuration there.")
@_options
@click.pass_obj
def sandbox(state: State, /, config_dir: Path | None, **given: str | None) -> None:
    """Run simulated panels to try things on: DCImanager, IPmanager and a mail sink, on loopback, until Ctrl+C.

    `daemon/sandbox/README.md` says what each option means and what the doors for tests are.
    """
    from daemon.sandbox.run import run_sandbox

    try:
        settings = SandboxSettings.from_texts({name: text for name, text in given.items() if text is not None})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    asyncio.run(run_sandbox(settings, json=state.json, config_dir=config_dir))
