"""The oracles, example by example: what adds up, what has no rate, and what a gap does to an integral."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.periods import Grain, period_named
from daemon.domain.quality import Meter, Quality
from daemon.domain.resources import RESOURCES, Kind
from tests.domain.oracles import (
    Sample,
    bits_per_second,
    by_moment,
    daily_bursts,
    energy,
    held,
    integrate,
    judge,
    of_directions,
    rates,
    roll_up,
    summary,
    tally,
)

T0 = datetime(2026, 11, 10, tzinfo=UTC)
FIVE, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")
TRAFFIC = Meter(Kind.RUNNING_TOTAL, FIVE)
POWER = Meter(Kind.GAUGE, FIVE, port_speed=None)


def counted(volumes: Sequence[int | None], start: datetime = T0) -> list[Sample]:
    """A sample at the start and one after each round of that volume; None: the round was missed (and carried nothing)."""
    samples, total, at = [Sample(start, 0)], 0, start
    for volume in volumes:
        at += FIVE
        total += volume or 0
        if volume is not None:
            samples.append(Sample(at, total))
    return samples


def levels(*values: int | None, start: datetime = T0) -> list[Sample]:
    return [Sample(start + n * FIVE, value) for n, value in enumerate(values) if value is not None]


# Rates.


@pytest.mark.parametrize(
    ("volume", "seconds", "bits"),
    [(37_500_000, 300, 10**6), (1, 300, 0), (19, 304, 1), (0, 300, 0), (2**70, 8, 2**70), (1, 16, 1)],
)
def test_a_rate_is_bytes_times_eight_by_seconds_half_away_from_zero(volume, seconds, bits) -> None:
    assert bits_per_second(volume, timedelta(seconds=seconds)) == bits


def test_a_gap_has_a_volume_but_no_rate() -> None:
    judged = list(judge(counted([300, None, 600, 300]), TRAFFIC))
    assert [(rate.until, rate.bits) for rate in rates(judged, FIVE)] == [(T0 + FIVE, 8), (T0 + 4 * FIVE, 8)]
    (day,) = roll_up(judged, TRAFFIC, T0, T0 + DAY, Grain.DAY, UTC)
    assert (day.total, day.values.count, day.count, day.expected) == (1200, 2, 3, 288)
    assert day.covered == 4 * FIVE


def test_polls_in_quick_succession_are_joined_to_one_rate() -> None:
    samples = [
        Sample(T0 + timedelta(seconds=at), total) for at, total in ((0, 0), (10, 3000), (300, 3000), (600, 6000))
    ]
    found = rates(judge(samples, TRAFFIC), FIVE)
    assert [(rate.since, rate.until, rate.bits) for rate in found] == [
        (T0, T0 + FIVE, 80),
        (T0 + FIVE, T0 + 2 * FIVE, 80),
    ]


def test_the_burst_of_a_day_is_the_95th_percentile_of_its_own_rates() -> None:
    start = period_named("2026-11-10", BERLIN).since
    quiet, busy = 37_500_000, 375_000_000
    volumes = [busy] * 14 + [quiet] * 274 + [busy] * 15 + [quiet] * 273
    found = rates(judge(counted(volumes, start), TRAFFIC), FIVE)
    days = daily_bursts(found, start, start + 2 * DAY, BERLIN)
    assert [day.bits for day in days] == [10**6, 10**7]
    assert [RESOURCES["burst_in_day"].shown(day.bits or 0) for day in days] == [1, 10]
    assert [(day.count, day.rated) for day in days] == [(288, DAY)] * 2
    assert [day.bits for day in daily_bursts(found, start, start + 2 * DAY, BERLIN, 100)] == [10**7] * 2


def test_a_day_without_rates_has_no_burst_which_is_not_zero() -> None:
    (day,) = daily_bursts([], T0, T0 + DAY, UTC)
    assert (day.bits, day.count) == (None, 0)


def test_days_of_23_and_25_hours_have_276_and_300_rates() -> None:
    for name, count in (("2026-03-29", 276), ("2026-10-25", 300)):
        day = period_named(name, BERLIN)
        volumes = [10] * (day.length // FIVE + 20)
        found = rates(judge(counted(volumes, day.since - 10 * FIVE), TRAFFIC), FIVE)
        (burst,) = daily_bursts(found, day.since, day.until, BERLIN)
        assert burst.count == count


def test_two_ports_meet_by_the_moment_of_their_round() -> None:
    ports = [by_moment(rates(judge(counted(volumes), TRAFFIC), FIVE)) for volumes in ([300, 600, 0], [300, None, 300])]
    incoming, _ = of_directions(ports, [])
    assert (incoming.value, incoming.count, incoming.missing) == (16, 1, 2)


# Volumes.


def test_an_average_is_a_sum_and_a_count() -> None:
    found = summary([1, 2, 2])
    assert (found.total, found.count, found.maximum, found.minimum, found.percentile) == (5, 3, 2, 1, 2)
    assert found.average == Fraction(5, 3)
    nothing = summary([])
    assert (nothing.average, nothing.maximum, nothing.minimum, nothing.percentile) == (None, None, None, None)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 10**9)), min_size=1, max_size=120),
    st.sampled_from([Grain.HOUR, Grain.DAY, Grain.MONTH]),
    st.sampled_from([UTC, BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")]),
    st.integers(0, 3600),
)
def test_what_is_rolled_up_adds_up_to_the_tally_of_the_whole(volumes, grain, zone, offset) -> None:
    start = datetime(2026, 10, 24, 20, tzinfo=UTC) + timedelta(seconds=offset)
    samples = counted(volumes, start)
    since, until = start + timedelta(minutes=12), start + timedelta(minutes=5 * len(volumes) - 7)
    if since >= until:
        return
    judged = list(judge(samples, TRAFFIC))
    rolled = roll_up(judged, TRAFFIC, since, until, grain, zone)
    whole = tally(samples, TRAFFIC, since, until)
    assert sum(one.total for one in rolled) == whole.quantity
    assert sum((one.covered for one in rolled), timedelta()) == whole.covered
    assert sum(one.count for one in rolled) == whole.count
    assert sum(one.classes.get(Quality.GAP, 0) for one in rolled) == whole.classes.get(Quality.GAP, 0)
    assert sum(one.values.count for one in rolled) <= whole.count


def test_a_level_on_the_edge_belongs_to_the_period_that_begins() -> None:
    samples = levels(1, 2, 3, start=T0 - FIVE)
    days = roll_up(list(judge(samples, POWER)), POWER, T0 - DAY, T0 + DAY, Grain.DAY, UTC)
    assert [(day.values.total, day.values.count) for day in days] == [(1, 1), (5, 2)]
    assert days[1].values.maximum == 3


# The integral.


def test_one_hundred_watts_for_an_hour_are_one_hundred_watt_hours() -> None:
    judged = list(judge(levels(*[100_000] * 13), POWER))
    (hour,) = integrate(held(judged, POWER), T0, T0 + HOUR, Grain.HOUR, UTC)
    assert hour.covered == HOUR
    assert hour.average == 100_000
    assert [str(RESOURCES["energy"].shown(quantity)) for quantity in energy([hour])] == ["100"]


def test_a_reading_holds_until_the_next_one() -> None:
    judged = list(judge(levels(60_000, 120_000, 0), POWER))
    assert [(one.level, one.until - one.since) for one in held(judged, POWER)] == [(60_000, FIVE), (120_000, FIVE)]
    (hour,) = integrate(held(judged, POWER), T0, T0 + HOUR, Grain.HOUR, UTC)
    assert energy([hour]) == [15_000_000]


def test_a_gap_counts_nothing_and_lowers_the_coverage() -> None:
    judged = list(judge(levels(60_000, None, None, None, 60_000, 60_000), POWER))
    (hour,) = integrate(held(judged, POWER), T0, T0 + HOUR, Grain.HOUR, UTC)
    assert hour.covered == 2 * FIVE
    assert energy([hour]) == [10_000_000]
    assert hour.average == 60_000


def test_duplicates_and_late_levels_hold_nothing() -> None:
    samples = [Sample(T0, 10), Sample(T0 + FIVE, 20), Sample(T0 + FIVE, 99), Sample(T0 + timedelta(minutes=2), 99)]
    judged = list(judge([*samples, Sample(T0 + 2 * FIVE, 30)], POWER))
    assert [one.level for one in held(judged, POWER)] == [10, 20]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 10**6)), min_size=2, max_size=100),
    st.integers(0, 86400),
    st.sampled_from([Grain.HOUR, Grain.DAY]),
)
def test_the_energy_of_the_parts_is_the_energy_of_the_whole(values, offset, grain) -> None:
    start = datetime(2026, 10, 24, 20, tzinfo=UTC) + timedelta(seconds=offset)
    found = held(judge(levels(*values, start=start), POWER), POWER)
    until = start + 8 * HOUR + timedelta(seconds=1)
    parts = integrate(found, start, until, grain, BERLIN)
    (whole,) = integrate(found, start, until, Grain.YEAR, UTC)
    assert sum(part.level_time for part in parts) == whole.level_time
    assert sum((part.covered for part in parts), timedelta()) == whole.covered
    assert sum(energy(parts)) == energy([whole])[0] == whole.level_time // 3_600_000
    assert all(quantity >= 0 for quantity in energy(parts))


def test_a_stock_is_averaged_over_the_time_it_was_held() -> None:
    meter = Meter(Kind.STOCK, DAY, port_speed=None)
    samples = [Sample(T0, 2), Sample(T0 + DAY, 6), Sample(T0 + 2 * DAY, 6)]
    (found,) = integrate(held(judge(samples, meter), meter), T0, T0 + 2 * DAY, Grain.YEAR, UTC)
    assert found.average == 4
