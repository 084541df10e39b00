"""When a panel may be read again: no round begins before the last one has ended for as long as it took, on whichever node it was."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta

from daemon.domain.clock import Clock
from daemon.store.database import Store

LEASE = timedelta(minutes=5)
"""For so long other nodes believe that a round goes on, counted from each report that it asks for; a node that died holds a panel no longer."""
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Rests:
    """Of each module: is it being read, and until when is it left in peace."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._shared = store.dialect == "postgres"
        """On SQLite there is one process, and it forgets nothing that matters when it ends."""
        self._began: dict[str, datetime] = {}
        self._until: dict[str, datetime] = {}
        self._took: dict[str, timedelta] = {}

    def until(self, module: str) -> datetime:
        return self._until.get(module, _LONG_AGO)

    async def begin(self, module: str) -> str | None:
        """None: it may be read now, until `end`. Otherwise a sentence that says why not."""
        now = self._clock.now()
        if module in self._began:
            return f"{module} is being read since {_shown(self._began[module])}: this round is left out"
        if now < self.until(module):
            took = self._took[module].total_seconds()
            until = _shown(self._until[module])
            return f"{module} took {took:.1f} s for its last round, and is left in peace as long, until {until}"
        self._began[module] = now
        if self._shared and not await self._taken(module, now):
            del self._began[module]
            return f"{module} is being read by another node, or left in peace after it: this round is left out"
        return None

    async def goes_on(self, module: str, *, begins: bool = False) -> None:
        """`begins`: only now; until here it waited for its turn."""
        if begins:
            self._began[module] = self._clock.now()
        if self._shared:
            await self._put(module, self._clock.now() + LEASE)

    async def end(self, module: str) -> None:
        ended = self._clock.now()
        self._took[module] = took = ended - self._began.pop(module)
        self._until[module] = ended + took
        if self._shared:
            await self._put(module, ended + took)

    async def _taken(self, module: str, now: datetime) -> bool:
        """Whether no other node holds it."""
        async with self._store.transaction() as tx:
            return await tx.facts.hold(_fact(module), _text(now), _text(now + LEASE))

    async def _put(self, module: str, until: datetime) -> None:
        async with self._store.transaction() as tx:
            await tx.facts.put(_fact(module), _text(until))


def _fact(module: str) -> str:
    return f"rest:{zlib.crc32(module.encode()):08x}"


def _text(moment: datetime) -> str:
    """Sorts as moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
