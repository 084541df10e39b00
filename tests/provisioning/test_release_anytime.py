"""A release is accepted at any time: what is being built is undone first, and nothing is left behind."""

from __future__ import annotations

import pytest

from daemon.domain.errors import Refused
from daemon.domain.operation import Status
from daemon.domain.service import State
from tests.provisioning.conftest import Open
from tests.provisioning.world import World

STEPS = [
    "choose",
    "own-user",
    "reserve",
    "settle",
    "still-ours",
    "find-user",
    "create-user",
    "take",
    "put",
    "main",
    "unpark",
    "give-back-parking:note",
    "give-back-parking",
    "enable",
    "power-on",
    "names",
    "system",
    "install",
    "installed",
    "hand-over",
    "baseline",
    "verify",
]


async def released_without_a_trace(w: World, free: list[str], held: int) -> None:
    service = await w.service(1)
    assert service.state is State.RELEASED, "\n".join(
        [await w.story(op.id) for op in await w.store.read.operations.of_service(1)]
    )
    assert (service.fault, service.target, service.billing_from) == (None, None, None)
    assert w.free_servers() == free
    assert len(w.held()) == held
    assert w.owned() == []
    assert await w.open_tasks() == []
    await w.check_invariants()


@pytest.mark.parametrize("step", STEPS)
async def test_a_release_after_any_step_undoes_the_order(step: str, open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}, install_seconds=45) as w:
        free, held = w.free_servers(), len(w.held())
        await w.place()
        await w.drive_to(step)
        release = await w.release(1)
        assert (await w.operation(release)).status is Status.QUEUED
        await w.drive()
        assert (await w.operation(1)).status is Status.SUPERSEDED
        assert (await w.operation(release)).status is Status.DONE
        await released_without_a_trace(w, free, held)


@pytest.mark.parametrize(
    ("step", "panel", "func", "nth"),
    [
        ("reserve", "dci", "server.edit", 2),
        ("create-user", "dci", "user.edit", 1),
        ("take", "ipm", "ip.edit", 1),
        ("put", "dci", "iplist.edit", 1),
        ("main", "dci", "server.edit", 2),
        ("give-back-parking", "ipm", "ip.delete", 1),
        ("install", "dci", "server.operations", 1),
        ("hand-over", "dci", "server.edit", 2),
    ],
)
async def test_a_release_while_an_answer_is_lost_undoes_what_lands_later(
    step: str, panel: str, func: str, nth: int, open_world: Open
) -> None:
    async with open_world(servers={"E3-1230-16G": 2}, install_seconds=45) as w:
        free, held = w.free_servers(), len(w.held())
        await w.place()
        await w.drive_to(step, "lost", on_intent=lambda: w.sandbox.fault(panel, func, "late", nth=nth, seconds=8))
        await w.release(1)
        await w.drive()
        await released_without_a_trace(w, free, held)


async def test_a_request_that_surely_never_came_is_not_undone_as_if_it_had(open_world: Open) -> None:
    """The parking address that was not given back is the one that the server gets again."""
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        before = w.server("101").main_ip
        await w.place()
        await w.drive_to(
            "give-back-parking", "lost", on_intent=lambda: w.sandbox.fault("ipm", "ip.delete", "reset_before")
        )
        await w.release(1)
        await w.drive()
        assert w.server("101").main_ip == before
        await w.check_invariants()


async def test_a_release_of_an_order_that_no_leg_has_seen(open_world: Open) -> None:
    async with open_world() as w:
        free, held = w.free_servers(), len(w.held())
        await w.place()
        await w.release(1)
        await w.drive()
        assert w.effects("server.edit") == 0
        await released_without_a_trace(w, free, held)


async def test_a_release_while_the_order_waits_for_stock(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        free, held = w.free_servers(), len(w.held())
        w.server("101").blocked = True
        await w.drive_for(3600)
        await w.release(1)
        await w.drive()
        w.server("101").blocked = False
        await released_without_a_trace(w, free, held)


async def test_a_release_of_a_failed_order_keeps_the_parking_address_that_its_undo_took(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        free, held = w.free_servers(), len(w.held())
        w.sandbox.fault("dci", "server.operations", "install_fails", times=0)
        await w.place()
        await w.drive()
        assert (await w.operation(1)).status is Status.FAILED, await w.story(1)
        assert (await w.service(1)).fault is not None
        assert len(await w.open_tasks()) == 1
        await w.release(1)
        await w.drive()
        await released_without_a_trace(w, free, held)
        parked = await w.store.read.fetch("SELECT address FROM allocation WHERE state = 'parked'")
        assert [row["address"] for row in parked] == [w.server("101").main_ip]


async def test_the_next_order_on_a_server_parked_by_an_undo_gives_that_address_back(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        held = len(w.held())
        w.sandbox.fault("dci", "server.operations", "install_fails")
        await w.place()
        await w.drive()
        w.server("101").operation_failed = False
        await w.active("order-2", hostname="b.example.test")
        assert len(w.held()) == held + 1  # two addresses, and no parking address
        await w.check_invariants()


async def test_a_service_is_released_once(open_world: Open) -> None:
    async with open_world() as w:
        await w.active()
        await w.release(1)
        with pytest.raises(Refused) as twice:
            await w.release(1)
        assert (twice.value.code, twice.value.status) == ("in_release", 409)
        await w.drive()
        with pytest.raises(Refused) as late:
            await w.release(1)
        assert (late.value.code, late.value.status) == ("released", 409)
        with pytest.raises(Refused) as unknown:
            await w.release(99)
        assert unknown.value.status == 404


async def test_a_release_leaves_a_server_alone_that_somebody_else_has_taken(open_world: Open) -> None:
    async with open_world() as w:
        service = await w.active()
        server = w.server(str(service.remote_id))
        server.owner, server.notes = "1", "rebuilt by hand"
        operation = await w.release(1)
        await w.drive()
        assert server.powered
        assert (server.owner, server.notes) == ("1", "rebuilt by hand")
        fault = (await w.service(1)).fault
        assert fault is not None
        assert fault.code == "not_ours"
        assert (await w.operation(operation)).status is Status.OPEN
