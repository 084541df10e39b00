"""What is known in memory between two rounds: the standing of each meter, and how much of each resource was used so far.

It is worth nothing: after a start, or when another node has read the panel meanwhile, it is made again out of the samples.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from daemon.domain.clock import Clock
from daemon.domain.metering import Ask, Billable, Source
from daemon.domain.periods import Period
from daemon.domain.quality import Judged, Meter, Quality, Reading, Standing, classify, month_began
from daemon.domain.resources import RESOURCES, Kind
from daemon.stats import crunch
from daemon.stats.crunch import Heavy
from daemon.stats.measuring import AT_ONCE, Measuring
from daemon.stats.terms import Terms

PER_TURN = 500
"""Readings that are classed before others get their turn."""
INSTANT = timedelta(microseconds=1)
ANY = 2**64
"""More than any total grows by."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class SoFar:
    """What a service used of a resource in the period that runs: base units; None: nothing is known yet."""

    period: Period
    quantity: int | None = None
    covered: timedelta = timedelta()

    def add(self, judged: Judged, terms: Terms) -> None:
        """A volume counts in the period in which its reading ends."""
        at = judged.reading.at
        if at > self.period.until:
            self.period, self.quantity, self.covered = terms.period(at - INSTANT), None, timedelta()
        if judged.increment is not None:
            self.quantity = (self.quantity or 0) + judged.increment
        if judged.known and judged.since is not None:
            self.covered += max(timedelta(), at - max(judged.since, self.period.since))

    def grow(self, increment: int, stretch: _Stretch, terms: Terms, *, known: bool) -> None:
        """`add` for the usual case."""
        if stretch.at > self.period.until:
            self.period, self.quantity, self.covered = terms.period(stretch.at - INSTANT), None, timedelta()
        self.quantity = (self.quantity or 0) + increment
        if known:
            since = self.period.since
            self.covered += stretch.time if since <= stretch.since else stretch.at - since


@dataclass(slots=True)
class _Own:
    """One service's. `counts` has what is read of it by metric; of levels only the coverage means anything."""

    terms: Terms
    counts: dict[str, SoFar] | None = None
    """None until it was worked out from the samples."""


@dataclass(slots=True)
class _Line:
    """One metric of all services of a module, in as little memory and time as there are many of them.

    `plain` has the totals of those that were read at `at` and have nothing open: no doubt, no correction, nothing aside. `still` says since
    when such a total stands at its height, where that is longer. All others are in `others`.
    """

    at: datetime = LONG_AGO
    plain: dict[int, int] = field(default_factory=dict)
    still: dict[int, datetime] = field(default_factory=dict)
    others: dict[int, Standing | None] = field(default_factory=dict)
    slowest: int | None = None
    """No plain total's port is slower than this (bit/s; None: no port has a bound)."""

    def standing(self, service_id: int) -> Standing | None:
        total = self.plain.get(service_id)
        if total is None:
            return self.others.get(service_id)
        reading = Reading(self.at, total)
        return Standing(reading, reading, Reading(self.still.get(service_id, self.at), total))

    def put(self, service_id: int, standing: Standing | None) -> None:
        self.drop(service_id)
        self.others[service_id] = standing

    def drop(self, service_id: int) -> None:
        self.plain.pop(service_id, None)
        self.still.pop(service_id, None)
        self.others.pop(service_id, None)

    def left(self, service_id: int, total: int, at: datetime) -> Standing:
        """Of one that was plain at `at`, before the line moved on."""
        reading = Reading(at, total)
        return Standing(reading, reading, Reading(self.still.pop(service_id, at), total))

    def move(self, at: datetime) -> dict[int, int]:
        """Go on to a new moment: nobody is plain there yet. What was plain is handed out."""
        before, self.plain, self.at = self.plain, {}, at
        return before

    def keep(self, service_id: int, standing: Standing | None, meter: Meter) -> None:
        """After a reading of the moment, or one that was not counted. Who is about to lose the server is never plain."""
        plain = standing is not None and standing.newest.at == self.at and not standing.open
        if standing is None or not plain or meter.owned_until is not None:
            self.put(service_id, standing)
            return
        self.others.pop(service_id, None)
        self.plain[service_id] = standing.newest.total
        if meter.port_speed is not None:
            self.slowest = min(self.slowest or meter.port_speed, meter.port_speed)
        if standing.billed_to.at != self.at:
            self.still[service_id] = standing.billed_to.at
        else:
            self.still.pop(service_id, None)


class _Stretch:
    """What holds for all plain totals of one metric from one moment to the next; what a port can carry in it is worked out once a speed."""

    def __init__(self, line: _Line, at: datetime, meter: Meter) -> None:
        """`meter`: of any of them; kind, rhythm and zone are the same for all."""
        self.since = since = line.at
        self.at = at
        self.time = at - since
        self.kind = meter.kind
        self.quality = Quality.OK if meter.in_time(since, at) else Quality.GAP
        self.in_one_month = month_began(since, at, meter) is None
        self._most: dict[int | None, int] = {}
        self._known: dict[int | None, bool] = {}
        self.least = self.most(replace(meter, port_speed=line.slowest))
        """So much every port can carry."""

    def most(self, meter: Meter) -> int:
        """What a plain total may have grown by."""
        speed = meter.port_speed
        if speed not in self._most:
            self._known[speed] = not meter.wraps_unseen(self.since, self.at)
            self._most[speed] = ANY if speed is None else _most(meter, speed, self.since, self.at)
        return self._most[speed]

    def known(self, meter: Meter) -> bool:
        return self._known[meter.port_speed]


def _most(meter: Meter, speed: int, since: datetime, at: datetime) -> int:
    volume = 21 * speed * (max(at - since, meter.rhythm) // INSTANT) // (160 * 10**6)
    assert meter.possible(volume, since, at)
    assert not meter.possible(volume + 1, since, at)
    return volume


class Progress:
    def __init__(self, clock: Clock, measuring: Measuring, heavy: Heavy) -> None:
        self._clock = clock
        self._measuring = measuring
        self._heavy = heavy
        self._own: dict[int, _Own] = {}
        self._lines: defaultdict[tuple[str, str], _Line] = defaultdict(_Line)
        """By module and metric."""

    def terms(self, service_ids: Iterable[int]) -> dict[int, Terms]:
        """Of those that are known."""
        return {found.terms.service.id: found.terms for one in service_ids if (found := self._own.get(one))}

    def know(self, terms: Iterable[Terms]) -> None:
        """Begin anew with these."""
        for own in terms:
            self.forget([own.service.id])
            self._own[own.service.id] = _Own(own)

    def keep_only(self, module: str, service_ids: Container[int]) -> None:
        """Forget the services that are no longer on the module."""
        gone = [one for one, own in self._own.items() if own.terms.service.module == module and one not in service_ids]
        self.forget(gone)

    def forget(self, service_ids: Iterable[int]) -> None:
        """What is known of these no longer holds: it is made again out of the samples."""
        for service_id in service_ids:
            own = self._own.pop(service_id, None)
            if own is not None:
                for metric in own.terms.meters:
                    self._line(own.terms, metric).drop(service_id)

    def _line(self, terms: Terms, metric: str) -> _Line:
        return self._lines[terms.service.module or "", metric]

    def so_far(self, service_id: int) -> Mapping[str, SoFar]:
        """Metric -> what was used of it (volumes) and how much of the time is known; empty until it is worked out."""
        own = self._own.get(service_id)
        return own.counts if own is not None and own.counts is not None else {}

    def take(self, service_id: int, metric: str, reading: Reading) -> Quality:
        """The class of a reading that has come; what it bills is added to what was used so far."""
        own = self._own[service_id]
        line, meter = self._line(own.terms, metric), own.terms.meters[metric]
        judged = classify(line.standing(service_id), reading, meter)
        line.keep(service_id, judged.standing, meter)
        if own.counts is not None and metric in own.counts:
            own.counts[metric].add(judged, own.terms)
        return judged.quality

    async def take_all(
        self, metric: str, at: datetime, totals: Sequence[tuple[int, int]]
    ) -> dict[int, tuple[int, int]]:
        """The same of many services of one module, read at one moment: service -> (total, code of its class).

        Where nothing is open, and the total did not fall and grew by no more than its port can carry, that is all there is to say
        (`quality.classify` says the same); only the rest is judged one by one.
        """
        kept: dict[int, tuple[int, int]] = {}
        if not totals:
            return kept
        terms = self._own[totals[0][0]].terms
        line = self._line(terms, metric)
        stretch = _Stretch(line, at, terms.meters[metric])
        newer = at > line.at
        before = line.move(at) if newer else {}
        for start in range(0, len(totals), PER_TURN):
            await asyncio.sleep(0)
            part = totals[start : start + PER_TURN]
            if before and stretch.in_one_month:
                part = self._take_plain(line, before, stretch, metric, part, kept)
            for service_id, total in part:
                if service_id in before:
                    line.others[service_id] = line.left(service_id, before[service_id], stretch.since)
                kept[service_id] = (total, self.take(service_id, metric, Reading(at, total)).code)
        for service_id in before.keys() - kept.keys():  # those that this report does not have
            line.others[service_id] = line.left(service_id, before[service_id], stretch.since)
        return kept

    def _take_plain(
        self,
        line: _Line,
        before: Mapping[int, int],
        stretch: _Stretch,
        metric: str,
        totals: Sequence[tuple[int, int]],
        kept: dict[int, tuple[int, int]],
    ) -> list[tuple[int, int]]:
        """Tens of thousands in each round: nothing here is done twice. What is left has to be judged."""
        code = stretch.quality.code
        if stretch.kind is Kind.GAUGE:
            plain = [one for one in totals if one[0] in before]
            if stretch.quality is Quality.OK:
                self._watched(stretch, metric, plain)
        else:
            plain = [one for one in totals if one[0] in before and self._grows(line, before, stretch, metric, one)]
        line.plain.update(plain)
        kept.update([(service_id, (total, code)) for service_id, total in plain])
        return [] if len(plain) == len(totals) else [one for one in totals if one[0] not in kept]

    def _watched(self, stretch: _Stretch, metric: str, plain: Sequence[tuple[int, int]]) -> None:
        """A level was known from one reading to the next."""
        for service_id, _ in plain:
            own = self._own[service_id]
            if own.counts is not None and metric in own.counts:
                own.counts[metric].grow(0, stretch, own.terms, known=True)

    def _grows(
        self, line: _Line, before: Mapping[int, int], stretch: _Stretch, metric: str, one: tuple[int, int]
    ) -> bool:
        """Whether the total grew by what its port can carry; then it is counted."""
        service_id, total = one
        grown, own = total - before[service_id], self._own[service_id]
        if not 0 <= grown <= stretch.least and not 0 <= grown <= stretch.most(own.terms.meters[metric]):
            return False
        if not grown:
            line.still.setdefault(service_id, stretch.since)
        elif service_id in line.still:
            del line.still[service_id]
        if own.counts is not None and metric in own.counts:
            known = stretch.known(own.terms.meters[metric])
            own.counts[metric].grow(grown, stretch, own.terms, known=known)
        return True

    def remember(self, metric: str, service_ids: Iterable[int], last: Mapping[int, Reading]) -> None:
        """The last reading of services whose meter is not known; without one, the next reading is the first."""
        for service_id in service_ids:
            own = self._own.get(service_id)
            if own is not None:
                standing = Standing.of(last[service_id]) if service_id in last else None
                self._line(own.terms, metric).put(service_id, standing)

    def without(self, metric: str, terms: Mapping[int, Terms]) -> list[int]:
        """Services of one module whose meter is not known."""
        if not terms:
            return []
        line = self._line(next(iter(terms.values())), metric)
        return [one for one in terms if one not in line.plain and one not in line.others]

    async def catch_up(self, service_ids: Iterable[int]) -> None:
        """Work out from the samples what was used so far by these, where it isn't known.

        Of all who have something included; of the others, of whom only the coverage is looked at, some in each round: after a start
        no round has to read the month of everybody.
        """
        known = (self._own.get(one) for one in service_ids)
        missing = [own for own in known if own is not None and own.counts is None]
        first = [own for own in missing if own.terms.included]
        for start in range(0, len(first), AT_ONCE):
            await self._catch_up(first[start : start + AT_ONCE])
        await self._catch_up([own for own in missing if not own.terms.included][:AT_ONCE])

    async def _catch_up(self, owns: Sequence[_Own]) -> None:
        now = self._clock.now()
        asks: list[Ask] = []
        for own in owns:
            period = own.terms.period(now)
            begin = max(period.since, own.terms.service.billing_from or period.since)
            asks += [own.terms.ask(billable, begin, period.until) for billable in _each_series(own.terms)]
        found = await self._heavy.run(crunch.standings, await self._measuring.packed(asks), asks) if asks else []
        for own in owns:
            own.counts = {}
        by_id = {own.terms.service.id: own for own in owns}
        for ask, (standings, quantity, covered) in zip(asks, found, strict=True):
            own = by_id[ask.billable.service_id]
            assert own.counts is not None
            for metric, standing in standings.items():
                self._line(own.terms, metric).put(ask.billable.service_id, standing)
            own.counts[ask.billable.resource.code] = SoFar(own.terms.period(now), quantity, covered)


def _each_series(terms: Terms) -> list[Billable]:
    """Each metric that is read for the service by itself, whatever it is billed as."""
    found = []
    for metric, meter in terms.meters.items():
        resource = terms.billables[metric].resource if metric in terms.billables else RESOURCES[metric]
        daily = resource.kind is Kind.RATE  # the panel's own values of each day
        found.append(Billable(terms.service.id, resource, (Source(metric, meter),), daily=daily))
    return found
