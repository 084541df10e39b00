"""Nodes, their leases, and the operations that a dead one left behind.

Leases are kept by the database's clock on PostgreSQL, where several nodes' clocks may differ, and by the injected one on SQLite.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon.store.connection import Connection


@dataclass(frozen=True)
class Node:
    name: str
    boot: str
    generation: int
    lease_until: datetime
    heartbeat_at: datetime
    started_at: datetime
    build: str
    alive: bool


@dataclass(frozen=True)
class Held:
    """An operation that somebody owns."""

    operation_id: int
    fence: int


class Nodes:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def register(self, name: str, boot: str, build: str, lease: timedelta) -> int:
        """A daemon begins: the row is its own from now on. The generation of its first lease."""
        now = self._c.clock.now()
        rows = await self._c.fetch(
            "INSERT INTO node (name, boot, generation, lease_until, heartbeat_at, started_at, build)"  # noqa: S608 - only now() or a placeholder is put in
            f" VALUES (?, ?, 1, {self._until()}, {self._now()}, {self._now()}, ?)"
            " ON CONFLICT (name) DO UPDATE SET boot = excluded.boot, generation = node.generation + 1,"
            " lease_until = excluded.lease_until, heartbeat_at = excluded.heartbeat_at,"
            " started_at = excluded.started_at, build = excluded.build RETURNING generation",
            name, boot, self._until_value(lease), *self._now_values(now, 2), build,
        )  # fmt: skip
        return int(rows[0]["generation"])

    async def beat(self, name: str, boot: str, generation: int, lease: timedelta) -> bool:
        """Renew the lease; False when the row belongs to another boot by now, or is gone."""
        touched = await self._c.execute(
            f"UPDATE node SET lease_until = {self._until()}, heartbeat_at = {self._now()}, generation = ?"  # noqa: S608 - only now() or a placeholder is put in
            " WHERE name = ? AND boot = ?",
            self._until_value(lease), *self._now_values(self._c.clock.now(), 1), generation, name, boot,
        )  # fmt: skip
        return touched > 0

    async def leave(self, name: str, boot: str) -> None:
        """A daemon ends well: its lease is over at once."""
        await self._c.execute(
            f"UPDATE node SET lease_until = {self._now()} WHERE name = ? AND boot = ?",  # noqa: S608 - only now() or a placeholder is put in
            *self._now_values(self._c.clock.now(), 1), name, boot,
        )  # fmt: skip

    async def all(self) -> list[Node]:
        rows = await self._c.fetch(
            f"SELECT node.*, CASE WHEN lease_until > {self._now()} THEN 1 ELSE 0 END AS alive FROM node ORDER BY name",  # noqa: S608 - only now() or a placeholder is put in
            *self._now_values(self._c.clock.now(), 1),
        )
        return [
            Node(
                row["name"],
                row["boot"],
                row["generation"],
                self._moment(row["lease_until"]),
                self._moment(row["heartbeat_at"]),
                self._moment(row["started_at"]),
                row["build"],
                bool(row["alive"]),
            )
            for row in rows
        ]

    # who has which operation ------------------------------------------------------------------------------------------------

    async def dead_owners(self, me: str) -> list[str]:
        """Owner marks on open operations that belong to no living node. On SQLite there is one process: everybody else is dead."""
        rows = await self._c.fetch("SELECT DISTINCT owner FROM operation WHERE owner IS NOT NULL AND status = 'open'")
        owners = {row["owner"] for row in rows} - {me}
        if owners and self._c.dialect == "postgres":
            owners -= {f"{node.name}/{node.boot}" for node in await self.all() if node.alive}
        return sorted(owners)

    async def held_by(self, owner: str) -> list[Held]:
        rows = await self._c.fetch(
            "SELECT id, fence FROM operation WHERE owner = ? AND status = 'open' ORDER BY id", owner
        )
        return [Held(row["id"], row["fence"]) for row in rows]

    async def free(self, held: Held, owner: str) -> bool:
        """Take one operation from an owner that doesn't work on it: raise the fence, make it due. False when it is locked or changed.

        One row in one transaction, and locked rows are passed by: a frozen node's lock must hold up its own row only.
        """
        skip = " FOR UPDATE SKIP LOCKED" if self._c.dialect == "postgres" else ""
        rows = await self._c.fetch(
            "UPDATE operation SET owner = NULL, fence = fence + 1, due_at = COALESCE(due_at, ?) WHERE id ="  # noqa: S608 - only now() or a placeholder is put in
            f" (SELECT id FROM operation WHERE id = ? AND fence = ? AND owner = ? AND status = 'open'{skip}) RETURNING id",
            self._c.clock.now(), held.operation_id, held.fence, owner,
        )  # fmt: skip
        return bool(rows)

    # the clock --------------------------------------------------------------------------------------------------------------

    def _now(self) -> str:
        return "now()" if self._c.dialect == "postgres" else "?"

    def _now_values(self, now: datetime, times: int) -> list[datetime]:
        return [] if self._c.dialect == "postgres" else [now] * times

    def _until(self) -> str:
        return "now() + make_interval(secs => ?)" if self._c.dialect == "postgres" else "?"

    def _until_value(self, lease: timedelta) -> float | datetime:
        return lease.total_seconds() if self._c.dialect == "postgres" else self._c.clock.now() + lease

    def _moment(self, value: object) -> datetime:
        moment = self._c.moment(value)
        assert moment is not None
        return moment
