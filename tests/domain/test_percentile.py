"""Percentiles by rank, against values from outside and against an oracle that drops values one by one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.percentile import Directions, percentile_rank
from tests.domain.oracles import of_directions, percentile, sum_per_interval

MBIT = 10**6


def dropped_one_by_one(values: list[int], percent: int) -> int:
    """The rule in other words: while what is dropped stays within the share, drop the highest value left."""
    left = list(values)
    while (len(values) - len(left) + 1) * 100 <= (100 - percent) * len(values):
        left.remove(max(left))
    return max(left)


@pytest.mark.parametrize(
    ("n", "rank"),
    [(1, 1), (19, 19), (20, 19), (21, 20), (25, 24), (288, 274), (2016, 1916), (8064, 7661), (8352, 7935), (8640, 8208), (8928, 8482)],
)  # fmt: skip
def test_the_rank_of_the_95th_percentile(n, rank) -> None:
    assert percentile_rank(n) == rank


def test_the_rank_is_the_nearest_rank() -> None:
    for n in range(1, 3000):
        assert percentile_rank(n) == -(-95 * n // 100)


def test_the_known_series_of_25_gives_22() -> None:
    values = [10, 13, 15, 16, 20, 3, 6, 7, 7, 15, 19, 13, 13, 8, 19, 35, 22, 17, 19, 19, 12, 21, 9, 9, 12]
    assert percentile(values) == 22


def test_one_to_twenty_gives_nineteen() -> None:
    assert percentile(range(1, 21)) == 19


def test_a_burst_of_thirty_six_hours_in_thirty_days_is_free_and_five_minutes_more_are_not() -> None:
    assert percentile([10 * MBIT] * 8208 + [100 * MBIT] * 432) == 10 * MBIT
    assert percentile([10 * MBIT] * 8207 + [100 * MBIT] * 433) == 100 * MBIT


@pytest.mark.parametrize("n", [1, 19, 20, 21, 288, 2016, 8352, 8640])
def test_shuffled_months_agree_with_the_sorted_list(n) -> None:
    random = Random(n)
    values = [random.randrange(2**70) for _ in range(n)]
    assert percentile(values) == sorted(values)[n - 5 * n // 100 - 1]


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=2**100), min_size=1, max_size=120), st.integers(1, 100))
def test_any_percentile_is_the_highest_value_left_after_dropping_the_share(values, percent) -> None:
    assert percentile(values, percent) == dropped_one_by_one(values, percent)


def test_one_hundred_percent_is_the_maximum_and_nothing_known_is_not_zero() -> None:
    assert percentile([3, 9, 1], 100) == 9
    assert percentile([]) is None


@pytest.mark.parametrize(("n", "percent"), [(0, 95), (-1, 95), (10, 0), (10, 101)])
def test_a_rank_that_makes_no_sense_is_refused(n, percent) -> None:
    with pytest.raises(ValueError, match="no rank"):
        percentile_rank(n, percent)


def steady(value: int) -> dict[int, int]:
    return dict.fromkeys(range(288), value)


def test_in_40_and_out_55_bills_55_of_out_when_the_larger_counts() -> None:
    (found,) = of_directions([steady(40)], [steady(55)], Directions.LARGER)
    assert (found.direction, found.value, found.count) == ("out", 55, 288)


def test_separate_directions_give_two_results() -> None:
    both = of_directions([steady(40)], [steady(55)])
    assert [(found.direction, found.value) for found in both] == [("in", 40), ("out", 55)]


def test_a_sum_is_made_interval_by_interval_and_not_of_two_percentiles() -> None:
    incoming = {slot: 100 if slot < 12 else 1 for slot in range(100)}
    outgoing = {slot: 100 if slot >= 88 else 1 for slot in range(100)}
    (found,) = of_directions([incoming], [outgoing], Directions.SUM)
    assert found.value == 101
    assert [one.value for one in of_directions([incoming], [outgoing])] == [100, 100]


def test_several_ports_are_summed_before_the_percentile() -> None:
    busy_early = {slot: 100 if slot < 4 else 0 for slot in range(100)}
    busy_late = {slot: 100 if slot >= 96 else 0 for slot in range(100)}
    assert percentile(list(busy_early.values())) == 0
    incoming, _ = of_directions([busy_early, busy_late], [])
    assert incoming.value == 100


def test_an_interval_that_one_port_lacks_is_left_out_and_counted_never_taken_for_zero() -> None:
    summed = sum_per_interval([{1: 10, 2: 10, 3: 10}, {1: 5, 3: 5}])
    assert dict(summed.values) == {1: 15, 3: 15}
    assert summed.missing == 1
    (found,) = of_directions([{1: 10, 2: 90}], [{1: 10}], Directions.SUM)
    assert (found.value, found.count, found.missing) == (20, 1, 1)


def test_a_direction_of_which_nothing_is_known_does_not_win() -> None:
    (found,) = of_directions([{}], [{1: 0}], Directions.LARGER)
    assert (found.direction, found.value) == ("out", 0)
    (nothing,) = of_directions([{}], [{}], Directions.LARGER)
    assert (nothing.value, nothing.count) == (None, 0)
    (tie,) = of_directions([{1: 7}], [{1: 7}], Directions.LARGER)
    assert tie.direction == "in"
