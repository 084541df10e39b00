"""Claims: the rows that say a server is taken, written before its platform is touched."""

from __future__ import annotations

from daemon.store.connection import Connection


class Claims:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def live(self, module: str) -> set[str]:
        """Remote ids of the servers of a module that are taken."""
        rows = await self._c.fetch("SELECT remote_id FROM claim WHERE module = ? AND released_at IS NULL", module)
        return {row["remote_id"] for row in rows}

    async def add(self, *, module: str, remote_id: str, service_id: int, operation_id: int) -> bool:
        """Take a server; False when another service has it, or this service has another server."""
        added = await self._c.fetch(
            "INSERT INTO claim (module, remote_id, service_id, operation_id, created_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING RETURNING id",
            module, remote_id, service_id, operation_id, self._c.clock.now(),
        )  # fmt: skip
        return bool(added)

    async def lock(self, module: str) -> None:
        """Hold the module's claims for this transaction: what is decided about its servers is decided one after the other."""
        await self._c.execute(
            "UPDATE claim SET released_at = released_at WHERE module = ? AND released_at IS NULL", module
        )

    async def release(self, service_id: int) -> None:
        await self._c.execute(
            "UPDATE claim SET released_at = ? WHERE service_id = ? AND released_at IS NULL",
            self._c.clock.now(), service_id,
        )  # fmt: skip
