"""Rounds of a world's panels, bad reports for some of them, and what is billed for them in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from daemon.app import metered
from daemon.domain.metering import Look, UsageRecord, coverage
from daemon.domain.quality import Quality
from daemon.provisioning.legs import Legs
from daemon.sandbox.panel import Call, Function
from daemon.stats.collection import Round
from daemon.stats.system import Statistics
from tests.modules.spoiled import Rows, spoil
from tests.provisioning.world import Inline, World

RHYTHM = 300.0
MODULE = "dci-main"
OTHER = {"ref": "C-2", "name": "Bo", "email": "b@example.test"}


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc] # year, month, day, hour, minute


async def a_round(w: World, rx: int = 0, tx: int = 0, *, server: str = "101", after: float = RHYTHM) -> Round:
    """Traffic to and from a server during `after` seconds, and the round at their end."""
    w.sandbox.dci.send_traffic(server, rx, tx)
    w.clock.advance(after)
    return await w.statistics.collector.round(MODULE)


async def rounds(w: World, count: int, rx: int = 0, tx: int = 0, *, after: float = RHYTHM) -> None:
    for _ in range(count):
        await a_round(w, rx, tx, after=after)


async def rounds_until(w: World, until: datetime, rx: int = 0, tx: int = 0, *, after: float = RHYTHM) -> None:
    """The last one is at `until`, or the last before it."""
    while w.clock.now() + timedelta(seconds=after) <= until:
        await a_round(w, rx, tx, after=after)


@contextmanager
def bad(w: World, change: Callable[[Rows], Rows], func: str = "traffic") -> Iterator[None]:
    """Within it the report has the rows that `change` makes of the right ones."""
    honest = w.sandbox.dci.functions[func]
    spoil(w.sandbox.dci, func, change)
    try:
        yield
    finally:
        w.sandbox.dci.functions[func] = honest


@contextmanager
def stale(w: World, func: str = "traffic") -> Iterator[None]:
    """Within it the report is the one of now, again and again."""
    account = w.sandbox.dci.accounts.named("provisiond")
    assert account is not None
    old = w.sandbox.dci.functions[func].run(Call(func, {}, account))
    honest, w.sandbox.dci.functions[func] = w.sandbox.dci.functions[func], Function(lambda _: old, admin=False)
    try:
        yield
    finally:
        w.sandbox.dci.functions[func] = honest


def sent(w: World, server: str = "101") -> tuple[int, int]:
    """What really went to and from a server since the world began."""
    traffic = w.server(server).traffic
    return traffic.sent_rx, traffic.sent_tx


async def records(w: World, resource: str = "in", service_id: int = 1) -> list[UsageRecord]:
    """Of one resource, oldest period first."""
    found = await w.store.read.usage_records.page(service_id=service_id, after=0, limit=100)
    return sorted((r for r in found if r.resource == resource), key=lambda r: (r.since, r.revision))


async def billed(w: World, resource: str = "in", service_id: int = 1) -> int | None:
    """The quantity of its only record."""
    (record,) = await records(w, resource, service_id)
    return record.base_quantity


def known(record: UsageRecord) -> str:
    """Its coverage in percent."""
    return str(coverage(record.covered, record.since, record.until))


def unseen(record: UsageRecord) -> timedelta:
    """How much of its period is not known."""
    return record.until - record.since - record.covered


async def points(w: World, metric: str = "in", service_id: int = 1) -> list[tuple[int | None, int | None, str]]:
    """(volume, rate in bit/s, class) of each reading since the start of the service."""
    service = await w.service(service_id)
    terms = await w.statistics.usage.terms(service)
    assert service.billing_from is not None
    ask = terms.ask(terms.billables[metric], service.billing_from, w.clock.now() + timedelta(microseconds=1))
    [line] = await w.statistics.measuring.look([Look(ask, None)])
    return [(point.total, point.maximum, "+".join(point.classes)) for point in line]


async def stored(w: World, metric: str = "in", service_id: int = 1) -> list[str]:
    """The classes of its samples as they were stored."""
    end = w.clock.now() + timedelta(days=1)
    found = await w.statistics.days.series(metric, service_id, moment(2026, 1, 1), end)
    return [Quality.of_code(sample.cls).value for sample in found]


def rate(octets: int, seconds: float = RHYTHM) -> int:
    """bit/s, half away from zero."""
    exact = Fraction(8 * octets) / Fraction(seconds)
    return int(exact + Fraction(1, 2))


async def close_month(w: World) -> list[UsageRecord]:
    """Go on reading until the month that has just ended can be closed, and close it; the new records."""
    before = {r.id for r in await w.store.read.usage_records.page(service_id=None, after=0, limit=100)}
    await rounds_until(w, w.clock.now() + timedelta(hours=4), after=1200)
    await w.statistics.records.close_due()
    found = await w.store.read.usage_records.page(service_id=None, after=0, limit=100)
    return [r for r in found if r.id not in before]


def another_node(w: World) -> Statistics:
    """Metering as another process has it: nothing is known but what is stored."""
    return Statistics(w.store, w.clock, w.fleet.settings, lambda: metered(w.fleet), Inline())


async def start_again(w: World) -> None:
    """The same process after a restart."""
    await w.statistics.close()
    w.statistics = another_node(w)
    w.legs = Legs(w.store, w.clock, w.fleet, w.master, "test", w.statistics)
