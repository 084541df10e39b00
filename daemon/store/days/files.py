"""Days as SQLite files: `state_dir/samples/YYYY-MM-DD.db`, one a day, apart from the database that holds the money.

tortoise stays out of these files and stdlib's sqlite3 speaks to them, because there is one writer and it writes bulk blobs: no models, no
migrations, a connection that lives for one call. Statements run in threads, and SQLite lets go of the interpreter while it works. An open day
is in WAL mode (readers never wait, `synchronous` NORMAL: a power cut may cost the last reading and damages nothing). Closing shrinks the
file by VACUUM and leaves WAL mode, which makes opening it for reading half as dear.
"""

# ruff: noqa: S608 - what is put into SQL as text are names and dates of our own making

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

import structlog

from daemon.domain.errors import ConfigError
from daemon.store.days import codec
from daemon.store.days.codec import BLOCK, block_of
from daemon.store.days.shapes import ClosedBlock, Day, DayState, OpenBlock, PackedDay, Sample, day_of
from daemon.store.days.shelf import SlotRow, damaged, naming, newest_in_series, newest_in_slots, without_known
from daemon.store.failures import is_unavailable, unavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

FORMAT = 1
"""`user_version` of the files that this build reads and writes."""
PAGE_SIZE = 16_384
"""A dozen slots or series to a page: little is left empty at its end."""
BUSY_SECONDS = 15.0
NOT_A_DAY = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR})
"""What SQLite says of a file that isn't one of ours any more; the last one is a table that is missing."""
SLACK = 8
"""A file of which more than one part in so many is unused has not been shrunk yet."""

COLUMNS = (
    "(metric TEXT NOT NULL, service INTEGER NOT NULL, axis INTEGER NOT NULL, payload BLOB NOT NULL,"
    " PRIMARY KEY (metric, service)) WITHOUT ROWID"
)
TABLES = (
    """
    CREATE TABLE slot (seq INTEGER PRIMARY KEY, metric TEXT NOT NULL, block INTEGER NOT NULL, at_us INTEGER NOT NULL,
        module TEXT NOT NULL, payload BLOB NOT NULL)
    """,
    "CREATE INDEX slot_place ON slot (metric, block, at_us)",
    "CREATE TABLE axis (id INTEGER PRIMARY KEY, payload BLOB NOT NULL UNIQUE)",
    f"CREATE TABLE series {COLUMNS}",
    # What a closing has made so far; of one that was killed, the next one throws it away.
    f"CREATE TABLE closing {COLUMNS}",
)


class Files:
    """The shelf on SQLite."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="samples-write")
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="samples-close")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="samples-read")
        self._one_closing = asyncio.Lock()
        self._closed = False
        self._open: tuple[date, sqlite3.Connection] | None = None
        """The writer's own, kept from round to round; only its thread touches it."""

    def path(self, day: date) -> Path:
        return self._folder / f"{day.isoformat()}.db"

    # --- writing -----------------------------------------------------------------------------------------------------------------

    async def append(self, day: date, at: int, module: str, rows: list[SlotRow]) -> None:
        await _in(self._writer, self._append, day, at, module, rows)

    def _append(self, day: date, at: int, module: str, rows: list[SlotRow]) -> None:
        with self._failing(day):
            db = self._for_writing(day)
            with _transaction(db), naming(str(self.path(day))):
                for row in rows:
                    place = (row.metric, row.block, at)
                    known = db.execute(
                        "SELECT payload FROM slot WHERE metric = ? AND block = ? AND at_us = ?", place
                    ).fetchall()
                    payload = without_known(row, (found for (found,) in known))
                    if payload is not None:
                        db.execute(
                            "INSERT INTO slot (metric, block, at_us, module, payload) VALUES (?, ?, ?, ?, ?)",
                            (*place, module, payload),
                        )

    def _for_writing(self, day: date) -> sqlite3.Connection:
        if self._open is not None:
            if self._open[0] == day and self.path(day).exists():
                return self._open[1]
            self._let_go()
        path = self.path(day)
        if not path.exists():
            _make(path)
        db = _connect(path)
        try:
            _check(db, path)
            _journal(db, "WAL")
        except BaseException:
            db.close()
            raise
        self._open = (day, db)
        return db

    def _let_go(self) -> None:
        if self._open is not None:
            db, self._open = self._open[1], None
            db.close()

    # --- reading -----------------------------------------------------------------------------------------------------------------

    async def read(self, metric: str, services: Sequence[int], since: int, until: int) -> list[PackedDay]:
        first, last = day_of(since), day_of(until)
        dates = [day for day in await self.dates() if first <= day <= last]
        middle = len(dates) // 2  # SQLite lets go of the interpreter: two threads share the work
        halves = await asyncio.gather(
            *(
                _in(self._readers, self._read, half, metric, services, since, until)
                for half in (dates[:middle], dates[middle:])
            )
        )
        return [day for half in halves for day in half]

    def _read(
        self, dates: Sequence[date], metric: str, services: Sequence[int], since: int, until: int
    ) -> list[PackedDay]:
        days = (self._read_day(day, metric, services, since, until) for day in dates)
        return [day for day in days if day is not None]

    def _read_day(self, day: date, metric: str, services: Sequence[int], since: int, until: int) -> PackedDay | None:
        with self._reading(day) as db:
            if db is None:
                return None
            found = PackedDay(day, str(self.path(day)))
            blocks, own = _among({block_of(service) for service in services}), _among(services)
            found.slots = db.execute(
                f"SELECT at_us, block, payload FROM slot WHERE metric = ? AND block IN {blocks} AND at_us BETWEEN ? AND ?"
                " ORDER BY seq",
                (metric, since, until),
            ).fetchall()
            found.series = db.execute(
                f"SELECT service, axis, payload FROM series WHERE metric = ? AND service IN {own}", (metric,)
            ).fetchall()
            if found.series:
                axes = _among({axis for _, axis, _ in found.series})
                found.axes = dict(db.execute(f"SELECT id, payload FROM axis WHERE id IN {axes}"))
            return found

    async def newest(self, day: date, metric: str, services: Sequence[int], before: int) -> dict[int, Sample]:
        return await _in(self._readers, self._newest, day, metric, services, before)

    def _newest(self, day: date, metric: str, services: Sequence[int], before: int) -> dict[int, Sample]:
        found: dict[int, Sample] = {}
        with self._reading(day) as db, naming(str(self.path(day))):
            if db is None:
                return found
            blocks: defaultdict[int, set[int]] = defaultdict(set)
            for service in services:
                blocks[block_of(service)].add(service)
            for block, wanted in blocks.items():
                rows = db.execute(
                    "SELECT at_us, block, payload FROM slot WHERE metric = ? AND block = ? AND at_us < ?"
                    " ORDER BY at_us DESC, seq",
                    (metric, block, before),
                )
                newest_in_slots(rows, frozenset(wanted), found)
            axes: dict[int, list[int]] = {}
            for service, axis, payload in db.execute(
                f"SELECT service, axis, payload FROM series WHERE metric = ? AND service IN {_among(services)}",
                (metric,),
            ):
                if axis not in axes:
                    (packed,) = db.execute("SELECT payload FROM axis WHERE id = ?", (axis,)).fetchone()
                    axes[axis] = codec.unpack_axis(packed)
                newest_in_series(service, payload, axes[axis], before, found)
            return found

    @contextmanager
    def _reading(self, day: date) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees one moment of the day; None when there is nothing in it."""
        path = self.path(day)
        with self._failing(day):
            if not path.exists():
                yield None
                return
            db = _opened(path)
            try:
                db.execute("PRAGMA query_only = 1")
                db.execute("BEGIN")
                _check(db, path)
                yield db
            finally:
                db.close()

    @contextmanager
    def _failing(self, day: date) -> Iterator[None]:
        """Errors of SQLite as ours, with the file's name in them."""
        path = self.path(day)
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, OSError) or is_unavailable(error):
                raise unavailable(f"{path}: {error}") from error
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in NOT_A_DAY:
                raise damaged(str(path), str(error)) from error
            raise

    # --- days --------------------------------------------------------------------------------------------------------------------

    async def dates(self) -> list[date]:
        return await _in(self._readers, self._dates)

    def _dates(self) -> list[date]:
        found = []
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                with suppress(ValueError):
                    if path.suffix == ".db":
                        found.append(date.fromisoformat(path.stem))
        return sorted(found)

    async def days(self) -> list[Day]:
        return await _in(self._readers, lambda: [self._day(day) for day in self._dates()])

    def _day(self, day: date) -> Day:
        path = self.path(day)
        size = sum(side.stat().st_size for side in _sides(path) if side.exists())
        try:
            with self._reading(day) as db:
                closed = db is not None and not _has_slots(db) and not _slack(db)
        except Exception as error:  # noqa: BLE001 - the list must come, whatever is wrong with one file
            log.warning("samples.day_unreadable", day=day.isoformat(), error=str(error))
            return Day(day, DayState.DAMAGED, size)
        return Day(day, DayState.CLOSED if closed else DayState.OPEN, size)

    @asynccontextmanager
    async def closing(self, day: date) -> AsyncIterator[_Closing]:
        async with self._one_closing:
            closing = _Closing(self, day)
            try:
                await _in(self._closer, closing.begin)
                yield closing
            finally:
                await _in(self._closer, closing.end)

    async def drop(self, day: date) -> None:
        async with self._one_closing:
            await _in(self._writer, self._drop, day)

    def _drop(self, day: date) -> None:
        if self._open is not None and self._open[0] == day:
            self._let_go()
        path = self.path(day)
        with self._failing(day):
            # The log first: left alone it would be taken for that of a later file of the same name.
            for side in reversed(_sides(path)):
                side.unlink(missing_ok=True)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await _in(self._writer, self._let_go)
        for pool in (self._writer, self._closer, self._readers):
            pool.shutdown(wait=False)


class _Closing:
    """See `shelf.Closing`. Runs in the closer's thread, in small transactions of its own until the last one."""

    def __init__(self, files: Files, day: date) -> None:
        self._files = files
        self._path = files.path(day)
        self._day = day
        self._db: sqlite3.Connection | None = None
        self._newest = 0
        self.blocks: list[tuple[str, int]] = []

    @property
    def _there(self) -> sqlite3.Connection:
        assert self._db is not None
        return self._db

    def begin(self) -> None:
        if not self._path.exists():
            return
        with self._files._failing(self._day):  # noqa: SLF001 - a part of it
            self._db = _connect(self._path)
            _check(self._db, self._path)
            _journal(self._db, "WAL")
            with _transaction(self._db):
                self._db.execute("DELETE FROM closing")
                (self._newest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM slot").fetchone()
                self.blocks = self._db.execute(
                    "SELECT DISTINCT metric, block FROM slot ORDER BY metric, block"
                ).fetchall()

    async def load(self, metric: str, block: int) -> OpenBlock:
        return await _in(self._files._closer, self._load, metric, block)  # noqa: SLF001 - as above

    def _load(self, metric: str, block: int) -> OpenBlock:
        with self._files._failing(self._day):  # noqa: SLF001 - as above
            slots = self._there.execute(
                "SELECT at_us, module, payload FROM slot WHERE metric = ? AND block = ? AND seq <= ? ORDER BY seq",
                (metric, block, self._newest),
            ).fetchall()
            with naming(str(self._path)):
                offsets = {offset for _, _, payload in slots for offset in codec.slot_offsets(payload)}
            series = self._there.execute(
                "SELECT s.service, a.payload, s.payload FROM series s JOIN axis a ON a.id = s.axis"
                f" WHERE s.metric = ? AND s.service IN {_among(block * BLOCK + offset for offset in offsets)}",
                (metric,),
            ).fetchall()
        return OpenBlock(str(self._path), block, slots, series)

    async def put(self, metric: str, closed: ClosedBlock) -> None:
        await _in(self._files._closer, self._put, metric, closed)  # noqa: SLF001 - as above

    def _put(self, metric: str, closed: ClosedBlock) -> None:
        with self._files._failing(self._day), _transaction(self._there):  # noqa: SLF001 - as above
            numbers = []
            for axis in closed.axes:
                self._there.execute("INSERT OR IGNORE INTO axis (payload) VALUES (?)", (axis,))
                numbers += self._there.execute("SELECT id FROM axis WHERE payload = ?", (axis,)).fetchone()
            self._there.executemany(
                "INSERT INTO closing (metric, service, axis, payload) VALUES (?, ?, ?, ?)",
                ((metric, service, numbers[axis], payload) for service, axis, payload in closed.series),
            )

    async def finish(self) -> None:
        if self._db is not None:
            await _in(self._files._closer, self._finish)  # noqa: SLF001 - as above

    def _finish(self) -> None:
        with self._files._failing(self._day):  # noqa: SLF001 - as above
            if self.blocks:
                with _transaction(self._there):
                    self._there.execute("REPLACE INTO series SELECT * FROM closing ORDER BY metric, service")
                    (late,) = self._there.execute(
                        "SELECT EXISTS (SELECT 1 FROM slot WHERE seq > ?)", (self._newest,)
                    ).fetchone()
                    # Without a condition SQLite frees whole pages unread.
                    self._there.execute(f"DELETE FROM slot WHERE seq <= {self._newest}" if late else "DELETE FROM slot")
                    self._there.execute("DELETE FROM closing")
                    self._there.execute("DELETE FROM axis WHERE id NOT IN (SELECT axis FROM series)")
            if _slack(self._there):
                self._shrink()
            _journal(self._there, "DELETE")

    def _shrink(self) -> None:
        """Give back what is unused; when that can't be done now, the day counts as open until a later closing does it."""
        try:
            self._there.execute("VACUUM")
            self._there.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:
            log.warning("samples.not_shrunk", file=str(self._path), error=str(error))

    def end(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            db.close()


async def _in(pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work, *args)


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _connect(path: Path) -> sqlite3.Connection:
    db = _opened(path)
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _make(path: Path) -> None:
    """An empty day, made under another name and then renamed: a file without our tables is always a damaged one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    for side in _sides(fresh):
        side.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = _connect(fresh)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.execute("PRAGMA journal_mode = WAL")
        with _transaction(db):
            for statement in TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {FORMAT}")
    finally:
        db.close()
    fresh.rename(path)


def _check(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise ConfigError(
            "sample_day_newer", f"{path}: this day of samples was written by a newer provisiond; install that version"
        )
    if version < FORMAT:
        raise damaged(str(path), "its tables are missing")


def _journal(db: sqlite3.Connection, mode: Literal["WAL", "DELETE"]) -> None:
    """Either does; while somebody reads, it stays as it is."""
    db.execute("PRAGMA busy_timeout = 0")
    with suppress(sqlite3.OperationalError):
        db.execute(f"PRAGMA journal_mode = {mode}")
    db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")


def _has_slots(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM slot)").fetchone()[0])


def _slack(db: sqlite3.Connection) -> bool:
    (pages,), (unused,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
    return bool(unused * SLACK > pages)


def _sides(path: Path) -> list[Path]:
    """A file and those that SQLite keeps beside it."""
    return [path, *(path.with_name(path.name + end) for end in ("-shm", "-wal", "-journal"))]


def _among(numbers: Iterable[int]) -> str:
    """The right side of IN. Written out, it makes reading a day a third cheaper than json_each, which takes long to prepare."""
    return "(" + ",".join(map(str, sorted(numbers))) + ")"


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
