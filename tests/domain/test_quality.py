"""Each class and its billing rule, bad days one by one, and the sum of what is billed against a big-integer oracle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.periods import Grain, bucket
from daemon.domain.quality import RULES, Judged, Meter, Quality, Reading, Standing, classify
from daemon.domain.resources import Kind
from tests.domain.oracles import Increment, Sample, judge, tally

T0 = datetime(2026, 11, 10, tzinfo=UTC)
FIVE = timedelta(minutes=5)
GB = 10**9
TRAFFIC = Meter(Kind.RUNNING_TOTAL, FIVE, port_speed=10**9)
COUNTER32 = Meter(Kind.COUNTER32, FIVE, port_speed=10**7)
COUNTER64 = Meter(Kind.COUNTER64, FIVE, port_speed=10**9)


def series(*totals: int | None, start: datetime = T0, rhythm: timedelta = FIVE) -> list[Sample]:
    """One sample a round; None: the round was missed."""
    return [Sample(start + n * rhythm, total) for n, total in enumerate(totals) if total is not None]


def classes(samples: Iterable[Sample], meter: Meter = TRAFFIC) -> list[str]:
    return [judged.quality.value for judged in judge(samples, meter)]


def billed(samples: Iterable[Sample], meter: Meter = TRAFFIC) -> list[int]:
    return [judged.increment or 0 for judged in judge(samples, meter)]


def coverage(samples: list[Sample], meter: Meter = TRAFFIC) -> timedelta:
    return tally(samples, meter, samples[0].at, samples[-1].at).covered


def test_every_class_has_one_written_rule_and_a_number_that_fits_a_nibble() -> None:
    assert set(RULES) == set(Quality)
    assert [quality.code for quality in Quality] == list(range(10))
    assert all(Quality.of_code(quality.code) is quality for quality in Quality)
    assert Quality.LATE.rule.startswith("Older than")


# The ordinary.


def test_the_first_reading_is_a_base_and_the_next_bills_what_the_total_grew_by() -> None:
    samples = series(700, 1000, 1000, 1600)
    assert classes(samples) == ["first", "ok", "ok", "ok"]
    assert billed(samples) == [0, 300, 0, 600]


def test_the_same_total_again_bills_nothing_and_never_the_last_difference_again() -> None:
    assert billed(series(0, 500, 500, 500)) == [0, 500, 0, 0]


def test_a_missed_round_keeps_its_volume_and_has_no_rate() -> None:
    samples = series(0, 100, None, 400, 500)
    judged = list(judge(samples, TRAFFIC))
    assert [one.quality.value for one in judged] == ["first", "ok", "gap", "ok"]
    assert [one.increment for one in judged] == [None, 100, 300, 100]
    assert [one.rated for one in judged] == [False, True, False, True]
    found = tally(samples, TRAFFIC, T0, T0 + 4 * FIVE)
    assert (found.covered, found.rated, found.count, found.expected) == (4 * FIVE, 2 * FIVE, 3, 4)


def test_two_days_without_the_daemon_bill_all_of_their_volume_on_the_first_reading_after() -> None:
    samples = [Sample(T0, 10 * GB), Sample(T0 + timedelta(days=2), 90 * GB)]
    assert classes(samples) == ["first", "gap"]
    assert billed(samples) == [0, 80 * GB]
    assert coverage(samples) == timedelta(days=2)


def test_jitter_is_no_gap() -> None:
    samples = [Sample(T0, 0), Sample(T0 + timedelta(seconds=449), 5), Sample(T0 + timedelta(seconds=900), 9)]
    assert classes(samples) == ["first", "ok", "gap"]


# Duplicates, late ones, foreign ones.


def test_a_second_reading_of_a_moment_counts_nothing_whatever_it_says() -> None:
    samples = [*series(0, 100), Sample(T0 + FIVE, 100), Sample(T0 + FIVE, 900), Sample(T0 + 2 * FIVE, 150)]
    assert classes(samples) == ["first", "ok", "duplicate", "duplicate", "ok"]
    assert billed(samples) == [0, 100, 0, 0, 50]


def test_a_late_reading_counts_nothing_because_the_newer_one_carried_its_volume() -> None:
    samples = [Sample(T0, 0), Sample(T0 + 2 * FIVE, 300), Sample(T0 + FIVE, 100), Sample(T0 + 3 * FIVE, 350)]
    assert classes(samples) == ["first", "gap", "late", "ok"]
    assert sum(billed(samples)) == 350


def test_what_was_stored_as_late_stays_late_when_it_is_read_back_in_order_of_time() -> None:
    arrival = [Sample(T0, 0), Sample(T0 + 2 * FIVE, 300), Sample(T0 + FIVE, 100), Sample(T0 + 3 * FIVE, 350)]
    stored = [Sample(one.reading.at, one.reading.total, one.quality) for one in judge(arrival, TRAFFIC)]
    again = sorted(stored, key=lambda sample: sample.at)
    end = T0 + 3 * FIVE
    assert tally(again, TRAFFIC, T0, end) == tally(arrival, TRAFFIC, T0, end)


def test_a_server_that_changes_hands_within_the_month_bills_each_customer_its_own() -> None:
    samples = series(5 * GB, 6 * GB, 7 * GB, 8 * GB, 9 * GB, 10 * GB, 11 * GB)
    first = replace(TRAFFIC, owned_from=T0 + FIVE, owned_until=T0 + 2 * FIVE)
    second = replace(TRAFFIC, owned_from=T0 + 4 * FIVE)
    assert classes(samples, first) == ["foreign", "first", "ok", "foreign", "foreign", "foreign", "foreign"]
    assert classes(samples, second) == ["foreign", "foreign", "foreign", "foreign", "first", "ok", "ok"]
    assert (sum(billed(samples, first)), sum(billed(samples, second))) == (1 * GB, 2 * GB)


# The month.

MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)


def test_a_new_month_counts_from_zero_and_what_no_reading_saw_of_the_old_one_is_not_covered() -> None:
    start = MIDNIGHT - timedelta(minutes=7)
    samples = series(900, 1000, 40, 90, start=start)
    judged = list(judge(samples, TRAFFIC))
    assert [one.quality.value for one in judged] == ["first", "ok", "gap", "ok"]
    assert [one.increment for one in judged] == [None, 100, 40, 50]
    old = tally(samples, TRAFFIC, start, MIDNIGHT)
    new = tally(samples, TRAFFIC, MIDNIGHT, start + 3 * FIVE)
    assert (old.quantity, old.covered) == (100, FIVE)
    assert (new.quantity, new.covered) == (90, timedelta(minutes=8))


def test_the_month_turns_in_the_zone_of_the_panel() -> None:
    zone = ZoneInfo("Asia/Tokyo")
    turn = datetime(2026, 11, 30, 15, tzinfo=UTC)
    samples = series(1000, 1100, 30, 70, start=turn - timedelta(minutes=6))
    judged = list(judge(samples, replace(TRAFFIC, zone=zone)))
    assert [one.increment for one in judged] == [None, 100, 30, 40]
    assert judged[2].since == turn
    assert judged[2].known


def test_a_panel_whose_month_turns_an_hour_late_bills_the_old_month_no_second_time() -> None:
    start = MIDNIGHT - timedelta(minutes=7)
    growing = [100 * GB + n * GB for n in range(14)]
    samples = series(*growing, GB // 2, GB, start=start)
    assert sum(billed(samples)) == 13 * GB + GB
    assert min(billed(samples)) == 0


def test_a_panel_whose_month_turns_an_hour_early_loses_nothing_but_the_turn() -> None:
    start = MIDNIGHT - timedelta(minutes=62)
    samples = series(100 * GB, 101 * GB, GB, 2 * GB, *(n * GB for n in range(3, 14)), start=start)
    assert sum(billed(samples)) == GB + 13 * GB


def test_yesterdays_totals_on_the_first_of_the_month_are_no_new_month() -> None:
    start = MIDNIGHT - timedelta(minutes=7)
    samples = series(99 * GB, 100 * GB, 97 * GB, 97 * GB, GB, 2 * GB, start=start)
    assert billed(samples) == [0, GB, 0, 0, GB, GB]


def test_a_whole_month_without_readings_bills_the_new_one_from_its_start() -> None:
    samples = [Sample(T0, 50 * GB), Sample(datetime(2027, 1, 2, tzinfo=UTC), 3 * GB)]
    (_, after) = judge(samples, TRAFFIC)
    assert (after.increment, after.since, after.known) == (3 * GB, datetime(2027, 1, 1, tzinfo=UTC), True)


def test_a_total_that_outgrew_the_old_months_bills_the_difference_and_covers_nothing() -> None:
    samples = [Sample(MIDNIGHT - FIVE, GB), Sample(MIDNIGHT + timedelta(days=2), 48 * GB)]
    (_, after) = judge(samples, TRAFFIC)
    assert (after.quality, after.increment, after.known) == (Quality.GAP, 47 * GB, False)


# Falls within the month.


def test_a_reset_is_billed_from_zero_once_a_reading_has_grown_on_it() -> None:
    samples = series(9 * GB, 10 * GB, GB, 2 * GB, 3 * GB)
    judged = list(judge(samples, TRAFFIC))
    assert [one.quality.value for one in judged] == ["first", "ok", "reset", "reset", "ok"]
    assert [one.increment for one in judged] == [None, GB, 0, 2 * GB, GB]
    assert coverage(samples) == 3 * FIVE


def test_yesterdays_totals_again_are_no_reset_however_often_they_come() -> None:
    samples = series(9 * GB, 10 * GB, 4 * GB, 4 * GB, 4 * GB, 12 * GB, 13 * GB)
    assert billed(samples) == [0, GB, 0, 0, 0, 2 * GB, GB]
    assert classes(samples) == ["first", "ok", "reset", "reset", "reset", "gap", "ok"]


def test_what_flowed_while_a_total_stood_still_is_billed_at_once_and_has_no_rate() -> None:
    samples = series(0, 30 * GB, *[30 * GB] * 6, 230 * GB, 240 * GB)
    judged = list(judge(samples, TRAFFIC))
    assert [one.increment for one in judged][-2:] == [200 * GB, 10 * GB]
    assert [one.quality.value for one in judged][-2:] == ["gap", "ok"]
    assert [one.rated for one in judged][-2:] == [False, True]


def test_an_idle_month_allows_no_jump_of_a_month() -> None:
    samples = [
        *series(*[GB] * 600, rhythm=timedelta(minutes=30)),
        Sample(T0 + timedelta(days=12, hours=12), 12_000 * GB),
    ]
    assert classes(samples, replace(TRAFFIC, rhythm=timedelta(minutes=30)))[-1] == "impossible"


def test_a_total_corrected_downwards_bills_nothing_until_it_has_passed_its_old_height() -> None:
    samples = series(99 * GB, 100 * GB, 98 * GB, 99 * GB, 101 * GB, 102 * GB)
    assert billed(samples) == [0, GB, 0, 0, GB, GB]
    assert classes(samples) == ["first", "ok", "gap", "gap", "gap", "ok"]
    assert tally(samples, TRAFFIC, T0, T0 + 3 * FIVE).corrected == GB
    assert tally(samples, TRAFFIC, T0, T0 + 5 * FIVE).corrected == 0


def test_a_large_correction_on_a_slow_port_is_no_reset() -> None:
    slow = replace(TRAFFIC, port_speed=10**8)
    samples = series(100 * GB, 40 * GB, 41 * GB, 42 * GB)
    assert sum(billed(samples, slow)) == 0
    assert tally(samples, slow, T0, T0 + 3 * FIVE).corrected == 58 * GB


# More than the port can carry.


def test_an_impossible_jump_is_billed_as_zero_and_kept_aside() -> None:
    samples = series(GB, 2 * GB, 900 * GB, 901 * GB, 902 * GB)
    found = tally(samples, TRAFFIC, T0, T0 + 4 * FIVE)
    assert classes(samples) == ["first", "ok", "impossible", "ok", "ok"]
    assert (found.quantity, found.aside, found.covered) == (3 * GB, 898 * GB, 3 * FIVE)


def test_a_jump_that_comes_back_was_never_there() -> None:
    samples = series(GB, 2 * GB, 900 * GB, 3 * GB, 4 * GB)
    found = tally(samples, TRAFFIC, T0, T0 + 4 * FIVE)
    assert classes(samples) == ["first", "ok", "impossible", "gap", "ok"]
    assert (found.quantity, found.aside, found.covered) == (3 * GB, 0, 4 * FIVE)


def test_a_jump_that_stays_is_not_billed_by_mere_waiting() -> None:
    samples = series(GB, 900 * GB, *[900 * GB] * 600)
    found = tally(samples, TRAFFIC, T0, samples[-1].at)
    assert (found.quantity, found.aside) == (0, 899 * GB)


@pytest.mark.parametrize(("volume", "quality"), [(39_375_000_000, "ok"), (39_375_000_001, "impossible")])
def test_the_bound_is_port_speed_times_time_and_five_percent_to_the_byte(volume, quality) -> None:
    assert classes(series(0, volume))[1] == quality


def test_two_polls_in_quick_succession_are_not_taken_for_a_jump() -> None:
    samples = [Sample(T0, 0), Sample(T0 + timedelta(seconds=5), 30 * GB)]
    assert classes(samples) == ["first", "ok"]


def test_without_a_port_speed_nothing_is_impossible() -> None:
    assert classes(series(0, 2**70), replace(TRAFFIC, port_speed=None)) == ["first", "ok"]


def test_a_negative_total_bills_nothing_and_is_no_base() -> None:
    samples = series(-5, 100, -1, 300)
    assert classes(samples) == ["impossible", "first", "impossible", "gap"]
    assert billed(samples) == [0, 0, 0, 200]


# Plain counters.


def test_a_counter_of_32_bits_that_wraps_bills_the_way_over_the_top() -> None:
    samples = series(2**32 - 1000, 500, 900)
    assert classes(samples, COUNTER32) == ["first", "wrap32", "ok"]
    assert billed(samples, COUNTER32) == [0, 1500, 400]


def test_a_counter_of_64_bits_that_wraps_bills_the_way_over_the_top() -> None:
    samples = series(2**64 - 1000, 500, 900)
    assert classes(samples, COUNTER64) == ["first", "wrap64", "ok"]
    assert billed(samples, COUNTER64) == [0, 1500, 400]


def test_a_restarted_counter_is_not_billed_as_petabytes() -> None:
    samples = series(10**15, 10**6, 2 * 10**6)
    assert classes(samples, COUNTER64) == ["first", "reset", "reset"]
    assert billed(samples, COUNTER64) == [0, 0, 2 * 10**6]


def test_a_counter_that_may_have_wrapped_unseen_covers_nothing() -> None:
    fast = replace(COUNTER32, port_speed=10**9)
    samples = series(0, 10**9, 2 * 10**9)
    assert sum(billed(samples, fast)) == 2 * 10**9
    assert coverage(samples, fast) == timedelta()


def test_a_plain_counter_knows_no_months() -> None:
    samples = series(10**12, 10**12 + 5, 10**12 + 9, start=MIDNIGHT - FIVE)
    assert billed(samples, COUNTER64) == [0, 5, 4]


# Gauges.


def test_a_gauge_bills_nothing_by_itself_and_shows_its_gaps() -> None:
    judged = list(judge(series(120_000, 130_000, None, 90_000), Meter(Kind.GAUGE, FIVE, port_speed=None)))
    assert [one.quality.value for one in judged] == ["first", "ok", "gap"]
    assert [one.increment for one in judged] == [None, None, None]
    assert [one.known for one in judged] == [False, True, False]


# Tallies.


def test_a_volume_counts_on_the_reading_that_shows_it_and_time_is_covered_to_the_moment() -> None:
    cut = T0 + timedelta(minutes=7)
    samples = series(0, 100, 300, 600)
    before, after = tally(samples, TRAFFIC, T0, cut), tally(samples, TRAFFIC, cut, T0 + 3 * FIVE)
    assert (before.quantity, before.covered) == (100, timedelta(minutes=7))
    assert (after.quantity, after.covered) == (500, timedelta(minutes=8))
    assert before.increments == (Increment(T0, T0 + FIVE, 100, True),)


def test_a_reading_on_the_boundary_tells_of_the_period_that_ended() -> None:
    samples = series(0, 100, 300)
    edge = T0 + FIVE
    assert [tally(samples, TRAFFIC, *span).quantity for span in ((T0, edge), (edge, T0 + 2 * FIVE))] == [100, 200]


def test_nothing_to_go_by_is_not_zero_covered_time() -> None:
    found = tally([], TRAFFIC, T0, T0 + timedelta(days=1))
    assert (found.quantity, found.covered, found.count, found.expected) == (0, timedelta(), 0, 288)


def test_a_reading_may_stand_for_what_is_known_before() -> None:
    judged: Judged = classify(Reading(T0, 10), Reading(T0 + FIVE, 30), TRAFFIC)
    assert (judged.increment, judged.standing) == (20, Standing.of(Reading(T0 + FIVE, 30)))


# Against the oracle.

ROUND = st.fixed_dictionaries(
    {
        "volume": st.integers(0, 370_000_000),  # of at most 393 750 000 in five minutes at 10 Mbit/s
        "idle": st.booleans(),
        "event": st.sampled_from(["read"] * 6 + ["miss", "duplicate", "late"]),
    }
)
TEN_MBIT = replace(TRAFFIC, port_speed=10**7)


def simulate(rounds: list[dict], start: int, modulus: int | None = None) -> tuple[list[Sample], int]:
    """The samples in order of arrival, and what was truly sent between the first and the last reading that was counted."""
    true, at, missed = start, T0, 0
    show = (lambda total: total % modulus) if modulus else (lambda total: total)
    samples, seen, held = [Sample(at, show(true))], true, None
    for one in rounds:
        at += FIVE
        true += 0 if one["idle"] else one["volume"]
        if one["event"] in ("miss", "late") and missed < 3:
            missed += 1
            held = Sample(at, show(true)) if one["event"] == "late" else held
            continue
        missed, seen = 0, true
        samples.append(Sample(at, show(true)))
        if one["event"] == "duplicate":
            samples.append(Sample(at, show(true)))
        if held is not None:
            samples.append(held)
            held = None
    return samples, seen - start


@settings(deadline=None, max_examples=150)
@given(st.lists(ROUND, max_size=40), st.sampled_from(["total", "32", "64"]), st.integers(0, 2**64 - 1))
def test_what_is_billed_equals_what_was_sent_when_rounds_are_missed_doubled_late_and_wrapped(
    rounds, kind, start
) -> None:
    meter = {"total": TEN_MBIT, "32": COUNTER32, "64": replace(COUNTER64, port_speed=10**7)}[kind]
    if kind == "64" and start % 3:
        start = 2**64 - start % 2**31 - 1
    samples, sent = simulate(rounds, start, meter.kind.modulus)
    found = tally(samples, meter, T0, T0 + 50 * FIVE)
    assert found.quantity == sent
    assert all(step.quantity >= 0 for step in found.increments)
    last = max(sample.at for sample in samples)
    assert found.covered == last - T0
    assert found.classes[Quality.IMPOSSIBLE] == found.classes[Quality.RESET] == 0


FALLS = st.fixed_dictionaries(
    {
        "volume": st.one_of(st.integers(0, 100), st.integers(0, 370_000_000)),
        "event": st.sampled_from(["read"] * 5 + ["miss", "miss", "reset", "reset_unseen", "duplicate"]),
        "share": st.integers(0, 100),
    }
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(FALLS, max_size=40),
    st.sampled_from([Kind.RUNNING_TOTAL, Kind.COUNTER64]),
    st.integers(0, 10**9),
    st.integers(-30, 30),
    st.integers(-14, 14),
)
def test_resets_and_new_months_never_bill_more_than_was_sent(rounds, kind, total, first, lag) -> None:
    """The panel's month turns up to 70 minutes early or late, the counter restarts at any point of any round."""
    meter = replace(TEN_MBIT, kind=kind)
    at, turn = MIDNIGHT + first * FIVE, MIDNIGHT + lag * FIVE
    samples, sent, sums = [Sample(at, total)], 0, []
    for one in rounds:
        before, at = at, at + FIVE
        early = one["volume"] * one["share"] // 100
        restarts = one["event"].startswith("reset") or (kind is Kind.RUNNING_TOTAL and before < turn <= at)
        total = one["volume"] - early if restarts else total + one["volume"]
        sent += one["volume"]
        if one["event"] not in ("miss", "reset_unseen"):
            samples += [Sample(at, total)] * (2 if one["event"] == "duplicate" else 1)
            sums.append((len(samples), sent))
    steps = billed(samples, meter)
    assert min(steps) >= 0
    assert all(sum(steps[:count]) <= true for count, true in sums)


@settings(deadline=None, max_examples=150)
@given(
    st.integers(0, 10**10),
    st.lists(st.tuples(st.integers(0, 370_000_000), st.integers(0, 3), st.integers(0, 100)), min_size=1, max_size=30),
)
def test_old_reports_that_come_again_change_no_bill(total, rounds) -> None:
    """After each true reading an older total of this month may come again, once or several times, until the next true one."""
    samples, shown, start, sums = [Sample(T0, total)], [total], total, []
    for volume, again, which in rounds:
        old = shown[which * (len(shown) - 1) // 100]
        samples += [Sample(samples[-1].at + FIVE * (n + 1), old) for n in range(again)]
        total += volume * (again + 1)
        samples.append(Sample(samples[-1].at + FIVE, total))
        shown.append(total)
        sums.append((len(samples), total - start))
    steps = billed(samples, TEN_MBIT)
    assert all(sum(steps[:count]) == sent for count, sent in sums)
    found = tally(samples, TEN_MBIT, T0, samples[-1].at)
    assert (found.corrected, found.aside, found.classes[Quality.IMPOSSIBLE]) == (0, 0, 0)


# Old reports that grow, and what began anew.


def gigabytes(*totals: float) -> list[int]:
    return [int(total * GB) for total in totals]


def test_a_copy_that_lags_behind_and_grows_is_not_billed_twice() -> None:
    """Ten gigabytes an hour; for six hours a copy answers that is twenty hours behind."""
    hours = [n / 12 for n in range(60 * 12 + 1)]
    shown = gigabytes(*(10 * (hour - 20 if 30 <= hour < 36 else hour) for hour in hours))
    found = tally(series(*shown), replace(TRAFFIC, port_speed=10**10), T0, T0 + timedelta(hours=60))
    assert (found.quantity, found.corrected, found.aside) == (600 * GB, 0, 0)


def test_a_period_that_ends_before_an_old_report_is_made_up_for_shows_what_was_billed_too_much() -> None:
    samples = series(9 * GB, 10 * GB, GB, 2 * GB, 3 * GB, 11 * GB, 12 * GB, 14 * GB)
    judged = list(judge(samples, TRAFFIC))
    assert [one.increment for one in judged] == [None, GB, 0, 2 * GB, GB, 0, 0, GB]
    assert [tally(samples, TRAFFIC, T0, T0 + n * FIVE).corrected // GB for n in range(1, 8)] == [0, 0, 2, 3, 2, 1, 0]


def test_a_total_that_grows_past_where_it_fell_from_bit_by_bit_bills_the_lesser_and_keeps_the_rest_aside() -> None:
    samples = series(3 * GB, 4 * GB, *[n * GB for n in range(1, 12)])
    found = tally(samples, TRAFFIC, T0, samples[-1].at)
    assert (found.quantity, found.aside, found.corrected) == (1 * GB + 3 * GB + 4 * GB, 4 * GB, 0)


def test_what_was_billed_too_much_is_still_owed_after_the_total_begins_anew() -> None:
    samples = series(99 * GB, 100 * GB, 90 * GB, GB, 2 * GB, 12 * GB)
    assert billed(samples) == [0, GB, 0, 0, 0, 2 * GB]


def test_two_falls_one_after_the_other_are_made_up_for_one_after_the_other() -> None:
    samples = series(*gigabytes(10, 20, 5, 6, 1, 2, 7, 21, 30))
    judged = list(judge(samples, TRAFFIC))
    assert sum(one.increment or 0 for one in judged) == 20 * GB
    assert judged[-1].standing is not None
    assert judged[-1].standing.corrected == 0


def test_a_plain_counter_that_began_anew_is_believed_for_good_after_a_day() -> None:
    hour = replace(COUNTER64, rhythm=timedelta(hours=1))
    samples = series(90 * GB, 100 * GB, GB, *[n * GB for n in range(2, 50)], rhythm=hour.rhythm)
    found = tally(samples, hour, T0, samples[-1].at)
    assert (found.quantity, found.corrected) == (59 * GB, 0)
    before = tally(samples, hour, T0, T0 + timedelta(hours=20))
    assert before.corrected == 19 * GB


def test_a_new_month_of_more_than_half_is_billed_from_its_start_once_it_has_grown_and_no_old_report_can_come() -> None:
    def totals(*rows: tuple[timedelta, float]) -> list[Sample]:
        return [Sample(MIDNIGHT + after, int(total * GB)) for after, total in rows]

    day, hour = timedelta(days=1), timedelta(hours=1)
    two_days_off = totals((-4 * hour, 10), (day, 7), (day + FIVE, 7.01), (2 * day, 12))
    assert sum(billed(two_days_off)) == 12 * GB
    assert tally(two_days_off, TRAFFIC, MIDNIGHT, MIDNIGHT + 2 * day).corrected == 0
    leapt = totals((-4 * hour, 10), (hour, 7), (day + hour, 12))
    assert sum(billed(leapt)) == 12 * GB
    old_report = totals((-4 * hour, 10), (hour, 7), (hour + FIVE, 7.5), (hour + 2 * FIVE, 0.1), (hour + 3 * FIVE, 0.2))
    assert sum(billed(old_report)) == GB // 5


@pytest.mark.parametrize("turn", [-4, 4], ids=["early", "late"])
def test_a_month_that_turns_by_a_wrong_clock_leaves_nothing_to_a_person(turn) -> None:
    shown = [100 * GB + n * GB for n in range(12 + turn)] + [n * GB for n in range(1, 12)]
    samples = series(*shown, start=MIDNIGHT - 12 * FIVE)
    judged = list(judge(samples, TRAFFIC))
    assert sum(one.increment or 0 for one in judged) == (22 + turn) * GB
    assert [one.standing.corrected for one in judged if one.standing is not None] == [0] * len(shown)
    assert sum(one.lapsed for one in judged) == 0


def test_what_was_taken_back_before_the_turn_of_the_month_is_shown_in_the_period_that_was_billed_for_it() -> None:
    samples = series(*gigabytes(99, 100, 98, 0.1, 0.2), start=MIDNIGHT - 3 * FIVE)
    assert tally(samples, TRAFFIC, MIDNIGHT - timedelta(days=1), MIDNIGHT).corrected == 2 * GB
    assert tally(samples, TRAFFIC, MIDNIGHT - timedelta(days=1), MIDNIGHT + timedelta(days=1)).corrected == 2 * GB
    assert tally(samples, TRAFFIC, MIDNIGHT - FIVE, MIDNIGHT + timedelta(days=1)).corrected == 0


LAGS = st.lists(
    st.tuples(
        st.integers(0, 370_000_000),
        st.sampled_from(["read"] * 3 + ["stale"] * 3 + ["miss", "restart"]),
        st.integers(0, 100),
    ),
    max_size=60,
)


def lagging(rounds: list[tuple[int, str, int]], total: int, *, restarts: bool) -> tuple[list[Sample], list[int]]:
    """The totals of any moment so far may be shown, growing or not; and what was truly sent up to each reading."""
    truth, sent, at, moments = [total], 0, T0, [0]
    samples = [Sample(T0, total)]
    for volume, event, share in rounds:
        at += FIVE
        sent += volume
        truth.append(volume if event == "restart" and restarts else truth[-1] + volume)
        if event != "miss":
            place = share * (len(truth) - 1) // 100 if event == "stale" else -1
            samples.append(Sample(at, truth[place]))
            moments.append(sent)
    return samples, moments


@settings(deadline=None, max_examples=600)
@given(LAGS, st.one_of(st.just(0), st.integers(0, 10**10)), st.booleans())
def test_old_reports_of_any_moment_never_bill_more_than_was_sent_but_for_what_is_shown(rounds, total, restarts) -> None:
    samples, sent = lagging(rounds, total, restarts=restarts)
    so_far = 0
    for one, true in zip(judge(samples, TEN_MBIT), sent, strict=True):
        so_far += one.increment or 0
        assert one.standing is not None
        assert (one.increment or 0) >= 0
        assert so_far - one.standing.corrected <= true


@settings(deadline=None, max_examples=300)
@given(LAGS, st.integers(0, 10**10))
def test_all_is_billed_once_when_old_reports_are_over_and_made_up_for(rounds, total) -> None:
    samples, sent = lagging(rounds, total, restarts=False)
    samples += [Sample(samples[-1].at + timedelta(days=1), total + sent[-1] + 80 * GB)]
    found = tally(samples, TEN_MBIT, T0, samples[-1].at)
    if found.corrected == 0 and found.classes[Quality.IMPOSSIBLE] == 0:
        assert found.quantity == sent[-1] + 80 * GB


@settings(deadline=None, max_examples=60)
@given(st.lists(FALLS, max_size=30), st.integers(0, 10**9), st.lists(st.integers(1, 30 * 300), max_size=4))
def test_periods_that_follow_each_other_bill_and_cover_the_same_as_the_whole(rounds, total, cuts) -> None:
    samples, at = [Sample(T0, total)], T0
    for one in rounds:
        at += FIVE
        total = one["volume"] if one["event"] == "reset" else total + one["volume"]
        if one["event"] != "miss":
            samples.append(Sample(at, total))
    end = T0 + 31 * FIVE
    edges = sorted({T0, end, *(T0 + timedelta(seconds=cut) for cut in cuts)})
    parts = [tally(samples, TEN_MBIT, *span) for span in pairwise(edges)]
    whole = tally(samples, TEN_MBIT, T0, end)
    assert sum(part.quantity for part in parts) == whole.quantity
    assert sum((part.covered for part in parts), timedelta()) == whole.covered
    assert sum((part.rated for part in parts), timedelta()) == whole.rated
    assert whole.covered <= end - T0


@settings(deadline=None)
@given(
    st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2027, 12, 1)),
    st.integers(1, 5000),
    st.sampled_from([UTC, ZoneInfo("Asia/Tokyo"), ZoneInfo("America/Los_Angeles"), ZoneInfo("Pacific/Kiritimati")]),
)
def test_a_new_month_is_seen_exactly_where_the_calendar_has_one(naive: datetime, hours: int, zone: tzinfo) -> None:
    before = naive.replace(tzinfo=UTC)
    after = before + hours % 900 * timedelta(hours=1) + timedelta(minutes=1)
    meter = replace(TRAFFIC, zone=zone, port_speed=None)
    judged = classify(Reading(before, 1000), Reading(after, 10), meter)
    turned = bucket(before, Grain.MONTH, zone) != bucket(after, Grain.MONTH, zone)
    assert (judged.increment, judged.quality) == ((10, Quality.GAP) if turned else (0, Quality.RESET))
