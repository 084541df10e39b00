"""Usage: what a service used, and a reading now."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from daemon.api import services
from daemon.api.endpoint import EVERY_ROLE, OPERATING, Call, NoBody, NoQuery, Query, Reply, Shape, endpoint, plain
from daemon.api.shapes import Moment
from daemon.domain.metering import Point, coverage
from daemon.domain.periods import Grain
from daemon.domain.resources import Resource
from daemon.provisioning.idempotency import Answer, Effect
from daemon.stats.usage import Used
from daemon.store.repositories import Repositories

TAG = "usage"
LATEST_YEAR = 9000
"""Far enough from the end of the calendar for any arithmetic on it."""


def _moment(value: Any) -> Any:
    """ISO 8601 with an offset, nothing else: a time without one means another moment on each side of a border."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a time such as 2026-01-31T00:00:00Z (write + as %2B in a URL)") from None
    if moment.tzinfo is None:
        raise ValueError("expected a time with an offset, such as 2026-01-31T00:00:00Z")
    if not 1000 <= moment.year <= LATEST_YEAR:
        raise ValueError(f"expected a year from 1000 to {LATEST_YEAR}")
    return moment


AskedMoment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class UsageQuery(Query):
    since: Annotated[AskedMoment | None, Field(alias="from", description="default: billing_from")] = None
    until: Annotated[AskedMoment | None, Field(description="default: billing_until, else now")] = None
    resolution: Literal["raw", "hour", "day", "month"] = "raw"


class PointShape(Shape):
    since: Moment = Field(alias="from")
    until: Moment
    value: str = Field(description="exact, in `unit`")


class ResourceUsage(Shape):
    resource: str
    unit: str
    total: str = Field(description="exact, never rounded")
    base_unit: str
    base_total: str
    coverage: str | None = Field(description="percent of the time that is known; null when nothing is")
    points: list[PointShape]


class UsageShape(Shape):
    resources: list[ResourceUsage]


def _value(resource: Resource, point: Point) -> str:
    """A volume or an integral; else the average level."""
    if point.total is not None:
        return format(resource.shown(point.total), "f")
    return "" if point.average is None else format(resource.rounded(point.average, 3), "f")


class RoundShape(Shape):
    """What a reading of one module brought."""

    module: str
    servers: int
    samples: int
    missing: int = Field(description="services without a reading; their volume comes with the next one")
    problems: list[str]
    classes: dict[str, int] = Field(description="quality class -> how many of the samples")


class RoundsShape(Shape):
    items: list[RoundShape]


@endpoint("GET", "/v1/services/{id}/usage", tag=TAG, roles=EVERY_ROLE, answer=UsageShape, query=UsageQuery)
async def get_usage(call: Call[UsageQuery, NoBody]) -> Reply:
    """What a service used, per resource."""
    service = await services.one(call.faces, call.id)
    query, desk = call.query, call.faces.usage
    if service.billing_from is None:
        return Reply(UsageShape(resources=[]))
    terms = await desk.terms(call.id)
    span = desk.span(terms, query.since, query.until, None)
    assert span is not None
    step = None if query.resolution == "raw" else Grain(query.resolution)
    return Reply(UsageShape(resources=[_used(one) for one in await desk.used(terms, *span, step)]))


def _used(used: Used) -> ResourceUsage:
    resource, quantity = used.resource, used.measured.quantity
    return ResourceUsage(
        resource=resource.code,
        unit=resource.unit,
        total="" if quantity is None else format(resource.shown(quantity), "f"),
        base_unit=resource.base_unit,
        base_total="" if quantity is None else str(quantity),
        coverage=_percent(coverage(used.measured.covered, used.since, used.until)),
        points=[
            PointShape(since=point.since, until=point.until, value=_value(resource, point)) for point in used.points
        ],
    )


def _percent(share: Decimal | None) -> str | None:
    return None if share is None else str(share)


@endpoint("POST", "/v1/usage/poll", tag=TAG, roles=OPERATING, answer=RoundsShape, key="optional")
async def poll_usage(call: Call[NoQuery, NoBody]) -> Reply:
    """Read the counters of all modules now."""

    async def prepare() -> Effect:
        rounds = await call.faces.collector.poll()
        answer = RoundsShape(items=[RoundShape(**made.as_dict()) for made in rounds])

        async def effect(_tx: Repositories) -> Answer:
            return 200, plain(answer)

        return effect

    status, body = await call.faces.answers.once(call.key, "POST /v1/usage/poll", None, prepare)
    return Reply(body, status)


ENDPOINTS = (get_usage, poll_usage)
