"""What people may do with an operation: each works, is refused where it can't be, and is recorded with who and why."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.domain.errors import Refused
from daemon.domain.operation import Status
from daemon.domain.service import State
from tests.provisioning.conftest import Open
from tests.provisioning.world import World


async def recorded(w: World, kind: str) -> tuple[str, str]:
    (event,) = await w.events(kind)
    return event["actor"], event["reason"]


async def test_why_says_what_since_when_until_when_and_what_one_may_do(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=3600) as w:
        await w.place()
        await w.drive_for(600)
        why = await w.desk.why(1)
        assert why.operation.waiting_for == "the install of ISPsystem__Debian-12-x86_64"
        assert why.operation.waiting_since is not None
        assert why.operation.waiting_since < w.clock.now() < why.operation.deadline
        assert why.step is not None
        assert why.step.name == "installed"
        assert why.may == ["retry", "abandon", "done"]
        with pytest.raises(Refused):
            await w.desk.why(99)


async def test_abandon_undoes_everything_and_leaves_a_fault(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=3600) as w:
        free, held = w.free_servers(), len(w.held())
        await w.place()
        await w.drive_for(600)
        await w.desk.abandon(1, actor="ann", reason="wrong system")
        with pytest.raises(Refused) as twice:
            await w.desk.abandon(1, actor="ann", reason="again")
        assert twice.value.status == 409
        await w.drive()
        service, operation = await w.service(1), await w.operation(1)
        assert (operation.status, service.state) == (Status.FAILED, State.PENDING), await w.story(1)
        assert service.fault is not None
        assert "abandoned by ann: wrong system" in service.fault.message
        assert w.free_servers() == free
        assert len(w.held()) == held
        await w.check_invariants()
        assert await recorded(w, "operation.abandon") == ("ann", "wrong system")


async def test_a_failed_order_is_tried_again_by_a_new_operation(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}) as w:
        w.sandbox.fault("dci", "server.operations", "install_fails")
        await w.place()
        await w.drive()
        assert (await w.desk.why(1)).may == ["retry"]
        fresh = await w.desk.retry(1, actor="ann", reason="new disk")
        assert fresh.id == 2
        assert (await w.service(1)).target is State.ACTIVE
        assert await w.open_tasks() == []
        with pytest.raises(Refused):
            await w.desk.retry(1, actor="ann", reason="again")
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE
        assert await recorded(w, "operation.retry") == ("ann", "new disk")
        await w.check_invariants()


async def test_a_failed_order_that_is_being_released_is_not_tried_again(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        w.sandbox.fault("dci", "server.operations", "install_fails")
        await w.place()
        await w.drive()
        await w.release(1)
        with pytest.raises(Refused) as refused:
            await w.desk.retry(1, actor="ann", reason="")
        assert refused.value.code == "not_now"


async def test_closing_the_task_of_a_fault_is_a_retry_and_is_recorded(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}) as w:
        w.sandbox.fault("dci", "server.operations", "install_fails")
        await w.place()
        await w.drive()
        (task,) = await w.open_tasks()
        closed = await w.desk.close_task(task.id, actor="bob", result={}, note="disk swapped")
        assert (closed.status, closed.closed_by, closed.note) == ("closed", "bob", "disk swapped")
        assert await recorded(w, "task.closed") == ("bob", "disk swapped")
        assert await recorded(w, "operation.retry") == ("bob", "disk swapped")
        with pytest.raises(Refused) as twice:
            await w.desk.close_task(task.id, actor="bob", result={}, note="")
        assert twice.value.code == "not_open"
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE


async def test_the_task_of_an_older_fault_can_be_closed_when_there_is_nothing_to_retry(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}, install_seconds=45) as w:
        w.sandbox.fault("dci", "server.operations", "install_fails")
        await w.place()
        await w.drive()
        (task,) = await w.open_tasks()
        await w.release(1)
        closed = await w.desk.close_task(task.id, actor="bob", result={}, note="never mind")
        assert closed.status == "closed"
        assert await w.events("operation.retry") == []


@pytest.mark.parametrize(
    ("step", "panel", "func", "by_hand", "result"),
    [
        ("take", "ipm", "ip.edit", "address", {"address": "by hand"}),
        ("create-user", "dci", "user.edit", "user", {"remote_id": "by hand", "name": "pd-1"}),
        ("power-on", "dci", "server.poweron", "power", None),
        ("install", "dci", "server.operations", "install", None),
    ],
)
async def test_a_step_done_by_hand_is_believed_with_its_rows(
    step: str, panel: str, func: str, by_hand: str | None, result: dict[str, Any] | None, open_world: Open
) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        held = len(w.held())
        await w.place()
        await w.drive_to(step, "intended", on_intent=lambda: w.sandbox.fault(panel, func, "http_503", times=0))
        await w.drive_for(300)
        why = await w.desk.why(1)
        assert why.step is not None
        assert why.step.name == step
        assert "done" in why.may
        if result is not None:
            with pytest.raises(Refused) as refused:
                await w.desk.done(1, actor="ann", reason="by hand", result=None)
            assert {e["field"] for e in refused.value.errors} == {f"result.{name}" for name in result}
        w.sandbox.clear_faults()
        result = do_by_hand(w, by_hand, result)
        await w.desk.done(1, actor="ann", reason="by hand", result=result)
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        assert await recorded(w, "operation.done_by_hand") == ("ann", "by hand")
        await w.check_invariants()
        await w.released(1)
        assert len(w.held()) == held
        await w.check_invariants()


def do_by_hand(w: World, what: str | None, result: dict[str, Any] | None) -> dict[str, Any] | None:
    if what == "address":
        account = w.sandbox.ipm.accounts.named("provisiond")
        assert account is not None
        return {"address": w.sandbox.ipm.hold("public", "ipv4", "a.example.test", "pd-test-1-0", account).address}
    if what == "user":
        made = w.sandbox.dci.call("user.edit", {"name": "pd-1", "passwd": "chosen", "level": "lvUser", "sok": "ok"})
        return {"remote_id": str(made["id"]), "name": "pd-1"}
    if what == "power":
        w.server("101").powered = True
    if what == "install":
        w.server("101").ostemplate = "ISPsystem__Debian-12-x86_64"
    return result


async def test_an_undo_done_by_hand_closes_its_row_in_the_ledger(open_world: Open) -> None:
    async with open_world({"step_within": "2m"}, servers={"E3-1230-16G": 1}, install_seconds=3600) as w:
        await w.place()
        await w.drive_for(600)
        w.sandbox.fault("ipm", "ip.delete", "http_503", times=0)
        await w.desk.abandon(1, actor="ann", reason="")
        await w.drive()
        for _ in range(2):
            step = (await w.desk.why(1)).step
            assert step is not None
            assert step.name == "undo:take"
            key = f"pd-test-1-{step.ordinal}"
            (address,) = [a for a, note in w.held().items() if note == key]
            w.sandbox.ipm.call("ip.delete", {"elid": address}, w.sandbox.ipm.accounts.named("provisiond"))
            await w.desk.done(1, actor="ann", reason="deleted in the panel", result=None)
            await w.drive()
        assert (await w.operation(1)).status is Status.FAILED, await w.story(1)
        await w.check_invariants()


async def test_a_release_ends_by_hand_where_the_panel_never_comes_back(open_world: Open) -> None:
    short: dict[str, object] = {"step_within": "1m", "power_within": "1m", "reads_repeated": 0}
    async with open_world(short, servers={"E3-1230-16G": 1}) as w:
        await w.active()
        release = await w.release(1)
        w.sandbox.fault("*", "*", "http_503", times=0)
        await w.drive()
        results: dict[str, dict[str, Any]] = {
            "own-user": {"value": "2"},
            "take-parking": {"address": "10.64.0.200"},
        }
        for _ in range(40):
            if (await w.operation(release)).status is Status.DONE:
                break
            step = (await w.desk.why(release)).step
            assert step is not None
            await w.desk.done(release, actor="ann", reason="burnt", result=results.get(step.name))
            await w.drive(legs=1000)
        assert (await w.service(1)).state is State.RELEASED, await w.story(release)


async def test_a_person_who_retries_gives_the_operation_its_time_anew(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        w.server("101").blocked = True
        await w.drive_for(3600)
        before = await w.operation(1)
        await w.desk.retry(1, actor="ann", reason="soon")
        after = await w.operation(1)
        assert after.deadline - before.deadline == w.clock.now() - before.created_at
