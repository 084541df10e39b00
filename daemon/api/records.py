"""Usage records: what bills rest on, by resource and closed period."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from daemon.api.endpoint import BILLING, EVERY_ROLE, Call, NoBody, NoQuery, Reply, Shape, endpoint
from daemon.api.keys import once
from daemon.api.paging import Id, PageQuery, cut
from daemon.api.shapes import Moment, Page
from daemon.domain.metering import UsageRecord, coverage
from daemon.provisioning.desk import Also
from daemon.provisioning.requests import Request, WhyRequest
from daemon.stats.measuring import AT_ONCE
from daemon.stats.records import Records, Verdict

TAG = "usage"


class UsageRecordShape(Shape):
    """A billable quantity of a closed period, start inclusive, end exclusive; never changed, only revised."""

    id: int
    service: int
    resource: str
    since: Moment = Field(alias="from")
    until: Moment
    base_unit: str
    base_quantity: str | None = Field(
        description="whole number of base units, exact; null: nothing is known, which is not zero"
    )
    unit: str
    quantity: str | None = Field(description="the same in `unit`, exact")
    held: bool = Field(description="true: it waits for a person, and is not billed")
    reason: str | None = Field(description="why it is held, or why it was revised")
    coverage: str | None = Field(description="percent of the period that is known")
    samples: int = Field(description="readings that were counted")
    expected: int = Field(description="readings that there should be")
    classes: dict[str, int] = Field(description="quality class -> how many readings")
    aside: str = Field(description="base units that no port could carry: not in the quantity")
    corrected: str = Field(description="base units that the platform took back after they were counted")
    formula: int = Field(description="version of the rules that made it; 0: from before there were seals")
    seal: str = Field(description="hash over the record and every sample it rests on")
    revision: int
    author: str
    created_at: Moment | None

    @classmethod
    def of(cls, record: UsageRecord, records: Records) -> UsageRecordShape:
        unit, quantity = records.shown(record)
        share = coverage(record.covered, record.since, record.until)
        return cls(
            id=record.id,
            service=record.service_id,
            resource=record.resource,
            since=record.since,
            until=record.until,
            base_unit=record.base_unit,
            base_quantity=None if record.base_quantity is None else str(record.base_quantity),
            unit=unit,
            quantity=quantity,
            held=record.held,
            reason=record.reason,
            coverage=None if share is None else str(share),
            samples=record.samples,
            expected=record.expected,
            classes=dict(record.classes),
            aside=str(record.aside),
            corrected=str(record.corrected),
            formula=record.formula,
            seal=record.seal,
            revision=record.revision,
            author=record.author,
            created_at=record.created_at,
        )


class UsageRecordPage(Page[UsageRecordShape]):
    pass


def _flag(value: Any) -> Any:
    """`true` or `false`, and no other word for them."""
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("expected true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]


class UsageRecordsQuery(PageQuery):
    service: Annotated[Id | None, Field(description="only records of this service")] = None
    held: Annotated[
        Flag | None, Field(description="true: only those that wait for a person; false: only the others")
    ] = None
    newest: Annotated[Flag, Field(description="true: only the last revision of each")] = False


class RevisionRequest(WhyRequest):
    """What is to be billed, and why."""

    quantity: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,40}(\.[0-9]{1,40})?$",
            description="in `unit` of the record, exact; left out: a held record is accepted as it is",
        ),
    ] = None


class VerifyRequest(Request):
    """Ids of usage records."""

    ids: Annotated[list[Annotated[int, Field(ge=1, le=2**63 - 1)]], Field(min_length=1, max_length=AT_ONCE)]


class VerdictShape(Shape):
    """What came out when a record was made again."""

    id: int
    service: int
    resource: str
    since: Moment = Field(alias="from")
    until: Moment
    revision: int
    proof: str = Field(
        description="`intact`: the same, bit for bit; `expired`: samples expired, seal intact; `other_formula`: made by other rules, seal intact; `broken`"
    )
    findings: list[str] = Field(description="what is not as it was, as sentences")

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictShape:
        record = verdict.record
        return cls(
            id=record.id,
            service=record.service_id,
            resource=record.resource,
            since=record.since,
            until=record.until,
            revision=record.revision,
            proof=verdict.proof.value,
            findings=list(verdict.differences),
        )


class VerdictsShape(Shape):
    """One item for each record that is there, by id."""

    items: list[VerdictShape]
    unknown: list[int] = Field(description="ids that no record has")


@endpoint("GET", "/v1/usage-records", tag=TAG, roles=EVERY_ROLE, answer=UsageRecordPage, query=UsageRecordsQuery)
async def list_usage_records(call: Call[UsageRecordsQuery, NoBody]) -> Reply:
    """All usage records, newest first."""
    query, records = call.query, call.faces.records
    found = await call.faces.store.read.usage_records.page(
        service_id=query.service, held=query.held, newest=query.newest, after=query.after_id(), limit=query.limit + 1
    )
    page, following = cut(found, query.limit, lambda record: record.id)
    return Reply(UsageRecordPage(items=[UsageRecordShape.of(record, records) for record in page], next=following))


@endpoint("GET", "/v1/usage-records/{id}", tag=TAG, roles=EVERY_ROLE, answer=UsageRecordShape)
async def get_usage_record(call: Call[NoQuery, NoBody]) -> Reply:
    """One usage record."""
    return Reply(UsageRecordShape.of(await call.faces.records.get(call.id), call.faces.records))


@endpoint(
    "POST", "/v1/usage-records/{id}/revisions", tag=TAG, roles=BILLING, answer=UsageRecordShape, status=201,
    body=RevisionRequest, key="optional",
    refusals={409: "it was revised already, nobody waits for it to be accepted, or nothing is known and no quantity is given"},
)  # fmt: skip
async def revise_usage_record(call: Call[NoQuery, RevisionRequest]) -> Reply:
    """Accept a held usage record as it is, or correct one: a new revision, the old one stays."""
    faces, body = call.faces, call.body

    async def work(also: Also) -> UsageRecord:
        async with faces.store.transaction() as tx:
            made = await faces.records.revise(tx, call.id, body.quantity, reason=body.reason, author=call.caller.actor)
            await also(tx, made)
        return made

    def shape(record: UsageRecord) -> UsageRecordShape:
        return UsageRecordShape.of(record, faces.records)

    return await once(call, "POST /v1/usage-records/{id}/revisions", work, shape, 201)


@endpoint("POST", "/v1/usage-records/verify", tag=TAG, roles=EVERY_ROLE, answer=VerdictsShape, body=VerifyRequest)
async def verify_usage_records(call: Call[NoQuery, VerifyRequest]) -> Reply:
    """Make usage records again from their samples and compare them, bit for bit; nothing is changed."""
    found = await call.faces.store.read.usage_records.many(call.body.ids)
    verdicts = await call.faces.records.verify(found)
    unknown = sorted(set(call.body.ids) - {record.id for record in found})
    return Reply(VerdictsShape(items=[VerdictShape.of(verdict) for verdict in verdicts], unknown=unknown))


ENDPOINTS = (list_usage_records, get_usage_record, verify_usage_records, revise_usage_record)
