"""kill -9 of a real daemon at edges of its steps, and a start of it again: real processes, real panels, real time (`make crash`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.app import SOCKET
from daemon.sandbox import Sandbox, SandboxSettings
from tests.crash.edges import Point, points
from tests.provisioning.world import order

QUICK: dict[str, object] = {
    "watch_every": "200ms",
    "readback_pause": "100ms",
    "install_start_within": "300ms",
    "install_at_least": "0s",
    "timeout": "2s",
    "settle": "2s",
}
LATE_BY = 1.5
"""The lost request lands this many seconds later, when the new process runs already: within the settle of 2 s."""
AT_LEAST = 40
PATIENCE = 40.0


EDGES = ("before", "intended", "sent", "effect", "answered", "committed")


def chosen(scenario: str, every: int) -> list[Point]:
    """Of each kind of edge every n-th step, each kind beginning with another one, so that all steps have their turn."""
    found = []
    for start, edge in enumerate(EDGES):
        found += [point for point in points(scenario) if point.edge == edge][start % every :: every]
    return found


POINTS = [*chosen("provision", 4), *chosen("release", 4)]


def test_enough_edges_are_hit_by_a_real_kill() -> None:
    assert len(POINTS) >= AT_LEAST
    assert {point.edge for point in POINTS} == set(EDGES)


@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_a_killed_daemon_goes_on_when_it_is_started_again(point: Point, tmp_path: Path) -> None:
    settings = SandboxSettings(servers={"E3-1230-16G": 2}, install_seconds=0.5)
    async with Sandbox.start(settings) as sandbox:
        config = sandbox.write_config(tmp_path, QUICK)
        free, held = free_servers(sandbox), len(sandbox.ipm.held)
        if point.scenario == "release":
            async with daemon(config, tmp_path) as api:
                await api.post("/v1/orders", order(), key="order-1")
                await api.until("active")
            sandbox.dci.send_traffic(free[0], 1000, 2000)
        await run_into_the_knife(point, config, tmp_path, sandbox)

        async with daemon(config, tmp_path) as api:
            service = await api.until("released" if point.scenario == "release" else "active")
            records = (await api.get("/v1/usage-records?service=1"))["items"]

        owned = [server.id for server in sandbox.dci.servers.values() if server.owner]
        assert_ledger_is_true(tmp_path, sandbox)
        if point.scenario == "release":
            assert owned == []
            assert free_servers(sandbox) == free
            assert len(sandbox.ipm.held) == held
            assert sorted(int(record["base_quantity"]) for record in records) == [1000, 2000]
        else:
            assert owned == [service["server"]["remote_id"]]


async def run_into_the_knife(point: Point, config: Path, folder: Path, sandbox: Sandbox) -> None:
    """Start a daemon that will kill itself, give it its work, and see it die by SIGKILL."""
    fault: list[str] = []
    if point.write is not None:
        kind = "late" if point.edge == "sent" else "reset_after"
        fault = [sandbox.doors_url, point.write.panel, point.write.func, str(point.write.nth), kind, str(LATE_BY)]
    arguments = [point.step, str(point.ordinal), point.edge, *fault]
    process = start(config, folder, *arguments)
    try:
        api = Api(folder)
        await api.ready(process)
        # The answer may be lost with the process: the key and the state tell afterwards.
        with contextlib.suppress(aiohttp.ClientError):
            if point.scenario == "release":
                await api.post("/v1/services/1/release", {"reason": "test"}, key="release-1")
            else:
                await api.post("/v1/orders", order(), key="order-1")
        await api.close()
        await asyncio.to_thread(process.wait, PATIENCE)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL, (folder / "daemon.log").read_text()[-3000:]


def start(config: Path, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    log = (folder / "daemon.log").open("ab")
    command = [sys.executable, "-m", "tests.crash.victim", str(config), *arguments]
    with log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})


@asynccontextmanager
async def daemon(config: Path, folder: Path) -> AsyncIterator[Api]:
    process = start(config, folder)
    api = Api(folder)
    try:
        await api.ready(process)
        yield api
    finally:
        await api.close()
        process.terminate()
        await asyncio.to_thread(process.wait, 15)
    assert process.returncode == 0, (folder / "daemon.log").read_text()[-3000:]


class Api:
    """The daemon's Unix socket."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(folder / "var" / SOCKET)), timeout=aiohttp.ClientTimeout(total=20)
        )

    async def close(self) -> None:
        await self._session.close()

    async def ready(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(aiohttp.ClientError):
                async with self._session.get("http://daemon/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
        # A release in doubt may be cut before the socket is up: then the process is dead, as it should be.
        assert process.returncode == -signal.SIGKILL, (self._folder / "daemon.log").read_text()[-3000:]

    async def get(self, path: str) -> Any:
        async with self._session.get(f"http://daemon{path}") as answer:
            return await answer.json()

    async def post(self, path: str, body: Any, key: str) -> Any:
        async with self._session.post(f"http://daemon{path}", json=body, headers={"Idempotency-Key": key}) as answer:
            found = await answer.json()
            assert answer.status < 300, json.dumps(found)
            return found

    async def until(self, state: str) -> Any:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            service = await self.get("/v1/services/1")
            if service.get("state") == state:
                return service
            await asyncio.sleep(0.1)
        raise AssertionError(f"{service}\n" + (self._folder / "daemon.log").read_text()[-3000:])


def free_servers(sandbox: Sandbox) -> list[str]:
    return [server.id for server in sandbox.dci.free_servers()]


def assert_ledger_is_true(folder: Path, sandbox: Sandbox) -> None:
    """No address is held for us without a row, and no row lacks its address."""
    with contextlib.closing(sqlite3.connect(folder / "var" / "provisiond.db")) as db:
        rows = db.execute("SELECT address FROM allocation WHERE state <> 'released' AND address IS NOT NULL").fetchall()
    ledger = {row[0] for row in rows}
    ours = {address for address, held in sandbox.ipm.held.items() if held.note.startswith("pd-")}
    assert ours == ledger
