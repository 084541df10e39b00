"""Where a person is the platform, every step is a task, and closing it lets the operation go on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.errors import Refused
from daemon.domain.operation import Status
from daemon.domain.service import State
from daemon.domain.task import Task
from tests.provisioning.conftest import Open
from tests.provisioning.world import World

PLAN = """\
name: by-hand
server_type: rack
modules: [hands]
prices: {EUR: {month: "9.00"}}
addons:
  ostempl: {billing: client_selects, values: [Debian]}
  ip: {billing: amount}
resources: {in: {}}
"""


def by_hand(folder: Path) -> None:
    (folder / "modules.d/hands.yaml").write_text(
        "name: hands\ntype: manual\nresponsible: dc-team\nipam: ipm-main\nstock: {rack: 2}\n"
    )
    (folder / "plans.d/by-hand.yaml").write_text(PLAN)


async def order_by_hand(w: World, key: str = "one", **addons: Any) -> None:
    await w.place(key, plan="by-hand", addons={"ostempl": "Debian", **addons})


async def close(w: World, **results: dict[str, Any]) -> list[str]:
    """Close every task as it comes, with the results by step; the steps in their order."""
    done: list[str] = []
    for _ in range(12):
        await w.drive_for(60)
        tasks = await w.open_tasks()
        if not tasks:
            return done
        for task in tasks:
            assert task.department == "dc-team"
            done.append(str(task.step))
            await w.desk.close_task(task.id, actor="bob", result=results.get(str(task.step), {}), note="done")
    raise AssertionError(
        "\n".join([await w.story(op.id) for op in await w.store.read.operations.page(status=None, after=0, limit=5)])
    )


SERVER = {"remote_id": "rack-7", "main_address": "203.0.113.7"}


async def test_a_service_is_built_and_given_back_by_tasks(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        held = len(w.held())
        await order_by_hand(w, ip=2)
        steps = await close(w, reserve=SERVER)
        assert steps == ["reserve", "put", "enable", "power-on", "install", "hand-over"]
        service = await w.service(1)
        assert (service.state, service.module, service.remote_id) == (State.ACTIVE, "hands", "rack-7")
        assert service.properties["main"] == "203.0.113.7"
        addresses = await w.store.read.allocations.of_service(1)
        assert [(a.role.value, a.state.value) for a in addresses] == [("extra", "bound"), ("main", "bound")]
        await w.release(1)
        steps = await close(w)
        assert steps == ["enable", "power-off", "remove", "clear"]
        assert (await w.service(1)).state is State.RELEASED
        assert len(w.held()) == held
        assert await w.store.read.claims.live("hands") == set()
        assert await w.usage(1) == {"in": 0}
        assert len(await w.mails("task:")) == 10


@pytest.mark.parametrize(
    ("result", "fields"),
    [
        ({}, {"result.remote_id", "result.main_address"}),
        ({"remote_id": "rack-7"}, {"result.main_address"}),
        ({**SERVER, "colour": "blue"}, {"result.colour"}),
        ({"remote_id": "", "main_address": "203.0.113.7"}, {"result.remote_id"}),
    ],
)
async def test_a_task_closed_with_the_wrong_answers_stays_open(
    result: dict[str, str], fields: set[str], open_world: Open
) -> None:
    async with open_world(configure=by_hand) as w:
        await order_by_hand(w)
        await w.drive_for(60)
        (task,) = await w.open_tasks()
        with pytest.raises(Refused) as refused:
            await w.desk.close_task(task.id, actor="bob", result=result, note="")
        assert {error["field"] for error in refused.value.errors} == fields
        assert len(await w.open_tasks()) == 1


async def test_a_task_is_closed_once_and_only_if_it_exists(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        await order_by_hand(w)
        await w.drive_for(60)
        (task,) = await w.open_tasks()
        assert (await w.desk.why(1)).may == ["retry", "abandon"]
        await w.desk.close_task(task.id, actor="bob", result=SERVER, note="")
        for number, status in ((task.id, 409), (99, 404)):
            with pytest.raises(Refused) as refused:
                await w.desk.close_task(number, actor="bob", result=SERVER, note="")
            assert refused.value.status == status


async def test_one_server_by_hand_carries_one_service(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        await order_by_hand(w, "one")
        await order_by_hand(w, "two")
        await w.drive_for(60)
        first, second = await w.open_tasks()
        closing = [w.desk.close_task(task.id, actor="bob", result=SERVER, note="") for task in (first, second)]
        ends = await asyncio.gather(*closing, return_exceptions=True)
        refused = [end for end in ends if isinstance(end, Refused)]
        assert [error.code for error in refused] == ["server_taken"]
        assert len([end for end in ends if isinstance(end, Task)]) == 1
        (left,) = await w.open_tasks()
        other = {"remote_id": "rack-8", "main_address": "203.0.113.8"}
        await w.desk.close_task(left.id, actor="bob", result=other, note="")
        await close(w)
        assert {(await w.service(number)).remote_id for number in (1, 2)} == {"rack-7", "rack-8"}
        assert len(await w.store.read.claims.live("hands")) == 2
        with pytest.raises(Refused) as none_left:
            await order_by_hand(w, "three")
        assert none_left.value.code == "no_stock"


async def test_one_main_address_by_hand_is_on_one_server(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        await order_by_hand(w, "one")
        await close(w, reserve=SERVER)
        await order_by_hand(w, "two")
        await w.drive_for(60)
        (task,) = await w.open_tasks()
        with pytest.raises(Refused) as refused:
            await w.desk.close_task(task.id, actor="bob", result={**SERVER, "remote_id": "rack-8"}, note="")
        assert [error["field"] for error in refused.value.errors] == ["result.main_address"]


async def test_a_release_takes_back_what_a_person_has_done_so_far(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        held = len(w.held())
        await order_by_hand(w, ip=2)
        await w.drive_for(60)
        (task,) = await w.open_tasks()
        await w.desk.close_task(task.id, actor="bob", result=SERVER, note="")
        await w.release(1)  # before a leg has seen that the task is closed
        assert await close(w) == ["undo:reserve"]
        assert (await w.service(1)).state is State.RELEASED
        assert len(w.held()) == held
        assert await w.store.read.claims.live("hands") == set()


async def test_tasks_that_nobody_needs_any_more_are_withdrawn(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        await order_by_hand(w)
        await w.drive_for(60)
        await w.release(1)
        await w.drive_for(60)
        assert await w.open_tasks() == []
        assert (await w.service(1)).state is State.RELEASED


async def test_a_task_that_nobody_closes_is_a_fault_after_its_deadline(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        await order_by_hand(w)
        await w.drive_for(60)
        operation = await w.operation(1)
        assert operation.waiting_for == "a person of dc-team: Choose a server and set it aside"
        await w.drive_for(4 * 86400)
        fault = (await w.service(1)).fault
        assert fault is not None
        assert fault.code == "task_overdue"
        assert len(await w.open_tasks()) == 2
        (reserve,) = [task for task in await w.open_tasks() if task.step == "reserve"]
        await w.desk.close_task(reserve.id, actor="bob", result=SERVER, note="")
        await close(w)
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        assert (await w.service(1)).fault is None


async def test_a_release_by_hand_has_time_for_its_tasks(open_world: Open) -> None:
    async with open_world(configure=by_hand) as w:
        await order_by_hand(w)
        await close(w, reserve=SERVER)
        operation = await w.operation(await w.release(1))
        assert (operation.deadline - operation.created_at).days == 48
        assert operation.status is Status.OPEN
