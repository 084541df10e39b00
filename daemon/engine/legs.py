"""Legs of operations: each under a time limit, each known to the sweeper while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from daemon.domain.clock import Clock
from daemon.engine.lease import NodeLease
from daemon.engine.port import HALF_DONE, OPERATION, Engine, Work

GIVE_BACK_WITHIN = 15.0
"""Seconds for a cancelled leg to give its operation back. After that it is left alone, and the sweeper takes the operation from it."""

log = structlog.get_logger(__name__)


class Permit(Protocol):
    def valid(self) -> bool: ...


OperationBody = Callable[[int, str, Permit], Awaitable[datetime | None]]
"""(operation, owner mark, permit to send) -> when the next leg is due. Takes the operation, works, gives it back."""


@dataclass(frozen=True)
class _Leg:
    started: float
    task: asyncio.Task[datetime | None]


class OperationLegs:
    """The handler of `Work(OPERATION, id)`."""

    def __init__(self, body: OperationBody, engine: Engine, lease: NodeLease, clock: Clock, *, within: float) -> None:
        """`within`: seconds that one leg may take."""
        self._body = body
        self._engine = engine
        self._lease = lease
        self._clock = clock
        self._within = within
        self._running: dict[int, _Leg] = {}

    @property
    def running(self) -> Collection[int]:
        """The operations that a leg of this process works on now."""
        return self._running.keys()

    def longest(self) -> float:
        """How long the oldest leg has been running, in seconds: owned without progress shows here."""
        now = self._clock.monotonic()
        return max((now - leg.started for leg in self._running.values()), default=0.0)

    async def __call__(self, work: Work) -> None:
        operation_id = int(work.key)
        ticket = self._lease.ticket()
        if operation_id in self._running or not ticket.valid():
            return
        task = asyncio.ensure_future(self._body(operation_id, self._lease.owner, ticket))
        self._running[operation_id] = _Leg(self._clock.monotonic(), task)
        try:
            due = await self._limited(operation_id, task)
        finally:
            del self._running[operation_id]
        if due is not None:
            await self._engine.arm(Work(OPERATION, work.key), due, priority=HALF_DONE)

    async def _limited(self, operation_id: int, task: asyncio.Task[datetime | None]) -> datetime | None:
        try:
            done, _ = await asyncio.wait({task}, timeout=self._within)
        except asyncio.CancelledError:
            await self._end(operation_id, task)
            raise
        if not done:
            log.warning("leg.too_long", operation=operation_id, seconds=self._within)
            await self._end(operation_id, task)
            return None
        return task.result()

    async def _end(self, operation_id: int, task: asyncio.Task[datetime | None]) -> None:
        """Cancel a leg and wait while it gives its operation back, but not for ever: what hangs once may hang again."""
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=GIVE_BACK_WITHIN)
        if not done:
            log.error("leg.hangs", operation=operation_id)
        elif not task.cancelled() and (error := task.exception()) is not None:
            log.error("leg.broke_while_ending", operation=operation_id, error=str(error))
