"""Days as PostgreSQL partitions of one table, `sample_slot`; the same rows as in the files of `files.py`, told apart by `kind`.

Reading and appending go through the table, each day's pruned to its partition. Closing a day builds the new partition beside the old one
and swaps them in one short transaction, so that nothing is left to vacuum. That swap isn't safe for a transaction whose snapshot is older than
it: every reader here locks the table before it reads (`ACCESS SHARE`, which only a swap or a drop waits for).
"""

# ruff: noqa: S608 - what is put into SQL as text are names and dates of our own making

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from typing import Any

import structlog

from daemon.domain.errors import Temporary
from daemon.store.connection import Connection
from daemon.store.database import Store
from daemon.store.days import codec
from daemon.store.days.codec import BLOCK, block_of
from daemon.store.days.shapes import ClosedBlock, Day, DayState, OpenBlock, PackedDay, Sample, day_of
from daemon.store.days.shelf import SlotRow, naming, newest_in_series, newest_in_slots, without_known

log = structlog.get_logger(__name__)

SLOT, SERIES, AXIS = 0, 1, 2

TABLES = (
    "CREATE SEQUENCE sample_slot_seq",
    """
    CREATE TABLE sample_slot (
        day date NOT NULL,
        seq bigint NOT NULL DEFAULT nextval('sample_slot_seq'),
        kind smallint NOT NULL,
        metric text NOT NULL,
        part bigint NOT NULL,
        at_us bigint NOT NULL,
        axis integer NOT NULL,
        module text NOT NULL,
        payload bytea NOT NULL
    ) PARTITION BY RANGE (day)
    """,
    # compressed already, or not worth it
    "ALTER TABLE sample_slot ALTER COLUMN payload SET STORAGE EXTERNAL",
    "CREATE INDEX sample_slot_place ON sample_slot (kind, metric, part, at_us)",
    "COMMENT ON COLUMN sample_slot.kind IS '0 slot: one reading of a block of services; 1 series: one service over the day; 2 axis: times of series'",
    "COMMENT ON COLUMN sample_slot.part IS 'of a slot its block, of a series its service, of an axis its number'",
    "COMMENT ON COLUMN sample_slot.at_us IS 'of a slot the time of reading, microseconds since 1970; else 0'",
)
"""Part of a released migration: never edited, a later one brings its own."""

INSERT = "INSERT INTO {} (day, kind, metric, part, at_us, axis, module, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
CLOSING_LOCK = 7_305_119
"""Our number among PostgreSQL's advisory locks, with the day as second number: one swap at a time."""
NEWEST_ROWS = 4
"""Slots of a block that are looked at first for the newest samples."""


def partition(day: date) -> str:
    return f"sample_slot_{day:%Y%m%d}"


class Partitions:
    """The shelf on PostgreSQL."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: set[date] = set()
        """Days whose partition has been seen; it may have been dropped since."""

    # --- writing -----------------------------------------------------------------------------------------------------------------

    async def append(self, day: date, at: int, module: str, rows: list[SlotRow]) -> None:
        if day not in self._known:
            await self._make(day)
        try:
            await self._append(day, at, module, rows)
        except Exception as error:
            if not _no_partition(error):
                raise
            await self._make(day)
            await self._append(day, at, module, rows)

    async def _append(self, day: date, at: int, module: str, rows: list[SlotRow]) -> None:
        async with self._store.transaction() as tx:
            # Of two nodes that store the same reading the second one sees what the first one stored.
            await tx.execute("SELECT pg_advisory_xact_lock(hashtext(?))", f"sample_slot {at}")
            there = await tx.fetch(
                "SELECT s.metric, s.part, s.payload FROM jsonb_to_recordset(?::jsonb) AS w(metric text, part bigint)"
                " JOIN sample_slot s ON s.day = ? AND s.kind = 0 AND s.metric = w.metric AND s.part = w.part AND s.at_us = ?"
                " ORDER BY s.seq",
                [{"metric": row.metric, "part": row.block} for row in rows], day, at,
            )  # fmt: skip
            known: defaultdict[tuple[str, int], list[bytes]] = defaultdict(list)
            for row in there:
                known[row["metric"], row["part"]].append(row["payload"])
            with naming(partition(day)):
                payloads = [(row, without_known(row, known[row.metric, row.block])) for row in rows]
            fresh: list[list[Any]] = [
                [day, SLOT, row.metric, row.block, at, 0, module, payload]
                for row, payload in payloads
                if payload is not None
            ]
            if fresh:
                await tx.execute_many(INSERT.format("sample_slot"), fresh)

    async def _make(self, day: date) -> None:
        async with self._store.transaction() as tx:
            await _lock_day(tx, day)
            await tx.execute(
                f"CREATE TABLE IF NOT EXISTS {partition(day)} PARTITION OF sample_slot"
                f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
            )
        self._known.add(day)

    # --- reading -----------------------------------------------------------------------------------------------------------------

    async def read(self, metric: str, services: Sequence[int], since: int, until: int) -> list[PackedDay]:
        first, last = day_of(since), day_of(until)
        async with self._reading() as tx:
            slots = await tx.fetch(
                f"SELECT day, at_us, part, payload FROM sample_slot WHERE day BETWEEN ? AND ? AND kind = 0 AND metric = ?"
                f" AND {_AMONG} AND at_us BETWEEN ? AND ? ORDER BY day, seq",
                first, last, metric, sorted({block_of(service) for service in services}), since, until,
            )  # fmt: skip
            series = await tx.fetch(
                f"SELECT day, part, axis, payload FROM sample_slot WHERE day BETWEEN ? AND ? AND kind = 1 AND metric = ?"
                f" AND {_AMONG}",
                first, last, metric, sorted(services),
            )  # fmt: skip
            axes = await self._axes(tx, {(row["day"], row["axis"]) for row in series})
        found: dict[date, PackedDay] = {}
        for row in slots:
            _day(found, row["day"]).slots.append((row["at_us"], row["part"], row["payload"]))
        for row in series:
            day = _day(found, row["day"])
            day.series.append((row["part"], row["axis"], row["payload"]))
            day.axes[row["axis"]] = axes[row["day"], row["axis"]]
        return [found[day] for day in sorted(found)]

    async def _axes(self, tx: Connection, wanted: set[tuple[date, int]]) -> dict[tuple[date, int], bytes]:
        if not wanted:
            return {}
        days = [day for day, _ in wanted]
        rows = await tx.fetch(
            f"SELECT day, part, payload FROM sample_slot WHERE day BETWEEN ? AND ? AND kind = 2 AND metric = '' AND {_AMONG}",
            min(days), max(days), sorted({number for _, number in wanted}),
        )  # fmt: skip
        return {(row["day"], row["part"]): row["payload"] for row in rows}

    async def newest(self, day: date, metric: str, services: Sequence[int], before: int) -> dict[int, Sample]:
        blocks: defaultdict[int, set[int]] = defaultdict(set)
        for service in services:
            blocks[block_of(service)].add(service)
        found: dict[int, Sample] = {}
        async with self._reading() as tx:
            with naming(partition(day)):
                rows = await self._newest_slots(tx, day, metric, sorted(blocks), before, NEWEST_ROWS)
                for block, of_block in rows.items():
                    newest_in_slots(of_block, frozenset(blocks[block]), found)
                short = {block for block, of_block in rows.items() if len(of_block) == NEWEST_ROWS}
                rest = sorted(block for block in short if not blocks[block] <= found.keys())
                for block, of_block in (await self._newest_slots(tx, day, metric, rest, before, None)).items():
                    newest_in_slots(of_block, frozenset(blocks[block]), found)
                await self._newest_series(tx, day, metric, services, before, found)
        return found

    async def _newest_slots(
        self, tx: Connection, day: date, metric: str, blocks: list[int], before: int, limit: int | None
    ) -> dict[int, list[tuple[int, int, bytes]]]:
        if not blocks:
            return {}
        rows = await tx.fetch(
            "SELECT b.value::bigint AS block, s.at_us, s.payload FROM jsonb_array_elements_text(?::jsonb) AS b, LATERAL ("
            " SELECT at_us, seq, payload FROM sample_slot WHERE day = ? AND kind = 0 AND metric = ? AND part = b.value::bigint"
            " AND at_us < ? ORDER BY at_us DESC, seq LIMIT ?) s ORDER BY s.at_us DESC, s.seq",
            blocks, day, metric, before, limit,
        )  # fmt: skip
        found: dict[int, list[tuple[int, int, bytes]]] = {}
        for row in rows:
            found.setdefault(row["block"], []).append((row["at_us"], row["block"], row["payload"]))
        return found

    async def _newest_series(
        self, tx: Connection, day: date, metric: str, services: Sequence[int], before: int, found: dict[int, Sample]
    ) -> None:
        series = await tx.fetch(
            f"SELECT part, axis, payload FROM sample_slot WHERE day = ? AND kind = 1 AND metric = ? AND {_AMONG}",
            day, metric, sorted(services),
        )  # fmt: skip
        packed = await self._axes(tx, {(day, row["axis"]) for row in series})
        axes = {number: codec.unpack_axis(payload) for (_, number), payload in packed.items()}
        for row in series:
            newest_in_series(row["part"], row["payload"], axes[row["axis"]], before, found)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with self._store.transaction() as tx:
            await tx.execute("LOCK TABLE ONLY sample_slot IN ACCESS SHARE MODE")
            yield tx

    # --- days --------------------------------------------------------------------------------------------------------------------

    async def dates(self) -> list[date]:
        return [day for day, _ in await self._sizes(self._store.read)]

    async def _sizes(self, connection: Connection) -> list[tuple[date, int]]:
        rows = await connection.fetch(
            "SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'sample_slot'::regclass ORDER BY c.relname"
        )
        return [(date.fromisoformat(row["name"].rpartition("_")[2]), row["bytes"]) for row in rows]

    async def days(self) -> list[Day]:
        async with self._reading() as tx:
            sizes = await self._sizes(tx)
            found = []
            for day, size in sizes:
                rows = await tx.fetch(f"SELECT EXISTS (SELECT 1 FROM {partition(day)} WHERE kind = 0) AS slots")
                found.append(Day(day, DayState.OPEN if rows[0]["slots"] else DayState.CLOSED, size))
        return found

    @asynccontextmanager
    async def closing(self, day: date) -> AsyncIterator[_Closing]:
        closing = _Closing(self._store, day)
        try:
            await closing.begin()
            yield closing
        except Exception as error:
            if _gone(error):
                raise _overtaken(day) from error
            raise
        finally:
            await closing.end()

    async def drop(self, day: date) -> None:
        self._known.discard(day)
        async with self._store.transaction() as tx:
            await _lock_day(tx, day)
            # In the order in which readers and closings lock.
            await tx.execute("LOCK TABLE ONLY sample_slot IN ACCESS EXCLUSIVE MODE")
            await tx.execute(f"DROP TABLE IF EXISTS {partition(day)}")

    async def close(self) -> None:
        """The connections are the store's."""


class _Closing:
    """See `shelf.Closing`. The new partition grows as a table of its own; what a killed closing left, the next one drops."""

    def __init__(self, store: Store, day: date) -> None:
        self._store = store
        self._day = day
        self._old = partition(day)
        self._new = f"{self._old}_closing_{secrets.token_hex(4)}"
        self._newest = 0
        self._count = 0
        self._axes: dict[bytes, int] = {}
        self.blocks: list[tuple[str, int]] = []

    async def begin(self) -> None:
        async with self._store.transaction() as tx:
            await _lock_day(tx, self._day)
            await tx.execute("LOCK TABLE ONLY sample_slot IN ACCESS SHARE MODE")
            if not await tx.fetch("SELECT 1 AS x WHERE to_regclass(?) IS NOT NULL", self._old):
                return
            left = await tx.fetch(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE ? AND pg_table_is_visible(oid)",
                f"{self._old}_closing_%",
            )
            for row in left:
                await tx.execute(f"DROP TABLE IF EXISTS {row['relname']}")
            rows = await tx.fetch(
                "SELECT metric, part, max(seq) AS newest, count(*) AS count FROM sample_slot WHERE day = ? AND kind = 0"
                " GROUP BY metric, part ORDER BY metric, part",
                self._day,
            )
            self.blocks = [(row["metric"], row["part"]) for row in rows]
            if not rows:
                return
            self._newest = max(row["newest"] for row in rows)
            self._count = sum(row["count"] for row in rows)
            await tx.execute(f"CREATE TABLE {self._new} (LIKE sample_slot INCLUDING ALL)")
            await tx.execute(
                f"ALTER TABLE {self._new} ADD CHECK (day >= '{self._day}' AND day < '{self._day + timedelta(days=1)}')"
            )
            axes = await tx.fetch("SELECT part, payload FROM sample_slot WHERE day = ? AND kind = 2", self._day)
            self._axes = {row["payload"]: row["part"] for row in axes}
            await tx.execute(f"INSERT INTO {self._new} SELECT * FROM sample_slot WHERE day = ? AND kind = 2", self._day)

    async def load(self, metric: str, block: int) -> OpenBlock:
        slots = await self._store.read.fetch(
            "SELECT at_us, module, payload FROM sample_slot"
            " WHERE day = ? AND kind = 0 AND metric = ? AND part = ? AND seq <= ? ORDER BY seq",
            self._day, metric, block, self._newest,
        )  # fmt: skip
        with naming(self._old):
            offsets = {offset for row in slots for offset in codec.slot_offsets(row["payload"])}
        series = await self._store.read.fetch(
            "SELECT s.part, a.payload AS axis, s.payload FROM sample_slot s"
            " JOIN sample_slot a ON a.day = s.day AND a.kind = 2 AND a.metric = '' AND a.part = s.axis"
            " WHERE s.day = ? AND s.kind = 1 AND s.metric = ?"
            " AND s.part IN (SELECT value::bigint FROM jsonb_array_elements_text(?::jsonb))",
            self._day, metric, [block * BLOCK + offset for offset in sorted(offsets)],
        )  # fmt: skip
        return OpenBlock(
            self._old,
            block,
            [(row["at_us"], row["module"], row["payload"]) for row in slots],
            [(row["part"], row["axis"], row["payload"]) for row in series],
        )

    async def put(self, metric: str, closed: ClosedBlock) -> None:
        numbers, rows = [], []
        for axis in closed.axes:
            if axis not in self._axes:
                self._axes[axis] = max(self._axes.values(), default=0) + 1
                rows.append([self._day, AXIS, "", self._axes[axis], 0, 0, "", axis])
            numbers.append(self._axes[axis])
        rows += [
            [self._day, SERIES, metric, service, 0, numbers[axis], "", payload]
            for service, axis, payload in closed.series
        ]
        async with self._store.transaction() as tx:
            await tx.execute_many(INSERT.format(self._new), rows)

    async def finish(self) -> None:
        if not self.blocks:
            return
        async with self._store.transaction() as tx:
            await tx.execute("SET LOCAL statement_timeout = '120s'")
            await _lock_day(tx, self._day)
            # Series without late samples go along as they are.
            await tx.execute(
                f"INSERT INTO {self._new} SELECT o.* FROM {self._old} o WHERE o.kind = 1 AND NOT EXISTS"
                f" (SELECT 1 FROM {self._new} n WHERE n.kind = 1 AND n.metric = o.metric AND n.part = o.part)"
            )
            await tx.execute("LOCK TABLE ONLY sample_slot IN ACCESS EXCLUSIVE MODE")
            rows = await tx.fetch(
                f"SELECT count(*) AS count FROM {self._old} WHERE kind = 0 AND seq <= ?", self._newest
            )
            if rows[0]["count"] != self._count:
                raise _overtaken(self._day)
            await tx.execute(
                f"INSERT INTO {self._new} SELECT * FROM {self._old} WHERE kind = 0 AND seq > ?", self._newest
            )
            await tx.execute(f"DROP TABLE {self._old}")
            await tx.execute(f"ALTER TABLE {self._new} RENAME TO {self._old}")
            await tx.execute(
                f"ALTER TABLE sample_slot ATTACH PARTITION {self._old}"
                f" FOR VALUES FROM ('{self._day}') TO ('{self._day + timedelta(days=1)}')"
            )
        self._new = ""
        self._axes = {}

    async def end(self) -> None:
        """Throw away what isn't in use; when the database can't be reached, the next closing does."""
        if self._new and self.blocks:
            with suppress(Temporary):
                async with self._store.transaction() as tx:
                    await tx.execute(f"DROP TABLE IF EXISTS {self._new}")


_AMONG = "part IN (SELECT value::bigint FROM jsonb_array_elements_text(?::jsonb))"


def _day(found: dict[date, PackedDay], day: date) -> PackedDay:
    return found.setdefault(day, PackedDay(day, partition(day)))


async def _lock_day(tx: Connection, day: date) -> None:
    await tx.execute("SELECT pg_advisory_xact_lock(?, ?)", CLOSING_LOCK, day.toordinal())


def _overtaken(day: date) -> Temporary:
    return Temporary("sample_day_changed", f"{partition(day)}: something else closed or dropped this day meanwhile")


def _cause(error: BaseException | None) -> list[str]:
    """Names of the driver's errors behind one of tortoise's."""
    names = []
    while error is not None:
        names.append(str(getattr(error, "sqlstate", "") or ""))
        names += [str(getattr(part, "sqlstate", "") or "") for part in error.args if isinstance(part, BaseException)]
        error = error.__cause__
    return names


def _no_partition(error: BaseException) -> bool:
    return "23514" in _cause(error)  # check violation: no partition takes the row


def _gone(error: BaseException) -> bool:
    return "42P01" in _cause(error)  # undefined table
