"""What a workflow keeps comes back as it was, on both databases: a word stays a word, and the text of a number a text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.domain.operation import StepStatus
from daemon.store.database import Store
from daemon.store.steps import waiting
from tests.store.rows import an_operation

VALUES = ["done", "", "17", "true", "null", '"', 17, True, ["a"], {"a": {"b": None}}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_a_result_of_a_step_is_read_as_it_was_written(store: Store, value: Any) -> None:
    async with store.transaction() as tx:
        operation = await an_operation(tx)
        step = waiting(operation.id, "install", 0, tx.clock.now())
        await tx.steps.put(replace(step, status=StepStatus.DONE, result=value, before={"was": value}))
    (found,) = await store.read.steps.of_operation(operation.id)
    assert (found.result, found.before) == (value, {"was": value})
    assert type(found.result) is type(value)


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_an_event_is_read_as_it_was_written(store: Store, value: Any) -> None:
    async with store.transaction() as tx:
        operation = await an_operation(tx)
        await tx.events.add("test", service_id=operation.service_id, before=value, after={"is": value})
    found = (await store.read.events.of_service(operation.service_id))[-1]
    assert (found["before"], found["after"]) == (value, {"is": value})
    assert await store.read.events.broken_links() == []
