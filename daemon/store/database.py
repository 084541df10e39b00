"""The store: one writing connection (or pool), one for reading, and transactions over them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.context import TortoiseContext

from daemon.domain.clock import Clock
from daemon.domain.errors import ConfigError
from daemon.store.batch import Batch
from daemon.store.binding import BINDING
from daemon.store.connection import Dialect
from daemon.store.failures import translated, translating, unavailable
from daemon.store.repositories import Repositories
from daemon.store.targets import PostgresTarget, SqliteTarget, Target, require_postgres_extra
from daemon.store.transaction import to_the_end, transaction

T = TypeVar("T")

APP = "provisiond"
STATEMENT_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_MS = 8_000
"""Well under a node's lease: a frozen node's row locks must not outlive it."""
BUSY_TIMEOUT_MS = 5_000


class Store:
    """The database behind one daemon. Make it with `Store.open`."""

    def __init__(self, target: Target, clock: Clock, writer: BaseDBAsyncClient, reader: BaseDBAsyncClient) -> None:
        self.target = target
        self.clock = clock
        self.dialect: Dialect = target.dialect
        self._writer = writer
        self._reader = reader
        self.read = Repositories(reader, self.dialect, clock)
        """For reading outside transactions: sees what is committed, never waits for a transaction, can't write."""
        self._batch = Batch(self.transaction)

    @classmethod
    async def open(cls, target: Target, *, clock: Clock) -> Store:
        """Connect to a database whose schema is there already (see `schema.py`)."""
        if isinstance(target, SqliteTarget) and not target.path.exists():
            raise ConfigError("no_database", f"{target.path}: there is no database; `provisiond db migrate` makes one")
        BINDING.claim(target.dialect)
        try:
            context = await connect(target)
        except BaseException:
            BINDING.release()
            raise
        # A task that enters no context of its own keeps what these names stand for now; we keep the connections themselves.
        writer, reader = context.connections.get(target.dialect), context.connections.get(f"{target.dialect}_read")
        translating(writer)
        translating(reader)
        BINDING.bind(context, writer)
        return cls(target, clock, writer, reader)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Repositories]:
        """Committed when the block ends; rolled back when it raises or is cancelled. No network call inside.

        Temporary `database_unavailable` from here means that nobody knows whether the commit came through: look again before repeating.
        """
        with translated():
            async with transaction(self._writer) as db:
                yield Repositories(db, self.dialect, self.clock)

    async def batched(self, write: Callable[[Repositories], Awaitable[T]]) -> T:
        """A small write that may share its commit with those of others; it may be run twice, so it only touches the database."""
        return await self._batch.run(write)

    async def ping(self) -> None:
        """Raise Temporary when the database doesn't answer, for reading or for writing, within some seconds."""
        try:
            with translated():
                async with asyncio.timeout(5):
                    await self.read.fetch("SELECT 1 AS one")
                    await self._writer.execute_query("SELECT 1 AS one")
        except TimeoutError as error:
            raise unavailable("no answer within 5 s") from error

    async def close(self) -> None:
        """The store is of no use afterwards. Transactions that still run fail."""
        try:
            await to_the_end(self._batch.drain())
            # The writer last: only the last connection to a SQLite file can take its WAL away, and it has to be one that may write.
            await to_the_end(self._reader.close())
            await to_the_end(self._writer.close())
        finally:
            BINDING.release()


async def connect(target: Target, *, patient: bool = False) -> TortoiseContext:
    """A tortoise context of its own with both connections up; nothing global is touched but the models' query classes.

    `patient` leaves out the time limits of statements: a migration may take as long as it needs.
    """
    if isinstance(target, SqliteTarget):
        _private_file(target)
    else:
        require_postgres_extra()
    context = TortoiseContext()
    with context:
        await context.init(config=tortoise_config(target, patient=patient))
        try:
            with translated():
                for name in (target.dialect, f"{target.dialect}_read"):
                    await context.connections.get(name).create_connection(with_db=True)
        except BaseException:
            await context.connections.close_all()
            raise
    return context


def tortoise_config(target: Target, *, patient: bool = False) -> dict[str, Any]:
    """The connections are named by their dialect, because tortoise caches the SQL it writes by connection name."""
    name = target.dialect
    return {
        "connections": {
            name: _connection(target, reading=False, patient=patient),
            f"{name}_read": _connection(target, reading=True, patient=patient),
        },
        "apps": {
            APP: {
                "models": ["daemon.store.models"],
                "default_connection": name,
                "migrations": "daemon.store.migrations",
            }
        },
        "use_tz": True,
        "timezone": "UTC",
    }


def _connection(target: Target, *, reading: bool, patient: bool) -> dict[str, Any]:
    if isinstance(target, PostgresTarget):
        return _postgres(target, reading=reading, patient=patient)
    credentials: dict[str, Any] = {
        "file_path": str(target.path),
        "busy_timeout": BUSY_TIMEOUT_MS,
        "journal_mode": "WAL",
        "synchronous": target.synchronous,
        "foreign_keys": "ON",
    }
    if reading:
        credentials["query_only"] = 1
    return {"engine": "tortoise.backends.sqlite", "credentials": credentials}


def _postgres(target: PostgresTarget, *, reading: bool, patient: bool) -> dict[str, Any]:
    async def configure(connection: Any) -> None:
        """Run on every new connection; the role's own settings can't undo it."""
        from psycopg.types.string import TextLoader  # noqa: PLC0415 - needs the extra

        for name in ("json", "jsonb"):
            # As text, as SQLite gives it: tortoise reads the JSON in it, and would read a plain text a second time.
            connection.adapters.register_loader(name, TextLoader)
        settings: dict[str, object] = {
            "statement_timeout": 0 if patient else STATEMENT_TIMEOUT_MS,
            "idle_in_transaction_session_timeout": 0 if patient else IDLE_IN_TRANSACTION_MS,
            "lock_timeout": 0 if patient else STATEMENT_TIMEOUT_MS // 2,
            "timezone": "'UTC'",
            "tcp_keepalives_idle": 5,
            "tcp_keepalives_interval": 2,
            "tcp_keepalives_count": 3,
            "default_transaction_read_only": "on" if reading else "off",
        }
        await connection.execute("; ".join(f"SET {name} = {value}" for name, value in settings.items()))

    return {
        "engine": "tortoise.backends.psycopg",
        "credentials": {
            "host": target.host,
            "port": target.port,
            "user": target.user,
            "password": target.password,
            "database": target.database,
            "application_name": target.application_name,
            "minsize": 1,
            "maxsize": max(1, target.pool_size // 2) if reading else target.pool_size,
            "server_settings": target.conninfo(),
            "configure": configure,
            "timeout": 5,
            "reconnect_timeout": 5,
        },
    }


def _private_file(target: SqliteTarget) -> None:
    """The folder for us only, the file as well; SQLite gives its WAL the mode of the file."""
    target.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(target.path, os.O_RDWR | os.O_CREAT, 0o600))
