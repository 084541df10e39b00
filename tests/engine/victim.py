"""A daemon of its own process, to be killed: `python -m tests.engine.victim sqlite PATH` or `... postgres URL`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from daemon.domain.clock import SystemClock
from daemon.store.database import Store
from daemon.store.targets import PostgresTarget, SqliteTarget
from tests.engine.nodes import Node


async def main(kind: str, where: str) -> None:
    target = SqliteTarget(Path(where)) if kind == "sqlite" else PostgresTarget.from_url(where)
    store = await Store.open(target, clock=SystemClock())
    await Node(store, legs_each=5, leg_seconds=0.05, slots=4).start()
    print("up", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
