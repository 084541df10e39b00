"""Up to when each source has brought everything: a report of a module, named `module/report`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from daemon.store.connection import Connection


class Watermarks:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def move(self, marks: Mapping[str, datetime]) -> None:
        """Source -> the moment of a reading that came; a mark never goes back."""
        await self._c.execute_many(
            "INSERT INTO watermark (source, at) VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET at = excluded.at"
            " WHERE watermark.at < excluded.at",
            [[source, at] for source, at in sorted(marks.items())],
        )

    async def all(self) -> dict[str, datetime]:
        rows = await self._c.fetch("SELECT source, at FROM watermark")
        moments = ((row["source"], self._c.moment(row["at"])) for row in rows)
        return {source: at for source, at in moments if at is not None}
