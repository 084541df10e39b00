"""What a service used, to look at: totals, and lines of points as fine as the caller wants them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused
from daemon.domain.metering import Look, Measured, Point
from daemon.domain.periods import Grain, Period, period_named
from daemon.domain.resources import Resource
from daemon.stats.measuring import Measuring
from daemon.stats.terms import Book, Terms
from daemon.store.database import Store

Step = Grain | timedelta | None
"""A grain of the billing zone, a length, or each reading."""


@dataclass(frozen=True)
class Used:
    """One resource over [since, until): what would be billed, and its line."""

    resource: Resource
    since: datetime
    until: datetime
    measured: Measured
    points: tuple[Point, ...]


class UsageDesk:
    def __init__(self, store: Store, clock: Clock, measuring: Measuring, book: Book) -> None:
        self._store = store
        self._clock = clock
        self._measuring = measuring
        self._book = book

    async def terms(self, service_id: int) -> Terms:
        """Raises Refused for a service that is not there, or whose module is not."""
        service = await self._store.read.services.get(service_id)
        if service is None:
            raise Refused("not_found", f"there is no service {service_id}", status=404)
        terms = await self._book.one(self._store.read, service)
        if terms is None:
            raise Refused(
                "module_gone", f"service {service_id} is on {service.module}, which is not configured", status=409
            )
        return terms

    async def used(self, terms: Terms, since: datetime, until: datetime, step: Step) -> list[Used]:
        """Every resource of its plan, in the plan's order."""
        asks = [terms.ask(billable, since, until) for billable in terms.billables.values()]
        asks = await self._measuring.filled(asks)
        measured = await self._measuring.measure(asks)
        lines = await self._measuring.look([Look(ask, step) for ask in asks])
        return [
            Used(ask.billable.resource, since, until, found, tuple(points))
            for ask, found, points in zip(asks, measured, lines, strict=True)
        ]

    def span(
        self, terms: Terms, since: datetime | None, until: datetime | None, period: str | None
    ) -> tuple[datetime, datetime] | None:
        """The time that is asked for, within the time in which the service is billed; None for one that never was."""
        service = terms.service
        if service.billing_from is None:
            return None
        if period is not None:
            named = self.named(period, terms.zone)
            since, until = named.since, named.until
        begin = max(since or service.billing_from, service.billing_from)
        end = min(until or self._clock.now(), service.billing_until or self._clock.now())
        if since is not None and until is not None and until < since:
            raise Refused("empty_range", "expected `from` before `until`", status=400)
        return (begin, max(begin, end))

    def named(self, period: str, zone: tzinfo) -> Period:
        return period_named(period, zone, self._clock.now())
