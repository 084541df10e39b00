"""The main job end to end, with the real daemon on SQLite against the sandbox's panels."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.table import Table

from daemon.cli.demo.outcome import DemoError, require
from daemon.domain.clock import Clock, SystemClock
from daemon.sandbox import Sandbox, SandboxSettings

TEMPLATE = "ISPsystem__Debian-12-x86_64"
RX, TX = 5_368_709_121, 1_073_741_827
"""Traffic that the demo sends, in bytes; odd on purpose, so that nothing rounded can pass."""
QUICK: dict[str, object] = {
    "watch_every": "500ms",
    "readback_pause": "200ms",
    "install_start_within": "2s",
    "install_at_least": "1s",
}
MARKS = {
    "done": "[green]done[/]",
    "intent": "[yellow]sent[/]",
    "waiting": "[cyan]waiting[/]",
    "failed": "[red]failed[/]",
}


async def tell(folder: Path, console: Console) -> None:
    settings = SandboxSettings(servers={"E3-1230-16G": 3}, install_seconds=2, power_seconds=0.5)
    async with Sandbox.start(settings) as sandbox:
        config = sandbox.write_config(folder, QUICK)
        console.print(f"Panels are simulated at {sandbox.dci_url} and {sandbox.ipm_url}; the daemon is the real one.")
        async with _daemon(config, folder) as api:
            await _Story(sandbox, api, console).tell()


@dataclass
class _Api:
    """The daemon's HTTP API, with a token."""

    session: aiohttp.ClientSession  # noqa: TID251 - see `_daemon`
    url: str
    token: str
    clock: Clock

    async def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key else {})
        async with self.session.request(method, self.url + path, json=body, headers=headers) as answer:
            found = await answer.json(content_type=None)
            if answer.status >= 400:
                raise DemoError(f"{method} {path} was answered with {answer.status}: {json.dumps(found)}")
            return found


@asynccontextmanager
async def _daemon(config: Path, folder: Path) -> AsyncIterator[_Api]:
    """The daemon as a process of its own, stopped as systemd would stop it."""
    clock = SystemClock()
    command = [sys.executable, "-m", "daemon", "--config", str(config)]
    with (folder / "daemon.log").open("wb") as logfile:
        process = await asyncio.create_subprocess_exec(*command, "run", stderr=logfile, stdout=logfile)
    try:
        async with aiohttp.ClientSession() as session:  # noqa: TID251 - a client of our own API, not of a panel
            url = _listen(config)
            await _ready(session, url, process, folder, clock)
            token = await _token(command)
            yield _Api(session, url, token, clock)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 15)
    if code != 0:
        raise DemoError(f"the daemon ended with code {code}; its log said: {_tail(folder)}")


def _listen(config: Path) -> str:
    line = next(line for line in config.read_text().splitlines() if line.startswith("listen:"))
    return f"http://{line.split(None, 1)[1]}"


async def _ready(
    session: aiohttp.ClientSession,  # noqa: TID251 - see `_daemon`
    url: str,
    process: asyncio.subprocess.Process,
    folder: Path,
    clock: Clock,
) -> None:
    until = clock.monotonic() + 20
    while clock.monotonic() < until and process.returncode is None:
        try:
            async with session.get(f"{url}/readyz") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await clock.sleep(0.1)
    raise DemoError(f"the daemon did not become ready; its log says: {_tail(folder)}")


def _tail(folder: Path) -> str:
    return (folder / "daemon.log").read_text(errors="replace")[-2000:]


async def _token(command: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, "token", "create", "--role", "admin", "--json", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise DemoError("no token could be made")
    token: str = json.loads(out)["token"]
    return token


class _Story:
    def __init__(self, sandbox: Sandbox, api: _Api, console: Console) -> None:
        self._sandbox = sandbox
        self._api = api
        self._console = console

    async def tell(self) -> None:
        free = self._free()
        held = len(self._sandbox.ipm.held)
        service = await self._order("C-17", "Ada Example", "a.example.test", {"ostempl": TEMPLATE, "ip": 2, "ipv6": 1})
        remote_id = service["server"]["remote_id"]
        self._sandbox.dci.send_traffic(remote_id, RX, TX)
        self._console.print(f"\nThe sandbox sends {RX} bytes in and {TX} bytes out. Then the customer leaves.")
        await self._release(service["id"])
        await self._check_bill(service["id"], {"in": RX, "out": TX})
        self._check_stock(free, held, remote_id)
        again = await self._order("C-18", "Bob Example", "b.example.test", {"ostempl": TEMPLATE})
        require(again["server"]["remote_id"] == remote_id, "the second customer got another server")
        self._console.print(
            f"The same server, {remote_id}, now belongs to another customer, whose count begins at zero:"
        )
        await self._release(again["id"])
        await self._check_bill(again["id"], {"in": 0, "out": 0})
        self._check_stock(free, held, remote_id)

    async def _order(self, ref: str, name: str, hostname: str, addons: dict[str, Any]) -> dict[str, Any]:
        order = {
            "plan": "ds-small",
            "customer": {"ref": ref, "name": name, "email": f"{ref.lower()}@example.test"},
            "currency": "EUR",
            "period": "month",
            "hostname": hostname,
            "addons": addons,
        }
        self._console.print(f"\n[bold]Order[/] of {name}: plan ds-small, {addons}")
        placed = await self._api.call("POST", "/v1/orders", order, key=f"demo-{ref}")
        await self._watch(placed["operation"]["id"])
        service: dict[str, Any] = await self._api.call("GET", f"/v1/services/{placed['service']['id']}")
        require(service["state"] == "active", f"the service is {service['state']}: {service['fault']}")
        self._show(service)
        return service

    async def _release(self, service_id: int) -> None:
        self._console.print(f"\n[bold]Release[/] of service {service_id}")
        answer = await self._api.call("POST", f"/v1/services/{service_id}/release", {"reason": "the demo is over"})
        await self._watch(answer["operation"]["id"])
        service = await self._api.call("GET", f"/v1/services/{service_id}")
        require(service["state"] == "released", f"the service is {service['state']}: {service['fault']}")

    async def _watch(self, operation_id: int) -> None:
        """Show the steps while they happen."""
        with Live(console=self._console, auto_refresh=False) as live:
            until = self._api.clock.monotonic() + 40
            while self._api.clock.monotonic() < until:
                operation = await self._api.call("GET", f"/v1/operations/{operation_id}")
                live.update(_steps(operation), refresh=True)
                if operation["status"] not in ("open", "queued"):
                    require(operation["status"] == "done", f"operation {operation_id} {operation['status']}")
                    return
                await self._api.clock.sleep(0.15)
        raise DemoError(f"operation {operation_id} did not end: {operation['waiting_for']}")

    def _show(self, service: dict[str, Any]) -> None:
        table = Table(title=f"Service {service['id']} is active", show_header=False)
        table.add_row("server", f"{service['server']['remote_id']} on {service['module']}")
        table.add_row("host name", service["server"]["hostname"])
        for address in service["addresses"]:
            table.add_row(
                f"{address['role']} address", f"{address['address']} ({address['type']}, {address['family']})"
            )
        table.add_row("billed from", service["billing_from"])
        self._console.print(table)

    async def _check_bill(self, service_id: int, sent: dict[str, int]) -> None:
        answer = await self._api.call("GET", f"/v1/usage-records?service={service_id}")
        table = Table("resource", "sent by the sandbox", "usage record", "shown", "coverage", title="Usage records")
        for record in sorted(answer["items"], key=lambda item: str(item["resource"])):
            code = record["resource"]
            table.add_row(
                code,
                str(sent[code]),
                f"{record['base_quantity']} {record['base_unit']}",
                f"{record['quantity']} {record['unit']}",
                f"{record['coverage']} %",
            )
            require(
                int(record["base_quantity"]) == sent[code], f"{code}: {record['base_quantity']} is not {sent[code]}"
            )
        self._console.print(table)
        require(len(answer["items"]) == len(sent), f"{len(answer['items'])} usage records instead of {len(sent)}")

    def _check_stock(self, free: list[str], held: int, remote_id: str) -> None:
        server = self._sandbox.dci.servers[remote_id]
        parked = self._sandbox.ipm.held[server.main_ip].type
        require(parked == "parking", f"the main address of server {remote_id} is of type {parked}")
        require(self._free() == free, "the free stock is not as it was")
        require(len(self._sandbox.ipm.held) == held, "an address leaked")
        self._console.print(
            f"Server {remote_id} is free again, its main address {server.main_ip} is a {parked} address; "
            f"free servers: {', '.join(free)}, as before."
        )

    def _free(self) -> list[str]:
        return [server.id for server in self._sandbox.dci.free_servers()]


def _steps(operation: dict[str, Any]) -> Table:
    table = Table("step", "status", "tries", title=f"Operation {operation['id']}: {operation['verb']}")
    for step in operation["steps"]:
        table.add_row(step["name"], MARKS.get(step["status"], step["status"]), str(step["attempts"] or ""))
    if operation["waiting_for"]:
        table.caption = f"waits for {operation['waiting_for']}"
    return table
