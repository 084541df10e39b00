"""What the sweeper finds, sweep by sweep, on a clock that moves when told."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from daemon.domain.clock import VirtualClock
from daemon.engine.lease import NodeLease
from daemon.engine.legs import OperationLegs, Permit
from daemon.engine.port import FRESH, HALF_DONE, OPERATION, Handler, Work
from daemon.engine.sweeper import Sweeper
from daemon.store.database import Store
from tests.engine.test_lease import a_lease, begin
from tests.store.rows import an_operation


class Noted:
    """An engine that writes down what was armed."""

    def __init__(self) -> None:
        self.armed: list[tuple[str, datetime, int]] = []

    async def start(self, handler: Handler) -> None: ...

    async def arm(self, work: Work, at: datetime, *, priority: int = FRESH) -> None:
        self.armed.append((work.key, at, priority))

    async def stop(self, timeout: float) -> None: ...

    def healthy(self) -> str | None:
        return None


class Watch:
    """A sweeper with everything around it; `running` is the set of legs that run here."""

    def __init__(self, store: Store, clock: VirtualClock, lease: NodeLease) -> None:
        self.engine = Noted()
        self.running: set[int] = set()
        self.sweeper = Sweeper(store, clock, self.engine, lease, lambda: self.running, within=2)


@pytest.fixture
async def lease(store: Store, clock: VirtualClock) -> NodeLease:
    lease = a_lease(store, clock)
    await begin(lease)
    return lease


@pytest.fixture
def watch(store: Store, clock: VirtualClock, lease: NodeLease) -> Watch:
    return Watch(store, clock, lease)


async def test_due_operations_are_armed_with_their_due_time_half_done_first(
    store: Store, clock: VirtualClock, watch: Watch
) -> None:
    async with store.transaction() as tx:
        fresh, later, half_done = [await an_operation(tx) for _ in range(3)]
        await tx.execute("UPDATE operation SET due_at = ? WHERE id = ?", clock.now() + timedelta(seconds=5), later.id)
        await tx.execute("UPDATE operation SET leg = 2 WHERE id = ?", half_done.id)
    await watch.sweeper.sweep()
    assert watch.engine.armed == [(str(half_done.id), clock.now(), HALF_DONE), (str(fresh.id), clock.now(), FRESH)]
    assert watch.sweeper.healthy() is None


async def test_an_operation_whose_leg_runs_here_is_left_alone(
    store: Store, watch: Watch, lease: NodeLease, clock: VirtualClock
) -> None:
    async with store.transaction() as tx:
        operation = await an_operation(tx)
        await tx.operations.take(operation.id, lease.owner, clock.now())
    watch.running.add(operation.id)
    for _ in range(4):
        await watch.sweeper.sweep()
    assert watch.engine.armed == []
    assert [held.operation_id for held in await store.read.nodes.held_by(lease.owner)] == [operation.id]


async def test_owned_by_us_but_not_running_twice_in_a_row_is_freed_with_a_higher_fence(
    store: Store, watch: Watch, lease: NodeLease, clock: VirtualClock
) -> None:
    async with store.transaction() as tx:
        operation = await an_operation(tx)
        taken = await tx.operations.take(operation.id, lease.owner, clock.now())
    await watch.sweeper.sweep()
    assert await store.read.nodes.held_by(lease.owner) != []
    await watch.sweeper.sweep()
    after = await store.read.operations.get(operation.id)
    assert taken is not None
    assert after is not None
    assert (after.owner, after.fence, after.due_at) == (None, taken.fence + 1, clock.now())
    assert [key for key, _, _ in watch.engine.armed] == [str(operation.id)]


async def test_the_legs_of_an_older_boot_of_this_node_are_taken_over_at_once(
    store: Store, watch: Watch, clock: VirtualClock
) -> None:
    async with store.transaction() as tx:
        operation = await an_operation(tx)
        await tx.operations.take(operation.id, "n1/older", clock.now())
    await watch.sweeper.sweep()
    assert [key for key, _, _ in watch.engine.armed] == [str(operation.id)]


async def test_the_legs_of_another_node_are_its_own_while_its_lease_lives(
    postgres_store: Store, clock: VirtualClock
) -> None:
    mine, other = a_lease(postgres_store, clock, "n1"), a_lease(postgres_store, clock, "n2")
    await begin(mine)
    await begin(other)
    watch = Watch(postgres_store, clock, mine)
    async with postgres_store.transaction() as tx:
        operation = await an_operation(tx)
        await tx.operations.take(operation.id, other.owner, clock.now())
    await watch.sweeper.sweep()
    assert watch.engine.armed == []
    async with postgres_store.transaction() as tx:
        await tx.execute("UPDATE node SET lease_until = now() - interval '1 second' WHERE name = 'n2'")
    await watch.sweeper.sweep()
    assert [key for key, _, _ in watch.engine.armed] == [str(operation.id)]


async def test_a_row_that_a_frozen_node_keeps_locked_holds_up_only_itself(
    postgres_store: Store, clock: VirtualClock
) -> None:
    lease = a_lease(postgres_store, clock)
    await begin(lease)
    watch = Watch(postgres_store, clock, lease)
    async with postgres_store.transaction() as tx:
        stuck, free = [await an_operation(tx) for _ in range(2)]
        for operation in (stuck, free):
            await tx.operations.take(operation.id, "dead/1", clock.now())
    async with postgres_store.transaction() as frozen:
        await frozen.operations.lock_any(stuck.id)
        await watch.sweeper.sweep()
        assert [key for key, _, _ in watch.engine.armed] == [str(free.id)]
    await watch.sweeper.sweep()
    assert str(stuck.id) in [key for key, _, _ in watch.engine.armed]


async def test_a_leg_over_its_time_limit_is_cancelled_and_a_hanging_one_is_left_to_the_sweeper(
    lease: NodeLease, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.engine.legs.GIVE_BACK_WITHIN", 0.1)
    cancelled = asyncio.Event()
    let_go = asyncio.Event()

    async def body(_operation: int, _owner: str, _permit: Permit) -> datetime | None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
            await let_go.wait()  # the write that gives it back hangs
        return None

    legs = OperationLegs(body, Noted(), lease, clock, within=0.1)
    async with asyncio.timeout(5):
        await legs(Work(OPERATION, "7"))
    assert cancelled.is_set()
    assert list(legs.running) == []
    let_go.set()


async def test_no_leg_begins_without_a_valid_lease(lease: NodeLease, clock: VirtualClock) -> None:
    began: list[int] = []

    async def body(operation: int, _owner: str, _permit: Permit) -> datetime | None:
        began.append(operation)
        return None

    legs = OperationLegs(body, Noted(), lease, clock, within=1)
    clock.advance(60)
    await legs(Work(OPERATION, "7"))
    assert began == []


async def test_the_next_leg_is_armed_when_a_leg_says_so(lease: NodeLease, clock: VirtualClock) -> None:
    async def body(_operation: int, _owner: str, _permit: Permit) -> datetime | None:
        return clock.now() + timedelta(seconds=30)

    engine = Noted()
    await OperationLegs(body, engine, lease, clock, within=1)(Work(OPERATION, "7"))
    assert engine.armed == [("7", clock.now() + timedelta(seconds=30), HALF_DONE)]
