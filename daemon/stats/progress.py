"""What is known in memory between two rounds: the standing of each meter, and how much of each resource was used so far.

It is worth nothing: after a start, or when another node has read the panel meanwhile, it is made again out of the samples.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daemon.domain.clock import Clock
from daemon.domain.metering import Ask
from daemon.domain.periods import Period
from daemon.domain.quality import Judged, Meter, Quality, Reading, Standing, classify
from daemon.stats import crunch
from daemon.stats.crunch import Heavy
from daemon.stats.measuring import AT_ONCE, Measuring
from daemon.stats.terms import Terms


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
            self.period, self.quantity, self.covered = terms.period(at - timedelta(microseconds=1)), None, timedelta()
        if judged.increment is not None:
            self.quantity = (self.quantity or 0) + judged.increment
        if judged.known and judged.since is not None:
            self.covered += max(timedelta(), at - max(judged.since, self.period.since))


@dataclass(slots=True)
class _Own:
    """One service's. `counts` has the resources that are a volume read by one meter."""

    terms: Terms
    standings: dict[str, Standing | None] = field(default_factory=dict)
    counts: dict[str, SoFar] | None = None
    """None until it was worked out from the samples."""


class Progress:
    def __init__(self, clock: Clock, measuring: Measuring, heavy: Heavy) -> None:
        self._clock = clock
        self._measuring = measuring
        self._heavy = heavy
        self._own: dict[int, _Own] = {}

    def terms(self, service_ids: Iterable[int]) -> dict[int, Terms]:
        """Of those that are known."""
        return {found.terms.service.id: found.terms for one in service_ids if (found := self._own.get(one))}

    def know(self, terms: Iterable[Terms]) -> None:
        """Begin anew with these."""
        for own in terms:
            self._own[own.service.id] = _Own(own)

    def keep_only(self, module: str, service_ids: Container[int]) -> None:
        """Forget the services that are no longer on the module."""
        gone = [one for one, own in self._own.items() if own.terms.service.module == module and one not in service_ids]
        for service_id in gone:
            del self._own[service_id]

    def so_far(self, service_id: int) -> Mapping[str, SoFar]:
        """Resource -> what was used of it; empty until it is known."""
        own = self._own.get(service_id)
        return own.counts if own is not None and own.counts is not None else {}

    def take(self, service_id: int, metric: str, reading: Reading, meter: Meter) -> Quality:
        """The class of a reading that has just come; what it bills is added to what was used so far."""
        own = self._own[service_id]
        judged = classify(own.standings.get(metric), reading, meter)
        own.standings[metric] = judged.standing
        if own.counts is not None and metric in own.counts:
            own.counts[metric].add(judged, own.terms)
        return judged.quality

    def take_all(self, metric: str, at: datetime, totals: Iterable[tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """The same of many services' readings of one moment, of those that are known: service -> (total, code of its class)."""
        kept: dict[int, tuple[int, int]] = {}
        for service_id, total in totals:
            meter = self._own[service_id].terms.meters[metric]
            kept[service_id] = (total, self.take(service_id, metric, Reading(at, total), meter).code)
        return kept

    def remember(self, metric: str, service_ids: Iterable[int], last: Mapping[int, Reading]) -> None:
        """The last reading of services whose meter is not known; without one, the next reading is the first."""
        for service_id in service_ids:
            own = self._own.get(service_id)
            if own is not None and metric not in own.standings:
                own.standings[metric] = Standing.of(last[service_id]) if service_id in last else None

    def without(self, metric: str, service_ids: Iterable[int]) -> list[int]:
        """Services whose meter is not known."""
        return [one for one in service_ids if (own := self._own.get(one)) is not None and metric not in own.standings]

    def forget(self, service_ids: Iterable[int]) -> None:
        """What is known of these is no longer true: it is made again out of the samples."""
        for service_id in service_ids:
            self._own.pop(service_id, None)

    async def catch_up(self) -> None:
        """Work out from the samples what was used so far by those who have something included, where it isn't known."""
        missing = [own for own in self._own.values() if own.counts is None and own.terms.included]
        for start in range(0, len(missing), AT_ONCE):
            await self._catch_up(missing[start : start + AT_ONCE])

    async def _catch_up(self, owns: Sequence[_Own]) -> None:
        now = self._clock.now()
        asks: list[Ask] = []
        for own in owns:
            period = own.terms.period(now)
            for code, billable in own.terms.billables.items():
                if billable.resource.kind.counts_up and [source.metric for source in billable.sources] == [code]:
                    begin = max(period.since, own.terms.service.billing_from or period.since)
                    asks.append(own.terms.ask(billable, begin, period.until))
        found = await self._heavy.run(crunch.standings, await self._measuring.packed(asks), asks) if asks else []
        for own in owns:
            own.counts = {}
        by_id = {own.terms.service.id: own for own in owns}
        for ask, (standings, quantity, covered) in zip(asks, found, strict=True):
            own = by_id[ask.billable.service_id]
            assert own.counts is not None
            own.standings.update(standings)
            own.counts[ask.billable.resource.code] = SoFar(own.terms.period(now), quantity, covered)
