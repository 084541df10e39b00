"""The migration operation that adds a column which must not be empty to a table that may have rows."""

from __future__ import annotations

from typing import Any

from tortoise.fields.base import DB_DEFAULT_NOT_SET
from tortoise.migrations.operations import AddField
from tortoise.migrations.schema_editor.base import BaseSchemaEditor


class AddFilled(AddField):
    """`existing` is what rows that are there already get: the database gives it, for tables whose rows are never updated."""

    def __init__(self, model_name: str, name: str, field: Any, *, existing: Any) -> None:
        super().__init__(model_name, name, field)
        self._existing = existing

    async def database_forward(
        self, app_label: str, old_state: Any, new_state: Any, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        if state_editor is None:
            return
        # tortoise gives a column of its own default to new rows only, and the statement fails where there are rows.
        field = new_state.apps.get_model(f"{app_label}.{self.model_name}")._meta.fields_map[self.name]  # noqa: SLF001 - as tortoise itself
        field.db_default = self._existing
        try:
            await super().database_forward(app_label, old_state, new_state, state_editor)
        finally:
            field.db_default = DB_DEFAULT_NOT_SET
