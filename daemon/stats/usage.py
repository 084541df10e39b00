"""What a service used, to look at: totals, and lines of points as fine as the caller wants them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused
from daemon.domain.metering import Billable, Look, Measured, Source
from daemon.domain.periods import Grain, Period, period_named
from daemon.domain.resources import Resource
from daemon.domain.service import Service
from daemon.stats.drawing import Beside, Drawing, Drawn, Form, beside_of
from daemon.stats.measuring import Measuring
from daemon.stats.terms import Book, Terms
from daemon.store.database import Store

Step = Grain | timedelta | None
"""A grain of the billing zone, a length, or each reading."""

MOST_POINTS = 100_000
"""Of one line: a year of five minutes."""
GOOD_MANY = 2000
"""Points that a screen can show."""
LADDER: tuple[Grain | timedelta, ...] = (
    *(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30)),
    Grain.HOUR,
    *(timedelta(hours=hours) for hours in (2, 6)),
    Grain.DAY,
    Grain.WEEK,
    Grain.MONTH,
)
"""Steps to choose from where the caller names none."""
_ABOUT = {Grain.HOUR: 1, Grain.DAY: 24, Grain.WEEK: 168, Grain.MONTH: 672, Grain.QUARTER: 2160, Grain.HALF_YEAR: 4344, Grain.YEAR: 8760}  # fmt: skip
"""Hours of the shortest one."""


@dataclass(frozen=True)
class Span:
    """[since, until): the time that is looked at."""

    since: datetime
    until: datetime

    @property
    def empty(self) -> bool:
        return self.since >= self.until


@dataclass(frozen=True)
class Used:
    """One resource over a span: what would be billed, and its line."""

    billable: Billable
    beside: Beside | None
    measured: Measured
    line: Drawn


class UsageDesk:
    def __init__(self, store: Store, clock: Clock, measuring: Measuring, book: Book) -> None:
        self._store = store
        self._clock = clock
        self._measuring = measuring
        self._book = book

    async def terms(self, service: Service) -> Terms:
        """Raises Refused for a service whose module is not configured."""
        terms = await self._book.one(self._store.read, service)
        if terms is None:
            raise Refused(
                "module_gone",
                f"service {service.id} is on {service.module}, which is not configured: nobody knows what its readings mean."
                f" Its usage records are still there",
                status=409,
            )
        return terms

    async def sold(self, service: Service) -> list[Resource]:
        """What its plan counts, in the plan's order."""
        return await self._book.sold(self._store.read, service)

    def beside(self, resource: Resource) -> Beside | None:
        """What the rates or levels of a resource are shown in."""
        return beside_of(resource, self._book.resources)

    async def used(self, terms: Terms, span: Span, step: Step, form: Form) -> list[Used]:
        """Every resource of its plan, in the plan's order."""
        _check_number(span, step)
        asks = [terms.ask(billable, span.since, span.until) for billable in terms.billables.values()]
        drawings = [
            Drawing(Look(ask, step, terms.zone), form, self.beside(ask.billable.resource), measured=True)
            for ask in await self._measuring.filled(asks)
        ]
        lines = await self._measuring.draw(drawings)
        return [
            Used(drawing.look.ask.billable, drawing.beside, line.measured, line)
            for drawing, line in zip(drawings, lines, strict=True)
            if line.measured is not None
        ]

    async def line(self, terms: Terms, metric: str, span: Span, step: Grain | timedelta, form: Form) -> Drawn:
        """Of one resource or metric, as fine as `step`."""
        _check_number(span, step)
        (ask,) = await self._measuring.filled([terms.ask(self._billable(terms, metric), span.since, span.until)])
        drawing = Drawing(Look(ask, step, terms.zone), form, self.beside(ask.billable.resource))
        (line,) = await self._measuring.draw([drawing])
        return line

    async def samples(self, terms: Terms, metric: str, span: Span, form: Form) -> Drawn:
        """Every sample as it is stored, both ends of the span included."""
        if metric not in terms.meters:
            self._billable(terms, metric)
            raise _no_metric(f"{metric} is computed, pushed or configured: nothing is read for it", terms.meters)
        ask = terms.ask(self._read(terms, metric), span.since, span.until)
        (line,) = await self._measuring.draw([Drawing(Look(ask, None, terms.zone), form, samples=True)])
        return line

    def among(self, sold: Mapping[str, Resource], metric: str) -> Resource:
        """The same for a service that was never billed: of what its plan counts."""
        if metric not in sold:
            raise _no_metric(f"{metric} is not counted for this service", sold)
        return sold[metric]

    def resource(self, terms: Terms, metric: str) -> Resource:
        """Raises Refused for what this service has not."""
        return self._billable(terms, metric).resource

    def _billable(self, terms: Terms, metric: str) -> Billable:
        if metric in terms.billables:
            return terms.billables[metric]
        if metric in terms.meters:
            return self._read(terms, metric)
        raise _no_metric(f"{metric} is not counted for this service", {**terms.billables, **terms.meters})

    def _read(self, terms: Terms, metric: str) -> Billable:
        return Billable(terms.service.id, self._book.resources[metric], (Source(metric, terms.meters[metric]),))

    def span(self, terms: Terms, since: datetime | None, until: datetime | None, period: str | None) -> Span:
        """The time that is asked for, within the time in which the service is billed. Raises Refused."""
        service, now = terms.service, self._clock.now()
        if period is not None:
            named = self.named(period, terms.zone)
            since, until = named.since, named.until
        check_range(since, until)
        assert service.billing_from is not None
        begin = max(since or service.billing_from, service.billing_from)
        end = min(until or now, service.billing_until or now)
        return Span(begin, max(begin, end))

    def named(self, period: str, zone: tzinfo) -> Period:
        try:
            return period_named(period, zone, self._clock.now())
        except Refused as error:
            errors = [{"field": "period", "code": "period", "message": error.message}]
            raise Refused(error.code, error.message, status=error.status, errors=errors) from None

    def good_step(self, terms: Terms, metric: str, span: Span) -> Grain | timedelta:
        """Not finer than the readings, and not more points than a screen can show."""
        rhythm = max((source.meter.rhythm for source in self._billable(terms, metric).sources), default=timedelta())
        good = (step for step in LADDER if length_of(step) >= rhythm and _number(span, step) <= GOOD_MANY)
        return next(good, Grain.YEAR)


def check_range(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and until < since:
        message = "expected a time after `from`"
        errors = [{"field": "until", "code": "empty_range", "message": message}]
        raise Refused("empty_range", f"until: {message}", status=400, errors=errors)


def length_of(step: Grain | timedelta) -> timedelta:
    return timedelta(hours=_ABOUT[step]) if isinstance(step, Grain) else step


def _number(span: Span, step: Grain | timedelta) -> int:
    return (span.until - span.since) // length_of(step)


def _check_number(span: Span, step: Step) -> None:
    if step is not None and _number(span, step) > MOST_POINTS:
        message = f"expected one that gives at most {MOST_POINTS} points; this gives {_number(span, step)}"
        errors = [{"field": "resolution", "code": "resolution", "message": message}]
        raise Refused("resolution", f"resolution: {message}", status=400, errors=errors)


def _no_metric(what: str, known: Mapping[str, object]) -> Refused:
    message = f"{what}; expected {'one of ' if len(known) > 1 else ''}{', '.join(sorted(known)) or 'another service'}"
    errors = [{"field": "metric", "code": "no_metric", "message": message}]
    return Refused("no_metric", message, status=400, errors=errors)
