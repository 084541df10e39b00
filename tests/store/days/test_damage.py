"""Damaged days, killed closings, and files as they are on disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from daemon.domain.errors import ConfigError, Permanent
from daemon.store.database import Store
from daemon.store.days.shapes import DayState
from daemon.store.days.store import DayStore
from daemon.store.targets import PostgresTarget
from tests.store.days.conftest import HERE

DAY = date(2026, 1, 5)
START = datetime(2026, 1, 5, tzinfo=UTC)
FIVE = timedelta(minutes=5)
END = START + timedelta(days=1)


async def fill(days: DayStore, start: datetime = START, slots: int = 30, services: int = 300) -> None:
    for number in range(slots):
        reading = {service: (service * 10**9 + number * 10**6, 0) for service in range(services)}
        await days.append(start + number * FIVE, "dci", {"in": reading, "out": reading})


async def both(days: DayStore) -> list[object]:
    return [await days.series(metric, service, START, END) for metric in ("in", "out") for service in (0, 150, 299)]


KILLED = """
import asyncio, os, signal, sys
from datetime import date
from pathlib import Path
from daemon.domain.clock import VirtualClock
from daemon.store.database import Store
from daemon.store.days import files, partitions
from daemon.store.days.store import DayStore
from daemon.store.targets import PostgresTarget, SqliteTarget
from tests.store.days.conftest import HERE

async def main(target, folder, edge):
    store = await Store.open(target, clock=VirtualClock())
    days = DayStore.of(store, Path(folder), HERE)
    step = 0
    def edge_reached():
        nonlocal step
        step += 1
        if step == edge:
            os.kill(os.getpid(), signal.SIGKILL)
    async with days._shelf.closing(date(2026, 1, 5)) as closing:
        edge_reached()
        for metric, block in closing.blocks:
            work = await closing.load(metric, block)
            await closing.put(metric, await HERE.encode(work))
            edge_reached()
        if edge < 0:
            # somewhere within the last transaction, or the shrinking after it
            import threading, time
            threading.Thread(target=lambda: (time.sleep(-edge / 1000), os.kill(os.getpid(), signal.SIGKILL)), daemon=True).start()
        await closing.finish()
        edge_reached()
    await days.close()
    await store.close()

asyncio.run(main({target!r}, {folder!r}, {edge}))
"""


@pytest.mark.parametrize("edge", [1, 3, 7, 8, -1, -4, -10, -25])
async def test_a_closing_that_is_killed_leaves_a_readable_day_that_can_be_closed(
    store: Store, days: DayStore, tmp_path: Path, edge: int
) -> None:
    target = store.target
    await fill(days)
    before = await both(days)
    script = KILLED.format(target=target, folder=str(tmp_path / "state"), edge=edge).replace("PosixPath(", "Path(")
    done = subprocess.run([sys.executable, "-c", script], timeout=60, stderr=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL or edge < 0, done.stderr
    assert await both(days) == before
    await days.append(END - FIVE, "dci", {"in": {5: (1, 0)}})
    await days.close_day(DAY)
    assert await both(days) == before
    assert len(await days.series("in", 5, START, END)) == 31
    assert [day.state for day in await days.days()] == [DayState.CLOSED]
    if isinstance(target, PostgresTarget):
        left = await store.read.fetch(
            "SELECT relname FROM pg_class WHERE relname LIKE ? AND relkind = 'r'", "sample_slot_%_closing_%"
        )
        assert left == []


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "samples" / "2026-01-05.db"


@pytest.fixture
async def on_files(sqlite_store: Store, tmp_path: Path):
    opened = DayStore.of(sqlite_store, tmp_path / "state", HERE)
    yield opened
    await opened.close()


def scribble(path: Path) -> None:
    with path.open("r+b") as handle:
        handle.write(b"not a database at all")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def another(path: Path) -> None:
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE something (x)").connection.close()


@pytest.mark.parametrize("damage", [scribble, cut, emptied, another])
async def test_a_damaged_file_is_named_and_the_other_days_go_on(on_files: DayStore, file: Path, damage) -> None:
    await fill(on_files, services=200)
    await fill(on_files, START + timedelta(days=1), services=200)
    await on_files.close_day(DAY)
    damage(file)
    with pytest.raises(Permanent, match=r"2026-01-05\.db") as caught:
        await on_files.series("in", 150, START, END + timedelta(days=2))
    assert caught.value.code == "sample_day_damaged"
    for attempt in (
        on_files.bulk("in", [150], START, END),
        on_files.append(START, "dci", {"in": {1: (1, 1)}}),
        on_files.close_day(DAY),
    ):
        with pytest.raises(Permanent, match=r"2026-01-05\.db"):
            await attempt
    assert len(await on_files.series("in", 150, START + timedelta(days=1), END + timedelta(days=2))) == 30
    await on_files.append(START + timedelta(days=1, hours=20), "dci", {"in": {150: (1, 1)}})
    await on_files.close_day(DAY + timedelta(days=1))
    assert {day.date: day.state for day in await on_files.days()} == {
        DAY: DayState.DAMAGED,
        DAY + timedelta(days=1): DayState.CLOSED,
    }
    await on_files.drop_day(DAY)
    assert len(await on_files.series("in", 150, START, END + timedelta(days=2))) == 31


async def test_bytes_that_changed_within_a_partition_are_noticed(postgres_store: Store, tmp_path: Path) -> None:
    days = DayStore.of(postgres_store, tmp_path, HERE)
    await fill(days, slots=3)
    await days.close_day(DAY)
    async with postgres_store.transaction() as tx:
        await tx.execute("UPDATE sample_slot SET payload = set_byte(payload, 20, 99) WHERE kind = 1 AND part = 150")
    with pytest.raises(Permanent, match="sample_slot_20260105"):
        await days.series("in", 150, START, END)
    with pytest.raises(Permanent, match="sample_slot_20260105"):
        await days.bulk("in", [1, 150], START, END)
    with pytest.raises(Permanent, match="sample_slot_20260105"):
        await days.last("in", [1, 150], END)
    assert len(await days.series("in", 151, START, END)) == 3


async def test_files_are_for_us_only_and_nothing_is_left_beside_a_closed_day(on_files: DayStore, file: Path) -> None:
    await fill(on_files, slots=150)
    (open_day,) = await on_files.days()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    await on_files.close_day(DAY)
    await on_files.close()
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.stat().st_size < open_day.bytes / 2


async def test_a_file_of_a_newer_build_is_refused(on_files: DayStore, file: Path) -> None:
    await fill(on_files, slots=1)
    await on_files.close_day(DAY)
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match="newer provisiond"):
        await on_files.series("in", 1, START, END)


async def test_a_file_whose_making_was_killed_is_no_hindrance(on_files: DayStore, file: Path) -> None:
    file.parent.mkdir(parents=True)
    file.with_name(file.name + ".new").write_bytes(b"half a file")
    await fill(on_files, slots=1)
    assert len(await on_files.series("in", 1, START, END)) == 1
    assert [day.state for day in await on_files.days()] == [DayState.OPEN]
