"""Fresh migrated databases on both kinds of server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from daemon.store.targets import Target
from tests.databases import NoServer, PostgresTemplate, SqliteTemplate, server


@dataclass
class Databases:
    sqlite: SqliteTemplate
    postgres: PostgresTemplate | None
    no_postgres: str
    """Why there is none; empty when there is one."""

    @contextmanager
    def fresh(self, name: str, folder: Path) -> Iterator[Target]:
        if name == "sqlite":
            yield self.sqlite.copy(folder / "store" / "provisiond.db")
        else:
            assert self.postgres is not None
            with self.postgres.database() as target:
                yield target


@asynccontextmanager
async def databases() -> AsyncIterator[Databases]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="provisiond-bench-")))
        template = SqliteTemplate(folder)
        try:
            target = stack.enter_context(server())
        except NoServer as error:
            yield Databases(template, None, f"no PostgreSQL ({error})")
            return
        postgres = PostgresTemplate(target)
        stack.callback(postgres.close)
        yield Databases(template, postgres, "")
