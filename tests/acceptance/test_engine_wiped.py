"""What the engine remembers may be wiped at any moment: nothing is lost, and nothing happens twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from daemon.app import running
from daemon.domain.clock import SystemClock
from daemon.engine.queue_schema import SCHEMA
from daemon.engine.timers import Timers
from daemon.settings.loader import load
from daemon.store.targets import PostgresTarget
from tests.acceptance.house import (
    Api,
    Cli,
    Database,
    Sandbox,
    api_of,
    daemon,
    http,
    order,
    sandbox,
    until,
    use_postgres,
)

ORDERS = 4
STEPS = "SELECT COUNT(*) FROM step WHERE status = 'done'"
MOMENTS = (3, 20, 40)
"""Steps of all operations that are done when everything is wiped."""
TABLES = ("procrastinate_events", "procrastinate_jobs", "procrastinate_periodic_defers", "procrastinate_workers")


def order_all(api: Api) -> list[int]:
    return [api.order(f"order-{number}")["operation"]["id"] for number in range(ORDERS)]


def assert_each_happened_once(panels: Sandbox, database: Database) -> None:
    servers = panels.servers().values()
    assert len(panels.owned()) == ORDERS
    assert [len(server["installs"]) for server in servers if server["owner"]] == [1] * ORDERS
    ours = {address for address, held in panels.held().items() if held["note"].startswith("pd-")}
    ledger = database.ask("SELECT address FROM allocation WHERE state <> 'released' AND address IS NOT NULL")
    assert ours == {row[0].split("/")[0] for row in ledger}
    assert database.number("SELECT COUNT(*) FROM step WHERE attempts > 1") == 0


MIGRATE = "run `provisiond db migrate` and restart"


@pytest.mark.postgres
def test_every_row_of_the_queue_deleted_under_a_live_daemon_loses_nothing(
    tmp_path: Path, postgres_target: PostgresTarget
) -> None:
    with sandbox(tmp_path, "--install-seconds", "1.5", "--power-seconds", "0.3") as panels:
        use_postgres(panels.config, postgres_target)
        database = Database(panels.config, postgres_target)
        with daemon(panels.config) as running_one:
            api = api_of(panels.config)
            operations = order_all(api)
            for moment in MOMENTS:
                until(lambda moment=moment: database.number(STEPS) >= moment, f"{moment} steps")  # type: ignore[misc]
                assert database.number("SELECT COUNT(*) FROM operation WHERE status = 'open'") == ORDERS
                database.ask(f"TRUNCATE {', '.join(f'{SCHEMA}.{table}' for table in TABLES)} CASCADE")
            for operation in operations:
                api.ended(operation)
            assert_each_happened_once(panels, database)
            until(lambda: http("GET", f"{running_one.url}/readyz").status == 200, "readiness")
            assert running_one.logged("engine.work_failed") == []
            released = api.release(1)
            assert released["state"] == "released"


@pytest.mark.postgres
def test_a_dropped_queue_is_told_by_readyz_and_db_migrate_with_a_restart_goes_on(
    tmp_path: Path, postgres_target: PostgresTarget
) -> None:
    with sandbox(tmp_path, "--install-seconds", "600") as panels:
        use_postgres(panels.config, postgres_target)
        database = Database(panels.config, postgres_target)
        with daemon(panels.config) as first:
            api = api_of(panels.config)
            operations = order_all(api)
            until(lambda: len([s for s in panels.servers().values() if s["installs"]]) == ORDERS, "the installs")
            database.ask(f"DROP SCHEMA {SCHEMA} CASCADE")
            until(
                lambda: MIGRATE in (complaint(first.url) or ""), "readyz to say what to do"
            )  # in between, it just fails
            assert any(
                "db migrate" in problem for problem in Cli(panels.config).json_of_failed("db", "check")["problems"]
            )
            code, seconds = first.stop()
            assert (code, seconds < 10) == (0, True)
        panels.door("clock", advance=600)
        assert "made the engine's tables" in Cli(panels.config).text("db", "migrate")
        with daemon(panels.config):
            for operation in operations:
                api.ended(operation)
            assert_each_happened_once(panels, database)


def complaint(url: str) -> str | None:
    answer = http("GET", f"{url}/readyz")
    return None if answer.status == 200 else str(answer.json["checks"]["engine"]["message"])


async def test_all_timers_dropped_midway_are_armed_again_by_the_sweeper(tmp_path: Path) -> None:
    with sandbox(tmp_path, "--install-seconds", "1.5", "--power-seconds", "0.3") as panels:
        database = Database(panels.config)
        async with running(load(panels.config), SystemClock(), environ={}) as inside:
            engine = inside.engine
            assert isinstance(engine, Timers)
            forgotten = 0
            for number in range(ORDERS):
                await place(inside.faces, f"order-{number}")

            async with asyncio.timeout(60):
                while any(operation.finished_at is None for operation in await operations_of(inside.store)):
                    forgotten += len(engine._later)
                    engine.forget()
                    await asyncio.sleep(0.7)
            assert forgotten > 0
            assert [operation.status.value for operation in await operations_of(inside.store)] == ["done"] * ORDERS
        await asyncio.to_thread(assert_each_happened_once, panels, database)


async def place(faces: Any, key: str) -> None:
    await faces.ordering.place(order(), key=key, actor="test", answer=lambda _placed: (201, {}))


async def operations_of(store: Any) -> list[Any]:
    found: list[Any] = await store.read.operations.page(status=None, service_id=None, after=0, limit=100)
    return found
