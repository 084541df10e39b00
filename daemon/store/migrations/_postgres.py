"""The migration operation for what only PostgreSQL has; on SQLite nothing is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tortoise.migrations.operations import RunSQL
from tortoise.migrations.schema_editor.base import BaseSchemaEditor


class Postgres(RunSQL):
    """Statements go to the database one by one."""

    def __init__(self, statements: Iterable[str], description: str) -> None:
        super().__init__("")
        self._statements = tuple(statements)
        self._description = description

    def describe(self) -> str:
        return self._description

    async def database_forward(
        self, app_label: str, old_state: Any, new_state: Any, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        del app_label, old_state, new_state
        if state_editor is None or state_editor.DIALECT == "sqlite":
            return
        for statement in self._statements:
            await state_editor.client.execute_query(statement)
