"""Usage: what a service used, the records that bills rest on, and a reading now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from daemon.api import services
from daemon.api.endpoint import EVERY_ROLE, OPERATING, Call, NoBody, NoQuery, Query, Reply, Shape, endpoint, plain
from daemon.api.paging import Id, PageQuery, cut
from daemon.api.shapes import Moment, Page
from daemon.domain.usage import RESOURCES, UsageRecord, coverage
from daemon.provisioning.idempotency import Answer, Effect
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


class UsageRecordShape(Shape):
    """A billable quantity of a closed period, start inclusive, end exclusive; never changed, only revised."""

    id: int
    service: int
    resource: str
    since: Moment = Field(alias="from")
    until: Moment
    base_unit: str
    base_quantity: str = Field(description="whole number of base units, exact")
    unit: str
    quantity: str = Field(description="the same in `unit`, exact")
    coverage: str | None
    samples: int
    revision: int

    @classmethod
    def of(cls, record: UsageRecord) -> UsageRecordShape:
        resource = RESOURCES[record.resource]
        return cls(
            id=record.id,
            service=record.service_id,
            resource=record.resource,
            since=record.since,
            until=record.until,
            base_unit=record.base_unit,
            base_quantity=str(record.base_quantity),
            unit=resource.unit,
            quantity=format(resource.shown(record.base_quantity), "f"),
            coverage=coverage(timedelta(microseconds=record.covered_us), record.since, record.until),
            samples=record.samples,
            revision=record.revision,
        )


class UsageRecordPage(Page[UsageRecordShape]):
    pass


class UsageRecordsQuery(PageQuery):
    service: Annotated[Id | None, Field(description="only records of this service")] = None


class RoundShape(Shape):
    """What a reading of one module brought."""

    module: str
    servers: int
    samples: int
    missing: int = Field(description="services without a reading; their volume comes with the next one")
    problems: list[str]


class RoundsShape(Shape):
    items: list[RoundShape]


@endpoint("GET", "/v1/services/{id}/usage", tag=TAG, roles=EVERY_ROLE, answer=UsageShape, query=UsageQuery)
async def get_usage(call: Call[UsageQuery, NoBody]) -> Reply:
    """What a service used, per resource."""
    await services.one(call.faces, call.id)
    query = call.query
    found = await call.faces.usage.usage(call.id, query.since, query.until, query.resolution)
    return Reply(UsageShape.model_validate(found))


@endpoint("GET", "/v1/usage-records", tag=TAG, roles=EVERY_ROLE, answer=UsageRecordPage, query=UsageRecordsQuery)
async def list_usage_records(call: Call[UsageRecordsQuery, NoBody]) -> Reply:
    """All usage records, newest first."""
    query = call.query
    found = await call.faces.store.read.usage_records.page(
        service_id=query.service, after=query.after_id(), limit=query.limit + 1
    )
    page, following = cut(found, query.limit, lambda record: record.id)
    return Reply(UsageRecordPage(items=[UsageRecordShape.of(record) for record in page], next=following))


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


ENDPOINTS = (get_usage, list_usage_records, poll_usage)
