"""Begin, commit and roll back, whatever is cancelled in between.

tortoise's own transactions put the connection into a context variable and can be torn in two by a cancelled task. Here a commit that has
begun is waited for, and nothing depends on the task in which the store was opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from tortoise.backends.base.client import BaseDBAsyncClient, TransactionalDBClient
from tortoise.backends.sqlite.client import SqliteClient, SqliteTransactionWrapper
from tortoise.exceptions import TransactionManagementError

from daemon.store.failures import unavailable

T = TypeVar("T")

END_WITHIN = 20.0
"""Seconds for a COMMIT or ROLLBACK. A server that doesn't answer it must not hold a leg for ever."""

log = structlog.get_logger(__name__)


async def to_the_end(work: Coroutine[Any, Any, T], within: float = END_WITHIN) -> T:
    """Await `work` even while the caller is being cancelled; the cancellation goes on afterwards."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    deadline = loop.time() + within
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and loop.time() < deadline:
        try:
            await asyncio.wait({task}, timeout=deadline - loop.time())
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.done():
        task.cancel()
        if cancelled is None:
            raise unavailable(f"no answer within {within} s")
    if cancelled is not None:
        if task.done() and not task.cancelled():
            task.exception()  # looked at, so that asyncio doesn't complain; the cancellation is what the caller must see
        raise cancelled
    return task.result()


@asynccontextmanager
async def transaction(client: BaseDBAsyncClient) -> AsyncIterator[BaseDBAsyncClient]:
    """One transaction: committed when the block ends, rolled back when it raises or is cancelled."""
    if isinstance(client, SqliteClient):
        lock = client._lock  # noqa: SLF001 - tortoise's one lock for its one connection
        async with lock, _ended(_SqliteTransaction(client)) as wrapper:
            yield wrapper
    else:
        pool = client._pool  # noqa: SLF001 - tortoise gives no other way to it
        connection = await pool.getconn()
        try:
            async with _ended(_PostgresTransaction(client, connection)) as wrapper:
                yield wrapper
        finally:
            await to_the_end(pool.putconn(connection))


class _SqliteTransaction:
    def __init__(self, client: SqliteClient) -> None:
        self.wrapper = SqliteTransactionWrapper(client)
        self._connection = self.wrapper._connection  # noqa: SLF001 - the wrapper's own begin is deferred, see below

    async def begin(self) -> None:
        # IMMEDIATE: with a second process (a backup) on the file, a deferred one fails when its first write comes.
        await self._connection.execute("BEGIN IMMEDIATE")

    async def commit(self) -> None:
        await self._connection.commit()

    async def rollback(self) -> None:
        await self._connection.rollback()


class _PostgresTransaction:
    def __init__(self, client: BaseDBAsyncClient, connection: Any) -> None:
        from tortoise.backends.psycopg.client import TransactionWrapper  # noqa: PLC0415 - needs the extra

        self.wrapper = TransactionWrapper(client)  # type: ignore[arg-type]  # only PostgreSQL clients come here
        self.wrapper._connection = connection  # noqa: SLF001 - what tortoise's own context does
        self._connection = connection

    async def begin(self) -> None:
        await self._connection.execute("BEGIN")

    async def commit(self) -> None:
        from psycopg.pq import TransactionStatus  # noqa: PLC0415 - needs the extra

        if self._connection.info.transaction_status == TransactionStatus.INERROR:
            # The server would answer COMMIT with a silent rollback.
            raise TransactionManagementError(
                "a statement of this transaction failed and the error was swallowed: use a savepoint"
            )
        await self._connection.execute("COMMIT")

    async def rollback(self) -> None:
        if not self._connection.closed:
            await self._connection.execute("ROLLBACK")


@asynccontextmanager
async def _ended(work: _SqliteTransaction | _PostgresTransaction) -> AsyncIterator[TransactionalDBClient]:
    try:
        await to_the_end(work.begin())
        yield work.wrapper
        await to_the_end(work.commit())
    except BaseException:
        try:
            await to_the_end(work.rollback())
        except Exception as error:  # noqa: BLE001 - a connection that can't roll back is dropped; the first error matters
            log.debug("rollback failed", error=str(error))
        raise
