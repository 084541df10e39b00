"""What the sample store needs of a database: rows of days, kept and given back. `codec` knows what is in the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from daemon.domain.errors import Permanent
from daemon.store.days import codec
from daemon.store.days.shapes import ClosedBlock, Day, OpenBlock, PackedDay, Sample, from_us


@dataclass
class SlotRow:
    """One packed row to be stored, not yet packed: samples as (offset, value, class)."""

    metric: str
    block: int
    samples: list[tuple[int, int, int]]


class Closing(Protocol):
    """A closing of one day under way. Nothing of it is seen before `finish`."""

    blocks: list[tuple[str, int]]
    """(metric, block) of all slots that were there at the beginning."""

    async def load(self, metric: str, block: int) -> OpenBlock: ...

    async def put(self, metric: str, closed: ClosedBlock) -> None: ...

    async def finish(self) -> None:
        """In one transaction: the new series take the place of what they were made from."""
        ...


class Shelf(Protocol):
    async def append(self, day: date, at: int, module: str, rows: list[SlotRow]) -> None:
        """In one transaction; what is there already for that time stays as it is."""
        ...

    async def read(self, metric: str, services: Sequence[int], since: int, until: int) -> list[PackedDay]:
        """Series and slots that hold any of the services, days oldest first, each day as it was at one moment."""
        ...

    async def newest(self, day: date, metric: str, services: Sequence[int], before: int) -> dict[int, Sample]: ...

    async def dates(self) -> list[date]:
        """All days there are, oldest first."""
        ...

    async def days(self) -> list[Day]: ...

    def closing(self, day: date) -> AbstractAsyncContextManager[Closing]: ...

    async def drop(self, day: date) -> None: ...

    async def close(self) -> None: ...


def damaged(place: str, detail: str) -> Permanent:
    return Permanent(
        "sample_day_damaged",
        f"{place}: this day of samples is damaged ({detail}); restore it from a backup, or drop the day",
        place=place,
    )


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Around everything that unpacks what was stored."""
    try:
        yield
    except codec.Damaged as error:
        raise damaged(place, str(error)) from error


def without_known(row: SlotRow, known: Iterable[bytes]) -> bytes | None:
    """The payload to store, less the services that are there already; None when they all are."""
    there = frozenset(offset for payload in known for offset in codec.slot_offsets(payload))
    fresh = [sample for sample in row.samples if sample[0] not in there]
    return codec.pack_slot(fresh) if fresh else None


def newest_in_slots(rows: Iterable[tuple[int, int, bytes]], wanted: frozenset[int], found: dict[int, Sample]) -> None:
    """Fill `found` from (microseconds, block, payload) of one block, newest first and of one time the first stored first."""
    missing = set(wanted)
    for at, block, payload in rows:
        for offset, value, cls in codec.unpack_slot(payload):
            service = block * codec.BLOCK + offset
            if service in missing:
                missing.discard(service)
                found[service] = Sample(from_us(at), value, cls)
        if not missing:
            return


def newest_in_series(service: int, payload: bytes, axis: list[int], before: int, found: dict[int, Sample]) -> None:
    """Put the newest sample of a series into `found`, unless a slot's is newer."""
    value, cls, presence = codec.last_of_series(payload)
    at = codec.last_time(axis, presence)
    if at >= before:
        values, classes, presence = codec.unpack_series(payload)
        rows = [row for row in zip(codec.chosen(axis, presence), values, classes, strict=True) if row[0] < before]
        if not rows:
            return
        at, value, cls = rows[-1]
    other = found.get(service)
    if other is None or other.at <= from_us(at):
        found[service] = Sample(from_us(at), value, cls)
