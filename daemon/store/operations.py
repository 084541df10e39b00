"""Operations: opened with their order, taken by a node for one leg, given back with the next due time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from daemon.domain.operation import Operation, Phase, Status, Verb
from daemon.store.connection import Connection
from daemon.store.models import OperationRow


class Fenced(Exception):
    """The leg's fence is no longer the operation's (no failure: somebody else has it now): it must stop without another write."""


def to_domain(row: OperationRow) -> Operation:
    return Operation(
        id=row.id,
        service_id=row.service_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        verb=Verb(row.verb),
        status=Status(row.status),
        phase=Phase(row.phase),
        params=row.params,  # type: ignore[arg-type]  # JSON column
        due_at=row.due_at,
        deadline=row.deadline,
        waiting_for=row.waiting_for,
        waiting_since=row.waiting_since,
        leg=row.leg,
        fence=row.fence,
        owner=row.owner,
        cancel=row.cancel,
        error=row.error,  # type: ignore[arg-type]  # JSON column
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


class Operations:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(
        self,
        service_id: int,
        verb: Verb,
        *,
        status: Status,
        deadline: datetime,
        params: dict[str, Any],
        waiting_for: str | None = None,
    ) -> Operation:
        now = self._c.clock.now()
        row = await OperationRow.create(
            service_id=service_id,
            verb=verb,
            status=status,
            params=params,
            due_at=now if status is Status.OPEN else None,
            deadline=deadline,
            waiting_for=waiting_for,
            waiting_since=now if waiting_for else None,
            created_at=now,
            using_db=self._c.db,
        )
        return to_domain(row)

    async def get(self, operation_id: int) -> Operation | None:
        row = await OperationRow.get_or_none(id=operation_id, using_db=self._c.db)
        return to_domain(row) if row else None

    async def of_service(self, service_id: int) -> list[Operation]:
        """Oldest first."""
        rows = await OperationRow.filter(service_id=service_id).using_db(self._c.db).order_by("id")
        return [to_domain(row) for row in rows]

    async def live_of_service(self, service_id: int) -> list[Operation]:
        return [op for op in await self.of_service(service_id) if op.status in (Status.OPEN, Status.QUEUED)]

    async def page(
        self, *, status: str | None, after: int, limit: int, service_id: int | None = None
    ) -> list[Operation]:
        """Newest first, ids below `after` (0: from the newest)."""
        query = OperationRow.all().using_db(self._c.db).order_by("-id").limit(limit)
        if status:
            query = query.filter(status=status)
        if service_id:
            query = query.filter(service_id=service_id)
        if after:
            query = query.filter(id__lt=after)
        return [to_domain(row) for row in await query]

    # legs -------------------------------------------------------------------------------------------------------------------

    async def due(self, now: datetime, limit: int) -> list[tuple[int, datetime, int]]:
        """(id, due_at, leg) of open operations that are due and that nobody works on; half-done ones first."""
        rows = await self._c.fetch(
            "SELECT id, due_at, leg FROM operation WHERE status = 'open' AND owner IS NULL AND due_at <= ?"
            " ORDER BY CASE WHEN leg > 0 THEN 0 ELSE 1 END, due_at LIMIT ?",
            now, limit,
        )  # fmt: skip
        return [(row["id"], _sure(self._c.moment(row["due_at"])), row["leg"]) for row in rows]

    async def take(self, operation_id: int, owner: str, now: datetime) -> Operation | None:
        """Begin a leg: raise the fence and become the owner. None when it isn't due, isn't open, or somebody has it."""
        taken = await self._c.fetch(
            "UPDATE operation SET owner = ?, fence = fence + 1, leg = leg + 1, due_at = NULL"
            " WHERE id = ? AND status = 'open' AND owner IS NULL AND due_at <= ? RETURNING id",
            owner, operation_id, now,
        )  # fmt: skip
        return await self.get(operation_id) if taken else None

    async def free_all(self, owner: str) -> int:
        """Make all that a dead owner held due at once, under a new fence: what it may still write is refused."""
        return await self._c.execute(
            "UPDATE operation SET owner = NULL, fence = fence + 1, due_at = COALESCE(due_at, ?)"
            " WHERE owner = ? AND status = 'open'",
            self._c.clock.now(), owner,
        )  # fmt: skip

    async def lock(self, operation_id: int, fence: int) -> str | None:
        """Lock the row for this transaction, or raise Fenced. Returns why the operation shall stop, if somebody asked for that."""
        rows = await self._c.fetch(
            "UPDATE operation SET fence = fence WHERE id = ? AND fence = ? AND status = 'open' RETURNING cancel",
            operation_id, fence,
        )  # fmt: skip
        if not rows:
            raise Fenced
        cancel: str | None = rows[0]["cancel"]
        return cancel

    async def lock_any(self, operation_id: int) -> None:
        """Lock the row for this transaction, whoever works on it: for what people and the API ask."""
        await self._c.execute("UPDATE operation SET fence = fence WHERE id = ?", operation_id)

    async def give_back(
        self, operation_id: int, fence: int, *, due_at: datetime | None, waiting_for: str | None
    ) -> datetime | None:
        """End a leg; when the next one is due. `due_at` None: only a person or a task makes it due again."""
        # `take` emptied due_at: what stands there now was put in by somebody who wants another leg at once.
        rows = await self._c.fetch(
            "UPDATE operation SET owner = NULL, due_at = COALESCE(due_at, ?),"
            " waiting_since = CASE WHEN waiting_for = ? THEN waiting_since ELSE ? END, waiting_for = ?"
            " WHERE id = ? AND fence = ? AND status = 'open' RETURNING due_at",
            due_at, waiting_for, self._c.clock.now() if waiting_for else None, waiting_for, operation_id, fence,
        )  # fmt: skip
        return self._c.moment(rows[0]["due_at"]) if rows else None

    async def wake(self, operation_id: int, now: datetime) -> None:
        """Make an open operation due at once; a leg that runs now is followed by another."""
        await self._c.execute("UPDATE operation SET due_at = ? WHERE id = ? AND status = 'open'", now, operation_id)

    async def cancel(self, operation_id: int, why: str, now: datetime) -> None:
        await self._c.execute(
            "UPDATE operation SET cancel = COALESCE(cancel, ?), due_at = ? WHERE id = ? AND status = 'open'",
            why, now, operation_id,
        )  # fmt: skip

    async def enter_undo(self, operation_id: int, error: dict[str, Any] | None, *, cancel: str | None) -> None:
        """`cancel`: why it shall stop for good after the undo; kept, so that a later leg can't take another way."""
        await self._c.execute(
            "UPDATE operation SET phase = ?, error = ?, cancel = COALESCE(cancel, ?) WHERE id = ?",
            Phase.UNDO.value, error, cancel, operation_id,
        )  # fmt: skip

    async def leave_undo(self, operation_id: int) -> None:
        """What was undone is no error of the operation any more: it may go on elsewhere."""
        await self._c.execute(
            "UPDATE operation SET phase = ?, error = NULL WHERE id = ?", Phase.FORWARD.value, operation_id
        )

    async def set_deadline(self, operation_id: int, deadline: datetime) -> None:
        await self._c.execute("UPDATE operation SET deadline = ? WHERE id = ?", deadline, operation_id)

    async def end(self, operation_id: int, status: Status, error: dict[str, Any] | None = None) -> None:
        await self._c.execute(
            "UPDATE operation SET status = ?, owner = NULL, due_at = NULL, waiting_for = NULL, waiting_since = NULL,"
            " finished_at = ?, error = COALESCE(?, error) WHERE id = ?",
            status.value, self._c.clock.now(), error, operation_id,
        )  # fmt: skip

    async def open_next(self, service_id: int) -> int | None:
        """Open the oldest queued operation of a service whose open one has ended; its id."""
        rows = await self._c.fetch(
            "UPDATE operation SET status = 'open', due_at = ?, waiting_for = NULL, waiting_since = NULL WHERE id ="
            " (SELECT MIN(id) FROM operation WHERE service_id = ? AND status = 'queued') RETURNING id",
            self._c.clock.now(), service_id,
        )  # fmt: skip
        return rows[0]["id"] if rows else None

    async def counts(self) -> dict[tuple[str, str], int]:
        """(verb, status) -> number."""
        rows = await self._c.fetch("SELECT verb, status, COUNT(*) AS n FROM operation GROUP BY verb, status")
        return {(row["verb"], row["status"]): row["n"] for row in rows}

    async def oldest_open(self) -> datetime | None:
        rows = await self._c.fetch("SELECT MIN(created_at) AS at FROM operation WHERE status = 'open'")
        return self._c.moment(rows[0]["at"])

    async def exists_any(self) -> bool:
        return bool(await self._c.fetch("SELECT 1 AS x FROM operation LIMIT 1"))


def _sure(value: datetime | None) -> datetime:
    assert value is not None
    return value
