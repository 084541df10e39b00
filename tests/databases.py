"""Real databases for tests: a migrated SQLite file to copy, a PostgreSQL server to make databases on.

PostgreSQL is the server named by PROVISIOND_TEST_POSTGRES, else the one on the standard local port, else a private cluster made from
installed binaries. PROVISIOND_REQUIRE_DATABASES=1 turns "there is none" into a failure of the run.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from daemon.engine import queue_schema
from daemon.store import schema
from daemon.store.targets import PostgresTarget, SqliteTarget

T = TypeVar("T")

URL = "PROVISIOND_TEST_POSTGRES"
REQUIRED = "PROVISIOND_REQUIRE_DATABASES"


class NoServer(Exception):
    """There is no PostgreSQL to test with; the message says why."""


def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in a loop and thread of its own, whatever the test's loop does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


class SqliteTemplate:
    """A migrated file; each test gets a copy."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "template.db"
        target = SqliteTarget(self._file, synchronous="OFF")
        apart(lambda: schema.migrate(target))

    def copy(self, path: Path) -> SqliteTarget:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._file, path)
        path.chmod(0o600)
        return SqliteTarget(path, synchronous="OFF")


class PostgresTemplate:
    """A migrated database on a server; each test gets a copy made by the server."""

    def __init__(self, server: PostgresTarget) -> None:
        self._server = server
        self._names = count(1)
        self._drop_left_behind()
        self._template = self._create(f"template_{os.getpid()}", None)
        apart(lambda: self._prepare(replace(server, database=self._template)))

    @contextmanager
    def database(self) -> Iterator[PostgresTarget]:
        """A fresh migrated database, dropped afterwards with whatever is still connected to it."""
        name = self._create(f"{os.getpid()}_{next(self._names)}", self._template)
        try:
            yield replace(self._server, database=name)
        finally:
            self._drop(name)

    @contextmanager
    def empty_database(self) -> Iterator[PostgresTarget]:
        name = self._create(f"{os.getpid()}_{next(self._names)}", None)
        try:
            yield replace(self._server, database=name)
        finally:
            self._drop(name)

    def close(self) -> None:
        self._drop(self._template)

    async def _prepare(self, target: PostgresTarget) -> None:
        await schema.migrate(target)
        await queue_schema.install(target)

    def _create(self, suffix: str, template: str | None) -> str:
        name = f"provisiond_test_{suffix}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template1")
        )
        with admin(self._server) as connection:
            connection.execute(statement)
        return name

    def _drop(self, name: str) -> None:
        with admin(self._server) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _drop_left_behind(self) -> None:
        """Databases of runs on this machine that were killed."""
        if self._server.host not in {"127.0.0.1", "localhost"} and not self._server.host.startswith("/"):
            return
        with admin(self._server) as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'provisiond_test_%'"
            ).fetchall()
        for (name,) in rows:
            numbers = [int(part) for part in name.split("_") if part.isdigit()]
            if numbers and not Path(f"/proc/{numbers[0]}").exists():
                self._drop(name)


@contextmanager
def admin(server: PostgresTarget) -> Iterator[psycopg.Connection]:
    """A connection to the server's own database, for making and dropping others."""
    words = make_conninfo(
        host=server.host, port=server.port, user=server.user, password=server.password,
        dbname="postgres", connect_timeout=3, **dict(server.params),
    )  # fmt: skip
    connection = psycopg.connect(words, autocommit=True)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def server() -> Iterator[PostgresTarget]:
    """The PostgreSQL server to test with, or NoServer with the reason."""
    if url := os.environ.get(URL):
        target = PostgresTarget.from_url(url)
        target = (
            target
            if "sslmode" in dict(target.params)
            else replace(target, params=(*target.params, ("sslmode", "prefer")))
        )
        _reach(target, f"{URL} is set but the server doesn't answer")
        yield target
        return
    local = PostgresTarget("127.0.0.1", 5432, "postgres", "postgres")
    try:
        _reach(local, "no server on 127.0.0.1:5432")
    except NoServer as error:
        with _private_cluster(str(error)) as target:
            yield target
    else:
        yield local


def _reach(target: PostgresTarget, complaint: str) -> None:
    try:
        with admin(target) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        raise NoServer(f"{complaint}: {str(error).strip().splitlines()[0]}") from None


@contextmanager
def _private_cluster(complaint: str) -> Iterator[PostgresTarget]:
    binaries = _binaries()
    if binaries is None:
        raise NoServer(f"{complaint}; and neither PATH nor /usr/lib/postgresql has initdb and pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="provisiond-pg-"))
    prefix = _as_somebody_else(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=on"
    control = [*prefix, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-s"]
    try:
        _run([*prefix, str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"], folder)
        _run([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            yield PostgresTarget("127.0.0.1", port, "postgres", "postgres")
        finally:
            _run([*control, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise NoServer(f"{command[-1]} failed: {done.stderr.strip()[-300:]}")


def _binaries() -> Path | None:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()), None)


def _as_somebody_else(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    import pwd

    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    raise NoServer("running as root, and there is no user postgres or nobody to run PostgreSQL as")
