"""Billable quantities and lines to look at, out of judged series: one rule for each kind of resource, see `domain.metering`.

Volumes and rates belong to the period in which their reading ends: after its start, up to and with its end. A level belongs to the period in
which its reading is: its start included, its end not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import numpy as np

from daemon.domain.metering import Ask, Look, Measured, Point, Source
from daemon.domain.percentile import Directions, percentile_rank
from daemon.domain.periods import Grain, buckets
from daemon.domain.quality import NOT_COUNTED, Quality, Standing
from daemon.domain.resources import Kind, Rounding, to_whole
from daemon.domain.seal import Sealed
from daemon.stats import arrays, series
from daemon.stats.arrays import Ints
from daemon.stats.sealing import Samples, sealed
from daemon.stats.series import QUALITIES, Levels, Line, Numbers, Rates, before_edges, exact_sum, per_step
from daemon.store.days.codec import HIGHEST, LOWEST
from daemon.store.days.shapes import MICROSECOND, Packed, from_us, to_us

MILLIWATT_MICROSECONDS = 3_600_000
"""In one millionth of a watt-hour."""

NONE = np.empty(0, dtype=np.int64)
_NEVER = 2**63 - 1
NO_BYTES = np.empty(0, dtype=np.uint8)


class Lines:
    """Unpacked samples of some services. A source that several asks in a row have in common is judged once."""

    def __init__(self, packed: Mapping[str, Packed]) -> None:
        self._arrays = {metric: arrays.arrays(found) for metric, found in packed.items()}
        self._service: int | None = None
        self._judged: dict[object, Line] = {}

    def of(self, ask: Ask) -> list[Line]:
        if ask.billable.service_id != self._service:
            self._service = ask.billable.service_id
            self._judged.clear()
        return [self._line(ask, source) for source in ask.billable.sources]

    def _line(self, ask: Ask, source: Source) -> Line:
        key = (source, ask.begin, ask.horizon)
        if key not in self._judged:
            at, totals, stored = self._arrays.get(source.metric, {}).get(
                ask.billable.service_id, (NONE, NONE, NO_BYTES)
            )
            own = _between(at, to_us(ask.begin), to_us(ask.horizon) + 1, "left")
            self._judged[key] = series.judged(at[own], totals[own], stored[own], source.meter)
        return self._judged[key]


def measure(packed: Mapping[str, Packed], asks: Iterable[Ask], *, sealed: bool = True) -> list[Measured]:
    lines = Lines(packed)
    return [rule_of(ask, lines.of(ask)).measured(sealed=sealed) for ask in asks]


def look(packed: Mapping[str, Packed], looks: Iterable[Look]) -> list[list[Point]]:
    lines = Lines(packed)
    return [_points(one, rule_of(one.ask, lines.of(one.ask))) for one in looks]


Standings = tuple[dict[str, Standing | None], int | None, timedelta]


def standings(packed: Mapping[str, Packed], asks: Iterable[Ask]) -> list[Standings]:
    lines = Lines(packed)
    found: list[Standings] = []
    for ask in asks:
        own = lines.of(ask)
        rule = rule_of(ask, own)
        known = {source.metric: line.standing for source, line in zip(ask.billable.sources, own, strict=True)}
        found.append((known, rule.billed(), rule.covered()))
    return found


def _points(look: Look, rule: Rule) -> list[Point]:
    if look.ask.since >= look.ask.until:
        return []
    return list(rule.readings() if look.step is None else rule.points(_edges(look, look.step)))


def _edges(look: Look, step: Grain | timedelta) -> Ints:
    since, until = to_us(look.ask.since), to_us(look.ask.until)
    if isinstance(step, Grain):
        begun = [to_us(period.since) for period in buckets(look.ask.since, look.ask.until, step, look.zone)]
        return np.array([*begun, until], dtype=np.int64)
    return np.append(np.arange(since, until, step // MICROSECOND, dtype=np.int64), until)


def _between(at: Ints, since: int, until: int, side: str) -> slice:
    """`right`: after `since`, up to and with `until`; `left`: from `since` on, before `until`."""
    first, last = np.searchsorted(at, (since, until), side=side)  # type: ignore[call-overload] # it wants a literal
    return slice(int(first), int(last))


def _summary(values: Numbers, percent: int) -> tuple[Fraction | None, int | None, int | None, int | None]:
    """Average, highest, lowest, percentile."""
    if not len(values):
        return None, None, None, None
    average = Fraction(exact_sum(values), len(values))
    return average, int(values.max()), int(values.min()), percentile(values, percent)


def percentile(values: Numbers, percent: int) -> int | None:
    """The value of that rank; None without values: not known, which is not zero."""
    if not len(values):
        return None
    rank = percentile_rank(len(values), percent) - 1
    return int((np.sort(values) if values.dtype == object else np.partition(values, rank))[rank])


def _classes(line: Line, part: slice) -> dict[Quality, int]:
    counts = np.bincount(line.classes[part], minlength=len(QUALITIES)).tolist()
    return {quality: count for quality, count in zip(QUALITIES, counts, strict=True) if count}


def _together(found: Iterable[dict[Quality, int]]) -> dict[Quality, int]:
    together: dict[Quality, int] = {}
    for classes in found:
        for quality, count in classes.items():
            together[quality] = together.get(quality, 0) + count
    return together


def _counted(classes: Mapping[Quality, int]) -> int:
    return sum(count for quality, count in classes.items() if quality not in NOT_COUNTED)


# --- rules -------------------------------------------------------------------------------------------------------------------------


class Rule:
    """How one resource is measured over the period that is asked for."""

    side = "right"

    def __init__(self, ask: Ask, lines: list[Line]) -> None:
        self.ask = ask
        self.lines = lines
        self.since, self.until = to_us(ask.since), to_us(ask.until)
        self.whole = np.array([self.since, self.until], dtype=np.int64)
        self.pushed = [(to_us(at), quantity) for at, quantity in ask.pushed if ask.since <= at < ask.until]

    # What each kind says.

    def quantity(self) -> int | None:
        """None: nothing is known."""
        raise NotImplementedError

    def known(self, edges: Ints) -> list[int]:
        """Microseconds that are known between each two edges."""
        raise NotImplementedError

    def points(self, edges: Ints) -> Iterator[Point]:
        raise NotImplementedError

    def readings(self) -> Iterator[Point]:
        raise NotImplementedError

    # What all have in common.

    def billed(self) -> int | None:
        quantity = self.quantity()
        return 0 if quantity is None and self.since >= self.until else quantity

    def covered(self) -> timedelta:
        return self.known(self.whole)[0] * MICROSECOND if self.since < self.until else timedelta()

    def classes(self, since: int, until: int) -> dict[Quality, int]:
        """Of the readings of all sources."""
        return _together(_classes(line, _between(line.at, since, until, self.side)) for line in self.lines)

    def aside(self) -> int:
        return 0

    def corrected(self) -> int:
        return 0

    def measured(self, *, sealed: bool = True) -> Measured:
        """`sealed`: with the hash that a usage record needs, and nobody who only looks."""
        quantity, classes = self.billed(), self.classes(self.since, self.until)
        return Measured(
            quantity,
            self.covered(),
            _counted(classes),
            sum((self.ask.until - self.ask.since) // line.meter.rhythm for line in self.lines),
            classes,
            self._seal(quantity) if sealed else "",
            self.aside(),
            self.corrected(),
        )

    def _seal(self, quantity: int | None) -> str:
        ask, resource = self.ask, self.ask.billable.resource
        record = Sealed(ask.billable.service_id, resource.code, ask.since, ask.until, resource.base_unit, quantity)
        parts = [self._shown(line) for line in self.lines]
        if self.pushed:
            parts.append(_pushed_samples(self.pushed))
        return sealed(record, parts)

    def _shown(self, line: Line) -> Samples:
        """Those within the period, and the counted ones next to it on both sides."""
        inside = _between(line.at, self.since, self.until, "right")
        counted = np.flatnonzero(line.counted)
        before = counted[: np.searchsorted(counted, inside.start)][-1:]
        after = counted[np.searchsorted(counted, inside.stop) :][:1]
        first, last = (
            int(before[0]) if len(before) else inside.start,
            int(after[0]) if len(after) else inside.stop - 1,
        )
        if (
            inside.start - first <= 1 and last - inside.stop <= 0
        ):  # they are next to each other: nothing has to be copied
            return line.at[first : last + 1], line.totals[first : last + 1], line.classes[first : last + 1]
        shown = np.concatenate((before, np.arange(inside.start, inside.stop), after))
        return line.at[shown], line.totals[shown], line.classes[shown]

    def _pushed_within(self, since: int, until: int) -> int | None:
        found = [quantity for at, quantity in self.pushed if since <= at < until]
        return sum(found) if found else None

    def _pushed_points(self) -> Iterator[Point]:
        for at, quantity in self.pushed:
            yield _point(at, at, quantity, (None,) * 4, 0, {})


def _point(
    since: int,
    until: int,
    total: int | None,
    values: tuple[Fraction | None, int | None, int | None, int | None],
    known: int,
    classes: dict[Quality, int],
) -> Point:
    return Point(from_us(since), from_us(until), total, *values, known * MICROSECOND, _counted(classes), classes)


def _pushed_samples(pushed: list[tuple[int, int]]) -> Samples:
    quantities = [quantity for _, quantity in pushed]
    wide = not LOWEST <= min(quantities) <= max(quantities) <= HIGHEST
    at = np.array([at for at, _ in pushed], dtype=np.int64)
    return at, np.array(quantities, dtype=object if wide else np.int64), np.full(len(pushed), Quality.OK.code, np.uint8)


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


class Volume(Rule):
    """A running total or a counter, and what was pushed."""

    def __init__(self, ask: Ask, lines: list[Line]) -> None:
        super().__init__(ask, lines)
        self.line = lines[0]

    def quantity(self) -> int | None:
        return self._volume(self.since, self.until)

    def _volume(self, since: int, until: int) -> int | None:
        part = _between(self.line.at, since, until, self.side)
        read = exact_sum(self.line.increments[part]) if self.line.billed[part].any() else None
        return _plus(read, self._pushed_within(since, until))

    def known(self, edges: Ints) -> list[int]:
        known = self.line.known
        return per_step(before_edges(edges, self.line.begun[known], self.line.at[known]))

    def aside(self) -> int:
        return exact_sum(self.line.aside[_between(self.line.at, self.since, self.until, self.side)])

    def corrected(self) -> int:
        """What is open at the end of the period, and what lapsed in it; what lapsed on its first reading is in the period before."""
        part = _between(self.line.at, self.since, self.until, self.side)
        counted = np.flatnonzero(self.line.counted[part]) + part.start
        if not len(counted):
            return 0
        return int(self.line.corrected[counted[-1]]) + exact_sum(self.line.lapsed[counted[1:]])

    def points(self, edges: Ints) -> Iterator[Point]:
        found, percent = series.rates(self.line), self.ask.billable.percent
        for (since, until), known in zip(_steps(edges), self.known(edges), strict=True):
            classes, total = self.classes(since, until), self._volume(since, until)
            if classes or total is not None:
                yield _point(since, until, total, _summary(found.within(since, until).bits, percent), known, classes)

    def readings(self) -> Iterator[Point]:
        yield from sorted([*self._read(), *self._pushed_points()], key=lambda point: point.until)

    def _read(self) -> Iterator[Point]:
        line, found, percent = self.line, series.rates(self.line), self.ask.billable.percent
        bits = dict(zip(found.ended.tolist(), found.bits.tolist(), strict=True))
        part = _between(line.at, self.since, self.until, self.side)
        for place in range(part.start, part.stop):
            until = int(line.at[place])
            since = max(self.since, int(line.begun[place]))
            total = int(line.increments[place]) if line.billed[place] else None
            rate = np.array([bits[until]] if until in bits else [], dtype=object)
            known = until - since if line.known[place] else 0
            yield _point(since, until, total, _summary(rate, percent), known, {QUALITIES[line.classes[place]]: 1})


def _steps(edges: Ints) -> Iterator[tuple[int, int]]:
    return pairwise(edges.tolist())


class Level(Rule):
    """The average of a gauge over the time it is known."""

    side = "left"

    def __init__(self, ask: Ask, lines: list[Line]) -> None:
        super().__init__(ask, lines)
        self.line = lines[0]
        self.levels = self.held()

    def held(self) -> Levels:
        return series.levels(self.line)

    def quantity(self) -> int | None:
        known = self.known(self.whole)[0]
        return to_whole(Fraction(self.level_time(self.whole)[0], known), Rounding.HALF_AWAY) if known else None

    def known(self, edges: Ints) -> list[int]:
        return per_step(before_edges(edges, self.levels.begun, self.levels.ended))

    def level_time(self, edges: Ints) -> list[int]:
        """Base units x microseconds between each two edges."""
        return per_step(before_edges(edges, self.levels.begun, self.levels.ended, self.levels.level))

    def totals(self, level_times: list[int]) -> Iterable[int | None]:
        """Point by point, of all of them."""
        return [None] * len(level_times)

    def inside(self, since: int, until: int) -> slice:
        """The levels that were held then, or read then."""
        first = min(np.searchsorted(self.levels.ended, since, side="right"), np.searchsorted(self.levels.begun, since))
        return slice(int(first), max(int(first), int(np.searchsorted(self.levels.begun, until))))

    def points(self, edges: Ints) -> Iterator[Point]:
        times, known = self.level_time(edges), self.known(edges)
        totals = self.totals(times)
        for (since, until), time, length, total in zip(_steps(edges), times, known, totals, strict=True):
            levels = self.levels.level[self.inside(since, until)]
            classes = self.classes(since, until)
            if len(levels) or classes:
                _, highest, lowest, ranked = _summary(levels, self.ask.billable.percent)
                values = (Fraction(time, length) if length else None, highest, lowest, ranked)
                yield _point(since, until, total if length else None, values, length, classes)

    def readings(self) -> Iterator[Point]:
        part = self.inside(self.since, self.until)
        begun = np.maximum(self.levels.begun[part], self.since).tolist()
        ended = np.minimum(self.levels.ended[part], self.until).tolist()
        levels = self.levels.level[part].tolist()
        read = _between(self.line.at, self.since, self.until, self.side)
        own = zip(self.line.at[read].tolist(), self.line.classes[read].tolist(), strict=True)
        classes = {at: {QUALITIES[code]: 1} for at, code in own}
        lengths = [until - since for since, until in zip(begun, ended, strict=True)]
        totals = self.totals([level * length for level, length in zip(levels, lengths, strict=True)])
        points = [
            _point(since, until, total if length else None, (Fraction(level), level, level, level), length, classes.pop(since, {}))
            for since, until, total, length, level in zip(begun, ended, totals, lengths, levels, strict=True)
        ]  # fmt: skip
        uncounted = [_point(at, at, None, (None,) * 4, 0, found) for at, found in classes.items()]
        yield from sorted([*points, *uncounted], key=lambda point: point.since)


class Integral(Level):
    """Energy: rounded down once, and so that the points add up to the whole."""

    def quantity(self) -> int | None:
        if not self.known(self.whole)[0]:
            return None
        return self.level_time(self.whole)[0] // MILLIWATT_MICROSECONDS

    def totals(self, level_times: list[int]) -> Iterable[int | None]:
        so_far = 0
        for time in level_times:
            before = so_far // MILLIWATT_MICROSECONDS
            so_far += time
            yield so_far // MILLIWATT_MICROSECONDS - before


class Stock(Level):
    """The highest level held. It is our own data: a level holds until the next one, however long that is."""

    def held(self) -> Levels:
        return series.levels(self.line, self.until)

    def quantity(self) -> int | None:
        levels = self.levels.level[self.inside(self.since, self.until)]
        return int(levels.max()) if len(levels) else None


class Rate(Rule):
    """The percentile of the rates of a counter, or of the panel's own values of each day; of one direction or of both."""

    def __init__(self, ask: Ask, lines: list[Line]) -> None:
        super().__init__(ask, lines)
        if ask.billable.daily:
            self.side = "left"
            daily = [self._daily(line) for line in lines]
            self.rates = [found for found, _ in daily]
            self.spans = [(found.begun, read) for found, read in daily]
        else:
            self.rates = [series.rates(line) for line in lines]
            rated = [series.run(line.rated) for line in lines]
            self.spans = [(line.begun[own], line.at[own]) for line, own in zip(lines, rated, strict=True)]

    def _daily(self, line: Line) -> tuple[Rates, Ints]:
        """The last value of each of the panel's days, and up to when it was read: no value knows more of its day.

        A day counts in the period in which it ends, so that no day counts twice. The day in which the service got the server is
        left out: its value is the highest of the customer before, too.
        """
        at, values = line.at[line.counted], line.totals[line.counted]
        days = _days(self.ask, line)
        if not days or not len(at):
            return Rates(NONE, NONE, NONE), NONE
        begun, ended = (np.array([to_us(edge) for edge in edges], dtype=np.int64) for edges in zip(*days, strict=True))
        last = np.searchsorted(at, ended) - 1
        some = (last >= 0) & (at[last] >= begun)
        begun, ended, last = begun[some], ended[some], last[some]
        following = np.append(at, _NEVER)[last + 1]
        whole = following - at[last] <= 3 * (line.meter.rhythm // MICROSECOND) // 2
        read: Ints = np.where(whole, np.minimum(following, ended), at[last])
        return Rates(begun, ended, values[last]), read

    def quantity(self) -> int | None:
        return percentile(self._values(self.since, self.until).bits, self.ask.billable.percent)

    def _values(self, since: int, until: int) -> Rates:
        """What the percentile is taken of."""
        found = [rates.within(since, until) for rates in self.rates]
        if len(found) == 1 or self.ask.billable.directions is Directions.SEPARATE:
            return found[0]
        if self.ask.billable.directions is Directions.SUM:
            return _added(*found)
        percent = self.ask.billable.percent
        known = [one for one in found if len(one.bits)]
        return max(known, key=lambda one: percentile(one.bits, percent) or 0) if known else found[0]

    def known(self, edges: Ints) -> list[int]:
        """Of two directions that which is known less."""
        return [
            min(known) for known in zip(*(per_step(before_edges(edges, *span)) for span in self.spans), strict=True)
        ]

    def points(self, edges: Ints) -> Iterator[Point]:
        for (since, until), known in zip(_steps(edges), self.known(edges), strict=True):
            values, classes = self._values(since, until).bits, self.classes(since, until)
            if classes or len(values):
                yield _point(since, until, None, _summary(values, self.ask.billable.percent), known, classes)

    def readings(self) -> Iterator[Point]:
        found = self._values(self.since, self.until)
        for begun, until, bits in zip(found.begun.tolist(), found.ended.tolist(), found.bits.tolist(), strict=True):
            since = max(begun, self.since)
            values = (Fraction(bits), bits, bits, bits)
            yield _point(since, until, None, values, until - since, self.classes(since, until))


def _days(ask: Ask, line: Line) -> list[tuple[datetime, datetime]]:
    """Those of the panel that the period has a part of, and that were the service's from their start."""
    owned = line.meter.owned_from
    days = buckets(ask.since, ask.until, Grain.DAY, line.meter.zone, clipped=False)
    return [(day.since, day.until) for day in days if owned is None or owned <= day.since]


def _added(one: Rates, other: Rates) -> Rates:
    """Interval by interval; what one of them lacks has no sum."""
    ended, ours, theirs = np.intersect1d(one.ended, other.ended, assume_unique=True, return_indices=True)
    summed: Numbers = one.bits[ours] + other.bits[theirs]
    if len(ended) and int(one.bits.max()) + int(other.bits.max()) >= 2**63:
        summed = one.bits[ours].astype(object) + other.bits[theirs].astype(object)
    return Rates(one.begun[ours], ended, summed)


class PushedLevel(Level):
    """A level of which only pushed readings are known: each holds until the next one, the last to the end."""

    def __init__(self, ask: Ask, lines: list[Line]) -> None:
        Rule.__init__(self, ask, lines)
        begun = np.array([at for at, _ in self.pushed], dtype=np.int64)
        quantities = [quantity for _, quantity in self.pushed]
        wide = bool(quantities) and not LOWEST <= min(quantities) <= max(quantities) <= HIGHEST
        level = np.array(quantities, dtype=object if wide else np.int64)
        self.levels = Levels(begun, np.append(begun[1:], self.until)[: len(begun)], level)

    def readings(self) -> Iterator[Point]:
        held = self.levels
        for since, until, level in zip(held.begun.tolist(), held.ended.tolist(), held.level.tolist(), strict=True):
            yield _point(since, until, None, (Fraction(level), level, level, level), until - since, {})


class PushedHighest(PushedLevel):
    """A stock: the highest of its pushed readings."""

    def quantity(self) -> int | None:
        return int(self.levels.level.max()) if self.pushed else None


class Pushed(Rule):
    """Only what was pushed; nobody can know better, so the whole period is covered."""

    def quantity(self) -> int | None:
        return self._pushed_within(self.since, self.until)

    def known(self, edges: Ints) -> list[int]:
        return per_step(edges.tolist())

    def points(self, edges: Ints) -> Iterator[Point]:
        for since, until in _steps(edges):
            total = self._pushed_within(since, until)
            if total is not None:
                yield _point(since, until, total, (None,) * 4, until - since, {})

    def readings(self) -> Iterator[Point]:
        return self._pushed_points()


class Amount(Rule):
    """What is configured, all of the time."""

    def quantity(self) -> int | None:
        return self.ask.billable.amount

    def known(self, edges: Ints) -> list[int]:
        return per_step(edges.tolist())

    def points(self, edges: Ints) -> Iterator[Point]:
        amount = self.ask.billable.amount
        assert amount is not None
        for since, until in _steps(edges):
            yield _point(since, until, None, (Fraction(amount), amount, amount, amount), until - since, {})

    def readings(self) -> Iterator[Point]:
        return self.points(self.whole)


_RULES: dict[Kind, type[Rule]] = {
    Kind.RUNNING_TOTAL: Volume,
    Kind.COUNTER32: Volume,
    Kind.COUNTER64: Volume,
    Kind.GAUGE: Level,
    Kind.INTEGRAL: Integral,
    Kind.RATE: Rate,
    Kind.STOCK: Stock,
}


_PUSHED: dict[Kind, type[Rule]] = {Kind.GAUGE: PushedLevel, Kind.STOCK: PushedHighest}
"""Where nobody reads it; all others are summed up."""


def rule_of(ask: Ask, lines: list[Line]) -> Rule:
    if ask.billable.amount is not None:
        return Amount(ask, [])
    kind = ask.billable.resource.kind
    return _RULES[kind](ask, lines) if lines else _PUSHED.get(kind, Pushed)(ask, [])
