"""Usage records: closing periods, correcting what was closed, and proving it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import partial
from itertools import takewhile
from typing import Any

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused, Temporary
from daemon.domain.metering import Ask, Measured, UsageRecord, ask_of, basis_of, coverage
from daemon.domain.periods import Grain, Period, buckets
from daemon.domain.quality import FORMULA
from daemon.domain.resources import Resource, UnitError
from daemon.domain.service import Service
from daemon.stats.measuring import AT_ONCE, Measuring
from daemon.stats.terms import SCALE, UNIT, Book, Terms, as_made
from daemon.store.database import Store
from daemon.store.days.store import day_at
from daemon.store.events import stream_of
from daemon.store.repositories import Repositories
from daemon.store.usage import line_of

BY_HAND = "by_hand"
"""In the basis of a record whose quantity a person has set."""
PUSHED, DOUBT = "pushed", "doubt"
"""Further entries of a basis: how many pushed events are counted, and why it was held whatever was measured."""
WAIT = timedelta(days=3)
"""How long a period that could be closed waits for a source that is behind. A report that died on a Friday evening can be mended on
Monday, and the bills of a month still go out in its first week."""
LATE = "pushed usage came after the period was closed"
LATE_AND_LOST = f"{LATE}, and it can't be recomputed any more: say the quantity to bill"
EXPIRED = "samples expired, seal intact"
LATE_MARK = "usage/late"
"""In the watermarks: up to when pushed usage was looked through for what came late."""
LATE_MARGIN = timedelta(minutes=10)
"""A transaction that pushes usage may be committed so long after the time that it writes."""
MOST = 2**63 - 1
"""The largest quantity that a record can hold."""

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


@dataclass(frozen=True)
class Due:
    """A period to be closed. `behind`: sources that have not passed its end, and their last reading."""

    terms: Terms
    period: Period
    behind: Mapping[str, datetime | None] = field(default_factory=dict)

    def doubt(self, resource: str) -> str | None:
        """Why a person must look at its record, whatever was measured."""
        doubt = self.terms.doubts.get(resource)
        late = sorted(self.terms.rests_on.get(resource, frozenset()) & self.behind.keys())
        if doubt is None and late:
            return f"its source {late[0]} has brought nothing {_since(self.behind[late[0]])}"
        return doubt


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
        self._told: set[object] = set()
        """What was logged already: each thing that keeps periods open is told once."""
        self._begun = clock.now()
        self._remembered = False

    # closing ---------------------------------------------------------------------------------------------------------------------

    async def final(self, service: Service, until: datetime) -> list[UsageRecord]:
        """The records of everything that is not closed yet, up to the last reading at `until`. Nothing is written."""
        ended = replace(service, billing_until=until)
        terms = await self._book.one(self._store.read, ended)
        if terms is None:
            return []
        return await self._made([Due(terms, period) for period in _periods(terms, until)])

    async def close_due(self) -> int:
        """Close every period whose sources have passed its end and the grace time; how many records that made.

        A service is closed as a whole: where one source is behind, all its resources wait for it, at most `WAIT`. Then what rests on it
        is held. So one moment says up to when a service is billed, which days of samples may go, and a customer gets one bill a month.
        """
        if not self._remembered:
            await self._book.remember(self._store)
            self._remembered = True
        made, after = 0, 0
        while services := await self._store.read.services.to_close(self._clock.now(), after=after, limit=AT_ONCE):
            after = services[-1].id
            made += await self._close_or_tell(services)
        return made + await self._recount()

    async def _close_or_tell(self, services: Sequence[Service]) -> int:
        """A service that can't be closed is told, and holds up no other."""
        try:
            return await self._close(services)
        except Temporary:
            raise
        except Exception:
            if len(services) == 1:
                log.exception("usage.not_closed", service=services[0].id)
                return 0
        return sum([await self._close_or_tell([service]) for service in services])

    async def _close(self, services: Sequence[Service]) -> int:
        marks = await self._store.read.watermarks.all()
        terms = await self._book.of(self._store.read, services)
        gone = [service for service in services if service.id not in terms]
        self._tell_gone(gone)
        terms |= await self._book.without_module(self._store.read, gone)
        self._tell_doubts(terms.values())
        ended = self._ended(terms.values(), marks)
        await self._tell_late(ended)
        by_service: defaultdict[int, list[UsageRecord]] = defaultdict(list)
        for record in await self._made(ended):
            by_service[record.service_id].append(record)
        until = {due.terms.service.id: due.period.until for due in ended}  # the last period of each
        count = 0
        for service_id, closed_until in until.items():
            async with self._store.transaction() as tx:
                if await tx.services.close(terms[service_id].service, closed_until):
                    await tx.usage_records.add(by_service[service_id])
                    count += len(by_service[service_id])
        await self._look_later([own for own in terms.values() if own.service.id not in until])
        if count:
            log.info("usage.closed", services=len(until), records=count)
        return count

    def _ended(self, terms: Iterable[Terms], marks: Mapping[str, datetime]) -> list[Due]:
        """Periods to be closed, each service's in order."""
        now = self._clock.now()
        found: list[Due] = []
        waiting: Counter[tuple[str, datetime]] = Counter()
        for own in terms:
            over = list(takewhile(partial(self._is_over, own), _periods(own, now)))
            dues = [Due(own, period, _behind(own, period, marks)) for period in over]
            done = list(takewhile(self._waits_no_longer, dues))
            found += done
            if len(done) < len(dues):
                first = dues[len(done)]
                waiting.update((source, first.period.until) for source in first.behind)
        for (source, until), count in waiting.items():
            if self._first_time((source, until)):
                log.warning("usage.waits", source=source, last=marks.get(source), until=until, services=count)
        return found

    def _waits_no_longer(self, due: Due) -> bool:
        """A daemon that has just been started asks its panels first: it may have been off for longer than `WAIT`."""
        if not due.behind:
            return True
        asked = self._begun + due.terms.late_by + self._keeping.grace
        return self._clock.now() >= max(asked, self._closes_at(due.terms, due.period.until) + WAIT)

    def _is_over(self, terms: Terms, period: Period) -> bool:
        whole = period.until == terms.period(period.since).until or period.until == terms.service.billing_until
        return whole and self._clock.now() >= self._closes_at(terms, period.until)

    def _closes_at(self, terms: Terms, until: datetime) -> datetime:
        return until + terms.late_by + self._keeping.grace

    async def _look_later(self, terms: Sequence[Terms]) -> None:
        moments = {own.service.id: self._closes_at(own, _first_end(own)) for own in terms}
        # The moment of those that wait is kept as well: by it they are counted.
        later = {one: at for one, at in moments.items() if at > self._clock.now() or self._first_time((one, at))}
        if later:
            async with self._store.transaction() as tx:
                await tx.services.closes_at(later)

    def _tell_gone(self, services: Sequence[Service]) -> None:
        """Nobody knows what their readings mean; their periods wait for the module to be in the settings again."""
        for module in sorted({service.module or "" for service in services}):
            own = [service.id for service in services if (service.module or "") == module]
            if new := [service_id for service_id in own if self._first_time(service_id)]:
                log.warning("usage.module_gone", module=module, services=new)

    def _tell_doubts(self, terms: Iterable[Terms]) -> None:
        """What the settings don't have any more, or not enough of."""
        counts = Counter((code, why) for own in terms for code, why in own.doubts.items())
        for (code, why), count in counts.items():
            if self._first_time((code, why)):
                log.warning("usage.in_doubt", resource=code, why=why, services=count)

    async def _tell_late(self, dues: Sequence[Due]) -> None:
        """Before they are closed: that periods are closed without a source is not to be missed."""
        counts: Counter[tuple[str, datetime]] = Counter()
        letters: dict[str, dict[str, str]] = {}
        for due in dues:
            for source, last in due.behind.items():
                until = due.period.until
                counts[source, until] += 1
                if due.terms.department is not None:
                    letters[f"usage-late:{source}:{until.isoformat()}"] = _letter(
                        due.terms.department, source, last, until
                    )
        for (source, until), count in counts.items():
            log.warning("usage.closed_without", source=source, until=until, services=count)
        if letters:
            async with self._store.transaction() as tx:
                for key, letter in letters.items():
                    await tx.outbox.put(key, "department_mail", letter)

    def _first_time(self, told: object) -> bool:
        new = told not in self._told
        self._told.add(told)
        return new

    async def _made(self, dues: Sequence[Due]) -> list[UsageRecord]:
        asks, doubts = [], []
        for due in dues:
            for code, billable in due.terms.billables.items():
                asks.append(due.terms.ask(billable, due.period.since, due.period.until))
                doubts.append(due.doubt(code))
        asks = await self._measuring.filled(asks)
        measured = await self._measuring.measure(asks)
        return [self._record(*one) for one in zip(asks, measured, doubts, strict=True)]

    def _record(self, ask: Ask, found: Measured, doubt: str | None = None) -> UsageRecord:
        """`doubt`: why it is held whatever was measured. It stays in the basis, for revisions that the daemon makes."""
        resource = ask.billable.resource
        why = "; ".join(filter(None, (doubt, self._why_held(ask, found)))) or None
        basis = {**basis_of(ask), PUSHED: len(ask.pushed), SCALE: resource.scale, UNIT: resource.unit}
        if doubt is not None:
            basis[DOUBT] = doubt
        return UsageRecord(
            id=0,
            service_id=ask.billable.service_id,
            resource=resource.code,
            since=ask.since,
            until=ask.until,
            base_unit=resource.base_unit,
            base_quantity=None if _too_large(found) else found.quantity,
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
            basis=basis,
        )

    def _why_held(self, ask: Ask, found: Measured) -> str | None:
        """Why a person must look at it; None: it can be billed."""
        if found.quantity is None:
            return "nothing is known of it"
        if _too_large(found):
            return f"{found.quantity} {ask.billable.resource.base_unit} are more than a record can hold"
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

    async def get(self, record_id: int) -> UsageRecord:
        """Raises Refused for one that is not there."""
        return _found(await self._store.read.usage_records.get(record_id), record_id)

    async def revise(
        self, tx: Repositories, record_id: int, quantity: str | None, *, reason: str, author: str
    ) -> UsageRecord:
        """A new revision: with `quantity` (shown units, exact) a corrected one, without it the same, accepted as it is.

        Refused when the record is not there (404), was revised already or has nothing to accept (409), or for a quantity that is no whole
        number of base units (422).
        """
        record = _found(await tx.usage_records.get(record_id), record_id)
        await tx.services.lock(record.service_id)
        last = await tx.usage_records.last_revision(record.service_id, record.resource, record.since)
        if last is None or last.id != record.id:
            raise Refused("revised", f"usage record {record_id} has been revised: see {last and last.id}", status=409)
        if quantity is None and not record.held:
            raise Refused("not_held", f"usage record {record_id} waits for nobody: it is billed as it is", status=409)
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
        await tx.usage_records.add([revised], reason=reason)
        made = await tx.usage_records.last_revision(record.service_id, record.resource, record.since)
        assert made is not None
        return made

    def _base(self, record: UsageRecord, quantity: str) -> int:
        resource = self.resource_of(record)
        try:
            base = resource.base(Decimal(quantity))
        except (InvalidOperation, UnitError):
            base = -1
        if not 0 <= base <= MOST:
            why = (
                f"expected a number of {resource.unit} that is whole in {resource.base_unit}, from 0 on; got {quantity}"
            )
            error = {"field": "quantity", "code": "not_whole", "message": why}
            raise Refused("quantity", f"quantity: {why}", errors=[error])
        return base

    async def _recount(self) -> int:
        """New revisions of closed periods for which usage was pushed since."""
        now = self._clock.now()
        mark = (await self._store.read.watermarks.all()).get(LATE_MARK, datetime(1970, 1, 1, tzinfo=UTC))
        late = await self._store.read.pushed.late_since(mark - LATE_MARGIN if mark.year > 1970 else mark)
        made = 0
        for (service_id, resource), at in late.items():
            for record in await self._store.read.usage_records.of_pushed(service_id, resource, at):
                made += await self._recounted(record)
        async with self._store.transaction() as tx:
            await tx.watermarks.move({LATE_MARK: now})
        return made

    async def _recounted(self, record: UsageRecord) -> int:
        found = await self._store.read.pushed.events_of_many([record.service_id], record.since, record.until)
        count = len(found.get((record.service_id, record.resource), []))
        if count <= record.basis.get(PUSHED, 0):
            return 0
        fresh = await self._fresh(record)
        if fresh is None:
            basis = {**record.basis, PUSHED: count}
            revised = replace(record, held=True, reason=LATE_AND_LOST, author="daemon", basis=basis)
        elif record.basis.get(BY_HAND):
            why = f"{LATE}; before it, a person had corrected the record"
            revised = replace(fresh, held=True, reason=f"{why}; {fresh.reason}" if fresh.reason else why)
        else:
            revised = replace(fresh, reason=f"{LATE}; {fresh.reason}" if fresh.reason else LATE)
        async with self._store.transaction() as tx:
            await tx.services.lock(record.service_id)
            last = await tx.usage_records.last_revision(record.service_id, record.resource, record.since)
            if last is None or last.revision != record.revision:
                return 0
            await tx.usage_records.add([replace(revised, revision=record.revision + 1)])
        return 1

    async def _fresh(self, record: UsageRecord) -> UsageRecord | None:
        """The record as it is measured now; None where it can't be: its samples are gone, or other rules made it."""
        if not _sealed(record) or record.formula != FORMULA or self._expired(record):
            return None
        asks = await self._measuring.filled([_ask(record)])
        [found] = await self._measuring.measure(asks)
        return self._record(asks[0], found, record.basis.get(DOUBT))

    # proving ---------------------------------------------------------------------------------------------------------------------

    async def verify(self, records: Sequence[UsageRecord]) -> list[Verdict]:
        """Recompute each from its samples, by what it was made by; at most `AT_ONCE` of them."""
        services = sorted({record.service_id for record in records})
        noted = await self._store.read.usage_records.noted(services)
        broken = dict((await self._store.read.events.broken_links(services))[::-1])
        found = {record.id: _by_the_log(record, noted[record.service_id], broken) for record in records}
        by_month: defaultdict[tuple[int, int], list[UsageRecord]] = defaultdict(list)
        for record in records:
            if found[record.id] is None:
                by_month[record.since.year, record.since.month].append(record)
        for own in by_month.values():  # samples are read from the first begin to the last end
            found |= {verdict.record.id: verdict for verdict in await self._recomputed(own)}
        return [verdict for record in records if (verdict := found[record.id]) is not None]

    async def _recomputed(self, records: Sequence[UsageRecord]) -> list[Verdict]:
        filled = await self._measuring.filled([_ask(record) for record in records])
        asks = [await self._as_it_was(record, ask) for record, ask in zip(records, filled, strict=True)]
        measured = await self._measuring.measure(asks)
        return [
            self._verdict(record, self._record(ask, found))
            for record, ask, found in zip(records, asks, measured, strict=True)
        ]

    async def _as_it_was(self, record: UsageRecord, ask: Ask) -> Ask:
        """Without the usage that was pushed after the record was made: the next revision has it."""
        count = record.basis.get(PUSHED, 0)
        if len(ask.pushed) <= count:
            return ask
        pushed = self._store.read.pushed
        first = await pushed.first_counted(record.service_id, record.resource, record.since, record.until, count)
        return replace(ask, pushed=tuple(first))

    def _verdict(self, record: UsageRecord, made: UsageRecord) -> Verdict:
        wrong = _differences(record, made)
        if not wrong:
            return Verdict(record, Proof.INTACT)
        if self._expired(record):
            return Verdict(record, Proof.EXPIRED, (EXPIRED,))
        return Verdict(record, Proof.BROKEN, tuple(wrong))

    def _expired(self, record: UsageRecord) -> bool:
        """Some of the days that it looked at may have been dropped: of those before its period, too."""
        kept = max(self._keeping.samples_keep, self._keeping.evidence_keep)
        first = min(_ask(record).begin, record.since)
        return day_at(first) < day_at(self._clock.now() - kept)

    def resource_of(self, record: UsageRecord) -> Resource:
        """As the settings have it; where they don't have it any more, or count it otherwise, as it was when the record was made."""
        known = self._resources.get(record.resource)
        scale = record.basis.get(SCALE, 0)
        if known is not None and (known.base_unit, known.scale) == (record.base_unit, scale):
            return known
        return as_made(record)

    def shown(self, record: UsageRecord) -> tuple[str, str | None]:
        """(unit, quantity in it); the base unit where the record names no other that is known."""
        base = record.base_quantity
        try:
            resource = self.resource_of(record)
            return resource.unit, None if base is None else format(resource.shown(base), "f")
        except UnitError:
            return record.base_unit, None if base is None else str(base)


def _found(record: UsageRecord | None, record_id: int) -> UsageRecord:
    if record is None:
        raise Refused("no_usage_record", f"there is no usage record {record_id}", status=404)
    return record


def _too_large(found: Measured) -> bool:
    return found.quantity is not None and found.quantity > MOST


def _sealed(record: UsageRecord) -> bool:
    """False for records from before there were seals."""
    return "sources" in record.basis


def _ask(record: UsageRecord) -> Ask:
    """What it was measured by, whatever the settings say now."""
    return ask_of(record.basis, record.service_id, as_made(record), record.since, record.until)


def _behind(terms: Terms, period: Period, marks: Mapping[str, datetime]) -> dict[str, datetime | None]:
    """Sources that have not passed the end of the period, and their last reading."""
    return {
        name: marks.get(name)
        for name, late in terms.watermarks.items()
        if name not in marks or marks[name] < period.until + late
    }


def _since(last: datetime | None) -> str:
    return "yet" if last is None else f"since {last:%Y-%m-%d %H:%M} UTC"


def _letter(department: str, source: str, last: datetime | None, until: datetime) -> dict[str, str]:
    """The payload of the mail about a source without which periods were closed."""
    return {
        "department": department,
        "subject": f"Usage until {until:%Y-%m-%d %H:%M} UTC is incomplete: {source} brought nothing",
        "text": f"{source} has brought nothing {_since(last)}. The billing periods that ended at {until:%Y-%m-%d %H:%M} UTC have "
        f"waited {WAIT.days} days for it and are closed now. What rests on it is held: see `provisiond usage records --held "
        "--newest`, and accept or correct each. If it is not mended, the next period will end like this.",
    }


def _by_the_log(record: UsageRecord, noted: Sequence[Mapping[str, Any]], broken: Mapping[str, int]) -> Verdict | None:
    """What the audit log says of a record; None: it has it as it is, and the samples can tell more."""
    stream = stream_of(record.service_id)
    if stream in broken:
        return Verdict(record, Proof.BROKEN, (f"the audit log of {stream} was changed at entry {broken[stream]}",))
    line = line_of(record)
    if line not in noted:
        own = [one for one in noted if all(one[name] == line[name] for name in ("resource", "from", "revision"))]
        if not own and not _sealed(record) and record.revision == 1:
            return Verdict(record, Proof.OTHER_FORMULA, ("made before usage records had seals: nothing can be proven",))
        return Verdict(record, Proof.BROKEN, tuple(_unlike(line, own)))
    if not _sealed(record):
        return Verdict(record, Proof.OTHER_FORMULA, ("made before usage records had seals: nothing can be proven",))
    if record.formula != FORMULA:
        sentence = f"made by rules {record.formula}, this build has {FORMULA}; the audit log has the record as it is"
        return Verdict(record, Proof.OTHER_FORMULA, (sentence,))
    return None


def _unlike(line: Mapping[str, Any], noted: Sequence[Mapping[str, Any]]) -> list[str]:
    """How a record differs from what the audit log has under its name."""
    if not noted:
        return ["the audit log does not have it"]
    was = noted[-1]
    wrong = [
        f"{name}: {value} stands in the record, the audit log has {was.get(name)}"
        for name, value in line.items()
        if name != "digest" and value != was.get(name)
    ]
    return wrong or [
        "the audit log has it with other details: coverage, counts, classes, author or what it was made by"
    ]


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
    names = ("covered", "samples", "expected", "aside", "corrected", "seal")
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
