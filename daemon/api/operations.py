"""Operations: what is being done, what it waits for, and what a person may do about it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from daemon.api.endpoint import EVERY_ROLE, OPERATING, Call, NoBody, NoQuery, Reply, Shape, endpoint
from daemon.api.keys import once
from daemon.api.paging import Id, PageQuery, cut
from daemon.api.shapes import (
    FaultShape,
    Moment,
    OperationAnswer,
    OperationShape,
    OperationSummary,
    Page,
    StepShape,
    TaskShape,
)
from daemon.domain.errors import Refused
from daemon.domain.operation import Operation, Status
from daemon.provisioning.desk import Also
from daemon.provisioning.requests import DoneRequest, WhyRequest

TAG = "operations"
NOT_NOW = {409: "it can't be done now; `why` says what can"}


class OperationsQuery(PageQuery):
    status: Annotated[Status | None, Field(description="only operations with this status")] = None
    service: Annotated[Id | None, Field(description="only operations of this service")] = None


class OperationPage(Page[OperationSummary]):
    pass


class WhyShape(Shape):
    """What an operation waits for, since when, until when, and what a person may do."""

    operation: int
    service: int
    service_state: str
    verb: str
    status: str
    phase: str
    waiting_for: str | None
    since: Moment | None
    next_look: Moment | None
    until: Moment = Field(description="the deadline")
    step: StepShape | None = Field(description="the step it stands at")
    fault: FaultShape | None
    tasks: list[TaskShape] = Field(description="open tasks; closing one lets it go on")
    may: list[str] = Field(description="of retry, abandon, done")


@endpoint("GET", "/v1/operations", tag=TAG, roles=EVERY_ROLE, answer=OperationPage, query=OperationsQuery)
async def list_operations(call: Call[OperationsQuery, NoBody]) -> Reply:
    """All operations, newest first."""
    query = call.query
    found = await call.faces.store.read.operations.page(
        status=query.status, service_id=query.service, after=query.after_id(), limit=query.limit + 1
    )
    page, following = cut(found, query.limit, lambda operation: operation.id)
    return Reply(OperationPage(items=[OperationSummary.of(operation) for operation in page], next=following))


@endpoint("GET", "/v1/operations/{id}", tag=TAG, roles=EVERY_ROLE, answer=OperationShape)
async def get_operation(call: Call[NoQuery, NoBody]) -> Reply:
    """One operation with its steps."""
    read = call.faces.store.read
    operation = await read.operations.get(call.id)
    if operation is None:
        raise Refused("no_operation", f"there is no operation {call.id}", status=404)
    return Reply(OperationShape.full(operation, await read.steps.of_operation(operation.id)))


@endpoint("GET", "/v1/operations/{id}/why", tag=TAG, roles=EVERY_ROLE, answer=WhyShape)
async def why_operation(call: Call[NoQuery, NoBody]) -> Reply:
    """What an operation waits for, since when, until when, and what a person may do."""
    why = await call.faces.desk.why(call.id)
    operation = why.operation
    return Reply(
        WhyShape(
            operation=operation.id,
            service=why.service.id,
            service_state=why.service.state.value,
            verb=operation.verb.value,
            status=operation.status.value,
            phase=operation.phase.value,
            waiting_for=operation.waiting_for,
            since=operation.waiting_since,
            next_look=operation.due_at,
            until=operation.deadline,
            step=StepShape.of(why.step) if why.step else None,
            fault=FaultShape.of(why.service.fault),
            tasks=[TaskShape.of(task) for task in why.tasks],
            may=why.may,
        )
    )


@endpoint(
    "POST", "/v1/operations/{id}/retry", tag=TAG, roles=OPERATING, answer=OperationAnswer, status=202,
    body=WhyRequest, key="optional", refusals=NOT_NOW,
)  # fmt: skip
async def retry_operation(call: Call[NoQuery, WhyRequest]) -> Reply:
    """Try again now; a failed operation is followed by a new one."""

    async def work(also: Also) -> Operation:
        return await call.faces.desk.retry(call.id, actor=call.caller.actor, reason=call.body.reason, also=also)

    return await once(call, "POST /v1/operations/{id}/retry", work, OperationAnswer.of, 202)


@endpoint(
    "POST", "/v1/operations/{id}/abandon", tag=TAG, roles=OPERATING, answer=OperationAnswer, status=202,
    body=WhyRequest, key="optional", refusals=NOT_NOW,
)  # fmt: skip
async def abandon_operation(call: Call[NoQuery, WhyRequest]) -> Reply:
    """Stop, undo what was done, and leave the service pending with a fault."""

    async def work(also: Also) -> Operation:
        return await call.faces.desk.abandon(call.id, actor=call.caller.actor, reason=call.body.reason, also=also)

    return await once(call, "POST /v1/operations/{id}/abandon", work, OperationAnswer.of, 202)


@endpoint(
    "POST", "/v1/operations/{id}/done", tag=TAG, roles=OPERATING, answer=OperationAnswer, status=202,
    body=DoneRequest, key="optional", refusals=NOT_NOW,
)  # fmt: skip
async def done_operation(call: Call[NoQuery, DoneRequest]) -> Reply:
    """Mark the step it stands at as done by hand, and go on."""

    async def work(also: Also) -> Operation:
        return await call.faces.desk.done(
            call.id, actor=call.caller.actor, reason=call.body.reason, result=call.body.result, also=also
        )

    return await once(call, "POST /v1/operations/{id}/done", work, OperationAnswer.of, 202)


ENDPOINTS = (
    list_operations,
    get_operation,
    why_operation,
    retry_operation,
    abandon_operation,
    done_operation,
)
