"""Whole series of one source judged at once: what `quality.classify` says sample by sample, as columns.

Most samples are plain: the total did not fall, no month began and the port could carry what it grew by. Runs of them are arithmetic
on arrays; only what lies between goes through `quality.classify`, until nothing is doubted any more. Everything is exact: a reading
fits 63 bits, so does the difference of two, and sums are made of halves of 32 bits. Where a counter of 64 bits goes beyond that, its columns
are of Python's own numbers.

The rate of an interval is what was used x 8 / seconds, half away from zero to whole bit/s; what was missed, corrected or guessed has a
volume but no rate. A level holds from its reading until the next one; where rounds were missed it holds for one rhythm and the rest is a
gap. The last reading holds for nothing, because nobody knows how long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from daemon.domain.periods import Grain, buckets
from daemon.domain.quality import NOT_COUNTED, Judged, Meter, Quality, Reading, Standing, classify
from daemon.domain.resources import Kind
from daemon.stats.arrays import Bytes, Ints, Order
from daemon.store.days.shapes import MICROSECOND, from_us, to_us

Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64] | npt.NDArray[np.object_]
"""int64 where all of it fits, else Python's own numbers."""

QUALITIES = tuple(Quality)
_UNCOUNTED = np.isin(np.arange(256), [quality.code for quality in NOT_COUNTED])
_RATED = np.isin(np.arange(256), [quality.code for quality in (Quality.OK, Quality.WRAP32, Quality.WRAP64)])
_HIGHEST = 2**63 - 1
_SURELY = 1 - 1e-9
"""Less than any rounding of a floating-point number: what is below the bound by so much is below it; the rest is worked out exactly."""


@dataclass
class Line:
    """The samples of one source in order of time, one per moment, and what was judged of each; see `quality.Judged`.

    Times are microseconds since 1970. `begun` is `since`, or the sample's own moment where it has none; `billed` tells whether it has
    an increment; `corrected` is that of the standing after it, `lapsed` what of that before it is final. `standing` is for the reading after the last one.
    """

    meter: Meter
    at: Ints
    totals: Numbers
    classes: Bytes
    begun: Ints
    increments: Numbers
    billed: Bools
    known: Bools
    aside: Numbers
    corrected: Numbers
    lapsed: Numbers
    standing: Standing | None = None

    @property
    def counted(self) -> Bools:
        counted: Bools = ~_UNCOUNTED[self.classes]
        return counted

    @property
    def rated(self) -> Bools:
        """See `Judged.rated`."""
        rated: Bools = self.known & _RATED[self.classes]
        return rated

    def put(self, place: int, judged: Judged) -> None:
        self.classes[place] = judged.quality.code
        self.begun[place] = self.at[place] if judged.since is None else to_us(judged.since)
        self.increments[place] = judged.increment or 0
        self.billed[place] = judged.increment is not None
        self.known[place] = judged.known
        corrected = judged.standing.corrected if judged.standing is not None else 0
        self.aside, self.corrected, self.lapsed = (
            _with(column, place, value)
            for column, value in ((self.aside, judged.aside), (self.corrected, corrected), (self.lapsed, judged.lapsed))
        )


def _with(column: Numbers, place: int, value: int) -> Numbers:
    """What was billed after several falls can be more than a reading fits."""
    if column.dtype != object and not -_HIGHEST <= value <= _HIGHEST:
        column = column.astype(object)
    column[place] = value
    return column


def judged(at: Ints, totals: Ints, stored: Bytes, meter: Meter) -> Line:
    """Samples in order of time, one per moment, as they were stored. Those stored as late, duplicate or foreign stay so."""
    count, real = len(at), read(totals, meter.kind)
    line = Line(
        meter, at, real, stored.copy(), at.copy(), np.zeros_like(real), np.zeros(count, bool),
        np.zeros(count, bool), np.zeros_like(real), np.zeros_like(real), np.zeros_like(real),
    )  # fmt: skip
    chain = _sorted_out(line)
    if meter.kind.counts_up:
        _count(line, chain)
        _carry_corrections(line, chain)
        line.increments, line.aside, line.corrected, line.lapsed = map(
            _narrow, (line.increments, line.aside, line.corrected, line.lapsed)
        )
    else:
        _watch(line, chain)
    return line


def read(stored: Ints, kind: Kind) -> Numbers:
    """Every reading that was kept; see `Kind.total`."""
    if kind is Kind.COUNTER64 and len(stored) and stored.min() < 0:
        return stored.view(np.uint64).astype(object)
    return stored


def _narrow(numbers: Numbers) -> Numbers:
    """As int64, where all of it fits."""
    if numbers.dtype == object and len(numbers) and -_HIGHEST <= min(numbers) <= max(numbers) <= _HIGHEST:
        return numbers.astype(np.int64)
    return numbers


def _sorted_out(line: Line) -> Ints:
    """Where the samples are that say something about the next one; the others have their class already."""
    meter, left = line.meter, ~_UNCOUNTED[line.classes]
    for foreign in (
        line.at < to_us(meter.owned_from) if meter.owned_from is not None else None,
        line.at > to_us(meter.owned_until) if meter.owned_until is not None else None,
    ):
        if foreign is not None:
            line.classes[left & foreign] = Quality.FOREIGN.code
            left &= ~foreign
    if meter.kind.counts_up:
        negative = left & (line.totals < 0)
        line.classes[negative] = Quality.IMPOSSIBLE.code
        left &= ~negative
    return np.flatnonzero(left).astype(np.int64)


# Levels.


def _watch(line: Line, chain: Ints) -> None:
    at = line.at[chain]
    length = np.diff(at)
    in_time = length <= _longest(line.meter)
    line.classes[chain[:1]] = Quality.FIRST.code
    line.classes[chain[1:]] = np.where(in_time, Quality.OK.code, Quality.GAP.code)
    line.known[chain[1:]] = in_time
    line.begun[chain[1:]] = at[:-1]
    line.standing = Standing.of(_reading(line, chain[-1])) if len(chain) else None


# Totals.


def _count(line: Line, chain: Ints) -> None:
    """Everything as if it were plain, and then what is not."""
    whole = len(chain) == len(line.at)  # then nothing has to be copied
    at, totals = (line.at, line.totals) if whole else (line.at[chain], line.totals[chain])
    length, grown = np.diff(at), np.diff(totals)
    plain = _plain(at, length, grown, line.meter)
    rest = slice(1, None) if whole else chain[1:]
    line.classes[rest] = np.where(length <= _longest(line.meter), Quality.OK.code, Quality.GAP.code)
    line.begun[rest] = at[:-1]
    line.increments[rest] = grown
    line.billed[rest] = True
    line.known[rest] = ~_wraps_unseen(length, line.meter)
    _judge_the_rest(line, chain, totals, np.flatnonzero(~plain) + 1)


def _plain(at: Ints, length: Ints, grown: Numbers, meter: Meter) -> Bools:
    plain: Bools = (length > 0) & (grown >= 0)
    if meter.port_speed is not None:
        bytes_per_us = 21 * meter.port_speed / (160 * 10**6) * _SURELY
        plain &= grown <= np.maximum(length, _us(meter.rhythm)) * bytes_per_us
    if meter.kind is Kind.RUNNING_TOTAL and len(at):
        turns = np.searchsorted(at, _months(int(at[0]), int(at[-1]), meter.zone))
        plain[turns[(turns > 0) & (turns < len(at))] - 1] = False
    return plain


def _months(first: int, last: int, zone: tzinfo) -> Ints:
    """Where the calendar months begin that have a moment from `first` to `last`."""
    months = buckets(from_us(first), from_us(last + 1), Grain.MONTH, zone, clipped=False)
    return np.array([to_us(month.since) for month in months], dtype=np.int64)


def _wraps_unseen(length: Ints, meter: Meter) -> Bools:
    """See `Meter.wraps_unseen`: from which time on the port could carry half of the range, to the microsecond."""
    modulus = meter.kind.modulus
    if modulus is None or meter.port_speed == 0:
        return np.zeros(len(length), bool)
    if meter.port_speed is None:
        return np.ones(len(length), bool)
    enough = -(-(modulus // 2) * 160 * 10**6 // (21 * meter.port_speed))
    return np.maximum(length, _us(meter.rhythm)) >= min(enough, _HIGHEST)


def _judge_the_rest(line: Line, chain: Ints, totals: Numbers, special: Order) -> None:
    """`special` are the places in the chain that aren't plain after the one before them."""
    place, standing = 0, None
    while place < len(chain):
        if standing is not None and not standing.open:
            nearest = np.searchsorted(special, place)
            end = int(special[nearest]) if nearest < len(special) else len(chain)
            if end > place:
                standing = _after(standing, line, chain[place:end], totals[place:end])
                place = end
                continue
        judged = classify(standing, _reading(line, chain[place]), line.meter)
        line.put(int(chain[place]), judged)
        standing = judged.standing
        place += 1
    line.standing = standing


def _after(before: Standing, line: Line, run: Ints, totals: Numbers) -> Standing:
    """What is known after a plain run: billed to the first reading that was as high as the last one."""
    last, height = _reading(line, run[-1]), before.billed_to
    if height.total < last.total:
        height = _reading(line, run[int(np.searchsorted(totals, last.total))])
    return Standing(last, last, height)


def _carry_corrections(line: Line, chain: Ints) -> None:
    """Samples that say nothing leave the standing as it is."""
    if len(chain) == len(line.at) or not line.corrected.any():
        return
    newest = np.full(len(line.at), -1, dtype=np.int64)
    newest[chain] = chain
    newest = np.maximum.accumulate(newest)
    line.corrected = np.where(newest >= 0, line.corrected[newest], 0)


def _reading(line: Line, place: np.int64) -> Reading:
    return Reading(from_us(int(line.at[place])), int(line.totals[place]))


def _longest(meter: Meter) -> int:
    """The longest time in which no round was missed."""
    return 3 * _us(meter.rhythm) // 2


def _us(time: timedelta) -> int:
    return time // MICROSECOND


# Rates.


@dataclass
class Rates:
    """`bits` per second on average from `begun` to `ended`, in order of time."""

    begun: Ints
    ended: Ints
    bits: Numbers

    def within(self, since: int, until: int) -> Rates:
        """Those that ended after `since`, up to and with `until`."""
        first, last = np.searchsorted(self.ended, (since, until), side="right")
        return Rates(self.begun[first:last], self.ended[first:last], self.bits[first:last])


def rates(line: Line) -> Rates:
    """The rate of every interval that has one; intervals of less than half a rhythm are joined with the next."""
    if not line.meter.kind.counts_up:
        none = np.empty(0, dtype=np.int64)
        return Rates(none, none, none)
    counted = run(line.counted)
    begun, ended, rated = line.begun[counted], line.at[counted], line.rated[counted]
    volumes = line.increments[counted]
    half = -(-_us(line.meter.rhythm) // 2)
    short = rated & (ended - begun < half)
    if not short.any():
        own = run(rated)
        return Rates(begun[own], ended[own], bits_per_second(volumes[own], ended[own] - begun[own]))
    joined: Numbers = volumes if exact_sum(volumes) <= _HIGHEST else volumes.astype(object)
    begun, joined = begun.copy(), joined.copy()
    for first, last, whole in _groups(begun, ended, rated, np.flatnonzero(short), half):
        rated[first : last + 1] = False
        rated[last] = whole
        begun[last] = begun[first]
        joined[last] = joined[first : last + 1].sum()
    return Rates(begun[rated], ended[rated], bits_per_second(joined[rated], (ended - begun)[rated]))


def run(chosen: Bools) -> Bools | slice:
    """The same choice as a slice, where it has no holes: nothing has to be copied then."""
    count, first = int(np.count_nonzero(chosen)), int(chosen.argmax()) if len(chosen) else 0
    return slice(first, first + count) if chosen[first : first + count].all() else chosen


def _groups(
    begun: Ints, ended: Ints, rated: Bools, short: npt.NDArray[np.intp], half: int
) -> Iterator[tuple[int, int, bool]]:
    """(first, last, long enough) of the intervals that are joined, each beginning with a short one."""
    done = -1
    for first in short.tolist():
        if first <= done:
            continue
        last = first
        while ended[last] - begun[first] < half and last + 1 < len(ended) and rated[last + 1]:
            last += 1
        done = last
        yield first, last, bool(ended[last] - begun[first] >= half)


def bits_per_second(volumes: Numbers, lengths: Ints) -> Numbers:
    """Of bytes in microseconds."""
    if not len(volumes):
        return np.empty(0, dtype=np.int64)
    highest, shortest, longest = int(volumes.max()), int(lengths.min()), int(lengths.max())
    if volumes.dtype != object and highest * 16 * 10**6 + longest <= _HIGHEST:
        # One length for all is one divisor, which costs a tenth.
        equal: Ints | int = longest if shortest == longest else lengths
        found: Numbers = (volumes * (16 * 10**6) + equal) // (2 * equal)
        return found
    numbers: Numbers = volumes
    # The highest number in between is 8 000 000 times the volume of one microsecond, or 16 000 000 times the length.
    if highest // shortest >= _HIGHEST // 2**24 or longest >= _HIGHEST // 2**25:
        numbers, lengths = volumes.astype(object), lengths.astype(object)
    whole, part = numbers // lengths, numbers % lengths
    bits: Numbers = whole * (8 * 10**6) + (part * (16 * 10**6) + lengths) // (2 * lengths)
    return bits


# Levels and the time they held.


@dataclass
class Levels:
    """`level` from `begun` to `ended`; of a reading that held for an unknown time they are the same."""

    begun: Ints
    ended: Ints
    level: Ints


def levels(line: Line, until: int | None = None) -> Levels:
    """How long each reading held: until the next one, or for one rhythm where rounds were missed.

    `until`: there are no gaps, whatever the times of the readings are, and the last one holds until then (a stock).
    """
    counted = line.counted
    at = line.at[counted]
    ended = at.copy()
    ended[:-1] = at[1:]
    if until is not None:
        ended[-1:] = np.maximum(at[-1:], until)
    elif len(at):
        gaps = np.diff(at) > _longest(line.meter)
        ended[:-1][gaps] = at[:-1][gaps] + _us(line.meter.rhythm)
    return Levels(at, ended, line.totals[counted].astype(np.int64, copy=False))


# Sums.


def exact_sum(numbers: Numbers) -> int:
    """Whatever the size: an int64 is summed up in two halves, neither of which runs over."""
    if numbers.dtype == object:
        return sum(numbers.tolist())
    return (int((numbers >> 32).sum()) << 32) + int((numbers & 0xFFFFFFFF).sum())


def before_edges(edges: Ints, begun: Ints, ended: Ints, weights: Ints | None = None) -> list[int]:
    """The sum of weight x time of all that lies before each edge, of spans in order of time that do not overlap."""
    length = ended - begun
    total = exact_sum(length)
    highest = max(int(weights.max()), -int(weights.min())) if weights is not None and len(weights) else 1
    wide: Numbers = length if highest * total < _HIGHEST else length.astype(object)
    weighted: Numbers = wide if weights is None else wide * weights
    whole = np.concatenate((np.zeros(1, dtype=weighted.dtype), np.cumsum(weighted)))
    place = np.searchsorted(ended, edges, side="right")
    inside = np.append(begun, _HIGHEST)[place]
    part: Numbers = np.maximum(edges, inside) - inside
    if weights is not None:
        part = part.astype(wide.dtype) * np.append(weights, 0)[place]
    found: list[int] = (whole[place] + part).tolist()
    return found


def per_step(edges: list[int]) -> list[int]:
    """What lies between each two edges."""
    return [after - before for before, after in pairwise(edges)]
