"""A panel on loopback that answers what a test tells it to; real sockets, so that resets and half answers are real."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp import web

from daemon.coremanager.client import PanelClient
from daemon.domain.clock import Clock, VirtualClock
from daemon.settings.remote import RemoteSettings
from daemon.settings.types import SecretRef

Answer = str | bytes | web.StreamResponse | Callable[[web.Request, dict[str, str]], Awaitable[web.StreamResponse]]

OK = "<doc><ok/></doc>"
PASSWORD = "s3cret-pass"


def error(error_type: str, *, obj: str = "", value: str = "", msg: str = "no") -> str:
    return f'<doc><error type="{error_type}" object="{obj}"><param name="value">{value}</param><msg>{msg}</msg></error></doc>'


class ScriptedPanel:
    """`answers[func]` is a queue; its last answer is given for ever. `auth` hands out s1, s2, ... unless told otherwise."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.url = ""
        self._sessions = 0

    def says(self, func: str, *answers: Answer) -> None:
        self.answers[func] = list(answers)

    def count(self, func: str) -> int:
        return sum(1 for called, _ in self.calls if called == func)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        params = {key: str(value) for key, value in (await request.post()).items()}
        func = params.get("func", "")
        self.calls.append((func, params))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request, func, params)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request, func: str, params: dict[str, str]) -> web.StreamResponse:
        queue = self.answers.get(func)
        if queue is None and func == "auth":
            self._sessions += 1
            queue = [f'<doc><auth id="s{self._sessions}" level="29">s{self._sessions}</auth></doc>']
        if not queue:
            return web.Response(text=error("missed", obj="func", value=func))
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, web.StreamResponse):
            return answer
        if callable(answer):
            return await answer(request, params)
        body = answer.encode() if isinstance(answer, str) else answer
        return web.Response(body=body, content_type="text/xml")


@asynccontextmanager
async def scripted(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedPanel]:
    panel = ScriptedPanel()
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_post("/dcimgr", panel.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    panel.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}/dcimgr"
    try:
        yield panel
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client_of(
    url: str, *, clock: Clock | None = None, password: str = PASSWORD, **settings: Any
) -> AsyncIterator[PanelClient]:
    settings = {"timeout": timedelta(seconds=5), **settings}
    remote = RemoteSettings(url=url, username="bill", password=SecretRef("dci"), **settings)
    client = PanelClient("dci-main", remote, lambda: password, clock or VirtualClock())
    try:
        yield client
    finally:
        await client.close()


def status(
    code: int, text: str = "", **headers: str
) -> Callable[[web.Request, dict[str, str]], Awaitable[web.StreamResponse]]:
    async def answer(_request: web.Request, _params: dict[str, str]) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return answer


async def reset(request: web.Request, _params: dict[str, str]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def slow(seconds: float, body: str = OK) -> Callable[[web.Request, dict[str, str]], Awaitable[web.StreamResponse]]:
    async def answer(_request: web.Request, _params: dict[str, str]) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response(text=body)

    return answer


def cut_after(body: bytes, announced: int) -> Callable[[web.Request, dict[str, str]], Awaitable[web.StreamResponse]]:
    """Announce more bytes than are sent, then close."""

    async def answer(request: web.Request, _params: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(announced)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def calls_by_func(panel: ScriptedPanel) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for func, params in panel.calls:
        found[func].append(params)
    return found
