"""Orders: place one, preview one, look at them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import Field

from daemon.api import services
from daemon.api.deps import Faces
from daemon.api.endpoint import EVERY_ROLE, ORDERING, Call, NoBody, NoQuery, Reply, Shape, endpoint, plain
from daemon.api.paging import PageQuery, cut
from daemon.api.shapes import OperationSummary, OrderShape, Page, ServiceShape
from daemon.domain.errors import Refused
from daemon.domain.order import Order
from daemon.provisioning.choice import always_blocks
from daemon.provisioning.idempotency import Answer
from daemon.provisioning.ordering import Placed, Preview
from daemon.provisioning.requests import OrderRequest
from daemon.provisioning.wanted import Wanted, wanted_addresses
from daemon.settings.types import format_duration

TAG = "orders"
FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


class OrderPage(Page[OrderShape]):
    pass


class PlacedShape(Shape):
    """An order with its service and the operation that builds it."""

    order: OrderShape
    service: ServiceShape
    operation: OperationSummary | None = Field(description="the newest one of the service")


class VerdictShape(Shape):
    """What was found about one module."""

    module: str
    free: int | None = Field(description="free servers; null when the platform can't be asked")
    reason: str = Field(description="why it isn't used; empty for the one that is")
    left_out: dict[str, str] = Field(description="servers of the type that don't count, with the reason")


class WantedShape(Shape):
    family: str
    type: str
    role: str


class PreviewShape(Shape):
    """What an order would do. Nothing was stored or touched."""

    plan: str
    plan_revision: str
    module: str | None = Field(description="the module that would carry it; null when none can now")
    server: str | None = Field(description="the server that would be tried first, as its platform calls it")
    why: list[VerdictShape] = Field(description="the modules in the order in which they were looked at")
    addresses: list[WantedShape]
    addons: dict[str, Any]
    prices: dict[str, Any]
    would: list[str] = Field(description="what would be done, as sentences")


@endpoint(
    "POST",
    "/v1/orders",
    tag=TAG,
    roles=ORDERING,
    answer=PlacedShape,
    status=201,
    body=OrderRequest,
    raw_body=True,
    key="required",
    refusals={409: "no free server; or the Idempotency-Key stood for another request"},
)
async def create_order(call: Call[NoQuery, OrderRequest]) -> Reply:
    """Order a plan. The same Idempotency-Key and body give the same answer."""
    assert call.key is not None

    def answer(placed: Placed) -> Answer:
        # A refused order never comes here, so the plan is one of ours.
        plan = call.faces.fleet.settings.plan(call.raw["plan"])
        assert plan is not None
        return 201, plain(_placed(placed, plan.name, plan.revision))

    status, body = await call.faces.ordering.place(call.raw, key=call.key, actor=call.caller.actor, answer=answer)
    return Reply(body, status, {"Location": f"/v1/orders/{body['order']['id']}"})


def _placed(placed: Placed, plan: str, revision: str) -> PlacedShape:
    service = ServiceShape.of(
        placed.service,
        plan=(plan, revision),
        customer=placed.customer,
        addons=placed.order.addons,
        allocations=[],
    )
    order = OrderShape.of(placed.order, plan, placed.customer, placed.service.id)
    return PlacedShape(order=order, service=service, operation=OperationSummary.of(placed.operation))


@endpoint("POST", "/v1/orders/plan", tag=TAG, roles=EVERY_ROLE, answer=PreviewShape, body=OrderRequest, raw_body=True)
async def preview_order(call: Call[NoQuery, OrderRequest]) -> Reply:
    """Say what an order would do, on which module and why; nothing is done."""
    preview = await call.faces.ordering.preview(call.raw)
    chosen = next((verdict for verdict in preview.verdicts if verdict.free), None)
    server = chosen.free[0] if chosen else None
    wanted = _wanted(call.faces, preview)
    return Reply(
        PreviewShape(
            plan=preview.plan.name,
            plan_revision=preview.plan.revision,
            module=preview.module,
            server=(server.label or server.remote_id) if server else None,
            why=[VerdictShape(**verdict.as_dict()) for verdict in preview.verdicts],
            addresses=[WantedShape(family=w.family, type=w.address_type, role=w.role.value) for w in wanted],
            addons=preview.addons,
            prices=preview.prices,
            would=_would(call.faces, preview, wanted),
        )
    )


def _wanted(faces: Faces, preview: Preview) -> list[Wanted]:
    if preview.module is None:
        return []
    settings = faces.fleet.carrier(preview.module).settings
    return wanted_addresses(preview.addons, always_blocks(preview.plan), settings)


def _would(faces: Faces, preview: Preview, wanted: list[Wanted]) -> list[str]:
    chosen = next((verdict for verdict in preview.verdicts if verdict.free), None)
    if chosen is None:
        return ["be refused: no module has a free server now"]
    server, request = chosen.free[0], preview.request
    carrier = faces.fleet.carrier(chosen.module)
    told = [f"reserve server {server.label or server.remote_id} ({preview.plan.server_type}) on {chosen.module}"]
    for want in wanted:
        if want.role == "main":
            told.append(f"change its main address {server.main_address} to one of type {want.address_type}")
        else:
            told.append(f"add an {FAMILIES.get(want.family, want.family)} address of type {want.address_type}")
    told.append(f"enable it, power it on and name it {request.hostname}")
    if template := preview.addons.get("ostempl"):
        recipe = f" with recipe {preview.addons['recipe']}" if "recipe" in preview.addons else ""
        told.append(f"install {template}{recipe}, within {format_duration(carrier.settings.install_within)}")
    told.append(f"hand it over to customer {request.customer.ref} and mail {request.customer.email} a one-time link")
    return [*told, _bill(preview)]


def _bill(preview: Preview) -> str:
    prices, request = preview.prices, preview.request
    parts = [f"set-up {prices['setup']}", f"{prices['period']} a {request.period}"]
    for name, price in prices["addons"].items():
        once = f" and {price['setup']} once" if Decimal(price["setup"]) else ""
        parts.append(f"{name} {price['number']} x {price['each']}{once}")
    return f"bill in {request.currency}: " + ", ".join(parts)


@endpoint("GET", "/v1/orders", tag=TAG, roles=EVERY_ROLE, answer=OrderPage, query=PageQuery)
async def list_orders(call: Call[PageQuery, NoBody]) -> Reply:
    """All orders, newest first."""
    query = call.query
    found = await call.faces.store.read.orders.page(after=query.after_id(), limit=query.limit + 1)
    page, following = cut(found, query.limit, lambda order: order.id)
    return Reply(OrderPage(items=await _shapes(call.faces, page), next=following))


async def _shapes(faces: Faces, orders: list[Order]) -> list[OrderShape]:
    read = faces.store.read
    customers = await read.orders.customers([order.customer_id for order in orders])
    revisions = await read.orders.revisions([order.plan_revision_id for order in orders])
    of_orders = await read.services.of_orders([order.id for order in orders])
    return [
        OrderShape.of(
            order, revisions[order.plan_revision_id].name, customers[order.customer_id], of_orders[order.id].id
        )
        for order in orders
    ]


@endpoint("GET", "/v1/orders/{id}", tag=TAG, roles=EVERY_ROLE, answer=PlacedShape)
async def get_order(call: Call[NoQuery, NoBody]) -> Reply:
    """One order with its service and the newest operation."""
    read = call.faces.store.read
    order = (await read.orders.many([call.id])).get(call.id)
    if order is None:
        raise Refused("no_order", f"there is no order {call.id}", status=404)
    service = (await read.services.of_orders([order.id]))[order.id]
    newest = await read.operations.page(status=None, service_id=service.id, after=0, limit=1)
    return Reply(
        PlacedShape(
            order=(await _shapes(call.faces, [order]))[0],
            service=(await services.shapes(call.faces, [service]))[0],
            operation=OperationSummary.of(newest[0]) if newest else None,
        )
    )


ENDPOINTS = (list_orders, create_order, preview_order, get_order)
