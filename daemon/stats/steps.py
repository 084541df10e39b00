"""Lines to look at as columns: what `Rule.points` says step by step, worked out for all steps at once, and written down as text.

Three months of five-minute steps are 26 000 points: made one by one, as `measures.look` does, they take seconds. The text is made here as well,
because the daemon's loop must not be held up by so many numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from daemon.domain.metering import Look, Point
from daemon.domain.percentile import Directions
from daemon.domain.periods import Grain, bucket, buckets
from daemon.domain.resources import Kind, Resource, convert
from daemon.stats import series
from daemon.stats.arrays import Ints
from daemon.stats.drawing import POINT_FIELDS, SAMPLE_FIELDS, Drawing, Drawn, Form
from daemon.stats.measures import Level, Lines, Rate, Rule, Volume, rule_of
from daemon.stats.series import QUALITIES, Numbers, Rates, exact_sum
from daemon.store.days.shapes import MICROSECOND, Packed, to_us

Places = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Ratio = tuple[int, int]
Column = list[str]
"""JSON texts of one field, point by point."""

_HIGHEST = 2**63 - 1
_DIGITS = 3
"""Of what does not come out even: averages."""
_AT_MOST_PLACES = 30
NULL = "null"


@dataclass
class Steps:
    """The points of which something is known, in columns; see `metering.Point`. `average` is (sum, number)."""

    since: Ints
    until: Ints
    total: Sequence[int | None]
    average: Sequence[Ratio | None]
    maximum: Sequence[int | None]
    minimum: Sequence[int | None]
    percentile: Sequence[int | None]
    covered: Sequence[int]

    def __len__(self) -> int:
        return len(self.since)


def drawn(packed: Mapping[str, Packed], drawings: Iterable[Drawing]) -> list[Drawn]:
    lines = Lines(packed)
    return [_drawn(drawing, rule_of(drawing.look.ask, lines.of(drawing.look.ask))) for drawing in drawings]


def _drawn(drawing: Drawing, rule: Rule) -> Drawn:
    columns = (
        _sample_columns(drawing, rule) if drawing.samples else _point_columns(drawing, steps_of(drawing.look, rule))
    )
    count = len(next(iter(columns.values())))
    return Drawn(rule.measured(sealed=False) if drawing.measured else None, count, _written(drawing.form, columns))


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
    return Steps(
        np.array([to_us(point.since) for point in points], dtype=np.int64),
        np.array([to_us(point.until) for point in points], dtype=np.int64),
        [point.total for point in points],
        [None if p.average is None else (p.average.numerator, p.average.denominator) for p in points],
        [point.maximum for point in points],
        [point.minimum for point in points],
        [point.percentile for point in points],
        [point.covered // MICROSECOND for point in points],
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
    if summary is None or exact_sum(rule.line.increments) > _HIGHEST:
        return None
    begin, end = _parts(rule.line.at, edges, rule.side)
    totals, billed = _sums(rule.line.increments, begin, end), _sums(rule.line.billed.astype(np.int64), begin, end) > 0
    values: list[int | None] = [
        total if some else None for total, some in zip(totals.tolist(), billed.tolist(), strict=True)
    ]
    pushed = _pushed(rule, edges)
    if pushed is not None:
        values = [more if own is None else own + (more or 0) for own, more in zip(values, pushed, strict=True)]
    there = _seen(rule, edges) | np.array([value is not None for value in values], dtype=bool)
    return _put(edges, there, values, _averages(summary), summary, rule.known(edges))


def _pushed(rule: Rule, edges: Ints) -> list[int | None] | None:
    if not rule.pushed:
        return None
    found: list[int | None] = [None] * (len(edges) - 1)
    places = np.searchsorted(edges, np.array([at for at, _ in rule.pushed], dtype=np.int64), side="right") - 1
    for place, (_, quantity) in zip(places.tolist(), rule.pushed, strict=True):
        found[place] = (found[place] or 0) + quantity
    return found


def _level(rule: Level, edges: Ints) -> Steps | None:
    held = rule.levels
    first = np.minimum(np.searchsorted(held.ended, edges[:-1], side="right"), np.searchsorted(held.begun, edges[:-1]))
    last = np.maximum(first, np.searchsorted(held.begun, edges[1:]))
    summary = _summary(held.level, first, last, rule.ask.billable.percent)
    if summary is None:
        return None
    times, known = rule.level_time(edges), rule.known(edges)
    totals = [total if length else None for total, length in zip(rule.totals(times), known, strict=True)]
    average: list[Ratio | None] = [
        (time, length) if length else None for time, length in zip(times, known, strict=True)
    ]
    return _put(edges, summary.some | _seen(rule, edges), totals, average, summary, known)


def _rate(rule: Rate, edges: Ints) -> Steps | None:
    found = [_rates_summary(rule, rates, edges) for rates in _taken(rule)]
    summaries = [summary for summary in found if summary is not None]
    if len(summaries) < len(found):
        return None
    summary = summaries[0]
    for other in summaries[1:]:
        summary = _larger(summary, other)
    totals = [None] * (len(edges) - 1)
    return _put(edges, summary.some | _seen(rule, edges), totals, _averages(summary), summary, rule.known(edges))


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


def _averages(summary: _Summary) -> list[Ratio | None]:
    rows = zip(summary.some.tolist(), summary.sums.tolist(), summary.counts.tolist(), strict=True)
    return [(total, count) if some else None for some, total, count in rows]


def _put(
    edges: Ints,
    there: Bools,
    totals: Sequence[int | None],
    average: Sequence[Ratio | None],
    summary: _Summary,
    known: Sequence[int],
) -> Steps:
    """Only the steps of which something is known."""
    kept = np.flatnonzero(there).tolist()

    def shown(values: Numbers) -> list[int | None]:
        found, some = values.tolist(), summary.some.tolist()
        return [found[place] if some[place] else None for place in kept]

    return Steps(
        edges[:-1][kept],
        edges[1:][kept],
        [totals[place] for place in kept],
        [average[place] for place in kept],
        shown(summary.maximum),
        shown(summary.minimum),
        shown(summary.percentile),
        [known[place] for place in kept],
    )


# Text.


def _point_columns(drawing: Drawing, points: Steps) -> dict[str, Column]:
    billable, beside, none = drawing.look.ask.billable, drawing.beside, [NULL] * len(points)
    value = _values(billable.resource, points, amount=billable.amount is not None)
    values = [none] * 4
    if beside is not None:
        factor = convert(1, beside.base, beside.unit) / 10**beside.scale
        exact = (_exact(numbers, factor) for numbers in (points.maximum, points.minimum, points.percentile))
        values = [_averaged(points.average, factor), *exact]
    columns = (_times(points.since), _times(points.until), value, *values, _shares(points))
    return dict(zip(POINT_FIELDS, columns, strict=True))


def _values(resource: Resource, points: Steps, *, amount: bool) -> Column:
    """What the total says of the whole time, of each step: a volume, an integral, a level on average, a percentile, the highest stock."""
    factor = resource.exact(1)
    own: Sequence[int | None] = [None] * len(points)
    if amount or resource.kind is Kind.STOCK:
        own = points.maximum
    elif resource.kind is Kind.RATE:
        own = points.percentile
    elif resource.kind is Kind.GAUGE:
        averages = zip(_averaged(points.average, factor), _exact(points.total, factor), strict=True)
        return [total if average == NULL else average for average, total in averages]
    return _exact([one if one is not None else two for one, two in zip(own, points.total, strict=True)], factor)


def _sample_columns(drawing: Drawing, rule: Rule) -> dict[str, Column]:
    """Each sample as it was read, with the class that a bill gives it."""
    (line,) = rule.lines
    part = slice(int(np.searchsorted(line.at, rule.since)), int(np.searchsorted(line.at, rule.until, side="right")))
    values = line.totals[part].tolist()
    names = [f'"{quality.value}"' for quality in QUALITIES]
    columns = (
        _times(line.at[part]),
        _exact(values, drawing.look.ask.billable.resource.exact(1)),
        _quoted(map(str, values)),
        [names[code] for code in line.classes[part].tolist()],
    )
    return dict(zip(SAMPLE_FIELDS, columns, strict=True))


def _written(form: Form, columns: Mapping[str, Column]) -> str:
    if form is Form.CSV:
        return _csv(columns)
    if form is Form.COLUMNS:
        return "{" + ",".join(f'"{name}":[{",".join(texts)}]' for name, texts in columns.items()) + "}"
    pattern = "{" + ",".join(f'"{name}":%s' for name in columns) + "}"
    return "[" + ",".join([pattern % row for row in zip(*columns.values(), strict=True)]) + "]"


def _csv(columns: Mapping[str, Column]) -> str:
    """Times, numbers and names of classes only: nothing in them has to be quoted."""
    rows = zip(*columns.values(), strict=True)
    return "".join([",".join(row) + "\r\n" for row in rows]).replace('"', "").replace(NULL, "")


def _times(moments: Ints) -> Column:
    if not len(moments):
        return []
    texts = np.datetime_as_string(moments.astype("datetime64[us]"), unit="us" if (moments % 1_000_000).any() else "s")
    return _quoted(f"{text}+00:00" for text in texts.tolist())


def _quoted(texts: Iterable[str]) -> Column:
    return [f'"{text}"' for text in texts]


def _exact(numbers: Sequence[int | None], factor: Fraction) -> Column:
    """Every digit; of a unit in which nothing ever comes out even, as many as an average has."""
    places = _places(factor)
    if places is None:
        return _averaged([None if number is None else (number, 1) for number in numbers], factor)
    scaled, whole = (factor * 10**places).numerator, 10**places
    if places == 0:
        return [NULL if number is None else f'"{number * scaled}"' for number in numbers]
    found = []
    for number in numbers:
        if number is None:
            found.append(NULL)
            continue
        shown = number * scaled
        above, below = divmod(abs(shown), whole)
        sign = "-" if shown < 0 else ""
        found.append(
            f'"{sign}{above}.{below:0{places}d}'.rstrip("0").rstrip(".") + '"' if below else f'"{sign}{above}"'
        )
    return found


def _places(factor: Fraction) -> int | None:
    return next((n for n in range(_AT_MOST_PLACES) if (factor * 10**n).denominator == 1), None)


def _averaged(ratios: Sequence[Ratio | None], factor: Fraction) -> Column:
    """Half away from zero."""
    above, below = factor.numerator * 10**_DIGITS, factor.denominator
    found = []
    for ratio in ratios:
        if ratio is None:
            found.append(NULL)
            continue
        number, of = ratio[0] * above, ratio[1] * below
        thousandths = (2 * abs(number) + of) // (2 * of)
        sign = "-" if number < 0 and thousandths else ""
        found.append(f'"{sign}{thousandths // 1000}.{thousandths % 1000:03d}"')
    return found


def _shares(points: Steps) -> Column:
    """Percent of the step that is known, rounded down; null for a moment."""
    lengths = (points.until - points.since).tolist()
    known: dict[tuple[int, int], str] = {}
    found = []
    for covered, length in zip(points.covered, lengths, strict=True):
        key = (covered, length)
        if key not in known:
            hundredths = 10_000 * min(covered, length) // length if length else 0
            known[key] = f'"{hundredths // 100}.{hundredths % 100:02d}"' if length else NULL
        found.append(known[key])
    return found
