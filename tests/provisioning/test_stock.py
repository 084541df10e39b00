"""No server: refused when ordered, waited for with a deadline afterwards; never two services on one server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from daemon.domain.errors import Refused
from daemon.domain.operation import Status
from daemon.domain.service import State
from daemon.store.targets import Target
from tests.provisioning.conftest import Open
from tests.provisioning.world import QUICK, AlwaysValid, world


async def test_an_order_without_stock_is_refused_and_nothing_is_stored(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        w.server("101").hwproblem = True
        with pytest.raises(Refused) as refused:
            await w.place()
        assert (refused.value.code, refused.value.status) == ("no_stock", 409)
        for table in ("customer", "service", "service_order", "operation", "event", "outbox", "idempotency"):
            assert await w.store.read.fetch(f"SELECT * FROM {table}") == []
        w.server("101").hwproblem = False
        await w.place()  # the same key: a refused order stores none


async def test_an_order_is_refused_otherwise_when_nobody_can_say_what_is_free(open_world: Open) -> None:
    async with open_world() as w:
        w.sandbox.fault("dci", "server", "empty_list", times=0)
        with pytest.raises(Refused) as refused:
            await w.place()
        assert (refused.value.code, refused.value.status) == ("stock_unknown", 503)


async def test_stock_lost_after_the_order_is_waited_for_with_one_notice(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        w.server("101").blocked = True
        await w.drive_for(6 * 3600)
        operation = await w.operation(1)
        assert operation.status is Status.OPEN
        assert operation.waiting_for is not None
        assert "no free server" in operation.waiting_for
        assert operation.waiting_since is not None
        assert operation.waiting_since < w.clock.now() < operation.deadline
        (mail,) = await w.mails("notice:")
        assert "no free server" in str(mail["payload"])
        assert w.legs_run < 120
        w.server("101").blocked = False
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE
        await w.check_invariants()


async def test_stock_that_never_comes_ends_the_order_with_a_task(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place()
        w.server("101").blocked = True
        begun = w.clock.now()
        await w.drive()
        assert (w.clock.now() - begun).total_seconds() == 24 * 3600
        service, operation = await w.service(1), await w.operation(1)
        assert (operation.status, service.state) == (Status.FAILED, State.PENDING)
        assert service.fault is not None
        assert service.fault.code == "no_server"
        (task,) = await w.open_tasks()
        assert task.department == "dc-team"
        assert w.legs_run < 400


async def test_a_module_that_can_never_carry_the_order_is_not_waited_for(open_world: Open) -> None:
    async with open_world(dci_panels=2, servers={"E3-1230-16G": 1}, configure=second_without_parking) as w:
        w.sandbox.fault("dci", "server.operations", "install_fails")
        begun = w.clock.now()
        await w.place(addons={"special_ip_block_guardvlan9": "guardvlan9"})
        await w.drive()
        assert (await w.operation(1)).status is Status.FAILED, await w.story(1)
        assert (w.clock.now() - begun).total_seconds() < 3600


def second_without_parking(folder: Path) -> None:
    path = folder / "modules.d/dci-second.yaml"
    path.write_text(path.read_text().replace("parking_ip_type: parking\n", ""))


async def test_two_orders_for_the_last_server(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.place("one")
        await w.place(
            "two", hostname="b.example.test", customer={"ref": "C-2", "name": "Bo", "email": "b@example.test"}
        )
        await w.drive_for(3600)
        assert [(await w.service(n)).state for n in (1, 2)] == [State.ACTIVE, State.PENDING]
        await w.check_invariants()
        await w.release(1)
        await w.drive()
        second = await w.service(2)
        assert (second.state, second.remote_id) == (State.ACTIVE, "101")
        assert w.server("101").hostname == "b.example.test"
        await w.check_invariants()


async def test_ten_orders_at_once_for_four_servers(target: Target, tmp_path: Path) -> None:
    async with world(target, tmp_path, overrides={**QUICK, "capacity_within": "1h"}) as w:
        for number in range(10):
            await w.place(f"order-{number}", hostname=f"h{number}.example.test")
        for _ in range(12):
            await asyncio.gather(*[w.legs.run(n, "node/boot", AlwaysValid()) for n in range(1, 11)])
            w.clock.advance(40)
        states = [(await w.service(n)).state for n in range(1, 11)]
        assert states.count(State.ACTIVE) == 4
        assert states.count(State.PENDING) == 6
        claims = await w.store.read.fetch("SELECT remote_id FROM claim WHERE released_at IS NULL")
        assert sorted(row["remote_id"] for row in claims) == ["101", "102", "103", "104"]
        await w.check_invariants()
        await w.drive(legs=2000)
        assert [(await w.operation(n)).status for n in range(1, 11)].count(Status.FAILED) == 6


@pytest.mark.parametrize(
    ("pool", "addons", "says"),
    [
        ("public", {"ip": 4}, "no free ipv4 address of type public; 1 more is needed"),
        ("public_ipv6", {"ipv6": 2}, "no free ipv6 address of type public; 2 more are needed"),
        ("private", {"privateip": 1}, "no free ipv4 address of type private"),
        ("guardvlan9", {"special_ip_block_guardvlan9": "guardvlan9"}, "no free ipv4 address of type guardvlan9"),
    ],
)
async def test_an_exhausted_pool_is_named_and_waited_for(
    pool: str, addons: dict[str, object], says: str, open_world: Open
) -> None:
    size = {"public": 4, "public_ipv6": 2}.get(pool, 1)
    async with open_world(**{pool: size}) as w:
        family, kind = ("ipv6", "public") if pool == "public_ipv6" else ("ipv4", pool)
        other = w.sandbox.ipm.accounts.by_id["1"]
        taken = [
            w.sandbox.ipm.hold(kind, family, "elsewhere", "", other) for _ in range(1 if pool == "public" else size)
        ]
        await w.place(addons=addons)
        await w.drive_for(2 * 3600)
        operation = await w.operation(1)
        assert operation.waiting_for is not None
        assert says in operation.waiting_for
        assert len(await w.mails("notice:")) == 1
        assert w.legs_run < 100
        await w.check_invariants()
        for held in taken:
            w.sandbox.ipm.call("ip.delete", {"elid": held.address}, other)
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        await w.check_invariants()


async def test_a_pool_that_stays_empty_fails_the_order_and_gives_the_rest_back(open_world: Open) -> None:
    async with open_world({"capacity_within": "2h"}, public=2) as w:
        free, held = w.free_servers(), len(w.held())
        await w.place(addons={"ip": 3})
        await w.drive()
        assert (await w.operation(1)).status is Status.FAILED, await w.story(1)
        assert w.free_servers() == free
        assert len(w.held()) == held
        await w.check_invariants()


async def test_a_module_that_refuses_our_login_is_passed_by_and_told_once(open_world: Open) -> None:
    async with open_world(dci_panels=2, servers={"E3-1230-16G": 1}) as w:
        account = w.sandbox.dci.accounts.named("provisiond")
        assert account is not None
        account.password = "changed"
        await w.place()
        await w.drive()
        service = await w.service(1)
        assert (service.state, service.module) == (State.ACTIVE, "dci-second")


async def test_a_login_refused_in_the_middle_waits_with_one_notice_and_goes_on(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=60) as w:
        await w.place()
        await w.drive_to("install")
        account = w.sandbox.dci.accounts.named("provisiond")
        assert account is not None
        right, account.password = account.password, "changed"
        w.sandbox.dci.accounts.drop_sessions()
        await w.drive_for(1800)
        assert (await w.operation(1)).status is Status.OPEN
        assert "dci-main" in await w.store.read.module_health.all()
        assert len(await w.mails("notice:")) == 1
        account.password = right
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)


async def test_a_login_that_stays_refused_is_a_fault_and_nothing_is_undone(open_world: Open) -> None:
    async with open_world({"step_within": "10m"}, servers={"E3-1230-16G": 1}, install_seconds=60) as w:
        await w.place()
        await w.drive_to("put")
        account = w.sandbox.dci.accounts.named("provisiond")
        assert account is not None
        account.password = "changed"
        w.sandbox.dci.accounts.drop_sessions()
        await w.drive_for(3 * 3600)
        operation, service = await w.operation(1), await w.service(1)
        assert (operation.status, operation.phase) == (Status.OPEN, "forward"), await w.story(1)
        assert service.fault is not None
        assert operation.due_at == operation.deadline
        assert len(await w.open_tasks()) == 1
