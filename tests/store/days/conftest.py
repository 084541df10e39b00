"""A sample store on both databases; its heavy parts run here instead of in a process of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.stats import crunch
from daemon.store.database import Store
from daemon.store.days.shapes import ClosedBlock, Columns, Crunch, OpenBlock, Packed
from daemon.store.days.store import DayStore


async def encode(block: OpenBlock) -> ClosedBlock:
    return crunch.encode_block(block)


async def decode(packed: Packed) -> dict[int, Columns]:
    return crunch.decode(packed)


HERE = Crunch(encode, decode)


@pytest.fixture
async def days(store: Store, tmp_path: Path) -> AsyncIterator[DayStore]:
    opened = DayStore.of(store, tmp_path / "state", HERE)
    yield opened
    await opened.close()
