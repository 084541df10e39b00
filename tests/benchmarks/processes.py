"""The sandbox and the daemon as processes of their own, and what the system says about a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

READY_WITHIN = 60.0
STOP_WITHIN = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Panels:
    """A running sandbox and the configuration it wrote."""

    systems: dict[str, Any]
    folder: Path
    pid: int

    @property
    def config(self) -> Path:
        return self.folder / "provisiond.yaml"

    async def door(self, name: str, body: Any = None) -> Any:
        url = f"{self.systems['doors']}/{name}"
        async with aiohttp.ClientSession() as session:
            method = "GET" if body is None else "POST"
            async with session.request(method, url, json=body) as answer:
                answer.raise_for_status()
                return await answer.json()


@asynccontextmanager
async def sandbox(settings: Mapping[str, str], changes: Mapping[str, str] | None = None) -> AsyncIterator[Panels]:
    """A sandbox process; `changes` are keys of the module's file."""
    with tempfile.TemporaryDirectory(prefix="provisiond-bench-") as name:
        folder = Path(name)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.panels", json.dumps(dict(settings)), name,
            stdout=asyncio.subprocess.PIPE, limit=1 << 20,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), READY_WITHIN)
            change(folder / "modules.d" / "dci-main.yaml", changes or {})
            yield Panels(json.loads(line), folder, process.pid)
        finally:
            process.terminate()
            await process.wait()


def change(path: Path, values: Mapping[str, str]) -> None:
    """Set top-level keys of a YAML file that has one line for each."""
    kept = [line for line in path.read_text().splitlines() if line.split(":")[0] not in values]
    path.write_text("\n".join([*kept, *(f"{key}: {value}" for key, value in values.items())]) + "\n")


@dataclass
class Running:
    """A daemon process."""

    process: asyncio.subprocess.Process
    socket: Path
    ready_after: float
    """Seconds from the start of the process to READY."""

    async def call(
        self, session: aiohttp.ClientSession, method: str, path: str, body: Any = None, key: str = ""
    ) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        async with session.request(method, f"http://daemon{path}", json=body, headers=headers) as answer:
            found = await answer.json(content_type=None)
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {found}")
            return found

    def client(self) -> aiohttp.ClientSession:
        """Over the Unix socket: no token is needed there."""
        return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket)))

    async def stop(self) -> float:
        """Seconds from SIGTERM to the end of the process."""
        begun = monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self.process.wait(), STOP_WITHIN)
        if code != 0:
            raise RuntimeError(f"the daemon ended with code {code}")
        return monotonic() - begun


@asynccontextmanager
async def daemon(config: Path) -> AsyncIterator[Running]:
    """The daemon as systemd would start it: READY over the notification socket, watchdog on, log to a file."""
    log = config.parent / "daemon.log"
    with tempfile.TemporaryDirectory(prefix="pd-") as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        address = str(Path(short) / "notify")
        inbox.bind(address)
        inbox.setblocking(False)
        environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}
        with log.open("ab") as output:
            begun = monotonic()
            process = await asyncio.create_subprocess_exec(
                *command(config), "run", stdout=output, stderr=output, env=environment
            )
        drain: asyncio.Task[None] | None = None
        try:
            await asyncio.wait_for(_ready(inbox, process, log), READY_WITHIN)
            running = Running(process, config.parent / "var" / "provisiond.sock", monotonic() - begun)
            drain = asyncio.create_task(_drain(inbox))
            yield running
        finally:
            if drain is not None:
                drain.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()


def command(config: Path) -> list[str]:
    return [sys.executable, "-m", "daemon", "--config", str(config)]


async def _ready(inbox: socket.socket, process: asyncio.subprocess.Process, log: Path) -> None:
    loop = asyncio.get_running_loop()
    while True:
        message = asyncio.ensure_future(loop.sock_recv(inbox, 4096))
        ended = asyncio.ensure_future(process.wait())
        done, _ = await asyncio.wait({message, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if message not in done:
            message.cancel()
            raise RuntimeError(f"the daemon ended before it was ready: {log.read_text(errors='replace')[-2000:]}")
        if b"READY=1" in message.result():
            return


async def _drain(inbox: socket.socket) -> None:
    """Take the signs of life, so that the daemon never finds the socket full."""
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_recv(inbox, 4096)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int, line: str = "VmRSS") -> float:
    """`VmRSS`: what it holds now; `VmHWM`: the most it ever held."""
    for text in Path(f"/proc/{pid}/status").read_text().splitlines():
        if text.startswith(f"{line}:"):
            return int(text.split()[1]) / 1024
    raise ValueError(line)
