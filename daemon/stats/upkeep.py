"""What the sample store needs now and then: days that are over made small, days that nobody needs any more dropped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError
from daemon.stats.records import Keeping
from daemon.stats.terms import LEVEL_BACK
from daemon.store.database import Store
from daemon.store.days.shapes import DayState
from daemon.store.days.store import DayStore, day_at

MONTH = timedelta(days=31)
"""How far before its period a record may look for what was counted already."""

LATEST = timedelta(days=7)
"""How long after its period a reading may come that a record still looks at."""

log = structlog.get_logger(__name__)


class Upkeep:
    def __init__(self, store: Store, clock: Clock, days: DayStore, keeping: Keeping) -> None:
        self._store = store
        self._clock = clock
        self._days = days
        self._keeping = keeping

    async def run(self) -> None:
        await self.close_days()
        await self.drop_days()

    async def close_days(self) -> int:
        """Make series of every day whose last reading has come: its end, and the grace time, are over. How many."""
        last = day_at(self._clock.now() - self._keeping.grace)
        closed = 0
        for day in await self._days.days():
            if day.date < last and day.state is DayState.OPEN:
                closed += await self._closed(day.date)
        return closed

    async def _closed(self, day: date) -> bool:
        """A day that can't be closed is told, and takes nothing from the others."""
        try:
            return await self._days.close_day(day)
        except ProvisiondError as error:
            log.exception("samples.not_closed", day=day.isoformat(), code=error.code)
            return False

    async def drop_days(self) -> list[date]:
        """Drop the days that are older than the settings keep them.

        Those that a usage record rests on live longer, and those of a period that is still to be closed are never dropped.
        """
        keeping = self._keeping
        today = day_at(self._clock.now())
        needed = await self._open(today)
        found = await self._days.expired(
            today, keeping.samples_keep.days, keeping.evidence_keep.days, await self._evidence(today)
        )
        expired = [day for day in found if day not in needed]
        for day in expired:
            await self._days.drop_day(day)
            log.info("samples.dropped", day=day.isoformat())
        return expired

    async def _evidence(self, today: date) -> set[date]:
        """Days that a record of a closed period looks at."""
        spans = await self._store.read.usage_records.spans()
        return {day for since, until in spans for day in _looked_at(since, until, today)}

    async def _open(self, today: date) -> set[date]:
        """Days of the periods that are still to be closed."""
        oldest = await self._store.read.services.oldest_open_period()
        return set() if oldest is None else set(_looked_at(oldest, self._clock.now(), today))


def _looked_at(since: datetime, until: datetime, today: date) -> Iterator[date]:
    """The days on which a record of that period may rest: before it, for what was counted already, and after it, for what came late."""
    day, last = day_at(since - MONTH - LEVEL_BACK), min(day_at(until + LATEST), today)
    while day <= last:
        yield day
        day += timedelta(days=1)
