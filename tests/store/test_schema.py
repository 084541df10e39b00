"""First start, upgrades, refusals; and that the migrated schema is what the models say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tortoise.context import TortoiseContext
from tortoise.migrations.autodetector import MigrationAutodetector

from daemon.domain.clock import VirtualClock
from daemon.domain.errors import ConfigError, Temporary
from daemon.store import schema
from daemon.store.constraints import FIRST
from daemon.store.database import Store, tortoise_config
from daemon.store.facts import Facts
from daemon.store.lock import StateLock
from daemon.store.targets import SqliteTarget, Target
from tests.databases import PostgresTemplate


async def test_a_first_start_makes_file_and_tables_for_us_only(tmp_path: Path, clock: VirtualClock) -> None:
    target = SqliteTarget(tmp_path / "state" / "provisiond.db")
    assert await schema.state(target) is schema.State.MISSING
    await schema.ready(target)
    assert await schema.state(target) is schema.State.CURRENT
    assert stat.S_IMODE(target.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(target.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in target.path.parent.iterdir()] == ["provisiond.db"]
    await schema.ready(target)
    store = await Store.open(target, clock=clock)
    await store.ping()
    await store.close()


async def test_what_a_killed_first_start_left_behind_is_no_hindrance(tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "provisiond.db")
    (tmp_path / "provisiond.db.new").write_bytes(b"half a file")
    await schema.ready(target)
    assert await schema.state(target) is schema.State.CURRENT


def _change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


@pytest.mark.parametrize("statements", [(), ("CREATE TABLE foo (a)", "DROP TABLE foo")], ids=["0 bytes", "no tables"])
async def test_a_file_in_which_nothing_has_been_made_is_still_a_first_start(
    statements: tuple[str, ...], tmp_path: Path
) -> None:
    target = SqliteTarget(tmp_path / "provisiond.db")
    target.path.touch()
    _change(target.path, *statements)
    assert await schema.state(target) is schema.State.MISSING
    await schema.ready(target)
    assert await schema.state(target) is schema.State.CURRENT


async def test_a_sqlite_file_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "provisiond.db")
    _change(target.path, "CREATE TABLE foo (a)")
    before = target.path.read_bytes()
    assert await schema.state(target) is schema.State.FOREIGN
    for attempt in (schema.ready, schema.migrate):
        with pytest.raises(ConfigError, match=f"{target.path}: .* move it away") as caught:
            await attempt(target)
        assert caught.value.code == "schema_missing"
    assert target.path.read_bytes() == before


@pytest.mark.parametrize("size", [100, 600, 100_000])
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(size: int, tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "provisiond.db")
    content = b"\x9c" * size
    target.path.write_bytes(content)
    for attempt in (schema.state, schema.ready, schema.migrate):
        with pytest.raises(ConfigError, match=str(target.path)) as caught:
            await attempt(target)
        assert caught.value.code == "not_a_database"
    assert target.path.read_bytes() == content


async def test_a_folder_in_the_place_of_the_file_is_worth_another_try(tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path / "provisiond.db")
    target.path.mkdir()
    with pytest.raises(Temporary):
        await schema.state(target)


def test_the_file_is_made_by_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "provisiond.db"
    command = [sys.executable, "-m", "daemon.store.schema", str(path)]
    assert subprocess.run(command, check=False).returncode == 0
    assert asyncio.run(schema.state(SqliteTarget(path))) is schema.State.CURRENT
    path.write_bytes(b"no database")
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{path}: ")


async def test_an_empty_postgresql_database_is_refused_until_it_is_migrated(postgres_server: PostgresTemplate) -> None:
    with postgres_server.empty_database() as target:
        with pytest.raises(ConfigError, match="provisiond db migrate") as caught:
            await schema.ready(target)
        assert caught.value.code == "schema_missing"
        assert await schema.migrate(target) is schema.State.MISSING
        await schema.ready(target)
        assert await schema.migrate(target) is schema.State.CURRENT


async def test_two_migrations_at_once_make_one_schema(postgres_server: PostgresTemplate) -> None:
    with postgres_server.empty_database() as target:
        await asyncio.gather(schema.migrate(target), schema.migrate(target))
        assert await schema.state(target) is schema.State.CURRENT


async def test_a_migration_that_breaks_at_its_end_has_done_nothing(
    postgres_server: PostgresTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_facts: Facts, name: str, _value: str) -> None:
        raise ZeroDivisionError(name)

    with postgres_server.empty_database() as target:
        with monkeypatch.context() as patch:
            patch.setattr(Facts, "put", broken)
            with pytest.raises(ZeroDivisionError):
                await schema.migrate(target)
        assert await schema.state(target) is schema.State.MISSING
        await schema.migrate(target)
        assert await schema.state(target) is schema.State.CURRENT


async def _say(target: Target, clock: VirtualClock, **facts: int) -> None:
    store = await Store.open(target, clock=clock)
    async with store.transaction() as tx:
        for name, value in facts.items():
            await tx.facts.put(name, str(value))
    await store.close()


async def test_a_database_of_an_older_build_is_refused_until_it_is_migrated(
    target: Target, clock: VirtualClock
) -> None:
    await _say(target, clock, schema_version=schema.VERSION - 1)
    with pytest.raises(ConfigError, match="provisiond db migrate") as caught:
        await schema.ready(target)
    assert caught.value.code == "schema_older"
    assert await schema.migrate(target) is schema.State.OLDER
    await schema.ready(target)


async def test_a_database_of_a_newer_build_is_refused_by_start_and_by_migrate(
    target: Target, clock: VirtualClock
) -> None:
    await _say(target, clock, schema_version=schema.VERSION + 1, schema_oldest=schema.VERSION + 1)
    for attempt in (schema.ready, schema.migrate):
        with pytest.raises(ConfigError) as caught:
            await attempt(target)
        assert caught.value.code == "schema_newer"


async def test_a_newer_schema_that_only_adds_is_used(target: Target, clock: VirtualClock) -> None:
    await _say(target, clock, schema_version=schema.VERSION + 1)
    assert await schema.state(target) is schema.State.CURRENT


async def test_the_migrations_say_what_the_models_say(target: Target) -> None:
    config = tortoise_config(target)
    with TortoiseContext() as context:
        await context.init(config=config, init_connections=False)
        assert context.apps is not None
        writers = await MigrationAutodetector(context.apps, config["apps"]).changes()
    assert [writer.as_string() for writer in writers] == []


async def test_every_rule_of_the_first_migration_is_in_the_database(store: Store) -> None:
    if store.dialect == "sqlite":
        rows = await store.read.fetch("SELECT name FROM sqlite_master")
    else:
        rows = await store.read.fetch(
            "SELECT indexname AS name FROM pg_indexes UNION ALL SELECT conname FROM pg_constraint UNION ALL SELECT tgname FROM pg_trigger"
        )
    there = {row["name"] for row in rows}
    wanted = set()
    for rule in FIRST:
        name = getattr(rule, "name", None) or f"{rule.table}_append_only"
        on_sqlite = type(rule).__name__ in {"Check", "AppendOnly"} and store.dialect == "sqlite"
        ends = (
            (("_insert", "_update") if type(rule).__name__ == "Check" else ("_update", "_delete"))
            if on_sqlite
            else ("",)
        )
        wanted |= {f"{name}{end}" for end in ends}
    assert wanted - there == set()


async def test_ids_are_never_used_again_on_sqlite(sqlite_store: Store) -> None:
    rows = await sqlite_store.read.fetch(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%\"id\" INTEGER PRIMARY KEY%' AND sql NOT LIKE '%AUTOINCREMENT%'"
    )
    assert rows == []


# the lock -------------------------------------------------------------------------------------------------------------------


def test_a_second_daemon_on_one_folder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with StateLock(tmp_path), pytest.raises(ConfigError, match=rf"process {os.getpid()}") as caught:
        StateLock(tmp_path).acquire()
    assert caught.value.code == "state_locked"
    with StateLock(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from daemon.store.lock import StateLock;"
        " StateLock(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    with StateLock(tmp_path):
        pass
