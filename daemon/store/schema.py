"""Whether a database has the tables this build needs, and making it so.

The database says its version and the oldest version of the schema a build may know to use it. A migration that only adds leaves that
number alone, so that nodes can be upgraded one by one; one that older builds can't live with raises it, and those refuse to start.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from enum import StrEnum
from pathlib import Path
from typing import Any

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext
from tortoise.migrations.executor import MigrationExecutor
from tortoise.migrations.loader import MigrationLoader
from tortoise.migrations.recorder import MigrationRecorder
from tortoise.migrations.schema_editor.base import BaseSchemaEditor
from tortoise.transactions import in_transaction

from daemon.domain.clock import Clock, SystemClock
from daemon.domain.errors import ConfigError, ProvisiondError
from daemon.store.database import connect, tortoise_config
from daemon.store.failures import is_no_database, translated
from daemon.store.repositories import Repositories
from daemon.store.targets import SqliteTarget, Target

VERSION = 5
"""The number of the newest migration that this build knows."""
OLDEST = 5
"""Builds that know less than this can't use a database that this build has migrated."""

VERSION_FACT = "schema_version"
OLDEST_FACT = "schema_oldest"
MIGRATION_LOCK = 7_305_118
"""Our number among PostgreSQL's advisory locks, so that two nodes don't migrate at once."""


class _Recorder(MigrationRecorder):
    """tortoise writes asyncpg's placeholders for every PostgreSQL driver; psycopg has others."""

    def _placeholder(self, pos: int) -> str:
        return "%s" if self._dialect == "postgres" else super()._placeholder(pos)

    async def ensure_schema(self, schema_editor: BaseSchemaEditor) -> None:
        # As a plain statement: sqlite3 ends the transaction before it runs a script.
        created = schema_editor._get_model_sql_data(self.model).table_sql  # noqa: SLF001 - what the original does
        await self.connection.execute_query(created.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1))


class _Executor(MigrationExecutor):
    def __init__(self, connection: BaseDBAsyncClient, apps: dict[str, Any]) -> None:
        super().__init__(connection, apps)
        self.recorder = _Recorder(connection)
        self.loader = MigrationLoader(apps, self.recorder)

    async def run(self) -> None:
        # First of all: the original looks into this table before it makes it, which PostgreSQL forgives in no transaction.
        await self.recorder.ensure_schema(self._schema_editor(atomic=False))
        await self.migrate()


class State(StrEnum):
    CURRENT = "current"
    """This build can use it; the schema may even be newer, with additions only."""
    MISSING = "missing"
    FOREIGN = "foreign"
    """A SQLite file that another program has made."""
    OLDER = "older"
    """`migrate` makes it current."""
    NEWER = "newer"
    """Made by a newer build, and this one can't use it."""


async def state(target: Target, *, clock: Clock | None = None) -> State:
    if isinstance(target, SqliteTarget):
        names = _names_in(target.path)
        if "fact" not in names:
            return State.FOREIGN if names else State.MISSING
    async with _opened(target) as context:
        return await state_of(_repositories(context, target, clock))


async def migrate(target: Target, *, clock: Clock | None = None) -> State:
    """Make or upgrade the tables; what the database was before. A newer one is refused."""
    if isinstance(target, SqliteTarget):
        found = await state(target, clock=clock)
        if found is State.FOREIGN:
            raise refusal(target, found)
        if found is State.MISSING:
            await _create_file(target, clock)
            return found
    async with _opened(target) as context:
        return await _migrate(context, target, clock)


async def ready(target: Target, *, clock: Clock | None = None) -> None:
    """What a daemon does before it opens its store: make a first SQLite file, or refuse what this build can't use."""
    found = await state(target, clock=clock)
    if found is State.MISSING and isinstance(target, SqliteTarget):
        await _create_file(target, clock)
    elif found is not State.CURRENT:
        raise refusal(target, found)


def refusal(target: Target, found: State) -> ConfigError:
    """Why this build can't use the database as it is, and what to do about it."""
    if found is State.FOREIGN:
        return ConfigError(
            "schema_missing",
            f"{target}: this file holds tables of something else and none of provisiond's; move it away and start again",
        )
    if found is State.NEWER:
        sentence = (
            f"{target}: this database was upgraded by a newer provisiond; install that version (or restore a backup)"
        )
    elif found is State.MISSING:
        sentence = f"{target}: this database doesn't hold provisiond's tables; `provisiond db migrate` makes them"
    else:
        sentence = f"{target}: this database is of an older version; stop all nodes and run `provisiond db migrate`"
    return ConfigError(f"schema_{found}", sentence)


async def _create_file(target: SqliteTarget, clock: Clock | None) -> None:
    """Made under another name and then renamed, so that a first start that is killed leaves nothing half-done."""
    fresh = SqliteTarget(target.path.with_name(target.path.name + ".new"), target.synchronous)
    for leftover in (
        fresh.path,
        fresh.path.with_name(fresh.path.name + "-wal"),
        fresh.path.with_name(fresh.path.name + "-shm"),
    ):
        leftover.unlink(missing_ok=True)
    async with _opened(fresh) as context:
        await _migrate(context, fresh, clock)
        # The rename takes the file alone: everything must be in it, not in a WAL that two closing connections leave to each other.
        await context.connections.get(fresh.dialect).execute_query("PRAGMA wal_checkpoint(TRUNCATE)")
    fresh.path.rename(target.path)


def _names_in(path: Path) -> frozenset[str]:
    """Tables, indexes and so on of a SQLite file; none where there is no file. Nothing is changed, whoever made the file."""
    if not path.exists():
        return frozenset()
    try:
        with translated(), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as file:
            return frozenset(name for (name,) in file.execute("SELECT name FROM sqlite_master"))
    except sqlite3.DatabaseError as error:
        if not is_no_database(error):
            raise
        raise ConfigError(
            "not_a_database",
            f"{path}: this file is not a SQLite database, or it is damaged; restore a backup, or move it away",
        ) from error


async def _migrate(context: TortoiseContext, target: Target, clock: Clock | None) -> State:
    repositories = _repositories(context, target, clock)
    before = await state_of(repositories)
    if before is State.NEWER:
        raise refusal(target, before)
    if before is State.CURRENT:
        return before
    with context:
        # All of it in one transaction, the note of what was done included: killed in between, nothing has happened.
        async with _alone(context, target), in_transaction(target.dialect) as client:
            await _Executor(client, tortoise_config(target)["apps"]).run()
            facts = Repositories(client, target.dialect, clock or SystemClock()).facts
            await facts.put(VERSION_FACT, str(VERSION))
            await facts.put(OLDEST_FACT, str(OLDEST))
    return before


async def state_of(repositories: Repositories) -> State:
    """The same through a store that is open already: a running daemon asks now and then, and ends when it has become too old."""
    if not await _has_facts(repositories):
        return State.MISSING
    version, oldest = await repositories.facts.get(VERSION_FACT), await repositories.facts.get(OLDEST_FACT)
    if version is None or oldest is None or int(version) < VERSION:
        return State.OLDER
    return State.CURRENT if int(oldest) <= VERSION else State.NEWER


async def _has_facts(repositories: Repositories) -> bool:
    if repositories.dialect == "sqlite":
        return bool(await repositories.fetch("SELECT 1 AS x FROM sqlite_master WHERE type = 'table' AND name = 'fact'"))
    return bool(await repositories.fetch("SELECT 1 AS x WHERE to_regclass('fact') IS NOT NULL"))


def _repositories(context: TortoiseContext, target: Target, clock: Clock | None) -> Repositories:
    return Repositories(context.connections.get(f"{target.dialect}_read"), target.dialect, clock or SystemClock())


@asynccontextmanager
async def _opened(target: Target) -> AsyncIterator[TortoiseContext]:
    context = await connect(target, patient=True)
    try:
        with translated():
            yield context
    finally:
        for name in (f"{target.dialect}_read", target.dialect):  # the writer last, see Store.close
            await context.connections.get(name).close()


@asynccontextmanager
async def _alone(context: TortoiseContext, target: Target) -> AsyncIterator[None]:
    """One migration at a time: on SQLite the lock of `state_dir` sees to it."""
    if target.dialect == "sqlite":
        yield
        return
    pool = context.connections.get(target.dialect)._pool  # noqa: SLF001 - an advisory lock needs a session of its own
    async with pool.connection() as session:
        await session.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        try:
            yield
        finally:
            await session.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])


def main() -> int:
    """Make the SQLite file that the command line names: a process of its own gives back the memory that migrations need."""
    try:
        asyncio.run(ready(SqliteTarget(Path(sys.argv[1]))))
    except (ProvisiondError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
