"""`provisiond check`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from daemon.cli import exits
from daemon.cli.lazy import JsonCommand, State
from daemon.cli.out import quiet
from daemon.domain.errors import ProvisiondError

if TYPE_CHECKING:
    from daemon.app import CheckReport


@click.command(cls=JsonCommand)
@click.option("--offline", is_flag=True, help="Only the files: log in nowhere.")
@click.pass_obj
def check(state: State, *, offline: bool) -> None:
    """Check the settings, and ask every platform how it is."""
    from daemon import app
    from daemon.settings.problems import SettingsError

    quiet()

    try:
        report = asyncio.run(app.check(state.config, offline=offline))
    except SettingsError as error:
        _wrong(state, [str(problem) for problem in error.problems])
        raise SystemExit(exits.SETTINGS) from None
    except ProvisiondError as error:
        _wrong(state, [error.message])
        raise SystemExit(exits.exit_of(error)) from None
    _show(state, report)
    raise SystemExit(exits.FAILED if report.problems else 0)


def _wrong(state: State, problems: list[str]) -> None:
    if state.json:
        click.echo(json.dumps({"problems": problems, "warnings": [], "platforms": {}}))
    for problem in problems if not state.json else []:
        click.echo(problem, err=True)


def _show(state: State, report: CheckReport) -> None:
    if state.json:
        click.echo(json.dumps(asdict(report), default=dict))
        return
    for name, platform in report.platforms.items():
        click.echo(f"{name}: version {platform.version or 'unknown'}")
        for fact, value in platform.facts.items():
            click.echo(f"  {fact}: {value}")
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    for problem in report.problems:
        click.echo(f"problem: {problem}", err=True)
    if not report.problems:
        click.echo("all is well" if not report.warnings else f"usable, with {len(report.warnings)} warnings")
