"""What one operation costs when the database is young and when it has seen ten thousand: CPU time and statements.

A provision is run leg by leg on a clock that moves at once, against a sandbox process, on a young and an old database in turn.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from daemon.app import build_fleet, leave_out_of_collections, metered
from daemon.domain.clock import VirtualClock
from daemon.domain.secrets import MasterKey
from daemon.provisioning.idempotency import Answers
from daemon.provisioning.legs import Legs
from daemon.provisioning.ordering import Ordering
from daemon.settings.loader import load
from daemon.stats.system import Statistics
from daemon.stats.worker import Worker
from daemon.store.database import Store
from daemon.store.targets import Target
from tests.benchmarks.costs import backends, counting
from tests.benchmarks.databases import Databases, databases
from tests.benchmarks.figures import Figure, flat, skipped, spread_of
from tests.benchmarks.orders import MODULE, order
from tests.benchmarks.processes import Panels, cpu_seconds, sandbox
from tests.benchmarks.rows import History, fill

YOUNG, OLD = 10, 10_000
OPERATIONS = 10
"""Run one after the other for one reading."""
PAIRS = 9


class _Always:
    def valid(self) -> bool:
        return True


@dataclass
class Shop:
    """Ordering and legs on one database, without an engine."""

    store: Store
    clock: VirtualClock
    ordering: Ordering
    legs: Legs

    def __post_init__(self) -> None:
        self._numbers = count(1)

    async def provision(self) -> None:
        """One order, up to the active server."""
        number = next(self._numbers)
        await self.ordering.place(order(number), key=f"order-{number}", actor="bench", answer=lambda _: (201, {}))
        while due := await self._next():
            operation_id, at = due
            self.clock.advance_to(at)
            await self.legs.run(operation_id, "bench/1", _Always())
        state = await self.store.read.fetch("SELECT state FROM service ORDER BY id DESC LIMIT 1")
        if state[0]["state"] != "active":
            raise RuntimeError(f"the order did not become a server: {state}")

    async def _next(self) -> tuple[int, Any] | None:
        rows = await self.store.read.fetch(
            "SELECT id, due_at FROM operation WHERE status = 'open' AND due_at IS NOT NULL ORDER BY due_at LIMIT 1"
        )
        return (rows[0]["id"], self.store.read.moment(rows[0]["due_at"])) if rows else None


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    orders = 2 * (PAIRS + 2) * OPERATIONS
    sizes = {"servers": f"E3-1230-16G={orders}", "public": str(3 * orders), "parking": "16"}
    async with databases() as made:
        for name in ("sqlite", "postgres"):
            if name == "postgres" and made.no_postgres:
                figures += [skipped(f"step_{what}_postgres", made.no_postgres) for what in ("flat", "statements")]
                continue
            async with sandbox(sizes, MODULE) as panels:
                figures += await _of(made, name, panels)
    return figures


async def _of(made: Databases, name: str, panels: Panels) -> list[Figure]:
    cpu: dict[int, list[float]] = {YOUNG: [], OLD: []}
    statements: dict[int, float] = {}
    async with _shop(made, name, YOUNG, panels) as young, _shop(made, name, OLD, panels) as old:
        sides = [(YOUNG, young), (OLD, old)]
        for _, shop in sides:
            await _cost(shop)  # the first use of everything is not what a step costs
        leave_out_of_collections()
        for number in range(PAIRS):
            for size, shop in sides if number % 2 == 0 else reversed(sides):
                used, statements[size] = await _cost(shop)
                cpu[size].append(used)
    ratios = [late / early for early, late in zip(cpu[YOUNG], cpu[OLD], strict=True)]
    early, late = median(cpu[YOUNG]), median(cpu[OLD])
    note = f"CPU of an operation {early * 1000:.1f} ms after {YOUNG} finished ones, {late * 1000:.1f} ms after {OLD}"
    said = f"{statements[YOUNG]:.1f} an operation after {YOUNG} finished ones, {statements[OLD]:.1f} after {OLD}"
    return [
        flat(
            f"step_flat_{name}",
            median(ratios),
            spread=f"{len(ratios)} pairs {spread_of(ratios)}",
            note=note,
        ),
        flat(f"step_statements_{name}", statements[OLD] / statements[YOUNG], note=said),
    ]


async def _cost(shop: Shop) -> tuple[float, float]:
    """CPU seconds (ours and the database server's) and statements of one operation."""
    async with counting(shop.store) as counted:
        servers = await backends(shop.store)
        before = time.process_time() + sum(map(cpu_seconds, servers))
        for _ in range(OPERATIONS):
            await shop.provision()
        used = time.process_time() + sum(map(cpu_seconds, servers)) - before
    return used / OPERATIONS, counted.statements / OPERATIONS


@asynccontextmanager
async def _shop(made: Databases, name: str, finished: int, panels: Panels) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="provisiond-bench-")))
        target: Target = stack.enter_context(made.fresh(name, folder))
        fill(target, History(finished=finished))
        clock = VirtualClock()
        store = await Store.open(target, clock=clock)
        stack.push_async_callback(store.close)
        fleet = build_fleet(load(panels.config), clock)
        stack.push_async_callback(fleet.close)

        async def woken(_operation_id: int) -> None:
            """Nothing wakes here; `provision` looks for what is due."""

        worker = Worker()
        stack.push_async_callback(worker.stop)
        statistics = Statistics(store, clock, fleet.settings, lambda: metered(fleet), worker)
        stack.push_async_callback(statistics.close)
        legs = Legs(store, clock, fleet, MasterKey(b"m" * 32), f"bench{finished}", statistics)
        yield Shop(store, clock, Ordering(store, clock, fleet, Answers(store), woken), legs)
