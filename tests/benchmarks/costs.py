"""What the work on a store costs: statements, and the processes of the database server that do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.store.database import Store


async def backends(store: Store) -> list[int]:
    """Processes of a PostgreSQL server on this machine that work for us."""
    if store.dialect == "sqlite":
        return []
    rows = await store.read.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    return [row["pid"] for row in rows if Path(f"/proc/{row['pid']}/stat").exists()]


@dataclass
class Counted:
    statements: int = 0


@asynccontextmanager
async def counting(store: Store) -> AsyncIterator[Counted]:
    """Count every statement that goes through a repository's connection, within transactions and without."""
    counted = Counted()
    names = ("execute_query", "execute_query_dict", "execute_insert", "execute_many")
    classes = {type(store._writer), type(store._reader)} | _transaction_classes(store)
    kept: list[tuple[type, str, Any]] = []
    for owner in classes:
        for name in names:
            if name in vars(owner):
                kept.append((owner, name, vars(owner)[name]))
                setattr(owner, name, _counted(vars(owner)[name], counted))
    try:
        yield counted
    finally:
        for owner, name, method in kept:
            setattr(owner, name, method)


_within: ContextVar[bool] = ContextVar("within", default=False)


def _counted(method: Callable[..., Awaitable[Any]], counted: Counted) -> Callable[..., Awaitable[Any]]:
    """Some of these methods call others of them: only the outermost is a statement."""

    async def run(*args: Any, **kwargs: Any) -> Any:
        if _within.get():
            return await method(*args, **kwargs)
        counted.statements += 1
        token = _within.set(True)
        try:
            return await method(*args, **kwargs)
        finally:
            _within.reset(token)

    return run


def _transaction_classes(store: Store) -> set[type]:
    if store.dialect == "sqlite":
        from tortoise.backends.sqlite.client import SqliteTransactionWrapper

        return {SqliteTransactionWrapper}
    from tortoise.backends.psycopg.client import TransactionWrapper

    return {TransactionWrapper}
