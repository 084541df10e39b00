"""Periods in every zone: no gap, no overlap, whatever the clocks do."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.errors import Refused
from daemon.domain.periods import Grain, Period, bucket, buckets, name_of, next_bucket, period_named

FROM, TO = datetime(2000, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


Change = tuple[datetime, timedelta | None, timedelta | None]


def transitions(zone: ZoneInfo) -> tuple[Change, ...]:
    """(moment, offset before, offset after): each change of the clocks. Clocks are looked at each five days."""
    found = []
    at, offset = FROM, FROM.astimezone(zone).utcoffset()
    while at < TO:
        later = at + 5 * DAY
        after = later.astimezone(zone).utcoffset()
        if after != offset:
            low, high = at, later
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // timedelta(seconds=2) * timedelta(seconds=1)
                low, high = (middle, high) if middle.astimezone(zone).utcoffset() == offset else (low, middle)
            found.append((high, offset, after))
        at, offset = later, after
    return tuple(found)


@cache
def zones() -> list[tuple[ZoneInfo, tuple[Change, ...]]]:
    """One zone of each set of equal rules from 2000 to 2037, with its transitions."""
    by_rules: dict[tuple, tuple[ZoneInfo, tuple[Change, ...]]] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        changes = transitions(zone)
        by_rules.setdefault((FROM.astimezone(zone).utcoffset(), changes), (zone, changes))
    return list(by_rules.values())


@cache
def changes() -> list[tuple[ZoneInfo, datetime]]:
    """Every different change of the clocks: what happens around one hangs on its moment and its two offsets alone."""
    different: dict[Change, ZoneInfo] = {}
    for zone, found in zones():
        for change in found:
            different.setdefault(change, zone)
    return [(zone, change[0]) for change, zone in different.items()]


def assert_unbroken(periods: list[Period], since: datetime, until: datetime) -> None:
    assert periods[0].since == since
    assert periods[-1].until == until
    assert all(period.since < period.until for period in periods)
    assert all(before.until == after.since for before, after in pairwise(periods))


def test_the_tz_database_is_there_and_its_changes_were_found() -> None:
    assert len(zones()) > 150
    assert len(changes()) > 2000
    around = {zone.key for zone, _ in changes()}
    assert len(around) > 100


def test_days_and_hours_around_every_change_of_every_zone_have_no_gap_and_no_overlap() -> None:
    for zone, at in changes():
        days = list(buckets(at - DAY, at + DAY, Grain.DAY, zone, clipped=False))
        assert_unbroken(days, days[0].since, days[-1].until)
        names = [name_of(day, zone) for day in days]
        assert sorted(set(names)) == names
        near = list(buckets(at - 2 * HOUR, at + 2 * HOUR, Grain.HOUR, zone, clipped=False))
        assert_unbroken(near, near[0].since, near[-1].until)
        assert near[0].since <= at - 2 * HOUR
        assert near[-1].until >= at + 2 * HOUR
        assert all(hour.length <= HOUR for hour in near)
        assert at in {hour.since for hour in near}
        for period in (*days, *near):
            assert bucket(period.since, period.grain, zone) == period
            assert bucket(period.until - INSTANT, period.grain, zone) == period
            assert bucket(period.until, period.grain, zone).since == period.until


def test_every_day_around_every_change_holds_what_the_clocks_show() -> None:
    """The oracle walks the clocks: a moment belongs to the latest date that they have shown so far."""
    step = timedelta(minutes=30)
    for zone, at in changes():
        shown = (at - 50 * HOUR).astimezone(zone).date()
        moments = sorted([at - INSTANT, at, at + INSTANT, *(at + n * step for n in range(-100, 53))])
        starts, names = [], []
        for day in buckets(moments[0], moments[-1] + INSTANT, Grain.DAY, zone):
            starts.append(day.since)
            names.append(day.since.astimezone(zone).date())
        for moment in moments:
            shown = max(shown, moment.astimezone(zone).date())
            assert names[bisect_right(starts, moment) - 1] == shown, (zone, moment)


def test_months_of_every_zone_from_2000_to_2037_cover_all_time_once() -> None:
    for zone, _ in zones():
        months = list(buckets(FROM + DAY, TO - DAY, Grain.MONTH, zone, clipped=False))
        assert_unbroken(months, months[0].since, months[-1].until)
        assert len(months) == 38 * 12
        assert len({name_of(month, zone) for month in months[::30]}) == 16


@pytest.mark.parametrize("grain", list(Grain))
def test_sums_over_periods_equal_the_total(grain) -> None:
    random = Random(grain.value)
    for zone, found in zones()[:: 12 if grain is Grain.HOUR else 4]:
        middle = found[len(found) // 2][0] if found else datetime(2026, 3, 29, tzinfo=UTC)
        since, until = middle - 3 * DAY, middle + 5 * DAY
        moments = [since + random.randrange(8 * 86400) * timedelta(seconds=1) for _ in range(40)] + [middle]
        periods = list(buckets(since, until, grain, zone))
        held = Counter(bucket(moment, grain, zone) for moment in moments)
        assert sum((period.length for period in periods), timedelta()) == until - since
        assert sum(sum(moment in period for moment in moments) for period in periods) == len(moments)
        assert sum(held.values()) == len(moments)


@settings(deadline=None)
@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2037, 12, 30)),
    st.sampled_from(
        ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC"]
    ),
    st.sampled_from(list(Grain)),
)
def test_a_moment_on_a_boundary_belongs_to_exactly_one_period(naive, key, grain) -> None:
    zone, moment = ZoneInfo(key), naive.replace(tzinfo=UTC)
    period = bucket(moment, grain, zone)
    assert moment in period
    assert bucket(period.since, grain, zone) == period
    assert bucket(period.until - INSTANT, grain, zone) == period
    after = next_bucket(period, zone)
    assert after.since == period.until
    assert period.until not in period
    assert period.until in after


def lengths(key: str, since: str, until: str, grain: Grain = Grain.DAY) -> list[str]:
    zone = ZoneInfo(key)
    first, last = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in (since, until))
    return [str(period.length) for period in buckets(first, last, grain, zone)]


def test_days_of_23_and_25_hours() -> None:
    assert lengths("Europe/Berlin", "2026-03-28", "2026-03-31") == ["1 day, 0:00:00", "23:00:00", "1 day, 0:00:00"]
    assert lengths("Europe/Berlin", "2026-10-25", "2026-10-26") == ["1 day, 1:00:00"]


def test_a_day_that_begins_at_one_because_midnight_was_skipped() -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    day = period_named("2018-11-04", zone)
    assert day.since.astimezone(zone).isoformat() == "2018-11-04T01:00:00-02:00"
    assert day.length == 23 * HOUR
    assert period_named("2018-11-03", zone).until == day.since


def test_a_day_whose_midnight_came_twice_begins_at_the_first() -> None:
    zone = ZoneInfo("America/St_Johns")
    day = period_named("2010-11-07", zone)
    assert day.since == datetime(2010, 11, 7, 2, 30, tzinfo=UTC)
    assert day.length == 25 * HOUR
    again = datetime(2010, 11, 7, 2, 45, tzinfo=UTC)
    assert again.astimezone(zone).isoformat() == "2010-11-06T23:15:00-03:30"
    assert bucket(again, Grain.DAY, zone) == day


@pytest.mark.parametrize(("key", "missing", "before", "after"), [
    ("Pacific/Apia", "2011-12-30", "2011-12-29", "2011-12-31"),
    ("Pacific/Fakaofo", "2011-12-30", "2011-12-29", "2011-12-31"),
    ("Pacific/Kwajalein", "1993-08-21", "1993-08-20", "1993-08-22"),
])  # fmt: skip
def test_a_date_that_the_zone_left_out_has_no_period(key, missing, before, after) -> None:
    zone = ZoneInfo(key)
    assert period_named(before, zone).until == period_named(after, zone).since
    assert next_bucket(period_named(before, zone), zone) == period_named(after, zone)
    assert period_named(before, zone).length == period_named(after, zone).length == DAY
    with pytest.raises(Refused, match=f"there was no {missing} in {key}"):
        period_named(missing, zone)


def test_clocks_that_move_by_half_an_hour_make_hours_of_thirty_minutes() -> None:
    assert lengths("Australia/Lord_Howe", "2026-10-04T01:00", "2026-10-04T04:00", Grain.HOUR) == [
        "1:00:00",
        "0:30:00",
        "1:00:00",
    ]
    zone = ZoneInfo("Australia/Lord_Howe")
    day = period_named("2026-04-05", zone)
    assert day.length == timedelta(hours=24, minutes=30)
    hours = list(buckets(day.since, day.until, Grain.HOUR, zone))
    assert [str(hour.length) for hour in hours[:4]] == ["1:00:00", "1:00:00", "0:30:00", "1:00:00"]


def test_the_hour_that_comes_twice_is_two_hours_with_two_names() -> None:
    zone = ZoneInfo("Europe/Berlin")
    day = period_named("2026-10-25", zone)
    names = [name_of(hour, zone) for hour in buckets(day.since, day.until, Grain.HOUR, zone)]
    assert len(names) == 25
    assert names[2:4] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]


def test_local_hours_are_aligned_to_local_clocks() -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    hour = bucket(datetime(2026, 1, 1, 0, 0, tzinfo=UTC), Grain.HOUR, zone)
    assert hour.since.astimezone(zone).isoformat() == "2026-01-01T05:00:00+05:45"


@pytest.mark.parametrize(
    ("name", "since", "until"),
    [
        ("2026-11", "2026-11-01", "2026-12-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2026-11-22", "2026-11-22", "2026-11-23"),
        ("2026-W47", "2026-11-16", "2026-11-23"),
        ("2026-Q4", "2026-10-01", "2027-01-01"),
        ("2026-q1", "2026-01-01", "2026-04-01"),
        ("2026-H2", "2026-07-01", "2027-01-01"),
        ("2026", "2026-01-01", "2027-01-01"),
        ("2024-02-29", "2024-02-29", "2024-03-01"),
        ("this month", "2026-03-01", "2026-04-01"),
        ("Last  Month", "2026-02-01", "2026-03-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("this half year", "2026-01-01", "2026-07-01"),
        ("last quarter", "2025-10-01", "2026-01-01"),
        ("this week", "2026-02-23", "2026-03-02"),
        ("today", "2026-03-01", "2026-03-02"),
        ("yesterday", "2026-02-28", "2026-03-01"),
    ],
)
def test_a_period_is_found_by_its_name_in_the_zone(name, since, until) -> None:
    zone = ZoneInfo("Europe/Berlin")
    now = datetime(2026, 2, 28, 23, 30, tzinfo=UTC)  # already March in Berlin
    period = period_named(name, zone, now)
    local = [datetime.fromisoformat(text).replace(tzinfo=zone) for text in (since, until)]
    assert [period.since, period.until] == local
    assert period_named(name_of(period, zone), zone) == period


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "expected a period such as 2026-11"),
        ("november", "expected a period such as 2026-11"),
        ("2026-1", "got '2026-1'"),
        ("2026-11-22T10", "expected a period"),
        ("2026-Q5", "expected a period"),
        ("last hour", "expected a period"),
        ("2026-13", "not in the calendar"),
        ("2026-02-30", "not in the calendar"),
        ("2026-W54", "not in the calendar"),
        ("0000-01", "expected a year from 1971 to 2199"),
        ("9999", "expected a year from 1971 to 2199"),
        ("last month", "needs to know what time it is"),
    ],
)
def test_a_name_that_is_no_period_is_refused_with_what_was_expected(name, said) -> None:
    with pytest.raises(Refused, match=said):
        period_named(name, UTC)


def test_an_empty_span_has_no_periods_and_a_moment_without_zone_is_refused() -> None:
    assert list(buckets(FROM, FROM, Grain.DAY, UTC)) == []
    with pytest.raises(ValueError, match="needs a zone"):
        bucket(datetime(2026, 1, 1), Grain.DAY, UTC)


def test_periods_are_clipped_or_whole() -> None:
    since, until = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 2, 15, tzinfo=UTC)
    clipped = list(buckets(since, until, Grain.MONTH, UTC))
    whole = list(buckets(since, until, Grain.MONTH, UTC, clipped=False))
    assert (clipped[0].since, clipped[-1].until) == (since, until)
    assert [name_of(month, UTC) for month in whole] == ["2026-01", "2026-02"]
    assert whole[1].until == datetime(2026, 3, 1, tzinfo=UTC)
