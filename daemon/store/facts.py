"""Single facts of the installation, by name."""

from __future__ import annotations

from daemon.store.connection import Connection


class Facts:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def get(self, name: str) -> str | None:
        rows = await self._c.fetch("SELECT value FROM fact WHERE name = ?", name)
        return rows[0]["value"] if rows else None

    async def put(self, name: str, value: str) -> None:
        await self._c.execute(
            "INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    async def put_once(self, name: str, value: str) -> str:
        """Write the fact if nobody has yet; the fact as it stands afterwards."""
        await self._c.execute("INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, value)
        stands = await self.get(name)
        assert stands is not None
        return stands

    async def advance(self, name: str, value: str) -> bool:
        """Move a fact that only grows (as text) to `value`; False when it stands there or beyond already."""
        rows = await self._c.fetch(
            "INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            " WHERE fact.value < excluded.value RETURNING name",
            name, value,
        )  # fmt: skip
        return bool(rows)

    async def hold(self, name: str, now: str, until: str) -> bool:
        """Set a fact that is a moment, as text, to `until`; False when it stands beyond `now`: somebody else holds it."""
        rows = await self._c.fetch(
            "INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            " WHERE fact.value <= ? RETURNING name",
            name, until, now,
        )  # fmt: skip
        return bool(rows)
