"""Whatever comes in, nothing is answered with 5xx, and nothing is stored that was not ordered."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from daemon.api.endpoint import Endpoint
from daemon.api.problems import Problem
from daemon.api.table import ENDPOINTS
from tests.api.house import House
from tests.provisioning.world import TEMPLATE, order

SEED = 20260101
LEAVES: tuple[Any, ...] = (
    None, True, False, 0, -0.0, 1, -1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**100, 0.1, 1e308, 5e-324,
    "", " ", "\x00", "\x7f", "\ud800", "\U0001f4a9", "e\u0301", "\u202e", "a" * 300, "a" * 65536, "'; DROP TABLE service; --",
    "0x10", "١", "::ffff:192.0.2.1", "fe80::1%eth0", "0.0.0.0/0", "2026-02-30T25:61:61Z", TEMPLATE, "C-17", "EUR", "month",
)  # fmt: skip
NAMES = (
    "plan",
    "customer",
    "ref",
    "name",
    "email",
    "addons",
    "ip",
    "reason",
    "result",
    "note",
    "roles",
    "",
    "\x00",
    "__class__",
)


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth < 4 and kind < 0.2:
        return {rng.choice(NAMES): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    if depth < 4 and kind < 0.35:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return rng.choice(LEAVES)


def changed(rng: random.Random, body: dict[str, Any]) -> Any:
    """A good body with one or two places spoilt."""
    body = json.loads(json.dumps(body))
    for _ in range(rng.randrange(1, 3)):
        part = body
        while True:
            name = rng.choice([*part, rng.choice(NAMES)])
            if isinstance(part.get(name), dict) and rng.random() < 0.7:
                part = part[name]
                continue
            part[name] = value(rng)
            break
    return body


def spoilt(rng: random.Random, data: bytes) -> bytes:
    """Bytes put in, taken out or changed."""
    found = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(found) + 1)
        found[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    return bytes(found)


WRITES = [entry for entry in ENDPOINTS if entry.takes_body]
GOOD: dict[str, dict[str, Any]] = {"create_order": order(), "preview_order": order()}
GOOD |= {
    "create_token": {"name": "x", "roles": ["read"]},
    "done_operation": {"reason": "x", "result": {"address": "192.0.2.7"}},
}
GOOD |= {"close_task": {"result": {"remote_id": "101"}, "note": "x"}}


@pytest.mark.parametrize("entry", WRITES, ids=lambda entry: entry.name)
async def test_no_body_brings_the_daemon_down(home: House, entry: Endpoint) -> None:
    await home.order(order(hostname="first.example.test"))
    rng = random.Random(f"{SEED}/{entry.name}")
    good = GOOD.get(entry.name, {"reason": "x"})
    for number in range(150):
        body = value(rng) if number % 3 == 0 else changed(rng, good)
        data = json.dumps(body).encode()
        if number % 5 == 0:
            data = spoilt(rng, data)
        path = entry.path.replace("{id}", rng.choice(("1", "1", "2", "0", str(2**63))))
        answer = await home.ask(
            entry.method, path, data=data, key=None if entry.key == "none" else f"{entry.name}-{number}"
        )
        assert answer.status < 500, f"{data[:500]!r}: {answer.text}"
        if answer.status >= 400:
            Problem.model_validate(answer.body)


@pytest.mark.parametrize(
    "entry", [e for e in ENDPOINTS if e.method == "GET" and e.roles is not None], ids=lambda e: e.name
)
async def test_no_parameter_brings_the_daemon_down(home: House, entry: Endpoint) -> None:
    await home.order(order())
    rng = random.Random(f"{SEED}/{entry.name}")
    names = ["limit", "after", "state", "customer", "status", "service", "from", "until", "resolution", "\x00", "x"]
    for _ in range(60):
        params = [
            (rng.choice(names), str(rng.choice(LEAVES)).replace("\ud800", "%ED%A0%80")[:2000])
            for _ in range(rng.randrange(3))
        ]
        path = entry.path.replace("{id}", rng.choice(("1", "2", "0", "x", str(2**63))))
        headers = {"Authorization": f"Bearer {home.tokens['read' if entry.tag != 'tokens' else 'admin']}"}
        async with home.http.get(home.url + path, params=params, headers=headers) as answer:
            text = await answer.text()
            assert answer.status < 500, f"{params}: {text}"
            if answer.status >= 400:
                Problem.model_validate_json(text)
