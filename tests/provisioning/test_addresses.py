"""Which addresses a service gets, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.domain.service import State
from tests.provisioning.conftest import Open
from tests.provisioning.world import AlwaysValid, World

TEMPLATE = "ISPsystem__Debian-12-x86_64"
BLOCK = "special_ip_block_guardvlan9"


def always_the_block(folder: Path) -> None:
    path = folder / "plans.d/ds-small.yaml"
    lines = [
        f"  {BLOCK}: {{billing: do_not_count}}" if BLOCK in line else line for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines) + "\n")


def keeps_main_addresses(folder: Path) -> None:
    path = folder / "modules.d/dci-main.yaml"
    path.write_text(path.read_text().replace("parking_ip_type: parking\n", ""))


def kinds(w: World, remote_id: str | None) -> tuple[str, list[str]]:
    """Type of the main address, and of the further ones."""
    server = w.server(str(remote_id))
    assert all(a.ip in w.held() for a in server.addresses)
    types = {a.ip: f"{w.sandbox.ipm.held[a.ip].type} {a.family}" for a in server.addresses}
    return types.pop(server.main_ip), sorted(types.values())


ADDONS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({}, "public ipv4", []),
    ({"ip": 1}, "public ipv4", []),
    ({"ip": 3}, "public ipv4", ["public ipv4"] * 2),
    ({"ip": 1, "ipv6": 2}, "public ipv4", ["public ipv6"] * 2),
    ({"privateip": 1}, "public ipv4", ["private ipv4"]),
    ({BLOCK: "none", "ip": 2}, "public ipv4", ["public ipv4"]),
    ({BLOCK: "guardvlan9"}, "guardvlan9 ipv4", []),
    ({BLOCK: "guardvlan9", "ip": 2, "ipv6": 1, "privateip": 1}, "guardvlan9 ipv4",
     ["private ipv4", "public ipv4", "public ipv6"]),
]  # fmt: skip


@pytest.mark.parametrize(("addons", "main", "further"), ADDONS)
async def test_a_service_gets_the_addresses_it_ordered(
    addons: dict[str, Any], main: str, further: list[str], open_world: Open
) -> None:
    async with open_world() as w:
        held = len(w.held())
        service = await w.active(addons=addons)
        assert kinds(w, service.remote_id) == (main, further)
        await w.check_invariants()
        await w.released(service.id)
        assert kinds(w, service.remote_id) == ("parking ipv4", [])
        assert len(w.held()) == held
        await w.check_invariants()


@pytest.mark.parametrize("addons", [{"ip": 2}, {"ip": 2, BLOCK: "guardvlan9"}])
async def test_a_block_that_is_not_counted_is_always_given(addons: dict[str, Any], open_world: Open) -> None:
    async with open_world(configure=always_the_block) as w:
        service = await w.active(addons=addons)
        assert kinds(w, service.remote_id) == ("guardvlan9 ipv4", ["public ipv4"])
        order = await w.store.read.orders.get(service.order_id)
        assert order.addons[BLOCK] == "guardvlan9"
        assert BLOCK not in order.prices["addons"]


async def test_without_parking_a_server_keeps_its_main_address_for_life(open_world: Open) -> None:
    async with open_world(configure=keeps_main_addresses) as w:
        before = w.server("101").main_ip
        held = len(w.held())
        service = await w.active(addons={"ip": 2})
        server = w.server("101")
        assert (server.main_ip, len(server.addresses)) == (before, 2)
        ledger = await w.store.read.allocations.of_service(service.id)
        assert {(a.role.value, a.ipam) for a in ledger} == {("main", ""), ("extra", "ipm-main")}
        await w.released(service.id)
        assert (server.main_ip, len(server.addresses), server.hostname) == (before, 1, "free.ds")
        assert len(w.held()) == held
        await w.check_invariants()


async def test_names_half_set_are_taken_back_where_the_main_address_stays(open_world: Open) -> None:
    async with open_world({"step_within": "5m"}, configure=keeps_main_addresses, servers={"E3-1230-16G": 1}) as w:
        other = w.sandbox.dci.add_server("other", "198.51.100.9", "public", "x.example.test")
        await w.place(addons={"ip": 2})
        await w.drive_to("names", "intended")
        server = w.server("101")
        main = server.main
        assert main is not None
        main.domain = "a.example.test"  # one of the names is set, and the rest fails for good
        server.addresses[1].domain = "free.ds"
        w.sandbox.fault("dci", "iplist.edit", "http_503", times=0)
        w.clock.advance(120)
        await w.desk.abandon(1, actor="ann", reason="")
        w.sandbox.clear_faults()
        await w.drive()
        assert server.hostname == "free.ds", await w.story(1)
        assert other.hostname == "x.example.test"
        assert w.free_servers() == ["101"]


async def test_the_parking_address_is_given_back_only_after_the_server_has_lost_it(open_world: Open) -> None:
    async with open_world() as w:
        parking = w.server("101").main_ip
        await w.place()
        await w.drive_to("main")
        assert parking in w.held()
        await w.drive_to("unpark")
        assert parking in w.held()
        assert parking not in {a.ip for a in w.server("101").addresses}
        await w.drive()
        assert parking not in w.held()


async def test_an_address_goes_back_only_after_the_server_has_lost_it(open_world: Open) -> None:
    async with open_world() as w:
        service = await w.active()
        addresses = {a.ip for a in w.server(str(service.remote_id)).addresses}
        w.sandbox.fault("dci", "iplist.delete", "http_500", times=0)
        await w.release(service.id)
        await w.drive()
        assert addresses <= set(w.held())
        assert (await w.service(1)).fault is not None
        w.sandbox.clear_faults()
        await w.desk.retry(2, actor="ann", reason="")
        await w.drive()
        assert not addresses & set(w.held())
        await w.check_invariants()


async def test_a_free_server_shown_with_another_ones_address_costs_that_one_nothing(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 3}) as w:
        before = {server.id: server.main_ip for server in w.sandbox.dci.servers.values()}
        await w.place()
        w.sandbox.fault("dci", "server", "wrong")
        await w.drive()
        service = await w.service(1)
        others = {number: ip for number, ip in before.items() if number != service.remote_id}
        assert set(others.values()) <= set(w.held())
        await w.check_invariants()


async def test_a_parking_address_that_nobody_holds_any_more_leaves_the_ledger(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.released((await w.active()).id)
        w.sandbox.ipm.call("ip.delete", {"elid": w.server("101").main_ip}, w.sandbox.ipm.accounts.named("provisiond"))
        await w.active("order-2")
        assert await w.store.read.fetch("SELECT * FROM allocation WHERE state = 'parked'") == []
        await w.check_invariants()


async def test_the_same_key_gives_the_same_address(open_world: Open) -> None:
    async with open_world() as w:
        ipam = w.fleet.carrier("dci-main").ipam
        assert ipam is not None
        await w.place()
        await w.drive_to("take", "lost", on_intent=lambda: w.sandbox.fault("ipm", "ip.edit", "reset_after"))
        (taken,) = [address for address, note in w.held().items() if note == "pd-test-1-0"]
        await w.drive()
        main = w.server(str((await w.service(1)).remote_id)).main_ip
        assert main == taken
        assert w.effects("ip.edit") == 2


async def test_a_filter_that_hides_everything_proves_no_absence(open_world: Open) -> None:
    """It stuck to the account before the daemon began: the list is whole in its own eyes, and empty."""
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        account = w.sandbox.ipm.accounts.named("provisiond")
        w.sandbox.ipm.call("ip.filter", {"sok": "ok", "domain": "nothing.example.test"}, account)
        w.sandbox.fault("ipm", "ip.edit", "reset_after", nth=1)
        placed = await w.place()
        due = await w.next_due()
        for _ in range(40):
            assert due is not None
            w.clock.advance_to(due[1])
            await w.legs.run(placed.operation.id, "node/boot", AlwaysValid())
            due = await w.next_due()
        ours = [address for address, note in w.held().items() if note.startswith("pd-")]
        assert len(ours) == 1, await w.story(placed.operation.id)
        assert "filter" in str((await w.operation(placed.operation.id)).waiting_for)
        w.sandbox.ipm.call("ip.filter", {"sok": "ok"}, account)
        await w.drive()
        assert (await w.service(placed.service.id)).state is State.ACTIVE, await w.story(placed.operation.id)
        await w.check_invariants()
