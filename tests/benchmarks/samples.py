"""Three months of five-minute samples of one metric over HTTP, from a daemon whose worker is warm: as they are stored, and in steps."""

from __future__ import annotations

import sqlite3
import statistics
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import numpy as np

from daemon.domain.clock import SystemClock
from daemon.settings.loader import load
from daemon.stats import crunch
from daemon.stats.worker import Worker
from daemon.store.database import Store
from daemon.store.days.store import DayStore
from daemon.store.targets import SqliteTarget
from tests.benchmarks.days import SLOT, SLOTS, rates
from tests.benchmarks.figures import Figure, at_most, shown, spread_of
from tests.benchmarks.processes import daemon, sandbox
from tests.benchmarks.rows import History, fill

SERVICES = 128
"""As many as share a row of a reading."""
DAYS = 92
REQUESTS = 20
LEAST = DAYS * SLOTS - 2
"""The first and the last may lie beyond the time that is asked for."""


async def measure() -> list[Figure]:
    async with sandbox({"servers": "E3-1230-16G=0"}, {"poll_every": "5m"}) as panels:
        async with daemon(panels.config) as running:
            await running.stop()
        settings = load(panels.config)
        target = SqliteTarget(settings.daemon.state_dir / "provisiond.db")
        plan = settings.plans[0].model_dump_json()
        fill(target, History(active=SERVICES, plan=plan))
        since = await _samples(target, settings.daemon.state_dir)
        _billed_from(target.path, since)
        async with daemon(panels.config) as running, running.client() as client:
            asked = f"metric=in&from={since:%Y-%m-%dT%H:%M:%SZ}&until={since + timedelta(days=DAYS):%Y-%m-%dT%H:%M:%SZ}"
            took: dict[str, list[float]] = {}
            sizes: dict[str, int] = {}
            for resolution in ("raw", "5m", "15m"):
                took[resolution] = []
                for number in range(REQUESTS + 1):
                    begun = perf_counter()
                    path = f"http://daemon/v1/services/{number + 1}/samples?{asked}&resolution={resolution}"
                    async with client.get(path) as answer:
                        text = await answer.read()
                    if number:  # the first one starts the worker
                        took[resolution].append((perf_counter() - begun) * 1000)
                    sizes[resolution] = len(text)
                    assert answer.status == 200, text[:500]
                    least = LEAST if resolution != "15m" else LEAST // 3
                    assert text.count(b"+00:00") >= least
            await running.stop()
    note = f"{DAYS} days of 5 minutes, {{:.1f}} MB"
    return [
        (shown(f"samples_{name}", statistics.median(values), "ms", spread=spread_of(values), note=note.format(sizes[name] / 1e6))
         if name == "15m"
         else at_most(f"samples_{name}", statistics.median(values), 150, "ms", spread=spread_of(values), note=note.format(sizes[name] / 1e6)))
        for name, values in took.items()
    ]  # fmt: skip


async def _samples(target: SqliteTarget, state_dir: Path) -> datetime:
    """Running totals up to now, the last day still open; when they begin."""
    random = np.random.default_rng(4)
    data = np.cumsum(rates(random, SERVICES, DAYS * SLOTS), axis=1)
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS)
    store, worker = await Store.open(target, clock=SystemClock()), Worker()
    days = DayStore.of(store, state_dir, crunch.crunching(worker))
    try:
        base, month = 0 * data[:, 0], since.month
        for slot in range(DAYS * SLOTS):
            at = since + slot * SLOT
            if at.month != month:
                base, month = data[:, slot - 1], at.month
            values = (data[:, slot] - base).tolist()
            await days.append(at, "dci-main", {"in": {n: (value, 0) for n, value in enumerate(values, 1)}})
        for number in range(DAYS):
            await days.close_day(since.date() + timedelta(days=number))
    finally:
        await days.close()
        await worker.stop()
        await store.close()
    return since


def _billed_from(path: Path, since: datetime) -> None:
    file = sqlite3.connect(path)
    file.execute("UPDATE service SET billing_from = ?", (f"{since:%Y-%m-%d %H:%M:%S.000000+00:00}",))
    file.commit()
    file.close()
