"""The migration operation that lays down a list of rules from `constraints.py`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tortoise.migrations.operations import RunSQL
from tortoise.migrations.schema_editor.base import BaseSchemaEditor

from daemon.store.constraints import Rule, statements


class Rules(RunSQL):
    """Statements go to the database one by one: tortoise splits a longer text at each semicolon, also inside a trigger."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        super().__init__("")
        self._rules = tuple(rules)

    def describe(self) -> str:
        return "Lay down constraints and indexes"

    async def database_forward(
        self, app_label: str, old_state: Any, new_state: Any, state_editor: BaseSchemaEditor | None = None
    ) -> None:
        del app_label, old_state, new_state
        if state_editor is None:
            return
        for statement in statements(self._rules, "sqlite" if state_editor.DIALECT == "sqlite" else "postgres"):
            await state_editor.client.execute_query(statement)
