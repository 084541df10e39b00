"""What goes into the sample store and what comes out of it: plain data, so that the worker process can be handed all of it."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Samples = Mapping[str, Mapping[int, tuple[int, int]]]
"""Of one reading: metric -> service id -> (value, quality class)."""


def to_us(moment: datetime) -> int:
    """Whole microseconds since 1970 in UTC, exact."""
    return (moment - EPOCH) // MICROSECOND


def from_us(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def day_of(microseconds: int) -> date:
    return from_us(microseconds).date()


def bounds(day: date) -> tuple[int, int]:
    """First and last microsecond of a day."""
    begin = to_us(datetime(day.year, day.month, day.day, tzinfo=UTC))
    return begin, begin + 86_400_000_000 - 1


class Sample(NamedTuple):
    """One reading of one metric of one service; `cls` is its quality class, a number from 0 to 255."""

    at: datetime
    value: int
    cls: int


class DayState(StrEnum):
    OPEN = "open"
    """Has slots: `close_day` makes series of them."""
    CLOSED = "closed"
    DAMAGED = "damaged"
    """Can't be read."""


@dataclass(frozen=True)
class Day:
    date: date
    state: DayState
    bytes: int
    """On disk, indexes and what the database keeps beside them included."""


@dataclass(frozen=True)
class Columns:
    """Samples of one service, oldest first: little-endian int64 microseconds since 1970, int64 values, one byte of class each."""

    at: bytes
    values: bytes
    classes: bytes

    def __len__(self) -> int:
        return len(self.classes)

    def samples(self) -> list[Sample]:
        numbers = struct.Struct(f"<{len(self)}q")
        times, values = numbers.unpack(self.at), numbers.unpack(self.values)
        return [Sample(from_us(at), value, cls) for at, value, cls in zip(times, values, self.classes, strict=True)]


@dataclass
class PackedDay:
    """Rows of one metric and one day as they are stored; see `codec` for the payloads."""

    day: date
    place: str
    """Its file or partition, for people."""
    series: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(service id, number of its axis, payload)"""
    axes: dict[int, bytes] = field(default_factory=dict)
    slots: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(microseconds, block, payload), in the order in which they were stored"""


@dataclass
class Packed:
    """Some services' samples of one metric, since <= at <= until in microseconds, still as they are stored; days oldest first."""

    services: tuple[int, ...]
    since: int
    until: int
    days: list[PackedDay]


@dataclass
class OpenBlock:
    """What closing a day has to put together for one metric and one block of services."""

    place: str
    block: int
    slots: list[tuple[int, str, bytes]]
    """(microseconds, module, payload), in the order in which they were stored"""
    series: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    """(service id, payload of its axis, payload) of an earlier closing"""


@dataclass
class ClosedBlock:
    axes: list[bytes]
    series: list[tuple[int, int, bytes]]
    """(service id, index into `axes`, payload)"""


@dataclass(frozen=True)
class Crunch:
    """The heavy parts, wherever they run: in the daemon that's the worker process."""

    encode: Callable[[OpenBlock], Awaitable[ClosedBlock]]
    decode: Callable[[Packed], Awaitable[dict[int, Columns]]]
