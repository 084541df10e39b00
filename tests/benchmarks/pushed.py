"""Pushed usage into its ledger, with dedupe: in batches and singly by 16 callers, below HTTP, and over HTTP for comparison."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from daemon.domain.clock import SystemClock
from daemon.settings.loader import load
from daemon.stats.pushed import Outcome, PushDesk
from daemon.store.database import Store
from daemon.store.targets import SqliteTarget, Target
from tests.benchmarks.databases import Databases, databases
from tests.benchmarks.figures import Figure, at_least, shown, skipped, spread_of
from tests.benchmarks.processes import daemon, sandbox
from tests.benchmarks.rows import History, fill

SERVICES = 1000
BATCH = 1000
CALLERS = 16
SECONDS = 2.0
RUNS = 3

Send = Callable[[list[dict[str, Any]]], Awaitable[bool]]
"""Sends events; whether every one of them was new."""


class Events:
    """Fresh events, each with two usage fields, of all services in turn."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._clock = SystemClock()

    def take(self, number: int) -> list[dict[str, Any]]:
        now = self._clock.now().isoformat()
        return [self._one(next(self._numbers), now) for _ in range(number)]

    def _one(self, number: int, now: str) -> dict[str, Any]:
        return {
            "specversion": "1.0", "id": f"event-{number}", "source": "bench/router", "type": "usage", "time": now,
            "subject": str(number % SERVICES + 1), "data": {"upload": str(number), "download": "17.5", "unit": "KiB"},
        }  # fmt: skip


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    async with databases() as made:
        for name in ("sqlite", "postgres"):
            if name == "postgres" and made.no_postgres:
                figures += [skipped(f"pushed_{what}_postgres", made.no_postgres) for what in ("batch", "single")]
            else:
                figures += await _of(made, name)
    return [*figures, *await _over_http()]


async def _of(made: Databases, name: str) -> list[Figure]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="provisiond-bench-")))
        target: Target = stack.enter_context(made.fresh(name, folder))
        if isinstance(target, SqliteTarget):
            target = SqliteTarget(target.path)  # as in production: every commit reaches the disk
        fill(target, History(active=SERVICES))
        store = await Store.open(target, clock=clock)
        stack.push_async_callback(store.close)
        desk = PushDesk(store, clock)

        async def send(events: list[dict[str, Any]]) -> bool:
            items = await desk.push(events, actor="token:bench")
            return all(item.outcome is Outcome.ACCEPTED for item in items)

        events = Events()
        batches, _ = await _rates(send, events, callers=1, at_once=BATCH)
        singles, p99 = await _rates(send, events, callers=CALLERS, at_once=1)
    return [
        at_least(
            f"pushed_batch_{name}", statistics.median(batches), 5000, "events/s",
            spread=f"{RUNS} runs {spread_of(batches)}", note=f"{BATCH} a batch, one after the other",
        ),
        at_least(
            f"pushed_single_{name}", statistics.median(singles), 1000, "events/s",
            spread=f"{RUNS} runs {spread_of(singles)}", note=f"p99 {p99 * 1000:.1f} ms at {CALLERS} callers",
        ),
    ]  # fmt: skip


async def _rates(send: Send, events: Events, *, callers: int, at_once: int) -> tuple[list[float], float]:
    """Events per second of each run, and how long 99 of 100 requests took at most."""
    rates, waits = [], []
    for _ in range(RUNS):
        begun, sent = time.monotonic(), 0

        async def caller(end: float) -> int:
            done = 0
            while time.monotonic() < end:
                batch, at = events.take(at_once), time.monotonic()
                if not await send(batch):
                    raise RuntimeError("an event was not accepted")
                waits.append(time.monotonic() - at)
                done += at_once
            return done

        sent = sum(await asyncio.gather(*(caller(begun + SECONDS) for _ in range(callers))))
        rates.append(sent / (time.monotonic() - begun))
    return rates, statistics.quantiles(waits, n=100)[98]


async def _over_http() -> list[Figure]:
    """The whole way: a daemon process on SQLite, a client here, both on the same cores."""
    async with sandbox({"servers": "E3-1230-16G=0"}) as panels:
        async with daemon(panels.config) as running:
            await running.stop()
        fill(SqliteTarget(load(panels.config).daemon.state_dir / "provisiond.db"), History(active=SERVICES))
        async with daemon(panels.config) as running, running.client() as client:

            async def send(events: list[dict[str, Any]]) -> bool:
                body = await running.call(client, "POST", "/v1/usage", events if len(events) > 1 else events[0])
                return all(item["status"] == "accepted" for item in body["items"])

            events = Events()
            batches, _ = await _rates(send, events, callers=1, at_once=BATCH)
            singles, p99 = await _rates(send, events, callers=CALLERS, at_once=1)
            await running.stop()
    return [
        shown("pushed_batch_http", statistics.median(batches), "events/s", spread=spread_of(batches)),
        shown(
            "pushed_single_http", statistics.median(singles), "events/s", spread=spread_of(singles),
            note=f"p99 {p99 * 1000:.1f} ms at {CALLERS} callers",
        ),
    ]  # fmt: skip
