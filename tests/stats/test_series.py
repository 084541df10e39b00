"""The worker's arithmetic against the rules sample by sample, against plain Python numbers, and example by example."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.metering import Ask, Billable, Look, Measured, Point, Source
from daemon.domain.percentile import Directions
from daemon.domain.periods import Grain, buckets
from daemon.domain.quality import NOT_COUNTED, Judged, Meter, Quality
from daemon.domain.resources import RESOURCES, Kind, Resource
from daemon.domain.seal import Sealed, seal
from daemon.stats import crunch, sealing, series
from daemon.store.days import codec
from daemon.store.days.shapes import Packed, PackedDay, day_of, from_us, to_us
from tests.domain import oracles
from tests.domain.oracles import Sample, judge, tally

FIVE, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
US = timedelta(microseconds=1)
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [UTC, BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/Los_Angeles"), ZoneInfo("Pacific/Kiritimati")]
T0 = datetime(2026, 11, 10, tzinfo=UTC)
FAR = datetime(2030, 1, 1, tzinfo=UTC)
TRAFFIC = Meter(Kind.RUNNING_TOTAL, FIVE)
POWER = Meter(Kind.GAUGE, FIVE, port_speed=None)
HIGHEST = 2**63 - 1
SERVICE = 259
COUNTERS = {
    Kind.RUNNING_TOTAL: RESOURCES["in"],
    Kind.COUNTER32: replace(RESOURCES["in"], kind=Kind.COUNTER32),
    Kind.COUNTER64: replace(RESOURCES["in"], kind=Kind.COUNTER64),
}


# Samples.


def packed(samples: Iterable[Sample], kind: Kind) -> Packed:
    """As the store gives them: the slots of open days."""
    days: dict[date, PackedDay] = {}
    for sample in samples:
        at = to_us(sample.at)
        day = days.setdefault(day_of(at), PackedDay(day_of(at), "here"))
        code = 0 if sample.stored is None else sample.stored.code
        day.slots.append(
            (at, SERVICE // codec.BLOCK, codec.pack_slot([(SERVICE % codec.BLOCK, kind.stored(sample.total), code)]))
        )
    return Packed((SERVICE,), to_us(datetime(2020, 1, 1, tzinfo=UTC)), to_us(FAR), [days[day] for day in sorted(days)])


def ask(resource: Resource | str, since: datetime, until: datetime, *meters: Meter, pushed=(), **more) -> Ask:
    """The sources' samples are stored under m0 and m1."""
    found = RESOURCES[resource] if isinstance(resource, str) else resource
    sources = tuple(Source(f"m{number}", meter) for number, meter in enumerate(meters))
    return Ask(Billable(SERVICE, found, sources, **more), since, until, T0 - 400 * DAY, FAR, tuple(pushed))


def stored(asked: Ask, samples: Sequence[Sequence[Sample]]) -> dict[str, Packed]:
    kinds = [source.meter.kind for source in asked.billable.sources] or [Kind.GAUGE] * len(samples)
    return {f"m{number}": packed(one, kind) for number, (one, kind) in enumerate(zip(samples, kinds, strict=True))}


def measured(asked: Ask, *samples: Sequence[Sample]) -> Measured:
    (found,) = crunch.measure(stored(asked, samples), [asked])
    (unsealed,) = crunch.measure(stored(asked, samples), [asked], False)
    assert unsealed == replace(found, seal="")
    return found


def looked(asked: Ask, step: Grain | timedelta | None, *samples: Sequence[Sample], zone=UTC) -> list[Point]:
    (found,) = crunch.look(stored(asked, samples), [Look(asked, step, zone)])
    return found


def line_of(samples: Sequence[Sample], meter: Meter) -> series.Line:
    at = np.array([to_us(sample.at) for sample in samples], dtype=np.int64)
    totals = np.array([meter.kind.stored(sample.total) for sample in samples], dtype=np.int64)
    stored = np.array([sample.stored.code if sample.stored else 0 for sample in samples], dtype=np.uint8)
    return series.judged(at, totals, stored, meter)


def counted(*volumes: int | None, start: datetime = T0) -> list[Sample]:
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


# Nasty series.

GROWTH = st.one_of(
    st.just(0), st.integers(0, 100), st.integers(0, 400_000_000), st.integers(0, 2**62), st.integers(2**62, 2**64)
)
ROUND = st.tuples(
    st.sampled_from(["grow"] * 8 + ["same", "same", "corrected", "fall", "fall", "back", "anything", "wrap", "negative", "bound"]),
    GROWTH,
    st.sampled_from([FIVE] * 8 + [FIVE + US, FIVE * 3 // 2, FIVE * 3 // 2 + US, FIVE // 2, FIVE // 2 - US, US, 3 * FIVE, HOUR, DAY, 9 * DAY, 31 * DAY]),
    st.sampled_from([None] * 12 + [Quality.GAP, Quality.LATE, Quality.DUPLICATE, Quality.FOREIGN]),
)  # fmt: skip
STARTS = st.sampled_from(
    [
        datetime(2026, 11, 30, 23, 20, tzinfo=UTC),
        datetime(2026, 11, 30, 22, 40, tzinfo=UTC),
        datetime(2026, 10, 31, 14, 0, tzinfo=UTC),
        datetime(2026, 10, 24, 23, 0, tzinfo=UTC),
        datetime(2026, 11, 30, 9, 30, tzinfo=UTC),
        T0,
    ]
)


@st.composite
def nasty(draw: st.DrawFn, kinds: Sequence[Kind] = tuple(COUNTERS)) -> tuple[list[Sample], Meter]:
    kind = draw(st.sampled_from(kinds))
    meter = Meter(kind, FIVE, draw(st.sampled_from([10**7, 10**9, 10**10, None, 0])), draw(st.sampled_from(ZONES)))
    starts = st.one_of(st.integers(0, 2**33), *(st.integers(top - 2**31, top - 1) for top in (2**63, 2**64)))
    at = draw(STARTS) + draw(st.integers(0, 400)) * timedelta(seconds=1)
    total = min(draw(starts), meter.kind.highest)
    samples, shown = [Sample(at, total)], [total]
    for event, growth, time, stored in draw(st.lists(ROUND, max_size=40)):
        at += time
        total = _next(event, total, growth, shown, meter, time)
        shown.append(total)
        samples.append(Sample(at, total, stored))
    owned = draw(st.sampled_from([(None, None)] * 3 + [(3, None), (None, -4), (2, -2)]))
    first, last = (None if place is None or abs(place) >= len(samples) else samples[place].at for place in owned)
    return samples, replace(meter, owned_from=first, owned_until=last)


def _next(event: str, total: int, growth: int, shown: list[int], meter: Meter, time: timedelta) -> int:
    base = max(total, 0)
    found = {
        "grow": base + growth,
        "same": base,
        "corrected": base - base // 20,
        "fall": growth % (base // 2 + 1),
        "back": max(shown[-3:]),
        "anything": growth,
        "wrap": (base + growth) % (meter.kind.modulus or 2**40),
        "negative": base if meter.kind is Kind.COUNTER64 else -min(growth, HIGHEST) - 1,
        "bound": base + 21 * (meter.port_speed or 0) * (max(time, FIVE) // US) // (160 * 10**6) + growth % 2,
    }[event]
    return min(found, meter.kind.highest)


SPANS = st.tuples(st.integers(-600, 12_000), st.integers(0, 12_000))


def span_of(samples: Sequence[Sample], seconds: tuple[int, int]) -> tuple[datetime, datetime]:
    since = samples[0].at + seconds[0] * timedelta(seconds=1)
    return since, since + seconds[1] * timedelta(seconds=1)


def as_judged(line: series.Line, place: int) -> tuple:
    begun = int(line.begun[place])
    return (
        series.QUALITIES[line.classes[place]],
        int(line.increments[place]) if line.billed[place] else None,
        bool(line.known[place]),
        from_us(begun) if begun != line.at[place] else None,
        int(line.aside[place]),
        int(line.lapsed[place]),
        bool(line.rated[place]),
    )


def expected_of(one: Judged) -> tuple:
    return (one.quality, one.increment, one.known, one.since, one.aside, one.lapsed, one.rated)


# Against the rules, sample by sample.


@settings(deadline=None, max_examples=600)
@given(nasty())
def test_a_series_is_judged_as_its_samples_are_one_by_one(given_samples) -> None:
    samples, meter = given_samples
    line, one_by_one = line_of(samples, meter), list(judge(samples, meter))
    assert [as_judged(line, place) for place in range(len(samples))] == [expected_of(one) for one in one_by_one]
    assert line.standing == one_by_one[-1].standing
    assert line.corrected.tolist() == [one.standing.corrected if one.standing else 0 for one in one_by_one]


@settings(deadline=None, max_examples=200)
@given(nasty([Kind.GAUGE, Kind.STOCK]))
def test_levels_are_judged_as_one_by_one(given_samples) -> None:
    samples, meter = given_samples
    line, one_by_one = line_of(samples, meter), list(judge(samples, meter))
    assert [as_judged(line, place) for place in range(len(samples))] == [expected_of(one) for one in one_by_one]
    assert line.standing == one_by_one[-1].standing


@settings(deadline=None, max_examples=200)
@given(nasty(), SPANS)
def test_what_is_measured_of_a_counter_is_its_tally(given_samples, seconds) -> None:
    samples, meter = given_samples
    since, until = span_of(samples, seconds)
    found, expected = (
        measured(ask(COUNTERS[meter.kind], since, until, meter), samples),
        tally(samples, meter, since, until),
    )
    assert found.quantity == (expected.quantity if expected.increments or since == until else None)
    assert (found.covered, found.count, found.expected) == (expected.covered, expected.count, expected.expected)
    assert found.classes == {quality: count for quality, count in expected.classes.items() if count}
    assert (found.aside, found.corrected, found.formula) == (expected.aside, expected.corrected, expected.formula)


@settings(deadline=None, max_examples=200)
@given(nasty())
def test_rates_are_those_of_the_intervals_one_by_one(given_samples) -> None:
    samples, meter = given_samples
    found = series.rates(line_of(samples, meter))
    spans = zip(
        map(from_us, found.begun.tolist()), map(from_us, found.ended.tolist()), found.bits.tolist(), strict=True
    )
    assert list(spans) == [(rate.since, rate.until, rate.bits) for rate in oracles.rates(judge(samples, meter), FIVE)]


@settings(deadline=None, max_examples=200)
@given(nasty([Kind.GAUGE]))
def test_levels_hold_as_long_as_one_by_one(given_samples) -> None:
    samples, meter = given_samples
    found = series.levels(line_of(samples, meter))
    spans = zip(
        map(from_us, found.begun.tolist()), map(from_us, found.ended.tolist()), found.level.tolist(), strict=True
    )
    held = oracles.held(judge(samples, meter), meter)
    assert list(spans)[: len(held)] == [(one.since, one.until, one.level) for one in held]
    assert len(found.begun) - len(held) <= 1
    assert all(begun == ended for begun, ended in zip(found.begun[len(held) :], found.ended[len(held) :], strict=True))


@settings(deadline=None, max_examples=200)
@given(nasty(), SPANS, st.sampled_from([Grain.HOUR, Grain.DAY, Grain.MONTH]), st.sampled_from(ZONES))
def test_the_points_of_a_counter_are_its_roll_up_and_add_up(given_samples, seconds, grain, zone) -> None:
    samples, meter = given_samples
    since, until = span_of(samples, seconds)
    if since == until:
        return
    asked = ask(COUNTERS[meter.kind], since, until, meter)
    rolled = {
        one.period.since: one for one in oracles.roll_up(list(judge(samples, meter)), meter, since, until, grain, zone)
    }
    points = looked(asked, grain, samples, zone=zone)
    assert [point.since for point in points] == [begun for begun, one in rolled.items() if one.classes]
    for point in points:
        one = rolled[point.since]
        values = (one.values.average, one.values.maximum, one.values.minimum, one.values.percentile)
        assert (point.average, point.maximum, point.minimum, point.percentile) == values
        assert (point.until, point.total or 0, point.covered) == (one.period.until, one.total, one.covered)
        assert (point.count, point.classes) == (one.count, one.classes)
    whole = measured(asked, samples)
    for step in (grain, timedelta(minutes=7), None):
        totals = [point.total for point in looked(asked, step, samples, zone=zone)]
        known = [total for total in totals if total is not None]
        assert (sum(known) if known else None) == whole.quantity


@settings(deadline=None, max_examples=200)
@given(nasty([Kind.GAUGE]), SPANS, st.sampled_from([Grain.HOUR, Grain.DAY]), st.sampled_from(ZONES))
def test_levels_and_energy_are_the_integral_and_add_up(given_samples, seconds, grain, zone) -> None:
    samples, meter = given_samples
    since, until = span_of(samples, seconds)
    if since == until:
        return
    held = oracles.held(judge(samples, meter), meter)
    (whole,) = oracles.integrate(held, since, until, Grain.YEAR, ZoneInfo("Etc/GMT+12"))
    level, energy = (ask(code, since, until, meter) for code in ("power", "energy"))
    found = measured(level, samples)
    assert found.covered == whole.covered
    assert found.quantity == (None if whole.average is None else half_away(whole.average))
    assert measured(energy, samples).quantity == (oracles.energy([whole])[0] if whole.covered else None)
    parts = {part.period.since: part for part in oracles.integrate(held, since, until, grain, zone)}
    for point in looked(level, grain, samples, zone=zone):
        part = parts.pop(point.since)
        assert (point.until, point.covered, point.average) == (part.period.until, part.covered, part.average)
    assert not any(part.covered for part in parts.values())
    for step in (grain, timedelta(minutes=7), None):
        points = looked(energy, step, samples, zone=zone)
        assert sum(point.total or 0 for point in points) == (measured(energy, samples).quantity or 0)
        assert sum((point.covered for point in points), timedelta()) == whole.covered


def half_away(value: Fraction) -> int:
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@settings(deadline=None, max_examples=100)
@given(nasty(), nasty(), SPANS, st.sampled_from(Directions), st.sampled_from([50, 95, 100]))
def test_bursts_of_both_directions_are_those_of_the_rule(one, other, seconds, directions, percent) -> None:
    meters = [one[1], other[1]]
    since, until = span_of(one[0], seconds)
    series_of = [one[0], other[0]][: 1 if directions is Directions.SEPARATE else 2]
    rated = [
        {rate.until: rate.bits for rate in oracles.rates(judge(samples, meter), FIVE) if since < rate.until <= until}
        for samples, meter in zip(series_of, meters, strict=False)
    ]
    expected = oracles.of_directions(rated[:1], rated[1:], directions, percent)[0].value
    asked = ask("burst_in_day", since, until, *meters[: len(series_of)], directions=directions, percent=percent)
    found = measured(asked, *series_of)
    assert found.quantity == (0 if expected is None and since == until else expected)
    covered = [tally(samples, meter, since, until).rated for samples, meter in zip(series_of, meters, strict=False)]
    assert found.covered == min(covered)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 500_000_000)), max_size=60), st.integers(0, HIGHEST // 2)
)
def test_volumes_are_those_of_big_integers(rounds, start) -> None:
    meter = replace(TRAFFIC, port_speed=None)
    totals = [start]
    for small, large in rounds:
        totals.append(min(totals[-1] + small * large * 10**4, HIGHEST))
    samples = [Sample(T0 + n * FIVE, total) for n, total in enumerate(totals)]
    found = measured(ask("in", T0, T0 + DAY, meter), samples)
    assert found.quantity == (totals[-1] - totals[0] if rounds else None)
    bits = sorted(((after - before) * 16 + 300) // 600 for before, after in pairwise(totals))
    rate = measured(ask("burst_in_day", T0, T0 + DAY, meter), samples)
    assert rate.quantity == (bits[len(bits) - 5 * len(bits) // 100 - 1] if bits else None)


def test_sums_beyond_64_bits_are_exact() -> None:
    totals = [0, HIGHEST] * 3
    samples = [Sample(T0 + n * 31 * DAY, total) for n, total in enumerate(totals)]
    meter = replace(TRAFFIC, port_speed=None)
    found = measured(ask("in", T0, T0 + 400 * DAY, meter), samples)
    assert found.quantity == tally(samples, meter, T0, T0 + 400 * DAY).quantity == 3 * HIGHEST
    hot = levels(*[HIGHEST] * 20)
    assert measured(ask("energy", T0, T0 + HOUR, POWER), hot).quantity == HIGHEST * 3_600_000_000 // 3_600_000
    assert measured(ask("power", T0, T0 + HOUR, POWER), hot).quantity == HIGHEST


# Seals.


@settings(deadline=None, max_examples=200)
@given(nasty(), SPANS, st.lists(st.tuples(st.integers(0, 12_000), st.integers(-(2**70), 2**70)), max_size=3))
def test_the_seal_is_over_the_samples_of_the_period_and_those_next_to_it(given_samples, seconds, pushes) -> None:
    samples, meter = given_samples
    since, until = span_of(samples, seconds)
    pushed = [(since + at * timedelta(seconds=1), quantity) for at, quantity in sorted(pushes)]
    resource = COUNTERS[meter.kind]
    found = measured(ask(resource, since, until, meter, pushed=pushed), samples)
    one_by_one = [(one.reading.at, one.reading.total, one.quality) for one in judge(samples, meter)]
    inside = [one for one in one_by_one if since < one[0] <= until]
    beside = [[one for one in one_by_one if one[2] not in NOT_COUNTED and one[0] <= since][-1:]]
    beside += [[one for one in one_by_one if one[2] not in NOT_COUNTED and one[0] > until][:1]]
    own = [(at, quantity, Quality.OK) for at, quantity in pushed if since <= at < until]
    record = Sealed(SERVICE, resource.code, since, until, resource.base_unit, found.quantity)
    assert found.seal == seal(record, [*inside, *beside[0], *beside[1], *own])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**51), st.one_of(st.integers(-12, 12), st.integers(-(2**63), HIGHEST)), st.sampled_from(Quality)),
        max_size=30,
    )
)  # fmt: skip
def test_the_text_of_columns_is_that_of_lines(rows) -> None:
    record = Sealed(7, "in", T0, T0 + DAY, "B", None)
    columns = [[row[0] for row in rows], [row[1] for row in rows], [row[2].code for row in rows]]
    at, totals = (np.array(column, dtype=np.int64) for column in columns[:2])
    found = sealing.sealed(record, [(at, totals, np.array(columns[2], dtype=np.uint8))])
    assert found == seal(record, [(from_us(moment), total, quality) for moment, total, quality in rows])


def test_moments_between_the_same_ends_are_those_of_their_own_series() -> None:
    record = Sealed(7, "in", T0, T0 + DAY, "B", 1)
    for between in (FIVE, 2 * FIVE, FIVE):
        samples = [(T0, 1, Quality.FIRST), (T0 + between, 2, Quality.OK), (T0 + HOUR, 3, Quality.OK)]
        at, totals = (np.array(column, dtype=np.int64) for column in ([to_us(one[0]) for one in samples], [1, 2, 3]))
        classes = np.array([quality.code for _, _, quality in samples], dtype=np.uint8)
        assert sealing.sealed(record, [(at, totals, classes)]) == seal(record, samples)


# Example by example.


def month_named(zone: ZoneInfo, year: int, month: int) -> tuple[datetime, datetime]:
    following = (year + month // 12, month % 12 + 1)
    since, until = (datetime(*first, 1, tzinfo=zone).astimezone(UTC) for first in ((year, month), following))
    return since, until


def test_a_month_of_bursts_drops_thirty_six_hours_and_bills_the_next_five_minutes() -> None:
    quiet, busy = 37_500_000, 375_000_000
    since, until = T0, T0 + 30 * DAY
    for number, bits in ((432, 10**6), (433, 10**7)):
        samples = counted(*[busy] * number, *[quiet] * (8640 - number))
        meter = replace(TRAFFIC, kind=Kind.COUNTER64)
        assert measured(ask("burst_in_day", since, until, meter), samples).quantity == bits
        assert measured(ask("burst_in_day", since, until, meter, percent=100), samples).quantity == 10**7


def test_the_larger_direction_is_billed_and_the_sum_needs_both() -> None:
    both = [counted(300, 600, 600), counted(900, None, 300)]
    larger, summed = (
        measured(ask("burst_in_day", T0, T0 + 3 * FIVE, TRAFFIC, TRAFFIC, directions=directions), *both)
        for directions in (Directions.LARGER, Directions.SUM)
    )
    assert (larger.quantity, larger.covered, larger.count, larger.expected) == (24, FIVE, 5, 6)
    assert summed.quantity == 32


def test_the_panels_burst_of_a_day_is_its_last_value_of_that_day_by_its_own_clock() -> None:
    since, until = month_named(BERLIN, 2026, 10)
    days = list(buckets(since, until, Grain.DAY, BERLIN))
    samples = [Sample(since - HOUR, 10**9)]
    for number, day in enumerate(days, 1):
        if number != 7:
            samples += [
                Sample(day.since, 0),
                Sample(day.since + 9 * HOUR, number),
                Sample(day.until - US, number * 1000),
            ]
    meter = Meter(Kind.GAUGE, FIVE, port_speed=None, zone=BERLIN)
    found = measured(ask("burst_in_day", since, until, meter, daily=True), samples)
    unknown = DAY + US  # of the sixth day the last instant, because the seventh has no reading
    assert (found.quantity, found.covered, found.count) == (30_000, until - since - unknown - US, 90)
    assert measured(ask("burst_in_day", since, until, meter, daily=True, percent=100), samples).quantity == 31_000
    points = looked(ask("burst_in_day", since, until, meter, daily=True), Grain.DAY, samples, zone=BERLIN)
    assert [point.maximum for point in points] == [number * 1000 for number in range(1, 32) if number != 7]
    assert points[23].until - points[23].since == 25 * HOUR


DAILY = Meter(Kind.GAUGE, FIVE, port_speed=None)


def days_of(since: datetime, until: datetime, **hot: int) -> list[Sample]:
    """The panel's value of the day every five minutes; `hot`: that of a day such as m02d28, all others are 10."""
    times = [since + n * FIVE for n in range((until - since) // FIVE + 1)]
    return [Sample(at, hot.get(f"m{at:%m}d{at:%d}", 10)) for at in times]


def test_the_panels_burst_of_the_day_in_which_the_service_got_the_server_is_left_out() -> None:
    got, until = T0 + 14 * HOUR, T0 + 5 * DAY
    samples = days_of(got, until, m11d10=900)
    asked = ask("burst_in_day", got, until, replace(DAILY, owned_from=got), daily=True)
    found = measured(asked, samples)
    assert (found.quantity, found.covered) == (10, 4 * DAY)
    from_midnight = replace(DAILY, owned_from=T0)
    found = measured(ask("burst_in_day", T0, until, from_midnight, daily=True), days_of(T0, until, m11d10=900))
    assert (found.quantity, found.covered) == (900, 5 * DAY)


def test_a_day_of_the_panel_that_crosses_the_turn_of_the_bill_counts_where_it_ends() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    since, turn = month_named(tokyo, 2026, 2)
    _, until = month_named(tokyo, 2026, 3)
    samples = days_of(since - DAY, until + HOUR, m02d28=900)
    found = [
        measured(ask("burst_in_day", *span, DAILY, daily=True, percent=100), samples)
        for span in ((since, turn), (turn, until))
    ]
    assert [one.quantity for one in found] == [10, 900]
    assert [one.covered for one in found] == [turn - since, until - turn]


def test_a_day_of_the_panel_is_known_up_to_its_last_reading() -> None:
    samples = [Sample(T0 + n * DAY + FIVE, 5) for n in range(4)]
    found = measured(ask("burst_in_day", T0, T0 + 4 * DAY, DAILY, daily=True), samples)
    assert (found.quantity, found.covered) == (5, 4 * FIVE)


def test_what_is_pushed_for_a_level_is_a_reading_that_holds_until_the_next_one() -> None:
    pushed = [(T0 + 6 * HOUR, 100), (T0 + 12 * HOUR, 400), (T0 + 18 * HOUR, -(2**70)), (T0 + 18 * HOUR, 100)]
    found = measured(ask("power", T0, T0 + DAY, pushed=pushed))
    assert (found.quantity, found.covered) == (200, 18 * HOUR)
    points = looked(ask("power", T0, T0 + DAY, pushed=pushed[:2]), 6 * HOUR)
    assert [(point.average, point.total, point.covered) for point in points] == [
        (Fraction(100), None, 6 * HOUR),
        (Fraction(400), None, 6 * HOUR),
        (Fraction(400), None, 6 * HOUR),
    ]
    assert [point.maximum for point in looked(ask("power", T0, T0 + DAY, pushed=pushed[:2]), None)] == [100, 400]
    assert measured(ask("power", T0, T0 + DAY)).quantity is None


def test_what_is_pushed_for_a_stock_is_billed_by_its_highest() -> None:
    pushed = [(T0 + 6 * HOUR, 3), (T0 + 12 * HOUR, 7), (T0 + 18 * HOUR, 5)]
    found = measured(ask("addresses", T0, T0 + DAY, pushed=pushed))
    assert (found.quantity, found.covered) == (7, 18 * HOUR)
    assert measured(ask("addresses", T0, T0 + DAY)).quantity is None


def test_a_stock_is_its_highest_level_and_holds_without_readings() -> None:
    meter = Meter(Kind.STOCK, DAY, port_speed=None)
    samples = [Sample(T0 - 40 * DAY, 9), Sample(T0 - 30 * DAY, 5), Sample(T0 + DAY, 2), Sample(T0 + 50 * DAY, 99)]
    found = measured(ask("addresses", T0, T0 + 30 * DAY, meter), samples)
    assert (found.quantity, found.covered, found.count) == (5, 30 * DAY, 1)
    late = measured(ask("addresses", T0, T0 + 30 * DAY, meter), samples[2:])
    assert (late.quantity, late.covered) == (2, 29 * DAY)
    assert measured(ask("addresses", T0 + 2 * DAY, T0 + 3 * DAY, meter), samples).quantity == 2
    assert measured(ask("addresses", T0 - 60 * DAY, T0 - 50 * DAY, meter), samples).quantity is None
    points = looked(ask("addresses", T0, T0 + 3 * DAY, meter), Grain.DAY, samples)
    assert [(point.minimum, point.maximum, point.covered) for point in points] == [
        (5, 5, DAY),
        (2, 2, DAY),
        (2, 2, DAY),
    ]


def test_a_configured_amount_is_there_all_of_the_time() -> None:
    asked = ask("services", T0, T0 + 2 * DAY, amount=4)
    found = measured(asked)
    assert (found.quantity, found.covered, found.count, found.expected) == (4, 2 * DAY, 0, 0)
    assert [(point.maximum, point.covered) for point in looked(asked, Grain.DAY)] == [(4, DAY), (4, DAY)]


def test_what_is_only_pushed_is_the_sum_and_nothing_pushed_is_not_zero() -> None:
    pushed = [(T0 - US, 1000), (T0, 1), (T0 + DAY, 2**70), (T0 + 2 * DAY, 1000)]
    asked = ask("in", T0, T0 + 2 * DAY, pushed=pushed)
    found = measured(asked)
    assert (found.quantity, found.covered, found.expected) == (2**70 + 1, 2 * DAY, 0)
    assert [point.total for point in looked(asked, Grain.DAY)] == [1, 2**70]
    assert [(point.since, point.total) for point in looked(asked, None)] == [(T0, 1), (T0 + DAY, 2**70)]
    assert measured(ask("in", T0, T0 + DAY)).quantity is None
    assert measured(ask("in", T0, T0)).quantity == 0


def test_what_is_pushed_for_a_counter_comes_on_top_of_it() -> None:
    asked = ask("in", T0, T0 + HOUR, TRAFFIC, pushed=[(T0 + FIVE, 7)])
    assert measured(asked, counted(300, 300)).quantity == 607
    assert measured(asked, []).quantity == 7
    assert sum(point.total or 0 for point in looked(asked, None, counted(300, 300))) == 607


@pytest.mark.parametrize("code", ["in", "power", "energy", "burst_in_day", "addresses"])
def test_nothing_known_is_no_quantity_and_no_point(code) -> None:
    meter = replace(POWER if code in ("power", "energy", "addresses") else TRAFFIC)
    asked = ask(code, T0, T0 + DAY, meter)
    found = measured(asked, [])
    assert (found.quantity, found.covered, found.count, found.expected) == (None, timedelta(), 0, 288)
    assert [looked(asked, step, []) for step in (Grain.HOUR, FIVE, None)] == [[], [], []]
    assert measured(ask(code, T0, T0, meter), []).quantity == 0


def test_only_what_lies_between_begin_and_horizon_is_looked_at() -> None:
    samples = counted(300, 300, 300, 300)
    asked = replace(ask("in", T0, T0 + HOUR, TRAFFIC), begin=T0 + FIVE, horizon=T0 + 3 * FIVE)
    assert measured(asked, samples).quantity == 600


def test_each_reading_is_a_point_with_what_it_was_judged() -> None:
    samples = [*counted(300, None, 900), Sample(T0 + 4 * FIVE, 5, Quality.LATE)]
    points = looked(ask("in", T0 - FIVE, T0 + HOUR, TRAFFIC), None, samples)
    assert [(point.since - T0, point.until - T0, point.total) for point in points] == [
        (timedelta(), timedelta(), None),
        (timedelta(), FIVE, 300),
        (FIVE, 3 * FIVE, 900),
        (4 * FIVE, 4 * FIVE, None),
    ]
    assert [point.average for point in points] == [None, 8, None, None]
    assert [dict(point.classes) for point in points] == [
        {q: 1} for q in (Quality.FIRST, Quality.OK, Quality.GAP, Quality.LATE)
    ]


def test_each_level_is_a_point_for_the_time_it_held() -> None:
    points = looked(ask("power", T0 + FIVE / 2, T0 + HOUR, POWER), None, levels(10, 20, None, None, 30))
    assert [(point.since - T0, point.until - T0, point.maximum) for point in points] == [
        (FIVE / 2, FIVE, 10),
        (FIVE, 2 * FIVE, 20),
        (4 * FIVE, 4 * FIVE, 30),
    ]


@settings(deadline=None, max_examples=100)
@given(nasty(), SPANS)
def test_standings_let_somebody_go_on_where_the_series_ended(given_samples, seconds) -> None:
    samples, meter = given_samples
    since, until = span_of(samples, seconds)
    asked = ask(COUNTERS[meter.kind], since, until, meter)
    ((known, quantity, covered),) = crunch.standings(stored(asked, [samples]), [asked])
    found = measured(asked, samples)
    assert (quantity, covered) == (found.quantity, found.covered)
    assert known == {"m0": list(judge(samples, meter))[-1].standing}
