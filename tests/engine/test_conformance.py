"""What every engine promises, on both adapters: timers on SQLite, procrastinate on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from daemon.domain.clock import SystemClock
from daemon.domain.errors import Temporary
from daemon.engine.port import HALF_DONE, OPERATION, Engine, Slots, Work
from daemon.engine.queue_schema import SCHEMA, conninfo
from daemon.engine.timers import Timers
from daemon.store.database import Store
from daemon.store.targets import PostgresTarget, Target
from tests.engine.nodes import Node, engine_for, open_operations, times_done, until
from tests.store.rows import an_operation


class Woken:
    """A handler that writes down what it was woken for."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.works: list[Work] = []
        self.seconds = seconds

    async def __call__(self, work: Work) -> None:
        self.works.append(work)
        await asyncio.sleep(self.seconds)


@pytest.fixture
async def engine(target: Target) -> AsyncIterator[Engine]:
    engine = engine_for(target, SystemClock())
    yield engine
    await engine.stop(2)


@pytest.fixture
async def node(live_store: Store) -> AsyncIterator[Node]:
    node = Node(live_store)
    yield node
    await node.stop()


async def test_armed_work_runs_once_when_it_is_due_and_not_before(engine: Engine) -> None:
    woken, work = Woken(), Work("round", "a")
    await engine.start(woken)
    await engine.arm(work, SystemClock().now() + timedelta(seconds=0.6))
    await asyncio.sleep(0.4)
    assert woken.works == []
    await until(lambda: woken.works == [work])
    await asyncio.sleep(0.5)
    assert woken.works == [work]


async def test_work_armed_twice_for_the_same_time_runs_once(engine: Engine) -> None:
    woken, work, at = Woken(), Work("round", "a"), SystemClock().now() + timedelta(seconds=0.3)
    await engine.start(woken)
    await engine.arm(work, at)
    await engine.arm(work, at)
    await until(lambda: woken.works == [work])
    await asyncio.sleep(0.5)
    assert woken.works == [work]


async def test_work_armed_while_it_runs_runs_again_and_never_beside_itself(engine: Engine) -> None:
    running = peak = runs = 0

    async def handler(_work: Work) -> None:
        nonlocal running, peak, runs
        running, runs = running + 1, runs + 1
        peak = max(peak, running)
        await asyncio.sleep(0.3)
        running -= 1

    await engine.start(handler)
    await engine.arm(Work("round", "a"), SystemClock().now())
    await until(lambda: running == 1)
    await engine.arm(Work("round", "a"), SystemClock().now())
    await until(lambda: runs == 2)
    assert peak == 1


async def test_half_done_work_goes_before_fresh_work(target: Target) -> None:
    engine, woken, now = engine_for(target, SystemClock(), Slots(1, 1)), Woken(0.05), SystemClock().now()
    blocker = Work(OPERATION, "0")
    await engine.start(woken)
    await engine.arm(blocker, now)
    await until(lambda: woken.works == [blocker])
    woken.seconds = 0.3
    await engine.arm(Work(OPERATION, "00"), now)
    await until(lambda: len(woken.works) == 2)
    for key in ("1", "2"):
        await engine.arm(Work(OPERATION, key), now)
    await engine.arm(Work(OPERATION, "3"), now, priority=HALF_DONE)
    await until(lambda: len(woken.works) == 5)
    assert [work.key for work in woken.works] == ["0", "00", "3", "1", "2"]
    await engine.stop(2)


async def test_a_handler_that_breaks_hurts_nobody_else(engine: Engine) -> None:
    woken = Woken()

    async def handler(work: Work) -> None:
        if work.key == "bad":
            raise ZeroDivisionError
        await woken(work)

    await engine.start(handler)
    await engine.arm(Work("round", "bad"), SystemClock().now())
    await engine.arm(Work("round", "good"), SystemClock().now())
    await until(lambda: len(woken.works) == 1)
    assert engine.healthy() is None


async def test_operations_go_from_leg_to_leg_to_their_end(node: Node) -> None:
    async with node.store.transaction() as tx:
        operations = [await an_operation(tx) for _ in range(5)]
    await node.start()
    for operation in operations:
        await node.engine.arm(Work(OPERATION, str(operation.id)), SystemClock().now())
    await until(lambda: len(node.finished) == 5)
    assert await times_done(node.store) == [1] * 5


async def test_what_nobody_armed_is_found_by_the_sweeper(node: Node) -> None:
    await node.start()
    async with node.store.transaction() as tx:
        operation = await an_operation(tx)
    await until(lambda: node.finished == [operation.id])


async def test_an_engine_wiped_in_the_middle_loses_nothing_and_does_nothing_twice(live_store: Store) -> None:
    node = Node(live_store, legs_each=6, leg_seconds=0.02)
    async with live_store.transaction() as tx:
        for _ in range(30):
            await an_operation(tx)
    await node.start()
    for _ in range(8):
        await asyncio.sleep(0.1)
        await _wipe(node.engine, live_store)
    await until(lambda: len(node.finished) == 30, 30)
    assert await times_done(live_store) == [1] * 30
    await until(lambda: node.engine.healthy() is None)
    await node.stop()


async def test_a_database_that_throws_everybody_out_is_come_back_to(postgres_target: PostgresTarget) -> None:
    store = await Store.open(postgres_target, clock=SystemClock())
    node = Node(store, legs_each=4, leg_seconds=0.05)
    async with store.transaction() as tx:
        for _ in range(30):
            await an_operation(tx)
    await node.start()
    for _ in range(4):
        await asyncio.sleep(0.3)
        await _execute(postgres_target, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                       " AND datname = current_database()")  # fmt: skip
    await until(lambda: _none_open(store), 40)
    assert await times_done(store) == [1] * 30
    await until(lambda: node.engine.healthy() is None)
    await node.stop()
    await store.close()


async def test_a_dropped_schema_is_said_and_made_anew_by_install(postgres_target: PostgresTarget) -> None:
    from daemon.engine import queue_schema

    engine, woken = engine_for(postgres_target, SystemClock()), Woken()
    await engine.start(woken)
    await _execute(postgres_target, f"DROP SCHEMA {SCHEMA} CASCADE")
    await until(lambda: "db migrate" in (engine.healthy() or ""))
    assert not await queue_schema.installed(postgres_target)
    await engine.arm(Work("round", "a"), SystemClock().now())
    await engine.stop(2)
    assert await queue_schema.install(postgres_target)
    again = engine_for(postgres_target, SystemClock())
    await again.start(woken)
    await again.arm(Work("round", "a"), SystemClock().now())
    await until(lambda: len(woken.works) == 1)
    assert again.healthy() is None
    await again.stop(2)


async def test_it_stops_in_time_while_a_hundred_legs_run(live_store: Store) -> None:
    node = Node(live_store, leg_seconds=60, slots=100)
    async with live_store.transaction() as tx:
        for _ in range(100):
            await an_operation(tx)
    await node.start()
    await until(lambda: len(node.began) == 100, 20)
    began = asyncio.get_running_loop().time()
    await node.stop(6)
    assert asyncio.get_running_loop().time() - began < 8
    rows = await live_store.read.fetch("SELECT COUNT(*) AS n FROM operation WHERE owner IS NOT NULL")
    assert rows[0]["n"] == 0


async def _none_open(store: Store) -> bool:
    try:
        return await open_operations(store) == 0
    except Temporary:
        return False


async def _wipe(engine: Engine, store: Store) -> None:
    if isinstance(engine, Timers):
        engine.forget()
        return
    assert isinstance(store.target, PostgresTarget)
    await _execute(
        store.target,
        "DELETE FROM procrastinate_events; DELETE FROM procrastinate_periodic_defers; DELETE FROM procrastinate_jobs;"
        " DELETE FROM procrastinate_workers",
    )


async def _execute(target: PostgresTarget, statement: str) -> None:
    """One that loses a deadlock against the engine's own statements is run again."""
    while True:
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            async with await psycopg.AsyncConnection.connect(conninfo(target), autocommit=True) as connection:
                await connection.execute(statement)
                return
