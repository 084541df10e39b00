"""The outbox: what must leave the house, written in the transaction that caused it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.store.connection import Connection
from daemon.store.models import OutboxRow


@dataclass(frozen=True)
class Parcel:
    """One thing to deliver; `key` is stable, so that the receiver can tell a repetition."""

    id: int
    key: str
    kind: str
    payload: dict[str, Any]
    attempts: int


class Outbox:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def put(self, key: str, kind: str, payload: dict[str, Any]) -> None:
        """Add a parcel; the same key again changes nothing, so that a notice is given once."""
        now = self._c.clock.now()
        await self._c.execute(
            "INSERT INTO outbox (key, kind, payload, due_at, attempts, created_at) VALUES (?, ?, ?, ?, 0, ?)"
            " ON CONFLICT (key) DO NOTHING",
            key, kind, payload, now, now,
        )  # fmt: skip

    async def was_put(self, prefix: str, since: datetime) -> bool:
        """Whether a parcel whose key begins with `prefix` was put in since then."""
        rows = await self._c.fetch(
            "SELECT 1 AS x FROM outbox WHERE created_at >= ? AND substr(key, 1, ?) = ? LIMIT 1",
            since,
            len(prefix),
            prefix,
        )
        return bool(rows)

    async def due(self, now: datetime, limit: int) -> list[Parcel]:
        rows = (
            await OutboxRow.filter(delivered_at=None, due_at__lte=now)
            .using_db(self._c.db)
            .order_by("due_at")
            .limit(limit)
        )
        return [Parcel(row.id, row.key, row.kind, row.payload, row.attempts) for row in rows]  # type: ignore[arg-type]  # JSON column

    async def delivered(self, parcel_id: int) -> None:
        await self._c.execute(
            "UPDATE outbox SET delivered_at = ?, due_at = NULL, error = NULL, attempts = attempts + 1 WHERE id = ?",
            self._c.clock.now(), parcel_id,
        )  # fmt: skip

    async def failed(self, parcel_id: int, error: str, due_at: datetime | None) -> None:
        """Try again at `due_at`; None gives it up (it stays, with its error)."""
        await self._c.execute(
            "UPDATE outbox SET attempts = attempts + 1, error = ?, due_at = ? WHERE id = ?", error, due_at, parcel_id
        )

    async def backlog(self) -> int:
        return int((await self._c.fetch("SELECT COUNT(*) AS n FROM outbox WHERE due_at IS NOT NULL"))[0]["n"])
