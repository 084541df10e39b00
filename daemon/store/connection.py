"""One connection, or one transaction, with what every repository needs of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Literal

from tortoise.backends.base.client import BaseDBAsyncClient

from daemon.domain.clock import Clock

Dialect = Literal["sqlite", "postgres"]


class Connection:
    """Wraps tortoise's connection. SQL is written once with `?`; values may be datetimes, dicts and lists on both databases."""

    def __init__(self, db: BaseDBAsyncClient, dialect: Dialect, clock: Clock) -> None:
        self.db = db
        self.dialect: Dialect = dialect
        self.clock = clock

    async def execute(self, sql: str, *values: Any) -> int:
        """Run a statement; the number of rows it touched."""
        count, _ = await self.db.execute_query(self._sql(sql), [self._value(v) for v in values])
        return count

    async def fetch(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        rows = await self.db.execute_query_dict(self._sql(sql), [self._value(v) for v in values])
        return [dict(row) for row in rows]

    async def pairs(self, sql: str, *values: Any) -> list[tuple[Any, Any]]:
        """Rows of two columns. Ten thousand take 12 ms of processor time, and as dicts by `fetch` 35."""
        _, rows = await self.db.execute_query(self._sql(sql), [self._value(v) for v in values])
        found = rows if self.dialect == "sqlite" else [row.values() for row in rows]
        return [(first, second) for first, second in found]

    async def execute_many(self, sql: str, rows: list[list[Any]]) -> None:
        await self.db.execute_many(self._sql(sql), [[self._value(v) for v in row] for row in rows])

    def moment(self, value: Any) -> datetime | None:
        """A time as `fetch` gave it, as an aware datetime."""
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromisoformat(value).astimezone(UTC)

    def _sql(self, sql: str) -> str:
        return sql if self.dialect == "sqlite" else sql.replace("?", "%s")

    def _value(self, value: Any) -> Any:
        if isinstance(value, datetime):
            # The same text that tortoise writes, so that comparisons of text are comparisons of time.
            return value.astimezone(UTC).isoformat(" ") if self.dialect == "sqlite" else value
        if isinstance(value, dict | list):
            return json.dumps(value)
        return value
