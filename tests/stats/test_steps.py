"""Lines drawn for all steps at once are the lines that the rules give point by point."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.metering import Ask, Look, Point, coverage
from daemon.domain.percentile import Directions
from daemon.domain.periods import Grain
from daemon.domain.resources import RESOURCES, Kind
from daemon.stats import crunch
from daemon.stats.drawing import Beside, Drawing, Form, beside_of
from daemon.stats.measures import Lines, rule_of
from daemon.stats.steps import Steps, edges_of, steps_of
from daemon.store.days.shapes import MICROSECOND, from_us
from tests.domain.oracles import Sample
from tests.stats.test_series import (
    BERLIN,
    COUNTERS,
    DAY,
    FIVE,
    HOUR,
    POWER,
    T0,
    TRAFFIC,
    ZONES,
    ask,
    counted,
    levels,
    nasty,
    stored,
)

STEPS = st.sampled_from([FIVE, 2 * FIVE, HOUR, DAY, Grain.HOUR, Grain.DAY, Grain.WEEK, Grain.MONTH])


def both(asked: Ask, step: Grain | timedelta, *samples: Sequence[Sample], zone=BERLIN) -> tuple[Steps, list[Point]]:
    rule, look = rule_of(asked, Lines(stored(asked, samples)).of(asked)), Look(asked, step, zone)
    return steps_of(look, rule), list(rule.points(edges_of(look, step)))


def rows(steps: Steps) -> list[tuple]:
    sums = zip(steps.average.listed(), steps.of.tolist(), strict=True)
    averages = [None if total is None else Fraction(total, number) for total, number in sums]
    begun, ended = ([from_us(int(at)) for at in column] for column in (steps.since, steps.until))
    covered = [int(known) * MICROSECOND for known in steps.covered]
    others = [known.listed() for known in (steps.maximum, steps.minimum, steps.percentile)]
    return list(zip(begun, ended, steps.total.listed(), averages, *others, covered, strict=True))


def same(asked: Ask, step: Grain | timedelta, *samples: Sequence[Sample], zone=BERLIN) -> None:
    steps, points = both(asked, step, *samples, zone=zone)
    assert rows(steps) == [
        (p.since, p.until, p.total, p.average, p.maximum, p.minimum, p.percentile, p.covered) for p in points
    ]


def span(data: st.DataObject, samples: Sequence[Sample]) -> tuple[datetime, datetime]:
    first, last = samples[0].at, samples[-1].at
    since = first + data.draw(st.sampled_from([-FIVE, 0 * FIVE, FIVE / 2, FIVE]))
    return since, max(since + MICROSECOND, last + data.draw(st.sampled_from([-FIVE, 0 * FIVE, FIVE / 2, HOUR])))


@settings(max_examples=120, deadline=None)
@given(nasty(), STEPS, st.data())
def test_volumes_and_their_rates_are_those_of_each_step(found, step, data) -> None:
    samples, meter = found
    since, until = span(data, samples)
    if isinstance(step, timedelta):
        until = min(until, since + 500 * step)
    pushed = [(since + n * 3 * FIVE, n) for n in range(3)] if data.draw(st.booleans()) else ()
    same(
        ask(COUNTERS[meter.kind], since, until, meter, pushed=pushed),
        step,
        samples,
        zone=data.draw(st.sampled_from(ZONES)),
    )


LEVEL = st.lists(st.one_of(st.none(), st.integers(-5, 400_000)), min_size=1, max_size=60).filter(any)


@settings(max_examples=120, deadline=None)
@given(LEVEL, STEPS, st.sampled_from(["power", "energy", "addresses"]), st.data())
def test_levels_integrals_and_stocks_are_those_of_each_step(values, step, code, data) -> None:
    samples = levels(*values)
    since, until = span(data, samples)
    same(ask(code, since, until, POWER), step, samples)


@settings(max_examples=80, deadline=None)
@given(nasty((Kind.RUNNING_TOTAL,)), STEPS, st.sampled_from(list(Directions)), st.data())
def test_percentiles_of_either_direction_are_those_of_each_step(found, step, directions, data) -> None:
    samples, meter = found
    other = [Sample(one.at, one.total // 2) for one in samples[:: data.draw(st.integers(1, 2))]]
    since, until = span(data, samples)
    if isinstance(step, timedelta):
        until = min(until, since + 500 * step)
    meters = (meter,) if directions is Directions.SEPARATE else (meter, meter)
    asked = ask("burst_in_day", since, until, *meters, directions=directions, percent=90)
    same(asked, step, *(samples, other)[: len(meters)])


def drawn(asked: Ask, step: Grain | timedelta | None, form: Form, *samples: Sequence[Sample], **more) -> str:
    beside = beside_of(asked.billable.resource, RESOURCES)
    drawing = Drawing(Look(asked, step, BERLIN), form, beside, **more)
    (found,) = crunch.draw(stored(asked, samples), [drawing])
    return found.text


def test_a_point_says_its_volume_and_its_rates_each_in_its_unit() -> None:
    asked = ask("in", T0, T0 + 3 * FIVE, TRAFFIC)
    (point,) = json.loads(drawn(asked, Grain.HOUR, Form.OBJECTS, counted(1024, 1, None)))
    assert point == {
        "from": "2026-11-10T00:00:00+00:00", "until": "2026-11-10T00:15:00+00:00", "value": "1.0009765625",
        "average": "13.500", "maximum": "27", "minimum": "0", "percentile": "27", "coverage": "66.66",
    }  # fmt: skip


def test_levels_are_shown_in_their_own_unit_and_an_integral_s_in_that_of_its_source() -> None:
    samples = levels(90_500, 100_000, 80_000)
    power = json.loads(drawn(ask("power", T0, T0 + 2 * FIVE, POWER), Grain.DAY, Form.COLUMNS, samples))
    assert (power["value"], power["average"], power["maximum"]) == (["95.250"], ["95.250"], ["100"])
    energy = json.loads(drawn(ask("energy", T0, T0 + 2 * FIVE, POWER), Grain.DAY, Form.COLUMNS, samples))
    assert (energy["value"], energy["average"], energy["minimum"]) == (["15.875"], ["95.250"], ["90.5"])
    assert beside_of(RESOURCES["energy"], RESOURCES) == Beside("mW", 0, "W")


def test_a_gap_is_no_point_and_a_half_known_step_says_so() -> None:
    columns = json.loads(
        drawn(ask("power", T0, T0 + 2 * HOUR, POWER), FIVE * 2, Form.COLUMNS, levels(1000, *[None] * 11, 3000))
    )
    assert columns["value"] == ["1.000", None]  # nobody knows how long the last reading held
    assert (columns["maximum"], columns["coverage"]) == (["1", "3"], ["50.00", "0.00"])


def test_samples_are_as_they_were_read_with_the_class_of_the_bill() -> None:
    samples = [Sample(T0, 5), Sample(T0 + FIVE, 2**62), Sample(T0 + 2 * FIVE, 1029)]
    text = drawn(ask("in", T0, T0 + HOUR, TRAFFIC), None, Form.COLUMNS, samples, samples=True)
    found = json.loads(text)
    assert found["base_value"] == ["5", str(2**62), "1029"]
    assert found["value"] == ["0.0048828125", str(2**52), "1.0048828125"]
    assert found["class"] == ["first", "impossible", "gap"]
    rows = drawn(ask("in", T0, T0 + HOUR, TRAFFIC), None, Form.CSV, samples, samples=True)
    assert rows.splitlines()[0] == "2026-11-10T00:00:00+00:00,0.0048828125,5,first"


def test_the_coverage_of_a_point_is_rounded_down_as_everywhere() -> None:
    samples, since = levels(1000, 1000, 1000, None, None, 1000), T0 + timedelta(seconds=1)
    steps, _ = both(ask("power", since, since + HOUR, POWER), Grain.DAY, samples)
    shown = json.loads(drawn(ask("power", since, since + HOUR, POWER), Grain.DAY, Form.COLUMNS, samples))["coverage"]
    assert [Decimal(text) for text in shown] == [coverage(int(steps.covered[0]) * MICROSECOND, since, since + HOUR)]


@pytest.mark.parametrize("form", list(Form))
def test_nothing_known_is_nothing_drawn(form: Form) -> None:
    text = drawn(ask("in", T0, T0 + HOUR, TRAFFIC), FIVE, form, [])
    assert text in ("[]", "") or json.loads(text)["value"] == []


@pytest.mark.parametrize("code", ["power", "addresses"])
@pytest.mark.parametrize("high", [400, 2**70])
def test_pushed_levels_are_the_same_for_all_steps_at_once(code, high) -> None:
    pushed = [(T0 + HOUR, 100), (T0 + 5 * HOUR, high), (T0 + 5 * HOUR, 7), (T0 + DAY, 9)]
    same(ask(code, T0, T0 + 2 * DAY, pushed=pushed), HOUR)
