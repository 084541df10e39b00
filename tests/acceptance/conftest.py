from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.house import Database, use_postgres
from tests.conftest import BOTH


@pytest.fixture(params=BOTH)
def on_both(request: pytest.FixtureRequest) -> Callable[[Path], Database]:
    """Points a configuration at a database of this test's own: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return Database  # the daemon makes its file itself
    target = request.getfixturevalue("postgres_target")

    def point(config: Path) -> Database:
        use_postgres(config, target)
        return Database(config, target)

    return point
