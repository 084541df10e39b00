"""A database of an older version that has been worked with is upgraded with what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tortoise.migrations.executor import MigrationTarget
from tortoise.transactions import in_transaction

from daemon.domain.clock import VirtualClock
from daemon.store import schema
from daemon.store.database import APP, Store, connect, tortoise_config
from daemon.store.repositories import Repositories
from daemon.store.targets import SqliteTarget, Target
from tests.store.rows import a_service


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    if request.param == "sqlite":
        yield SqliteTarget(tmp_path / "provisiond.db", synchronous="OFF")
        return
    with request.getfixturevalue("postgres_server").empty_database() as target:
        yield target


async def _of_version_4(target: Target, clock: VirtualClock) -> tuple[int, int]:
    """A released service with its usage record, an active one, and a sample of it; their ids."""
    context = await connect(target, patient=True)
    try:
        with context:
            async with in_transaction(target.dialect) as client:
                executor = schema._Executor(client, tortoise_config(target)["apps"])
                await executor.recorder.ensure_schema(executor._schema_editor(atomic=False))
                await executor.migrate([MigrationTarget(APP, "0004_pushed_usage")])
                tx = Repositories(client, target.dialect, clock)
                await tx.facts.put(schema.VERSION_FACT, "4")
                await tx.facts.put(schema.OLDEST_FACT, "2")
                return await _rows(tx)
    finally:
        for name in (f"{target.dialect}_read", target.dialect):
            await context.connections.get(name).close()


async def _rows(tx: Repositories) -> tuple[int, int]:
    released, active = await a_service(tx), await a_service(tx)
    now = tx.clock.now()
    month = timedelta(days=30)
    await tx.execute("UPDATE service SET state = 'active', billing_from = ?, remote_id = 'r', module = 'm'", now)
    await tx.execute("UPDATE service SET state = 'released', billing_until = ? WHERE id = ?", now + month, released)
    await tx.execute(
        "INSERT INTO usage_record (service_id, resource, period_from, period_until, base_unit, base_quantity, covered_us,"
        " samples, revision, created_at) VALUES (?, 'in', ?, ?, 'B', 1500, 7, 3, 1, ?)",
        released, now, now + month, now + month,
    )  # fmt: skip
    await tx.execute(
        "INSERT INTO sample_block (metric, block, at, payload) VALUES ('in', 0, ?, ?)", now, b"\x01" + bytes(15)
    )
    return released, active


async def test_what_was_billed_stays_readable_and_is_not_billed_again(empty: Target, clock: VirtualClock) -> None:
    released, active = await _of_version_4(empty, clock)
    assert await schema.migrate(empty) is schema.State.OLDER
    clock.advance(40 * 86400)
    store = await Store.open(empty, clock=clock)
    try:
        [record] = await store.read.usage_records.page(service_id=released, after=0, limit=10)
        assert (record.base_quantity, record.covered, record.samples, record.revision) == (
            1500,
            timedelta(microseconds=7),
            3,
            1,
        )
        assert (record.seal, record.formula, record.held, record.reason) == ("", 0, False, None)
        assert (dict(record.classes), dict(record.basis), record.author) == ({}, {}, "daemon")
        due = await store.read.services.to_close(clock.now(), after=0, limit=10)
        assert [service.id for service in due] == [active]
        assert not await store.read.fetch("SELECT * FROM service_alerts")
    finally:
        await store.close()


async def test_a_row_that_says_nothing_of_the_new_columns_gets_what_the_old_ones_have(store: Store) -> None:
    async with store.transaction() as tx:
        service, now = await a_service(tx), tx.clock.now()
        await tx.execute(
            "INSERT INTO usage_record (service_id, resource, period_from, period_until, base_unit, base_quantity,"
            " covered_us, samples, revision, created_at) VALUES (?, 'in', ?, ?, 'B', 1, 1, 1, 1, ?)",
            service, now, now, now,
        )  # fmt: skip
    [record] = await store.read.usage_records.page(service_id=service, after=0, limit=10)
    assert (record.base_quantity, record.aside, record.corrected, record.expected) == (1, 0, 0, 0)
