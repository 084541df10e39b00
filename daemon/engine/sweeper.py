"""Finds what everybody forgot: due operations that nobody armed, legs of dead nodes, operations that we own but don't work on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError
from daemon.engine.cancelling import cancel
from daemon.engine.lease import NodeLease
from daemon.engine.port import FRESH, HALF_DONE, OPERATION, Engine, Work
from daemon.store.database import Store
from daemon.store.nodes import Held

log = structlog.get_logger(__name__)

AT_ONCE = 200
"""Due operations armed by one sweep at most; the next sweep sees to the rest."""


class Sweeper:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        engine: Engine,
        lease: NodeLease,
        running: Callable[[], Collection[int]],
        *,
        every: float = 2.0,
        within: float = 10.0,
    ) -> None:
        """`running` gives the operations that a leg of this process works on; `within` is the time limit of one sweep."""
        self._store = store
        self._clock = clock
        self._engine = engine
        self._lease = lease
        self._running = running
        self._every = every
        self._within = within
        self._suspects: set[Held] = set()
        self._last_good: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Sweep once, so that unfinished work is armed when this returns, and go on in the background."""
        await self.sweep()
        self._task = asyncio.create_task(self._loop(), name="sweeper")

    async def stop(self) -> None:
        if self._task is not None:
            await cancel([self._task])

    def healthy(self) -> str | None:
        """None, or a sentence: no sweep came to its end for a while."""
        if self._last_good is None:
            return "no sweep yet"
        silent = self._clock.monotonic() - self._last_good
        return f"no sweep came to its end for {silent:.0f} s" if silent > self._every + 3 * self._within else None

    async def sweep(self) -> None:
        """One round. Each part fails alone, and the whole has a time limit: one blocked row must not stall everything."""
        good = True
        for part in (self._take_over, self._own_orphans, self._arm_due):
            good = await self._try(part) and good
        if good:
            self._last_good = self._clock.monotonic()

    async def _try(self, part: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(self._within):
                await part()
        except (ProvisiondError, TimeoutError) as error:
            log.warning("sweep.failed", part=part.__name__, error=str(error) or type(error).__name__)
            return False
        except Exception:
            log.exception("sweep.broke", part=part.__name__)
            return False
        return True

    async def _loop(self) -> None:
        while True:
            await self._clock.sleep(self._every)
            await self.sweep()

    async def _arm_due(self) -> None:
        running = self._running()
        for operation_id, due_at, leg in await self._store.read.operations.due(self._clock.now(), AT_ONCE):
            if operation_id not in running:
                # With its own due time, so that an engine that remembers it takes it for the same.
                priority = HALF_DONE if leg else FRESH
                await self._engine.arm(Work(OPERATION, str(operation_id)), due_at, priority=priority)

    async def _take_over(self) -> None:
        if not self._lease.valid():
            return
        for owner in await self._store.read.nodes.dead_owners(self._lease.owner):
            for held in await self._store.read.nodes.held_by(owner):
                await self._free(held, owner, "sweep.taken_over")

    async def _own_orphans(self) -> None:
        """Owned by us, not running here, twice in a row: a leg that was begun while its answer got lost looks like this."""
        held = {
            row
            for row in await self._store.read.nodes.held_by(self._lease.owner)
            if row.operation_id not in self._running()
        }
        for orphan in held & self._suspects:
            await self._free(orphan, self._lease.owner, "sweep.orphan")
        self._suspects = held - self._suspects

    async def _free(self, held: Held, owner: str, event: str) -> None:
        async with self._store.transaction() as tx:
            freed = await tx.nodes.free(held, owner)
        if freed:
            log.warning(event, operation=held.operation_id, owner=owner)
