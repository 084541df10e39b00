"""Orders in flight: the daemon's time from the first order to the last active server, beside a bare client making the same calls.

The calls are those that the sandbox logged while the daemon worked: the same functions with the same fields, as many, to the same
panels, from the same state of the sandbox. The bare client sends them in their order over as many connections to each panel as the
daemon has, and reads the answers; it decides nothing, waits for nothing and keeps nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Mapping
from time import monotonic
from typing import Any

import aiohttp

from tests.benchmarks.figures import PAIRS, Figure, Pairs, at_most, shown
from tests.benchmarks.processes import Running, cpu_seconds, daemon, memory_mib, sandbox

ORDERS = 100
CONNECTIONS = 4
LATENCY = 0.05
TEMPLATE = "ISPsystem__Debian-12-x86_64"
MODULE = {"watch_every": "1s", "readback_pause": "200ms", "connections": str(CONNECTIONS), "install_start_within": "1s"}
"""`install_start_within`: the panel installs at once, so nothing is to be seen running."""
PATIENCE = 600.0
SECRETS = dict.fromkeys(("passwd", "confirm", "checkpasswd"), "x" * 16)
"""The sandbox doesn't log passwords; the replay sends others where one belongs."""
WITH_PASSWORD = frozenset({"user.edit", "server.operations"})

Call = tuple[str, dict[str, str]]


def settings(orders: int) -> dict[str, str]:
    sizes = {"servers": f"E3-1230-16G={orders + 5}", "public": str(3 * orders + 20), "parking": str(orders + 20)}
    return {**sizes, "latency": str(LATENCY)}


async def measure(orders: int = ORDERS, pairs: int = PAIRS) -> list[Figure]:
    found, calls, cpu, peak = Pairs([], []), [], [], []
    for number in range(1, pairs + 1):
        took, made, used, most = await _by_daemon(orders)
        found.ours.append(took)
        found.others.append(await _bare(orders, made))
        said = f"{orders} orders, pair {number} of {pairs}: ours {took:.1f} s, bare {found.others[-1]:.1f} s"
        print(said, file=sys.stderr, flush=True)  # it takes minutes
        calls.append(sum(len(of_panel) for of_panel in made.values()) / orders)
        cpu.append(used / orders)
        peak.append(most)
    name = "orders_100_ratio" if orders == ORDERS else f"orders_{orders}_ratio"
    note = f"ours {min(found.ours):.1f}-{max(found.ours):.1f} s, bare {min(found.others):.1f}-{max(found.others):.1f} s"
    return [
        at_most(name, found.ratio, 1.3, "x", spread=found.spread, note=f"{note}; install_start_within 1s"),
        shown(
            "orders_calls_each", sum(calls) / len(calls), "calls", note="to both panels, lists shared between orders"
        ),
        shown("orders_cpu_each", sum(cpu) / len(cpu) * 1000, "ms", note="CPU time of the daemon per order"),
        shown("orders_memory_peak", max(peak), "MiB", note=f"of the daemon with {orders} orders in flight"),
    ]


# our side -----------------------------------------------------------------------------------------------------------------------


async def _by_daemon(orders: int) -> tuple[float, dict[str, list[Call]], float, float]:
    """Seconds; the calls of each panel; CPU seconds of the daemon; the most memory it held."""
    async with (
        sandbox(settings(orders), MODULE) as panels,
        daemon(panels.config) as running,
        running.client() as client,
    ):
        pid = running.process.pid
        cpu = cpu_seconds(pid)
        begun = monotonic()
        await place(running, client, orders)
        await _all_active(running, client, orders)
        took = monotonic() - begun
        cpu, peak = cpu_seconds(pid) - cpu, memory_mib(pid, "VmHWM")
        state = await panels.door("state")
        await running.stop()
    made = {
        panel: [(call["func"], call["params"]) for call in state[panel]["calls"]]
        for panel in ("dcimanager", "ipmanager")
    }
    return took, made, cpu, peak


async def place(running: Running, client: aiohttp.ClientSession, orders: int) -> None:
    """All orders at once, each of a customer of its own."""
    await asyncio.gather(*(running.call(client, "POST", "/v1/orders", order(n), f"order-{n}") for n in range(orders)))


def order(number: int) -> dict[str, Any]:
    return {
        "plan": "ds-small",
        "customer": {"ref": f"C-{number}", "name": f"Customer {number}", "email": f"c{number}@example.test"},
        "currency": "EUR",
        "period": "month",
        "hostname": f"h{number}.example.test",
        "addons": {"ostempl": TEMPLATE, "ip": 2},
    }


async def _all_active(running: Running, client: aiohttp.ClientSession, orders: int) -> None:
    until = monotonic() + PATIENCE
    while monotonic() < until:
        counted = Counter[str]()
        path: str | None = "/v1/services?limit=200"
        while path:
            page = await running.call(client, "GET", path)
            counted.update(service["state"] for service in page["items"])
            path = f"/v1/services?limit=200&after={page['next']}" if page["next"] else None
        if counted["active"] == orders:
            return
        await asyncio.sleep(0.25)
    raise RuntimeError(f"not all orders became active: {dict(counted)}")


# the bare side ------------------------------------------------------------------------------------------------------------------


async def _bare(orders: int, calls: Mapping[str, list[Call]]) -> float:
    async with sandbox(settings(orders)) as panels:
        begun = monotonic()
        await asyncio.gather(*(_replay(panels.systems[panel], made) for panel, made in calls.items()))
        return monotonic() - begun


async def _replay(system: Mapping[str, str], calls: list[Call]) -> None:
    waiting = deque(call for call in calls if call[0] != "auth")
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        login = {"func": "auth", "username": system["username"], "password": system["password"], "out": "xml"}
        async with session.post(system["url"], data=login) as answer:
            token = (await answer.text()).partition('<auth id="')[2].partition('"')[0]
        assert token

        async def send() -> None:
            while waiting:
                func, params = waiting.popleft()
                form = {**params, "func": func, "auth": token, "out": "xml"}
                if func in WITH_PASSWORD and "sok" in params:
                    form |= SECRETS
                async with session.post(system["url"], data=form) as answer:
                    await answer.read()

        await asyncio.gather(*(send() for _ in range(CONNECTIONS)))
