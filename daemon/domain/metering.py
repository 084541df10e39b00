"""What a billable quantity is made from: plain data that the worker process is handed, and what it hands back.

Each kind of resource has one rule (`docs/explanation/metering.md`):

* a running total or counter: the volume of the period, by the rules of `quality`, and what was pushed;
* a gauge: the time-weighted average level over the covered time, half away from zero to a whole base unit;
* an integral (energy): of the level of its source, rounded down once;
* a rate (burst): the percentile of the rates of its source over the whole period; from the panel's daily values: the percentile of those;
* a stock: the highest level held in the period.

What nothing is known of has no quantity, which is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from daemon.domain.percentile import Directions
from daemon.domain.periods import Grain
from daemon.domain.quality import FORMULA, Meter, Quality
from daemon.domain.resources import Kind, Resource


@dataclass(frozen=True)
class Source:
    """One series of samples of a service, and what it means. `metric` is the code under which its samples are stored."""

    metric: str
    meter: Meter


@dataclass(frozen=True)
class Billable:
    """One resource of a service and how it is measured.

    `sources` are one series, or both directions of traffic where `directions` puts them together; none where the resource is only
    pushed, or a configured `amount`. `daily`: the samples are the panel's own values of each day (burst taken from the panel).
    """

    service_id: int
    resource: Resource
    sources: tuple[Source, ...] = ()
    percent: int = 95
    directions: Directions = Directions.SEPARATE
    daily: bool = False
    amount: int | None = None


@dataclass(frozen=True)
class Ask:
    """A billable resource over [since, until), with what was pushed for it: (moment, base quantity) in order of time.

    Only samples with begin <= at <= horizon are looked at, whatever else is at hand: what comes later changes nothing. `begin` lies far
    enough before `since` to know up to which height a total was billed, `horizon` far enough after `until` for the reading that shows
    what was used up to the boundary.
    """

    billable: Billable
    since: datetime
    until: datetime
    begin: datetime
    horizon: datetime
    pushed: tuple[tuple[datetime, int], ...] = ()


@dataclass(frozen=True)
class Measured:
    """The answer.

    `quantity` in base units; None: nothing is known. `covered` is the time of which it is known, of two sources that with less.
    `count` of `expected` readings were counted, of all sources together; `classes` says of what quality all were. Of a volume, `aside`
    waits for a person, and `corrected` is what the platform took back at the end of the period after it was billed. `seal` is the hash of
    `seal.seal` over the samples of all sources after `since`, up to and with `until`, the counted ones next to them on both sides, and what
    was pushed (as class ok); it is empty where nobody asked for it. `formula` is the version of the rules.
    """

    quantity: int | None
    covered: timedelta
    count: int
    expected: int
    classes: Mapping[Quality, int]
    seal: str
    aside: int = 0
    corrected: int = 0
    formula: int = FORMULA


@dataclass(frozen=True)
class Look:
    """The same resource as a line to look at: one point for each `step`, which is a grain of `zone`, a length, or None: each reading."""

    ask: Ask
    step: Grain | timedelta | None
    zone: tzinfo = UTC


@dataclass(frozen=True)
class Point:
    """What is known of [since, until).

    `total` is the volume or the integral, None for levels and rates; the others sum up its rates in bit/s (counters) or its levels, in
    base units; None: no value. `covered` is the known time. A single reading of which no time is known begins and ends at its moment.
    """

    since: datetime
    until: datetime
    total: int | None
    average: Fraction | None
    maximum: int | None
    minimum: int | None
    percentile: int | None
    covered: timedelta
    count: int
    classes: Mapping[Quality, int] = field(default_factory=dict)


# What a record was made by, kept with it: settings may change afterwards, the bill may not.


def basis_of(ask: Ask) -> dict[str, Any]:
    """The ask as plain JSON; `ask_of` reads it back. What was pushed is not in it: it is in the ledger of pushed usage."""
    billable = ask.billable
    return {
        "begin": ask.begin.isoformat(),
        "horizon": ask.horizon.isoformat(),
        "kind": billable.resource.kind.value,
        "percent": billable.percent,
        "directions": billable.directions.value,
        "daily": billable.daily,
        "amount": billable.amount,
        "sources": [
            {
                "metric": source.metric,
                "kind": source.meter.kind.value,
                "rhythm": source.meter.rhythm / timedelta(seconds=1),
                "port_speed": source.meter.port_speed,
                "zone": str(source.meter.zone),
                "owned_from": _text(source.meter.owned_from),
                "owned_until": _text(source.meter.owned_until),
            }
            for source in billable.sources
        ],
    }


def ask_of(
    basis: Mapping[str, Any],
    service_id: int,
    resource: Resource,
    since: datetime,
    until: datetime,
    pushed: tuple[tuple[datetime, int], ...] = (),
) -> Ask:
    """The ask that a record of this resource and period was made by."""
    sources = tuple(
        Source(
            source["metric"],
            Meter(
                Kind(source["kind"]),
                timedelta(seconds=source["rhythm"]),
                source["port_speed"],
                zone_named(source["zone"]),
                _moment(source["owned_from"]),
                _moment(source["owned_until"]),
            ),
        )
        for source in basis["sources"]
    )
    billable = Billable(
        service_id,
        resource,
        sources,
        basis["percent"],
        Directions(basis["directions"]),
        basis["daily"],
        basis["amount"],
    )
    begin, horizon = datetime.fromisoformat(basis["begin"]), datetime.fromisoformat(basis["horizon"])
    return Ask(billable, since, until, begin, horizon, pushed)


def zone_named(name: str) -> tzinfo:
    """Of the tz database; UTC is the same under each of its names."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@dataclass(frozen=True)
class UsageRecord:
    """A billable quantity: service x resource x closed period, start inclusive, end exclusive. Never changed: a correction is a new revision.

    `held`: it waits for a person. `reason` and `author` are those of a correction; of a first revision the reason says why it is held.
    """

    id: int
    service_id: int
    resource: str
    since: datetime
    until: datetime
    base_unit: str
    base_quantity: int | None
    covered: timedelta
    samples: int
    expected: int
    classes: Mapping[str, int]
    formula: int
    seal: str
    held: bool = False
    aside: int = 0
    corrected: int = 0
    revision: int = 1
    reason: str | None = None
    author: str = "daemon"
    basis: Mapping[str, Any] = field(default_factory=dict)
    """See `basis_of`."""
    created_at: datetime | None = None


def coverage(covered: timedelta, since: datetime, until: datetime) -> Decimal | None:
    """Percent with two decimals, rounded down so that 100.00 means all of it; None for a period of no length."""
    length = until - since
    if length <= timedelta():
        return None
    percent = Fraction(100 * min(covered, length) // timedelta(microseconds=1), length // timedelta(microseconds=1))
    return (Decimal(percent.numerator) / Decimal(percent.denominator)).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
