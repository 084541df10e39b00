"""Days of samples are closed when they are over, and dropped when nobody needs them any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from daemon.domain.clock import VirtualClock
from daemon.domain.metering import UsageRecord
from daemon.domain.service import Service
from daemon.stats import crunch
from daemon.stats.records import Keeping
from daemon.stats.upkeep import Upkeep
from daemon.store.database import Store
from daemon.store.days.shapes import DayState
from daemon.store.days.store import DayStore
from daemon.store.targets import SqliteTarget
from tests.provisioning.world import Inline
from tests.store.rows import a_service

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Shelf:
    store: Store
    clock: VirtualClock
    days: DayStore
    upkeep: Upkeep

    async def fill(self, count: int) -> None:
        """A sample for each of so many days."""
        for number in range(count):
            await self.days.append(FIRST + number * DAY, "m", {"in": {1: (number, 0)}})

    async def dates(self) -> list[date]:
        return [day.date for day in await self.days.days()]

    async def service(self, since: datetime, closed_until: datetime | None = None) -> Service:
        async with self.store.transaction() as tx:
            number = await a_service(tx)
            await tx.execute(
                "UPDATE service SET state = 'active', billing_from = ?, closed_until = ? WHERE id = ?",
                since, closed_until, number,
            )  # fmt: skip
            found = await tx.services.get(number)
        assert found is not None
        return found

    async def released(self, service: Service) -> None:
        async with self.store.transaction() as tx:
            await tx.execute(
                "UPDATE service SET state = 'released', billing_until = closed_until WHERE id = ?", service.id
            )


@pytest.fixture
async def shelf(sqlite_target: SqliteTarget, tmp_path: Path) -> AsyncIterator[Shelf]:
    clock = VirtualClock()
    store = await Store.open(sqlite_target, clock=clock)
    days = DayStore.of(store, tmp_path, crunch.crunching(Inline()))
    keeping = Keeping(timedelta(hours=2), 95, 100 * DAY, 400 * DAY)
    yield Shelf(store, clock, days, Upkeep(store, clock, days, keeping))
    await days.close()
    await store.close()


async def test_a_day_is_closed_when_it_and_the_grace_time_are_over(shelf: Shelf) -> None:
    await shelf.fill(3)
    shelf.clock.advance_to(FIRST + 2 * DAY + timedelta(minutes=119))
    assert await shelf.upkeep.close_days() == 1
    shelf.clock.advance(60)
    assert await shelf.upkeep.close_days() == 1
    assert [day.state for day in await shelf.days.days()] == [DayState.CLOSED, DayState.CLOSED, DayState.OPEN]
    assert await shelf.upkeep.close_days() == 0


async def test_a_reading_of_a_day_that_is_closed_already_is_not_lost(shelf: Shelf) -> None:
    await shelf.fill(1)
    shelf.clock.advance_to(FIRST + 3 * DAY)
    await shelf.upkeep.close_days()
    await shelf.days.append(FIRST + timedelta(hours=5), "m", {"in": {1: (7, 0)}})
    await shelf.upkeep.close_days()
    assert [sample.value for sample in await shelf.days.series("in", 1, FIRST, FIRST + DAY)] == [0, 7]


async def test_days_that_nobody_needs_are_dropped_after_their_time(shelf: Shelf) -> None:
    await shelf.fill(5)
    shelf.clock.advance_to(FIRST + 102 * DAY)
    assert await shelf.upkeep.drop_days() == [date(2026, 1, 1), date(2026, 1, 2)]
    assert await shelf.dates() == [date(2026, 1, 3), date(2026, 1, 4), date(2026, 1, 5)]


async def test_days_that_a_record_rests_on_live_longer_and_those_before_its_period_as_well(shelf: Shelf) -> None:
    await shelf.fill(120)
    service = await shelf.service(FIRST + 60 * DAY, FIRST + 90 * DAY)
    record = UsageRecord(0, service.id, "in", FIRST + 60 * DAY, FIRST + 90 * DAY, "B", 1, DAY, 1, 1, {}, 1, "sha256:0")
    async with shelf.store.transaction() as tx:
        await tx.usage_records.add([record])
    await shelf.released(service)
    shelf.clock.advance_to(FIRST + 300 * DAY)
    dropped = await shelf.upkeep.drop_days()
    left = await shelf.dates()
    assert left[0] == (FIRST + 28 * DAY).date()
    assert left[-1] == (FIRST + 97 * DAY).date()
    assert len(dropped) + len(left) == 120
    shelf.clock.advance_to(FIRST + 600 * DAY)
    await shelf.upkeep.drop_days()
    assert await shelf.dates() == []


async def test_days_of_a_period_that_is_still_open_are_never_dropped(shelf: Shelf) -> None:
    await shelf.fill(100)
    await shelf.service(FIRST, FIRST + 50 * DAY)
    shelf.clock.advance_to(FIRST + 1000 * DAY)
    await shelf.upkeep.drop_days()
    assert (await shelf.dates())[0] == (FIRST + 18 * DAY).date()
    assert len(await shelf.dates()) == 82
