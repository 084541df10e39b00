"""The fewest rows that let a test write the one it is about."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count

from daemon.domain.operation import Operation, Status, Verb
from daemon.store.repositories import Repositories

_NUMBERS = count(1)


async def a_service(tx: Repositories) -> int:
    """A customer, what was sold, an order and its pending service; the service's id."""
    n, now = next(_NUMBERS), tx.clock.now()
    customer = await _insert(tx, "customer", ref=f"C-{n}", name="n", email="e", created_at=now, **_EMPTY_CUSTOMER)
    plan = await _insert(tx, "plan_revision", name=f"p{n}", revision="r", content={}, created_at=now)
    order = await _insert(
        tx, "service_order", customer_id=customer, plan_revision_id=plan, currency="EUR", period="month",
        hostname="a.example.test", addons={}, prices={}, created_at=now, actor="test",
    )  # fmt: skip
    return await _insert(
        tx, "service", customer_id=customer, order_id=order, plan_revision_id=plan, state="pending", label="",
        properties={}, hostname="a.example.test", created_at=now,
    )  # fmt: skip


async def a_billed_service(tx: Repositories) -> int:
    """An active one, billed for ages, with a plan that counts traffic and calls."""
    service = await a_service(tx)
    await tx.execute(
        "UPDATE service SET state = 'active', billing_from = ? WHERE id = ?",
        tx.clock.now() - timedelta(days=9999),
        service,
    )
    counted: dict[str, object] = {"resources": {"in": {}, "out": {}, "active_calls": {}}}
    plan = await _insert(
        tx, "plan_revision", name=f"b{service}", revision="r", content=counted, created_at=tx.clock.now()
    )
    await tx.execute("UPDATE service SET plan_revision_id = ? WHERE id = ?", plan, service)
    return service


_EMPTY_CUSTOMER = {"customer_class": "", "language": "", "currency": "", "zone": ""}


async def an_operation(tx: Repositories, *, due_at: datetime | None = None) -> Operation:
    """An open operation on a service of its own, due now or at `due_at`."""
    service = await a_service(tx)
    operation = await tx.operations.add(
        service, Verb.PROVISION, status=Status.OPEN, deadline=tx.clock.now() + timedelta(days=1), params={}
    )
    if due_at is not None:
        await tx.execute("UPDATE operation SET due_at = ? WHERE id = ?", due_at, operation.id)
    return operation


async def _insert(tx: Repositories, table: str, **values: object) -> int:
    marks = ", ".join("?" for _ in values)
    rows = await tx.fetch(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks}) RETURNING id", *values.values())
    return int(rows[0]["id"])
