"""Runs what an engine wakes, in tasks of its own: whatever happens to the engine, work that runs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from daemon.engine.port import OPERATION, Handler, Slots, Work

log = structlog.get_logger(__name__)


class Runner:
    def __init__(self, handler: Handler, slots: Slots, on_end: Callable[[], None] = lambda: None) -> None:
        """`on_end` is called whenever a slot became free."""
        self._handler = handler
        self._on_end = on_end
        self._slots = slots
        self._semaphores = {True: asyncio.Semaphore(slots.operations), False: asyncio.Semaphore(slots.others)}
        self._running: dict[Work, asyncio.Task[None]] = {}
        self._again: set[Work] = set()
        self._stopping = False

    def has_slot(self, kind: str) -> bool:
        group = kind == OPERATION
        return sum((work.kind == OPERATION) == group for work in self._running) < self._slots.of(kind)

    def run(self, work: Work) -> asyncio.Task[None] | None:
        """Start it, or remember that it shall run once more when it runs already; None when we are stopping."""
        if self._stopping:
            return None
        if work in self._running:
            self._again.add(work)
            return self._running[work]
        task = asyncio.create_task(self._run(work), name=f"{work.kind} {work.key}")
        self._running[work] = task
        return task

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - a limit for all of it
        self._stopping = True
        running = set(self._running.values())
        if running:
            _, running = await asyncio.wait(running, timeout=timeout / 2)
        for task in running:
            task.cancel()
        if running:
            _, running = await asyncio.wait(running, timeout=timeout / 2)
        if running:
            # Their operations stay owned by this boot; the next start, or another node, takes them from there.
            log.warning("engine.work_left_behind", count=len(running))

    async def _run(self, work: Work) -> None:
        try:
            async with self._semaphores[work.kind == OPERATION]:
                await self._handler(work)
        except Exception:
            log.exception("engine.work_failed", kind=work.kind, work=work.key)
        finally:
            del self._running[work]
            if work in self._again:
                self._again.discard(work)
                self.run(work)
            self._on_end()
