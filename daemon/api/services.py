"""Services: what customers have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from daemon.api.deps import Faces
from daemon.api.endpoint import (
    EVERY_ROLE,
    OPERATING,
    ORDERING_OR_OPERATING,
    Call,
    NoBody,
    NoQuery,
    Reply,
    Shape,
    endpoint,
    plain,
)
from daemon.api.paging import PageQuery, cut
from daemon.api.shapes import OperationAnswer, Page, ServiceShape
from daemon.domain.errors import Refused
from daemon.domain.service import Service, State
from daemon.provisioning.requests import ReasonRequest

TAG = "services"


class ServicesQuery(PageQuery):
    state: Annotated[State | None, Field(description="only services in this state")] = None
    customer: Annotated[
        str | None, Field(max_length=200, description="only services of the customer with this ref")
    ] = None


class ServicePage(Page[ServiceShape]):
    pass


class EventShape(Shape):
    """One entry of the audit log."""

    seq: int
    at: str
    kind: str
    actor: str
    reason: str
    operation: int | None
    before: Any
    after: Any


class EventPage(Page[EventShape]):
    pass


class AccessShape(Shape):
    """What one needs to get in; null where there is nothing or where it is not ours to tell."""

    hostname: str
    address: str
    root_password: str | None
    user: str | None
    user_password: str | None
    note: str | None = Field(description="says why a password is missing")


async def shapes(faces: Faces, services: Sequence[Service]) -> list[ServiceShape]:
    """Services as answers; one query for each kind of thing, however many services there are."""
    read = faces.store.read
    orders = await read.orders.many([service.order_id for service in services])
    customers = await read.orders.customers([service.customer_id for service in services])
    revisions = await read.orders.revisions([service.plan_revision_id for service in services])
    allocations = await read.allocations.of_services([service.id for service in services])
    found = []
    for service in services:
        revision = revisions[service.plan_revision_id]
        found.append(
            ServiceShape.of(
                service,
                plan=(revision.name, revision.revision),
                customer=customers[service.customer_id],
                addons=orders[service.order_id].addons,
                allocations=allocations[service.id],
            )
        )
    return found


async def one(faces: Faces, service_id: int) -> Service:
    """Raises Refused with 404."""
    service = await faces.store.read.services.get(service_id)
    if service is None:
        raise Refused("no_service", f"there is no service {service_id}", status=404)
    return service


@endpoint("GET", "/v1/services", tag=TAG, roles=EVERY_ROLE, answer=ServicePage, query=ServicesQuery)
async def list_services(call: Call[ServicesQuery, NoBody]) -> Reply:
    """All services, newest first."""
    query, read = call.query, call.faces.store.read
    customer_id = None
    if query.customer is not None:
        customer = await read.orders.customer_by_ref(query.customer)
        if customer is None:
            return Reply(ServicePage(items=[], next=None))
        customer_id = customer.id
    found = await read.services.page(
        after=query.after_id(), limit=query.limit + 1, state=query.state, customer_id=customer_id
    )
    page, following = cut(found, query.limit, lambda service: service.id)
    return Reply(ServicePage(items=await shapes(call.faces, page), next=following))


@endpoint("GET", "/v1/services/{id}", tag=TAG, roles=EVERY_ROLE, answer=ServiceShape)
async def get_service(call: Call[NoQuery, NoBody]) -> Reply:
    """One service."""
    return Reply((await shapes(call.faces, [await one(call.faces, call.id)]))[0])


@endpoint(
    "POST",
    "/v1/services/{id}/release",
    tag=TAG,
    roles=ORDERING_OR_OPERATING,
    answer=OperationAnswer,
    status=202,
    body=ReasonRequest,
    key="optional",
    refusals={409: "it is released, or being released, already"},
)
async def release_service(call: Call[NoQuery, ReasonRequest]) -> Reply:
    """Give a service back: its server and its addresses."""
    status, body = await call.faces.desk.release(
        call.id,
        actor=call.caller.actor,
        reason=call.body.reason,
        key=call.key,
        answer=lambda operation: (202, plain(OperationAnswer.of(operation))),
    )
    return Reply(body, status)


class EventsQuery(PageQuery):
    pass


@endpoint("GET", "/v1/services/{id}/events", tag=TAG, roles=EVERY_ROLE, answer=EventPage, query=EventsQuery)
async def list_service_events(call: Call[EventsQuery, NoBody]) -> Reply:
    """The story of a service, oldest first: who did what, when and why."""
    await one(call.faces, call.id)
    after, limit = call.query.after_id(), call.query.limit
    events = await call.faces.store.read.events.of_service(call.id)
    later = [event for event in events if event["seq"] > after]
    page, following = cut(later, limit, lambda event: event["seq"])
    return Reply(EventPage(items=[EventShape(**event) for event in page], next=following))


@endpoint(
    "POST",
    "/v1/services/{id}/access",
    tag=TAG,
    roles=OPERATING,
    answer=AccessShape,
    body=ReasonRequest,
    refusals={409: "it isn't active: there is nothing to get into"},
)
async def show_access(call: Call[NoQuery, ReasonRequest]) -> Reply:
    """Show the passwords of a service; recorded with who and why."""
    access = await call.faces.access.show(call.id, call.caller.actor, call.body.reason)
    note = None
    if access.user is not None and access.user_password is None:
        note = "the panel user was there before us: its password is not known here"
    return Reply(
        AccessShape(
            hostname=access.hostname,
            address=access.address,
            root_password=access.root_password,
            user=access.user,
            user_password=access.user_password,
            note=note,
        )
    )


ENDPOINTS = (list_services, get_service, release_service, list_service_events, show_access)
