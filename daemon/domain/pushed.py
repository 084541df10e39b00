"""A pushed usage event: a CloudEvents 1.0 object read strictly, its quantities as whole base units.

Nothing is rounded and nothing is guessed: a float, a time without offset, a unit of something else or a field that nobody knows is
refused, and everything that is wrong with an event is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from daemon.domain.resources import Resource, UnitError, convert

Problem = dict[str, str]
Key = tuple[str, str]
"""Source and id: what makes an event one event."""

USAGE = "usage"
"""The type of an event that names its resource in its data; the other types are the codes of resources."""
UPLOAD, DOWNLOAD = "upload", "download"
PAIR: Mapping[str, str] = {UPLOAD: "out", DOWNLOAD: "in"}
"""The two usage fields as the server sees them: what its customer uploads from it goes out, what is downloaded to it comes in."""
LONGEST = 255
MOST = 2**63 - 1

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DECIMAL = re.compile(r"\d{1,40}(?:\.\d{1,40})?", re.ASCII)
_NEGATIVE = re.compile(r"-\d{1,40}(?:\.\d{1,40})?", re.ASCII)
_REQUIRED = ("specversion", "id", "source", "type", "time", "subject", "data")
_KNOWN = frozenset({*_REQUIRED, "datacontenttype", "dataschema", "traceparent", "tracestate"})
"""The attributes of CloudEvents 1.0 and of its tracing extension; the last four say nothing about usage and are not kept."""
_ONE = frozenset({"resource", "value", "unit"})
_TWO = frozenset({UPLOAD, DOWNLOAD, "unit"})


@dataclass(frozen=True, slots=True)
class PushedEvent:
    """One event, understood. Two usage fields of one event stay two quantities, of two resources."""

    source: str
    event_id: str
    service_id: int
    at: datetime
    resource: str
    quantity: int
    """In base units of the resource."""
    second_resource: str | None = None
    second_quantity: int | None = None

    @property
    def key(self) -> Key:
        return (self.source, self.event_id)

    @property
    def readings(self) -> tuple[tuple[str, int], ...]:
        """(resource, quantity) of each usage field."""
        first = (self.resource, self.quantity)
        if self.second_resource is None or self.second_quantity is None:
            return (first,)
        return (first, (self.second_resource, self.second_quantity))

    def content(self) -> dict[str, Any]:
        """What two events of one key must agree in: the same instant, service and quantities, however they were written."""
        return {
            "service": self.service_id,
            "time": self.at.isoformat(),
            "quantities": {resource: str(quantity) for resource, quantity in self.readings},
        }


class EventReader:
    """Reads events; one reader is made once and used for all of them."""

    def __init__(self, resources: Mapping[str, Resource], pair: Mapping[str, str] = PAIR) -> None:
        self._resources = resources
        self._pair = pair
        self._factors: dict[tuple[str, str | None], Fraction] = {}

    def read(self, raw: Any) -> PushedEvent | list[Problem]:
        """The event, or everything that is wrong with it as {"field", "code", "message"}."""
        if not isinstance(raw, dict):
            return [_problem("event", "not_an_event", "expected a CloudEvents object")]
        problems: list[Problem] = []
        if not raw.keys() <= _KNOWN:
            problems += [_unknown(name) for name in raw if name not in _KNOWN]
        missing = [name for name in _REQUIRED if name not in raw]
        if missing:
            problems += [_problem(name, "missing", "expected a value") for name in missing]
        if "specversion" in raw and raw["specversion"] != "1.0":
            problems.append(_problem("specversion", "specversion", 'expected "1.0"'))
        kind = raw.get("datacontenttype")
        if kind is not None and not (isinstance(kind, str) and kind.split(";")[0].strip() == "application/json"):
            problems.append(_problem("datacontenttype", "not_json", "expected application/json"))
        source = _text(raw, "source", problems)
        event_id = _text(raw, "id", problems)
        at = _time(raw, problems)
        service_id = _subject(raw, problems)
        quantities = self._quantities(raw, problems)
        if problems or at is None:
            return problems
        return PushedEvent(source, event_id, service_id, at, *quantities)

    def _quantities(self, raw: dict[str, Any], problems: list[Problem]) -> tuple[Any, ...]:
        """(resource, quantity), twice where the event has two usage fields."""
        named = self._named_by_type(raw, problems)
        if "data" not in raw:
            return ()
        data = raw["data"]
        if not isinstance(data, dict):
            problems.append(_problem("data", "not_an_object", "expected an object with the quantities"))
            return ()
        two = UPLOAD in data or DOWNLOAD in data
        known = _TWO if two else _ONE
        problems += [_unknown(name, "data.") for name in data if name not in known]
        if not two:
            code = self._resource(data, named, problems)
            if "value" not in data:
                problems.append(_problem("data.value", "missing", "expected a quantity"))
                return ()
            return (code, self._quantity(data, "value", code, problems)) if code else ()
        if named is not None:
            problems.append(_problem("type", "wrong_type", 'expected "usage" for an event with two usage fields'))
        found: list[Any] = []
        for name in (UPLOAD, DOWNLOAD):
            if name not in data:
                problems.append(_problem(f"data.{name}", "missing", "expected both usage fields"))
            elif self._pair[name] not in self._resources:
                problems.append(_problem(f"data.{name}", "unknown_resource", _NO_RESOURCE))
            else:
                found += [self._pair[name], self._quantity(data, name, self._pair[name], problems)]
        return tuple(found)

    def _named_by_type(self, raw: dict[str, Any], problems: list[Problem]) -> str | None:
        kind = raw.get("type")
        if "type" not in raw or kind == USAGE:
            return None
        if isinstance(kind, str) and kind in self._resources:
            return kind
        problems.append(_problem("type", "unknown_resource", 'expected "usage" or the code of a resource'))
        return None

    def _resource(self, data: dict[str, Any], named: str | None, problems: list[Problem]) -> str | None:
        if "resource" not in data:
            if named is None:
                problems.append(_problem("data.resource", "missing", "expected the code of a resource"))
            return named
        code = data["resource"]
        if not isinstance(code, str) or code not in self._resources:
            problems.append(_problem("data.resource", "unknown_resource", _NO_RESOURCE))
            return None
        if named is not None and named != code:
            problems.append(_problem("data.resource", "wrong_type", "expected the same resource as in `type`"))
        return code

    def _quantity(self, data: dict[str, Any], name: str, code: str, problems: list[Problem]) -> int:
        field = f"data.{name}"
        value = data[name]
        factor = self._factor(code, data.get("unit"), problems)
        if type(value) is int:
            exact: Fraction | int = value
        elif isinstance(value, str) and _DECIMAL.fullmatch(value):
            exact = Fraction(Decimal(value)) if "." in value else int(value)
        elif isinstance(value, str) and _NEGATIVE.fullmatch(value):
            exact = -1
        else:
            problems.append(
                _problem(field, "not_exact", "expected a decimal string or a whole number, never a floating-point one")
            )
            return 0
        if factor is None:
            return 0
        if exact < 0:
            problems.append(_problem(field, "negative", "expected a quantity of at least 0"))
            return 0
        if factor != 1:
            exact = exact * factor
        if isinstance(exact, Fraction):
            if exact.denominator != 1:
                unit = self._resources[code].base_unit
                problems.append(_problem(field, "not_whole", f"expected a whole number of {unit} after conversion"))
                return 0
            exact = exact.numerator
        if exact > MOST:
            problems.append(_problem(field, "too_large", "expected a number of at most 64 bits"))
            return 0
        return exact

    def _factor(self, code: str, unit: Any, problems: list[Problem]) -> Fraction | None:
        """Base quantities of one `unit`; without a unit the value is in base units."""
        if unit is not None and not isinstance(unit, str):
            problems.append(_problem("data.unit", "unit", "expected the name of a unit"))
            return None
        known = self._factors.get((code, unit))
        if known is not None:
            return known
        resource = self._resources[code]
        try:
            factor: Fraction = convert(1, unit or resource.base_unit, resource.base_unit) * 10**resource.scale
        except UnitError:
            problems.append(_problem("data.unit", "unit", f"expected a unit of {code}, such as {resource.base_unit}"))
            return None
        self._factors[code, unit] = factor  # only names of units come here: there are few
        return factor


_NO_RESOURCE = "there is no resource of this code"


def _text(raw: dict[str, Any], name: str, problems: list[Problem]) -> str:
    if name not in raw:
        return ""
    value = raw[name]
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        problems.append(_problem(name, "length", f"expected a text of 1 to {LONGEST} characters"))
    elif not value.isprintable():
        problems.append(_problem(name, "bad_text", "expected text without control characters"))
    else:
        return value
    return ""


def _time(raw: dict[str, Any], problems: list[Problem]) -> datetime | None:
    """RFC 3339; an offset is a must, and what is finer than a microsecond is cut off."""
    if "time" not in raw:
        return None
    value = raw["time"]
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            moment = None
        if moment is not None and 1000 <= moment.year <= 9000:
            return moment.astimezone(UTC)
    problems.append(_problem("time", "time", "expected RFC 3339 with an offset, such as 2026-01-31T00:00:00Z"))
    return None


def _subject(raw: dict[str, Any], problems: list[Problem]) -> int:
    if "subject" not in raw:
        return 0
    value = raw["subject"]
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    if type(value) is int and 0 < value <= MOST:
        return value
    problems.append(_problem("subject", "subject", "expected the id of a service"))
    return 0


def _unknown(name: str, before: str = "") -> Problem:
    shown = name[:100].encode("unicode_escape").decode()
    return _problem(f"{before}{shown}", "extra_forbidden", "there is no such field")


def _problem(field: str, code: str, message: str) -> Problem:
    return {"field": field, "code": code, "message": message}
