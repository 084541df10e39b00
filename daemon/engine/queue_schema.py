"""procrastinate's tables, in a PostgreSQL schema of their own: dropping it costs nothing but a `db migrate`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from daemon.domain.errors import Temporary
from daemon.store.targets import PostgresTarget, require_postgres_extra

SCHEMA = "provisiond_engine"
INSTALL_LOCK = 7_305_119


async def install(target: PostgresTarget) -> bool:
    """Make the tables; made by another procrastinate they are made anew, because nothing in them matters. True when it did something."""
    require_postgres_extra()
    import psycopg  # noqa: PLC0415 - needs the extra
    from procrastinate.schema import SchemaManager  # noqa: PLC0415 - as above

    wanted = f"procrastinate {version('procrastinate')}"
    try:
        async with await psycopg.AsyncConnection.connect(conninfo(target)) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALL_LOCK])
            if await _comment(connection) == wanted:
                return False
            await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
            await connection.execute(SchemaManager.get_schema())
            await connection.execute(f"COMMENT ON SCHEMA {SCHEMA} IS '{wanted}'")
    except psycopg.OperationalError as error:
        raise Temporary(
            "database_unavailable", "the database can't be used at the moment", detail=str(error)
        ) from error
    return True


async def installed(target: PostgresTarget) -> bool:
    """Whether the tables are there, made by the procrastinate that is installed here."""
    require_postgres_extra()
    import psycopg  # noqa: PLC0415 - needs the extra

    async with await psycopg.AsyncConnection.connect(conninfo(target), autocommit=True) as connection:
        return await _comment(connection) == f"procrastinate {version('procrastinate')}"


def conninfo(target: PostgresTarget) -> str:
    """A libpq connection string whose sessions see the engine's tables only."""
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - needs the extra

    words: dict[str, Any] = {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "password": target.password,
        "dbname": target.database,
        "application_name": f"{target.application_name} engine",
        "options": f"-c search_path={SCHEMA}",
        **target.conninfo(),
    }
    return make_conninfo(**words)


async def _comment(connection: Any) -> str | None:
    cursor = await connection.execute("SELECT obj_description(to_regnamespace(%s), 'pg_namespace')", [SCHEMA])
    row = await cursor.fetchone()
    return row[0] if row else None
