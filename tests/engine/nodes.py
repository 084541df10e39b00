"""A daemon reduced to what the engine is about: a store, an engine, a lease, legs and a sweeper, and a body that writes down its runs."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from daemon.domain.clock import Clock, SystemClock
from daemon.domain.operation import Operation, Status
from daemon.engine.lease import NodeLease
from daemon.engine.legs import OperationLegs, Permit
from daemon.engine.port import OPERATION, Dispatch, Engine, Slots
from daemon.engine.queue import Queue
from daemon.engine.sweeper import Sweeper
from daemon.engine.timers import Timers
from daemon.store.database import Store
from daemon.store.targets import SqliteTarget, Target


def engine_for(target: Target, clock: Clock, slots: Slots | None = None) -> Engine:
    return Timers(clock, slots) if isinstance(target, SqliteTarget) else Queue(target, slots, poll=0.1)


class Node:
    """`legs_each`: how many legs an operation takes; `leg_seconds`: how long one lasts."""

    def __init__(
        self, store: Store, *, name: str = "n1", legs_each: int = 2, leg_seconds: float = 0.0, slots: int = 16
    ) -> None:
        self.store = store
        self.clock = SystemClock()
        self.legs_each = legs_each
        self.leg_seconds = leg_seconds
        self.finished: list[int] = []
        self.began: list[int] = []
        self.dispatch = Dispatch()
        self.engine = engine_for(store.target, self.clock, Slots(slots, 4))
        self.lease = NodeLease(
            store, self.clock, name, "test", lease=timedelta(seconds=3), heartbeat=timedelta(seconds=0.5)
        )
        self.legs = OperationLegs(self.body, self.engine, self.lease, self.clock, within=20)
        self.sweeper = Sweeper(
            store, self.clock, self.engine, self.lease, lambda: self.legs.running, every=0.3, within=5
        )
        self.dispatch.add(OPERATION, self.legs)

    async def start(self) -> None:
        await self.lease.start()
        await self.engine.start(self.dispatch)
        await self.sweeper.start()

    async def stop(self, timeout: float = 5) -> None:
        await self.sweeper.stop()
        await self.engine.stop(timeout)
        await self.lease.stop()

    async def body(self, operation_id: int, owner: str, permit: Permit) -> datetime | None:
        async with self.store.transaction() as tx:
            operation = await tx.operations.take(operation_id, owner, self.clock.now())
        if operation is None:
            return None
        self.began.append(operation_id)
        try:
            await asyncio.sleep(self.leg_seconds)
            return await self._end_leg(operation, permit)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(operation))
            raise

    async def _end_leg(self, operation: Operation, permit: Permit) -> datetime | None:
        if not permit.valid():
            return await self._give_back(operation)
        if operation.leg < self.legs_each:
            return await self._give_back(operation)
        async with self.store.transaction() as tx:
            await tx.operations.lock(operation.id, operation.fence)
            await tx.events.add("done", operation_id=operation.id, service_id=operation.service_id)
            await tx.operations.end(operation.id, Status.DONE)
        self.finished.append(operation.id)
        return None

    async def _give_back(self, operation: Operation) -> datetime | None:
        async with self.store.transaction() as tx:
            return await tx.operations.give_back(
                operation.id, operation.fence, due_at=self.clock.now() + timedelta(milliseconds=50), waiting_for=None
            )


async def until(condition, seconds: float = 10.0) -> None:
    """Wait for a condition (a plain or an async callable); fail loudly when it doesn't come."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.02)


async def open_operations(store: Store) -> int:
    rows = await store.read.fetch("SELECT COUNT(*) AS n FROM operation WHERE status = 'open'")
    return int(rows[0]["n"])


async def times_done(store: Store) -> list[int]:
    """How often each operation was ended; all ones when nothing happened twice."""
    rows = await store.read.fetch("SELECT COUNT(*) AS n FROM event WHERE kind = 'done' GROUP BY operation_id")
    return [int(row["n"]) for row in rows]
