"""Work that comes back, on one node and on several."""

from __future__ import annotations

import asyncio
import contextlib

from daemon.domain.clock import SystemClock
from daemon.engine.periodic import Periodic
from daemon.engine.port import Dispatch, Work
from daemon.store.database import Store
from daemon.store.targets import PostgresTarget
from tests.engine.nodes import engine_for, until


class Beat:
    """One node that does nothing but periodic work."""

    def __init__(self, store: Store, seconds: float, body) -> None:
        self.dispatch = Dispatch()
        self.engine = engine_for(store.target, SystemClock())
        self.periodic = Periodic(store, SystemClock(), self.engine, self.dispatch)
        self.periodic.every("round", "all", seconds, body)

    async def start(self) -> None:
        await self.engine.start(self.dispatch)
        await self.periodic.start()

    async def stop(self) -> None:
        await self.periodic.stop()
        await self.engine.stop(2)


async def test_periodic_work_comes_back(live_store: Store) -> None:
    times: list[float] = []

    async def body() -> None:
        times.append(asyncio.get_running_loop().time())

    beat = Beat(live_store, 0.5, body)
    await beat.start()
    await until(lambda: len(times) >= 4)
    await beat.stop()
    assert 1.0 < times[3] - times[0] < 2.5


async def test_on_two_nodes_each_tick_runs_once(postgres_target: PostgresTarget) -> None:
    store = await Store.open(postgres_target, clock=SystemClock())
    ran: list[str] = []

    def body(name: str):
        async def run() -> None:
            ran.append(name)

        return run

    beats = [Beat(store, 1.0, body(name)) for name in "ab"]
    for beat in beats:
        await beat.start()
    await asyncio.sleep(4.6)
    for beat in beats:
        await beat.stop()
    await store.close()
    assert 3 <= len(ran) <= 6


async def test_a_tick_that_another_node_has_run_is_left_out(live_store: Store) -> None:
    ran: list[str] = []

    async def body() -> None:
        ran.append("ran")

    beat = Beat(live_store, 1000, body)
    tick = Work("round", "all@2026-01-01T00:00:00+00:00")
    await beat.dispatch(tick)
    await beat.dispatch(tick)
    assert len(ran) == (1 if live_store.dialect == "postgres" else 2)


async def test_a_round_that_is_not_over_is_not_begun_again(live_store: Store) -> None:
    began = 0

    async def body() -> None:
        nonlocal began
        began += 1
        await asyncio.sleep(0.3)

    beat = Beat(live_store, 1000, body)
    ticks = [Work("round", f"all@2026-01-01T00:0{n}:00+00:00") for n in range(3)]
    await asyncio.gather(*(beat.dispatch(tick) for tick in ticks))
    assert began == 1


async def test_it_stops_though_a_cancellation_is_lost_on_the_way(live_store: Store) -> None:
    class Deaf:
        """An engine whose `arm` swallows the first cancellation, as a pool that hands over a connection can."""

        armed = 0

        async def arm(self, work: Work, at: object, *, priority: int = 0) -> None:
            self.armed += 1
            if self.armed == 1:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)

    periodic = Periodic(live_store, SystemClock(), Deaf(), Dispatch())  # type: ignore[arg-type]  # only `arm` is asked for

    async def body() -> None:
        """Never due."""

    periodic.every("round", "all", 3600, body)
    await periodic.start()
    await asyncio.sleep(0.05)
    await asyncio.wait_for(periodic.stop(), 5)
