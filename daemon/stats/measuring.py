"""Asks answered from the sample store and the ledgers, the heavy part in the worker process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from daemon.domain.address import Allocation
from daemon.domain.metering import Ask, Look, Measured, Point
from daemon.stats import crunch
from daemon.stats.crunch import Heavy
from daemon.stats.drawing import Drawing, Drawn
from daemon.store.database import Store
from daemon.store.days.shapes import Packed
from daemon.store.days.store import DayStore

AT_ONCE = 250
"""Services whose samples are measured at a time."""


class Measuring:
    """Asks answered from the sample store and the ledger of pushed usage, many at once."""

    def __init__(self, store: Store, days: DayStore, heavy: Heavy) -> None:
        self._store = store
        self._days = days
        self._heavy = heavy

    async def measure(self, asks: Sequence[Ask], *, sealed: bool = True) -> list[Measured]:
        """One answer for each, in order. The asks of at most `AT_ONCE` services. `sealed`: for usage records, not only to look at."""
        return await self._heavy.run(crunch.measure, await self.packed(asks), list(asks), sealed) if asks else []

    async def look(self, looks: Sequence[Look]) -> list[list[Point]]:
        """One line of points for each, in order."""
        packed = await self.packed([look.ask for look in looks])
        return await self._heavy.run(crunch.look, packed, list(looks)) if looks else []

    async def draw(self, drawings: Sequence[Drawing]) -> list[Drawn]:
        """One line of text for each, in order."""
        packed = await self.packed([drawing.look.ask for drawing in drawings])
        return await self._heavy.run(crunch.draw, packed, list(drawings)) if drawings else []

    async def packed(self, asks: Sequence[Ask]) -> dict[str, Packed]:
        """By metric: all samples that any of the asks looks at."""
        wanted: defaultdict[str, list[Ask]] = defaultdict(list)
        for ask in asks:
            for source in ask.billable.sources:
                wanted[source.metric].append(ask)
        return {
            metric: await self._days.packed(
                metric,
                {ask.billable.service_id for ask in of},
                min(ask.begin for ask in of),
                max(ask.horizon for ask in of),
            )
            for metric, of in wanted.items()
        }

    async def filled(self, asks: Sequence[Ask]) -> list[Ask]:
        """The same asks with what only the database knows: pushed usage, and addresses held."""
        if not asks:
            return []
        services = {ask.billable.service_id for ask in asks}
        read = self._store.read
        pushed = await read.pushed.events_of_many(
            services, min(ask.since for ask in asks), max(ask.until for ask in asks)
        )
        counted = {ask.billable.service_id for ask in asks if ask.billable.resource.code == "addresses"}
        held = await read.allocations.of_services(sorted(counted)) if counted else {}
        return [_filled(ask, pushed, held) for ask in asks]


def _filled(
    ask: Ask,
    pushed: Mapping[tuple[int, str], list[tuple[datetime, int]]],
    held: Mapping[int, Sequence[Allocation]],
) -> Ask:
    billable = ask.billable
    found = pushed.get((billable.service_id, billable.resource.code), [])
    own = tuple((at, quantity) for at, quantity in found if ask.since <= at < ask.until)
    if billable.resource.code == "addresses":
        billable = replace(billable, amount=most_held(held.get(billable.service_id, ()), ask.since, ask.until))
    return replace(ask, billable=billable, pushed=own)


def most_held(allocations: Iterable[Allocation], since: datetime, until: datetime) -> int:
    """The most addresses that were held at one time within [since, until]."""
    changes: list[tuple[datetime, int]] = []
    for allocation in allocations:
        begin, end = max(since, allocation.created_at), allocation.released_at or until
        if allocation.address and begin <= min(end, until):
            changes += [(begin, 1), (min(end, until), -1)]
    held = most = 0
    for _, change in sorted(changes, key=lambda one: (one[0], -one[1])):  # of one moment what comes before what goes
        held += change
        most = max(most, held)
    return most
