"""tortoise's process-wide part, held so that nothing can lean on it by accident.

Building a query asks the *current* connection what its dialect can do, even when the query is then run on another one. Which connection is
current depends on the task, so it's no place for ours: here it is a stand-in that knows the dialect and refuses to run anything. Every
repository says `using_db`.
"""

from __future__ import annotations

from typing import Any

from tortoise import context as tortoise_context
from tortoise.backends.base.client import BaseDBAsyncClient, Capabilities
from tortoise.context import TortoiseContext

from daemon.store.connection import Dialect


class StandIn:
    """Says what the dialect can do; whoever tries to run SQL on it forgot `using_db`."""

    def __init__(self, client: BaseDBAsyncClient) -> None:
        self.capabilities: Capabilities = client.capabilities
        self.query_class = client.query_class

    def _check_loop(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"a repository left out using_db (asked the current connection for {name!r})")


class Binding:
    """Counts the open stores; the models speak the dialect of all of them."""

    def __init__(self) -> None:
        self._dialect: Dialect | None = None
        self._stores = 0
        self._context: TortoiseContext | None = None

    def claim(self, dialect: Dialect) -> None:
        """Raise RuntimeError while a store of the other dialect is open: tortoise keeps one query class per model and process."""
        if self._stores and self._dialect != dialect:
            raise RuntimeError("a SQLite and a PostgreSQL store can't be open in one process at once")
        self._dialect = dialect
        self._stores += 1

    def bind(self, context: TortoiseContext, client: BaseDBAsyncClient) -> None:
        """Make `context` the one that queries are built with, in every task."""
        if self._context is None:
            # Not `set`, which is for the calling task only.
            storage: dict[str, Any] = context.connections._get_storage()  # noqa: SLF001 - see above
            storage[client.connection_name] = StandIn(client)
            self._context = context
            tortoise_context._global_context = context  # noqa: SLF001 - its setter refuses a second one; we count ourselves

    def release(self) -> None:
        self._stores -= 1
        if not self._stores:
            self._context = None
            tortoise_context._global_context = None  # noqa: SLF001 - as above


BINDING = Binding()
