"""Whole series in plain Python, one sample after the other: what the worker's arithmetic has to agree with, to the unit.

Counters: an increment counts on the reading that shows it, so a reading on the edge of two periods tells of the one that ended. Its rate
is increment x 8 / seconds, rounded half away from zero to whole bit/s; what was missed, corrected or guessed has a volume but no rate.

Levels (gauges, stock): a reading holds from its moment until the next one. Where rounds were missed it holds for one rhythm, and the
rest is a gap: nothing is counted there and the coverage shows it. The last reading holds for nothing, because nobody knows how long.
The integral is exact; energy is rounded down, once per record, to a millionth of a watt-hour.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Generic, TypeVar

from daemon.domain.percentile import Directions, percentile_rank
from daemon.domain.periods import Grain, Period, buckets
from daemon.domain.quality import FORMULA, NOT_COUNTED, Judged, Meter, Quality, Reading, Standing, classify
from daemon.domain.resources import Rounding, to_whole

Slot = TypeVar("Slot", bound=Hashable)

_INSTANT = timedelta(microseconds=1)
MILLIWATT_MICROSECONDS = 3_600_000
"""In one millionth of a watt-hour."""


@dataclass(frozen=True)
class Sample:
    """A reading as it was stored. Those stored as late, duplicate or foreign stay so; all others are judged anew."""

    at: datetime
    total: int
    stored: Quality | None = None


@dataclass(frozen=True)
class Increment:
    """What was used between two readings. `known` is false where a part of it went unseen."""

    since: datetime
    until: datetime
    quantity: int
    known: bool


# Judged one by one.


def judge(samples: Iterable[Sample], meter: Meter) -> Iterator[Judged]:
    """Each sample with its class, in the order of arrival. The first one bills nothing: begin with the last one before the period.

    Where the total was corrected just before the period, begin at the start of the platform's month: only from there is it known up
    to which height it was billed.
    """
    standing: Standing | None = None
    for sample in samples:
        reading = Reading(sample.at, sample.total)
        if sample.stored in NOT_COUNTED:
            yield Judged(reading, sample.stored, None, False, None, standing)
            continue
        judged = classify(standing, reading, meter)
        standing = judged.standing
        yield judged


@dataclass(frozen=True)
class Tally:
    """What a usage record rests on.

    `quantity` in base units. `covered` is the time whose use is known, `rated` the time whose rate is known, both within the period.
    `count` of `expected` readings were counted; `classes` says of what quality all were. `aside` waits for a person; `corrected` is what
    the platform took back at the end of the period after it was billed. `formula` is the version of the rules.
    """

    quantity: int
    covered: timedelta
    rated: timedelta
    count: int
    expected: int
    classes: Mapping[Quality, int]
    increments: tuple[Increment, ...]
    aside: int = 0
    corrected: int = 0
    formula: int = FORMULA


def tally(samples: Iterable[Sample], meter: Meter, since: datetime, until: datetime) -> Tally:
    """The period [since, until) out of its samples, those just before and after it included; in the order of arrival.

    A volume counts on the reading that shows it: after `since`, up to and with `until`, and is never split. Time is covered to the
    moment, on both sides of a boundary, once the reading after the boundary is there.
    """
    increments: list[Increment] = []
    classes: Counter[Quality] = Counter()
    covered = rated = timedelta()
    aside = corrected = lapsed = 0
    seen = False
    for judged in judge(samples, meter):
        at = judged.reading.at
        if judged.known and judged.since is not None:
            part = max(timedelta(), min(at, until) - max(judged.since, since))
            covered += part
            rated += part if judged.rated else timedelta()
        if not since < at <= until:
            continue
        classes[judged.quality] += 1
        aside += judged.aside
        if judged.quality not in NOT_COUNTED and judged.standing is not None:
            corrected = judged.standing.corrected
            lapsed += judged.lapsed if seen else 0
            seen = True
        if judged.increment is not None and judged.since is not None:
            increments.append(Increment(judged.since, at, judged.increment, judged.known))
    return Tally(
        quantity=sum(step.quantity for step in increments),
        covered=covered,
        rated=rated,
        count=sum(number for quality, number in classes.items() if quality not in NOT_COUNTED),
        expected=(until - since) // meter.rhythm,
        classes=classes,
        increments=tuple(increments),
        aside=aside,
        corrected=corrected + lapsed,
    )


# Percentiles.


def percentile(values: Sequence[int], percent: int = 95) -> int | None:
    """The value at that rank; None without values: not known, which is not zero."""
    if not values:
        return None
    return sorted(values)[percentile_rank(len(values), percent) - 1]


@dataclass(frozen=True)
class Summed(Generic[Slot]):
    """Values by interval, and how many intervals were left out because one of the series has no value there."""

    values: Mapping[Slot, int]
    missing: int


@dataclass(frozen=True)
class Percentile:
    """`direction` is "in", "out" or "sum"; `value` is None and `count` 0 where nothing is known."""

    direction: str
    value: int | None
    count: int
    missing: int = 0


def sum_per_interval(series: Sequence[Mapping[Slot, int]]) -> Summed[Slot]:
    """Several ports, or both directions, added interval by interval before the percentile is taken.

    An interval that one of the series lacks has no sum: what the others show would be too little, and a zero would be a guess.
    """
    slots = {slot for values in series for slot in values}
    whole = {slot: sum(values[slot] for values in series) for slot in slots if all(slot in values for values in series)}
    return Summed(whole, len(slots) - len(whole))


def of_directions(
    incoming: Sequence[Mapping[Slot, int]],
    outgoing: Sequence[Mapping[Slot, int]],
    directions: Directions = Directions.SEPARATE,
    percent: int = 95,
) -> tuple[Percentile, ...]:
    """One result, or two for SEPARATE; `incoming` and `outgoing` hold one mapping of interval to rate for each port.

    For LARGER a direction of which nothing is known doesn't count, and of two equal ones it is "in".
    """
    if directions is Directions.SUM:
        return (_of("sum", sum_per_interval((*incoming, *outgoing)), percent),)
    both = (_of("in", sum_per_interval(incoming), percent), _of("out", sum_per_interval(outgoing), percent))
    if directions is Directions.SEPARATE:
        return both
    known = [found for found in both if found.value is not None]
    return (max(known, key=lambda found: found.value or 0) if known else both[0],)


def _of(direction: str, summed: Summed[Slot], percent: int) -> Percentile:
    return Percentile(direction, percentile(tuple(summed.values.values()), percent), len(summed.values), summed.missing)


# Sums.


@dataclass(frozen=True)
class Summary:
    """`total` and `count` make the average and are kept apart so that it stays exact; None where there was no value."""

    total: int
    count: int
    maximum: int | None
    minimum: int | None
    percentile: int | None

    @property
    def average(self) -> Fraction | None:
        return Fraction(self.total, self.count) if self.count else None


def summary(values: Sequence[int], percent: int = 95) -> Summary:
    return Summary(
        sum(values), len(values), max(values, default=None), min(values, default=None), percentile(values, percent)
    )


# Rates.


@dataclass(frozen=True)
class Rate:
    """`bits` per second on average over [since, until)."""

    since: datetime
    until: datetime
    bits: int


def bits_per_second(volume: int, time: timedelta) -> int:
    """`volume` bytes in `time`, half away from zero to whole bit/s."""
    return to_whole(Fraction(volume * 8 * 10**6, time // _INSTANT), Rounding.HALF_AWAY)


def rates(judged: Iterable[Judged], rhythm: timedelta) -> list[Rate]:
    """The rate of every interval that has one; intervals of less than half a rhythm are joined with the next."""
    found: list[Rate] = []
    since: datetime | None = None
    volume = 0
    for one in judged:
        if one.quality in NOT_COUNTED:
            continue
        if not one.rated or one.since is None or one.increment is None:
            since, volume = None, 0
            continue
        since, volume = since or one.since, volume + one.increment
        length = one.reading.at - since
        if 2 * length >= rhythm:
            found.append(Rate(since, one.reading.at, bits_per_second(volume, length)))
            since, volume = None, 0
    return found


def by_moment(found: Iterable[Rate]) -> dict[datetime, int]:
    """Rates by the moment their interval ended: ports that are read in one round have it in common."""
    return {rate.until: rate.bits for rate in found}


@dataclass(frozen=True)
class Burst:
    """The burst of one local day: the percentile of its rates in bit/s; None when no rate is known. `rated` is the time they cover."""

    period: Period
    bits: int | None
    count: int
    rated: timedelta


def daily_bursts(
    found: Sequence[Rate], since: datetime, until: datetime, zone: tzinfo, percent: int = 95
) -> list[Burst]:
    """Day by day: the highest 5 % of the day's rates dropped, the highest one left. 100 percent is the day's maximum."""
    days = list(buckets(since, until, Grain.DAY, zone))
    held: list[list[Rate]] = [[] for _ in days]
    edges = [day.since for day in days]
    for rate in found:
        if since < rate.until <= until:
            held[bisect_left(edges, rate.until) - 1].append(rate)
    return [
        Burst(
            day,
            percentile([rate.bits for rate in own], percent),
            len(own),
            sum((rate.until - rate.since for rate in own), timedelta()),
        )
        for day, own in zip(days, held, strict=True)
    ]


# Volumes and levels per period.


@dataclass(frozen=True)
class Rolled:
    """One period of one meter.

    Counters: `total` is the volume in base units and `values` sums up the rates in bit/s. Levels: `values` sums up the readings and
    `total` is their sum. `covered` is the known time, `count` of `expected` readings were counted.
    """

    period: Period
    total: int
    values: Summary
    covered: timedelta
    count: int
    expected: int
    classes: Mapping[Quality, int]


@dataclass
class _Bin:
    total: int = 0
    covered: timedelta = timedelta()
    values: list[int] = field(default_factory=list)
    classes: Counter[Quality] = field(default_factory=Counter)


class _Bins:
    """Periods with what fell into each."""

    def __init__(self, since: datetime, until: datetime, grain: Grain, zone: tzinfo) -> None:
        self.since, self.until = since, until
        self.periods = list(buckets(since, until, grain, zone))
        self._edges = [period.since for period in self.periods]
        self.bins = [_Bin() for _ in self.periods]

    def ended_at(self, moment: datetime) -> _Bin | None:
        """Of the period that holds what ends at `moment`: after its start, up to and with its end."""
        return self.bins[bisect_left(self._edges, moment) - 1] if self.since < moment <= self.until else None

    def begun_at(self, moment: datetime) -> _Bin | None:
        """Of the period that `moment` is in."""
        return self.bins[bisect_right(self._edges, moment) - 1] if self.since <= moment < self.until else None

    def parts(self, since: datetime, until: datetime) -> Iterable[tuple[int, timedelta]]:
        """How much of [since, until) is in each period."""
        since, until = max(since, self.since), min(until, self.until)
        if since >= until:
            return
        index = bisect_right(self._edges, since) - 1
        while index < len(self.periods) and self._edges[index] < until:
            period = self.periods[index]
            yield index, min(until, period.until) - max(since, period.since)
            index += 1


def roll_up(
    judged: Sequence[Judged],
    meter: Meter,
    since: datetime,
    until: datetime,
    grain: Grain,
    zone: tzinfo,
    percent: int = 95,
) -> list[Rolled]:
    """Every period of [since, until), the empty ones too. Volumes over the periods add up to the whole span's, to the unit."""
    into = _Bins(since, until, grain, zone)
    counts_up = meter.kind.counts_up
    for one in judged:
        own = (into.ended_at if counts_up else into.begun_at)(one.reading.at)
        if own is not None:
            own.classes[one.quality] += 1
            own.total += one.increment or 0
            if not counts_up and one.quality not in NOT_COUNTED:
                own.values.append(one.reading.total)
        if one.known and one.since is not None:
            for index, part in into.parts(one.since, one.reading.at):
                into.bins[index].covered += part
    for rate in rates(judged, meter.rhythm) if counts_up else ():
        own = into.ended_at(rate.until)
        if own is not None:
            own.values.append(rate.bits)
    return [_rolled(period, own, meter, percent) for period, own in zip(into.periods, into.bins, strict=True)]


def _rolled(period: Period, own: _Bin, meter: Meter, percent: int) -> Rolled:
    values = summary(own.values, percent)
    return Rolled(
        period,
        own.total if meter.kind.counts_up else values.total,
        values,
        own.covered,
        sum(number for quality, number in own.classes.items() if quality not in NOT_COUNTED),
        period.length // meter.rhythm,
        own.classes,
    )


# The integral of a level.


@dataclass(frozen=True)
class Held:
    """`level` in base units from `since` to `until`."""

    since: datetime
    until: datetime
    level: int


@dataclass(frozen=True)
class Integral:
    """`level_time` is base units x microseconds, exact; `covered` is the time that has a level."""

    period: Period
    level_time: int
    covered: timedelta

    @property
    def average(self) -> Fraction | None:
        """The average level over the covered time, in base units; None when none is covered."""
        return Fraction(self.level_time, self.covered // _INSTANT) if self.covered else None


def held(judged: Iterable[Judged], meter: Meter) -> list[Held]:
    """How long each reading of a level held: until the next one, or for one rhythm where rounds were missed."""
    found: list[Held] = []
    before: Judged | None = None
    for one in judged:
        if one.quality in NOT_COUNTED:
            continue
        if before is not None:
            since, until = before.reading.at, one.reading.at
            last = until if meter.in_time(since, until) else since + meter.rhythm
            found.append(Held(since, last, before.reading.total))
        before = one
    return found


def integrate(levels: Iterable[Held], since: datetime, until: datetime, grain: Grain, zone: tzinfo) -> list[Integral]:
    """The integral over every period of [since, until); over the periods it adds up to the whole span's."""
    into = _Bins(since, until, grain, zone)
    for one in levels:
        for index, part in into.parts(one.since, one.until):
            into.bins[index].total += one.level * (part // _INSTANT)
            into.bins[index].covered += part
    return [Integral(period, own.total, own.covered) for period, own in zip(into.periods, into.bins, strict=True)]


def energy(power: Sequence[Integral]) -> list[int]:
    """Millionths of a watt-hour, period by period, out of the integral of mW: rounded down so that the sum is the whole span's."""
    found: list[int] = []
    so_far = 0
    for one in power:
        before = so_far // MILLIWATT_MICROSECONDS
        so_far += one.level_time
        found.append(so_far // MILLIWATT_MICROSECONDS - before)
    return found
