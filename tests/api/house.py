"""The API over real HTTP: real use cases, a real database, simulated panels, on a port and on a Unix socket."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from daemon.api.app import make_app, make_runner
from daemon.api.deps import Faces
from daemon.observability.health import Health
from daemon.observability.metrics import Metrics
from daemon.provisioning.access import AccessDesk
from daemon.provisioning.idempotency import Answers
from daemon.sandbox import SandboxSettings
from daemon.store.targets import Target
from tests.provisioning.world import World, world

_KEYS = count(1)


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any
    text: str

    @property
    def fields(self) -> list[str]:
        return [error["field"] for error in self.body["errors"]]


@dataclass
class House:
    world: World
    faces: Faces
    url: str
    socket: Path
    http: aiohttp.ClientSession
    tokens: dict[str, str] = field(repr=False)

    async def ask(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        role: str | None = "admin",
        key: str | None = None,
        data: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; a body given as `data` is sent as it is, as JSON."""
        found = dict(headers or {})
        if role is not None and "Authorization" not in found:
            found["Authorization"] = f"Bearer {self.tokens[role]}"
        if key is not None:
            found["Idempotency-Key"] = key
        if data is not None:
            found.setdefault("Content-Type", "application/json")
        async with self.http.request(method, self.url + path, json=json, data=data, headers=found) as answer:
            text = await answer.text()
            body = await answer.json(content_type=None) if "json" in answer.content_type else None
            return Answer(answer.status, answer.headers, body, text)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> Answer:
        return await self.ask("POST", path, json, **more)

    async def order(self, order: Any, key: str | None = None, **more: Any) -> Answer:
        return await self.post("/v1/orders", order, key=key or f"key-{next(_KEYS)}", **more)

    async def all_pages(self, path: str, limit: int) -> list[Any]:
        """Every item of a list, page by page."""
        items: list[Any] = []
        after = ""
        while True:
            mark = "&" if "?" in path else "?"
            page = (await self.get(f"{path}{mark}limit={limit}{after}")).body
            assert len(page["items"]) <= limit
            items += page["items"]
            if page["next"] is None:
                return items
            after = f"&after={page['next']}"


def faces_of(made: World) -> Faces:
    health = Health()

    async def database() -> str | None:
        await made.store.ping()
        return None

    health.add("database", database, vital=True)
    return Faces(
        store=made.store,
        clock=made.clock,
        fleet=made.fleet,
        answers=Answers(made.store),
        ordering=made.ordering,
        desk=made.desk,
        access=AccessDesk(made.store, made.master),
        usage=made.statistics.usage,
        records=made.statistics.records,
        collector=made.statistics.collector,
        pushed=made.statistics.pushed,
        alerts=made.statistics.alerts,
        health=health,
        metrics=Metrics("0.1.0"),
        version="0.1.0",
    )


async def tokens_of(faces: Faces) -> dict[str, str]:
    from daemon.api.callers import new_token

    found = {role: new_token() for role in ("read", "order", "operate", "bill", "admin")}
    async with faces.store.transaction() as tx:
        for role, secret in found.items():
            await tx.tokens.add(role, secret, [role])
    return found


@asynccontextmanager
async def house(
    target: Target,
    folder: Path,
    settings: SandboxSettings | None = None,
    configure: Callable[[Path], None] | None = None,
) -> AsyncIterator[House]:
    async with world(target, folder, settings=settings, configure=configure) as made:
        faces = faces_of(made)
        runner = make_runner(make_app(faces, local=False))
        local = make_runner(make_app(faces, local=True))
        await runner.setup()
        await local.setup()
        path = made.config.parent / "var" / "provisiond.sock"
        path.parent.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await web.UnixSite(local, str(path)).start()
            async with aiohttp.ClientSession() as http:
                yield House(made, faces, f"http://127.0.0.1:{port}", path, http, await tokens_of(faces))
        finally:
            await local.cleanup()
            await runner.cleanup()
