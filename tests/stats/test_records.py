"""Closing many services, and what is made of usage that comes when nothing can be computed again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.domain.clock import VirtualClock
from daemon.domain.metering import UsageRecord
from daemon.domain.pushed import PushedEvent
from daemon.domain.resources import RESOURCES, Resource
from daemon.modules.base import Report
from daemon.settings.modules import ModuleSettings
from daemon.settings.resources import ResourceDeclaration, catalogue
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
PLAN: dict[str, Any] = {
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

    async def services(self, count: int, resources: Mapping[str, Any] = PLAN["resources"]) -> None:
        """Active since the start of January, with a plan that counts the resources."""
        async with self.store.transaction() as tx:
            for _ in range(count):
                number = await a_service(tx)
                await tx.execute(
                    "UPDATE service SET state = 'active', billing_from = ?, module = ?, remote_id = ? WHERE id = ?",
                    JANUARY, MODULE, str(number), number,
                )  # fmt: skip
            await tx.execute("DROP TRIGGER plan_revision_append_only_update")
            await tx.execute("UPDATE plan_revision SET content = ?", {**PLAN, "resources": resources})

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


TRAFFIC = Report("traffic", ("in", "out"))
GRACE = timedelta(hours=2)


def made_records(
    store: Store,
    clock: VirtualClock,
    days: DayStore,
    resources: Mapping[str, Resource] = RESOURCES,
    reports: tuple[Report, ...] | None = (TRAFFIC,),
) -> Records:
    """Of a daemon that has just started with such settings. `reports` None: without the module."""
    settings = Panel(name=MODULE, type="manual", priority=1, responsible="d")
    metered = {} if reports is None else {MODULE: Metered(MODULE, reports, RHYTHM, settings)}
    keeping = Keeping(GRACE, 95, timedelta(days=100), timedelta(days=400))
    return Records(store, clock, Measuring(store, days, Inline()), Book(resources, metered), resources, keeping)


@pytest.fixture
async def hall(sqlite_target: SqliteTarget, tmp_path: Path) -> AsyncIterator[Hall]:
    clock = VirtualClock()
    store = await Store.open(sqlite_target, clock=clock)
    days = DayStore.of(store, tmp_path, crunch.crunching(Inline()))
    yield Hall(store, clock, days, made_records(store, clock, days))
    await days.close()
    await store.close()


def restarted(
    hall: Hall, resources: Mapping[str, Resource] = RESOURCES, reports: tuple[Report, ...] | None = (TRAFFIC,)
) -> Records:
    return made_records(hall.store, hall.clock, hall.days, resources, reports)


async def found(hall: Hall, service_id: int = 1) -> dict[str, UsageRecord]:
    """The newest record of each resource."""
    page = await hall.store.read.usage_records.page(service_id=service_id, after=0, limit=50, newest=True)
    return {record.resource: record for record in page}


@contextmanager
def heard() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


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


async def _lost(hall: Hall, number: int = 1, resource: str = "in") -> None:
    """Usage of January, pushed now."""
    event = PushedEvent("meter", f"e-{number}", 1, FEBRUARY - timedelta(days=3), resource, 77)
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


# what the settings no longer have -------------------------------------------------------------------------------------------------


def declared(kind: str = "running_total", unit: str = "KiB") -> dict[str, Resource]:
    """The settings with a resource `own`."""
    return catalogue({"own": ResourceDeclaration.model_validate({"unit": unit, "kind": kind})})


GONE = "the settings no longer have the resource own"


async def test_a_resource_that_is_gone_from_the_settings_stays_in_the_bills_and_is_held(hall: Hall) -> None:
    await hall.services(2, {"in": {}, "own": {"included": "10 KiB"}})
    assert await restarted(hall, declared()).close_due() == 0
    await hall.month(2)
    await _lost(hall, resource="own")
    with heard() as logs:
        assert await hall.records.close_due() == 4
    told = [entry for entry in logs if entry["event"] == "usage.in_doubt"]
    assert [(entry["resource"], entry["why"], entry["services"]) for entry in told] == [("own", GONE, 2)]
    records = await found(hall)
    assert not records["in"].held
    own = records["own"]
    assert (own.base_quantity, own.base_unit, own.held) == (77, "B", True)
    assert str(own.reason).startswith(GONE)
    assert hall.records.shown(own)[0] == "KiB"
    assert (await found(hall, 2))["own"].base_quantity is None
    assert {verdict.proof for verdict in await hall.records.verify(list(records.values()))} == {Proof.INTACT}


async def test_an_amount_of_a_plan_is_billed_although_its_resource_is_gone_from_the_settings(hall: Hall) -> None:
    await hall.services(1, {"own": {"amount": "20 items"}})
    await restarted(hall, declared("stock", "items")).close_due()
    hall.clock.advance_to(CLOSES)
    assert await hall.records.close_due() == 1
    own = (await found(hall))["own"]
    assert (own.base_quantity, own.held, own.reason) == (20, False, None)


async def test_a_resource_that_nobody_remembers_is_unknown_whatever_was_pushed_and_can_be_corrected(hall: Hall) -> None:
    await hall.services(1, {"in": {}, "own": {"included": "10 GB"}})
    await hall.month(1)
    await _lost(hall, resource="own")
    assert await hall.records.close_due() == 2
    own = (await found(hall))["own"]
    assert (own.base_quantity, own.base_unit, own.held) == (None, "GB", True)
    assert own.reason == f"{GONE}; nothing is known of it"
    assert {verdict.proof for verdict in await hall.records.verify([own])} == {Proof.INTACT}
    async with hall.store.transaction() as tx:
        made = await hall.records.revise(tx, own.id, "3", reason="as the customer counted", author="token:bill")
    assert hall.records.shown(made) == ("GB", "3")


async def test_a_resource_that_was_billed_before_is_known_from_its_last_record(hall: Hall) -> None:
    await hall.services(1, {"in": {}, "own": {}})
    await hall.month(1)
    assert await restarted(hall, declared()).close_due() == 2
    async with hall.store.transaction() as tx:
        await tx.execute("DELETE FROM fact WHERE name = 'declared-resources'")
    last = (await found(hall))["own"]
    book = Book(RESOURCES, {})
    [service] = await hall.store.read.services.many([1])
    [_, own] = await book.sold(hall.store.read, service)
    assert (own.code, own.base_unit, own.unit) == ("own", last.base_unit, "KiB")


async def test_what_was_sold_and_is_gone_is_named_until_all_of_it_is_billed(hall: Hall) -> None:
    await hall.services(2, {"in": {}, "own": {}})
    [sentence] = await Book(RESOURCES, {}).gone(hall.store.read)
    assert sentence.startswith("resources: own is not there any more, but services of plan p")
    assert await Book(declared(), {}).gone(hall.store.read) == []
    async with hall.store.transaction() as tx:
        await tx.execute(
            "UPDATE service SET state = 'released', billing_until = ?, closed_until = ?", FEBRUARY, FEBRUARY
        )
    assert await Book(RESOURCES, {}).gone(hall.store.read) == []


# sources that are behind ----------------------------------------------------------------------------------------------------------

POWER = Report("power", ("power",))
SOLD: dict[str, Any] = {"in": {}, "power": {}, "energy": {}}
CLOSES = FEBRUARY + 2 * RHYTHM + GRACE


async def mails(hall: Hall) -> list[Any]:
    return [parcel.payload for parcel in await hall.store.read.outbox.due(hall.clock.now(), 10)]


async def test_a_dead_report_keeps_a_month_open_for_three_days_and_then_only_what_rests_on_it_is_held(
    hall: Hall,
) -> None:
    records = restarted(hall, reports=(TRAFFIC, POWER))
    await hall.services(2, SOLD)
    await hall.month(2)
    hall.clock.advance_to(CLOSES + timedelta(days=3, seconds=-1))
    assert await records.close_due() == 0
    assert await hall.store.read.usage_records.periods_waiting(hall.clock.now()) == {MODULE: 2}
    hall.clock.advance(1)
    with heard() as logs:
        assert await records.close_due() == 6
    assert [entry["source"] for entry in logs if entry["event"] == "usage.closed_without"] == ["m/power"]
    made = await found(hall)
    assert (made["in"].held, made["in"].base_quantity) == (False, 61_000)
    for resource in ("power", "energy"):
        assert (made[resource].held, made[resource].base_quantity) == (True, None)
        assert made[resource].reason == "its source m/power has brought nothing yet; nothing is known of it"
    assert {verdict.proof for verdict in await records.verify(list(made.values()))} == {Proof.INTACT}
    assert await hall.store.read.usage_records.periods_waiting(hall.clock.now()) == {}


async def test_the_department_of_a_module_hears_once_that_a_month_was_closed_without_a_source(hall: Hall) -> None:
    records = restarted(hall, reports=(TRAFFIC, POWER))
    await hall.services(260, SOLD)  # more than are closed at a time
    await hall.month(1)
    async with hall.store.transaction() as tx:
        await tx.watermarks.move({f"{MODULE}/power": FEBRUARY - timedelta(days=9)})
    hall.clock.advance_to(CLOSES + timedelta(days=3))
    assert await records.close_due() == 3 * 260
    [mail] = await mails(hall)
    assert mail["department"] == "d"
    assert mail["subject"] == "Usage until 2026-02-01 00:00 UTC is incomplete: m/power brought nothing"
    assert "m/power has brought nothing since 2026-01-23 00:00 UTC" in mail["text"]
    assert "since 2026-01-23 00:00 UTC" in str((await found(hall))["power"].reason)


async def test_a_daemon_that_was_off_for_longer_than_the_deadline_asks_its_panels_first(hall: Hall) -> None:
    await hall.services(1, SOLD)
    await hall.month(1)
    hall.clock.advance_to(FEBRUARY + timedelta(days=20))
    records = restarted(hall, reports=(TRAFFIC, POWER))
    assert await records.close_due() == 0
    async with hall.store.transaction() as tx:
        await tx.watermarks.move({f"{MODULE}/power": hall.clock.now()})
    assert await records.close_due() == 3
    assert (await found(hall))["power"].reason == "nothing is known of it"
    assert await mails(hall) == []


async def test_usage_pushed_for_a_month_that_was_closed_without_its_source_does_not_free_it(hall: Hall) -> None:
    records = restarted(hall)
    await hall.services(1)
    hall.clock.advance_to(CLOSES + timedelta(days=3))
    assert await records.close_due() == 2
    await _lost(hall)
    assert await records.close_due() == 1
    newest = (await found(hall))["in"]
    assert (newest.revision, newest.base_quantity, newest.held) == (2, 77, True)
    assert "its source m/traffic has brought nothing yet" in str(newest.reason)


async def test_services_of_a_module_that_is_gone_are_closed_held_at_the_deadline(hall: Hall) -> None:
    records = restarted(hall, reports=None)
    await hall.services(1, {"in": {}, "services": {}})
    await hall.month(1)
    hall.clock.advance_to(FEBRUARY + GRACE + timedelta(days=3, minutes=14))
    assert await records.close_due() == 0
    assert await hall.store.read.usage_records.periods_waiting(hall.clock.now()) == {MODULE: 1}
    hall.clock.advance(60)
    assert await records.close_due() == 2
    made = await found(hall)
    assert (made["in"].base_quantity, made["in"].held) == (None, True)
    assert made["in"].reason == "the settings no longer have its module m; nothing is known of it"
    assert (made["services"].base_quantity, made["services"].held) == (1, False)


# both directions ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["larger", "sum"])
@pytest.mark.parametrize(
    ("report", "lacking"), [(Report("traffic", ("in",)), "out"), (Report("traffic", ("burst_in_day",)), "burst_out_day")]
)  # fmt: skip
async def test_a_quantity_of_both_directions_is_unknown_where_only_one_is_read(
    direction: str, report: Report, lacking: str, hall: Hall
) -> None:
    records = restarted(hall, reports=(report,))
    own = {"direction": direction}
    await hall.services(1, {"burst_in_day": own, "burst_out_day": own})
    await hall.month(1)
    await records.close_due()
    made = await found(hall)
    assert made.keys() == {"burst_in_day"}
    burst = made["burst_in_day"]
    assert (burst.base_quantity, burst.held) == (None, True)
    assert str(burst.reason).startswith(f"no report gives {lacking}, and {direction} needs both directions")
