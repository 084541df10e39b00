"""Resources that an admin adds to the built-in ones, and quantities as they are written in settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, PlainSerializer, PlainValidator, model_validator

from daemon.domain.resources import (
    RESOURCES,
    UNITS,
    Kind,
    Resource,
    UnitError,
    convert,
    to_decimal,
    unit_named,
)
from daemon.settings.base import About, Faults, SettingsModel, refuse
from daemon.settings.types import Duration

_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([^\W\d_][A-Za-z/]{0,15})")
_BASES = {"data": "B", "rate": "bit/s", "power": "mW", "energy": "uWh"}
READ = (Kind.RUNNING_TOTAL, Kind.COUNTER32, Kind.COUNTER64, Kind.GAUGE)
"""Kinds that a report can give; the others are computed, or counted from our own data."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit, exactly as written: `10 TiB`."""

    number: Decimal
    unit: str

    def __str__(self) -> str:
        return f"{self.number:f} {self.unit}"

    def of(self, resource: Resource) -> int:
        """As a whole base quantity of the resource. Raises UnitError for another kind of thing, or a part of a base unit."""
        value = convert(self.number, self.unit, resource.base_unit) * Fraction(10**resource.scale)
        if value.denominator != 1:
            raise UnitError(f"{self} is not a whole number of {resource.base_unit}")
        return value.numerator

    def whole(self, unit: str) -> int:
        """As a whole number of `unit`s; raises UnitError."""
        value = convert(self.number, self.unit, unit)
        if value.denominator != 1:
            raise UnitError(f"{self} is not a whole number of {unit}")
        return value.numerator


def parse_quantity(value: Any) -> Quantity:
    if isinstance(value, Quantity):
        return value
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refuse("a quantity such as 10 TiB (a number and a unit)")
    try:
        unit = unit_named(match[2])
    except UnitError:
        raise refuse(f"a quantity with one of the units {', '.join(UNITS)}") from None
    text = match[1].lstrip("0") or "0"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return Quantity(Decimal(text or "0"), unit.name)


def check_more_than_none(value: Quantity) -> Quantity:
    if not value.number:
        raise refuse("a quantity of more than zero")
    return value


def check_speed(value: Quantity) -> Quantity:
    if (
        unit_named(value.unit).dimension != "rate"
        or not value.number
        or convert(value.number, value.unit, "bit/s").denominator != 1
    ):
        raise refuse("a speed such as 10 Gbit/s (bit/s, Kbit/s, Mbit/s, Gbit/s or Tbit/s)")
    return value


def check_unit(name: str) -> str:
    try:
        return unit_named(name).name
    except UnitError:
        raise refuse(f"a unit: {', '.join(UNITS)}") from None


Unit = Annotated[str, AfterValidator(check_unit)]
QuantityText = Annotated[Quantity, PlainValidator(parse_quantity), PlainSerializer(str, return_type=str)]
Step = Annotated[QuantityText, AfterValidator(check_more_than_none)]
Speed = Annotated[QuantityText, AfterValidator(check_speed)]
RoundingName = Literal["exact", "down", "up", "half_away"]

ABOUT_ROUNDING = About(
    "what becomes of a number that does not come out whole in the resource's base unit: exact (the row is told and left out), down, "
    "up or half_away",
    why="nothing is rounded that nobody asked for",
)


class ResourceDeclaration(SettingsModel):
    """A resource of your own: counted from a field of a panel's report, pushed by a program, or an amount of our own data."""

    unit: Annotated[Unit, About("the unit that people see, such as KiB, GB, Mbit/s, h, Wh or items")]
    base_unit: Annotated[
        Unit | None,
        About(
            "the unit that is counted in whole numbers",
            why="B, bit/s, mW or uWh for what these measure, else the unit itself",
            example="B",
        ),
    ] = None
    kind: Annotated[
        Literal["running_total", "counter32", "counter64", "gauge", "stock"],
        About(
            "what one reading means; running_total: all since the panel's calendar month began; counter32, counter64: a counter "
            "that wraps; gauge: a level; stock: an amount that is configured or held, never read from a panel",
        ),
    ]
    late_by: Annotated[
        Duration,
        About(
            "how long after its moment a reading may reach us; a period closes no sooner",
            why="as for traffic",
        ),
    ] = timedelta(minutes=15)

    @model_validator(mode="after")
    def _comes_to_an_end(self) -> ResourceDeclaration:
        faults = Faults()
        try:
            to_decimal(convert(1, self.base, self.unit))
        except UnitError as error:
            place = ("unit",) if self.base_unit is None else ("base_unit",)
            shown = convert(1, self.base, self.unit) if _alike(self.base, self.unit) else None
            text = (
                str(error) if shown is None else f"1 {self.base} is {shown} {self.unit}, which has no end as a decimal"
            )
            faults.add(place, text)
        faults.raise_if_any()
        return self

    @property
    def base(self) -> str:
        return self.base_unit or _BASES.get(unit_named(self.unit).dimension, self.unit)

    def resource(self, code: str) -> Resource:
        kind = Kind(self.kind)
        return Resource(code, self.base, 0, self.unit, kind, self.late_by, declared=kind is Kind.STOCK)


def _alike(one: str, other: str) -> bool:
    return unit_named(one).dimension == unit_named(other).dimension


def catalogue(declared: Mapping[str, ResourceDeclaration]) -> dict[str, Resource]:
    """Every resource by its code: ours, then those of the settings, which can't take a built-in one's place."""
    own = {code: declaration.resource(code) for code, declaration in declared.items()}
    return {**own, **RESOURCES}


def unit_fault(unit: str, resource: Resource) -> str | None:
    """Why a number of `unit` can't be a quantity of the resource; None when it can."""
    try:
        convert(1, unit, resource.base_unit)
    except UnitError as error:
        return str(error)
    return None
