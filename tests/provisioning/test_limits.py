"""Deadlines, leases, fences and bugs: nothing waits for ever, nothing is sent without a right, nothing is repeated blindly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.domain.operation import Status
from daemon.domain.service import State
from tests.provisioning.conftest import Open
from tests.provisioning.world import AlwaysValid, World


async def shorten(w: World, seconds: float) -> None:
    """The operation's deadline comes sooner."""
    from datetime import timedelta

    async with w.store.transaction() as tx:
        await tx.operations.set_deadline(1, w.clock.now() + timedelta(seconds=seconds))


@pytest.mark.parametrize("step", ["choose", "take", "install", "verify"])
async def test_at_its_deadline_an_order_is_undone_and_fails(step: str, open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}, install_seconds=45) as w:
        free, held = w.free_servers(), len(w.held())
        await w.place()
        await w.drive_to(step)
        await shorten(w, 0)
        await w.drive()
        operation, service = await w.operation(1), await w.service(1)
        assert (operation.status, service.state) == (Status.FAILED, State.PENDING), await w.story(1)
        assert service.fault is not None
        assert "deadline" in service.fault.message
        assert w.free_servers() == free
        assert len(w.held()) == held
        assert len(await w.open_tasks()) == 1
        await w.check_invariants()


async def test_whatever_it_waits_for_it_is_looked_at_when_its_deadline_comes(open_world: Open) -> None:
    async with open_world({"watch_every": "1h"}, servers={"E3-1230-16G": 1}, install_seconds=5400) as w:
        await w.place()
        await w.drive_to("install")
        await shorten(w, 60)
        begun = w.clock.now()
        await w.drive_until(lambda operation: operation.status is Status.FAILED)
        assert 60 <= (w.clock.now() - begun).total_seconds() < 120
        await w.check_invariants()


async def test_a_stuck_order_is_undone_at_its_deadline(open_world: Open) -> None:
    async with open_world({"step_within": "5m"}, servers={"E3-1230-16G": 1}) as w:
        await w.place()
        await w.drive_to("take")
        await break_module(w, "put_address")
        await w.drive_for(60)
        assert (await w.service(1)).fault is not None
        await mend_module(w)
        await w.drive()
        assert (await w.operation(1)).status is Status.FAILED, await w.story(1)
        assert w.clock.now() >= (await w.operation(1)).deadline
        await w.check_invariants()


async def test_every_wait_has_a_reason_and_a_time(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}, install_seconds=300, power_seconds=40, flag_delay=5) as w:
        await w.place()
        w.sandbox.fault("dci", "*", "http_503", nth=9, times=3)
        for _ in range(200):
            operation = await w.operation(1)
            if operation.status is Status.DONE:
                break
            assert operation.due_at is not None
            assert operation.due_at <= operation.deadline
            assert operation.leg == 0 or operation.waiting_for
            await w.leg(1, operation.due_at)
        assert (await w.operation(1)).status is Status.DONE, await w.story(1)


class Lapses:
    """A lease that is good for so many sends."""

    def __init__(self, sends: int) -> None:
        self.left = sends

    def valid(self) -> bool:
        self.left -= 1
        return self.left >= 0


@pytest.mark.parametrize("sends", range(0, 30, 3))
async def test_without_the_lease_nothing_is_sent(sends: int, open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        lapses = Lapses(sends)
        for _ in range(6):
            await w.legs.run(1, "node/boot", lapses)
            w.clock.advance(20)
        effects = [len(p.effects) for p in (w.sandbox.dci, w.sandbox.ipm)]
        assert sum(effects) <= sends
        await w.legs.run(1, "node/boot", lapses)
        assert effects == [len(p.effects) for p in (w.sandbox.dci, w.sandbox.ipm)]
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        await w.check_invariants()


async def test_a_leg_that_was_taken_over_writes_nothing_more(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        await w.drive_to("take")
        before = await w.store.read.steps.of_operation(1)

        class TakenOver:
            """Says yes, but somebody has raised the fence meanwhile."""

            def valid(self) -> bool:
                return True

        real = w.legs._context

        async def overtaken(operation: Any) -> Any:
            context = await real(operation)
            async with w.store.transaction() as tx:
                await tx.operations.free_all("old/boot")
            assert await w.store.read.fetch("SELECT owner FROM operation WHERE owner IS NULL")
            return context

        w.legs._context = overtaken  # type: ignore[method-assign]  # between the reading and the first write
        assert await w.legs.run(1, "old/boot", TakenOver()) is None
        w.legs._context = real  # type: ignore[method-assign]
        assert await w.store.read.steps.of_operation(1) == before
        assert w.effects("iplist.edit") == 0
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE
        await w.check_invariants()


async def test_two_legs_of_one_operation_are_never_run_at_once(open_world: Open) -> None:
    import asyncio

    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        await asyncio.gather(*[w.legs.run(1, f"node-{n}/boot", AlwaysValid()) for n in range(5)])
        assert (await w.operation(1)).leg == 1


class Broken:
    """A plugin with a bug in one of its verbs."""

    def __init__(self, module: Any, verb: str) -> None:
        self._module = module
        self._verb = verb
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name == self._verb:
            return self._bug
        return getattr(self._module, name)

    async def _bug(self, *_: Any) -> None:
        self.calls += 1
        raise ZeroDivisionError("division by zero")


async def break_module(w: World, verb: str) -> Broken:
    carrier = w.fleet.carriers["dci-main"]
    broken = Broken(carrier.module, verb)
    w.fleet.carriers["dci-main"] = replace(carrier, module=broken)
    return broken


async def mend_module(w: World) -> None:
    carrier = w.fleet.carriers["dci-main"]
    assert isinstance(carrier.module, Broken)
    w.fleet.carriers["dci-main"] = replace(carrier, module=carrier.module._module)


@pytest.mark.parametrize("verb", ["reserve", "read", "put_address", "install", "set_hostname", "stock"])
async def test_a_bug_in_a_plugin_is_a_fault_and_is_not_repeated(verb: str, open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        broken = await break_module(w, verb)
        await w.drive_for(6 * 3600)
        operation, service = await w.operation(1), await w.service(1)
        assert service.fault is not None
        assert (service.fault.code, operation.status) == ("bug", Status.OPEN)
        assert "ZeroDivisionError" in service.fault.message
        assert broken.calls == 1
        (task,) = await w.open_tasks()
        await mend_module(w)
        await w.desk.close_task(task.id, actor="ann", result={}, note="new release")
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        await w.check_invariants()


async def test_a_module_that_left_the_settings_is_a_fault_that_says_so(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.active()
        carrier = w.fleet.carriers.pop("dci-main")
        await w.release(1)
        await w.drive()
        fault = (await w.service(1)).fault
        assert fault is not None
        assert (fault.code, "put it back" in fault.message) == ("module_gone", True)
        w.fleet.carriers["dci-main"] = carrier
        await w.desk.retry(2, actor="ann", reason="back again")
        await w.drive()
        assert (await w.service(1)).state is State.RELEASED
