"""Fixtures that every part of the suite shares: a virtual clock, and stores on both databases."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from daemon.domain.clock import VirtualClock
from daemon.store.database import Store
from daemon.store.targets import PostgresTarget, SqliteTarget, Target
from tests import databases

BOTH = [pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.postgres)]

_missing: list[str] = []


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> databases.SqliteTemplate:
    return databases.SqliteTemplate(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[databases.PostgresTemplate | None]:
    """None when there is no server; ask for `postgres_server` to skip then."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(databases.server())
        except databases.NoServer as error:
            _missing.append(str(error))
            yield None
            return
        template = databases.PostgresTemplate(server)
        stack.callback(template.close)
        yield template


@pytest.fixture
def postgres_server(postgres_template: databases.PostgresTemplate | None) -> databases.PostgresTemplate:
    if postgres_template is None:
        pytest.skip(f"no PostgreSQL: {_missing[0]}")
    return postgres_template


@pytest.fixture
def sqlite_target(sqlite_template: databases.SqliteTemplate, tmp_path: Path) -> SqliteTarget:
    """A migrated SQLite file of this test's own."""
    return sqlite_template.copy(tmp_path / "state" / "provisiond.db")


@pytest.fixture
def postgres_target(postgres_server: databases.PostgresTemplate) -> Iterator[PostgresTarget]:
    """A migrated PostgreSQL database of this test's own."""
    with postgres_server.database() as target:
        yield target


@pytest.fixture(params=BOTH)
def target(request: pytest.FixtureRequest) -> Target:
    """A migrated database: the test runs once on each kind."""
    found: Target = request.getfixturevalue(f"{request.param}_target")
    return found


@pytest.fixture
async def store(target: Target, clock: VirtualClock) -> AsyncIterator[Store]:
    """An open store on a migrated database, on SQLite and on PostgreSQL."""
    opened = await Store.open(target, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_store(sqlite_target: SqliteTarget, clock: VirtualClock) -> AsyncIterator[Store]:
    opened = await Store.open(sqlite_target, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def postgres_store(postgres_target: PostgresTarget, clock: VirtualClock) -> AsyncIterator[Store]:
    opened = await Store.open(postgres_target, clock=clock)
    yield opened
    await opened.close()


def _skipped_for_databases(reporter: pytest.TerminalReporter) -> list[str]:
    reasons = [
        str(report.longrepr[2]) for report in reporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)
    ]
    return [reason for reason in reasons if "no PostgreSQL" in reason]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if skipped := _skipped_for_databases(terminalreporter):
        terminalreporter.section("databases")
        terminalreporter.write_line(f"{len(skipped)} tests did NOT run: {skipped[0].removeprefix('Skipped: ')}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get(databases.REQUIRED) and reporter is not None and _skipped_for_databases(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
