"""Collection: each bulk report of a module once a round, kept as samples of the services that are on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError, Unhealthy
from daemon.domain.quality import Quality, Reading
from daemon.domain.service import State
from daemon.modules.base import Measurement, Report
from daemon.stats.progress import Progress
from daemon.stats.terms import Book, Terms
from daemon.store.database import Store
from daemon.store.days.store import DayStore

COUNTED = (State.ACTIVE, State.SUSPENDED)
TRAFFIC = "traffic"
PER_TURN = 500
"""Readings that are classed before others get their turn."""
ROUNDS_AT_ONCE = 4
"""Modules that are read at a time: each holds a whole report in memory."""
STALE_AFTER = timedelta(minutes=30)
"""A report that took longer to come is left out: the periods it belongs to may be closed. Its volume comes with the next one."""

LAST_WITHIN = timedelta(days=2)
"""How far back a process that starts looks for the last reading of a service."""
INSTANT = timedelta(microseconds=1)

log = structlog.get_logger(__name__)


class Source(Protocol):
    """What collection needs of a module."""

    name: str
    by_hand: bool

    def reports(self) -> tuple[Report, ...]: ...

    async def measure(self, report: str, at: datetime) -> Measurement: ...


@dataclass(frozen=True)
class Round:
    """What one round brought. `problems` are sentences; a server without a reading keeps its volume for the next round."""

    module: str
    servers: int = 0
    samples: int = 0
    missing: int = 0
    problems: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    """Quality class -> how many of the samples."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "servers": self.servers,
            "samples": self.samples,
            "missing": self.missing,
            "problems": list(self.problems),
            "classes": dict(self.classes),
        }


Then = Callable[[Sequence[Terms]], Awaitable[None]]
"""What is done once a round is stored: alerts."""


class Collector:
    """Polls modules. A round that fails changes nothing: the running totals carry its volume into the next one."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        days: DayStore,
        book: Book,
        progress: Progress,
        sources: Callable[[], Iterable[Source]],
        observe: Callable[[Round], None] = lambda _round: None,
        then: Then | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._days = days
        self._book = book
        self._progress = progress
        self._sources = sources
        self._observe = observe
        self._then = then
        self._turns = asyncio.Semaphore(ROUNDS_AT_ONCE)
        self._resting: dict[str, datetime] = {}
        """Until when a panel is left in peace."""
        self._seen: dict[str, datetime] = {}
        """Source -> its last reading that this process has seen."""

    @property
    def modules(self) -> list[str]:
        """Names of the modules that can be polled."""
        return [source.name for source in self._sources() if not source.by_hand]

    async def poll(self) -> list[Round]:
        """One round of every module, now."""
        return [await self.round(name) for name in self.modules]

    async def round(self, module: str) -> Round:
        """One round of one module; what went wrong on the platform is in `problems`, and logged.

        None begins before the last one has ended for as long as it took: a panel that is slow is asked more rarely.
        """
        source = next(source for source in self._sources() if source.name == module)
        resting = self._resting.get(module)
        if resting is not None and self._clock.now() < resting:
            return self._told(
                Round(module, problems=(f"{module} is slow, and left in peace until {resting.isoformat()}",))
            )
        async with self._turns:
            began = self._clock.now()
            try:
                return self._told(await self._round(source))
            finally:
                ended = self._clock.now()
                self._resting[module] = ended + (ended - began)

    async def _round(self, source: Source) -> Round:
        terms = await self._terms(source.name)
        sold = frozenset(metric for own in terms.values() for metric in own.meters)
        measured, problems = await self._measured(source, sold)
        if not measured:
            return Round(source.name, problems=tuple(problems))
        await self._remember(source.name, measured, terms)
        on_it = dict(await self._store.read.services.on_module(source.name, COUNTED))
        servers: set[str] = set()
        samples, missing, classes = 0, 0, Counter[Quality]()
        for report, each in measured:
            own = {one: remote_id for one, remote_id in on_it.items() if one in terms}
            problems += each.problems
            servers.update(*each.values.values())
            kept = await self._classed(each, own, terms)
            await self._days.append(each.at, source.name, kept)
            samples += sum(len(found) for found in kept.values())
            classes.update(Quality.of_code(code) for found in kept.values() for _, code in found.values())
            missing = max([missing, *_missing(each, own, terms)])
            problems += self._mixed_up(each, own, terms)
            self._seen[f"{source.name}/{report}"] = each.at
        async with self._store.transaction() as tx:
            await tx.watermarks.move({f"{source.name}/{report}": each.at for report, each in measured})
            if any(report == TRAFFIC for report, _ in measured):
                await tx.module_health.well(source.name)
        if missing:
            problems.append(f"{missing} services have no reading")
        if problems:
            log.warning("collection.incomplete", module=source.name, problems=problems[:10], count=len(problems))
        if self._then is not None:
            await self._progress.catch_up()
            await self._then(list(terms.values()))
        counts = {quality.value: count for quality, count in sorted(classes.items())}
        return Round(source.name, len(servers), samples, missing, tuple(problems), counts)

    def _told(self, made: Round) -> Round:
        self._observe(made)
        return made

    async def _terms(self, module: str) -> dict[int, Terms]:
        """Of the services that are on the module now."""
        ids = [service_id for service_id, _ in await self._store.read.services.on_module(module, COUNTED)]
        known = self._progress.terms(ids)
        missing = [service_id for service_id in ids if service_id not in known]
        if missing:
            fresh = await self._book.of(self._store.read, await self._store.read.services.many(missing))
            self._progress.know(fresh.values())
            known |= fresh
        self._progress.keep_only(module, known.keys())
        return known

    async def _measured(self, source: Source, sold: frozenset[str]) -> tuple[list[tuple[str, Measurement]], list[str]]:
        """Every report that gives something that is sold. Who cannot be asked for traffic is ill; the other reports are extras."""
        measured: list[tuple[str, Measurement]] = []
        problems: list[str] = []
        for report in source.reports():
            if sold.isdisjoint(report.resources):
                continue
            try:
                found = await source.measure(report.name, self._clock.now())
            except ProvisiondError as error:
                log.warning(
                    "collection.failed", module=source.name, report=report.name, code=error.code, error=error.message
                )
                problems.append(error.message)
                if isinstance(error, Unhealthy) and report.name == TRAFFIC:
                    async with self._store.transaction() as tx:
                        await tx.module_health.ill(source.name, error.code, error.message)
                    return [], problems
                continue
            if self._clock.now() - found.at > STALE_AFTER:
                problems.append(f"the report {report.name} took more than {STALE_AFTER} to come, and is left out")
                continue
            measured.append((report.name, found))
        return measured, problems

    async def _remember(
        self, module: str, measured: Sequence[tuple[str, Measurement]], terms: Mapping[int, Terms]
    ) -> None:
        """What this process has not seen: readings of other nodes, and at the start the last one of each service."""
        marks = await self._store.read.watermarks.all()
        for report, each in measured:
            name = f"{module}/{report}"
            seen, mark = self._seen.get(name), marks.get(name)
            for metric in each.values:
                if seen is not None and mark is not None and seen < mark < each.at:
                    await self._take_in(metric, terms, seen, mark)
                unknown = self._progress.without(metric, terms.keys())
                if unknown:
                    found = await self._days.last(metric, unknown, each.at, each.at - LAST_WITHIN)
                    self._progress.remember(metric, {one: Reading(s.at, s.value) for one, s in found.items()})

    async def _take_in(self, metric: str, terms: Mapping[int, Terms], seen: datetime, mark: datetime) -> None:
        ids = [one for one, own in terms.items() if metric in own.meters]
        for service_id, columns in (await self._days.bulk(metric, ids, seen + INSTANT, mark)).items():
            for sample in columns.samples():
                reading = Reading(sample.at, sample.value)
                self._progress.take(service_id, metric, reading, terms[service_id].meters[metric])

    async def _classed(
        self, each: Measurement, own: Mapping[int, str], terms: Mapping[int, Terms]
    ) -> dict[str, dict[int, tuple[int, int]]]:
        """Metric -> service -> (value, class), of those whose plan counts the metric."""
        names = {terms[service_id].service.hostname: remote_id for service_id, remote_id in own.items()}
        kept: dict[str, dict[int, tuple[int, int]]] = {}
        count = 0
        for metric, found in each.values.items():
            of_metric = kept.setdefault(metric, {})
            for service_id, remote_id in own.items():
                meter = terms[service_id].meters.get(metric)
                if meter is None or remote_id not in found:
                    continue
                count += 1
                if count % PER_TURN == 0:
                    await asyncio.sleep(0)
                total = found[remote_id]
                if names.get(each.hostnames.get(remote_id, ""), remote_id) != remote_id:
                    of_metric[service_id] = (total, Quality.FOREIGN.code)
                    continue
                quality = self._progress.take(service_id, metric, Reading(each.at, total), meter)
                of_metric[service_id] = (total, quality.code)
        return kept

    def _mixed_up(self, each: Measurement, own: Mapping[int, str], terms: Mapping[int, Terms]) -> list[str]:
        """Rows that carry the name of another server of ours: not counted, whoever's they are."""
        names = {terms[service_id].service.hostname: remote_id for service_id, remote_id in own.items()}
        return [
            f"server {remote_id}: its row is named {name}, as server {names[name]} is"
            for remote_id, name in each.hostnames.items()
            if remote_id in own.values() and names.get(name, remote_id) != remote_id
        ]


def _missing(each: Measurement, own: Mapping[int, str], terms: Mapping[int, Terms]) -> list[int]:
    """For each metric, how many services it is counted for have no reading."""
    return [
        sum(1 for one, remote_id in own.items() if remote_id not in found and metric in terms[one].meters)
        for metric, found in each.values.items()
    ]
