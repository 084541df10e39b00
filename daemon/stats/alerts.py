"""Alerts: what customers hear of their usage while a period runs, and operators of readings that are missing.

What was told is kept with the service, in the transaction that puts the mail into the outbox, with the row of the service locked and its
state read again: two nodes, a crash, or a start in between can neither send a mail twice nor lose one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo

import structlog

from daemon.domain.alerts import AlertState, CoverageState, Wanted, next_alerts, next_coverage_alert
from daemon.domain.clock import Clock
from daemon.domain.errors import Refused
from daemon.domain.metering import Ask, Billable
from daemon.domain.periods import Period, name_of
from daemon.domain.service import State
from daemon.settings.loader import Settings
from daemon.stats.letters import Low, Passed, Used, coverage_key, coverage_letter, usage_key, usage_letter
from daemon.stats.measuring import AT_ONCE, Measuring
from daemon.stats.progress import Progress
from daemon.stats.terms import Terms
from daemon.store.alerts import ServiceAlerts
from daemon.store.database import Store
from daemon.store.repositories import Repositories

TOLD_AT_ONCE = 100
"""Services whose mails go into one transaction."""
PER_TURN = 50
"""Services that are looked at before others get their turn: a few milliseconds."""
RECOVERED = 5
"""Thousandths above the least coverage, from which on a fall is told again."""

log = structlog.get_logger(__name__)

Also = Callable[[Repositories, ServiceAlerts], Awaitable[None]]
"""What the caller wants in the same transaction, such as keeping the answer under its Idempotency-Key."""


@dataclass(frozen=True)
class _Watched:
    """How much of the part of a period that should be known by now is covered by readings."""

    terms: Terms
    period: str
    covered: timedelta
    length: timedelta


class _Calendar:
    """The periods that run at one moment, each worked out once: most services share a zone."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._periods: dict[tzinfo, Period] = {}
        self._names: dict[tuple[datetime, tzinfo], str] = {}

    def period(self, own: Terms) -> Period:
        found = self._periods.get(own.zone)
        if found is None:
            found = self._periods[own.zone] = own.period(self.now)
        return found

    def begin(self, own: Terms) -> datetime:
        """Since when the service is counted in it."""
        since = self.period(own).since
        return max(since, own.service.billing_from or since)

    def name(self, period: Period, zone: tzinfo) -> str:
        key = (period.since, zone)
        if key not in self._names:
            self._names[key] = name_of(period, zone)
        return self._names[key]

    def used(self, own: Terms, code: str, period: Period, quantity: int | None) -> Used:
        month = self.name(period, own.zone)
        return Used(own.billables[code].resource, period, month, own.zone, own.included[code], quantity)


async def _in_turns(ids: Iterable[int]) -> AsyncIterator[int]:
    """Each of them, letting others run in between."""
    for number, one in enumerate(ids, 1):
        yield one
        if number % PER_TURN == 0:
            await asyncio.sleep(0)


class AlertDesk:
    def __init__(
        self, store: Store, clock: Clock, progress: Progress, measuring: Measuring, settings: Settings
    ) -> None:
        self._store = store
        self._clock = clock
        self._progress = progress
        self._measuring = measuring
        self._settings = settings
        self._least = settings.daemon.coverage_alert

    # after each round ------------------------------------------------------------------------------------------------------------

    async def look(self, terms: Sequence[Terms]) -> None:
        """Tell what the services of one module have passed since the last round, a part of them at a time."""
        fallen: dict[int, _Watched] = {}
        calendar = _Calendar(self._clock.now())
        for start in range(0, len(terms), AT_ONCE):
            part = {own.service.id: own for own in terms[start : start + AT_ONCE]}
            fallen |= await self._look(part, calendar)
        if fallen:
            await self._tell_operators(terms[0].service.module or "", fallen)

    async def _look(self, terms: Mapping[int, Terms], calendar: _Calendar) -> dict[int, _Watched]:
        """Those whose coverage fell or recovered; what concerns customers is told here."""
        used = await self._used(terms, calendar)
        kept = await self._store.read.alerts.of(terms)
        passed = [one async for one in _in_turns(used) if _judged(kept[one], used[one])[1] != kept[one]]
        for start in range(0, len(passed), TOLD_AT_ONCE):
            await self._tell_customers({one: used[one] for one in passed[start : start + TOLD_AT_ONCE]})
        fallen: dict[int, _Watched] = {}
        async for one in _in_turns(terms):
            found = self._watched(terms[one], calendar)
            if found is not None and self._covered(kept[one], found)[1] != kept[one]:
                fallen[one] = found
        return fallen

    # usage, for customers --------------------------------------------------------------------------------------------------------

    async def _used(self, terms: Mapping[int, Terms], calendar: _Calendar) -> dict[int, list[Used]]:
        """Of those who have something included: what is known of each resource so far."""
        found: defaultdict[int, list[Used]] = defaultdict(list)
        for one, used in [*await self._counted(terms, calendar), *await self._measured(terms, calendar)]:
            found[one].append(used)
        return found

    async def _counted(self, terms: Mapping[int, Terms], calendar: _Calendar) -> list[tuple[int, Used]]:
        """Counters: known in memory, and what was pushed beside them."""
        known = [
            (one, own, code, so_far)
            for one, own in terms.items()
            for code, so_far in self._progress.so_far(one).items()
            if code in own.included and _is_counted(own.billables[code])
        ]
        periods: defaultdict[Period, set[int]] = defaultdict(set)
        for one, _, _, so_far in known:
            periods[so_far.period].add(one)
        read = self._store.read.alerts
        pushed = {period: await read.pushed(ids, period.since, period.until) for period, ids in periods.items()}
        found = []
        for one, own, code, so_far in known:
            beside = pushed[so_far.period].get((one, code))
            quantity = so_far.quantity if beside is None else (so_far.quantity or 0) + beside
            found.append((one, calendar.used(own, code, so_far.period, quantity)))
        return found

    async def _measured(self, terms: Mapping[int, Terms], calendar: _Calendar) -> list[tuple[int, Used]]:
        """Everything else, as it would be billed if the period ended now."""
        asks: list[Ask] = []
        for own in terms.values():
            begin = calendar.begin(own)
            others = [own.billables[code] for code in own.included if not _is_counted(own.billables[code])]
            asks += [own.ask(one, begin, calendar.now) for one in others if begin < calendar.now]
        if not asks:
            return []
        measured = await self._measuring.measure(await self._measuring.filled(asks), sealed=False)
        found = []
        for ask, answer in zip(asks, measured, strict=True):
            own = terms[ask.billable.service_id]
            used = calendar.used(own, ask.billable.resource.code, calendar.period(own), answer.quantity)
            found.append((own.service.id, used))
        return found

    async def _tell_customers(self, used: Mapping[int, Sequence[Used]]) -> None:
        """State and mail in one transaction; what another node has told meanwhile is seen under the lock."""
        now = self._clock.now()
        async with self._store.transaction() as tx:
            kept = await tx.alerts.locked(used)
            judged = {one: _judged(kept[one], own) for one, own in used.items()}
            await tx.alerts.keep({one: after for one, (_, after) in judged.items() if after != kept[one]})
            told = {one: passed for one, (passed, _) in judged.items() if passed}
            services = await tx.services.many(sorted(told))
            customers = await tx.orders.customers(sorted({service.customer_id for service in services}))
            for service in services:
                letter = usage_letter(customers[service.customer_id], service, told[service.id], now)
                await tx.outbox.put(usage_key(service.id, told[service.id]), "customer_mail", letter)
        for one, passed in told.items():
            log.info("alerts.usage", service=one, passed=[each.key for each in passed])

    # coverage, for operators -----------------------------------------------------------------------------------------------------

    def _watched(self, own: Terms, calendar: _Calendar) -> _Watched | None:
        """The metric of which least is known. Time in which readings may still come is left out."""
        period, length = calendar.period(own), calendar.now - calendar.begin(own)
        found = [
            _Watched(
                own,
                calendar.name(period, own.zone),
                so_far.covered if so_far.period == period else timedelta(),
                length - (own.billables[code].resource.late_by if code in own.billables else own.late_by),
            )
            for code, so_far in self._progress.so_far(own.service.id).items()
        ]
        return min(found, key=lambda one: one.covered - one.length, default=None)

    def _covered(self, kept: ServiceAlerts, watched: _Watched) -> tuple[bool, ServiceAlerts]:
        """Whether to tell of it, and what is to be kept; that nothing is amiss needs no keeping."""
        before = kept.coverage or CoverageState(watched.period)
        below = 10 * self._least
        told, after = next_coverage_alert(
            before.for_period(watched.period),
            watched.covered,
            watched.length,
            below=below,
            again_from=min(below + RECOVERED, 1000),
        )
        return told, replace(kept, coverage=after) if before.low or after.low else kept

    async def _tell_operators(self, module: str, watched: Mapping[int, _Watched]) -> None:
        """One mail for all services of the module that fell in this round."""
        own = self._settings.module(module)
        department = own.responsible if own is not None else None
        low: list[Low] = []
        async with self._store.transaction() as tx:
            kept = await tx.alerts.locked(watched)
            changed: dict[int, ServiceAlerts] = {}
            async for one in _in_turns(watched):
                found = watched[one]
                told, after = self._covered(kept[one], found)
                if after != kept[one]:
                    changed[one] = after
                if told:
                    low.append(Low(found.terms.service, found.covered, found.length))
            await tx.alerts.keep(changed)
            if low and department is not None:
                letter = coverage_letter(department, module, low, self._least)
                await tx.outbox.put(coverage_key(module, low, self._clock.now()), "department_mail", letter)
        if low:
            named = [one.service.id for one in low[:10]]
            log.warning("alerts.coverage", module=module, services=named, count=len(low), least=self._least)

    # switches --------------------------------------------------------------------------------------------------------------------

    async def alerts(self, service_id: int) -> ServiceAlerts:
        """Raises Refused for a service that is not there."""
        if await self._store.read.services.get(service_id) is None:
            raise _no_service(service_id)
        return (await self._store.read.alerts.of([service_id]))[service_id]

    async def switch(
        self, service_id: int, changes: Mapping[str, bool], *, actor: str, reason: str, also: Also | None = None
    ) -> ServiceAlerts:
        """Set some of the switches of a service; those that are not named stay. Raises Refused for a released one."""
        async with self._store.transaction() as tx:
            service = await tx.services.get(service_id)
            if service is None:
                raise _no_service(service_id)
            if service.state is State.RELEASED:
                raise Refused("released", f"service {service_id} is released: nothing is counted any more", status=409)
            kept = (await tx.alerts.locked([service_id]))[service_id]
            after = replace(kept, wanted=kept.wanted.changed(changes))
            if after != kept:
                await tx.alerts.keep({service_id: after})
                await _switched(tx, service_id, kept.wanted, after.wanted, actor, reason)
            if also is not None:
                await also(tx, after)
        return after


async def _switched(tx: Repositories, service_id: int, before: Wanted, after: Wanted, actor: str, reason: str) -> None:
    await tx.events.add(
        "service.alerts",
        service_id=service_id,
        actor=actor,
        reason=reason,
        before=before.as_dict(),
        after=after.as_dict(),
    )


def _no_service(service_id: int) -> Refused:
    return Refused("no_service", f"there is no service {service_id}", status=404)


def _is_counted(billable: Billable) -> bool:
    """A volume read by one meter: it is known in memory."""
    code = billable.resource.code
    return billable.resource.kind.counts_up and [source.metric for source in billable.sources] == [code]


def _judged(kept: ServiceAlerts, used: Sequence[Used]) -> tuple[list[Passed], ServiceAlerts]:
    """What to tell, and what is to be kept afterwards; equal to `kept` where nothing is to be written."""
    passed, sent = [], dict(kept.sent)
    for one in used:
        code, month = one.resource.code, one.month
        before = sent.get(code, AlertState(month))
        if month < before.period:
            continue  # this process has not seen yet that a period ended
        switches = kept.wanted.switches(one.included.step)
        alerts, after = next_alerts(before.for_period(month), one.quantity, one.included.amount, switches)
        if not after.blank or (before.period == month and not before.blank):
            sent[code] = after
        if alerts:
            passed.append(Passed(one, alerts))
    return passed, replace(kept, sent=sent)
