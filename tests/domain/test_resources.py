"""Units and resources: exact both ways, and what does not come out even is refused or rounded by a named rule."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.resources import (
    RESOURCES,
    UNITS,
    Kind,
    Resource,
    Rounding,
    UnitError,
    convert,
    to_decimal,
    to_whole,
    unit_named,
)


@pytest.mark.parametrize(
    ("quantity", "source", "target", "expected"),
    [
        (1, "GB", "B", 10**9),
        (1, "MB", "B", 10**6),
        (1, "GiB", "B", 2**30),
        (1, "MiB", "B", 2**20),
        (1, "TiB", "GiB", 1024),
        (1, "kB", "B", 1000),
        (10, "Gbit/s", "Mbit/s", 10_000),
        (10, "Mbit/sec", "bit/s", 10**7),
        (1, "hours", "seconds", 3600),
        (37_800, "s", "h", Fraction(21, 2)),
        (1, "kWh", "uWh", 10**9),
        (3600, "Ws", "Wh", 1),
        (1, "Wh", "mWs", 3_600_000),
        (Decimal("1.5"), "kW", "mW", 1_500_000),
    ],
)
def test_units_convert_exactly(quantity, source, target, expected) -> None:
    assert convert(quantity, source, target) == expected
    assert convert(convert(quantity, source, target), target, source) == Fraction(quantity)


def test_units_of_different_things_do_not_convert() -> None:
    with pytest.raises(UnitError, match="KiB is data, W is power"):
        convert(1, "KiB", "W")
    with pytest.raises(UnitError, match="no conversion"):
        convert(1, "calls", "extensions")


@pytest.mark.parametrize("name", ["Mb", "mb", "KIB", "", "furlong"])
def test_an_unknown_unit_is_named_in_the_refusal(name) -> None:
    with pytest.raises(UnitError, match="expected a unit such as"):
        unit_named(name)


def test_a_decimal_without_end_is_refused_unless_digits_and_a_rule_are_named() -> None:
    third = Fraction(1, 3)
    with pytest.raises(UnitError, match="no end as a decimal"):
        to_decimal(third)
    with pytest.raises(UnitError, match="no rounding was named"):
        to_decimal(third, 2)
    assert to_decimal(third, 2, Rounding.HALF_AWAY) == Decimal("0.33")
    assert str(to_decimal(Fraction(5), 2)) == "5.00"


@pytest.mark.parametrize(
    ("value", "down", "up", "half"),
    [("2.5", 2, 3, 3), ("-2.5", -2, -3, -3), ("2.4", 2, 3, 2), ("-2.6", -2, -3, -3), ("0.1", 0, 1, 0), ("7", 7, 7, 7)],
)
def test_each_rounding_does_what_its_name_says(value, down, up, half) -> None:
    exact = Fraction(value)
    rules = (Rounding.DOWN, Rounding.UP, Rounding.HALF_AWAY)
    assert tuple(to_whole(exact, rule) for rule in rules) == (down, up, half)


@settings(deadline=None)
@given(st.sampled_from(sorted(RESOURCES)), st.integers(min_value=0, max_value=2**80))
def test_what_is_shown_is_every_digit_and_reads_back_as_the_same_base_quantity(code, quantity) -> None:
    resource = RESOURCES[code]
    with localcontext() as context:
        context.prec = 3
        shown = resource.shown(quantity)
    assert resource.base(shown) == quantity
    text = format(shown, "f")
    assert "." not in text or not text.endswith("0")


@settings(deadline=None)
@given(st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)), st.fractions())
def test_conversion_there_and_back_changes_nothing(source, target, quantity) -> None:
    if UNITS[source].dimension == UNITS[target].dimension:
        assert convert(convert(quantity, source, target), target, source) == quantity


def test_the_five_counted_resources_have_their_names_and_units() -> None:
    shown = {code: RESOURCES[code].unit for code in ("in", "out", "power", "burst_in_day", "burst_out_day")}
    assert shown == {"in": "KiB", "out": "KiB", "power": "W", "burst_in_day": "Mbit/s", "burst_out_day": "Mbit/s"}
    assert (RESOURCES["in"].base_unit, RESOURCES["in"].scale, RESOURCES["in"].kind) == ("B", 0, Kind.RUNNING_TOTAL)
    assert (RESOURCES["energy"].unit, RESOURCES["energy"].of) == ("Wh", "power")


def test_readings_come_in_in_the_unit_of_the_panel() -> None:
    assert RESOURCES["power"].base(Decimal("0.25"), "kW") == 250_000
    assert RESOURCES["energy"].base(Decimal("1.000001"), "kWh") == 1_000_001_000
    with pytest.raises(UnitError):
        RESOURCES["power"].base(Decimal("0.0001"), "W")
    assert RESOURCES["power"].base(Decimal("0.0005"), "W", Rounding.HALF_AWAY) == 1


def test_a_scale_moves_the_point() -> None:
    load = Resource("load", "items", 2, "items", Kind.GAUGE, timedelta())
    assert load.base(Decimal("1.25")) == 125
    assert load.shown(125) == Decimal("1.25")
    assert load.rounded(Fraction(125, 3), 3) == Decimal("0.417")


def test_a_resource_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UnitError, match="no conversion"):
        Resource("x", "B", 0, "W", Kind.GAUGE, timedelta())
    with pytest.raises(UnitError, match="not negative"):
        Resource("x", "B", -1, "B", Kind.GAUGE, timedelta())
    with pytest.raises(UnitError, match="computed from another"):
        Resource("x", "uWh", 0, "Wh", Kind.INTEGRAL, timedelta())


def test_kinds_know_whether_they_count_up_and_where_they_wrap() -> None:
    assert [kind for kind in Kind if kind.counts_up] == [Kind.RUNNING_TOTAL, Kind.COUNTER32, Kind.COUNTER64]
    assert (Kind.COUNTER32.modulus, Kind.COUNTER64.modulus, Kind.GAUGE.modulus) == (2**32, 2**64, None)
