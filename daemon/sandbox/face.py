"""The HTTP face: one aiohttp server for each panel, with the doors for tests beside the panel's own URL."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from daemon.sandbox.panel import Panel, Served

LARGEST_FORM = 4 * 1024 * 1024
Door = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PanelFace:
    """Serves `panel` under `/<kind>` and `/manager/<kind>` on `host`; `latency` seconds are added to every answer."""

    def __init__(self, panel: Panel, host: str, latency: float, doors: dict[tuple[str, str], Door]) -> None:
        self.panel = panel
        self.latency = latency
        self.host = host
        self.port = 0
        self._doors = doors
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/{self.panel.kind}"

    @property
    def doors_url(self) -> str:
        return f"http://{self.host}:{self.port}/_sandbox"

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=LARGEST_FORM)
        for path in (f"/{self.panel.kind}", f"/manager/{self.panel.kind}"):
            app.router.add_route("GET", path, self._answer)
            app.router.add_route("POST", path, self._answer)
        for (method, name), door in self._doors.items():
            app.router.add_route(method, f"/_sandbox/{name}", door)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        params: dict[str, str] = dict(request.query)
        if request.method == "POST":
            form = await request.post()
            params |= {key: value for key, value in form.items() if isinstance(value, str)}
        served = self.panel.serve(params, request.remote or "")
        if self.latency or served.delay:
            await asyncio.sleep(self.latency + served.delay)
        if served.cut:
            _cut(request)
        return _response(served)


def _response(served: Served) -> web.Response:
    return web.Response(status=served.status, body=served.body, content_type=served.content_type, charset="utf-8")


def _cut(request: web.Request) -> None:
    """Reset the connection: no answer, no orderly end."""
    transport = request.transport
    if transport is None:
        return
    sock: Any = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
