"""The quality of each reading, and what of it is billed.

Platforms report traffic as a running total of their calendar month (`docs/reference/contracts.md#statistics`): it begins anew with each
month, restarts, is corrected late, and is now and then yesterday's. From one reading to the next the difference is billed, once, and
only where no other explanation would make it less: the sum of what is billed never exceeds what was really used, and what can't be
known is not billed but lowers the coverage.

A fall of the total has two explanations, and the nearer one counts:
* at least half of it is left, or what is left could not have flowed since the last reading: it was corrected (or an old report came
  again). Nothing is billed until the total has passed the height up to which it was billed already.
* less than half is left: it began anew, or an old report came again. It is believed when a following reading has grown on it; then all
  of it is billed. The same total again proves nothing; a return to the old height shows that it was an old report.

Old reports can grow as well: a panel's copy that lags behind goes on counting. So the height from which a total fell is remembered for
the rest of the panel's month. When a later total comes back to it, what was billed since the fall is taken for a part of what was billed
already, and nothing is billed until the total has made up for it. Until then it is shown as `corrected`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from daemon.domain.periods import Grain, bucket
from daemon.domain.resources import Kind

FORMULA = 1
"""Version of the rules in this file and in `metering`; a usage record names the one that made it. A changed result is a new version."""

_INSTANT = timedelta(microseconds=1)
_STUCK = timedelta(days=1)
"""How long a total that stands still may have been an old report, and its volume still flow; older, it was an idle server. So long before
and after the start of a month a total may begin anew by a wrong clock, and so long a plain counter may come back to where it fell from."""


@dataclass(frozen=True, slots=True)
class Reading:
    """`total`: what the meter showed, in base units."""

    at: datetime
    total: int


@dataclass(frozen=True, slots=True)
class Fall:
    """The total was `total` at `at`, and began anew after it.

    `turn`: so near to the start of a month that it may be just that, by a clock that is wrong.
    """

    at: datetime
    total: int
    turn: bool


class Quality(StrEnum):
    """The class of one reading; `RULES` says what becomes of it in a bill."""

    OK = "ok"
    FIRST = "first"
    GAP = "gap"
    RESET = "reset"
    WRAP32 = "wrap32"
    WRAP64 = "wrap64"
    IMPOSSIBLE = "impossible"
    DUPLICATE = "duplicate"
    LATE = "late"
    FOREIGN = "foreign"

    @property
    def rule(self) -> str:
        """The billing rule, for people."""
        return RULES[self]

    @property
    def code(self) -> int:
        """The number that stands for the class in packed samples; never given to another class."""
        return _CODES[self]

    @classmethod
    def of_code(cls, code: int) -> Quality:
        return tuple(cls)[code]


_CODES = {quality: code for code, quality in enumerate(Quality)}

RULES: dict[Quality, str] = {
    Quality.OK: "What the total grew by is billed; its rate counts.",
    Quality.FIRST: "The base for what follows; nothing is billed for the time before it.",
    Quality.GAP: (
        "Rounds were missed, old reports came, the month began between two readings, or the total was corrected: what the total grew by is billed in full "
        "on the later reading, a new month from zero; there is no rate, and the rest of an old month that no reading saw is not billed. Where "
        "a total comes back to where it fell from, what was billed since the fall is not billed twice."
    ),
    Quality.RESET: (
        "The total fell to less than half: nothing is billed until a following reading has grown on it, then all of it from zero; what was "
        "used between the last reading and the fall is not billed."
    ),
    Quality.WRAP32: "The counter of 32 bits went over its top once: what it moved on by is billed; its rate counts.",
    Quality.WRAP64: "The counter of 64 bits went over its top once: what it moved on by is billed; its rate counts.",
    Quality.IMPOSSIBLE: (
        "More than the port could carry since the total last moved (at most a day) and 5 % on top, or less than nothing: billed as zero; the volume is kept aside until a "
        "person decides."
    ),
    Quality.DUPLICATE: "A second reading of the same moment: not counted; the first one stays.",
    Quality.LATE: "Older than a reading that was counted already, which carries its volume: not counted.",
    Quality.FOREIGN: "The server did not belong to the service at that moment: not counted.",
}
NOT_COUNTED = frozenset({Quality.DUPLICATE, Quality.LATE, Quality.FOREIGN})


@dataclass(frozen=True)
class Meter:
    """What is read, how often, and within which bounds.

    `port_speed` in bit/s holds for resources counted in bytes; None: no bound. `zone` is where the platform's calendar months begin.
    The service owned the server from `owned_from` to `owned_until`, both included: they are the moments of its baseline and of its
    last reading.
    """

    kind: Kind
    rhythm: timedelta
    port_speed: int | None = 10_000_000_000
    zone: tzinfo = UTC
    owned_from: datetime | None = None
    owned_until: datetime | None = None

    def owns(self, moment: datetime) -> bool:
        return not (
            (self.owned_from is not None and moment < self.owned_from)
            or (self.owned_until is not None and moment > self.owned_until)
        )

    def in_time(self, since: datetime, until: datetime) -> bool:
        """No round was missed: at most one rhythm and a half."""
        return 2 * (until - since) <= 3 * self.rhythm

    def possible(self, volume: int, since: datetime, until: datetime) -> bool:
        """At most port speed x time x 1.05. Less than one rhythm counts as one: platforms refresh their totals no more often."""
        if self.port_speed is None:
            return True
        return volume * 160 * 10**6 <= 21 * self.port_speed * (max(until - since, self.rhythm) // _INSTANT)

    def wraps_unseen(self, since: datetime, until: datetime) -> bool:
        """The port could carry half of the counter's range in that time: how often it wrapped can't be known."""
        modulus = self.kind.modulus
        return modulus is not None and self.possible(modulus // 2, since, until)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a meter before its next reading.

    `newest` was read last, `believed` last of those that were believed; `billed_to` is the first reading at the height up to which is
    billed: after a correction it lies above the believed one. `doubted` is a reading that fell or jumped and waits for the next
    one; `aside` is the volume of its jump.

    `fell_from`: the totals from which it fell to where it began anew, the first fall first. Heights count from the last of these falls; that
    of the counting before it is so much higher.
    """

    newest: Reading
    believed: Reading
    billed_to: Reading
    doubted: Reading | None = None
    aside: int = 0
    fell_from: tuple[Fall, ...] = ()

    @classmethod
    def of(cls, reading: Reading) -> Standing:
        return cls(reading, reading, reading)

    @property
    def owed(self) -> int:
        """By how much the believed total lies below what was billed in its own counting."""
        return max(0, self.billed_to.total - self.believed.total)

    @property
    def corrected(self) -> int:
        """What was billed beyond that which is certain: corrected and not made up for yet, or after a fall that may be an old report."""
        doubtful = next((place for place, fall in enumerate(self.fell_from, 1) if not fall.turn), None)
        if doubtful is None:
            return self.owed
        return sum(fall.total for fall in self.fell_from[doubtful:]) + self.billed_to.total

    @property
    def open(self) -> bool:
        """What comes next isn't judged by the newest reading alone."""
        return bool(
            self.doubted is not None
            or self.aside
            or self.fell_from
            or self.newest != self.believed
            or self.billed_to.total != self.believed.total
        )


@dataclass(frozen=True)
class Judged:
    """`increment` is billed on this reading, in base units; None where it has none (first, not counted, gauges).

    `known`: all that was used from `since` to the reading is in the increments (a gauge: the level was watched). `aside` was added to
    what a person has to decide, and is negative where a later reading shows that it never was. `standing` is for the next reading.
    `lapsed` was `corrected` before, and nothing can make up for it any more: its month is over.
    """

    reading: Reading
    quality: Quality
    increment: int | None
    known: bool
    since: datetime | None
    standing: Standing | None
    aside: int = 0
    lapsed: int = 0

    @property
    def rated(self) -> bool:
        """The increment over its time is a rate: nothing was missed, corrected or guessed."""
        return self.known and self.quality in (Quality.OK, Quality.WRAP32, Quality.WRAP64)


def classify(previous: Standing | Reading | None, current: Reading, meter: Meter) -> Judged:
    """The class of `current`, what it bills, and the standing to judge the next reading by."""
    standing = Standing.of(previous) if isinstance(previous, Reading) else previous
    if not meter.owns(current.at):
        return _uncounted(current, Quality.FOREIGN, standing)
    if current.total < 0 and meter.kind.counts_up:
        return _uncounted(current, Quality.IMPOSSIBLE, standing)
    if standing is None:
        return Judged(current, Quality.FIRST, None, False, None, Standing.of(current))
    if current.at <= standing.newest.at:
        return _uncounted(current, Quality.DUPLICATE if current.at == standing.newest.at else Quality.LATE, standing)
    if not meter.kind.counts_up:
        in_time = meter.in_time(standing.newest.at, current.at)
        quality = Quality.OK if in_time else Quality.GAP
        return Judged(current, quality, None, in_time, standing.newest.at, Standing.of(current))
    standing = _forgotten(standing, current, meter)
    began = month_began(standing.believed.at, current.at, meter)
    if began is not None:
        return _new_month(standing, current, meter, began)
    return _doubt_settled(standing, current, meter) or _compared(standing, current, meter)


def _uncounted(current: Reading, quality: Quality, standing: Standing | None) -> Judged:
    return Judged(current, quality, None, False, None, standing)


def month_began(before: datetime, after: datetime, meter: Meter) -> datetime | None:
    """The start of the platform's month that `after` is in, when it lies between the two."""
    if meter.kind is not Kind.RUNNING_TOTAL:
        return None
    if before.month == after.month and before.day > 2 and after.day < 27 and after - before < timedelta(days=27):
        return None  # too far from any zone's turn of the month to ask the calendar
    began = bucket(after, Grain.MONTH, meter.zone).since
    return began if before < began else None


def _forgotten(standing: Standing, current: Reading, meter: Meter) -> Standing:
    """A plain counter, and a total at the turn of a month, have begun anew for good a day after they fell."""
    falls = standing.fell_from
    if not falls or (meter.kind is Kind.RUNNING_TOTAL and not all(fall.turn for fall in falls)):
        return standing
    return replace(standing, fell_from=()) if current.at - falls[-1].at > _STUCK else standing


def _new_month(standing: Standing, current: Reading, meter: Meter, began: datetime) -> Judged:
    """The month began after the reading that was believed last: the total counts from zero, unless it still is the old month's.

    A total that did not fall may be the old month's (a platform whose month turns late) or have outgrown it: the difference is billed,
    the lesser of the two, and nothing is covered. Anything in between half and all of the old total waits for the next reading.
    """
    before, lapsed = standing.believed, standing.corrected
    anew = before.total == 0 or 2 * current.total < before.total or _surely_anew(standing, current, began)
    if anew and meter.possible(current.total, before.at, current.at):
        return Judged(current, Quality.GAP, current.total, True, began, Standing.of(current), 0, lapsed)
    if anew:
        return Judged(current, Quality.IMPOSSIBLE, 0, False, before.at, Standing.of(current), current.total, lapsed)
    if current.total < before.total:
        return Judged(current, Quality.GAP, 0, False, before.at, replace(standing, newest=current))
    found = _grown(standing, current, meter, Quality.GAP, known=False)
    if found.standing is None or not found.standing.fell_from or found.quality is Quality.IMPOSSIBLE:
        return found
    # It grew on from where it began anew in the old month, whose height it can't come back to.
    after = replace(found.standing, fell_from=())
    return replace(found, standing=after, lapsed=found.standing.corrected - after.corrected)


def _surely_anew(standing: Standing, current: Reading, began: datetime) -> bool:
    """The total fell after the month began and has grown since, and the old month's reports no longer come: it is the new month's."""
    fallen = standing.newest
    fell = began <= fallen.at and fallen.total < standing.believed.total
    return fell and current.total > fallen.total and current.at - began >= _STUCK


def _doubt_settled(standing: Standing, current: Reading, meter: Meter) -> Judged | None:
    """What the reading says about a doubted one: the same again, grown on it and so believed, or nothing (None)."""
    before, doubted = standing.believed, standing.doubted
    if doubted is None:
        return None
    fell = doubted.total < before.total
    if current.total == doubted.total:
        quality = Quality.RESET if fell else Quality.IMPOSSIBLE
        return Judged(current, quality, 0, False, before.at, replace(standing, newest=current))
    if fell and doubted.total < current.total < before.total and meter.possible(current.total, before.at, current.at):
        return _begun_anew(standing, doubted, current, meter)
    grown = current.total - doubted.total
    if not fell and grown > 0 and meter.possible(grown, doubted.at, current.at):
        quality = Quality.OK if meter.in_time(doubted.at, current.at) else Quality.GAP
        left = tuple(fall for fall in standing.fell_from if fall.total > current.total)
        return Judged(current, quality, grown, True, doubted.at, Standing(current, current, current, fell_from=left))
    return None


def _begun_anew(standing: Standing, doubted: Reading, current: Reading, meter: Meter) -> Judged:
    """All of the total is billed, but for what was billed too much before; and the height from which it fell is remembered."""
    owed, before = standing.owed, standing.believed
    fall = Fall(before.at, before.total, _near_a_turn(doubted.at, meter))
    height = current if current.total >= owed else Reading(current.at, owed)
    after = Standing(current, current, height, fell_from=(*standing.fell_from, fall))
    return Judged(current, Quality.RESET, max(0, current.total - owed), True, doubted.at, after)


def _near_a_turn(moment: datetime, meter: Meter) -> bool:
    month = bucket(moment, Grain.MONTH, meter.zone)
    near = moment - month.since < _STUCK or month.until - moment < _STUCK
    return near and meter.kind is Kind.RUNNING_TOTAL


def _returned(standing: Standing, current: Reading) -> tuple[Standing, int]:
    """Back at a height from which it fell: what was billed since is a part of what was billed up to there, or all of it is new.

    The lesser is billed. Old reports come back by a leap: they were behind by more than half of the height. Where the total grew
    past it bit by bit, it may as well have begun anew; the difference is what a person has to decide.
    """
    leapt, aside = current.total - standing.believed.total, 0
    falls, height = list(standing.fell_from), standing.billed_to
    while falls and current.total >= falls[-1].total:
        fall = falls.pop()
        height = Reading(fall.at, fall.total + height.total)
        aside += fall.total if 2 * leapt < fall.total else 0
    return replace(standing, billed_to=height, fell_from=tuple(falls)), aside


def _compared(standing: Standing, current: Reading, meter: Meter) -> Judged:
    """The reading against the one that was believed last, within one month."""
    before = standing.believed
    if current.total < before.total:
        return _wrapped(standing, current, meter) or _fallen(standing, current, meter)
    fell_before = standing.doubted is not None and standing.doubted.total < before.total
    back = bool(standing.fell_from) and current.total >= standing.fell_from[-1].total
    known = not fell_before and not back and not meter.wraps_unseen(before.at, current.at)
    settled = standing.billed_to.total == before.total and not fell_before and not back
    plain = meter.in_time(before.at, current.at) and settled
    return _grown(standing, current, meter, Quality.OK if plain else Quality.GAP, known=known)


def _grown(standing: Standing, current: Reading, meter: Meter, quality: Quality, *, known: bool) -> Judged:
    """A total that did not fall: what lies above the height that is billed already, unless the port could not carry it.

    The port had time since the total last moved: where old totals came again for hours, the volume of those hours comes at once. It is
    billed, and has no rate.
    """
    before, (back, contested) = standing.believed, _returned(standing, current)
    height = back.billed_to
    volume = current.total - height.total
    if not meter.possible(volume, max(height.at, before.at - _STUCK), current.at):
        after = replace(standing, newest=current, doubted=current, aside=volume)
        return Judged(current, Quality.IMPOSSIBLE, 0, False, before.at, after, volume - standing.aside)
    if not meter.possible(volume, before.at, current.at):
        quality = Quality.GAP
    after = Standing(current, current, current if volume > 0 else height, fell_from=back.fell_from)
    return Judged(current, quality, max(0, volume), known, before.at, after, contested - standing.aside)


def _wrapped(standing: Standing, current: Reading, meter: Meter) -> Judged | None:
    """Over the top: when the way over it is at most half of the range, and the port could carry it."""
    modulus, before = meter.kind.modulus, standing.believed
    if modulus is None:
        return None
    volume = current.total + modulus - before.total
    if 2 * volume > modulus or not meter.possible(volume, before.at, current.at):
        return None
    known = not meter.wraps_unseen(before.at, current.at)
    quality = Quality.WRAP32 if meter.kind is Kind.COUNTER32 else Quality.WRAP64
    if known and not meter.in_time(before.at, current.at):
        quality = Quality.GAP
    increment = max(0, volume - standing.owed)
    return Judged(current, quality, increment, known, before.at, Standing.of(current), -standing.aside)


def _fallen(standing: Standing, current: Reading, meter: Meter) -> Judged:
    before = standing.believed
    if 2 * current.total >= before.total or not meter.possible(current.total, before.at, current.at):
        after = Standing(current, current, standing.billed_to, fell_from=standing.fell_from)
        return Judged(current, Quality.GAP, 0, False, before.at, after, -standing.aside)
    after = replace(standing, newest=current, doubted=current, aside=0)
    return Judged(current, Quality.RESET, 0, False, before.at, after, -standing.aside)
