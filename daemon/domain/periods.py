"""Periods in a billing zone: hours, days, weeks, months, quarters, half years and years (`docs/adr/0011-periods.md`).

A period includes its start and excludes its end; both are aware UTC. A local day begins at the first moment at which the zone's clocks
show that date or a later one, so that days follow each other without gap or overlap whatever the clocks do: a day of 23 or 25 hours,
one that begins at 01:00 because midnight was skipped, one whose midnight came twice (it begins at the first), a date that a zone left
out altogether (it has no period). Longer periods begin with their first day. An hour is a local clock hour, and a change of the clocks
begins a new one: where clocks go back by an hour, the hour that comes twice is two hours; where they move by half an hour, there are
hours of thirty minutes. Periods counted from a customer's own start date are not here; they belong to billing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache

from daemon.domain.errors import Refused

_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
_INSTANT = timedelta(microseconds=1)
_YEARS = range(1971, 2200)


class Grain(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    """Monday to Sunday, numbered as in ISO 8601."""
    MONTH = "month"
    QUARTER = "quarter"
    HALF_YEAR = "half_year"
    YEAR = "year"


_MONTHS = {Grain.MONTH: 1, Grain.QUARTER: 3, Grain.HALF_YEAR: 6, Grain.YEAR: 12}


@dataclass(frozen=True, order=True)
class Period:
    """Start inclusive, end exclusive, aware UTC."""

    since: datetime
    until: datetime
    grain: Grain

    def __contains__(self, moment: datetime) -> bool:
        return self.since <= moment < self.until

    @property
    def length(self) -> timedelta:
        return self.until - self.since


def bucket(moment: datetime, grain: Grain, zone: tzinfo) -> Period:
    """The one period of this grain that `moment` is in. Raises ValueError for a moment without a zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a zone")
    moment = moment.astimezone(UTC)
    if grain is Grain.HOUR:
        return _hour(moment, zone)
    first = _first_day(moment.astimezone(zone).date(), grain)
    following = _following(first, grain)
    # Where midnight comes twice, the clocks show yesterday again after today began.
    while _start(following, zone) <= moment:
        first, following = following, _following(following, grain)
    return Period(_start(first, zone), _start(following, zone), grain)


def next_bucket(period: Period, zone: tzinfo) -> Period:
    """The period of the same grain that begins where `period` ends."""
    return bucket(period.until, period.grain, zone)


def buckets(since: datetime, until: datetime, grain: Grain, zone: tzinfo, *, clipped: bool = True) -> Iterator[Period]:
    """The periods that share a moment with [since, until), in order; `clipped`: the first and the last cut to that span."""
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if since >= until:
        return
    period = bucket(since, grain, zone)
    while period.since < until:
        yield Period(max(period.since, since), min(period.until, until), grain) if clipped else period
        period = next_bucket(period, zone)


def name_of(period: Period, zone: tzinfo) -> str:
    """The name of a whole period: 2026-11-22T13:00+01:00, 2026-11-22, 2026-W47, 2026-11, 2026-Q4, 2026-H2, 2026."""
    local = period.since.astimezone(zone)
    match period.grain:
        case Grain.HOUR:
            return local.isoformat(timespec="minutes")
        case Grain.DAY:
            return f"{local.date()}"
        case Grain.WEEK:
            year, week, _ = local.isocalendar()
            return f"{year:04}-W{week:02}"
        case Grain.MONTH:
            return f"{local:%Y-%m}"
        case Grain.QUARTER:
            return f"{local.year:04}-Q{(local.month + 2) // 3}"
        case Grain.HALF_YEAR:
            return f"{local.year:04}-H{(local.month + 5) // 6}"
        case Grain.YEAR:
            return f"{local.year:04}"


# Names.

_FORMS = {
    Grain.DAY: re.compile(r"(\d{4})-(\d{2})-(\d{2})"),
    Grain.WEEK: re.compile(r"(\d{4})-W(\d{2})"),
    Grain.MONTH: re.compile(r"(\d{4})-(\d{2})"),
    Grain.QUARTER: re.compile(r"(\d{4})-Q([1-4])"),
    Grain.HALF_YEAR: re.compile(r"(\d{4})-H([12])"),
    Grain.YEAR: re.compile(r"(\d{4})"),
}
_SPOKEN = {"today": "this day", "yesterday": "last day"}
_WORDS = {grain.value.replace("_", " "): grain for grain in Grain if grain is not Grain.HOUR}
_EXPECTED = "expected a period such as 2026-11, 2026-11-22, 2026-W47, 2026-Q4, 2026-H2, 2026, today, yesterday, this month or last month"


def period_named(name: str, zone: tzinfo, now: datetime | None = None) -> Period:
    """The period of that name in `zone`; words such as "last month" count from `now`.

    Raises Refused for a name of no known form, a date that does not exist, a day that the zone left out, or a word without `now`.
    """
    words = " ".join(name.lower().split())
    words = _SPOKEN.get(words, words)
    which, _, noun = words.partition(" ")
    if which in ("this", "last") and noun in _WORDS:
        return _spoken(which, _WORDS[noun], zone, now)
    for grain, form in _FORMS.items():
        found = form.fullmatch(name.strip().upper())
        if found:
            return _dated(name.strip(), grain, [int(part) for part in found.groups()], zone)
    raise Refused("period", f"{_EXPECTED}; got {name!r}", status=400)


def _spoken(which: str, grain: Grain, zone: tzinfo, now: datetime | None) -> Period:
    if now is None:
        raise Refused(
            "period", f"'{which} {grain.value}' needs to know what time it is; name the period by its date", status=400
        )
    current = bucket(now, grain, zone)
    return current if which == "this" else bucket(current.since - _INSTANT, grain, zone)


def _dated(name: str, grain: Grain, parts: list[int], zone: tzinfo) -> Period:
    if parts[0] not in _YEARS:
        raise Refused("period", f"expected a year from {_YEARS[0]} to {_YEARS[-1]}; got {name!r}", status=400)
    try:
        first = _named_day(grain, parts)
    except ValueError:
        raise Refused("period", f"{name!r} is not in the calendar", status=400) from None
    since, until = _start(first, zone), _start(_following(first, grain), zone)
    if since == until:
        raise Refused("period", f"there was no {name} in {zone}: its clocks skipped that day", status=400)
    return Period(since, until, grain)


def _named_day(grain: Grain, parts: list[int]) -> date:
    match grain:
        case Grain.DAY:
            return date(*parts)
        case Grain.WEEK:
            return date.fromisocalendar(parts[0], parts[1], 1)
        case Grain.YEAR:
            return date(parts[0], 1, 1)
        case _:
            return date(parts[0], 1 + (parts[1] - 1) * _MONTHS[grain], 1)


# Local days and hours.


def _first_day(day: date, grain: Grain) -> date:
    if grain is Grain.DAY:
        return day
    if grain is Grain.WEEK:
        return day - timedelta(days=day.weekday())
    return date(day.year, day.month - (day.month - 1) % _MONTHS[grain], 1)


def _following(first: date, grain: Grain) -> date:
    if grain in (Grain.DAY, Grain.WEEK):
        return first + timedelta(days=1 if grain is Grain.DAY else 7)
    month = first.month - 1 + _MONTHS[grain]
    return date(first.year + month // 12, month % 12 + 1, 1)


@lru_cache(maxsize=8192)
def _start(day: date, zone: tzinfo) -> datetime:
    """The first moment at which the clocks of `zone` show `day` or a later date."""
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - what the clocks show
    moment = midnight.replace(tzinfo=zone).astimezone(UTC)
    skipped = _clocks(moment, zone) - midnight
    if not skipped:
        return moment
    # Midnight was skipped: the day begins when the clocks were put forward.
    return _turn(moment - skipped, moment, lambda at: _clocks(at, zone) >= midnight)


def _hour(moment: datetime, zone: tzinfo) -> Period:
    local = moment.astimezone(zone)
    offset = local.utcoffset()
    whole = moment.replace(microsecond=0)
    since = whole - timedelta(minutes=local.minute, seconds=local.second)
    until = since + _HOUR
    if since.astimezone(zone).utcoffset() != offset:
        since = _turn(since, whole, lambda at: at.astimezone(zone).utcoffset() == offset)
    if (until - _INSTANT).astimezone(zone).utcoffset() != offset:
        until = _turn(whole, until, lambda at: at.astimezone(zone).utcoffset() != offset)
    return Period(since, until, Grain.HOUR)


def _clocks(moment: datetime, zone: tzinfo) -> datetime:
    """What the clocks of `zone` show, without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _turn(before: datetime, after: datetime, turned: Callable[[datetime], bool]) -> datetime:
    """The first whole second at which `turned` holds; it does not at `before`, it does at `after`."""
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        before, after = (before, middle) if turned(middle) else (middle, after)
    return after
