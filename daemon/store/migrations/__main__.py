"""`python -m daemon.store.migrations`: writes what `models.py` says and no migration does as the next numbered file.

Rules of the database (partial indexes, checks, tables that only grow) are not seen by it: they go into `constraints.py` as a list of
their own, and into the new file by hand, as `0002_constraints.py` does it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tortoise.context import TortoiseContext
from tortoise.migrations.autodetector import MigrationAutodetector

from daemon.store.database import tortoise_config
from daemon.store.targets import SqliteTarget


async def make() -> list[Path]:
    config = tortoise_config(SqliteTarget(Path("unused.db")))
    with TortoiseContext() as context:
        await context.init(config=config, init_connections=False)
        assert context.apps is not None
        return [Path(path) for path in await MigrationAutodetector(context.apps, config["apps"]).write()]


if __name__ == "__main__":
    written = asyncio.run(make())
    sys.stdout.write("".join(f"{path}\n" for path in written) or "the migrations say what the models say\n")
