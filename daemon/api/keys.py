"""Idempotency keys on writes that make their own transaction: the answer is kept in the transaction of the effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from daemon.api.endpoint import Call, Reply, plain
from daemon.provisioning.desk import Also
from daemon.provisioning.idempotency import Answer, Keep
from daemon.store.repositories import Repositories

Work = Callable[[Also], Awaitable[Any]]


async def once(call: Call[Any, Any], route: str, work: Work, shape: Callable[[Any], Any], status: int) -> Reply:
    """Run `work` once per key. `shape` makes the answer of what the work gives; `work` hands it to the `also` it is given."""

    async def run(keep: Keep) -> Answer:
        async def also(tx: Repositories, outcome: Any) -> None:
            await keep(tx, (status, plain(shape(outcome))))

        return status, plain(shape(await work(also)))

    asked = {"ids": dict(call.ids), "body": call.raw}
    status_kept, body = await call.faces.answers.around(call.key, route, asked, run)
    return Reply(body, status_kept)
