"""Counters of 64 bits up to their top: stored, read back, judged and sealed as what they showed, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.domain.errors import Permanent
from daemon.domain.metering import Ask, Billable, Measured, Source
from daemon.domain.quality import Meter, Quality
from daemon.domain.resources import Kind, Resource
from daemon.domain.seal import Sealed, seal
from daemon.stats import crunch
from daemon.store.days.store import DayStore
from tests.domain.oracles import Sample, judge
from tests.store.days.conftest import days  # noqa: F401 - a fixture

START = datetime(2026, 3, 10, 23, 50, tzinfo=UTC)
FIVE = timedelta(minutes=5)
TOP = 2**64
COUNTED = Resource("gpu_data", "B", 0, "GB", Kind.COUNTER64, FIVE)
METER = Meter(Kind.COUNTER64, FIVE)
SERVICE = 77


@given(st.integers(0, TOP - 1))
def test_every_reading_of_a_counter_of_64_bits_fits_and_comes_back(total: int) -> None:
    stored = Kind.COUNTER64.stored(total)
    assert -(2**63) <= stored < 2**63
    assert Kind.COUNTER64.total(stored) == total


@given(st.sampled_from([kind for kind in Kind if kind is not Kind.COUNTER64]), st.integers(-(2**70), 2**70))
def test_readings_of_all_other_kinds_are_stored_as_they_are(kind: Kind, total: int) -> None:
    assert kind.stored(total) == kind.total(total) == total


@given(st.one_of(st.integers(TOP, 2**70), st.integers(-(2**63), -1)))
def test_what_no_counter_can_show_is_nothing_that_can_be_stored(total: int) -> None:
    assert not -(2**63) <= Kind.COUNTER64.stored(total) < 2**63


async def measured(days: DayStore, totals: list[int], resource: Resource = COUNTED, *, closed: bool) -> Measured:  # noqa: F811
    """Stored as a round stores them; the first day closed, or both open."""
    for number, total in enumerate(totals):
        stored = {SERVICE: (Kind.COUNTER64.stored(total), Quality.OK.code)}
        await days.append(START + number * FIVE, "dci", {"gpu_data": stored})
    if closed:
        await days.close_day(START.date())
    until = START + (len(totals) - 1) * FIVE
    ask = Ask(Billable(SERVICE, resource, (Source("gpu_data", METER),)), START, until, START, until)
    packed = await days.packed("gpu_data", [SERVICE], START, until)
    (found,) = crunch.measure({"gpu_data": packed}, [ask])
    return found


@pytest.mark.parametrize("closed", [False, True])
async def test_a_counter_wraps_at_its_top_and_nothing_is_lost(days: DayStore, closed: bool) -> None:  # noqa: F811
    totals = [TOP - 900_000, TOP - 600_000, TOP - 1, 299_999, 600_000]
    found = await measured(days, totals, closed=closed)
    assert found.quantity == 1_500_000
    assert found.covered == 4 * FIVE
    assert found.classes == {Quality.OK: 3, Quality.WRAP64: 1}


async def test_the_middle_of_its_range_is_a_place_like_any_other(days: DayStore) -> None:  # noqa: F811
    totals = [2**63 - 600_000, 2**63 - 1, 2**63, 2**63 + 300_000]
    found = await measured(days, totals, closed=True)
    assert found.quantity == 900_000
    assert found.classes == {Quality.OK: 3}


async def test_the_seal_is_over_what_the_counter_showed(days: DayStore) -> None:  # noqa: F811
    totals = [2**63 - 5, 2**63 + 7, TOP - 1]
    found = await measured(days, totals, closed=False)
    samples = [Sample(START + number * FIVE, total) for number, total in enumerate(totals)]
    shown = [(one.reading.at, one.reading.total, one.quality) for one in judge(samples, METER)]
    assert [total for _, total, _ in shown] == totals
    until = samples[-1].at
    assert found.seal == seal(Sealed(SERVICE, "gpu_data", START, until, "B", found.quantity), shown)


async def test_a_jump_over_half_of_the_range_is_kept_aside_in_full(days: DayStore) -> None:  # noqa: F811
    found = await measured(days, [0, TOP - 1], closed=False)
    assert (found.quantity, found.aside) == (0, TOP - 1)


async def test_a_rate_goes_on_over_the_top(days: DayStore) -> None:  # noqa: F811
    rate = Resource("gpu_rate", "bit/s", 0, "Mbit/s", Kind.RATE, FIVE, of="gpu_data")
    totals = [TOP - 750_000, TOP - 375_000, 0, 375_000]
    found = await measured(days, totals, rate, closed=True)
    assert (found.quantity, found.covered) == (10_000, 3 * FIVE)


async def test_what_no_counter_can_show_is_refused(days: DayStore) -> None:  # noqa: F811
    for total in (-1, TOP):
        with pytest.raises(Permanent) as caught:
            await measured(days, [total], closed=False)
        assert caught.value.code == "sample_out_of_range"
