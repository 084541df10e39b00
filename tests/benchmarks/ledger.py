"""A hold of an address: its ledger row and its event, by 16 callers at once, and what it costs when the tables are large."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from daemon.domain.address import Role
from daemon.domain.clock import SystemClock
from daemon.store.database import Store
from daemon.store.repositories import Repositories
from daemon.store.targets import SqliteTarget, Target
from tests.benchmarks.costs import backends, counting
from tests.benchmarks.databases import Databases, databases
from tests.benchmarks.figures import Figure, at_least, flat, skipped, spread_of
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.rows import History, fill

CALLERS = 16
SECONDS = 3.0
SMALL, LARGE = 100, 1_000_000
HOLDS = 100
"""Of each caller, for the cost."""
COST_PAIRS = 9


@dataclass
class Ledger:
    """One store with rows in it, and a way to hold addresses in it."""

    store: Store
    services: int

    def __post_init__(self) -> None:
        self._number = count()

    async def hold(self) -> None:
        number = next(self._number)
        key, service = f"pd-bench-{number}", number % self.services + 1

        async def write(tx: Repositories) -> None:
            await tx.allocations.hold(
                key, service_id=service, operation_id=service, ipam="ipm-main", family="ipv4", address_type="public",
                role=Role.EXTRA, module="dci-main", remote_id=str(service), address=f"a{number}",
            )  # fmt: skip
            after = {"key": key, "address": f"a{number}"}
            await tx.events.add("address.held", service_id=service, operation_id=service, after=after)

        await self.store.batched(write)


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    async with databases() as made:
        for name in ("sqlite", "postgres"):
            if name == "postgres" and made.no_postgres:
                figures += [
                    skipped(f"ledger_{what}_postgres", made.no_postgres) for what in ("hold", "flat", "statements")
                ]
            else:
                figures += await _of(made, name)
    return figures


async def _of(made: Databases, name: str) -> list[Figure]:
    async with _ledger(made, name, SMALL) as ledger:
        rates, waits = [], []
        for _ in range(3):
            rate, times = await _rate(ledger)
            rates.append(rate)
            waits += times
    p99 = statistics.quantiles(waits, n=100)[98] * 1000
    cost, statements = await _growth(made, name)
    return [
        at_least(
            f"ledger_hold_{name}", statistics.median(rates), 500, "holds/s", spread=f"3 runs {spread_of(rates)}",
            note=f"p99 {p99:.1f} ms at {CALLERS} callers",
        ),
        cost,
        statements,
    ]  # fmt: skip


async def _rate(ledger: Ledger) -> tuple[float, list[float]]:
    """Holds per second, and how long each took."""
    times: list[float] = []
    begun = time.monotonic()

    async def caller() -> None:
        while time.monotonic() < begun + SECONDS:
            at = time.monotonic()
            await ledger.hold()
            times.append(time.monotonic() - at)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return len(times) / (time.monotonic() - begun), times


async def _growth(made: Databases, name: str) -> tuple[Figure, Figure]:
    """CPU time and statements of a hold at both sizes; the small table is made anew for each pair."""
    small, large, ratios, statements = [], [], [], []
    async with _ledger(made, name, LARGE) as big:
        await _cost(big)  # what the first use of a large table reads is not the cost of a hold
        for number in range(COST_PAIRS):
            async with _ledger(made, name, SMALL) as little:
                await _cost(little)
                if number % 2:
                    at_large, at_small = await _cost(big), await _cost(little)
                else:
                    at_small, at_large = await _cost(little), await _cost(big)
            small.append(at_small[0])
            large.append(at_large[0])
            ratios.append(at_large[0] / at_small[0])
            statements.append(at_large[1] / at_small[1])
    note = f"CPU {statistics.median(small) * 1e6:.0f} us at {SMALL} rows, {statistics.median(large) * 1e6:.0f} us at {LARGE}"
    whose = "ours" if name == "sqlite" else "ours and the server's"
    return (
        flat(
            f"ledger_flat_{name}", statistics.median(ratios), spread=f"{len(ratios)} pairs {spread_of(ratios)}",
            note=f"{note} ({whose})",
        ),
        flat(
            f"ledger_statements_{name}", statistics.median(statements),
            note=f"statements: {at_small[1]:.2f} a hold at {SMALL} rows, {at_large[1]:.2f} at {LARGE}",
        ),
    )  # fmt: skip


async def _cost(ledger: Ledger) -> tuple[float, float]:
    """CPU seconds and statements per hold."""
    async with counting(ledger.store) as counted:
        servers = await backends(ledger.store)
        before = time.process_time() + sum(map(cpu_seconds, servers))

        async def caller() -> None:
            for _ in range(HOLDS):
                await ledger.hold()

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        used = time.process_time() + sum(map(cpu_seconds, servers)) - before
    return used / (CALLERS * HOLDS), counted.statements / (CALLERS * HOLDS)


@asynccontextmanager
async def _ledger(made: Databases, name: str, rows: int) -> AsyncIterator[Ledger]:
    services = max(1, rows // 10)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="provisiond-bench-")))
        target: Target = stack.enter_context(made.fresh(name, folder))
        if isinstance(target, SqliteTarget):
            target = SqliteTarget(target.path)  # as in production: every commit reaches the disk
        fill(target, History(waiting=services, allocations=rows, events=rows))
        store = await Store.open(target, clock=SystemClock())
        stack.push_async_callback(store.close)
        yield Ledger(store, services)
