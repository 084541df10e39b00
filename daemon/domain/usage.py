"""From readings of a running total to a billable quantity, in whole base units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from itertools import pairwise


@dataclass(frozen=True)
class Resource:
    """A billable resource: counted in whole `base_unit`s, shown in `unit`s of `per_unit` base units each."""

    code: str
    base_unit: str
    unit: str
    per_unit: int

    def shown(self, base_quantity: int) -> Decimal:
        """The quantity in shown units, exact: every `per_unit` is a power of two or ten, so the decimal ends."""
        return Decimal(base_quantity) / Decimal(self.per_unit)


RESOURCES: dict[str, Resource] = {
    "in": Resource("in", "B", "KiB", 1024),
    "out": Resource("out", "B", "KiB", 1024),
}
"""What is counted now; `power` and the burst resources are accepted in plans and not counted yet."""


@dataclass(frozen=True)
class Reading:
    at: datetime
    total: int
    """Running total since the start of the platform's month, in base units."""


@dataclass(frozen=True)
class Increment:
    """What was used between two readings. `known` is false where the total fell: the part before the fall went unseen."""

    since: datetime
    until: datetime
    quantity: int
    known: bool


@dataclass(frozen=True)
class Usage:
    quantity: int
    covered: timedelta
    increments: tuple[Increment, ...]
    samples: int


def increments(readings: Sequence[Reading]) -> list[Increment]:
    """Differences of neighbours in time. A total that fell began a new month or was reset: the new total counts from zero."""
    ordered = sorted(readings, key=lambda reading: reading.at)
    found = []
    for before, after in pairwise(ordered):
        if after.at == before.at and after.total == before.total:
            continue
        fell = after.total < before.total
        found.append(Increment(before.at, after.at, after.total if fell else after.total - before.total, not fell))
    return found


def measure(readings: Sequence[Reading]) -> Usage:
    """Total over all readings; never negative, never the last difference again."""
    steps = increments(readings)
    covered = sum((step.until - step.since for step in steps if step.known), timedelta())
    return Usage(sum(step.quantity for step in steps), covered, tuple(steps), len(readings))


def coverage(covered: timedelta, since: datetime, until: datetime) -> str | None:
    """Percent with two decimals, rounded down so that 100.00 means all of it; None for a period of no length."""
    length = until - since
    if length <= timedelta():
        return None
    share = min(Fraction(covered // timedelta(microseconds=1), length // timedelta(microseconds=1)), Fraction(1))
    percent = Decimal(share.numerator * 100) / Decimal(share.denominator)
    return str(percent.quantize(Decimal("0.01"), rounding=ROUND_DOWN))


@dataclass(frozen=True)
class UsageRecord:
    """A billable quantity: service x resource x closed period, start inclusive, end exclusive."""

    id: int
    service_id: int
    resource: str
    since: datetime
    until: datetime
    base_unit: str
    base_quantity: int
    covered_us: int
    samples: int
    revision: int
