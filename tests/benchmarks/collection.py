"""Collecting 10 000 servers, five metrics from three reports, beside a bare client that downloads, parses and reads the same fields.

Both sides of the ratio run in this process, in turn, against the same sandbox process. Ours ends with the classed samples of 10 000
services in the store. Seconds and memory are those of a daemon process that is asked for a round, and looks at alerts after it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import aiohttp
from defusedxml.ElementTree import fromstring

from daemon.app import build_fleet, leave_out_of_collections, metered
from daemon.domain.clock import SystemClock
from daemon.settings.loader import Settings, load
from daemon.stats.system import Statistics
from daemon.stats.worker import Worker
from daemon.store.database import Store
from daemon.store.targets import PostgresTarget, SqliteTarget, Target
from tests.benchmarks.databases import Databases, databases
from tests.benchmarks.figures import Figure, Pairs, alternating, at_least, at_most, shown, skipped, spread_of
from tests.benchmarks.processes import Panels, change, daemon, memory_mib, sandbox
from tests.benchmarks.rows import History, fill

SERVERS = 10_000
METRICS = ("in", "out", "power", "burst_in_day", "burst_out_day")
PAIRS = 7
ROUNDS = 3
REPORTS = (
    ("traffic", "currentmonth", ("rx", "tx")),
    ("powerconsumption", "currentday", ("power",)),
    ("trafficburstable", "currentday", ("burst_in", "burst_out")),
)
"""Function, period and fields of what a round reads."""
MODULE = {"burst": "{source: panel}", "poll_every": "20h", "zone": "UTC"}
"""So seldom that no round begins by itself."""


async def measure() -> list[Figure]:
    figures: list[Figure] = []
    sizes = {"servers": f"E3-1230-16G={SERVERS}", "parking": "16", "resources": ",".join(METRICS)}
    async with databases() as made, sandbox(sizes, MODULE) as panels:
        for number in range(1, SERVERS + 1, 997):  # so that not every counter is zero
            sent = {"rx": 10**12 + number, "tx": 10**10 + number, "burst_in": 12.5, "burst_out": 3.25, "power": 180.5}
            await panels.door("traffic", {"server": str(100 + number), **sent})
        for name in ("sqlite", "postgres"):
            if name == "postgres" and made.no_postgres:
                figures.append(skipped("collection_10000_ratio_postgres", made.no_postgres))
                continue
            label = "" if name == "sqlite" else f"_{name}"
            figures += await _beside_a_bare_client(made, name, label, panels)
            figures += await _of_a_daemon(made, name, label, panels)
    return figures


def _history(settings: Settings) -> History:
    plan = settings.plan("ds-small")
    assert plan is not None
    return History(active=SERVERS, plan=json.dumps(plan.content()))


# beside a bare client ----------------------------------------------------------------------------------------------------------


async def _beside_a_bare_client(made: Databases, name: str, label: str, panels: Panels) -> list[Figure]:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="provisiond-bench-")))
        target: Target = stack.enter_context(made.fresh(name, folder))
        if isinstance(target, SqliteTarget):
            target = SqliteTarget(target.path)  # as in production: every commit reaches the disk
        settings = load(panels.config)
        fill(target, _history(settings))
        store = await Store.open(target, clock=clock)
        stack.push_async_callback(store.close)
        fleet = build_fleet(settings, clock)
        stack.push_async_callback(fleet.close)
        worker = Worker()
        stack.push_async_callback(worker.stop)
        statistics = Statistics(store, clock, settings, lambda: metered(fleet), worker)
        stack.push_async_callback(statistics.close)
        [source] = [source for source, _ in metered(fleet)]
        system = panels.systems["dcimanager"]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        token = await _log_in(session, system)

        async def ours() -> None:
            made_round, _ = await statistics.collector.collect(source)
            if made_round.samples != len(METRICS) * SERVERS or made_round.problems:
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
        at_least(
            f"collection_10000_ratio{label}", rates.ratio, 0.7, "x", spread=rates.spread,
            note=f"a round {took:.2f} s, bare {beside:.2f} s",
        ),
        shown(
            f"collection_10000_cpu{label}", work.ratio, "x", spread=work.spread,
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
) -> dict[str, list[float]]:
    form = {"func": func, "out": "xml", "sok": "ok", "period": period, "auth": token}
    number = int if func == "traffic" else float
    async with session.post(system["url"], data=form) as answer:
        document = fromstring(await answer.read())
    found = {}
    for row in document.iter("elem"):
        server = row.find("id")
        if server is not None:
            elements = [row.find(field) for field in fields]
            found[server.text or ""] = [number(each.get("orig", "")) for each in elements if each is not None]
    return found


# a daemon ----------------------------------------------------------------------------------------------------------------------


async def _of_a_daemon(made: Databases, name: str, label: str, panels: Panels) -> list[Figure]:
    """Rounds asked for over the socket, and the most memory that the process ever held, above what it held before the first one."""
    with TemporaryDirectory(prefix="provisiond-bench-") as place, made.fresh(name, Path(place)) as target:
        fill(target, _history(load(panels.config)))
        state = str(target.path.parent) if isinstance(target, SqliteTarget) else place
        listen = f"127.0.0.1:{_free_port()}"
        change(panels.config, {"listen": listen, "state_dir": state, "database": _database(target, panels.folder)})
        seconds: list[float] = []
        async with daemon(panels.config) as running, AsyncExitStack() as stack:
            running.socket = Path(state) / "provisiond.sock"
            session = await stack.enter_async_context(running.client())
            idle = memory_mib(running.process.pid)
            for _ in range(ROUNDS):
                await asyncio.sleep(seconds[-1] if seconds else 0)  # a panel is left in peace for as long
                begun = time.monotonic()
                answer = await running.call(session, "POST", "/v1/usage/poll")
                seconds.append(time.monotonic() - begun)
                [found] = answer["items"]
                if found["samples"] != len(METRICS) * SERVERS:
                    raise RuntimeError(f"an incomplete round: {found}")
            most = memory_mib(running.process.pid, "VmHWM")
            await running.stop()
    return [
        at_most(
            f"collection_10000_seconds{label}", max(seconds), 60, "s", spread=spread_of(seconds),
            note="of a daemon, the first round included",
        ),
        at_most(
            f"collection_10000_rss{label}", most - idle, 100, "MiB", note=f"its peak above {idle:.0f} MiB idle",
        ),
    ]  # fmt: skip


def _free_port() -> int:
    """One that is free now: the one of the configuration may be taken by the time that a second daemon starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _database(target: Target, folder: Path) -> str:
    """The setting that names it."""
    if isinstance(target, SqliteTarget):
        return "sqlite"
    assert isinstance(target, PostgresTarget)
    secret = folder / "credentials" / "bench-db"
    secret.touch(0o600)
    secret.write_text(target.password or "")
    url = f"postgresql://{target.user}@{quote(target.host, safe='')}:{target.port}/{target.database}"
    return f'{{url: "{url}", password: cred:bench-db}}' if target.password else f'{{url: "{url}"}}'
