"""Where a store is: a SQLite file, or a PostgreSQL database."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from daemon.domain.errors import ConfigError
from daemon.store.connection import Dialect

LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class SqliteTarget:
    """`synchronous` OFF is for tests only: a power cut could lose what was committed."""

    path: Path
    synchronous: Literal["FULL", "OFF"] = "FULL"

    @property
    def dialect(self) -> Dialect:
        return "sqlite"

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PostgresTarget:
    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    pool_size: int = 10
    """Most connections for writing; reading has half as many of its own."""
    params: tuple[tuple[str, str], ...] = ()
    """Further words of a libpq connection string, such as ("sslmode", "verify-full")."""
    application_name: str = "provisiond"

    @property
    def dialect(self) -> Dialect:
        return "postgres"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"

    @classmethod
    def from_url(cls, url: str, password: str | None = None) -> PostgresTarget:
        """`postgresql://user@host:port/name?sslmode=...`; a host with a slash in it (percent-encoded) is a socket's folder."""
        parts = urlsplit(url)
        params = dict(parse_qsl(parts.query))
        host = params.pop("host", unquote(parts.hostname or ""))
        return cls(
            host=host,
            port=int(params.pop("port", parts.port or 5432)),
            user=params.pop("user", unquote(parts.username or "")) or "postgres",
            database=unquote(parts.path.removeprefix("/")) or "provisiond",
            password=password if password is not None else (unquote(parts.password) if parts.password else None),
            params=tuple(sorted(params.items())),
        )

    def conninfo(self) -> dict[str, Any]:
        """The libpq words that every connection of ours gets, whoever opens it."""
        words: dict[str, Any] = {
            "connect_timeout": "5",
            # A host that was cut off must be noticed well before the lease of its node matters.
            "keepalives": "1",
            "keepalives_idle": "5",
            "keepalives_interval": "2",
            "keepalives_count": "3",
            "tcp_user_timeout": "10000",
        }
        if self.host not in LOOPBACK and not self.host.startswith("/"):
            words |= {"sslmode": "verify-full", "sslrootcert": "system"}
        given = dict(self.params)
        if "sslmode" in given or "sslrootcert" in given:
            words.pop("sslrootcert", None)
        return words | given


Target = SqliteTarget | PostgresTarget


def require_postgres_extra() -> None:
    """Say in one clear sentence what to install, instead of an ImportError."""
    try:
        import psycopg  # noqa: F401, PLC0415 - only looked for; loaded where it is used
        import psycopg_pool  # noqa: F401, PLC0415 - as above
    except ImportError as error:
        raise ConfigError(
            "postgres_extra_missing",
            "database names a PostgreSQL server, but its driver isn't installed: pip install 'provisiond[postgres]'",
        ) from error
