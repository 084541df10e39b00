"""Customers, frozen plan revisions, orders, and the idempotency keys of the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daemon.domain.order import Customer, Order, PlanRevision
from daemon.store.connection import Connection
from daemon.store.models import CustomerRow, IdempotencyRow, OrderRow, PlanRevisionRow


def _customer(row: CustomerRow) -> Customer:
    return Customer(
        id=row.id,
        ref=row.ref,
        name=row.name,
        email=row.email,
        parent_id=row.parent_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        customer_class=row.customer_class,
        language=row.language,
        currency=row.currency,
        zone=row.zone,
    )


def _order(row: OrderRow) -> Order:
    return Order(
        id=row.id,
        customer_id=row.customer_id,  # type: ignore[attr-defined]  # as above
        plan_revision_id=row.plan_revision_id,  # type: ignore[attr-defined]  # as above
        currency=row.currency,
        period=row.period,
        hostname=row.hostname,
        addons=row.addons,  # type: ignore[arg-type]  # JSON column
        prices=row.prices,  # type: ignore[arg-type]  # JSON column
        created_at=row.created_at,
        actor=row.actor,
    )


def _revision(row: PlanRevisionRow) -> PlanRevision:
    return PlanRevision(id=row.id, name=row.name, revision=row.revision, content=row.content)  # type: ignore[arg-type]  # JSON column


@dataclass(frozen=True)
class KeptAnswer:
    route: str
    body_hash: str
    status: int
    answer: Any


class Orders:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def customer(self, customer_id: int) -> Customer:
        return _customer(await CustomerRow.get(id=customer_id, using_db=self._c.db))

    async def customers(self, ids: Sequence[int]) -> dict[int, Customer]:
        rows = await CustomerRow.filter(id__in=list(ids)).using_db(self._c.db)
        return {row.id: _customer(row) for row in rows}

    async def customer_by_ref(self, ref: str) -> Customer | None:
        row = await CustomerRow.get_or_none(ref=ref, using_db=self._c.db)
        return _customer(row) if row else None

    async def add_customer(self, *, ref: str, name: str, email: str, currency: str) -> Customer:
        """The customer of this ref; another order may have made it at the same moment."""
        await self._c.execute(
            "INSERT INTO customer (ref, name, email, currency, customer_class, language, zone, created_at)"
            " VALUES (?, ?, ?, ?, '', '', '', ?) ON CONFLICT DO NOTHING",
            ref, name, email, currency, self._c.clock.now(),
        )  # fmt: skip
        return _customer(await CustomerRow.get(ref=ref, using_db=self._c.db))

    async def rename_customer(self, customer_id: int, *, name: str, email: str) -> None:
        await self._c.execute("UPDATE customer SET name = ?, email = ? WHERE id = ?", name, email, customer_id)

    async def plan_revision(self, name: str, revision: str, content: dict[str, Any]) -> PlanRevision:
        """The row of this content, made when it is sold for the first time."""
        await self._c.execute(
            "INSERT INTO plan_revision (name, revision, content, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            name, revision, content, self._c.clock.now(),
        )  # fmt: skip
        row = await PlanRevisionRow.get(name=name, revision=revision, using_db=self._c.db)
        return _revision(row)

    async def revision(self, revision_id: int) -> PlanRevision:
        return _revision(await PlanRevisionRow.get(id=revision_id, using_db=self._c.db))

    async def revisions(self, ids: Sequence[int]) -> dict[int, PlanRevision]:
        rows = await PlanRevisionRow.filter(id__in=list(ids)).using_db(self._c.db)
        return {row.id: _revision(row) for row in rows}

    async def revisions_in_use(self) -> list[PlanRevision]:
        """Those of services that are billed, or not billed to their end yet."""
        rows = await self._c.fetch(
            "SELECT DISTINCT plan_revision_id AS id FROM service WHERE billing_from IS NOT NULL"
            " AND (state <> 'released' OR closed_until IS NULL OR closed_until < billing_until)"
        )
        return list((await self.revisions([row["id"] for row in rows])).values())

    async def add(
        self,
        *,
        customer_id: int,
        plan_revision_id: int,
        currency: str,
        period: str,
        hostname: str,
        addons: dict[str, Any],
        prices: dict[str, Any],
        actor: str,
    ) -> Order:
        row = await OrderRow.create(
            customer_id=customer_id,
            plan_revision_id=plan_revision_id,
            currency=currency,
            period=period,
            hostname=hostname,
            addons=addons,
            prices=prices,
            actor=actor,
            created_at=self._c.clock.now(),
            using_db=self._c.db,
        )
        return _order(row)

    async def get(self, order_id: int) -> Order:
        return _order(await OrderRow.get(id=order_id, using_db=self._c.db))

    async def many(self, ids: Sequence[int]) -> dict[int, Order]:
        rows = await OrderRow.filter(id__in=list(ids)).using_db(self._c.db)
        return {row.id: _order(row) for row in rows}

    async def page(self, *, after: int, limit: int) -> list[Order]:
        """Newest first, ids below `after` (0: from the newest)."""
        query = OrderRow.all().using_db(self._c.db).order_by("-id").limit(limit)
        if after:
            query = query.filter(id__lt=after)
        return [_order(row) for row in await query]

    # idempotency --------------------------------------------------------------------------------------------------------------

    async def kept_answer(self, key: str) -> KeptAnswer | None:
        row = await IdempotencyRow.get_or_none(key=key, using_db=self._c.db)
        return KeptAnswer(row.route, row.body_hash, row.status, row.answer) if row else None

    async def keep_answer(self, key: str, kept: KeptAnswer) -> None:
        """Store key and answer in the caller's transaction; a second writer of the key gets tortoise's IntegrityError."""
        await IdempotencyRow.create(
            key=key,
            route=kept.route,
            body_hash=kept.body_hash,
            status=kept.status,
            answer=kept.answer,
            created_at=self._c.clock.now(),
            using_db=self._c.db,
        )
