"""A line as a graph of characters: as wide as the terminal, 80 columns elsewhere.

Every column of the plot is a stretch of time. What is known of it is averaged by time; of a column of which nothing is known there is no bar and no
axis under it, so that a gap never looks like zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from daemon.domain.periods import Grain, buckets
from daemon.domain.resources import UNITS, UnitError, unit_named

HEIGHT = 10
LABEL = 12
"""Columns for the numbers beside the plot."""
NARROWEST = 40
ELSEWHERE = 80
DAYS_BY_HOUR, DAYS_BY_DAY = 3, 100
"""Up to so many days the axis is marked by hours, or by days."""
BLOCKS = " ▁▂▃▄▅▆▇█"
PLAIN = " ..::||##"
"""For terminals that know ASCII only."""
_SCALES = (
    ("B", "KiB", "MiB", "GiB", "TiB", "PiB"),
    ("B", "KB", "MB", "GB", "TB", "PB"),
    ("bit/s", "Kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"),
    ("mW", "W", "kW", "MW"),
    ("uWh", "mWh", "Wh", "kWh", "MWh"),
)


@dataclass(frozen=True)
class Stretch:
    """A point of the line; `value` None: not known."""

    since: datetime
    until: datetime
    value: Fraction | None


@dataclass(frozen=True)
class Graph:
    """What is drawn: a line over [since, until) in `unit`, with its times in `zone`."""

    title: str
    unit: str
    zone: tzinfo
    since: datetime
    until: datetime
    points: Sequence[Stretch]


def graph_of(body: Mapping[str, Any]) -> Graph | None:
    """Out of an answer of `/samples`: the rates or levels, where there are any, else the volumes. None: there is no time to show."""
    if body["from"] is None or body["from"] == body["until"]:
        return None
    columns, unit, values = body["columns"], body["unit"], body["columns"]["value"]
    if any(value is not None for value in columns["average"]):
        unit, values = body["rate_unit"], columns["average"]
    rows = zip(columns["from"], columns["until"], values, strict=True)
    points = [Stretch(_moment(since), _moment(until), _number(value)) for since, until, value in rows]
    title = f"{body['metric']} of service {body['service']}, {body['resolution']}"
    return Graph(title, unit, zone_of(body), _moment(body["from"]), _moment(body["until"]), points)


def zone_of(body: Mapping[str, Any]) -> tzinfo:
    name = body["zone"]
    return UTC if name in (None, "UTC") else ZoneInfo(name)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _number(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def lines(graph: Graph, width: int, blocks: str = BLOCKS) -> list[str]:
    """The plot with its title, axis and a line that sums it up."""
    width = max(NARROWEST, width)
    columns = _columns(graph, width - LABEL)
    known = [value for value in columns if value is not None]
    if not known:
        return [graph.title, f"nothing is known from {_stamp(graph.since, graph)} to {_stamp(graph.until, graph)}"]
    highest, lowest = max([*known, Fraction(0)]), min([*known, Fraction(0)])
    top = highest if highest > lowest else lowest + 1
    levels = [None if value is None else (value - lowest) / (top - lowest) for value in columns]
    rows = [_row(levels, row, blocks) for row in range(HEIGHT - 1, -1, -1)]
    marks = {0: top, HEIGHT // 2: (top + lowest) / 2}
    plot = [
        f"{shown(marks[n], graph.unit) if n in marks else '':>{LABEL - 1}} {row}".rstrip() for n, row in enumerate(rows)
    ]
    line = "─" if blocks is BLOCKS else "-"
    axis = "".join(" " if value is None else line for value in columns)
    return [
        graph.title,
        *plot,
        f"{shown(lowest, graph.unit):>{LABEL - 1}} {axis}".rstrip(),
        " " * LABEL + _ticks(graph, len(columns)).rstrip(),
        _summary(graph),
    ]


def _columns(graph: Graph, count: int) -> list[Fraction | None]:
    """The average over the known time of each column."""
    length = (graph.until - graph.since) / count
    sums, weights = [Fraction(0)] * count, [0] * count
    for point in graph.points:
        if point.value is None:
            continue
        first = int((point.since - graph.since) / length)
        for place in range(max(0, first), count):
            begin = graph.since + place * length
            if begin >= point.until:
                break
            shared = (min(point.until, begin + length) - max(point.since, begin)) // timedelta(microseconds=1)
            if shared > 0:
                sums[place] += point.value * shared
                weights[place] += shared
    return [total / weight if weight else None for total, weight in zip(sums, weights, strict=True)]


def _row(levels: Sequence[Fraction | None], row: int, blocks: str) -> str:
    """One row of characters, 0 the lowest. What is known has a mark in the lowest row however little it is."""
    return "".join(" " if level is None else blocks[_eighths(level, row)] for level in levels)


def _eighths(level: Fraction, row: int) -> int:
    filled = round(level * HEIGHT * 8) - 8 * row
    return max(1 if row == 0 else 0, min(8, filled))


def _ticks(graph: Graph, count: int) -> str:
    """Local times under the columns in which they begin, as many as have room."""
    days = (graph.until - graph.since) / timedelta(days=1)
    grain = Grain.HOUR if days <= DAYS_BY_HOUR else Grain.DAY if days <= DAYS_BY_DAY else Grain.MONTH
    begun = [period.since for period in buckets(graph.since, graph.until, grain, graph.zone, clipped=False)]
    marks = [
        (at.astimezone(graph.zone), (at - graph.since) / (graph.until - graph.since))
        for at in begun
        if at >= graph.since
    ]
    texts = [(int(place * count), _tick(local, grain)) for local, place in _thinned(marks, grain, count)]
    line = [" "] * count
    free = 0
    for place, text in texts:
        if place >= free and place + len(text) <= count:
            line[place : place + len(text)] = text
            free = place + len(text) + 1
    return "".join(line)


def _thinned(marks: list[tuple[datetime, float]], grain: Grain, count: int) -> list[tuple[datetime, float]]:
    """Every second hour, sixth hour, tenth day ...: the finest that leaves room for the text."""
    most = max(1, count // 10)
    for every in (1, 2, 3, 6, 12, 24, 48):
        kept = [
            mark
            for n, mark in enumerate(marks)
            if (mark[0].hour if grain is Grain.HOUR and every < 24 else n) % every == 0
        ]
        if len(kept) <= most:
            return kept
    return marks[:1]


def _tick(local: datetime, grain: Grain) -> str:
    if grain is Grain.MONTH:
        return f"{local:%Y-%m}"
    return f"{local:%m-%d}" if grain is Grain.DAY or local.hour == 0 else f"{local:%H:%M}"


def _summary(graph: Graph) -> str:
    known = [point for point in graph.points if point.value is not None]
    peak = max(known, key=lambda point: point.value or 0)
    time = sum((point.until - point.since for point in known), timedelta())
    share = 100 * (time / (graph.until - graph.since))
    most = f"highest {shown(peak.value or Fraction(0), graph.unit)} from {_stamp(peak.since, graph)}"
    return f"{_stamp(graph.since, graph)} to {_stamp(graph.until, graph)} {graph.zone}; {most}; points for {share:.0f} % of the time"


def _stamp(moment: datetime, graph: Graph) -> str:
    return f"{moment.astimezone(graph.zone):%Y-%m-%d %H:%M}"


def shown(value: Fraction, unit: str) -> str:
    """In a unit of human size, three digits: 1.2 Gbit/s."""
    scale = next((scale for scale in _SCALES if unit in scale), None)
    if scale is not None:
        value, unit = _scaled(value, unit, scale)
    return f"{_three_digits(value)} {unit}"


def _scaled(value: Fraction, unit: str, scale: Sequence[str]) -> tuple[Fraction, str]:
    try:
        base = value * unit_named(unit).size
    except UnitError:
        return value, unit
    fitting = [name for name in scale if abs(base) >= UNITS[name].size]
    name = fitting[-1] if fitting else (unit if not base else scale[0])
    return base / UNITS[name].size, name


def _three_digits(value: Fraction) -> str:
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    text = f"{float(value):.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
