"""The demo's own count, against numbers that were worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from daemon.cli.demo.account import Watched
from daemon.sandbox.dci_load import Sent

T0 = datetime(2026, 3, 31, 20, tzinfo=UTC)


def hours(number: float) -> datetime:
    return T0 + timedelta(hours=number)


def watched(*looks: float, zone: str = "UTC") -> Watched:
    """A server that each half hour sends 450 bytes in, more by 450 with each, as many out, and draws 100 W, then 200 W from 2 h on."""
    ledger = [Sent(hours(n / 2), 450 * n, 900 * n, 100.0 if n < 4 else 200.0) for n in range(1, 20)]
    moments = [hours(look) for look in looks]
    return Watched(ledger, moments, moments, timedelta(hours=1), ZoneInfo(zone))


def test_bytes_are_those_after_the_start_up_to_and_with_the_end() -> None:
    assert watched(0).expected("in", hours(0.5), hours(2)) == 450 * (2 + 3 + 4)
    assert watched(0).expected("out", hours(0.5), hours(2)) == 900 * (2 + 3 + 4)


def test_a_rate_is_taken_of_each_whole_interval_and_the_highest_twentieth_is_dropped() -> None:
    # 450 x (1 + 2), (3 + 4), (5 + 6) bytes in an hour: 3, 7 and 11 bit/s
    assert watched(0, 1, 2, 3).expected("burst_in_day", T0, hours(3)) == 11
    assert watched(0, 1, 2, 3).expected("burst_in_day", T0, hours(3), larger=True) == 22


@pytest.mark.parametrize(
    ("looks", "zone", "highest"),
    [
        ((0, 1, 3, 3.3), "UTC", 3),  # a missed round has no rate, nor has an end that is too short
        ((0, 0.2, 1.2), "UTC", 3),  # a short beginning goes with what follows: 1350 bytes in 72 minutes, 2.5 and up
        ((0, 1, 2, 3), "Europe/Berlin", 11),
        # the month turned at 2: the second has no rate, the third has 4950 bytes in 54 minutes
        ((0, 1, 2.1, 3), "Europe/Berlin", 12),
    ],
)
def test_what_has_no_rate_is_left_out(looks: tuple[float, ...], zone: str, highest: int) -> None:
    found = watched(*looks, zone=zone).expected("burst_in_day", T0, hours(9))
    assert found == highest


def test_a_level_holds_until_the_next_reading_and_one_rhythm_where_readings_were_missed() -> None:
    it = watched(1, 2, 5, 6)
    assert it.expected("energy", hours(1.5), hours(9)) == (50 + 200 + 200) * 10**6
    assert it.expected("power", hours(1.5), hours(9)) == 180_000
    assert watched(1).expected("power", T0, hours(9)) is None
