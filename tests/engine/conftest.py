"""Stores on the machine's own clock: an engine is about real time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from daemon.domain.clock import SystemClock
from daemon.store.database import Store
from daemon.store.targets import Target


@pytest.fixture
async def live_store(target: Target) -> AsyncIterator[Store]:
    store = await Store.open(target, clock=SystemClock())
    yield store
    await store.close()
