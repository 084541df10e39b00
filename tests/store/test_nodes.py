"""Node rows, leases by the database's clock, and who may be taken over; facts and switches beside them."""

from __future__ import annotations

from datetime import timedelta

from daemon.domain.clock import VirtualClock
from daemon.store.database import Store
from daemon.store.nodes import Held
from tests.store.rows import an_operation

LEASE = timedelta(seconds=20)


async def test_each_start_of_a_node_is_a_new_generation(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.nodes.register("n1", "a", "0.1.0", LEASE) == 1
        assert await tx.nodes.register("n1", "b", "0.1.0", LEASE) == 2
        nodes = await tx.nodes.all()
    assert [(node.name, node.boot, node.generation, node.alive) for node in nodes] == [("n1", "b", 2, True)]


async def test_a_heartbeat_of_an_older_boot_changes_nothing(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.nodes.register("n1", "a", "0.1.0", LEASE)
        assert await tx.nodes.beat("n1", "a", 1, LEASE)
        await tx.nodes.register("n1", "b", "0.1.0", LEASE)
        assert not await tx.nodes.beat("n1", "a", 1, LEASE)
        assert not await tx.nodes.beat("n2", "a", 1, LEASE)


async def test_a_lease_ends_by_the_clock_on_sqlite(sqlite_store: Store, clock: VirtualClock) -> None:
    async with sqlite_store.transaction() as tx:
        await tx.nodes.register("n1", "a", "0.1.0", LEASE)
    clock.advance(19)
    assert (await sqlite_store.read.nodes.all())[0].alive
    clock.advance(2)
    assert not (await sqlite_store.read.nodes.all())[0].alive


async def test_a_lease_ends_by_the_servers_clock_on_postgresql_whatever_ours_says(
    postgres_store: Store, clock: VirtualClock
) -> None:
    async with postgres_store.transaction() as tx:
        await tx.nodes.register("n1", "a", "0.1.0", LEASE)
    clock.advance(1e9)
    assert (await postgres_store.read.nodes.all())[0].alive


async def test_only_owners_without_a_living_node_are_dead(store: Store, clock: VirtualClock) -> None:
    async with store.transaction() as tx:
        await tx.nodes.register("n1", "b", "0.1.0", LEASE)
        await tx.nodes.register("n2", "a", "0.1.0", LEASE)
        for owner in ("n1/b", "n1/a", "n2/a", "n3/a"):
            operation = await an_operation(tx)
            await tx.operations.take(operation.id, owner, clock.now())
    expected = ["n1/a", "n3/a"] if store.dialect == "postgres" else ["n1/a", "n2/a", "n3/a"]
    assert await store.read.nodes.dead_owners("n1/b") == expected


async def test_freeing_raises_the_fence_once(store: Store, clock: VirtualClock) -> None:
    async with store.transaction() as tx:
        operation = await an_operation(tx)
        taken = await tx.operations.take(operation.id, "n1/a", clock.now())
        assert taken is not None
        held = await tx.nodes.held_by("n1/a")
        assert held == [Held(operation.id, taken.fence)]
        assert not await tx.nodes.free(held[0], "n1/b")
        assert await tx.nodes.free(held[0], "n1/a")
        assert not await tx.nodes.free(held[0], "n1/a")
        after = await tx.operations.get(operation.id)
    assert after is not None
    assert (after.owner, after.fence, after.due_at) == (None, taken.fence + 1, clock.now())


async def test_a_fact_that_only_grows_is_advanced_once(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.facts.advance("tick", "2026-01-01T00:00")
        assert not await tx.facts.advance("tick", "2026-01-01T00:00")
        assert not await tx.facts.advance("tick", "2025-12-31T00:00")
        assert await tx.facts.advance("tick", "2026-01-01T00:01")
        assert await tx.facts.put_once("fingerprint", "a") == "a"
        assert await tx.facts.put_once("fingerprint", "b") == "a"


async def test_a_switch_is_set_changed_and_cleared_with_who_and_why(store: Store, clock: VirtualClock) -> None:
    async with store.transaction() as tx:
        await tx.switches.put("module", "dci", "drain", actor="ann", reason="maintenance")
        await tx.switches.put("module", "dci", "disable", actor="bob", reason="broken")
    assert await store.read.switches.value("module", "dci") == "disable"
    (switch,) = await store.read.switches.all("module")
    assert (switch.name, switch.value, switch.actor, switch.reason, switch.since) == (
        "dci",
        "disable",
        "bob",
        "broken",
        clock.now(),
    )
    async with store.transaction() as tx:
        assert await tx.switches.clear("module", "dci")
        assert not await tx.switches.clear("module", "dci")
    assert await store.read.switches.all() == []
