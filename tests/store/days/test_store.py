"""Appending, closing, reading and dropping days: the same on files and on partitions."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from daemon.domain.errors import Permanent
from daemon.store.days.codec import HIGHEST, LOWEST
from daemon.store.days.shapes import DayState, Sample
from daemon.store.days.store import DayStore

DAY = date(2026, 1, 5)
START = datetime(2026, 1, 5, tzinfo=UTC)
FIVE = timedelta(minutes=5)
END = START + timedelta(days=1) - timedelta(microseconds=1)


async def fill(days: DayStore, start: datetime, slots: int, services: range, metric: str = "in") -> None:
    for number in range(slots):
        at = start + number * FIVE
        await days.append(at, "dci", {metric: {service: (service * 1000 + number, 0) for service in services}})


def expected(start: datetime, slots: int, service: int) -> list[Sample]:
    return [Sample(start + number * FIVE, service * 1000 + number, 0) for number in range(slots)]


async def test_what_was_appended_comes_back_before_and_after_closing(days: DayStore) -> None:
    await fill(days, START, 12, range(1, 300))
    for _ in range(3):
        assert await days.series("in", 7, START, END) == expected(START, 12, 7)
        assert await days.series("in", 299, START, END) == expected(START, 12, 299)
        await days.close_day(DAY)
    assert [(day.date, day.state) for day in await days.days()] == [(DAY, DayState.CLOSED)]


async def test_a_day_is_open_closed_and_open_again_when_a_sample_comes_late(days: DayStore) -> None:
    await fill(days, START, 3, range(1, 4))
    assert [day.state for day in await days.days()] == [DayState.OPEN]
    assert await days.close_day(DAY)
    assert [day.state for day in await days.days()] == [DayState.CLOSED]
    assert not await days.close_day(DAY)
    await days.append(START + timedelta(seconds=7), "dci", {"in": {2: (5, 3)}})
    assert [day.state for day in await days.days()] == [DayState.OPEN]
    late = [*expected(START, 1, 2), Sample(START + timedelta(seconds=7), 5, 3), *expected(START, 3, 2)[1:]]
    assert await days.series("in", 2, START, END) == late
    assert await days.close_day(DAY)
    assert await days.series("in", 2, START, END) == late
    assert await days.series("in", 1, START, END) == expected(START, 3, 1)


async def test_appending_again_changes_nothing_and_what_was_stored_first_stays(days: DayStore) -> None:
    await days.append(START, "dci", {"in": {1: (10, 0), 2: (20, 0)}})
    await days.append(START, "dci", {"in": {1: (10, 0), 2: (20, 0)}})
    await days.append(START, "dci", {"in": {1: (11, 1), 3: (30, 0)}, "out": {1: (4, 0)}})
    for _ in range(2):
        assert await days.series("in", 1, START, END) == [Sample(START, 10, 0)]
        assert await days.series("in", 3, START, END) == [Sample(START, 30, 0)]
        assert await days.series("out", 1, START, END) == [Sample(START, 4, 0)]
        await days.close_day(DAY)
        await days.append(START, "dci", {"in": {1: (12, 0)}})
    await days.close_day(DAY)
    assert await days.series("in", 1, START, END) == [Sample(START, 10, 0)]


async def test_the_same_reading_appended_twice_at_once_is_stored_once(days: DayStore) -> None:
    await asyncio.gather(*(days.append(START, "dci", {"in": {1: (10 + n, 0)}}) for n in range(5)))
    assert len(await days.series("in", 1, START, END)) == 1


async def test_extremes_of_values_and_classes_survive(days: DayStore) -> None:
    values = [LOWEST, HIGHEST, 0, LOWEST, -1, HIGHEST, 1]
    for number, value in enumerate(values):
        await days.append(START + number * FIVE, "dci", {"in": {1: (value, 255 - number)}})
    for _ in range(2):
        found = await days.series("in", 1, START, END)
        assert [(sample.value, sample.cls) for sample in found] == [(v, 255 - n) for n, v in enumerate(values)]
        await days.close_day(DAY)


@pytest.mark.parametrize("sample", [(HIGHEST + 1, 0), (LOWEST - 1, 0), (1, 256), (1, -1)])
async def test_a_number_that_does_not_fit_is_refused_whole(days: DayStore, sample: tuple[int, int]) -> None:
    with pytest.raises(Permanent, match="in of service 2") as caught:
        await days.append(START, "dci", {"in": {1: (1, 0), 2: sample}})
    assert caught.value.code == "sample_out_of_range"
    assert await days.series("in", 1, START, END) == []


async def test_a_series_goes_on_over_open_and_closed_days_and_both_ends_count(days: DayStore) -> None:
    start = START + timedelta(hours=23)
    await fill(days, start, 40, range(1, 3))
    assert [day.date for day in await days.days()] == [DAY, DAY + timedelta(days=1)]
    await days.close_day(DAY)
    assert await days.series("in", 2, start, start + 39 * FIVE) == expected(start, 40, 2)
    assert await days.series("in", 2, start + 5 * FIVE, start + 20 * FIVE) == expected(start, 40, 2)[5:21]
    just_less = timedelta(microseconds=1)
    assert await days.series("in", 2, start + just_less, start + 20 * FIVE - just_less) == expected(start, 40, 2)[1:20]


async def test_a_moment_of_another_zone_belongs_to_its_utc_day(days: DayStore) -> None:
    from zoneinfo import ZoneInfo

    at = datetime(2026, 1, 6, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    await days.append(at, "dci", {"in": {1: (1, 0)}})
    assert [day.date for day in await days.days()] == [DAY]


async def test_services_with_gaps_and_of_two_modules_share_a_block(days: DayStore) -> None:
    for number in range(20):
        at = START + number * FIVE
        present = {service: (number, 0) for service in range(1, 6) if (number + service) % service == 0}
        await days.append(at, "one", {"in": present})
        await days.append(at + timedelta(microseconds=17), "two", {"in": {9: (number * number, 1), 3: (number, 2)}})
    before = {service: await days.series("in", service, START, END) for service in range(12)}
    assert [len(before[service]) for service in (0, 1, 2, 5, 9)] == [0, 20, 10, 4, 20]
    await days.close_day(DAY)
    assert {service: await days.series("in", service, START, END) for service in range(12)} == before


async def test_bulk_gives_what_series_gives(days: DayStore) -> None:
    start = START + timedelta(hours=20)
    await fill(days, start, 60, range(100, 300))
    await days.close_day(DAY)
    await days.append(start + timedelta(seconds=1), "dci", {"in": {130: (9, 9), 5: (1, 1)}})
    wanted = [5, 6, 100, 130, 299]
    since, until = start + FIVE, start + 50 * FIVE
    for begin, end in ((since, until), (START, END + timedelta(days=3))):
        columns = await days.bulk("in", wanted, begin, end)
        assert {service: found.samples() for service, found in columns.items()} == {
            service: await days.series("in", service, begin, end) for service in wanted
        }


async def test_last_is_the_newest_before_a_moment_wherever_it_is(days: DayStore) -> None:
    start = START + timedelta(hours=23)
    await days.append(start - timedelta(days=3), "dci", {"in": {50: (5, 5), 1: (0, 0)}})
    await fill(days, start, 24, range(1, 200))
    await days.append(start + FIVE, "dci", {"in": {300: (7, 0)}})
    moments = [start, start + 5 * FIVE, start + timedelta(seconds=30) + 23 * FIVE, START + timedelta(days=9)]
    services = [1, 50, 199, 300, 301]

    async def by_series(before: datetime) -> dict[int, Sample]:
        found = {}
        for service in services:
            series = await days.series("in", service, START - timedelta(days=30), before - timedelta(microseconds=1))
            if series:
                found[service] = series[-1]
        return found

    for _ in range(2):
        for moment in moments:
            assert await days.last("in", services, moment) == await by_series(moment)
        await days.close_day(DAY)
        await days.append(start + 7 * FIVE + timedelta(seconds=3), "dci", {"in": {50: (8, 1)}})
    assert await days.last("in", [50], start, since=start - FIVE) == {}
    assert await days.last("in", [], start) == {}


async def test_a_dropped_day_is_gone_and_can_begin_again(days: DayStore) -> None:
    await fill(days, START, 3, range(1, 3))
    await fill(days, START + timedelta(days=1), 3, range(1, 3))
    await days.drop_day(DAY)
    await days.drop_day(DAY)
    assert [day.date for day in await days.days()] == [DAY + timedelta(days=1)]
    assert await days.series("in", 1, START, END) == []
    await days.append(START, "dci", {"in": {1: (77, 0)}})
    assert await days.series("in", 1, START, END) == [Sample(START, 77, 0)]
    await days.close_day(DAY)
    await days.drop_day(DAY)
    assert [day.date for day in await days.days()] == [DAY + timedelta(days=1)]


async def test_days_expire_by_age_and_evidence_later(days: DayStore) -> None:
    today = date(2027, 6, 1)
    ages = [10, 100, 101, 399, 400, 401]
    for age in ages:
        await days.append(datetime(2027, 6, 1, 12, tzinfo=UTC) - timedelta(days=age), "dci", {"in": {1: (1, 0)}})
    evidence = {today - timedelta(days=age) for age in (101, 400, 401)}
    gone = await days.expired(today, 100, 400, evidence)
    assert [(today - day).days for day in gone] == [401, 399]


async def test_closing_a_day_that_is_not_there_does_nothing(days: DayStore) -> None:
    assert not await days.close_day(DAY)
    assert await days.days() == []


async def test_samples_that_come_while_a_day_is_closed_are_kept(days: DayStore) -> None:
    await fill(days, START, 3, range(1, 3))
    async with days._shelf.closing(DAY) as closing:
        for metric, block in closing.blocks:
            work = await closing.load(metric, block)
            await days.append(START + timedelta(hours=3), "dci", {"in": {1: (9, 9), 400: (1, 1)}})
            await closing.put(metric, await days._crunch.encode(work))
        assert await days.series("in", 2, START, END) == expected(START, 3, 2)
        await closing.finish()
    assert [day.state for day in await days.days()] == [DayState.OPEN]
    late = Sample(START + timedelta(hours=3), 9, 9)
    for _ in range(2):
        assert await days.series("in", 1, START, END) == [*expected(START, 3, 1), late]
        assert await days.series("in", 400, START, END) == [Sample(late.at, 1, 1)]
        await days.close_day(DAY)


async def test_a_closing_that_is_given_up_leaves_the_day_as_it_was(days: DayStore) -> None:
    await fill(days, START, 3, range(1, 3))

    async def give_up() -> None:
        async with days._shelf.closing(DAY) as closing:
            for metric, block in closing.blocks:
                await closing.put(metric, await days._crunch.encode(await closing.load(metric, block)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await give_up()
    assert [day.state for day in await days.days()] == [DayState.OPEN]
    assert await days.series("in", 1, START, END) == expected(START, 3, 1)
    assert await days.close_day(DAY)
    assert await days.series("in", 1, START, END) == expected(START, 3, 1)


async def test_readers_see_a_whole_day_while_it_is_closed_again_and_again(days: DayStore) -> None:
    await fill(days, START, 6, range(1, 300))
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            found = await days.series("in", 250, START, START + 5 * FIVE)
            assert found == expected(START, 6, 250)
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for number in range(6):
        await days.close_day(DAY)
        await days.append(START + timedelta(hours=1 + number), "dci", {"in": {250: (1, 0), 7: (1, 0)}})
    done.set()
    await asyncio.gather(*readers)
