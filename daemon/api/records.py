"""Usage records: what bills rest on, by resource and closed period."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daemon.api.endpoint import EVERY_ROLE, Call, NoBody, Reply, Shape, endpoint
from daemon.api.paging import Id, PageQuery, cut
from daemon.api.shapes import Moment, Page
from daemon.domain.metering import UsageRecord, coverage
from daemon.domain.resources import RESOURCES

TAG = "usage"


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
        share = coverage(record.covered, record.since, record.until)
        return cls(
            id=record.id,
            service=record.service_id,
            resource=record.resource,
            since=record.since,
            until=record.until,
            base_unit=record.base_unit,
            base_quantity=str(record.base_quantity),
            unit=resource.unit,
            quantity="" if record.base_quantity is None else format(resource.shown(record.base_quantity), "f"),
            coverage=None if share is None else str(share),
            samples=record.samples,
            revision=record.revision,
        )


class UsageRecordPage(Page[UsageRecordShape]):
    pass


class UsageRecordsQuery(PageQuery):
    service: Annotated[Id | None, Field(description="only records of this service")] = None


@endpoint("GET", "/v1/usage-records", tag=TAG, roles=EVERY_ROLE, answer=UsageRecordPage, query=UsageRecordsQuery)
async def list_usage_records(call: Call[UsageRecordsQuery, NoBody]) -> Reply:
    """All usage records, newest first."""
    query = call.query
    found = await call.faces.store.read.usage_records.page(
        service_id=query.service, after=query.after_id(), limit=query.limit + 1
    )
    page, following = cut(found, query.limit, lambda record: record.id)
    return Reply(UsageRecordPage(items=[UsageRecordShape.of(record) for record in page], next=following))


ENDPOINTS = (list_usage_records,)
