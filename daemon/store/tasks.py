"""Tasks for people."""

from __future__ import annotations

from typing import Any

from daemon.domain.task import Task, TaskStatus
from daemon.store.connection import Connection
from daemon.store.models import TaskRow


def to_domain(row: TaskRow) -> Task:
    return Task(
        id=row.id,
        department=row.department,
        service_id=row.service_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        operation_id=row.operation_id,  # type: ignore[attr-defined]  # as above
        step=row.step,
        ordinal=row.ordinal,
        title=row.title,
        instructions=row.instructions,
        wants=row.wants,  # type: ignore[arg-type]  # JSON column
        preset=row.preset,  # type: ignore[arg-type]  # JSON column
        status=TaskStatus(row.status),
        result=row.result,  # type: ignore[arg-type]  # JSON column
        note=row.note,
        created_at=row.created_at,
        closed_at=row.closed_at,
        closed_by=row.closed_by,
    )


class Tasks:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(
        self,
        *,
        department: str,
        title: str,
        instructions: str,
        service_id: int | None = None,
        operation_id: int | None = None,
        step: str | None = None,
        ordinal: int = 0,
        wants: dict[str, str] | None = None,
        preset: dict[str, Any] | None = None,
    ) -> Task:
        row = await TaskRow.create(
            department=department,
            service_id=service_id,
            operation_id=operation_id,
            step=step,
            ordinal=ordinal,
            title=title,
            instructions=instructions,
            wants=wants or {},
            preset=preset or {},
            status=TaskStatus.OPEN.value,
            created_at=self._c.clock.now(),
            using_db=self._c.db,
        )
        return to_domain(row)

    async def get(self, task_id: int) -> Task | None:
        row = await TaskRow.get_or_none(id=task_id, using_db=self._c.db)
        return to_domain(row) if row else None

    async def page(self, *, status: str | None, after: int, limit: int) -> list[Task]:
        query = TaskRow.all().using_db(self._c.db).order_by("-id").limit(limit)
        if status:
            query = query.filter(status=status)
        if after:
            query = query.filter(id__lt=after)
        return [to_domain(row) for row in await query]

    async def open_of_operation(self, operation_id: int) -> list[Task]:
        rows = await TaskRow.filter(operation_id=operation_id, status="open").using_db(self._c.db).order_by("id")
        return [to_domain(row) for row in rows]

    async def of_step(self, operation_id: int, step: str, ordinal: int) -> list[Task]:
        rows = (
            await TaskRow.filter(operation_id=operation_id, step=step, ordinal=ordinal)
            .using_db(self._c.db)
            .order_by("id")
        )
        return [to_domain(row) for row in rows]

    async def close(self, task_id: int, *, result: dict[str, Any], note: str, actor: str) -> bool:
        """False when it was not open any more."""
        count = await self._c.execute(
            "UPDATE task SET status = 'closed', result = ?, note = ?, closed_at = ?, closed_by = ?"
            " WHERE id = ? AND status = 'open'",
            result, note, self._c.clock.now(), actor, task_id,
        )  # fmt: skip
        return count == 1

    async def withdraw_of_operation(self, operation_id: int) -> None:
        """Nobody needs to do them any more."""
        await self._c.execute(
            "UPDATE task SET status = 'withdrawn', closed_at = ? WHERE operation_id = ? AND status = 'open'",
            self._c.clock.now(), operation_id,
        )  # fmt: skip

    async def withdraw_of_service(self, service_id: int) -> None:
        """The service has ended: what older operations still asked for is over, too."""
        await self._c.execute(
            "UPDATE task SET status = 'withdrawn', closed_at = ? WHERE service_id = ? AND status = 'open'",
            self._c.clock.now(), service_id,
        )  # fmt: skip

    async def withdraw_faults(self, operation_id: int) -> None:
        """The tasks that said that the operation is stuck."""
        await self._c.execute(
            "UPDATE task SET status = 'withdrawn', closed_at = ? WHERE operation_id = ? AND status = 'open' AND step IS NULL",
            self._c.clock.now(), operation_id,
        )  # fmt: skip

    async def open_counts(self) -> dict[str, int]:
        """Department -> number of open tasks."""
        rows = await self._c.fetch(
            "SELECT department, COUNT(*) AS n FROM task WHERE status = 'open' GROUP BY department"
        )
        return {row["department"]: row["n"] for row in rows}
