"""Days of samples: a round of 10 000 servers, closing a day of them, percentiles of a month, three months of one series.

Run alone: `python -m tests.benchmarks.days [sqlite|postgres] [whole_day|month|long_series]`. Takes some minutes for each database.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg

from daemon.domain.clock import SystemClock
from daemon.domain.metering import Ask, Billable, Source
from daemon.domain.quality import Meter
from daemon.domain.resources import RESOURCES, Kind
from daemon.stats import crunch
from daemon.stats.measuring import AT_ONCE, Measuring
from daemon.stats.worker import Worker
from daemon.store.database import Store
from daemon.store.days import codec
from daemon.store.days.store import DayStore
from daemon.store.targets import PostgresTarget, SqliteTarget, Target
from tests.benchmarks.databases import Databases, databases
from tests.benchmarks.figures import Figure, alternating, at_most, machine, shown, skipped, spread_of

START = datetime(2026, 1, 1, tzinfo=UTC)
SLOT = timedelta(minutes=5)
SLOTS = 288
SERVERS, MONTH_SERVERS, MONTH_DAYS = 10_000, 1_000, 30
LONG_DAYS = 92
METRICS = ("in", "out", "power", "burst_in_day", "burst_out_day")

Ints = npt.NDArray[np.int64]


@asynccontextmanager
async def opened(target: Target, folder: Path) -> AsyncIterator[tuple[DayStore, Measuring]]:
    store, worker = await Store.open(target, clock=SystemClock()), Worker()
    days = DayStore.of(store, folder, crunch.crunching(worker))
    try:
        yield days, Measuring(store, days, worker)
    finally:
        await days.close()
        await worker.stop()
        await store.close()


def rates(random: np.random.Generator, servers: int, slots: int) -> Ints:
    """Bytes per five minutes: a server's own mean around 20 Mbit/s, a day's swing of its own hour and depth, noise of a quarter."""
    mean = random.lognormal(np.log(20e6 / 8 * 300), 1.2, (servers, 1))
    hour = np.arange(slots) / SLOTS + random.normal(0, 0.1, (servers, 1))
    swing = 1 + random.uniform(0.3, 0.9, (servers, 1)) * np.sin(2 * np.pi * hour)
    return (mean * swing * random.lognormal(0, 0.25, (servers, slots))).astype(np.int64)


def a_day(random: np.random.Generator, servers: int) -> dict[str, Ints]:
    """Running totals of traffic in bytes, watts, and the highest bit/s of each five minutes."""
    ins, outs = rates(random, servers, SLOTS), rates(random, servers, SLOTS)
    watts = 150 + 40 * random.standard_normal((servers, 1)) + 25 * np.sin(2 * np.pi * np.arange(SLOTS) / SLOTS)
    return {
        "in": random.integers(0, 2**44, (servers, 1)) + np.cumsum(ins, axis=1),
        "out": random.integers(0, 2**44, (servers, 1)) + np.cumsum(outs, axis=1),
        "power": (watts + random.normal(0, 5, (servers, SLOTS))).astype(np.int64),
        "burst_in_day": (ins * 8 // 300 * random.uniform(1, 2, (servers, SLOTS))).astype(np.int64),
        "burst_out_day": (outs * 8 // 300 * random.uniform(1, 2, (servers, SLOTS))).astype(np.int64),
    }


async def whole_day(name: str, target: Target, folder: Path) -> list[Figure]:
    random = np.random.default_rng(1)
    data = a_day(random, SERVERS)
    async with opened(target, folder) as (days, _):
        appends = []
        for slot in range(SLOTS):
            at = START + slot * SLOT + timedelta(microseconds=int(random.integers(0, 3_000_000)))
            reading = {
                metric: {n + 1: (value, 0) for n, value in enumerate(values[:, slot].tolist())}
                for metric, values in data.items()
            }
            begin = perf_counter()
            await days.append(at, "dci", reading)
            appends.append(perf_counter() - begin)
        (day,) = await days.days()
        begin = perf_counter()
        last = await days.last("in", range(1, SERVERS + 1), START + timedelta(days=1))
        open_last = perf_counter() - begin
        longest = _Longest()
        watch = asyncio.create_task(longest.run())
        begin = perf_counter()
        await days.close_day(START.date())
        closing = perf_counter() - begin
        watch.cancel()
        (closed,) = await days.days()
        for service in (1, 77, SERVERS):
            for metric, values in data.items():
                found = await days.series(metric, service, START, START + timedelta(days=1))
                assert [sample.value for sample in found] == values[service - 1].tolist()
        begin = perf_counter()
        assert await days.last("in", range(1, SERVERS + 1), START + timedelta(days=1)) == last
        closed_last = perf_counter() - begin
    return [
        at_most(f"days append {name}", statistics.median(appends), 1, "s", spread=spread_of(appends)),
        shown(f"days open {name}", day.bytes / 1e6, "MB"),
        at_most(
            f"days closing {name}", closing, 60, "s", note=f"loop held for {longest.seconds * 1000:.0f} ms at most"
        ),
        at_most(f"days closed {name}", closed.bytes / 1e6, 60, "MB"),
        shown(f"days last {name}", closed_last, "s", note=f"10 000 services; of an open day {open_last:.2g} s"),
    ]


class _Longest:
    """The longest time for which the loop was held up."""

    seconds = 0.0

    async def run(self) -> None:
        while True:
            begin = perf_counter()
            await asyncio.sleep(0.001)
            self.seconds = max(self.seconds, perf_counter() - begin - 0.001)


async def month(name: str, target: Target, folder: Path) -> list[Figure]:
    random = np.random.default_rng(2)
    data = np.cumsum(rates(random, MONTH_SERVERS, MONTH_DAYS * SLOTS), axis=1)
    services = range(1, MONTH_SERVERS + 1)
    until = START + timedelta(days=MONTH_DAYS)
    source = Source("in", Meter(Kind.RUNNING_TOTAL, SLOT))
    asks = [Ask(Billable(n, RESOURCES["burst_in_day"], (source,)), START, until, START, until) for n in services]
    oracle = [percentile_of(row) for row in data.tolist()]
    async with opened(target, folder) as (days, measuring):
        await _fill(days, data)

        async def measured(sealed: bool) -> float:
            """In batches of services; the next one is read while the worker has this one."""
            begin = perf_counter()
            batches = [asks[first : first + AT_ONCE] for first in range(0, MONTH_SERVERS, AT_ONCE)]
            found = await asyncio.gather(*(measuring.measure(batch, sealed=sealed) for batch in batches))
            results["ours"] = [measured.quantity for batch in found for measured in batch]
            return perf_counter() - begin

        async def ours() -> float:
            return await measured(sealed=False)

        async def bare() -> float:
            script = f"import sys; from tests.benchmarks.days import bare; bare({_bare_source(target, folder)!r})"
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
            out, _ = await process.communicate()
            seconds, _, checksum = out.decode().partition(" ")
            results["bare"] = int(checksum)
            return float(seconds)

        results: dict[str, Any] = {}
        await ours()  # starts the worker
        pairs = await alternating(ours, bare)
        assert results["ours"] == oracle
        assert results["bare"] == sum(oracle)
        sealing = [await measured(sealed=True) for _ in range(3)]
        assert results["ours"] == oracle
    return [
        at_most(f"days percentiles {name}", statistics.median(pairs.ours), 10, "s", spread=spread_of(pairs.ours)),
        at_most(f"days percentiles/bare {name}", pairs.ratio, 2, "x", spread=pairs.spread),
        shown(
            f"days sealed {name}", statistics.median(sealing), "s", spread=spread_of(sealing), note="with usage records"
        ),
    ]


async def _fill(days: DayStore, data: Ints, closed: int | None = None) -> None:
    """A row for each service; so many days closed, or all."""
    for slot in range(data.shape[1]):
        values = data[:, slot].tolist()
        await days.append(START + slot * SLOT, "dci", {"in": {n: (v, 0) for n, v in enumerate(values, 1)}})
    for number in range(data.shape[1] // SLOTS if closed is None else closed):
        await days.close_day(START.date() + timedelta(days=number))


def percentile_of(totals: list[int]) -> int:
    """In big integers, by the rule as it is written: bit/s half away from zero, the value of rank n - floor(5n / 100)."""
    bits = sorted((16 * (after - before) + 300) // 600 for before, after in pairwise(totals))
    return bits[len(bits) - 5 * len(bits) // 100 - 1]


def _bare_source(target: Target, folder: Path) -> str:
    return target_url(target) if isinstance(target, PostgresTarget) else str(folder / "samples")


def target_url(target: PostgresTarget) -> str:
    return f"postgresql://{target.user}:{target.password or ''}@{target.host}:{target.port}/{target.database}"


def bare(source: str) -> None:
    """What a script without our rules would do: every payload of the month, decoded, the differences and one partition per service."""
    begin = perf_counter()
    values: dict[int, list[Ints]] = {}
    for service, payload in _payloads(source):
        values.setdefault(service, []).append(_decoded(payload))
    total = 0
    for parts in values.values():
        numbers = (np.diff(np.concatenate(parts)) * 16 + 300) // 600
        rank = len(numbers) - 5 * len(numbers) // 100
        total += int(np.partition(numbers, rank - 1)[rank - 1])
    print(perf_counter() - begin, total)


def _decoded(payload: bytes) -> Ints:
    """One series of the format of `codec`, plainly: plane by plane, only what is not zero added up."""
    assert zlib.crc32(memoryview(payload)[4:]) == int.from_bytes(payload[:4], "little")
    _, order, flags, count, _, _, base = codec.HEAD.unpack_from(payload, 4)
    position = 4 + codec.HEAD.size + 8 * order
    firsts = np.frombuffer(payload, "<u8", order, position - 8 * order)
    assert not flags
    _, position = _plane(payload, position, count)
    planes = np.zeros((count - order, 8), dtype=np.uint8)
    for number in range(8):
        plane, position = _plane(payload, position, count - order)
        if not isinstance(plane, int) or plane:
            planes[:, number] = plane
    numbers = planes.reshape(-1).view("<u8")
    numbers += np.uint64(base & 2**64 - 1)
    for first in firsts[::-1]:
        whole = np.empty(len(numbers) + 1, dtype=np.uint64)
        whole[0], whole[1:] = first, numbers
        numbers = np.cumsum(whole, dtype=np.uint64)
    return numbers.view(np.int64)


def _plane(payload: bytes, position: int, length: int) -> tuple[Any, int]:
    """The bytes, or the one that all of them are; and where the next plane begins."""
    kind, begin = payload[position], position + 1
    if kind == codec.CONSTANT:
        return payload[begin], begin + 1
    if kind == codec.STORED:
        return np.frombuffer(payload, np.uint8, length, begin), begin + length
    end = begin + 4 + int.from_bytes(payload[begin : begin + 4], "little")
    return np.frombuffer(zlib.decompress(payload[begin + 4 : end], wbits=-15), np.uint8), end


def _payloads(source: str) -> Any:
    if source.startswith("postgresql:"):
        with psycopg.connect(source) as server:
            yield from server.execute(
                "SELECT part, payload FROM sample_slot WHERE kind = 1 AND metric = 'in' ORDER BY day"
            )
        return
    for path in sorted(Path(source).glob("*.db")):
        db = sqlite3.connect(path)
        yield from db.execute("SELECT service, payload FROM series WHERE metric = 'in'")
        db.close()


async def long_series(name: str, target: Target, folder: Path) -> list[Figure]:
    """One service of 128 over three months; the last day is open."""
    random = np.random.default_rng(3)
    data = np.cumsum(rates(random, 128, LONG_DAYS * SLOTS), axis=1)
    async with opened(target, folder) as (days, _):
        await _fill(days, data, closed=LONG_DAYS - 1)
        took = []
        for service in range(1, 22):
            begin = perf_counter()
            found = await days.series("in", service, START, START + timedelta(days=LONG_DAYS))
            took.append(perf_counter() - begin)
            assert len(found) == LONG_DAYS * SLOTS
            assert all(after.at > before.at for before, after in pairwise(found))
            assert [sample.value for sample in found] == data[service - 1].tolist()
    return [
        at_most(
            f"days series {name}", statistics.median(took) * 1000, 150, "ms", spread=spread_of(took), note="92 days"
        )
    ]


PARTS: dict[str, Callable[[str, Target, Path], Coroutine[Any, Any, list[Figure]]]] = {
    part.__name__: part for part in (whole_day, month, long_series)
}


async def measure(names: Sequence[str] = ("sqlite", "postgres"), parts: Sequence[str] = tuple(PARTS)) -> list[Figure]:
    found: list[Figure] = []
    async with databases() as there:
        for name in names:
            if name == "postgres" and there.postgres is None:
                found.append(skipped(f"days {name}", there.no_postgres))
                continue
            for part in parts:
                found += await _fresh(there, name, part)
    return found


async def _fresh(there: Databases, name: str, part: str) -> list[Figure]:
    with TemporaryDirectory(prefix="provisiond-days-") as folder, there.fresh(name, Path(folder)) as target:
        assert isinstance(target, SqliteTarget | PostgresTarget)
        return await PARTS[part](name, target, Path(folder))


def main() -> None:
    print(machine())
    names = [name for name in sys.argv[1:] if name not in PARTS] or ["sqlite", "postgres"]
    parts = [name for name in sys.argv[1:] if name in PARTS] or list(PARTS)
    for figure in asyncio.run(measure(names, parts)):
        print(figure.line())


if __name__ == "__main__":
    main()
