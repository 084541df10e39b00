"""Transactions, reads beside them, cancellation, group commit, and a server that goes away."""

from __future__ import annotations

import asyncio
import contextvars
import stat
from pathlib import Path

import psycopg
import pytest
from tortoise.exceptions import IntegrityError, TransactionManagementError

from daemon.domain.clock import VirtualClock
from daemon.domain.errors import ConfigError, Temporary
from daemon.engine.queue_schema import conninfo
from daemon.store.database import Store
from daemon.store.models import CustomerRow
from daemon.store.repositories import Repositories
from daemon.store.targets import PostgresTarget, SqliteTarget, Target


async def test_a_committed_write_is_read(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.facts.put("colour", "green")
    assert await store.read.facts.get("colour") == "green"


async def test_a_block_that_raises_leaves_nothing(store: Store) -> None:
    async def work() -> None:
        async with store.transaction() as tx:
            await tx.facts.put("colour", "green")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await store.read.facts.get("colour") is None


async def test_a_read_neither_waits_for_a_transaction_nor_sees_its_writes(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.facts.put("colour", "green")
        async with asyncio.timeout(1):
            assert await store.read.facts.get("colour") is None
    assert await store.read.facts.get("colour") == "green"


async def test_reading_cannot_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"readonly|read-only"):
        await store.read.facts.put("colour", "green")
    assert await store.read.facts.get("colour") is None


async def test_models_work_in_a_task_that_knows_nothing_of_the_store(store: Store, clock: VirtualClock) -> None:
    async def work() -> str:
        async with store.transaction() as tx:
            await CustomerRow.create(ref="C-1", name="n", email="e", created_at=clock.now(), using_db=tx.db)
        row = await CustomerRow.filter(ref="C-1").using_db(store.read.db).get()
        return row.name

    assert await asyncio.create_task(work(), context=contextvars.Context()) == "n"


async def test_a_query_without_using_db_is_refused(store: Store) -> None:
    with pytest.raises(RuntimeError, match="using_db"):
        await CustomerRow.filter(ref="C-1")


# one process, several stores ------------------------------------------------------------------------------------------------


async def test_stores_of_both_kinds_work_one_after_the_other(
    sqlite_target: SqliteTarget, postgres_target: PostgresTarget, clock: VirtualClock
) -> None:
    targets: list[Target] = [sqlite_target, postgres_target, sqlite_target, postgres_target]
    for number, target in enumerate(targets):
        store = await Store.open(target, clock=clock)
        async with store.transaction() as tx:
            await CustomerRow.create(ref=f"C-{number}", name="n", email="e", created_at=clock.now(), using_db=tx.db)
        found = await CustomerRow.filter(ref=f"C-{number}").using_db(store.read.db).first()
        assert found is not None
        assert found.created_at == clock.now()
        await store.close()


async def test_stores_of_both_kinds_at_once_are_refused(
    sqlite_store: Store, postgres_target: PostgresTarget, clock: VirtualClock
) -> None:
    with pytest.raises(RuntimeError, match="at once"):
        await Store.open(postgres_target, clock=clock)
    await sqlite_store.ping()


async def test_two_stores_of_one_database_see_each_others_commits(
    store: Store, target: Target, clock: VirtualClock
) -> None:
    other = await Store.open(target, clock=clock)
    async with other.transaction() as tx:
        await CustomerRow.create(ref="C-1", name="n", email="e", created_at=clock.now(), using_db=tx.db)
    assert await CustomerRow.filter(ref="C-1").using_db(store.read.db).exists()
    await other.close()
    assert await CustomerRow.filter(ref="C-1").using_db(store.read.db).exists()


# cancellation ---------------------------------------------------------------------------------------------------------------


async def test_a_cancelled_transaction_leaves_nothing_and_the_next_one_works(store: Store) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with store.transaction() as tx:
            await tx.facts.put("colour", "green")
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.read.facts.get("colour") is None
    async with store.transaction() as tx:
        await tx.facts.put("colour", "blue")
    assert await store.read.facts.get("colour") == "blue"


async def test_tasks_cancelled_at_any_moment_never_leave_half_a_transaction(store: Store) -> None:
    async def work(n: int) -> None:
        async with store.transaction() as tx:
            await tx.facts.put(f"left-{n}", "1")
            await tx.facts.put(f"right-{n}", "1")

    for n in range(60):
        task = asyncio.create_task(work(n))
        for _ in range(n % 20):
            await asyncio.sleep(0)
        if n % 3 == 0:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait({task})
    names = {row["name"] for row in await store.read.fetch("SELECT name FROM fact")}
    assert {name[5:] for name in names if name.startswith("left-")} == {
        name[6:] for name in names if name.startswith("right-")
    }
    async with store.transaction() as tx:
        await tx.facts.put("colour", "green")


# parts of a transaction -----------------------------------------------------------------------------------------------------


async def test_a_part_that_fails_is_undone_alone(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.facts.put("colour", "green")
        with pytest.raises(IntegrityError):
            await _in_a_part(tx)
        await tx.facts.put("size", "small")
    assert [await store.read.facts.get(name) for name in ("colour", "shape", "size")] == ["green", None, "small"]


async def _in_a_part(tx: Repositories) -> None:
    async with tx.savepoint():
        await tx.facts.put("shape", "round")
        await tx.execute("INSERT INTO fact (name, value) VALUES ('colour', 'red')")


async def test_a_swallowed_error_is_not_taken_for_a_commit(postgres_store: Store) -> None:
    async def work() -> None:
        async with postgres_store.transaction() as tx:
            await tx.facts.put("colour", "green")
            with pytest.raises(IntegrityError):
                await tx.execute("INSERT INTO fact (name, value) VALUES ('colour', 'red')")

    with pytest.raises(TransactionManagementError, match="savepoint"):
        await work()
    assert await postgres_store.read.facts.get("colour") is None


# group commit ---------------------------------------------------------------------------------------------------------------


async def test_batched_writes_of_many_callers_are_all_there_when_they_return(store: Store) -> None:
    async def write(n: int) -> int:
        async def put(tx: Repositories) -> int:
            await tx.facts.put(f"n{n}", str(n))
            return n

        result = await store.batched(put)
        assert await store.read.facts.get(f"n{n}") == str(n)
        return result

    assert await asyncio.gather(*(write(n) for n in range(50))) == list(range(50))


async def test_a_batched_write_that_fails_fails_alone(store: Store) -> None:
    async def write(n: int) -> None:
        async def put(tx: Repositories) -> None:
            await tx.execute("INSERT INTO fact (name, value) VALUES (?, 'x')", "same" if n in (3, 7) else f"n{n}")

        await store.batched(put)

    results = await asyncio.gather(*(write(n) for n in range(10)), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [IntegrityError]
    rows = await store.read.fetch("SELECT name FROM fact WHERE value = 'x'")
    assert len(rows) == 9


async def test_a_caller_cancelled_while_its_write_waits_hurts_nobody(store: Store) -> None:
    async def write(n: int) -> None:
        async def put(tx: Repositories) -> None:
            await tx.facts.put(f"n{n}", "x")

        await store.batched(put)

    tasks = [asyncio.create_task(write(n)) for n in range(10)]
    await asyncio.sleep(0)
    tasks[4].cancel()
    await asyncio.wait(tasks)
    assert [n for n, task in enumerate(tasks) if task.cancelled()] == [4]
    assert await store.read.facts.get("n9") == "x"


# what the database is like --------------------------------------------------------------------------------------------------


async def test_postgresql_connections_have_their_limits(postgres_store: Store) -> None:
    async with postgres_store.transaction() as tx:
        shown = {
            name: (await tx.fetch(f"SHOW {name}"))[0]
            for name in (
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "timezone",
                "application_name",
                "tcp_keepalives_idle",
            )
        }
    values = {name: next(iter(row.values())) for name, row in shown.items()}
    assert values == {
        "statement_timeout": "10s",
        "idle_in_transaction_session_timeout": "8s",
        "timezone": "UTC",
        "application_name": "provisiond",
        "tcp_keepalives_idle": "5",
    }


async def test_sqlite_is_set_to_lose_nothing(sqlite_template, tmp_path: Path, clock: VirtualClock) -> None:
    target = SqliteTarget(sqlite_template.copy(tmp_path / "full.db").path)
    store = await Store.open(target, clock=clock)
    async with store.transaction() as tx:
        values = [
            next(iter((await tx.fetch(f"PRAGMA {name}"))[0].values()))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 2, 1, 5000]
    await store.close()


async def test_files_of_the_database_are_for_us_only(sqlite_target: SqliteTarget, clock: VirtualClock) -> None:
    store = await Store.open(sqlite_target, clock=clock)
    async with store.transaction() as tx:
        await tx.facts.put("colour", "green")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sqlite_target.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "provisiond.db-wal" in modes
    await store.close()


async def test_opening_a_file_that_is_not_there_names_the_command_that_makes_it(
    tmp_path: Path, clock: VirtualClock
) -> None:
    with pytest.raises(ConfigError, match="db migrate"):
        await Store.open(SqliteTarget(tmp_path / "none.db"), clock=clock)
    assert not (tmp_path / "none.db").exists()


async def test_a_server_that_throws_us_out_is_temporary_and_then_well_again(postgres_store: Store) -> None:
    target = postgres_store.target
    assert isinstance(target, PostgresTarget)

    async def work() -> None:
        async with postgres_store.transaction() as tx:
            await tx.facts.put("colour", "green")
            async with await psycopg.AsyncConnection.connect(conninfo(target), autocommit=True) as other:
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            await tx.facts.put("shape", "round")

    with pytest.raises(Temporary) as caught:
        await work()
    assert caught.value.code == "database_unavailable"
    async with asyncio.timeout(10):
        await postgres_store.ping()
    assert await postgres_store.read.facts.get("colour") is None


async def test_a_server_that_is_not_there_is_temporary(clock: VirtualClock) -> None:
    with pytest.raises(Temporary) as caught:
        await Store.open(PostgresTarget("127.0.0.1", 1, "nobody", "none"), clock=clock)
    assert caught.value.code == "database_unavailable"


async def test_a_locked_sqlite_file_is_temporary(
    sqlite_target: SqliteTarget, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.store.database.BUSY_TIMEOUT_MS", 50)
    first, second = [await Store.open(sqlite_target, clock=clock) for _ in range(2)]

    async def write() -> None:
        async with second.transaction() as tx:
            await tx.facts.put("colour", "green")

    async with first.transaction():
        with pytest.raises(Temporary):
            await write()
    await write()
    await first.close()
    await second.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u@db.example.test/name", ("db.example.test", 5432, "u", "name")),
        ("postgresql://u@127.0.0.1:6543/name", ("127.0.0.1", 6543, "u", "name")),
        ("postgresql://u@/name?host=/run/postgresql", ("/run/postgresql", 5432, "u", "name")),
        ("postgresql://u@%2Frun%2Fpostgresql/name", ("/run/postgresql", 5432, "u", "name")),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: tuple[str, int, str, str]) -> None:
    target = PostgresTarget.from_url(url, "secret")
    assert (target.host, target.port, target.user, target.database) == expected
    assert "secret" not in repr(target)
    assert "secret" not in str(target)


def test_a_server_elsewhere_is_verified_unless_the_url_says_how() -> None:
    assert PostgresTarget.from_url("postgresql://u@db.example.test/n").conninfo()["sslmode"] == "verify-full"
    assert "sslmode" not in PostgresTarget.from_url("postgresql://u@127.0.0.1/n").conninfo()
    own = PostgresTarget.from_url("postgresql://u@db.example.test/n?sslrootcert=/etc/ca.pem").conninfo()
    assert (own["sslmode"], own["sslrootcert"]) == ("verify-full", "/etc/ca.pem")
