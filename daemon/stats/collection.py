"""Collection: each bulk report of a module once a round, kept as samples of the services that are on it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError, Unhealthy
from daemon.domain.quality import NOT_COUNTED, Quality, Reading
from daemon.domain.resources import Kind
from daemon.domain.service import State
from daemon.modules.base import Measurement, Report
from daemon.stats.progress import Progress
from daemon.stats.rests import Rests
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
        """One round of one module; what went wrong on the platform is in `problems`, and logged.

        None begins before the last one has ended for as long as it took: a panel that is slow is asked more rarely.
        """
        source = next(source for source in self._sources() if source.name == module)
        refusal = await self._rests.begin(module)
        if refusal is not None:
            return self._told(Round(module, problems=(refusal,)))
        try:
            async with self._turns:
                await self._rests.goes_on(module, begins=True)
                return self._told(await self._round(source))
        finally:
            await self._rests.end(module)

    async def _round(self, source: Source) -> Round:
        terms = await self._terms(source.name)
        sold = frozenset(metric for own in terms.values() for metric in own.meters)
        measured, problems = await self._measured(source, sold)
        if not measured:
            await self._looked(terms)
            return Round(source.name, problems=tuple(problems))
        await self._remember(source.name, measured, terms)
        # read again: a server may have changed hands while the panel worked
        on_it = await self._store.read.services.on_module(source.name, COUNTED)
        owners = Owners({one: remote_id for one, remote_id in on_it if one in terms}, terms)
        tally = Tally()
        for report, each in measured:
            problems += each.problems
            problems += owners.mixed_up(each)
            kept = await self._classed(each, owners)
            try:
                await self._days.append(each.at, source.name, kept)
            except BaseException:
                self._progress.forget(owners.servers)  # the meters would stand on readings that nobody has
                raise
            tally.add(each, kept, owners)
            name = f"{source.name}/{report}"
            self._seen[name] = max(each.at, self._seen.get(name, each.at))
        await self._noted(source.name, measured)
        if tally.missing:
            problems.append(f"{tally.missing} services have no reading")
        if problems:
            log.warning("collection.incomplete", module=source.name, problems=problems[:10], count=len(problems))
        await self._looked(terms)
        return tally.round(source.name, problems)

    def _told(self, made: Round) -> Round:
        self._observe(made)
        return made

    async def _looked(self, terms: Mapping[int, Terms]) -> None:
        """After a round that brought nothing as well: the time without readings grows."""
        if self._then is not None:
            await self._progress.catch_up(terms)
            await self._then(list(terms.values()))

    async def _noted(self, module: str, measured: Sequence[tuple[str, Measurement]]) -> None:
        async with self._store.transaction() as tx:
            await tx.watermarks.move({f"{module}/{report}": each.at for report, each in measured})
            if any(report == TRAFFIC for report, _ in measured):
                await tx.module_health.well(module)

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

    async def _measured(self, source: Source, sold: frozenset[str]) -> tuple[list[tuple[str, Measurement]], list[str]]:
        """Every report that gives something that is sold. Who cannot be asked for traffic is ill; the other reports are extras."""
        measured: list[tuple[str, Measurement]] = []
        problems: list[str] = []
        for report in source.reports():
            if sold.isdisjoint(report.resources):
                continue
            await self._rests.goes_on(source.name)
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
            if seen is not None and mark is not None and seen < mark:
                for metric in each.values:
                    await self._take_in(metric, terms, seen, mark)
                self._seen[name] = mark
            for metric in each.values:
                await self._look_back(metric, terms, each.at)

    async def _look_back(self, metric: str, terms: Mapping[int, Terms], at: datetime) -> None:
        unknown = [one for one in self._progress.without(metric, terms.keys()) if metric in terms[one].meters]
        if unknown:
            found = await self._days.last(metric, unknown, at, at - LAST_WITHIN)
            kinds = {one: terms[one].meters[metric].kind for one in found}
            counted = {
                one: Reading(s.at, kinds[one].total(s.value)) for one, s in found.items() if s.cls not in UNCOUNTED
            }
            self._progress.remember(metric, unknown, counted)

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

    async def _classed(self, each: Measurement, owners: Owners) -> Kept:
        """Of those whose plan counts the metric. A server under another one's name is not counted, whoever's reading that is."""
        strangers = owners.strangers(each)
        kept: Kept = {}
        for metric, found in each.values.items():
            of_metric = kept[metric] = {}
            counted = [
                (service_id, found[remote_id])
                for service_id, remote_id in owners.of(metric)
                if remote_id in found and remote_id not in strangers
            ]
            of_metric |= await self._progress.take_all(metric, each.at, counted)
            for service_id, remote_id in owners.of(metric) if strangers else ():
                if remote_id in found and remote_id in strangers:
                    of_metric[service_id] = (found[remote_id], Quality.FOREIGN.code)
            if owners.kind(metric) is Kind.COUNTER64:
                kept[metric] = {one: (Kind.COUNTER64.stored(total), cls) for one, (total, cls) in of_metric.items()}
        return kept


class Owners:
    """Whose readings a report's rows are."""

    def __init__(self, servers: Mapping[int, str], terms: Mapping[int, Terms]) -> None:
        """`servers`: service -> the platform's id of its server."""
        self.servers = servers
        self._terms = terms
        self._of: dict[str, list[tuple[int, str]]] = {}
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        """Host name -> servers of that name: two customers may choose the same."""
        for service_id, remote_id in servers.items():
            self._named[terms[service_id].service.hostname].add(remote_id)

    def of(self, metric: str) -> list[tuple[int, str]]:
        """(service, server) of the services whose plan counts the metric."""
        if metric not in self._of:
            self._of[metric] = [
                (one, remote_id) for one, remote_id in self.servers.items() if metric in self._terms[one].meters
            ]
        return self._of[metric]

    def kind(self, metric: str) -> Kind | None:
        """The same for all of them; None: nobody's plan counts the metric."""
        return self._terms[self.of(metric)[0][0]].meters[metric].kind if self.of(metric) else None

    def strangers(self, each: Measurement) -> dict[str, str]:
        """Server -> the name in its row, where that is the name of another server of ours."""
        ours = set(self.servers.values())
        return {
            remote_id: name
            for remote_id, name in each.hostnames.items()
            if remote_id in ours and name in self._named and remote_id not in self._named[name]
        }

    def mixed_up(self, each: Measurement) -> list[str]:
        """The same for people."""
        return [
            f"server {remote_id}: its row is named {name}, as server {min(self._named[name])} is"
            for remote_id, name in self.strangers(each).items()
        ]


class Tally:
    """What a round brought, counted as it comes."""

    def __init__(self) -> None:
        self.servers: set[str] = set()
        self.samples = self.missing = 0
        self._classes: Counter[int] = Counter()

    def add(self, each: Measurement, kept: Kept, owners: Owners) -> None:
        self.servers.update(*each.values.values())
        for metric, found in kept.items():
            self.samples += len(found)
            self.missing = max(self.missing, len(owners.of(metric)) - len(found))
            self._classes.update(code for _, code in found.values())

    def round(self, module: str, problems: Sequence[str]) -> Round:
        classes = {Quality.of_code(code).value: count for code, count in self._classes.items()}
        return Round(
            module, len(self.servers), self.samples, self.missing, tuple(problems), dict(sorted(classes.items()))
        )
