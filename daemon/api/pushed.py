"""Pushed usage: events that others send, the quarantine, and what was sent twice with two contents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from daemon.api.endpoint import BILLING, EVERY_ROLE, Call, NoBody, NoQuery, Reply, Shape, endpoint, plain
from daemon.api.keys import once
from daemon.api.paging import PageQuery, cut
from daemon.api.problems import FieldError
from daemon.api.shapes import Moment, Page
from daemon.api.strictjson import Rules
from daemon.domain.errors import Refused
from daemon.domain.pushed import LONGEST
from daemon.provisioning.desk import Also
from daemon.provisioning.idempotency import Answer, Keep
from daemon.provisioning.requests import ReasonRequest
from daemon.stats.pushed import MOST, Item, Outcome
from daemon.store.pushed import Conflict, StoredEvent
from daemon.store.repositories import Repositories

TAG = "usage"
SINGLE = {Outcome.ACCEPTED: 201, Outcome.QUARANTINED: 202, Outcome.DUPLICATE: 200}
MEDIA = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")
RULES = Rules(largest=8 * 1024 * 1024, media=MEDIA, whole=False)

Exact = Annotated[str, Field(pattern=r"^[0-9]{1,40}(\.[0-9]{1,40})?$")] | Annotated[int, Field(ge=0, le=2**63 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST)]


class PushedData(BaseModel):
    """Either `value` or both of `upload` and `download`; exact, never a floating-point number."""

    model_config = ConfigDict(extra="forbid")

    resource: str | None = Field(default=None, description="code of a resource; may be left out where `type` is one")
    value: Exact | None = None
    upload: Exact | None = Field(default=None, description="counts as `out`")
    download: Exact | None = Field(default=None, description="counts as `in`")
    unit: str | None = Field(default=None, description="of every quantity here; left out: base units of the resource")


class PushedEvent(BaseModel):
    """A CloudEvents 1.0 object. `source` and `id` together are its key: whatever is sent again counts once."""

    model_config = ConfigDict(extra="forbid")

    specversion: Literal["1.0"]
    id: Name
    source: Name
    type: str = Field(description="`usage`, or the code of a resource")
    time: str = Field(
        description="when it was used: RFC 3339 with an offset", json_schema_extra={"format": "date-time"}
    )
    subject: str | int = Field(description="id of the service")
    data: PushedData
    datacontenttype: str | None = None
    dataschema: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class PushedBody(RootModel[PushedEvent | Annotated[list[PushedEvent], Field(max_length=MOST)]]):
    """One event, or a list of them."""


class ItemError(Shape):
    code: str
    message: str
    errors: list[FieldError]


class PushedItem(Shape):
    """What became of one event."""

    id: str | None = Field(description="null where it couldn't be read")
    source: str | None = Field(description="null where it couldn't be read")
    status: str = Field(description="`accepted`, `duplicate`, `quarantined`, `conflict` or `refused`")
    why: str | None = Field(description="of quarantine: `too_old` or `too_new`")
    error: ItemError | None = Field(description="of a conflict or a refusal")

    @classmethod
    def of(cls, item: Item) -> PushedItem:
        error = None
        if item.bad:
            errors = [FieldError.model_validate(problem) for problem in item.errors]
            error = ItemError(code=item.code, message=item.message, errors=errors)
        aside = item.code if item.outcome is Outcome.QUARANTINED else None
        return cls(id=item.id, source=item.source, status=item.outcome.value, why=aside, error=error)


class PushedShape(Shape):
    """One item for each event, in the order of the request."""

    items: list[PushedItem]


class QuarantinedShape(Shape):
    """An event that was put aside, and what became of it."""

    id: int = Field(description="our number of it")
    source: str
    event_id: str
    service: int
    time: Moment
    quantities: dict[str, str] = Field(description="code of the resource -> whole number of base units")
    status: str = Field(description="`quarantined`, `accepted` or `discarded`")
    why: str | None
    actor: str
    received_at: Moment

    @classmethod
    def of(cls, stored: StoredEvent) -> QuarantinedShape:
        event = stored.event
        return cls(
            id=stored.id,
            source=event.source,
            event_id=event.event_id,
            service=event.service_id,
            time=event.at,
            quantities={resource: str(quantity) for resource, quantity in event.readings},
            status=stored.state.value,
            why=stored.why,
            actor=stored.actor,
            received_at=stored.received_at,
        )


class QuarantinePage(Page[QuarantinedShape]):
    pass


class ContentShape(Shape):
    """What an event says."""

    service: int
    time: str
    quantities: dict[str, str]


class ConflictShape(Shape):
    """A content that was refused, because its key stood for another one."""

    id: int
    source: str
    event_id: str
    service: int
    sent: ContentShape = Field(description="what was refused")
    kept: ContentShape = Field(description="what counts")
    actor: str
    received_at: Moment

    @classmethod
    def of(cls, conflict: Conflict) -> ConflictShape:
        return cls(
            id=conflict.id,
            source=conflict.source,
            event_id=conflict.event_id,
            service=conflict.service_id,
            sent=ContentShape.model_validate(conflict.sent),
            kept=ContentShape.model_validate(conflict.kept),
            actor=conflict.actor,
            received_at=conflict.received_at,
        )


class ConflictPage(Page[ConflictShape]):
    pass


@endpoint(
    "POST",
    "/v1/usage",
    tag=TAG,
    roles=BILLING,
    answer=PushedShape,
    body=PushedBody,
    raw_body=True,
    key="optional",
    rules=RULES,
    others={201: "one event, and it counts now", 202: "one event, and it is in quarantine"},
    refusals={
        409: "one event, whose source and id stand for another content; or the Idempotency-Key stood for another request",
        413: "the body is larger than 8 MiB",
    },
)
async def push_usage(call: Call[NoQuery, PushedBody]) -> Reply:
    """Take one usage event, or a batch in which each event is taken or refused by itself."""
    batch = isinstance(call.raw, list)
    events: list[Any] = call.raw if batch else [call.raw]

    def answer(items: list[Item]) -> Answer:
        status = 200 if batch else SINGLE[items[0].outcome]
        return status, plain(PushedShape(items=[PushedItem.of(item) for item in items]))

    async def work(keep: Keep | None) -> Answer:
        async def also(tx: Repositories, items: list[Item]) -> None:
            if keep is not None and (batch or not items[0].bad):
                await keep(tx, answer(items))

        pushed = call.faces.pushed
        items = await pushed.push(events, actor=call.caller.actor, also=also if keep is not None else None)
        if not batch:
            _refuse(items[0])
        return answer(items)

    if call.key is None:
        status, body = await work(None)
    else:
        status, body = await call.faces.answers.around(call.key, "POST /v1/usage", call.raw, work)
    return Reply(body, status)


def _refuse(item: Item) -> None:
    errors = [dict(problem) for problem in item.errors]
    if item.outcome is Outcome.CONFLICT:
        raise Refused("usage_conflict", item.message, status=409, errors=errors)
    if item.outcome is Outcome.REFUSED:
        raise Refused("event_refused", item.message, status=422, errors=errors)


@endpoint("GET", "/v1/usage/quarantine", tag=TAG, roles=EVERY_ROLE, answer=QuarantinePage, query=PageQuery)
async def list_quarantine(call: Call[PageQuery, NoBody]) -> Reply:
    """Pushed events that wait for a person, newest first."""
    query = call.query
    found = await call.faces.store.read.pushed.quarantined(after=query.after_id(), limit=query.limit + 1)
    page, following = cut(found, query.limit, lambda stored: stored.id)
    return Reply(QuarantinePage(items=[QuarantinedShape.of(stored) for stored in page], next=following))


@endpoint(
    "POST", "/v1/usage/quarantine/{id}/release", tag=TAG, roles=BILLING, answer=QuarantinedShape, body=ReasonRequest,
    key="optional", refusals={409: "it isn't in quarantine any more"},
)  # fmt: skip
async def release_event(call: Call[NoQuery, ReasonRequest]) -> Reply:
    """Let an event out of quarantine: it counts at its own time."""

    async def work(also: Also) -> StoredEvent:
        desk = call.faces.pushed
        return await desk.release(call.id, actor=call.caller.actor, reason=call.body.reason, also=also)

    return await once(call, "POST /v1/usage/quarantine/{id}/release", work, QuarantinedShape.of, 200)


@endpoint(
    "POST", "/v1/usage/quarantine/{id}/discard", tag=TAG, roles=BILLING, answer=QuarantinedShape, body=ReasonRequest,
    key="optional", refusals={409: "it isn't in quarantine any more"},
)  # fmt: skip
async def discard_event(call: Call[NoQuery, ReasonRequest]) -> Reply:
    """Decide that an event in quarantine never counts."""

    async def work(also: Also) -> StoredEvent:
        desk = call.faces.pushed
        return await desk.discard(call.id, actor=call.caller.actor, reason=call.body.reason, also=also)

    return await once(call, "POST /v1/usage/quarantine/{id}/discard", work, QuarantinedShape.of, 200)


@endpoint("GET", "/v1/usage/conflicts", tag=TAG, roles=EVERY_ROLE, answer=ConflictPage, query=PageQuery)
async def list_conflicts(call: Call[PageQuery, NoBody]) -> Reply:
    """Contents that were refused because their source and id stood for another one, newest first."""
    query = call.query
    found = await call.faces.store.read.pushed.conflicts(after=query.after_id(), limit=query.limit + 1)
    page, following = cut(found, query.limit, lambda conflict: conflict.id)
    return Reply(ConflictPage(items=[ConflictShape.of(conflict) for conflict in page], next=following))


ENDPOINTS = (push_usage, list_quarantine, release_event, discard_event, list_conflicts)
