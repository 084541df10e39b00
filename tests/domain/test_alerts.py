"""Alerts: each threshold once per period, and none skipped by a jump."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.alerts import (
    Alert,
    AlertState,
    CoverageState,
    Switches,
    Threshold,
    next_alerts,
    next_coverage_alert,
)
from daemon.domain.errors import Refused

ALL = Switches(step=50)


def run(usages, included: int = 100, switches: Switches = ALL, state: AlertState | None = None) -> list[list[str]]:
    """What each round reports: "80", "100", and the height of steps beyond ("150", or "200x2" for two at once)."""
    state, said = state or AlertState("2026-11"), []
    for usage in usages:
        alerts, state = next_alerts(state, usage, included, switches)
        said.append(
            [
                f"{alert.at}" + (f"x{alert.count}" if alert.count > 1 else "")
                if alert.threshold is Threshold.BEYOND
                else alert.threshold.value
                for alert in alerts
            ]
        )
    return said


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        # Landing exactly on 80 % must not lose the alert.
        ([79, 80, 81, 95], [[], ["80"], [], []]),
        ([79, 81], [[], ["80"]]),
        # 100 % needs no exact hit, comes once, and a jump over it is no excuse.
        ([100, 100], [["80", "100"], []]),
        ([99, 101], [["80"], ["100"]]),
        # Every step beyond, counted from what is included.
        (
            [100, 101, 149, 150, 151, 199, 200, 201, 250],
            [["80", "100"], [], [], ["150"], [], [], ["200"], [], ["250"]],
        ),
        # A jump does not move the steps: they stay at 150, 200, not at 120, 170.
        ([0, 120, 130, 169, 170], [[], ["80", "100"], [], ["150"], []]),
        # The 80 % mail takes nothing from the steps.
        ([90, 120, 139, 140, 150], [["80"], ["100"], [], [], ["150"]]),
        # A jump over several thresholds names them all.
        ([0, 260], [[], ["80", "100", "250x3"]]),
        # Usage that is corrected downwards and grows again repeats nothing.
        ([85, 70, 85, 100, 95, 100, 151, 149, 151], [["80"], [], [], ["100"], [], [], ["150"], [], []]),
    ],
)
def test_each_threshold_is_reported_once_whatever_the_sequence(usages, expected) -> None:
    assert run(usages) == expected


def test_without_a_step_nothing_is_reported_above_one_hundred_percent() -> None:
    assert run([101, 500], switches=Switches()) == [["80", "100"], []]


def test_steps_alone_are_counted_from_what_is_included() -> None:
    only_steps = Switches(eighty=False, hundred=False, step=50)
    assert run([101, 150], switches=only_steps) == [[], ["150"]]
    assert run([101, 150], included=0, switches=only_steps) == [["100x2"], ["150"]]


def test_traffic_follows_the_same_rules_as_every_other_resource() -> None:
    said = run([80, 85, 99, 100, 110, 149, 150, 160, 190, 200, 250])
    assert said == [["80"], [], [], ["100"], [], [], ["150"], [], [], ["200"], ["250"]]
    assert run([90, 160, 170, 210], switches=Switches(step=50)) == [["80"], ["100", "150"], [], ["200"]]


def test_one_hundred_percent_hangs_on_its_own_switch_and_on_no_other() -> None:
    assert run([85, 105], switches=Switches(eighty=False)) == [[], ["100"]]
    assert run([85, 105], switches=Switches(hundred=False)) == [["80"], []]


def test_a_threshold_switched_on_later_is_reported_when_it_is_passed_already() -> None:
    _, state = next_alerts(AlertState("2026-11"), 105, 100, Switches(eighty=False, hundred=False))
    assert run([105, 105], state=state) == [["80", "100"], []]


def test_another_period_begins_anew_and_the_same_one_goes_on() -> None:
    _, state = next_alerts(AlertState("2026-11"), 160, 100, ALL)
    assert run([160], state=state.for_period("2026-11")) == [[]]
    assert run([160], state=state.for_period("2026-12")) == [["80", "100", "150"]]


def test_the_state_survives_json() -> None:
    _, state = next_alerts(AlertState("2026-11"), 160, 100, ALL)
    assert AlertState.from_dict(json.loads(json.dumps(state.as_dict()))) == state
    low = CoverageState("2026-11", low=True)
    assert CoverageState.from_dict(json.loads(json.dumps(low.as_dict()))) == low


def test_what_is_not_known_reports_nothing_and_changes_nothing() -> None:
    state = AlertState("2026-11")
    assert next_alerts(state, None, 100, ALL) == ((), state)
    assert next_alerts(state, 500, None, ALL) == ((), state)


def test_nothing_included_has_no_percentage() -> None:
    assert run([0, 49, 50], included=0) == [[], [], ["50"]]


def test_an_alert_tells_what_remains_and_what_is_beyond() -> None:
    ((eighty,), _) = next_alerts(AlertState("p"), 81, 101, ALL)
    assert (eighty.at, eighty.remaining, eighty.excess) == (81, 20, 0)
    (alerts, _) = next_alerts(AlertState("p"), 160, 100, ALL)
    assert [(alert.remaining, alert.excess) for alert in alerts] == [(0, 60)] * 3


def test_eighty_percent_of_an_odd_amount_is_reached_at_the_first_whole_unit_above_it() -> None:
    assert run([80, 81], included=101) == [[], ["80"]]


def test_a_raised_allowance_arms_a_threshold_again_only_when_usage_is_clearly_below_it() -> None:
    _, state = next_alerts(AlertState("p"), 105, 100, ALL)
    (alerts, raised) = next_alerts(state, 105, 200, ALL)
    assert alerts == ()
    assert run([159, 160, 200], included=200, state=raised) == [[], ["80"], ["100"]]
    (alerts, near) = next_alerts(state, 105, 106, ALL)
    assert alerts == ()
    assert run([106, 110], included=106, state=near) == [[], []]


def test_a_lowered_allowance_reports_what_is_passed_now() -> None:
    _, state = next_alerts(AlertState("p"), 90, 100, ALL)
    assert run([90], included=60, state=state) == [["100"]]
    assert run([90], included=30, state=state) == [["100", "80"]]


def test_a_plan_changed_to_and_fro_repeats_nothing() -> None:
    _, state = next_alerts(AlertState("p"), 99, 100, ALL)
    said: list[Alert] = []
    for included in (101, 100, 101, 100):
        alerts, state = next_alerts(state, 99, included, ALL)
        said += alerts
    assert said == []


def test_another_step_counts_from_where_the_usage_is() -> None:
    _, state = next_alerts(AlertState("p"), 200, 100, ALL)
    assert run([200, 209, 210], switches=Switches(step=10), state=state) == [[], [], ["210"]]


def test_a_step_of_nothing_is_refused() -> None:
    with pytest.raises(Refused):
        Switches(step=0)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2000), max_size=30),
    st.integers(1, 300),
    st.integers(1, 200),
)
def test_however_usage_grows_every_threshold_passed_was_reported_exactly_once(growth, included, step) -> None:
    state, usage = AlertState("p"), 0
    count = dict.fromkeys(Threshold, 0)
    for more in growth:
        usage += more
        alerts, state = next_alerts(state, usage, included, Switches(step=step))
        assert len(alerts) <= 3
        for alert in alerts:
            count[alert.threshold] += alert.count
            assert alert.at <= usage
    assert count[Threshold.EIGHTY] == (usage * 5 >= included * 4)
    assert count[Threshold.HUNDRED] == (usage >= included)
    assert count[Threshold.BEYOND] == max(0, usage - included) // step


def test_low_coverage_is_reported_once_until_it_had_recovered() -> None:
    state, said, length = CoverageState("2026-11"), [], timedelta(days=10)
    for thousandths in (1000, 991, 989, 985, 992, 989, 995, 989):
        alert, state = next_coverage_alert(state, length * thousandths / 1000, length)
        said.append(alert)
    assert said == [False, False, True, False, False, False, False, True]


def test_coverage_is_not_judged_by_the_first_hours_of_a_period() -> None:
    state = CoverageState("2026-11")
    assert next_coverage_alert(state, timedelta(), timedelta(hours=5)) == (False, state)
    assert next_coverage_alert(state, timedelta(), timedelta(hours=6))[0]
    assert next_coverage_alert(CoverageState("x", low=True).for_period("y"), timedelta(), timedelta(hours=6))[0]
