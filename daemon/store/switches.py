"""Runtime switches: what a person drained or disabled, apart from YAML."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.store.connection import Connection


@dataclass(frozen=True)
class Switch:
    scope: str
    """What kind of thing it is set on, such as "module"."""
    name: str
    value: str
    since: datetime
    actor: str
    reason: str


class Switches:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def all(self, scope: str | None = None) -> list[Switch]:
        rows = await self._c.fetch("SELECT * FROM switch ORDER BY scope, name")
        found = []
        for row in rows:
            since = self._c.moment(row["since"])
            assert since is not None
            found.append(Switch(row["scope"], row["name"], row["value"], since, row["actor"], row["reason"]))
        return [switch for switch in found if scope is None or switch.scope == scope]

    async def value(self, scope: str, name: str) -> str | None:
        rows = await self._c.fetch("SELECT value FROM switch WHERE scope = ? AND name = ?", scope, name)
        return rows[0]["value"] if rows else None

    async def put(self, scope: str, name: str, value: str, *, actor: str, reason: str) -> None:
        await self._c.execute(
            "INSERT INTO switch (scope, name, value, since, actor, reason) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (scope, name) DO UPDATE SET value = excluded.value, since = excluded.since,"
            " actor = excluded.actor, reason = excluded.reason",
            scope, name, value, self._c.clock.now(), actor, reason,
        )  # fmt: skip

    async def clear(self, scope: str, name: str) -> bool:
        """Whether there was one."""
        return await self._c.execute("DELETE FROM switch WHERE scope = ? AND name = ?", scope, name) > 0
