"""Worlds: most tests need one database only, and few legs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.domain.clock import VirtualClock
from daemon.sandbox import SandboxSettings
from daemon.store.targets import SqliteTarget
from tests.provisioning.world import QUICK, World, world

Open = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Tracebacks of planted bugs, drawn for a terminal, take longer than the tests."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def open_world(sqlite_target: SqliteTarget, tmp_path: Path) -> Open:
    """Opens a world on SQLite; `module` are settings of the modules, keywords those of the sandbox."""

    @asynccontextmanager
    async def open_it(
        module: dict[str, object] | None = None, *, configure: Callable[[Path], None] | None = None, **settings: Any
    ) -> AsyncIterator[World]:
        clock = VirtualClock()
        async with world(
            sqlite_target,
            tmp_path,
            settings=SandboxSettings(now=clock.now, **settings),
            clock=clock,
            overrides={**QUICK, **(module or {})},
            configure=configure,
        ) as made:
            yield made

    return open_it
