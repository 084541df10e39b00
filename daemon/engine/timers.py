"""The engine of one process: timers in memory. Nothing is stored; the operations' due times in the database are the truth."""

from __future__ import annotations

import asyncio
import heapq
from datetime import datetime
from itertools import count
from typing import Any

import structlog

from daemon.domain.clock import Clock
from daemon.engine.port import FRESH, OPERATION, Handler, Slots, Work
from daemon.engine.runner import Runner

log = structlog.get_logger(__name__)


class Timers:
    def __init__(self, clock: Clock, slots: Slots | None = None) -> None:
        self._clock = clock
        self._slots = slots or Slots()
        self._later: list[tuple[datetime, int, int, Work]] = []
        """Heap of what isn't due yet: (at, -priority, number, work)."""
        self._ready: dict[bool, list[tuple[int, datetime, int, Work]]] = {True: [], False: []}
        """Heaps of what is due and waits for a slot, operations apart from the rest: (-priority, at, number, work)."""
        self._armed: set[tuple[Work, datetime]] = set()
        self._number = count()
        self._changed = asyncio.Event()
        self._runner: Runner | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, handler: Handler) -> None:
        self._runner = Runner(handler, self._slots, self._changed.set)
        self._task = asyncio.create_task(self._loop(self._runner), name="engine timers")

    async def arm(self, work: Work, at: datetime, *, priority: int = FRESH) -> None:
        if (work, at) not in self._armed:
            self._armed.add((work, at))
            heapq.heappush(self._later, (at, -priority, next(self._number), work))
            self._changed.set()

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - a limit for all of it
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._runner is not None:
            await self._runner.stop(timeout)

    def healthy(self) -> str | None:
        if self._task is None:
            return "the timers aren't started"
        return "the timers have stopped" if self._task.done() else None

    def forget(self) -> None:
        """Drop every timer, as a restart does."""
        self._later.clear()
        self._armed.clear()
        for heap in self._ready.values():
            heap.clear()

    async def _loop(self, runner: Runner) -> None:
        while True:
            self._changed.clear()
            self._start_due(runner)
            await self._wait()

    def _start_due(self, runner: Runner) -> None:
        now = self._clock.now()
        while self._later and self._later[0][0] <= now:
            at, priority, number, work = heapq.heappop(self._later)
            heapq.heappush(self._ready[work.kind == OPERATION], (priority, at, number, work))
        for heap in self._ready.values():
            while heap and runner.has_slot(heap[0][3].kind):
                _, at, _, work = heapq.heappop(heap)
                self._armed.discard((work, at))
                runner.run(work)

    async def _wait(self) -> None:
        """Until something changes or the next timer is due."""
        changed = asyncio.ensure_future(self._changed.wait())
        waits: set[asyncio.Future[Any]] = {changed}
        if self._later:
            pause = (self._later[0][0] - self._clock.now()).total_seconds()
            # Never for long: a wall clock that was set right must not make us oversleep.
            waits.add(asyncio.ensure_future(self._clock.sleep(min(max(0.0, pause), 60.0))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
