"""Work that comes back: collection rounds, deliveries. On several nodes each tick runs once."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from daemon.domain.clock import Clock
from daemon.engine.cancelling import cancel
from daemon.engine.port import Dispatch, Engine, Work
from daemon.store.database import Store

log = structlog.get_logger(__name__)

LOOK_EVERY = 30.0
"""Seconds after which the next tick is armed again, in case the engine forgot it."""


@dataclass(frozen=True)
class _Rhythm:
    kind: str
    key: str
    seconds: float
    offset: float

    def tick_after(self, now: datetime) -> datetime:
        """Ticks stand on the wall clock, the same on every node."""
        number = math.floor((now.timestamp() - self.offset) / self.seconds) + 1
        return datetime.fromtimestamp(number * self.seconds + self.offset, UTC)


class Periodic:
    """`every` registers, `start` begins. A tick that nobody could run is left out; the next one comes."""

    def __init__(self, store: Store, clock: Clock, engine: Engine, dispatch: Dispatch) -> None:
        self._store = store
        self._clock = clock
        self._engine = engine
        self._dispatch = dispatch
        self._rhythms: list[_Rhythm] = []
        self._bodies: dict[tuple[str, str], Callable[[], Awaitable[None]]] = {}
        self._busy: set[tuple[str, str]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def every(
        self, kind: str, key: str, seconds: float, body: Callable[[], Awaitable[None]], *, jitter: float = 0.1
    ) -> None:
        """Run `body` every `seconds`; `jitter` is the share of them by which rhythms are spread, always the same for one key."""
        spread = (zlib.crc32(f"{kind}:{key}".encode()) % 1000) / 1000
        self._rhythms.append(_Rhythm(kind, key, seconds, spread * jitter * seconds))
        self._bodies[kind, key] = body
        self._dispatch.add(kind, self._tick)

    async def start(self) -> None:
        self._tasks += [
            asyncio.create_task(self._loop(rhythm), name=f"every {rhythm.kind}") for rhythm in self._rhythms
        ]

    async def stop(self) -> None:
        await cancel(self._tasks)

    async def _loop(self, rhythm: _Rhythm) -> None:
        while True:
            now = self._clock.now()
            tick = rhythm.tick_after(now)
            await self._engine.arm(Work(rhythm.kind, f"{rhythm.key}@{tick.isoformat()}"), tick)
            await self._clock.sleep(min(LOOK_EVERY, (tick - now) / timedelta(seconds=1) + 0.001))

    async def _tick(self, work: Work) -> None:
        key, _, tick = work.key.rpartition("@")
        name = (work.kind, key)
        body = self._bodies.get(name)
        if body is None or name in self._busy:
            return  # another node's, or the last round isn't over yet
        self._busy.add(name)
        try:
            if self._store.dialect == "postgres" and not await self._first(work.kind, key, tick):
                return
            await body()
        finally:
            self._busy.discard(name)

    async def _first(self, kind: str, key: str, tick: str) -> bool:
        """Whether no node has run this tick, or a later one."""
        async with self._store.transaction() as tx:
            return await tx.facts.advance(f"tick:{zlib.crc32(f'{kind}:{key}'.encode()):08x}", tick)
