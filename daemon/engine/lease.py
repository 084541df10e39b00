"""The lease of this node: the right to send.

Before every send a leg asks its ticket. A ticket is good while the lease it was made under has not lapsed, by the monotonic clock and
with a margin, counted from before the heartbeat was written: however long a process was frozen, it can't mistake an old right for a new
one. A lapsed lease begins a new generation, and tickets of an old one never become good again.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError
from daemon.engine.cancelling import cancel
from daemon.store.database import Store

NEVER = float("-inf")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ticket:
    """What one leg holds."""

    lease: NodeLease
    generation: int

    def valid(self) -> bool:
        """Whether this leg may still send."""
        return self.lease.holds(self.generation)


class NodeLease:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        name: str,
        build: str,
        *,
        lease: timedelta,
        heartbeat: timedelta,
        boot: str | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self.name = name
        self.boot = boot or secrets.token_hex(6)
        self._build = build
        self._lease = lease
        self._heartbeat = heartbeat.total_seconds()
        self._margin = min(1.0, lease.total_seconds() / 10)
        self._deadline = NEVER
        self._generation = 0
        self._replaced = False
        self._task: asyncio.Task[None] | None = None

    @property
    def owner(self) -> str:
        """The mark on the operations that this process works on."""
        return f"{self.name}/{self.boot}"

    def ticket(self) -> Ticket:
        return Ticket(self, self._generation)

    def valid(self) -> bool:
        return self.holds(self._generation)

    def holds(self, generation: int) -> bool:
        return generation == self._generation and self.margin() > 0

    def margin(self) -> float:
        """Seconds for which we may still send; negative when the lease has lapsed."""
        return self._deadline - self._margin - self._clock.monotonic()

    def healthy(self) -> str | None:
        if self._replaced:
            return f"another daemon uses the node name {self.name}: give each node its own (setting `node`)"
        return None if self.valid() else "the lease of this node has lapsed: the database takes no heartbeat"

    async def start(self) -> None:
        """Take the node's row and keep its lease; raises what the database raises."""
        before = self._clock.monotonic()
        async with self._store.transaction() as tx:
            self._generation = await tx.nodes.register(self.name, self.boot, self._build, self._lease)
        self._deadline = before + self._lease.total_seconds()
        self._task = asyncio.create_task(self._loop(), name="node lease")

    async def stop(self) -> None:
        """Let go at once, so that nobody has to wait for the lease to lapse. Call it when nothing runs any more."""
        if self._task is not None:
            await cancel([self._task])
            self._task = None
        self._generation += 1
        self._deadline = NEVER
        with contextlib.suppress(ProvisiondError, TimeoutError):
            async with asyncio.timeout(2), self._store.transaction() as tx:
                await tx.nodes.leave(self.name, self.boot)

    async def beat(self) -> None:
        """One heartbeat. A failed one is only logged: the lease then lapses by itself."""
        before = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._heartbeat), self._store.transaction() as tx:
                ours = await tx.nodes.beat(self.name, self.boot, self._generation, self._lease)
        except (ProvisiondError, TimeoutError) as error:
            log.warning("lease.heartbeat_failed", error=str(error), margin=round(self.margin(), 1))
            return
        if not ours:
            await self._lost()
            return
        if self.margin() <= 0:
            self._generation += 1
            log.warning("lease.lapsed", generation=self._generation)
        self._deadline = before + self._lease.total_seconds()

    async def _lost(self) -> None:
        """Our row is gone, or another boot has it. The first is mended; the second is a person's to settle."""
        self._deadline = NEVER
        if any(node.name == self.name for node in await self._store.read.nodes.all()):
            if not self._replaced:
                log.error("lease.replaced", node=self.name)
            self._replaced = True
            return
        before = self._clock.monotonic()
        async with self._store.transaction() as tx:
            await tx.nodes.register(self.name, self.boot, self._build, self._lease)
        self._generation += 1
        self._deadline = before + self._lease.total_seconds()

    async def _loop(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat)
            try:
                await self.beat()
            except Exception:
                log.exception("lease.heartbeat_broke")
