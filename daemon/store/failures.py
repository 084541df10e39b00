"""Which errors of a database mean "not now": they become Temporary, everything else stays a bug."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.exceptions import BaseORMException, DBConnectionError

from daemon.domain.errors import Temporary

NOT_NOW_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
NO_DATABASE_SQLITE = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})


def unavailable(detail: str) -> Temporary:
    return Temporary("database_unavailable", "the database can't be used at the moment", detail=detail[:500])


def is_unavailable(error: BaseException) -> bool:
    """Gone, restarting, locked, full, or a statement that took too long."""
    if isinstance(error, DBConnectionError):
        return True
    if isinstance(error, BaseORMException):
        # tortoise wraps the driver's error as its only argument.
        return bool(error.args) and isinstance(error.args[0], BaseException) and is_unavailable(error.args[0])
    if isinstance(error, sqlite3.OperationalError):
        return _sqlite_code(error) in NOT_NOW_SQLITE
    psycopg = sys.modules.get("psycopg")
    if psycopg is None:
        return False
    if isinstance(error, psycopg.errors.IdleInTransactionSessionTimeout | psycopg.InterfaceError):
        return True
    return isinstance(error, psycopg.OperationalError)


def is_no_database(error: sqlite3.DatabaseError) -> bool:
    """The file is of another kind, or damaged so that nothing in it can be found."""
    return _sqlite_code(error) in NO_DATABASE_SQLITE


def _sqlite_code(error: sqlite3.DatabaseError) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


@contextmanager
def translated() -> Iterator[None]:
    """Around everything that speaks to a database."""
    try:
        yield
    except Exception as error:
        if is_unavailable(error):
            raise unavailable(str(error)) from error
        raise


def translating(client: BaseDBAsyncClient) -> None:
    """Let the statements that run on this client outside transactions raise Temporary as those inside them do."""
    for name in ("execute_query", "execute_query_dict", "execute_insert", "execute_many"):
        setattr(client, name, _translating(getattr(client, name)))


def _translating(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def run(*args: Any, **kwargs: Any) -> Any:
        with translated():
            return await method(*args, **kwargs)

    return run
