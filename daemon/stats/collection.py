"""Collection: each bulk report of a module once a round, kept as samples of the services that are on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, Protocol

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError, Unhealthy
from daemon.domain.quality import NOT_COUNTED, Quality, Reading
from daemon.domain.resources import Kind
from daemon.domain.service import State
from daemon.modules.base import Measurement, Report
from daemon.stats.owners import Owners
from daemon.stats.progress import PER_TURN, Progress
from daemon.stats.rests import Rests
from daemon.stats.terms import Book, Terms
from daemon.store.database import Store
from daemon.store.days.store import DayStore

COUNTED = (State.ACTIVE, State.SUSPENDED)
TRAFFIC = "traffic"
ROUNDS_AT_ONCE = 4
"""Modules that are read at a time: each holds a whole report in memory."""
STALE_AFTER = timedelta(minutes=30)
"""A report that took longer to come is left out: the periods it belongs to may be closed. Its volume comes with the next one."""

LAST_WITHIN = timedelta(days=35)
"""How far back a process that starts looks for the last reading of a service: with an older one every total has begun anew."""
PATIENCE = timedelta(seconds=10)
"""A person who asks for a round waits that long for a panel to be rested."""
INSTANT = timedelta(microseconds=1)
UNCOUNTED = frozenset(quality.code for quality in NOT_COUNTED)

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


Kept = dict[str, dict[int, tuple[int, int]]]
"""Metric -> service -> (value, class)."""
Then = Callable[[Sequence[Terms]], Awaitable[None]]
"""What is done once a round is stored, or brought nothing: alerts."""


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
        self._rests = Rests(store, clock)
        self._seen: dict[str, datetime] = {}
        """Source -> up to when this process has seen its readings."""

    @property
    def modules(self) -> list[str]:
        """Names of the modules that can be polled."""
        return [source.name for source in self._sources() if not source.by_hand]

    def rests_until(self, module: str) -> datetime:
        """Until when a panel is left in peace after its last round here."""
        return self._rests.until(module)

    async def poll(self) -> list[Round]:
        """One round of every module, now; of a panel that is nearly rested, as soon as it is."""
        made = []
        for name in self.modules:
            left = self._rests.until(name) - self._clock.now()
            if timedelta() < left <= PATIENCE:
                await self._clock.sleep(left / timedelta(seconds=1))
            made.append(await self.round(name))
        return made

    async def round(self, module: str) -> Round:
        """One round of one module, and what follows from it; what went wrong on the platform is in `problems`, and logged.

        None begins before the last one has ended for as long as it took: a panel that is slow is asked more rarely.
        """
        source = next(source for source in self._sources() if source.name == module)
        refusal = await self._rests.begin(module)
        if refusal is not None:
            return self._told(Round(module, problems=(refusal,)))
        try:
            async with self._turns:
                await self._rests.goes_on(module, begins=True)
                made, terms = await self.collect(source)
        finally:
            await self._rests.end(module)
        if self._then is not None:  # after a round that brought nothing as well: the time without readings grows
            await self._progress.catch_up(terms)
            await self._then(list(terms.values()))
        return self._told(made)

    async def collect(self, source: Source) -> tuple[Round, Mapping[int, Terms]]:
        """Every report that gives something that is sold, into the store."""
        terms = await self._terms(source.name)
        sold = frozenset(metric for own in terms.values() for metric in own.meters)
        reports = [
            report.name
            for report in source.reports()
            if report.name == TRAFFIC
            or not sold.isdisjoint(report.resources)  # traffic tells whether the panel is well
        ]
        marks = await self._store.read.watermarks.all() if reports else {}
        tally = Tally()
        async with aclosing(self._answers(source, reports)) as answers:
            async for answer in answers:
                tally.problems += answer.problems
                if answer.found is not None:
                    await self._keep(source.name, answer.report, answer.found, terms, marks, tally)
        if tally.missing:
            tally.problems.append(f"{tally.missing} services have no reading")
        if tally.problems:
            first = tally.problems[:10]
            log.warning("collection.incomplete", module=source.name, problems=first, count=len(tally.problems))
        return tally.round(source.name), terms

    # asking ----------------------------------------------------------------------------------------------------------------------

    async def _answers(self, source: Source, reports: Sequence[str]) -> AsyncGenerator[_Answer, None]:
        """One after the other; while the caller is busy with one, the next is on its way.

        Who cannot be asked for traffic is ill, and asked for nothing more; the other reports are extras.
        """
        coming: asyncio.Task[_Answer] | None = None
        try:
            for report, following in zip_longest(reports, reports[1:]):
                coming = coming or asyncio.create_task(self._asked(source, report))
                answer, coming = await coming, None
                if following is not None and not answer.ill:
                    coming = asyncio.create_task(self._asked(source, following))
                yield answer
                if answer.ill:
                    return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait({coming})

    async def _asked(self, source: Source, report: str) -> _Answer:
        await self._rests.goes_on(source.name)
        try:
            found = await source.measure(report, self._clock.now())
        except ProvisiondError as error:
            log.warning("collection.failed", module=source.name, report=report, code=error.code, error=error.message)
            ill = isinstance(error, Unhealthy) and report == TRAFFIC
            if ill:
                async with self._store.transaction() as tx:
                    await tx.module_health.ill(source.name, error.code, error.message)
            return _Answer(report, problems=(error.message,), ill=ill)
        if self._clock.now() - found.at > STALE_AFTER:
            return _Answer(
                report, problems=(f"the report {report} took more than {STALE_AFTER} to come, and is left out",)
            )
        return _Answer(report, found, found.problems)

    # keeping ---------------------------------------------------------------------------------------------------------------------

    async def _keep(
        self,
        module: str,
        report: str,
        each: Measurement,
        terms: Mapping[int, Terms],
        marks: Mapping[str, datetime],
        tally: Tally,
    ) -> None:
        # read now: a server may have changed hands while the panel worked
        on_it = await self._store.read.services.on_module(module, COUNTED)
        await asyncio.sleep(0)
        owners = tally.owners_now({one: remote_id for one, remote_id in on_it if one in terms}, terms)
        await asyncio.sleep(0)
        await self._remember(f"{module}/{report}", each, terms, marks)
        try:
            kept = await self._classed(each, owners, tally)
            await self._days.append(each.at, module, kept)
        except BaseException:
            self._progress.forget(owners.servers)  # the meters would stand on readings that nobody has
            raise
        self._seen[f"{module}/{report}"] = max(each.at, self._seen.get(f"{module}/{report}", each.at))
        tally.add(each, kept)
        async with self._store.transaction() as tx:
            await tx.watermarks.move({f"{module}/{report}": each.at})
            if report == TRAFFIC:
                await tx.module_health.well(module)

    def _told(self, made: Round) -> Round:
        self._observe(made)
        return made

    async def _terms(self, module: str) -> dict[int, Terms]:
        """Of the services that are on the module now."""
        ids = [service_id for service_id, _ in await self._store.read.services.on_module(module, COUNTED)]
        known = self._progress.terms(ids)
        missing = [service_id for service_id in ids if service_id not in known]
        for start in range(0, len(missing), PER_TURN):
            services = await self._store.read.services.many(missing[start : start + PER_TURN])
            fresh = await self._book.of(self._store.read, services)
            self._progress.know(fresh.values())
            known |= fresh
        self._progress.keep_only(module, known.keys())
        return known

    async def _remember(
        self, source: str, each: Measurement, terms: Mapping[int, Terms], marks: Mapping[str, datetime]
    ) -> None:
        """What this process has not seen: readings of other nodes, and at the start the last one of each service."""
        seen, mark = self._seen.get(source), marks.get(source)
        if seen is not None and mark is not None and seen < mark:
            for metric in each.values:
                await self._take_in(metric, terms, seen, mark)
            self._seen[source] = mark
        for metric in each.values:
            unknown = [one for one in self._progress.without(metric, terms) if metric in terms[one].meters]
            if unknown:
                await self._look_back(metric, unknown, each.at, terms[unknown[0]].meters[metric].kind)

    async def _look_back(self, metric: str, service_ids: Sequence[int], at: datetime, kind: Kind) -> None:
        found = await self._days.last(metric, service_ids, at, at - LAST_WITHIN)
        counted = {one: Reading(s.at, kind.total(s.value)) for one, s in found.items() if s.cls not in UNCOUNTED}
        self._progress.remember(metric, service_ids, counted)

    async def _take_in(self, metric: str, terms: Mapping[int, Terms], seen: datetime, mark: datetime) -> None:
        ids = [one for one, own in terms.items() if metric in own.meters]
        for start in range(0, len(ids), PER_TURN):
            found = await self._days.bulk(metric, ids[start : start + PER_TURN], seen + INSTANT, mark)
            for service_id, columns in found.items():
                kind = terms[service_id].meters[metric].kind
                for sample in columns.samples():
                    if sample.cls not in UNCOUNTED:
                        self._progress.take(service_id, metric, Reading(sample.at, kind.total(sample.value)))
            await asyncio.sleep(0)

    async def _classed(self, each: Measurement, owners: Owners, tally: Tally) -> Kept:
        """Of those whose plan counts the metric. A row under another server's name is not counted, whoever's reading that is."""
        strangers = owners.strangers(each)
        tally.problems += owners.told(strangers)
        kept: Kept = {}
        for metric, found in each.values.items():
            await asyncio.sleep(0)
            services, servers = owners.of(metric)
            read = zip(services, map(found.get, servers), strict=True)
            own = [(one, total) for one, total in read if total is not None]
            foreign: dict[int, tuple[int, int]] = {}
            if strangers:
                theirs = {one for one, remote_id in zip(services, servers, strict=True) if remote_id in strangers}
                foreign = {one: (total, Quality.FOREIGN.code) for one, total in own if one in theirs}
                own = [(one, total) for one, total in own if one not in theirs]
            tally.missing = max(tally.missing, len(services) - len(own) - len(foreign))
            kept[metric] = foreign | await self._progress.take_all(metric, each.at, own)
            if owners.kind(metric) is Kind.COUNTER64:
                kept[metric] = {one: (Kind.COUNTER64.stored(total), cls) for one, (total, cls) in kept[metric].items()}
        return kept


@dataclass(frozen=True)
class _Answer:
    """`found` None: it did not come, or is of no use."""

    report: str
    found: Measurement | None = None
    problems: tuple[str, ...] = ()
    ill: bool = False


class Tally:
    """What a round brought, counted as it comes."""

    def __init__(self) -> None:
        self.servers: set[str] = set()
        self.problems: list[str] = []
        self.samples = self.missing = 0
        self._classes: Counter[int] = Counter()
        self._owners: Owners | None = None

    def owners_now(self, servers: dict[int, str], terms: Mapping[int, Terms]) -> Owners:
        """Those of the last report, where nothing has changed since."""
        if self._owners is None or self._owners.servers != servers:
            self._owners = Owners(servers, terms)
        return self._owners

    def add(self, each: Measurement, kept: Kept) -> None:
        self.servers.update(*each.values.values())
        for found in kept.values():
            self.samples += len(found)
            self._classes.update([code for _, code in found.values()])

    def round(self, module: str) -> Round:
        classes = {Quality.of_code(code).value: count for code, count in self._classes.items()}
        return Round(
            module,
            len(self.servers),
            self.samples,
            self.missing,
            tuple(self.problems),
            dict(sorted(classes.items())),
        )
