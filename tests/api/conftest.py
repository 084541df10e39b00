"""A house of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.store.targets import SqliteTarget
from tests.api.house import House, house


@pytest.fixture
async def home(sqlite_target: SqliteTarget, tmp_path: Path) -> AsyncIterator[House]:
    async with house(sqlite_target, tmp_path) as made:
        yield made
