"""The right to send, by the monotonic clock, and what happens when it lapses."""

from __future__ import annotations

from datetime import timedelta

from daemon.domain.clock import VirtualClock
from daemon.engine.lease import NodeLease
from daemon.store.database import Store


def a_lease(store: Store, clock: VirtualClock, name: str = "n1") -> NodeLease:
    return NodeLease(store, clock, name, "test", lease=timedelta(seconds=20), heartbeat=timedelta(seconds=5))


async def begin(lease: NodeLease) -> None:
    """Start without the loop: these tests beat by hand, because a virtual clock would beat without end."""
    await lease.start()
    assert lease._task is not None
    lease._task.cancel()


async def test_a_ticket_is_good_until_the_margin_before_the_lease_ends(store: Store, clock: VirtualClock) -> None:
    lease = a_lease(store, clock)
    await begin(lease)
    ticket = lease.ticket()
    clock.advance(18.9)
    assert ticket.valid()
    clock.advance(0.1)
    assert not ticket.valid()


async def test_a_heartbeat_in_time_keeps_old_tickets_good(store: Store, clock: VirtualClock) -> None:
    lease = a_lease(store, clock)
    await begin(lease)
    ticket = lease.ticket()
    for _ in range(10):
        clock.advance(5)
        await lease.beat()
        assert ticket.valid()


async def test_a_lapsed_lease_begins_a_new_generation_and_old_tickets_stay_bad(
    store: Store, clock: VirtualClock
) -> None:
    lease = a_lease(store, clock)
    await begin(lease)
    ticket = lease.ticket()
    clock.advance(60)
    assert lease.healthy() is not None
    await lease.beat()
    assert lease.valid()
    assert lease.ticket().valid()
    assert not ticket.valid()


async def test_a_second_daemon_of_the_same_name_takes_the_right_from_the_first(
    store: Store, clock: VirtualClock
) -> None:
    first, second = a_lease(store, clock), a_lease(store, clock)
    await begin(first)
    await begin(second)
    await first.beat()
    assert not first.valid()
    assert "node name" in (first.healthy() or "")
    assert second.valid()


async def test_a_node_whose_row_was_deleted_registers_again_with_a_new_generation(
    store: Store, clock: VirtualClock
) -> None:
    lease = a_lease(store, clock)
    await begin(lease)
    ticket = lease.ticket()
    async with store.transaction() as tx:
        await tx.execute("DELETE FROM node")
    await lease.beat()
    assert lease.valid()
    assert not ticket.valid()


async def test_a_node_that_stops_leaves_its_lease_at_once(store: Store, clock: VirtualClock) -> None:
    lease = a_lease(store, clock)
    await begin(lease)
    assert [node.alive for node in await store.read.nodes.all()] == [True]
    await lease.stop()
    assert not lease.valid()
    assert [node.alive for node in await store.read.nodes.all()] == [False]
