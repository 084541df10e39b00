"""The panel's reports (docs/reference/contracts.md#statistics): one bulk answer each, whole numbers or a reported problem.

What is exact is taken as it is; what can't be read is told and left out, never guessed and never zero. Rules:

- A panel writes two numbers into a field: the exact one in the attribute `orig`, and a text that is rounded for people. `orig` counts.
  The text counts only where the settings name its unit (`text_unit`); a unit that stands in the text itself then goes before it.
- A number becomes base units of its resource by exact fractions. What does not come out whole is a problem, unless a rounding is named.
- Power in Wh, kWh or Ah is the energy of a stated time (`over`): watts = watt-hours x 3600 / seconds; watt-hours = ampere-hours x volts.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import islice
from xml.etree.ElementTree import Element

from daemon.coremanager.documents import Doc, text_of
from daemon.domain.resources import RESOURCES, Resource, Rounding, UnitError, convert, to_whole, unit_named
from daemon.modules.base import Measurement, Report
from daemon.settings.dcimanager import BurstReport, CustomReport, DcimanagerSettings, PowerReport, TrafficReport

TRAFFIC, BURST, POWER = "traffic", "burst", "power"

_NUMBER = re.compile(r"([0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?)", re.ASCII)
_SHOWN = re.compile(rf"{_NUMBER.pattern} ?([A-Za-z/]{{1,12}})?", re.ASCII)
_NEGATIVE = re.compile(rf"-{_NUMBER.pattern}", re.ASCII)
_ROWS_PER_TURN = 1000
"""Rows read before the loop gets its turn: a millisecond or two."""
_LONG = 40
"""Characters of a number that nobody's traffic has."""
_MOST = {"rate": ("Tbit/s", 100), "power": ("MW", 1)}
"""More than this, of one server, is no reading but nonsense; of what isn't named here: whatever can be stored."""


class _FieldError(Exception):
    """A field that can't be believed; the text is the problem."""


@dataclass(frozen=True)
class Column:
    """How one resource is read from a row. `exact` and `text` are base units per one of what stands in `orig` or in the text.

    `times` is `exact` where that is a whole number. `setting` is where an admin corrects it, as in "traffic". `instead` is a field
    that counts where a row has none of its own.
    """

    resource: str
    field: str
    exact: Fraction
    times: int | None
    unit: str
    text: Fraction | None
    text_unit: str | None
    rounding: Rounding
    most: int
    setting: str
    instead: str | None = None


@dataclass(frozen=True)
class Layout:
    """One report of the panel: what to call, and what to read from the answer."""

    name: str
    function: str
    period: str | None
    id_field: str
    columns: tuple[Column, ...]

    @property
    def report(self) -> Report:
        return Report(self.name, tuple(column.resource for column in self.columns))


def layouts(settings: DcimanagerSettings) -> dict[str, Layout]:
    """The reports that this panel is asked for, by name."""
    found = [_traffic(settings.traffic), _power(settings.power)]
    if settings.burst.source == "panel":
        found.append(_burst(settings.burst))
    found += [_custom(report, settings) for report in settings.reports]
    return {layout.name: layout for layout in found}


def _traffic(report: TrafficReport) -> Layout:
    sides = (report.tx_field, report.rx_field) if report.swap else (report.rx_field, report.tx_field)
    columns = tuple(
        _column(RESOURCES[code], field, "B", report.text_unit, Rounding(report.rounding), TRAFFIC)
        for code, field in zip(("in", "out"), sides, strict=True)
    )
    return Layout(TRAFFIC, report.function, report.period, report.id_field, columns)


def _burst(report: BurstReport) -> Layout:
    sides = (report.out_field, report.in_field) if report.swap else (report.in_field, report.out_field)
    columns = tuple(
        _column(
            RESOURCES[code],
            field,
            report.unit,
            report.text_unit,
            Rounding(report.rounding),
            BURST,
            instead=report.both_field,
        )
        for code, field in zip(("burst_in_day", "burst_out_day"), sides, strict=True)
    )
    return Layout(BURST, report.function, report.period, report.id_field, columns)


def _power(report: PowerReport) -> Layout:
    resource = RESOURCES["power"]
    watt = _per(resource, "W")
    exact = _watts(report.unit, report) * watt
    text = None if report.text_unit is None else _watts(report.text_unit, report) * watt
    column = _made(resource, report.field, exact, report.unit, text, report.text_unit, Rounding(report.rounding), POWER)
    return Layout(POWER, report.function, report.period, report.id_field, (column,))


def _watts(unit: str, report: PowerReport) -> Fraction:
    """Average watts that one `unit` stands for."""
    if unit in ("W", "kW"):
        return convert(1, unit, "W")
    assert report.over is not None
    hours = Fraction(report.over // timedelta(milliseconds=1), 3_600_000)
    if unit == "Ah":
        assert report.volts is not None
        return report.volts / hours
    return convert(1, unit, "Wh") / hours


def _custom(report: CustomReport, settings: DcimanagerSettings) -> Layout:
    columns = tuple(
        _column(
            settings.catalogue[code],
            field.field,
            field.unit,
            field.text_unit,
            Rounding(field.rounding),
            f"reports.{report.name}.fields.{code}",
        )
        for code, field in report.fields.items()
        if code in settings.catalogue
    )
    return Layout(report.name, report.function, report.period, report.id_field, columns)


def _column(
    resource: Resource,
    field: str,
    unit: str,
    text_unit: str | None,
    rounding: Rounding,
    setting: str,
    *,
    instead: str | None = None,
) -> Column:
    text = None if text_unit is None else _per(resource, text_unit)
    return _made(resource, field, _per(resource, unit), unit, text, text_unit, rounding, setting, instead)


def _made(
    resource: Resource,
    field: str,
    exact: Fraction,
    unit: str,
    text: Fraction | None,
    text_unit: str | None,
    rounding: Rounding,
    setting: str,
    instead: str | None = None,
) -> Column:
    times = exact.numerator if exact.denominator == 1 else None
    most = _most(resource)
    return Column(resource.code, field, exact, times, unit, text, text_unit, rounding, most, setting, instead)


def _per(resource: Resource, unit: str) -> Fraction:
    """Base units of the resource in one `unit`."""
    return convert(1, unit, resource.base_unit) * Fraction(10**resource.scale)


def _most(resource: Resource) -> int:
    storable = resource.kind.highest
    unit, number = _MOST.get(unit_named(resource.base_unit).dimension, (resource.base_unit, storable))
    return min(storable, int(number * _per(resource, unit)))


async def measurement(doc: Doc, at: datetime, layout: Layout) -> Measurement:
    """Read every row that carries an id. A field that can't be read is told in `problems`; the row's other fields count."""
    read = _Read(layout)
    rows = doc.report_rows()
    while part := list(islice(rows, _ROWS_PER_TURN)):
        await asyncio.sleep(0)
        read.take(part)
    if doc.raw.find("reportdata") is None:
        read.problems.append(f"the answer of {layout.function} is no report: it has no reportdata")
    elif read.rows and not read.seen:
        read.problems.append(f"no row of {layout.function} has a server's id in {layout.id_field}")
    return Measurement(at, read.values, tuple(read.problems), read.hostnames)


class _Read:
    """What the rows of a report say, as far as they have been read."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.values: dict[str, dict[str, int]] = {column.resource: {} for column in layout.columns}
        self.hostnames: dict[str, str] = {}
        self.problems: list[str] = []
        self.seen: set[str] = set()
        self.rows = 0

    def take(self, rows: list[Element]) -> None:
        self.rows += len(rows)
        if not self._take_plain(rows):
            for row in rows:
                self._take(row)

    def _take_plain(self, rows: list[Element]) -> bool:
        """All of them column by column, where nothing about them is odd: half of the time that row by row takes. Else none of them."""
        ids = [text_of(found) for row in rows if (found := row.find(self._layout.id_field)) is not None]
        fresh = set(ids)
        if len(fresh) < len(rows) or "" in fresh or not fresh.isdisjoint(self.seen):
            return False
        columns = [_plain_column(rows, column) for column in self._layout.columns]
        if None in columns:
            return False
        for column, numbers in zip(self._layout.columns, columns, strict=True):
            self.values[column.resource].update(zip(ids, numbers or (), strict=True))
        self.seen |= fresh
        for remote_id, row in zip(ids, rows, strict=True):
            name = row.find("hostname")
            if name is not None:
                self.hostnames[remote_id] = text_of(name)
        return True

    def _take(self, row: Element) -> None:
        id_element = row.find(self._layout.id_field)
        if id_element is None:  # a heading, or a list inside a row
            return
        remote_id = text_of(id_element)
        if remote_id in self.seen or not remote_id:
            self.problems.append(_odd(remote_id))
            return
        self.seen.add(remote_id)
        for column in self._layout.columns:
            try:
                self.values[column.resource][remote_id] = _quantity(row, column, self._layout)
            except _FieldError as error:
                self.problems.append(f"server {remote_id}: {error}")
        name = row.find("hostname")
        if name is not None:
            self.hostnames[remote_id] = text_of(name)


def _plain_column(rows: list[Element], column: Column) -> list[int] | None:
    """The quantities of one column, where each row has a plain one; `_quantity` finds the same."""
    written = [found.get("orig", "") for row in rows if (found := row.find(column.field)) is not None]
    if len(written) < len(rows):
        return None
    digits = "".join(written)
    if column.times and all(written) and digits.isascii() and digits.isdigit() and max(map(len, written)) < _LONG:
        values = [int(text) * column.times for text in written]  # `_plain` of each takes three times as long
    else:
        values = [number for text in written if (number := _plain(text, column)) is not None]
    return values if len(values) == len(rows) and max(values) <= column.most else None


def _plain(text: str, column: Column) -> int | None:
    """What comes out whole of digits, or of digits with a point in them; None: that takes a closer look."""
    if column.times is None or not text.isascii() or len(text) >= _LONG:
        return None
    if text.isdigit():
        return int(text) * column.times
    whole, _, part = text.partition(".")
    if not (whole.isdigit() and part.isdigit()):
        return None
    number, rest = divmod(int(whole + part) * column.times, 10 ** len(part))
    return None if rest else number


def _odd(remote_id: str) -> str:
    if not remote_id:
        return "server (no id): its id is empty"
    return f"server {remote_id}: it is in the report more than once; only the first row counts"


def _quantity(row: Element, column: Column, layout: Layout) -> int:
    element = row.find(column.field)
    if element is None:
        element = _instead(row, column, layout)
    orig = element.get("orig")
    plain = _plain(orig, column) if orig else None
    if plain is not None:
        value = plain
    elif orig:
        value = _whole(orig.strip(), column)
    elif column.text is None:
        raise _FieldError(
            f"{element.tag} has no exact number (attribute orig); set {column.setting}.text_unit to count the shown text"
        )
    else:
        value = _shown(text_of(element), column)
    if value > column.most:
        raise _FieldError(f"{column.field} is beyond all sense")
    return value


def _instead(row: Element, column: Column, layout: Layout) -> Element:
    """One number for both directions counts only where neither has its own."""
    if column.instead is not None and all(row.find(other.field) is None for other in layout.columns):
        found = row.find(column.instead)
        if found is not None:
            return found
    raise _FieldError(f"it has no field {column.field}")


def _whole(text: str, column: Column) -> int:
    number = _number(text, _NUMBER.fullmatch(text), column)
    return _rounded(number * column.exact, f"{text} {column.unit}", column)


def _shown(text: str, column: Column) -> int:
    """What is shown to people, in the unit that stands in it, else in the one of the settings."""
    match = _SHOWN.fullmatch(text)
    number = _number(text, match, column)
    assert match is not None
    assert column.text is not None
    assert column.text_unit is not None
    unit, factor = match[2], column.text
    if unit and unit != column.text_unit:
        factor *= _ratio(unit, column)
    return _rounded(number * factor, f"{match[1]} {unit or column.text_unit}", column)


def _ratio(unit: str, column: Column) -> Fraction:
    """How many of the set unit one of the shown unit is. A kilobyte beside a set KiB may mean either: that is not guessed."""
    assert column.text_unit is not None
    try:
        ratio = convert(1, unit, column.text_unit)
    except UnitError:
        ratio = None
    binary = {name.endswith("iB") for name in (unit, column.text_unit) if name.endswith("B") and name != "B"}
    if ratio is None or len(binary) > 1:
        raise _FieldError(
            f"{column.field} is shown in {unit}, where {column.setting}.text_unit says {column.text_unit}"
        )
    return ratio


def _number(text: str, match: re.Match[str] | None, column: Column) -> Fraction:
    if match is not None:
        return Fraction(match[1])
    if _NEGATIVE.match(text):
        raise _FieldError(f"{column.field} is negative")
    raise _FieldError(f"{column.field} holds no number")


def _rounded(quantity: Fraction, written: str, column: Column) -> int:
    try:
        return to_whole(quantity, column.rounding)
    except UnitError:
        raise _FieldError(
            f"{written} in {column.field} does not come out whole in the base unit of {column.resource}; "
            f"name a rounding in {column.setting}.rounding"
        ) from None
