"""A real process, killed with SIGKILL in the middle of its legs, and started again."""

from __future__ import annotations

import asyncio
import signal
import sys

from daemon.domain.clock import SystemClock
from daemon.domain.errors import Temporary
from daemon.store.database import Store
from daemon.store.targets import PostgresTarget, SqliteTarget, Target
from tests.engine.nodes import Node, open_operations, times_done, until
from tests.store.rows import an_operation


async def test_a_daemon_killed_in_mid_leg_goes_on_after_its_restart(target: Target) -> None:
    await _add_operations(target, 12)
    for _ in range(3):
        await _run_and_kill(target, 0.5)
    process = await _start(target)
    store = await Store.open(target, clock=SystemClock())
    await until(lambda: _all_done(store), 40)
    assert await times_done(store) == [1] * 12
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await store.close()


async def test_another_node_goes_on_with_the_work_of_a_dead_one(postgres_target: PostgresTarget) -> None:
    await _add_operations(postgres_target, 8)
    await _run_and_kill(postgres_target, 0.7)
    store = await Store.open(postgres_target, clock=SystemClock())
    survivor = Node(store, name="n2", legs_each=5)
    await survivor.start()
    await until(lambda: _all_done(store), 30)
    assert await times_done(store) == [1] * 8
    await survivor.stop()
    await store.close()


async def _add_operations(target: Target, number: int) -> None:
    store = await Store.open(target, clock=SystemClock())
    async with store.transaction() as tx:
        for _ in range(number):
            await an_operation(tx)
    await store.close()


async def _run_and_kill(target: Target, seconds: float) -> None:
    process = await _start(target)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def _start(target: Target) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.engine.victim", *_where(target), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readuntil(b"up\n")
    return process


def _where(target: Target) -> tuple[str, str]:
    if isinstance(target, SqliteTarget):
        return ("sqlite", str(target.path))
    params = "&".join(f"{name}={value}" for name, value in target.params)
    secret = f":{target.password}" if target.password else ""
    return ("postgres", f"postgresql://{target.user}{secret}@{target.host}:{target.port}/{target.database}?{params}")


async def _all_done(store: Store) -> bool:
    try:
        return await open_operations(store) == 0
    except Temporary:
        return False
