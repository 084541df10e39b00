"""Pushed usage: events that others send us, each counted once, whatever is sent again.

The key of an event is its source and id. Key and event are one row, written in one transaction with everything that the answer says:
a sender that got no answer sends again, and an event that was not stored left no key behind. Events far from now are put aside, so
that forgetting the keys of long ago can't let anything in twice: only a person lets an event out of quarantine.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused, Temporary
from daemon.domain.pushed import PAIR, EventReader, Key, Problem, PushedEvent
from daemon.domain.resources import RESOURCES, Resource
from daemon.stats.pushable import Pushable
from daemon.store.database import Store
from daemon.store.pushed import EventState, StoredEvent
from daemon.store.repositories import Repositories

OLDEST = timedelta(days=35)
NEWEST = timedelta(minutes=5)
MOST = 10_000
"""Events of one batch."""
MOST_PROBLEMS = 20
"""Of one event that are told about."""
SLICE = 250
"""Events read before the loop may do something else: a few milliseconds."""
TOGETHER = 64
"""Single events in one statement."""
FORGET_AT_ONCE = 5_000
CONFLICT, REFUSED = "usage_conflict", "event_refused"


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """Counted already; nothing was done."""
    QUARANTINED = "quarantined"
    """Kept, and counted when a person says so."""
    CONFLICT = "conflict"
    """Its key stands for another content: not counted, but kept."""
    REFUSED = "refused"


@dataclass(frozen=True)
class Item:
    """What became of one event. `source` and `id` are None where they couldn't be read; `code` is for programs, empty when all is well."""

    source: str | None
    id: str | None
    outcome: Outcome
    code: str = ""
    message: str = ""
    errors: tuple[Problem, ...] = ()

    @property
    def bad(self) -> bool:
        return self.outcome in (Outcome.CONFLICT, Outcome.REFUSED)


Also = Callable[[Repositories, Any], Awaitable[None]]
"""What the caller wants in the same transaction, such as keeping the answer under its Idempotency-Key."""


class _Group:
    """Single events of one actor, gathered until their transaction begins."""

    def __init__(self, desk: PushDesk, actor: str) -> None:
        self.events: list[PushedEvent] = []
        self._desk = desk
        self._actor = actor
        self.items = asyncio.ensure_future(desk._store.batched(self._write))  # noqa: SLF001 - a part of the desk
        self.items.add_done_callback(lambda task: task.cancelled() or task.exception())  # every caller may be gone

    async def _write(self, tx: Repositories) -> list[Item]:
        if self._desk._open.get(self._actor) is self:  # noqa: SLF001 - as above
            del self._desk._open[self._actor]  # noqa: SLF001 - as above
        return await self._desk._settle(tx, self.events, self._actor)  # noqa: SLF001 - as above


class PushDesk:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        resources: Mapping[str, Resource] = RESOURCES,
        pair: Mapping[str, str] = PAIR,
        pushable: Pushable | None = None,
    ) -> None:
        """`pushable` knows what each plan counts; without it every resource is taken."""
        self._store = store
        self._clock = clock
        self._reader = EventReader(resources, pair)
        self._pushable = pushable
        self._open: dict[str, _Group] = {}

    # taking in -------------------------------------------------------------------------------------------------------------------

    async def push(self, raws: Sequence[Any], *, actor: str, also: Also | None = None) -> list[Item]:
        """One item for each event, in their order. Each event stands alone: a bad one doesn't keep the others out.

        Raises Refused for more than `MOST` events. After any other error nothing was stored, or nobody knows: send all of it again.
        """
        if len(raws) > MOST:
            raise Refused("too_many_events", f"expected at most {MOST} events at once", status=422)
        items: list[Item | None] = [None] * len(raws)
        events: list[tuple[int, PushedEvent]] = []
        for number, raw in enumerate(raws):
            if number and number % SLICE == 0:
                await asyncio.sleep(0)
            read = self._reader.read(raw)
            if isinstance(read, PushedEvent):
                events.append((number, read))
            else:
                items[number] = _unreadable(raw, read)

        if len(raws) == 1 and also is None:
            return [await self._together(events[0][1], actor)] if events else [item for item in items if item]
        async with self._store.transaction() as tx:
            settled = await self._settle(tx, [event for _, event in events], actor)
            for (number, _), item in zip(events, settled, strict=True):
                items[number] = item
            done = [item for item in items if item is not None]
            if also is not None:
                await also(tx, done)
            return done

    async def _together(self, event: PushedEvent, actor: str) -> Item:
        """One event by itself: those that come in while a transaction is on its way share the next one, and its statement."""
        group = self._open.get(actor)
        if group is None or len(group.events) >= TOGETHER:
            group = self._open[actor] = _Group(self, actor)
        group.events.append(event)
        number = len(group.events) - 1
        # Shielded: a caller that goes away takes nobody else's event along.
        return (await asyncio.shield(group.items))[number]

    async def _settle(self, tx: Repositories, events: Sequence[PushedEvent], actor: str) -> list[Item]:
        """Store what is new; say of the rest why it isn't."""
        items: list[Item | None] = [None] * len(events)
        left = await self._counted(tx, events, items)
        conflicts: list[tuple[PushedEvent, StoredEvent]] = []
        while left:
            first: dict[Key, int] = {}
            for number in left:
                first.setdefault(events[number].key, number)
            reasons = {number: self._why_aside(events[number].at) for number in first.values()}
            stored = await tx.pushed.add([(events[number], why) for number, why in reasons.items()], actor=actor)
            rest = []
            for number in left:
                event = events[number]
                if first[event.key] == number and event.key in stored:
                    items[number] = _aside(event, reasons[number])
                else:
                    rest.append(number)
            if not rest:
                break
            known = await tx.pushed.find({events[number].key for number in rest})
            billed = await tx.pushed.billed({events[number].service_id for number in rest})
            left = []
            for number in rest:
                event = events[number]
                kept = known.get(event.key)
                if kept is not None:
                    items[number] = _again(event, kept)
                    if items[number].outcome is Outcome.CONFLICT:  # type: ignore[union-attr]  # was set in the line before
                        conflicts.append((event, kept))
                elif event.service_id not in billed:
                    items[number] = _refused(event, {"field": "subject", "code": "no_service", "message": _NO_SERVICE})
                elif (outside := _outside(event.at, *billed[event.service_id])) is not None:
                    items[number] = _refused(event, {"field": "time", "code": "outside_service", "message": outside})
                elif first[event.key] == number:
                    raise Temporary("usage_not_stored", "another transaction was in the way of an event: send it again")
                else:
                    left.append(number)  # the first one of its key was refused: this one may still be good
        if conflicts:
            await self._keep(tx, conflicts, actor)
        return [item for item in items if item is not None]

    async def _counted(self, tx: Repositories, events: Sequence[PushedEvent], items: list[Item | None]) -> list[int]:
        """Numbers of the events whose plan counts what they bring; of the others it is said in `items`."""
        if self._pushable is None:
            return list(range(len(events)))
        taken = await self._pushable.of(tx, {event.service_id for event in events})
        left = []
        for number, event in enumerate(events):
            codes = taken.get(event.service_id)
            uncounted = [] if codes is None else [code for code, _ in event.readings if code not in codes]
            if uncounted:
                items[number] = _refused(event, _not_counted(event, uncounted, codes or frozenset()))
            else:
                left.append(number)
        return left

    def _why_aside(self, at: datetime) -> str | None:
        now = self._clock.now()
        if at < now - OLDEST:
            return "too_old"
        return "too_new" if at > now + NEWEST else None

    async def _keep(self, tx: Repositories, conflicts: Sequence[tuple[PushedEvent, StoredEvent]], actor: str) -> None:
        """Keep the refused contents, and say so in the log of each service whose events they dispute."""
        new = await tx.pushed.keep_conflicts(conflicts, actor=actor)
        services = {sent.key: kept.event.service_id for sent, kept in conflicts}
        told: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for number, (source, event_id) in new.items():
            told[services[source, event_id]].append({"conflict": number, "source": source, "id": event_id})
        for service_id, found in sorted(told.items()):
            await tx.events.add("usage.conflict", service_id=service_id, actor=actor, after={"conflicts": found})

    # quarantine ------------------------------------------------------------------------------------------------------------------

    async def release(self, number: int, *, actor: str, reason: str, also: Also | None = None) -> StoredEvent:
        """Let an event out of quarantine: from now on it counts at its own time."""
        return await self._decide(number, EventState.ACCEPTED, "usage.released", actor, reason, also)

    async def discard(self, number: int, *, actor: str, reason: str, also: Also | None = None) -> StoredEvent:
        """Decide that an event in quarantine never counts. Its key stays taken."""
        return await self._decide(number, EventState.DISCARDED, "usage.discarded", actor, reason, also)

    async def _decide(
        self, number: int, state: EventState, kind: str, actor: str, reason: str, also: Also | None
    ) -> StoredEvent:
        async with self._store.transaction() as tx:
            decided = await tx.pushed.decide(number, state)
            stored = await tx.pushed.get(number)
            if stored is None:
                raise Refused("no_event", f"there is no event {number}", status=404)
            if not decided:
                raise Refused("not_in_quarantine", f"event {number} is {stored.state} already", status=409)
            event = stored.event
            if state is EventState.ACCEPTED:
                await _require_billed(tx, event)
            after = {"source": event.source, "id": event.event_id, **event.content()}
            await tx.events.add(kind, service_id=event.service_id, actor=actor, reason=reason, after=after)
            if also is not None:
                await also(tx, stored)
        return stored

    # retention -------------------------------------------------------------------------------------------------------------------

    async def forget(self, older_than: timedelta) -> int:
        """Drop the events that are older, with their keys, in small transactions; how many.

        Less than the window of acceptance is no retention at all: a key must outlive every repetition of its event.
        """
        if older_than <= OLDEST + NEWEST:
            raise ValueError("events are kept for longer than they may be repeated")
        before, total = self._clock.now() - older_than, 0
        while True:
            async with self._store.transaction() as tx:
                count = await tx.pushed.forget(before, limit=FORGET_AT_ONCE)
            total += count
            if count < FORGET_AT_ONCE:
                return total
            await self._clock.sleep(0.1)


_NO_SERVICE = "there is no service with this id"
_ASIDE = {
    "too_old": f"its time is more than {OLDEST.days} days ago: it counts when a person releases it",
    "too_new": f"its time is more than {NEWEST.seconds // 60} minutes ahead: it counts when a person releases it",
}
_CONFLICT = "this source and id stand for another content, which stays as it is; what was sent now is kept beside it"
_DISCARDED = "a person decided that this event doesn't count"


def _outside(at: datetime, since: datetime | None, until: datetime | None) -> str | None:
    """Why an event of this time can never count for the service; None: it can."""
    if since is None:
        return "the service is not billed yet"
    if at < since:
        return f"the service is billed from {since.isoformat()} on"
    if until is not None and at >= until:
        return f"the service is billed until {until.isoformat()}"
    return None


async def _require_billed(tx: Repositories, event: PushedEvent) -> None:
    billed = await tx.pushed.billed([event.service_id])
    outside = _outside(event.at, *billed[event.service_id])
    if outside is not None:
        raise Refused("outside_service", f"the event can't count: {outside}; discard it", status=409)


def _not_counted(event: PushedEvent, codes: Sequence[str], counted: Collection[str]) -> Problem:
    others = f"it counts {', '.join(sorted(counted))}" if counted else "it counts nothing that is pushed"
    return {
        "field": "data.resource",
        "code": "not_counted",
        "message": f"the plan of service {event.service_id} counts no pushed {' and '.join(codes)}: {others}",
    }


def _aside(event: PushedEvent, why: str | None) -> Item:
    if why is None:
        return Item(event.source, event.event_id, Outcome.ACCEPTED)
    return Item(event.source, event.event_id, Outcome.QUARANTINED, why, _ASIDE[why])


def _again(event: PushedEvent, kept: StoredEvent) -> Item:
    if kept.event != event:
        return Item(event.source, event.event_id, Outcome.CONFLICT, CONFLICT, _CONFLICT)
    if kept.state is EventState.DISCARDED:
        return _refused(event, {"field": "id", "code": "discarded", "message": _DISCARDED})
    if kept.state is EventState.QUARANTINED:
        return _aside(event, kept.why)
    return Item(event.source, event.event_id, Outcome.DUPLICATE)


def _refused(event: PushedEvent, problem: Problem) -> Item:
    return Item(event.source, event.event_id, Outcome.REFUSED, REFUSED, _REFUSED, (problem,))


def _unreadable(raw: Any, problems: list[Problem]) -> Item:
    """Source and id are shown where they are fit to be."""
    bad = {problem["field"] for problem in problems} | ({"event"} if not isinstance(raw, dict) else set())
    source, event_id = (None if bad & {name, "event"} else raw[name] for name in ("source", "id"))
    return Item(source, event_id, Outcome.REFUSED, REFUSED, _REFUSED, tuple(problems[:MOST_PROBLEMS]))


_REFUSED = "the event can't be taken"
