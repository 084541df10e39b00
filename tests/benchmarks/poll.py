"""Polling 10 000 servers, traffic and power, beside a bare client that downloads, parses and reads the same reports.

Both sides run in this process, in turn, against the same sandbox process. Ours ends with the samples of 10 000 services in the store.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from defusedxml.ElementTree import fromstring

from daemon.app import build_fleet, leave_out_of_collections
from daemon.domain.clock import SystemClock
from daemon.settings.loader import load
from daemon.stats.collection import Collector, Source
from daemon.store.database import Store
from daemon.store.targets import SqliteTarget, Target
from tests.benchmarks.databases import Databases, databases
from tests.benchmarks.figures import Figure, Pairs, alternating, at_least, shown, skipped
from tests.benchmarks.processes import Panels, sandbox
from tests.benchmarks.rows import History, fill

SERVERS = 10_000
PAIRS = 9
REPORTS = (("traffic", "currentmonth", ("rx", "tx")),)
"""Function, period and fields of what a round reads."""


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    sizes = {"servers": f"E3-1230-16G={SERVERS}", "parking": "16"}
    async with databases() as made, sandbox(sizes) as panels:
        for number in range(1, SERVERS + 1, 997):  # so that not every counter is zero
            await panels.door("traffic", {"server": str(100 + number), "rx": 10**12 + number, "tx": 10**10 + number})
        for name in ("sqlite", "postgres"):
            label = "poll_10000_ratio" if name == "sqlite" else f"poll_10000_ratio_{name}"
            if name == "postgres" and made.no_postgres:
                figures.append(skipped(label, made.no_postgres))
            else:
                figures += await _of(made, name, label, panels)
    return figures


async def _of(made: Databases, name: str, label: str, panels: Panels) -> list[Figure]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="provisiond-bench-")))
        target: Target = stack.enter_context(made.fresh(name, folder))
        if isinstance(target, SqliteTarget):
            target = SqliteTarget(target.path)  # as in production: every commit reaches the disk
        fill(target, History(active=SERVERS))
        store = await Store.open(target, clock=clock)
        stack.push_async_callback(store.close)
        fleet = build_fleet(load(panels.config), clock)
        stack.push_async_callback(fleet.close)
        sources: list[Source] = [carrier.module for carrier in fleet.carriers.values()]
        collector = Collector(store, clock, lambda: sources)
        system = panels.systems["dcimanager"]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        token = await _log_in(session, system)

        async def ours() -> None:
            made_round = await collector.round("dci-main")
            if made_round.samples != 2 * SERVERS or made_round.problems:
                raise RuntimeError(f"an incomplete round: {made_round.as_dict()}")

        async def bare() -> None:
            for report in REPORTS:
                if len(await _report(session, system, token, *report)) != SERVERS:
                    raise RuntimeError("an incomplete report")

        await ours()
        await bare()
        leave_out_of_collections()  # as the daemon does when it is ready; both sides have it
        cpu = Pairs([], [])
        found = await alternating(_timed(ours, cpu.ours), _timed(bare, cpu.others), PAIRS)
    took, beside = sorted(found.ours)[PAIRS // 2], sorted(found.others)[PAIRS // 2]
    rates = Pairs(found.others, found.ours)  # a rate is one over a time
    work = Pairs(cpu.others, cpu.ours)
    return [
        at_least(label, rates.ratio, 0.7, "x", spread=rates.spread, note=f"a round {took:.2f} s, bare {beside:.2f} s"),
        shown(
            f"{label}_cpu", work.ratio, "x", spread=work.spread,
            note=f"of CPU time here, without the sandbox's; ours {sorted(cpu.ours)[PAIRS // 2]:.2f} s",
        ),
    ]  # fmt: skip


def _timed(side: Callable[[], Awaitable[None]], cpu: list[float]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        used, begun = time.process_time(), time.monotonic()
        await side()
        took = time.monotonic() - begun
        cpu.append(time.process_time() - used)
        return took

    return run


async def _log_in(session: aiohttp.ClientSession, system: Mapping[str, str]) -> str:
    login = {"func": "auth", "username": system["username"], "password": system["password"], "out": "xml"}
    async with session.post(system["url"], data=login) as answer:
        token = fromstring(await answer.read()).find("auth")
    assert token is not None
    return str(token.get("id"))


async def _report(
    session: aiohttp.ClientSession,
    system: Mapping[str, str],
    token: str,
    func: str,
    period: str,
    fields: tuple[str, ...],
) -> dict[str, list[int]]:
    form = {"func": func, "out": "xml", "sok": "ok", "period": period, "auth": token}
    async with session.post(system["url"], data=form) as answer:
        document = fromstring(await answer.read())
    found = {}
    for row in document.iter("elem"):
        server = row.find("id")
        if server is not None:
            elements = [row.find(field) for field in fields]
            found[server.text or ""] = [int(each.get("orig", "")) for each in elements if each is not None]
    return found
