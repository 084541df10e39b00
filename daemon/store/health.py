"""Health of the modules, as the last call saw it. A module without a row is well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daemon.store.connection import Connection


@dataclass(frozen=True)
class Illness:
    code: str
    message: str
    since: datetime


class ModuleHealth:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def all(self) -> dict[str, Illness]:
        found = {}
        for row in await self._c.fetch("SELECT module, code, message, since FROM module_health"):
            since = self._c.moment(row["since"])
            assert since is not None
            found[row["module"]] = Illness(row["code"], row["message"], since)
        return found

    async def ill(self, module: str, code: str, message: str) -> datetime:
        """Keep when it began, which is returned; what is wrong may change."""
        rows = await self._c.fetch(
            "INSERT INTO module_health (module, code, message, since) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (module) DO UPDATE SET code = excluded.code, message = excluded.message RETURNING since",
            module, code, message, self._c.clock.now(),
        )  # fmt: skip
        since = self._c.moment(rows[0]["since"])
        assert since is not None
        return since

    async def well(self, module: str) -> None:
        await self._c.execute("DELETE FROM module_health WHERE module = ?", module)
