"""Services. State moves in one function, in the transaction of its event."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from daemon.domain.service import Fault, Service, State, check_move
from daemon.store.connection import Connection
from daemon.store.events import Events
from daemon.store.models import ServiceRow

MANY = 5_000
"""Ids in one statement: SQLite takes 32 766 values."""


def to_domain(row: ServiceRow) -> Service:
    fault: Any = row.fault
    return Service(
        id=row.id,
        customer_id=row.customer_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        order_id=row.order_id,  # type: ignore[attr-defined]  # as above
        plan_revision_id=row.plan_revision_id,  # type: ignore[attr-defined]  # as above
        state=State(row.state),
        target=State(row.target) if row.target else None,
        fault=Fault(fault["code"], fault["message"], datetime.fromisoformat(fault["since"]), fault["operation"])
        if fault
        else None,
        label=row.label,
        properties=row.properties,  # type: ignore[arg-type]  # JSON column
        hostname=row.hostname,
        module=row.module,
        datacenter=row.datacenter,
        remote_id=row.remote_id,
        billing_from=row.billing_from,
        billing_until=row.billing_until,
        closed_until=row.closed_until,
        created_at=row.created_at,
    )


class Services:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(
        self, *, customer_id: int, order_id: int, plan_revision_id: int, hostname: str, target: State
    ) -> Service:
        row = await ServiceRow.create(
            customer_id=customer_id,
            order_id=order_id,
            plan_revision_id=plan_revision_id,
            state=State.PENDING.value,
            target=target.value,
            hostname=hostname,
            created_at=self._c.clock.now(),
            using_db=self._c.db,
        )
        return to_domain(row)

    async def get(self, service_id: int) -> Service | None:
        row = await ServiceRow.get_or_none(id=service_id, using_db=self._c.db)
        return to_domain(row) if row else None

    async def of_orders(self, order_ids: Sequence[int]) -> dict[int, Service]:
        """Order id -> its service."""
        rows = await ServiceRow.filter(order_id__in=list(order_ids)).using_db(self._c.db)
        services = [to_domain(row) for row in rows]
        return {service.order_id: service for service in services}

    async def lock(self, service_id: int) -> Service | None:
        """The service, its row locked for this transaction."""
        await self._c.execute("UPDATE service SET target = target WHERE id = ?", service_id)
        return await self.get(service_id)

    async def page(
        self, *, after: int, limit: int, state: str | None = None, customer_id: int | None = None
    ) -> list[Service]:
        """Newest first, ids below `after` (0: from the newest)."""
        query = ServiceRow.all().using_db(self._c.db).order_by("-id").limit(limit)
        if after:
            query = query.filter(id__lt=after)
        if state:
            query = query.filter(state=state)
        if customer_id:
            query = query.filter(customer_id=customer_id)
        return [to_domain(row) for row in await query]

    async def on_module(self, module: str, states: Sequence[State]) -> list[tuple[int, str]]:
        """(service id, remote id) of the services that a module carries."""
        marks = ", ".join("?" for _ in states)
        return await self._c.pairs(
            f"SELECT id, remote_id FROM service WHERE module = ? AND state IN ({marks}) AND remote_id IS NOT NULL",  # noqa: S608 - only question marks are put in
            module, *[state.value for state in states],
        )  # fmt: skip

    async def many(self, ids: Sequence[int]) -> list[Service]:
        """Those that are there, by id."""
        found: list[Service] = []
        for start in range(0, len(ids), MANY):
            rows = await ServiceRow.filter(id__in=list(ids[start : start + MANY])).using_db(self._c.db).order_by("id")
            found += [to_domain(row) for row in rows]
        return found

    async def sold(self, service_ids: Collection[int]) -> dict[int, tuple[int, str | None]]:
        """Service -> (plan revision, module)."""
        given = (
            "SELECT value FROM json_each(?)"
            if self._c.dialect == "sqlite"
            else "SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(? AS json))"
        )
        rows = await self._c.fetch(
            f"SELECT id, plan_revision_id, module FROM service WHERE id IN ({given})",  # noqa: S608 - no values
            sorted(service_ids),
        )
        return {row["id"]: (row["plan_revision_id"], row["module"]) for row in rows}

    async def to_close(self, now: datetime, *, after: int, limit: int) -> list[Service]:
        """Services with a period that may have ended, by id.

        Not those in release: the last reading may lie before the end of the period, and the release closes what is left.
        """
        rows = await self._c.fetch(
            "SELECT id FROM service WHERE id > ? AND billing_from IS NOT NULL AND (closes_at IS NULL OR closes_at <= ?)"
            " AND (target IS NULL OR target <> 'released')"
            " AND (state <> 'released' OR closed_until IS NULL OR closed_until < billing_until) ORDER BY id LIMIT ?",
            after, now, limit,
        )  # fmt: skip
        found = await ServiceRow.filter(id__in=[row["id"] for row in rows]).using_db(self._c.db).order_by("id")
        return [to_domain(row) for row in found]

    async def oldest_open_period(self) -> datetime | None:
        """Start of the oldest period that is not closed yet, over all services."""
        rows = await self._c.fetch(
            "SELECT MIN(COALESCE(closed_until, billing_from)) AS at FROM service WHERE billing_from IS NOT NULL"
            " AND (state <> 'released' OR closed_until IS NULL OR closed_until < billing_until)"
        )
        return self._c.moment(rows[0]["at"])

    async def closes_at(self, moments: Mapping[int, datetime]) -> None:
        """When to look at each service again: as soon as its next period can be closed."""
        await self._c.execute_many(
            "UPDATE service SET closes_at = ? WHERE id = ?", [[at, service_id] for service_id, at in moments.items()]
        )

    async def close(self, service: Service, until: datetime) -> bool:
        """Its periods up to `until` are closed; false when somebody else has closed some meanwhile."""
        old = "IS NULL" if service.closed_until is None else "= ?"
        values = [] if service.closed_until is None else [service.closed_until]
        count = await self._c.execute(
            f"UPDATE service SET closed_until = ?, closes_at = NULL WHERE id = ? AND closed_until {old}",  # noqa: S608 - no values
            until, service.id, *values,
        )  # fmt: skip
        return count == 1

    async def move(
        self, service: Service, state: State, *, operation_id: int, actor: str = "daemon", **changes: Any
    ) -> None:
        """The one place where a service changes its state; clears target and fault, and writes the event.

        `changes` are further columns: billing_from, billing_until, remote_id, module.
        """
        check_move(service.state, state)
        sets = "".join(f", {name} = ?" for name in changes)
        await self._c.execute(
            f"UPDATE service SET state = ?, target = NULL, fault = NULL{sets} WHERE id = ?",  # noqa: S608 - names come from code
            state.value, *changes.values(), service.id,
        )  # fmt: skip
        plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in changes.items()}
        await Events(self._c).add(
            f"service.{state}",
            service_id=service.id,
            operation_id=operation_id,
            actor=actor,
            before={"state": service.state},
            after={"state": state, **plain},
        )

    async def place(
        self,
        service_id: int,
        *,
        module: str | None,
        datacenter: str | None,
        remote_id: str | None,
        properties: dict[str, Any] | None = None,
    ) -> None:
        """Where the service is being (or is no longer) built."""
        await self._c.execute(
            "UPDATE service SET module = ?, datacenter = ?, remote_id = ?, properties = ? WHERE id = ?",
            module, datacenter, remote_id, properties or {}, service_id,
        )  # fmt: skip

    async def set_target(self, service_id: int, target: State | None) -> None:
        await self._c.execute("UPDATE service SET target = ? WHERE id = ?", target and target.value, service_id)

    async def set_fault(self, service_id: int, fault: Fault | None) -> None:
        await self._c.execute("UPDATE service SET fault = ? WHERE id = ?", fault and fault.as_dict(), service_id)

    async def faults(self) -> int:
        """How many services need a person."""
        rows = await self._c.fetch("SELECT COUNT(*) AS n FROM service WHERE fault IS NOT NULL AND state <> 'released'")
        return int(rows[0]["n"])
