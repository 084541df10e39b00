"""Looking for secrets where none may be: in any of the shapes in which they slip through."""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from daemon.store.targets import PostgresTarget
from tests.acceptance.house import conninfo


def shapes(secret: bytes) -> Iterator[bytes]:
    """Plain, hexadecimal, URL-encoded, and base64 wherever in a longer text it begins."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield urllib.parse.quote(secret, safe="").encode()
    yield urllib.parse.quote_plus(secret).encode()
    for offset in range(3):
        whole = (len(secret) + offset) // 3 * 3 - offset
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # The first group shares its bytes with what stands before; groups that aren't full share theirs with what follows.
            yield encode(b"\0" * offset + secret[:whole])[4 if offset else 0 :]


def leaks(secrets: Mapping[str, bytes], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """What was found where; each secret is at least 12 bytes long, so that nothing is found by chance."""
    assert all(len(secret) >= 12 for secret in secrets.values()), {name: len(s) for name, s in secrets.items()}
    wanted = [(name, shape) for name, secret in secrets.items() for shape in set(shapes(secret))]
    return [f"{name} in {place}" for place, content in places for name, shape in wanted if shape in content]


def sqlite_bytes(state_dir: Path) -> Iterator[tuple[str, bytes]]:
    """The database's files as they lie on the disk, and every value in it as text."""
    for path in sorted(state_dir.glob("provisiond.db*")):
        yield path.name, path.read_bytes()
    with contextlib.closing(sqlite3.connect(state_dir / "provisiond.db")) as db:
        dump = "\n".join(db.iterdump())
    assert "CREATE TABLE" in dump
    yield "dump", dump.encode()


def postgres_bytes(target: PostgresTarget) -> Iterator[tuple[str, bytes]]:
    """Every row of every table of ours, as text."""
    with psycopg.connect(conninfo(target)) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert len(tables) > 10
        for schema, table in tables:
            name = sql.Identifier(schema, table)
            rows = connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(name)).fetchall()
            yield table, "\n".join(row[0] for row in rows).encode()
