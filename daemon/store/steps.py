"""The rows of the step journal."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from daemon.domain.operation import Step, StepStatus
from daemon.store.connection import Connection
from daemon.store.models import StepRow


def to_domain(row: StepRow) -> Step:
    return Step(
        operation_id=row.operation_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        name=row.name,
        ordinal=row.ordinal,
        status=StepStatus(row.status),
        attempts=row.attempts,
        sent_at=row.sent_at,
        before=row.before,
        result=row.result,
        error=row.error,  # type: ignore[arg-type]  # JSON column
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


class Steps:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def of_operation(self, operation_id: int) -> list[Step]:
        """In the order in which they began."""
        rows = await StepRow.filter(operation_id=operation_id).using_db(self._c.db).order_by("id")
        return [to_domain(row) for row in rows]

    async def put(self, step: Step) -> None:
        """Write the row as it is now; the first write of (operation, name, ordinal) inserts it."""
        await self._c.execute(
            "INSERT INTO step (operation_id, name, ordinal, status, attempts, sent_at, before, result, error,"
            " created_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (operation_id, name, ordinal) DO UPDATE SET status = excluded.status,"
            " attempts = excluded.attempts, sent_at = excluded.sent_at, before = excluded.before,"
            " result = excluded.result, error = excluded.error, finished_at = excluded.finished_at",
            step.operation_id, step.name, step.ordinal, step.status.value, step.attempts, step.sent_at,
            _json(step.before), _json(step.result), _json(step.error), step.created_at, step.finished_at,
        )  # fmt: skip

    async def created_users(self, customer_id: int, module: str) -> list[dict[str, Any]]:
        """Results of the steps by which this customer's user was made on this module."""
        rows = await self._c.fetch(
            "SELECT step.result FROM step JOIN operation ON operation.id = step.operation_id"
            " JOIN service ON service.id = operation.service_id"
            " WHERE service.customer_id = ? AND step.name = 'create-user' AND step.status = 'done'",
            customer_id,
        )  # fmt: skip
        results = [_from_json(row["result"]) or {} for row in rows]
        return [result for result in results if result.get("module") == module and result.get("created")]

    async def restart_limits(self, operation_id: int) -> None:
        """The time limits of unfinished steps begin anew: a person has mended something."""
        await self._c.execute(
            "UPDATE step SET created_at = ?, attempts = 0 WHERE operation_id = ? AND status IN ('intent', 'waiting')",
            self._c.clock.now(), operation_id,
        )  # fmt: skip

    async def unfinished(self, operation_id: int) -> Step | None:
        """The step an operation stands at: the newest that is neither done nor failed."""
        row = (
            await StepRow.filter(operation_id=operation_id, status__in=[StepStatus.INTENT, StepStatus.WAITING])
            .using_db(self._c.db)
            .order_by("-id")
            .first()
        )
        return to_domain(row) if row else None


def waiting(operation_id: int, name: str, ordinal: int, now: datetime) -> Step:
    """A step of which nothing has happened yet."""
    return Step(operation_id, name, ordinal, StepStatus.WAITING, 0, None, None, None, None, now, None)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
