"""Billable resources and their units: what is counted, in which whole unit, and how it is shown.

Quantities are whole numbers of a resource's base unit (`docs/adr/0010-money-and-quantities.md`). The base units are so fine that
every quantity of a built-in resource has an end as a decimal in its shown unit; nothing is rounded on its way to a reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction


class UnitError(ValueError):
    """A unit that is not known, two units of different things, or a quantity that does not come out whole; a sentence for people."""


class Rounding(StrEnum):
    """The named rules for what does not come out even. `EXACT` is the default everywhere: it refuses instead of rounding."""

    EXACT = "exact"
    DOWN = "down"
    """Towards zero: the customer never pays for a part of a unit."""
    UP = "up"
    """Away from zero: a started unit counts."""
    HALF_AWAY = "half_away"
    """To the nearest, halves away from zero: the rule for money and for rates."""


def to_whole(value: Fraction, rounding: Rounding = Rounding.EXACT) -> int:
    """The whole number that `rounding` gives for `value`. Raises UnitError where EXACT meets a part."""
    if value.denominator == 1:
        return value.numerator
    if rounding is Rounding.EXACT:
        raise UnitError(f"{value} is not a whole number, and no rounding was named")
    sign = -1 if value < 0 else 1
    whole, rest = divmod(abs(value.numerator), value.denominator)
    more = rounding is Rounding.UP or (rounding is Rounding.HALF_AWAY and 2 * rest >= value.denominator)
    return sign * (whole + more)


def to_decimal(value: Fraction, digits: int | None = None, rounding: Rounding = Rounding.EXACT) -> Decimal:
    """`value` as a decimal. Without `digits`: every digit, no trailing zeros; UnitError when it never ends (1/3).

    With `digits`: exactly so many after the point, by `rounding`. Independent of the thread's decimal context.
    """
    places = _places(value) if digits is None else digits
    if places is None:
        raise UnitError(f"{value} has no end as a decimal; name the digits and a rounding")
    return Decimal(f"{to_whole(value * 10**places, rounding)}E-{places}")


def _places(value: Fraction) -> int | None:
    """How many decimals `value` needs; None when it never ends."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None


@dataclass(frozen=True)
class Unit:
    """`size` is how many of the dimension's first unit one of this is: B, bit/s, s, W, Wh, or one piece of what is counted."""

    name: str
    dimension: str
    size: Fraction


def _family(dimension: str, sizes: Mapping[str, int | Fraction]) -> dict[str, Unit]:
    return {name: Unit(name, dimension, Fraction(size)) for name, size in sizes.items()}


_DECIMAL_BYTES: dict[str, int | Fraction] = {
    name: 1000**power for power, name in enumerate(("B", "KB", "MB", "GB", "TB", "PB"))
}
_BINARY_BYTES: dict[str, int | Fraction] = {
    name: 1024**power for power, name in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB"), start=1)
}
_RATES: dict[str, int | Fraction] = {
    name: 1000**power for power, name in enumerate(("bit/s", "Kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"))
}
_TIMES: dict[str, int | Fraction] = {
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
}
_POWERS: dict[str, int | Fraction] = {"mW": Fraction(1, 1000), "W": 1, "kW": 1000, "MW": 10**6}
_ENERGIES: dict[str, int | Fraction] = {
    "uWh": Fraction(1, 10**6),
    "mWh": Fraction(1, 1000),
    "Wh": 1,
    "kWh": 1000,
    "MWh": 10**6,
}
_WATT_SECONDS: dict[str, int | Fraction] = {"mWs": Fraction(1, 3_600_000), "Ws": Fraction(1, 3600)}
_COUNTED = ("addresses", "services", "calls", "extensions", "items")

UNITS: dict[str, Unit] = {
    **_family("data", {**_DECIMAL_BYTES, **_BINARY_BYTES}),
    **_family("rate", _RATES),
    **_family("time", _TIMES),
    **_family("power", _POWERS),
    **_family("energy", {**_ENERGIES, **_WATT_SECONDS}),
    **{name: Unit(name, name, Fraction(1)) for name in _COUNTED},
}
"""Every unit by its name. KB, MB, GB, TB, PB are steps of 1000, KiB to PiB steps of 1024; rates are steps of 1000 bits."""

ALIASES: dict[str, str] = {
    "kB": "KB",
    "bytes": "B",
    "bps": "bit/s",
    "kbit/s": "Kbit/s",
    "Mbps": "Mbit/s",
    "Mbit/sec": "Mbit/s",
    "Gbps": "Gbit/s",
    "seconds": "s",
    "minutes": "min",
    "hours": "h",
    "days": "d",
    "Watt": "W",
    "µWh": "uWh",
}


def unit_named(name: str) -> Unit:
    """The unit; raises UnitError. Names are case-sensitive: MB and Mb, or mW and MW, are far apart."""
    found = UNITS.get(ALIASES.get(name, name))
    if found is None:
        raise UnitError(f"expected a unit such as B, KiB, GB, Mbit/s, h, W, Wh; got {name!r}")
    return found


def convert(quantity: int | Decimal | Fraction, source: str, target: str) -> Fraction:
    """`quantity` of unit `source` in unit `target`, exact. Raises UnitError when they measure different things."""
    before, after = unit_named(source), unit_named(target)
    if before.dimension != after.dimension:
        raise UnitError(f"{before.name} is {before.dimension}, {after.name} is {after.dimension}: no conversion")
    return Fraction(quantity) * before.size / after.size


class Kind(StrEnum):
    """What one reading of a resource means."""

    RUNNING_TOTAL = "running_total"
    """All since the start of the platform's calendar month; begins anew with each."""
    COUNTER32 = "counter32"
    """A counter of 32 bits that wraps."""
    COUNTER64 = "counter64"
    """A counter of 64 bits that wraps."""
    GAUGE = "gauge"
    """A level at the moment of reading."""
    INTEGRAL = "integral"
    """Not read: the time integral of another resource."""
    RATE = "rate"
    """Not read: computed from the growth of another resource, interval by interval."""
    STOCK = "stock"
    """A configured or held amount out of our own data; a level, without gaps."""

    @property
    def counts_up(self) -> bool:
        """True when the difference of two readings is a volume."""
        return self in (Kind.RUNNING_TOTAL, Kind.COUNTER32, Kind.COUNTER64)

    @property
    def modulus(self) -> int | None:
        """Where the counter wraps; None for what never does."""
        return {Kind.COUNTER32: 2**32, Kind.COUNTER64: 2**64}.get(self)

    @property
    def highest(self) -> int:
        """The highest reading that can be kept: samples are signed numbers of 64 bits, and only a counter of 64 bits goes beyond them."""
        return 2**64 - 1 if self is Kind.COUNTER64 else 2**63 - 1

    def stored(self, total: int) -> int:
        """A reading as it is kept: the upper half of a counter of 64 bits as its two's complement. What can't be kept stays beyond 64 bits."""
        upper_half = 2**63 <= total <= self.highest
        return total - 2**64 if upper_half or (self is Kind.COUNTER64 and total < 0) else total

    def total(self, stored: int) -> int:
        """The reading that was kept."""
        return stored + 2**64 if self is Kind.COUNTER64 and stored < 0 else stored


@dataclass(frozen=True)
class Resource:
    """A billable resource.

    A base quantity q means q x 10^-`scale` of `base_unit`; the built-in ones have scale 0. `unit` is what people see. `late_by` is
    how long after its moment a reading may reach us; a period closes no sooner. `of` names the resource that an INTEGRAL or RATE
    is computed from. `declared` marks an amount that was configured, not measured.
    """

    code: str
    base_unit: str
    scale: int
    unit: str
    kind: Kind
    late_by: timedelta
    of: str | None = None
    declared: bool = False

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise UnitError(f"{self.code}: a scale is not negative")
        convert(1, self.base_unit, self.unit)
        if (self.of is not None) != (self.kind in (Kind.INTEGRAL, Kind.RATE)):
            raise UnitError(f"{self.code}: an integral or a rate, and nothing else, is computed from another resource")

    def exact(self, base_quantity: int | Fraction) -> Fraction:
        """The quantity in shown units."""
        return convert(Fraction(base_quantity) / 10**self.scale, self.base_unit, self.unit)

    def shown(self, base_quantity: int) -> Decimal:
        """The quantity in shown units, every digit. Raises UnitError for a declared resource whose units never come out even."""
        return to_decimal(self.exact(base_quantity))

    def rounded(self, base_quantity: int | Fraction, digits: int, rounding: Rounding = Rounding.HALF_AWAY) -> Decimal:
        """The quantity in shown units with so many decimals: for tables and averages, never for a bill."""
        return to_decimal(self.exact(base_quantity), digits, rounding)

    def base(
        self, quantity: int | Decimal | Fraction, unit: str | None = None, rounding: Rounding = Rounding.EXACT
    ) -> int:
        """`quantity` of `unit` (default: the shown one) as a whole base quantity. Raises UnitError for a part that EXACT refuses."""
        return to_whole(convert(quantity, unit or self.unit, self.base_unit) * 10**self.scale, rounding)


_TRAFFIC_LATE = timedelta(minutes=15)
_POWER_LATE = timedelta(minutes=90)
_AT_ONCE = timedelta()

RESOURCES: dict[str, Resource] = {
    resource.code: resource
    for resource in (
        Resource("in", "B", 0, "KiB", Kind.RUNNING_TOTAL, _TRAFFIC_LATE),
        Resource("out", "B", 0, "KiB", Kind.RUNNING_TOTAL, _TRAFFIC_LATE),
        Resource("power", "mW", 0, "W", Kind.GAUGE, _POWER_LATE),
        Resource("energy", "uWh", 0, "Wh", Kind.INTEGRAL, _POWER_LATE, of="power"),
        Resource("burst_in_day", "bit/s", 0, "Mbit/s", Kind.RATE, _TRAFFIC_LATE, of="in"),
        Resource("burst_out_day", "bit/s", 0, "Mbit/s", Kind.RATE, _TRAFFIC_LATE, of="out"),
        Resource("addresses", "addresses", 0, "addresses", Kind.STOCK, _AT_ONCE),
        Resource("services", "services", 0, "services", Kind.STOCK, _AT_ONCE),
        Resource("active_calls", "calls", 0, "calls", Kind.GAUGE, _TRAFFIC_LATE),
        Resource("concurrent_calls", "calls", 0, "calls", Kind.STOCK, _AT_ONCE, declared=True),
        Resource("pbx_extensions", "extensions", 0, "extensions", Kind.STOCK, _AT_ONCE, declared=True),
    )
}
"""The built-in resources by code.

The panel of DCImanager puts power into its database once an hour (`docs/reference/contracts.md#statistics`), hence 90 minutes. Energy
is counted in millionths of a watt-hour: one watt-second is 1/3600 Wh and would never come out even when shown. Active calls are
measured; concurrent calls and PBX extensions are what the customer has configured, used or not.
"""
