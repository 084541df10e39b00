"""Closing many services, and what is made of usage that comes when nothing can be computed again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.clock import VirtualClock
from daemon.domain.pushed import PushedEvent
from daemon.domain.resources import RESOURCES
from daemon.modules.base import Report
from daemon.settings.modules import ModuleSettings
from daemon.stats import crunch, records
from daemon.stats.measuring import Measuring
from daemon.stats.records import Keeping, Proof, Records
from daemon.stats.terms import Book, Metered
from daemon.store.database import Store
from daemon.store.days.store import DayStore
from daemon.store.targets import SqliteTarget
from tests.provisioning.world import Inline
from tests.store.rows import a_service

JANUARY, FEBRUARY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
RHYTHM = timedelta(hours=12)
MODULE = "m"
PLAN = {
    "name": "p", "product": "dedicated", "server_type": "x", "modules": [MODULE],
    "prices": {"EUR": {"month": "1.00"}}, "resources": {"in": {}, "out": {}}, "addons": {},
}  # fmt: skip


class Panel(ModuleSettings):
    """What metering asks of a module's settings."""

    @property
    def month_zone(self) -> tzinfo:
        return UTC


@dataclass
class Hall:
    store: Store
    clock: VirtualClock
    days: DayStore
    records: Records

    async def services(self, count: int) -> None:
        """Active since the start of January."""
        async with self.store.transaction() as tx:
            for _ in range(count):
                number = await a_service(tx)
                await tx.execute(
                    "UPDATE service SET state = 'active', billing_from = ?, module = ?, remote_id = ? WHERE id = ?",
                    JANUARY, MODULE, str(number), number,
                )  # fmt: skip
            await tx.execute("DROP TRIGGER plan_revision_append_only_update")
            await tx.execute("UPDATE plan_revision SET content = ?", PLAN)

    async def month(self, count: int) -> None:
        """The readings of January and of two days more, and the watermark."""
        at = JANUARY
        while at <= FEBRUARY + timedelta(days=2):
            step = (at - (JANUARY if at < FEBRUARY else FEBRUARY)) // RHYTHM
            totals = {one: (1000 * step * one, 0) for one in range(1, count + 1)}
            await self.days.append(at, MODULE, {"in": totals, "out": totals})
            at += RHYTHM
        async with self.store.transaction() as tx:
            await tx.watermarks.move({f"{MODULE}/traffic": at - RHYTHM})
        self.clock.advance_to(FEBRUARY + timedelta(days=2))


@pytest.fixture
async def hall(sqlite_target: SqliteTarget, tmp_path: Path) -> AsyncIterator[Hall]:
    clock = VirtualClock()
    store = await Store.open(sqlite_target, clock=clock)
    days = DayStore.of(store, tmp_path, crunch.crunching(Inline()))
    settings = Panel(name=MODULE, type="manual", priority=1, responsible="d")
    book = Book(RESOURCES, {MODULE: Metered(MODULE, (Report("traffic", ("in", "out")),), RHYTHM, settings)})
    keeping = Keeping(timedelta(hours=2), 95, timedelta(days=100), timedelta(days=400))
    measuring = Measuring(store, days, Inline())
    yield Hall(store, clock, days, Records(store, clock, measuring, book, RESOURCES, keeping))
    await days.close()
    await store.close()


class Counted:
    """Counts the statements that repositories make."""

    def __init__(self, hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: Counter[str] = Counter()
        for name in ("execute", "fetch", "execute_many"):
            whole = getattr(type(hall.store.read), name)

            async def counted(connection: Any, sql: str, *values: Any, whole: Any = whole) -> Any:
                self.statements[sql.split(" ", maxsplit=1)[0]] += 1
                return await whole(connection, sql, *values)

            monkeypatch.setattr(type(hall.store.read), name, counted)

    @property
    def total(self) -> int:
        return sum(self.statements.values())


async def test_closing_takes_a_few_statements_for_each_service_however_many_there_are(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300  # more than are measured at a time
    await hall.services(count)
    await hall.month(count)
    counted = Counted(hall, monkeypatch)
    assert await hall.records.close_due() == 2 * count
    assert counted.total <= 6 * count
    made = await hall.store.read.usage_records.page(service_id=count, after=0, limit=10)
    # the last half day of January was never seen: the panel's month began anew
    assert [(r.base_quantity, r.held) for r in made] == [(61 * 1000 * count, False)] * 2
    assert not await hall.store.read.events.broken_links()
    before = counted.total
    assert await hall.records.close_due() == 0
    assert counted.total - before <= 2 * count / 100 + 10


@pytest.mark.timeout(60)
async def test_the_time_to_close_grows_with_the_number_of_services_and_not_with_its_square(hall: Hall) -> None:
    await hall.services(1000)
    await hall.month(1000)
    taken = []
    for part in (range(1, 251), range(1, 1001)):
        async with hall.store.transaction() as tx:
            await tx.execute("UPDATE service SET billing_from = NULL WHERE id > ?", part[-1])
            await tx.execute("UPDATE service SET billing_from = ? WHERE id <= ?", JANUARY, part[-1])
        begun = time.perf_counter()
        made = await hall.records.close_due()
        taken.append((time.perf_counter() - begun) / made)
    assert taken[1] < 3 * taken[0]


async def _lost(hall: Hall, number: int = 1) -> None:
    """Usage of January, pushed now."""
    event = PushedEvent("meter", f"e-{number}", 1, FEBRUARY - timedelta(days=3), "in", 77)
    async with hall.store.transaction() as tx:
        await tx.pushed.add([(event, None)], actor="token:bill")


async def test_usage_that_comes_when_the_samples_are_gone_is_left_to_a_person(hall: Hall) -> None:
    await hall.services(1)
    await hall.month(1)
    assert await hall.records.close_due() == 2
    hall.clock.advance(500 * 86400)
    async with hall.store.transaction() as tx:
        await tx.execute("UPDATE service SET closes_at = ?", hall.clock.now() + timedelta(days=1))
    for day in await hall.days.days():
        await hall.days.drop_day(day.date)
    await _lost(hall)
    assert [await hall.records.close_due(), await hall.records.close_due()] == [1, 0]
    newest, *_ = await hall.store.read.usage_records.page(service_id=1, after=0, limit=10)
    assert (newest.revision, newest.held, newest.reason) == (2, True, records.LATE_AND_LOST)
    assert newest.base_quantity == 61_000
    async with hall.store.transaction() as tx:
        await hall.records.revise(tx, newest.id, None, reason="too late", author="token:bill")
    assert await hall.records.close_due() == 0


async def test_a_quantity_beyond_all_bounds_is_unknown_and_held(hall: Hall) -> None:
    await hall.services(1)
    await hall.month(1)
    async with hall.store.transaction() as tx:
        for number in range(2):
            event = PushedEvent("meter", f"e-{number}", 1, FEBRUARY - timedelta(days=3), "in", 2**63 - 1)
            await tx.pushed.add([(event, None)], actor="token:bill")
    assert await hall.records.close_due() == 2
    made = await hall.store.read.usage_records.page(service_id=1, after=0, limit=10)
    record = next(record for record in made if record.resource == "in")
    assert (record.base_quantity, record.held) == (None, True)
    assert str(record.reason).endswith("B are more than a record can hold")
    assert {verdict.proof for verdict in await hall.records.verify(made)} == {Proof.INTACT}
