"""Ordering over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.store.targets import Target
from tests.api.house import House, house
from tests.provisioning.world import order


@pytest.fixture
async def home(target: Target, tmp_path: Path) -> AsyncIterator[House]:
    """On both databases: keys and their answers are the database's matter."""
    async with house(target, tmp_path) as made:
        yield made


async def test_an_order_is_answered_with_order_service_and_operation(home: House) -> None:
    answer = await home.order(order())
    assert answer.status == 201, answer.text
    assert set(answer.body) == {"order", "service", "operation"}
    assert answer.headers["Location"] == f"/v1/orders/{answer.body['order']['id']}"
    assert answer.body["service"]["state"] == "pending"
    assert answer.body["service"]["target"] == "active"
    assert answer.body["order"]["customer"]["ref"] == "C-17"
    assert answer.body["order"]["actor"] == "token:admin"
    assert home.world.woken == [answer.body["operation"]["id"]]


async def test_a_key_is_required_to_order(home: House) -> None:
    answer = await home.post("/v1/orders", order())
    assert (answer.status, answer.body["code"], answer.fields) == (400, "key_required", ["Idempotency-Key"])


async def test_the_same_key_and_value_give_the_same_answer_however_it_is_written(home: House) -> None:
    first = await home.order(order(), key="k")
    again = await home.order(dict(reversed(order().items())), key="k")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Location"] == first.headers["Location"]
    assert len((await home.get("/v1/services")).body["items"]) == 1


async def test_the_same_key_with_another_body_is_refused(home: House) -> None:
    await home.order(order(), key="k")
    answer = await home.order(order(hostname="b.example.test"), key="k")
    assert (answer.status, answer.body["code"]) == (409, "key_reused")


async def test_a_refused_order_stores_no_key(home: House) -> None:
    refused = await home.order(order(plan="nothing"), key="k")
    assert refused.status == 422
    assert (await home.order(order(), key="k")).status == 201


async def test_callers_with_one_key_at_once_get_one_order(home: House) -> None:
    answers = await asyncio.gather(*(home.order(order(), key="k") for _ in range(8)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["order"]["id"] for answer in answers}) == 1
    assert len((await home.get("/v1/orders")).body["items"]) == 1


async def test_callers_with_keys_of_their_own_never_share_an_order(home: House) -> None:
    answers = await asyncio.gather(*(home.order(order(hostname=f"s{n}.example.test")) for n in range(4)))
    assert len({answer.body["service"]["id"] for answer in answers}) == 4


async def test_the_audit_log_takes_events_of_many_callers_at_once(home: House) -> None:
    answers = await asyncio.gather(*(home.post("/v1/tokens", {"roles": ["read"]}) for _ in range(8)))
    assert {answer.status for answer in answers} == {201}
    assert await home.world.store.read.events.broken_links() == []


async def test_an_order_without_stock_is_refused(home: House) -> None:
    for server in home.world.sandbox.dci.servers.values():
        server.blocked = True
    answer = await home.order(order())
    assert (answer.status, answer.body["code"]) == (409, "no_stock")


async def test_an_order_while_the_panel_is_down_is_refused_for_now(home: House) -> None:
    home.world.sandbox.fault("dci", "*", "http_500", times=0)
    answer = await home.order(order())
    assert (answer.status, answer.body["code"]) == (503, "stock_unknown")
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_preview_says_what_would_be_done_and_does_nothing(home: House) -> None:
    answer = await home.post("/v1/orders/plan", order(), role="read")
    assert answer.status == 200, answer.text
    assert answer.body["module"] == "dci-main"
    assert answer.body["why"][0]["free"] == 4
    assert [a["role"] for a in answer.body["addresses"]] == ["main", "extra"]
    assert any("install" in sentence for sentence in answer.body["would"])
    assert (await home.get("/v1/orders")).body == {"items": [], "next": None}


async def test_an_order_is_shown_with_its_service_and_newest_operation(home: House) -> None:
    placed = (await home.order(order())).body
    shown = (await home.get(f"/v1/orders/{placed['order']['id']}")).body
    assert shown == placed
    assert (await home.get("/v1/orders/999")).status == 404


async def test_a_service_is_active_with_its_addresses_after_its_operation_ran(home: House) -> None:
    placed = (await home.order(order())).body
    await home.world.drive()
    shown = (await home.get(f"/v1/services/{placed['service']['id']}")).body
    assert shown["state"] == "active", await home.world.story(placed["operation"]["id"])
    assert shown["target"] is None
    assert shown["fault"] is None
    assert shown["server"]["hostname"] == "a.example.test"
    assert [(a["family"], a["type"], a["role"], a["parked"]) for a in shown["addresses"]] == [
        ("ipv4", "public", "main", False),
        ("ipv4", "public", "extra", False),
    ]
    operation = (await home.get(f"/v1/operations/{placed['operation']['id']}")).body
    assert operation["status"] == "done"
    assert {"name", "status", "attempts", "error"} <= set(operation["steps"][0])
