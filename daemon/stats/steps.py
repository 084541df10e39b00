"""Lines to look at as columns: what `Rule.points` says step by step, worked out for all steps at once, and written down as text.

Three months of five-minute steps are 26 000 points: made one by one, as `measures.look` does, they take seconds. The text is made here as well,
because the daemon's loop must not be held up by so many numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from daemon.domain.metering import Look, Point
from daemon.domain.percentile import Directions
from daemon.domain.periods import Grain, bucket, buckets
from daemon.domain.resources import Kind, Resource, convert
from daemon.stats import columntext, series
from daemon.stats.arrays import Ints
from daemon.stats.columntext import Column, Known
from daemon.stats.drawing import POINT_FIELDS, SAMPLE_FIELDS, Drawing, Drawn, Form
from daemon.stats.measures import Level, Lines, Rate, Rule, Volume, rule_of
from daemon.stats.series import QUALITIES, Numbers, Rates, exact_sum
from daemon.store.days.shapes import MICROSECOND, Packed, to_us

Places = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
_HIGHEST = 2**63 - 1


@dataclass
class Steps:
    """The points of which something is known, in columns; see `metering.Point`. `average` is a sum, `of` so many."""

    since: Ints
    until: Ints
    total: Known
    average: Known
    of: Numbers
    maximum: Known
    minimum: Known
    percentile: Known
    covered: Ints

    def __len__(self) -> int:
        return len(self.since)


def drawn(packed: Mapping[str, Packed], drawings: Iterable[Drawing]) -> list[Drawn]:
    lines = Lines(packed)
    return [_drawn(drawing, rule_of(drawing.look.ask, lines.of(drawing.look.ask))) for drawing in drawings]


def _drawn(drawing: Drawing, rule: Rule) -> Drawn:
    columns = (
        _sample_columns(drawing, rule) if drawing.samples else _point_columns(drawing, steps_of(drawing.look, rule))
    )
    count = len(next(iter(columns.values())).some)
    return Drawn(rule.measured(sealed=False) if drawing.measured else None, count, _WRITTEN[drawing.form](columns))


def steps_of(look: Look, rule: Rule) -> Steps:
    if look.ask.since >= look.ask.until:
        return _from_points([])
    if look.step is None:
        return _from_points(list(rule.readings()))
    edges = edges_of(look, look.step)
    points = _quick(rule, edges)
    return _from_points(list(rule.points(edges))) if points is None else points


def edges_of(look: Look, step: Grain | timedelta) -> Ints:
    """Steps of a length are counted from the start of the local day, so that five minutes end at five past and at ten past."""
    since, until = to_us(look.ask.since), to_us(look.ask.until)
    if isinstance(step, Grain):
        begun = [to_us(period.since) for period in buckets(look.ask.since, look.ask.until, step, look.zone)]
        return np.array([*begun, until], dtype=np.int64)
    length = step // MICROSECOND
    midnight = to_us(bucket(look.ask.since, Grain.DAY, look.zone).since)
    first = midnight + ((since - midnight) // length + 1) * length
    return np.concatenate(([since], np.arange(first, until, length, dtype=np.int64), [until]))


def _from_points(points: list[Point]) -> Steps:
    averages = [point.average for point in points]
    return Steps(
        np.array([to_us(point.since) for point in points], dtype=np.int64),
        np.array([to_us(point.until) for point in points], dtype=np.int64),
        Known.of([point.total for point in points]),
        Known.of([None if one is None else one.numerator for one in averages]),
        Known.of([None if one is None else one.denominator for one in averages]).values,
        Known.of([point.maximum for point in points]),
        Known.of([point.minimum for point in points]),
        Known.of([point.percentile for point in points]),
        np.array([point.covered // MICROSECOND for point in points], dtype=np.int64),
    )


# All steps at once.


@dataclass
class _Summary:
    """Of the values of each step: whether there are any, their sum, number, and so on; of steps without values anything."""

    some: Bools
    sums: Numbers
    counts: Ints
    maximum: Numbers
    minimum: Numbers
    percentile: Numbers

    @property
    def average(self) -> Known:
        return Known(self.sums, self.some)


def _quick(rule: Rule, edges: Ints) -> Steps | None:
    """None: there is no quick way for this rule, or its numbers are too large."""
    if isinstance(rule, Level):
        return _level(rule, edges)
    if isinstance(rule, Volume):
        return _volume(rule, edges)
    if isinstance(rule, Rate):
        return _rate(rule, edges)
    return None


def _volume(rule: Volume, edges: Ints) -> Steps | None:
    rates = series.rates(rule.line)
    first, last = _parts(rates.ended, edges, "right")
    summary = _summary(rates.bits, first, last, rule.ask.billable.percent)
    if summary is None or rule.line.increments.dtype == object or exact_sum(rule.line.increments) > _HIGHEST:
        return None
    begin, end = _parts(rule.line.at, edges, rule.side)
    totals = Known(_sums(rule.line.increments, begin, end), _sums(rule.line.billed.astype(np.int64), begin, end) > 0)
    if rule.pushed:
        totals = _with_pushed(rule, edges, totals)
    return _put(edges, totals.some | _seen(rule, edges), totals, summary.average, summary.counts, summary, rule)


def _with_pushed(rule: Rule, edges: Ints, totals: Known) -> Known:
    found = totals.listed()
    places = np.searchsorted(edges, np.array([at for at, _ in rule.pushed], dtype=np.int64), side="right") - 1
    for place, (_, quantity) in zip(places.tolist(), rule.pushed, strict=True):
        found[place] = (found[place] or 0) + quantity
    return Known.of(found)


def _level(rule: Level, edges: Ints) -> Steps | None:
    held = rule.levels
    first = np.minimum(np.searchsorted(held.ended, edges[:-1], side="right"), np.searchsorted(held.begun, edges[:-1]))
    last = np.maximum(first, np.searchsorted(held.begun, edges[1:]))
    summary = _summary(held.level, first, last, rule.ask.billable.percent)
    if summary is None:
        return None
    times, known = rule.level_time(edges), np.array(rule.known(edges), dtype=np.int64)
    some = known > 0
    totals = Known.of(
        [total if is_known else None for total, is_known in zip(rule.totals(times), some.tolist(), strict=True)]
    )
    average = Known(Known.of(times).values, some)
    return _put(edges, summary.some | _seen(rule, edges), totals, average, known, summary, rule)


def _rate(rule: Rate, edges: Ints) -> Steps | None:
    found = [_rates_summary(rule, rates, edges) for rates in _taken(rule)]
    summaries = [summary for summary in found if summary is not None]
    if len(summaries) < len(found):
        return None
    summary = summaries[0]
    for other in summaries[1:]:
        summary = _larger(summary, other)
    none = Known(summary.sums, np.zeros(len(edges) - 1, dtype=bool))
    return _put(edges, summary.some | _seen(rule, edges), none, summary.average, summary.counts, summary, rule)


def _taken(rule: Rate) -> list[Rates]:
    """Both directions only where the larger counts: added ones are one series."""
    if rule.ask.billable.directions is Directions.LARGER:
        return rule.rates
    return [rule._values(-_HIGHEST, _HIGHEST)]  # noqa: SLF001 - this is how the rule works for all steps at once


def _rates_summary(rule: Rate, rates: Rates, edges: Ints) -> _Summary | None:
    return _summary(rates.bits, *_parts(rates.ended, edges, "right"), rule.ask.billable.percent)


def _larger(one: _Summary, other: _Summary) -> _Summary:
    """Step by step that of the direction with the larger percentile; of two that are the same, the first."""
    theirs = other.some & (~one.some | (other.percentile > one.percentile))
    picked = [
        np.where(theirs, getattr(other, name), getattr(one, name))
        for name in ("sums", "counts", "maximum", "minimum", "percentile")
    ]
    return _Summary(one.some | other.some, *picked)


def _parts(at: Ints, edges: Ints, side: str) -> tuple[Places, Places]:
    places = np.searchsorted(at, edges, side=side)  # type: ignore[call-overload] # it wants a literal
    return places[:-1], places[1:]


def _seen(rule: Rule, edges: Ints) -> Bools:
    """The steps in which there was a reading, whatever its class."""
    seen = np.zeros(len(edges) - 1, dtype=bool)
    for line in rule.lines:
        first, last = _parts(line.at, edges, rule.side)
        seen |= last > first
    return seen


def _sums(values: Numbers, first: Places, last: Places) -> Ints:
    whole = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values)))
    sums: Ints = whole[last] - whole[first]
    return sums


def _summary(values: Numbers, first: Places, last: Places, percent: int) -> _Summary | None:
    """Of values[first:last] of each step; the parts may overlap."""
    counts = (last - first).astype(np.int64)
    some = counts > 0
    if values.dtype == object or (len(values) and max(int(values.max()), -int(values.min())) * len(values) > _HIGHEST):
        return None
    if not some.any():
        none = np.zeros(len(counts), dtype=np.int64)
        return _Summary(some, none, counts, none, none, none)
    begun, ended = first[some], last[some]
    padded = np.append(values, 0)
    pairs = np.stack((begun, ended), axis=1).ravel()
    highest, lowest = np.zeros(len(counts), dtype=np.int64), np.zeros(len(counts), dtype=np.int64)
    highest[some], lowest[some] = np.maximum.reduceat(padded, pairs)[::2], np.minimum.reduceat(padded, pairs)[::2]
    ranked = np.zeros(len(counts), dtype=np.int64)
    ranked[some] = _ranked(values, begun, counts[some], percent)
    return _Summary(some, _sums(values, first, last), counts, highest, lowest, ranked)


def _ranked(values: Numbers, begun: Places, counts: Ints, percent: int) -> Numbers:
    """The value of the percentile's rank of each part."""
    if (counts == 1).all():
        return values[begun]
    group = np.repeat(np.arange(len(counts)), counts)
    offset = np.cumsum(counts) - counts
    own = values[np.arange(len(group)) - offset[group] + begun[group]]
    ordered = own[np.lexsort((own, group))]
    ranked: Numbers = ordered[offset + counts - (100 - percent) * counts // 100 - 1]
    return ranked


def _put(edges: Ints, there: Bools, totals: Known, average: Known, of: Numbers, summary: _Summary, rule: Rule) -> Steps:
    """Only the steps of which something is known."""
    kept = np.flatnonzero(there).astype(np.int64)
    highest, lowest, ranked = (
        Known(numbers[kept], summary.some[kept]) for numbers in (summary.maximum, summary.minimum, summary.percentile)
    )
    covered = np.array(rule.known(edges), dtype=np.int64)[kept]
    begun, ended = edges[:-1][kept], edges[1:][kept]
    return Steps(begun, ended, totals.taken(kept), average.taken(kept), of[kept], highest, lowest, ranked, covered)


# Text.


def _point_columns(drawing: Drawing, points: Steps) -> dict[str, Column]:
    billable, beside = drawing.look.ask.billable, drawing.beside
    value = _values(billable.resource, points, amount=billable.amount is not None)
    values = [columntext.nothing(len(points))] * 4
    if beside is not None:
        factor = convert(1, beside.base, beside.unit) / 10**beside.scale
        exact = (columntext.exact(numbers, factor) for numbers in (points.maximum, points.minimum, points.percentile))
        values = [columntext.average(points.average, points.of, factor), *exact]
    shares = columntext.percent(points.covered, points.until - points.since)
    columns = (columntext.times(points.since), columntext.times(points.until), value, *values, shares)
    return dict(zip(POINT_FIELDS, columns, strict=True))


def _values(resource: Resource, points: Steps, *, amount: bool) -> Column:
    """What the total says of the whole time, of each step: a volume, an integral, a level on average, a percentile, the highest stock."""
    factor, total = resource.exact(1), points.total
    if amount or resource.kind is Kind.STOCK:
        return columntext.exact(_else(points.maximum, total), factor)
    if resource.kind is Kind.RATE:
        return columntext.exact(_else(points.percentile, total), factor)
    if resource.kind is Kind.GAUGE and not total.some.any():  # only pushed ones have a total
        return columntext.average(points.average, points.of, factor)
    return columntext.exact(total, factor)


def _else(one: Known, other: Known) -> Known:
    return Known(np.where(one.some, one.values, other.values), one.some | other.some)


def _sample_columns(drawing: Drawing, rule: Rule) -> dict[str, Column]:
    """Each sample as it was read, with the class that a bill gives it."""
    (line,) = rule.lines
    part = slice(int(np.searchsorted(line.at, rule.since)), int(np.searchsorted(line.at, rule.until, side="right")))
    read = Known(line.totals[part], np.ones(part.stop - part.start, dtype=bool))
    columns = (
        columntext.times(line.at[part]),
        columntext.exact(read, drawing.look.ask.billable.resource.exact(1)),
        columntext.exact(read, Fraction(1)),
        columntext.names(line.classes[part], [quality.value for quality in QUALITIES]),
    )
    return dict(zip(SAMPLE_FIELDS, columns, strict=True))


_WRITTEN = {
    Form.CSV: columntext.csv_rows,
    Form.COLUMNS: columntext.json_columns,
    Form.OBJECTS: columntext.json_objects,
}
