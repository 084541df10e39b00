"""Usage of a service, from its samples: exact totals, with what is known about their coverage."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused
from daemon.domain.service import Service
from daemon.domain.usage import RESOURCES, Increment, Reading, Resource, coverage, increments
from daemon.store.database import Store

RESOLUTIONS = ("raw", "hour", "day", "month")


class UsageDesk:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def usage(
        self, service_id: int, since: datetime | None, until: datetime | None, resolution: str = "raw"
    ) -> dict[str, Any]:
        """{"resources": [{"resource", "unit", "total", "base_unit", "base_total", "coverage", "points"}]}.

        An increment counts where its reading falls: after `since`, up to and with `until`. Defaults: the time of billing. Raises
        Refused for an unknown service, a time without zone, an empty range or an unknown resolution.
        """
        service = await self._store.read.services.get(service_id)
        if service is None:
            raise Refused("no_service", f"there is no service {service_id}", status=404)
        if resolution not in RESOLUTIONS:
            raise Refused("resolution", f"expected one of {', '.join(RESOLUTIONS)}", status=400)
        revision = await self._store.read.orders.revision(service.plan_revision_id)
        codes = [code for code in revision.content["resources"] if code in RESOURCES]
        if service.billing_from is None:
            return {"resources": [_shape(RESOURCES[code], [], None, resolution, UTC) for code in codes]}
        begin = since or service.billing_from
        end = until or service.billing_until or self._clock.now()
        if end < begin:
            raise Refused("empty_range", "expected `from` before `until`", status=400)
        zone = await self._zone(service, revision.content.get("zone"))
        return {
            "resources": [
                _shape(
                    RESOURCES[code],
                    await self._increments(service, code, begin, end),
                    (begin, end),
                    resolution,
                    zone,
                )
                for code in codes
            ]
        }

    async def _increments(self, service: Service, code: str, begin: datetime, end: datetime) -> list[Increment]:
        baseline = datetime.fromisoformat(service.properties["baseline"]["at"])
        samples = self._store.read.samples
        readings: list[Reading] = await samples.series(code, service.id, max(begin, baseline), end)
        before = await samples.last_before(code, service.id, baseline, begin)
        return increments([*([before] if before else []), *readings])

    async def _zone(self, service: Service, plan_zone: str | None) -> tzinfo:
        if plan_zone:
            return ZoneInfo(plan_zone)
        customer = await self._store.read.orders.customer(service.customer_id)
        return ZoneInfo(customer.zone) if customer.zone else UTC


def _shape(
    resource: Resource,
    found: list[Increment],
    span: tuple[datetime, datetime] | None,
    resolution: str,
    zone: tzinfo,
) -> dict[str, Any]:
    total = sum(step.quantity for step in found)
    covered = timedelta()
    if span is not None:
        for step in found:
            if step.known:
                covered += max(timedelta(), min(step.until, span[1]) - max(step.since, span[0]))
    return {
        "resource": resource.code,
        "unit": resource.unit,
        "total": exact(resource, total),
        "base_unit": resource.base_unit,
        "base_total": str(total),
        "coverage": coverage(covered, *span) if span and found else None,
        "points": _points(resource, found, resolution, zone),
    }


def exact(resource: Resource, base_quantity: int) -> str:
    """The quantity in shown units, every digit, without an exponent."""
    return format(resource.shown(base_quantity), "f")


def _points(resource: Resource, found: list[Increment], resolution: str, zone: tzinfo) -> list[dict[str, str]]:
    if resolution == "raw":
        return [_point(resource, step.since, step.until, step.quantity) for step in found]
    sums: defaultdict[datetime, int] = defaultdict(int)
    for step in found:
        # A reading on the edge of two buckets tells of the one that ended.
        sums[_bucket(step.until - timedelta(microseconds=1), resolution, zone)] += step.quantity
    return [
        _point(resource, start, _next(start, resolution, zone), quantity) for start, quantity in sorted(sums.items())
    ]


def _point(resource: Resource, since: datetime, until: datetime, quantity: int) -> dict[str, str]:
    return {"from": since.isoformat(), "until": until.isoformat(), "value": exact(resource, quantity)}


def _bucket(moment: datetime, resolution: str, zone: tzinfo) -> datetime:
    """Start of the hour, local day or local month that `moment` is in; in UTC, so that days of 23 and 25 hours stay apart."""
    if resolution == "hour":
        return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    local = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if resolution == "month":
        local = local.replace(day=1)
    return local.astimezone(UTC)


def _next(start: datetime, resolution: str, zone: tzinfo) -> datetime:
    if resolution == "hour":
        return start + timedelta(hours=1)
    # Noon of the next day, or a day well inside the next month, is in the next bucket whatever the clocks do.
    inside = timedelta(hours=36) if resolution == "day" else timedelta(days=32)
    return _bucket(start + inside, resolution, zone)
