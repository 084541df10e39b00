"""The daemon as a process: how soon it is ready, what it costs when nothing happens, how soon it stops; and how soon a command answers."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from pathlib import Path
from time import monotonic

from daemon.settings.loader import load
from daemon.store.targets import SqliteTarget
from tests.benchmarks.figures import Figure, at_most, spread_of
from tests.benchmarks.orders import MODULE, place
from tests.benchmarks.processes import Panels, cpu_seconds, daemon, memory_mib, sandbox
from tests.benchmarks.rows import History, fill

SETTLE, WATCH = 10.0, 30.0
"""Seconds after READY that don't count, and those that do."""
STARTS = 5
FINISHED, WAITING, DUE = 10_000, 700, 300
STOPS = 3
OPEN = 100
HELPS = 10


async def idle() -> list[Figure]:
    """Settings as they come, SQLite, watchdog and lease, panels that nobody orders from; the first start made the database."""
    async with sandbox({"servers": "E3-1230-16G=4"}) as panels:
        async with daemon(panels.config) as running:
            await asyncio.sleep(SETTLE)
            first = memory_mib(running.process.pid)
            await running.stop()
        async with daemon(panels.config) as running:
            pid = running.process.pid
            await asyncio.sleep(SETTLE)
            cpu, begun = cpu_seconds(pid), monotonic()
            await asyncio.sleep(WATCH)
            share = (cpu_seconds(pid) - cpu) / (monotonic() - begun) * 100
            resident = memory_mib(pid)
            await running.stop()
    return [
        at_most("idle_rss", resident, 110, "MiB", note="resident memory, SQLite"),
        at_most("idle_rss_first_start", first, 110, "MiB", note="of the process that made the database"),
        at_most("idle_cpu", share, 1.0, "% of core", note=f"over {WATCH:.0f} s, SQLite"),
    ]


async def start() -> list[Figure]:
    """From the start of the process to READY, with a long past and much to do; no server is free, so that all of it stays."""
    async with sandbox({"servers": "E3-1230-16G=0"}) as panels:
        await _with_history(panels)
        times = []
        for _ in range(STARTS):
            async with daemon(panels.config) as running:
                times.append(running.ready_after)
                await running.stop()
    note = f"{FINISHED} finished, {WAITING + DUE} open operations, {DUE} of them due; median of {STARTS}"
    return [
        at_most("start_to_ready", statistics.median(times), 3.0, "s", spread=spread_of(times), note=note),
    ]


async def _with_history(panels: Panels) -> None:
    """A first start makes database and master key; then the years go by."""
    async with daemon(panels.config) as running:
        await running.stop()
    settings = load(panels.config)
    plan = settings.plan("ds-small")
    assert plan is not None
    history = History(finished=FINISHED, waiting=WAITING, due=DUE, plan=json.dumps(plan.content()))
    fill(SqliteTarget(settings.daemon.state_dir / "provisiond.db"), history)


async def stop() -> list[Figure]:
    """From SIGTERM to the end of the process, in the middle of everything: once with panels that answer, once with mute ones."""
    quick = [await _stop({"latency": "0.05"}) for _ in range(STOPS)]
    mute = await _stop({"latency": "0.05"}, silent=True)
    return [
        at_most("stop_time", max(*quick, mute), 10.0, "s", spread=spread_of([*quick, mute]),
                note=f"worst of {STOPS + 1}, {OPEN} operations open; {mute:.1f} s with panels that don't answer"),
    ]  # fmt: skip


async def _stop(settings: dict[str, str], *, silent: bool = False) -> float:
    sizes = {"servers": f"E3-1230-16G={OPEN + 5}", "public": "400", "parking": "200"}
    async with sandbox({**sizes, **settings}, MODULE) as panels, daemon(panels.config) as running:
        async with running.client() as client:
            await place(running, client, OPEN)
        await asyncio.sleep(2.0)
        if silent:
            await panels.door("faults", {"panel": "*", "func": "*", "kind": "slow", "times": 0, "seconds": 60})
            await asyncio.sleep(1.0)
        return await running.stop()


async def help_() -> list[Figure]:
    """What a person waits for who asks for help."""
    times = []
    for _ in range(HELPS):
        begun = monotonic()
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("provisiond")), "--help", stdout=asyncio.subprocess.DEVNULL
        )
        code = await process.wait()
        times.append(monotonic() - begun)
        if code != 0:
            raise RuntimeError(f"provisiond --help ended with code {code}")
    return [
        at_most("help_time", statistics.median(times), 0.3, "s", spread=spread_of(times), note=f"median of {HELPS}")
    ]
