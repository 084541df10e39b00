"""Commands against a daemon's API on its Unix socket."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner

from daemon.cli.main import cli
from daemon.observability import logs
from daemon.store.targets import SqliteTarget
from tests.api.house import House, house


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def provisiond(*arguments: str, stdin: str | None = None) -> Done:
    """Run a command as a terminal would, while the loop goes on serving."""
    result = await asyncio.to_thread(
        CliRunner().invoke, cli, list(arguments), input=stdin, prog_name="provisiond", catch_exceptions=False
    )
    return Done(result.exit_code, result.stdout, result.stderr)


@dataclass
class Desk:
    home: House

    async def __call__(self, *arguments: str, stdin: str | None = None) -> Done:
        return await provisiond("--config", str(self.home.world.config), *arguments, stdin=stdin)


@pytest.fixture(autouse=True)
def logs_elsewhere() -> Iterator[None]:
    """The daemon of these tests lives in the process of its commands; as processes of their own they share no output."""
    root = logging.getLogger()
    before, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    logs.configure("error", stream=io.StringIO())
    logging.captureWarnings(capture=False)
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = before
    root.setLevel(level)
    logging.raiseExceptions = raising


@pytest.fixture
async def desk(sqlite_target: SqliteTarget, tmp_path: Path) -> AsyncIterator[Desk]:
    async with house(sqlite_target, tmp_path) as made:
        yield Desk(made)
