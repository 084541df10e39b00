"""The sample store as everybody uses it: one interface, whichever database is behind it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from daemon.domain.errors import Permanent
from daemon.store.database import Store
from daemon.store.days.codec import BLOCK, HIGHEST, LOWEST
from daemon.store.days.files import Files
from daemon.store.days.partitions import Partitions
from daemon.store.days.series import one_series
from daemon.store.days.shapes import Columns, Crunch, Day, Packed, Sample, Samples, bounds, day_of, to_us
from daemon.store.days.shelf import Shelf, SlotRow

AT_ONCE = 250
"""Services that `bulk` hands to the worker at a time."""


class DayStore:
    """Samples of all services, by UTC day. A sample is known by metric, service and time; what was stored first stays.

    Errors: Temporary `database_unavailable`; Permanent `sample_day_damaged`, which names the file or partition and concerns that day only.
    """

    def __init__(self, shelf: Shelf, crunch: Crunch) -> None:
        self._shelf = shelf
        self._crunch = crunch

    @classmethod
    def of(cls, store: Store, state_dir: Path, crunch: Crunch) -> DayStore:
        """Beside the database of `store`: files in `state_dir/samples`, or partitions in that database."""
        return cls(Partitions(store) if store.dialect == "postgres" else Files(state_dir / "samples"), crunch)

    # --- writing -----------------------------------------------------------------------------------------------------------------

    async def append(self, at: datetime, module: str, samples: Samples) -> None:
        """Store one reading, metric -> service -> (value, class), in one transaction. Again, it changes nothing.

        `at` counts to the microsecond. A day that is closed takes it as well. Permanent `sample_out_of_range` (nothing is stored) for a
        value that is no signed 64-bit number or a class that is no byte.
        """
        moment = to_us(at)
        rows = await asyncio.to_thread(_slot_rows, samples)
        if rows:
            await self._shelf.append(day_of(moment), moment, module, rows)

    async def close_day(self, day: date) -> bool:
        """Make series of the slots; false when there were none. The heavy part is the worker's.

        Readers see the day as before or as after, also when this is killed; then it can just be done again.
        """
        async with self._shelf.closing(day) as closing:
            for metric, block in closing.blocks:
                closed = await self._crunch.encode(await closing.load(metric, block))
                await closing.put(metric, closed)
            await closing.finish()
            return bool(closing.blocks)

    async def drop_day(self, day: date) -> None:
        """All samples of the day are gone; of a day that isn't there, none."""
        await self._shelf.drop(day)

    # --- reading -----------------------------------------------------------------------------------------------------------------

    async def series(self, metric: str, service_id: int, since: datetime, until: datetime) -> list[Sample]:
        """All samples with since <= at <= until (both ends), oldest first, one per time."""
        begin, end = to_us(since), to_us(until)
        days = await self._shelf.read(metric, [service_id], begin, end)
        return await asyncio.to_thread(one_series, service_id, days, begin, end)

    async def packed(self, metric: str, service_ids: Collection[int], since: datetime, until: datetime) -> Packed:
        """The same of many services, as it is stored: what a function of the worker takes (about 1 KiB per service and closed day)."""
        begin, end = to_us(since), to_us(until)
        services = tuple(sorted(set(service_ids)))
        return Packed(services, begin, end, await self._shelf.read(metric, services, begin, end) if services else [])

    async def bulk(
        self, metric: str, service_ids: Collection[int], since: datetime, until: datetime
    ) -> dict[int, Columns]:
        """The same as columns, unpacked by the worker: 17 bytes a sample. A service without samples has empty ones."""
        services = sorted(set(service_ids))
        found: dict[int, Columns] = {}
        for start in range(0, len(services), AT_ONCE):
            found |= await self._crunch.decode(
                await self.packed(metric, services[start : start + AT_ONCE], since, until)
            )
        return found

    async def last(
        self, metric: str, service_ids: Collection[int], before: datetime, since: datetime | None = None
    ) -> dict[int, Sample]:
        """The newest sample with at < before of each service that has one, in one pass from the newest day back.

        `since` ends the search for services that have none: no day before its day is looked at, and no older sample is given.
        """
        end = to_us(before)
        missing, found = set(service_ids), dict[int, Sample]()
        for day in reversed(await self._shelf.dates()):
            if not missing or (since is not None and bounds(day)[1] < to_us(since)):
                break
            if bounds(day)[0] < end:
                found |= await self._shelf.newest(day, metric, sorted(missing), end)
                missing -= found.keys()
        return {service: sample for service, sample in found.items() if since is None or sample.at >= since}

    # --- days --------------------------------------------------------------------------------------------------------------------

    async def days(self) -> list[Day]:
        """Oldest first. A damaged day is in the list as damaged."""
        return await self._shelf.days()

    async def expired(self, today: date, keep_days: int, evidence_days: int, evidence: Collection[date]) -> list[date]:
        """Days to drop: older than `keep_days`; those a usage record rests on (`evidence`) only when older than `evidence_days`, too."""
        kept, proof = today - timedelta(days=keep_days), today - timedelta(days=max(keep_days, evidence_days))
        return [day for day in await self._shelf.dates() if day < (proof if day in evidence else kept)]

    async def close(self) -> None:
        """Let go of files and threads. Nothing may be called afterwards."""
        await self._shelf.close()


def day_at(moment: datetime) -> date:
    """The day whose samples `moment` belongs to."""
    return moment.astimezone(UTC).date()


def _slot_rows(samples: Samples) -> list[SlotRow]:
    rows = []
    for metric, of_services in samples.items():
        blocks: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for service, (value, cls) in sorted(of_services.items()):
            if not (LOWEST <= value <= HIGHEST and 0 <= cls <= 255):
                raise Permanent(
                    "sample_out_of_range",
                    f"{metric} of service {service}: {value} (class {cls}) can't be stored",
                    metric=metric, service=service,
                )  # fmt: skip
            blocks[service // BLOCK].append((service % BLOCK, value, cls))
        rows += [SlotRow(metric, block, found) for block, found in blocks.items()]
    return rows
