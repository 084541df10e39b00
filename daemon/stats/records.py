"""Usage records: closing periods, correcting what was closed, and proving it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from itertools import takewhile

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused
from daemon.domain.metering import Ask, Measured, UsageRecord, ask_of, basis_of, coverage
from daemon.domain.periods import Grain, Period, buckets
from daemon.domain.quality import FORMULA
from daemon.domain.resources import Resource
from daemon.domain.service import Service
from daemon.stats.measuring import AT_ONCE, Measuring
from daemon.stats.terms import Book, Terms
from daemon.store.database import Store
from daemon.store.repositories import Repositories

BY_HAND = "by_hand"
"""In the basis of a record whose quantity a person has set."""
LATE = "pushed usage came after the period was closed"

log = structlog.get_logger(__name__)


class Proof(StrEnum):
    """What `verify` found."""

    INTACT = "intact"
    """Recomputed from its samples, bit for bit."""
    EXPIRED = "expired"
    """Samples expired, seal intact: they are gone, and the audit log has the record as it is."""
    OTHER_FORMULA = "other_formula"
    """Made by rules of another version; the audit log has the record as it is."""
    BROKEN = "broken"


@dataclass(frozen=True)
class Verdict:
    record: UsageRecord
    proof: Proof
    differences: tuple[str, ...] = ()
    """What is not as it was, as sentences."""


@dataclass(frozen=True)
class Keeping:
    """How records are made: settings of the daemon."""

    grace: timedelta
    coverage_least: int
    samples_keep: timedelta
    evidence_keep: timedelta


class Records:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        measuring: Measuring,
        book: Book,
        resources: Mapping[str, Resource],
        keeping: Keeping,
    ) -> None:
        self._store = store
        self._clock = clock
        self._measuring = measuring
        self._book = book
        self._resources = resources
        self._keeping = keeping

    # closing ---------------------------------------------------------------------------------------------------------------------

    async def final(self, service: Service, until: datetime) -> list[UsageRecord]:
        """The records of everything that is not closed yet, up to the last reading at `until`. Nothing is written."""
        ended = replace(service, billing_until=until)
        terms = await self._book.one(self._store.read, ended)
        if terms is None:
            return []
        return await self._made([(terms, period) for period in _periods(terms, until)])

    async def close_due(self) -> int:
        """Close every period whose sources have passed its end and the grace time; how many records that made."""
        made, after = 0, 0
        while services := await self._store.read.services.to_close(self._clock.now(), after=after, limit=AT_ONCE):
            after = services[-1].id
            made += await self._close(services)
        return made + await self._recount()

    async def _close(self, services: Sequence[Service]) -> int:
        now = self._clock.now()
        marks = await self._store.read.watermarks.all()
        terms = await self._book.of(self._store.read, services)
        ended: list[tuple[Terms, Period]] = []
        later: dict[int, datetime] = {}
        for own in terms.values():
            due = list(takewhile(partial(self._is_over, own, marks), _periods(own, now)))
            ended += [(own, period) for period in due]
            if not due:
                later[own.service.id] = _first_end(own)
        for service in services:
            if service.id not in terms:
                log.warning("usage.not_closed", service=service.id, module=service.module, note="its module is gone")
        async with self._store.transaction() as tx:
            await tx.services.closes_at(later)
        records = await self._made(ended)
        by_service: defaultdict[int, list[UsageRecord]] = defaultdict(list)
        for record in records:
            by_service[record.service_id].append(record)
        count = 0
        for own in {own.service.id: own for own, _ in ended}.values():
            until = max(period.until for terms_of, period in ended if terms_of is own)
            async with self._store.transaction() as tx:
                if await tx.services.close(own.service, until):
                    await tx.usage_records.add(by_service[own.service.id])
                    count += len(by_service[own.service.id])
        if count:
            log.info("usage.closed", services=len(by_service), records=count)
        return count

    def _is_over(self, terms: Terms, marks: Mapping[str, datetime], period: Period) -> bool:
        if self._clock.now() < period.until + terms.late_by + self._keeping.grace:
            return False
        whole = period.until == terms.period(period.since).until or period.until == terms.service.billing_until
        return whole and all(
            name in marks and marks[name] >= period.until + late for name, late in terms.watermarks.items()
        )

    async def _made(self, periods: Sequence[tuple[Terms, Period]]) -> list[UsageRecord]:
        asks = [
            terms.ask(billable, period.since, period.until)
            for terms, period in periods
            for billable in terms.billables.values()
        ]
        asks = await self._measuring.filled(asks)
        measured = await self._measuring.measure(asks)
        return [self._record(ask, found) for ask, found in zip(asks, measured, strict=True)]

    def _record(self, ask: Ask, found: Measured) -> UsageRecord:
        resource = ask.billable.resource
        why = self._why_held(ask, found)
        return UsageRecord(
            id=0,
            service_id=ask.billable.service_id,
            resource=resource.code,
            since=ask.since,
            until=ask.until,
            base_unit=resource.base_unit,
            base_quantity=found.quantity,
            covered=found.covered,
            samples=found.count,
            expected=found.expected,
            classes={quality.value: count for quality, count in found.classes.items()},
            formula=found.formula,
            seal=found.seal,
            held=why is not None,
            aside=found.aside,
            corrected=found.corrected,
            reason=why,
            basis=basis_of(ask),
        )

    def _why_held(self, ask: Ask, found: Measured) -> str | None:
        """Why a person must look at it; None: it can be billed."""
        if found.quantity is None:
            return "nothing is known of it"
        share = coverage(found.covered, ask.since, ask.until)
        if share is not None and share < self._keeping.coverage_least:
            return f"{share} % of the period is known, less than {self._keeping.coverage_least} %"
        unit = ask.billable.resource.base_unit
        if found.aside:
            return f"{found.aside} {unit} are more than the port could carry, and not in it"
        if found.corrected:
            return f"the platform took {found.corrected} {unit} back after they were counted"
        return None

    # correcting ------------------------------------------------------------------------------------------------------------------

    async def revise(
        self, tx: Repositories, record_id: int, quantity: str | None, *, reason: str, author: str
    ) -> UsageRecord:
        """A new revision: with `quantity` (shown units, exact) a corrected one, without it the same, accepted as it is.

        Refused when the record is not there (404), was revised already (409 `revised`), has no quantity to accept, or for a quantity that
        is no whole number of base units.
        """
        record = await tx.usage_records.get(record_id)
        if record is None:
            raise Refused("not_found", f"there is no usage record {record_id}", status=404)
        await tx.services.lock(record.service_id)
        last = await tx.usage_records.last_revision(record.service_id, record.resource, record.since)
        if last is None or last.id != record.id:
            raise Refused(
                "revised",
                f"usage record {record_id} has been revised: see revision {last and last.revision}",
                status=409,
            )
        base = record.base_quantity if quantity is None else self._base(record, quantity)
        if base is None:
            raise Refused("quantity_needed", "nothing is known of this period: say the quantity to bill", status=409)
        basis = {**record.basis, BY_HAND: True} if quantity is not None else record.basis
        revised = replace(
            record,
            base_quantity=base,
            held=False,
            revision=record.revision + 1,
            reason=reason,
            author=author,
            basis=basis,
        )
        await tx.usage_records.add([revised])
        made = await tx.usage_records.last_revision(record.service_id, record.resource, record.since)
        assert made is not None
        return made

    def _base(self, record: UsageRecord, quantity: str) -> int:
        resource = self.resource_of(record)
        try:
            number = Decimal(quantity)
            base = resource.base(number)
        except (InvalidOperation, ValueError) as error:
            raise Refused(
                "quantity",
                f"quantity: expected a number of {resource.unit} that is whole in {resource.base_unit}, got {quantity}",
                status=400,
            ) from error
        if base < 0:
            raise Refused("quantity", f"quantity: expected zero or more, got {quantity}", status=400)
        return base

    async def _recount(self) -> int:
        """New revisions of closed periods for which usage was pushed since."""
        since = self._clock.now() - timedelta(days=1)
        made = 0
        for (service_id, resource), at in (await self._store.read.pushed.counted_since(since)).items():
            for record in await self._store.read.usage_records.of_pushed(service_id, resource, at):
                made += await self._recounted(record)
        return made

    async def _recounted(self, record: UsageRecord) -> int:
        [ask] = await self._measuring.filled([self._ask(record)])
        [found] = await self._measuring.measure([ask])
        if found.seal == record.seal:
            return 0
        fresh = self._record(ask, found)
        by_hand = bool(record.basis.get(BY_HAND))
        why = f"{LATE}; before it, a person had corrected the record" if by_hand else fresh.reason or LATE
        async with self._store.transaction() as tx:
            await tx.services.lock(record.service_id)
            last = await tx.usage_records.last_revision(record.service_id, record.resource, record.since)
            if last is None or last.revision != record.revision:
                return 0
            await tx.usage_records.add(
                [replace(fresh, revision=record.revision + 1, reason=why, held=by_hand or fresh.held)]
            )
        return 1

    # proving ---------------------------------------------------------------------------------------------------------------------

    async def verify(self, records: Sequence[UsageRecord]) -> list[Verdict]:
        """Recompute each from its samples, by what it was made by."""
        asks = await self._measuring.filled([self._ask(record) for record in records])
        measured = await self._measuring.measure(asks)
        return [
            await self._verdict(record, ask, found) for record, ask, found in zip(records, asks, measured, strict=True)
        ]

    async def _verdict(self, record: UsageRecord, ask: Ask, found: Measured) -> Verdict:
        noted = await self._store.read.usage_records.noted(record)
        if not noted:
            return Verdict(record, Proof.BROKEN, ("the audit log does not have it as it is",))
        if record.formula != FORMULA:
            return Verdict(record, Proof.OTHER_FORMULA, (f"made by rules {record.formula}, this build has {FORMULA}",))
        wrong = _differences(record, self._record(ask, found))
        if not wrong:
            return Verdict(record, Proof.INTACT)
        kept = max(self._keeping.samples_keep, self._keeping.evidence_keep)
        if record.since < self._clock.now() - kept:
            return Verdict(record, Proof.EXPIRED, ("samples expired, seal intact",))
        return Verdict(record, Proof.BROKEN, tuple(wrong))

    def _ask(self, record: UsageRecord) -> Ask:
        return ask_of(record.basis, record.service_id, self.resource_of(record), record.since, record.until)

    def resource_of(self, record: UsageRecord) -> Resource:
        """Raises Refused when the settings no longer know the resource."""
        if record.resource not in self._resources:
            raise Refused("unknown_resource", f"the settings no longer have the resource {record.resource}", status=409)
        return self._resources[record.resource]


def _periods(terms: Terms, until: datetime) -> list[Period]:
    """What is not closed yet, month by month; a service that was given back at once has one of no length."""
    service = terms.service
    assert service.billing_from is not None
    begin = service.closed_until or service.billing_from
    end = until if service.billing_until is None else min(until, service.billing_until)
    found = list(buckets(begin, end, Grain.MONTH, terms.zone))
    if not found and service.closed_until is None and service.billing_until is not None:
        return [Period(begin, begin, Grain.MONTH)]
    return found


def _first_end(terms: Terms) -> datetime:
    service = terms.service
    begin = service.closed_until or service.billing_from
    assert begin is not None
    end = terms.period(begin).until
    return end if service.billing_until is None else min(end, service.billing_until)


def _differences(record: UsageRecord, made: UsageRecord) -> list[str]:
    names: Collection[str] = ("covered", "samples", "expected", "aside", "corrected", "seal")
    wrong = [
        f"{name}: {getattr(record, name)} stands in the record, {getattr(made, name)} comes out now"
        for name in names
        if getattr(record, name) != getattr(made, name)
    ]
    if dict(record.classes) != dict(made.classes):
        wrong.append(f"classes: {dict(record.classes)} stand in the record, {dict(made.classes)} come out now")
    if not record.basis.get(BY_HAND) and record.base_quantity != made.base_quantity:
        wrong.append(f"quantity: {record.base_quantity} stands in the record, {made.base_quantity} comes out now")
    return wrong
