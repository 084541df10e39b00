"""Switching alerts over HTTP: what is answered, what is refused, and what the audit log says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.alerts import AlertState
from daemon.store.alerts import ServiceAlerts
from daemon.store.targets import Target
from tests.api.house import Answer, House, house
from tests.store.rows import a_service

PATH = "/v1/services/1/alerts"
ALL_ON = {"service": 1, "80": True, "100": True, "beyond": True, "reported": []}


@pytest.fixture
async def open_house(target: Target, tmp_path: Path) -> AsyncIterator[House]:
    """On both kinds of database, with service 1."""
    async with house(target, tmp_path) as made:
        async with made.world.store.transaction() as tx:
            await a_service(tx)
        yield made


async def put(home: House, body: Any, **more: Any) -> Answer:
    return await home.ask("PUT", PATH, body, **{"role": "operate", **more})


async def told(home: House) -> list[tuple[str, str, Any, Any]]:
    events = (await home.get("/v1/services/1/events")).body["items"]
    return [(made["actor"], made["reason"], made["before"], made["after"]) for made in events]


async def test_all_alerts_are_on_until_somebody_switches_one_off(open_house: House) -> None:
    home = open_house
    assert (await home.get(PATH, role="read")).body == ALL_ON
    answer = await put(home, {"80": False, "reason": "the customer asked"})
    assert (answer.status, answer.body) == (200, {**ALL_ON, "80": False})
    assert (await home.get(PATH)).body == {**ALL_ON, "80": False}
    assert (await put(home, {"beyond": False})).body == {**ALL_ON, "80": False, "beyond": False}
    on = {"80": True, "100": True, "beyond": True}
    assert await told(home) == [
        ("token:operate", "the customer asked", on, {**on, "80": False}),
        ("token:operate", "", {**on, "80": False}, {**on, "80": False, "beyond": False}),
    ]


async def test_the_same_request_again_changes_nothing_and_is_no_event(open_house: House) -> None:
    home = open_house
    for _ in range(2):
        assert (await put(home, {"100": False})).body == {**ALL_ON, "100": False}
        assert (await put(home, {}, key="k")).body == {**ALL_ON, "100": False}
    assert len(await told(home)) == 1
    assert (await put(home, {"80": False}, key="k")).body["code"] == "key_reused"


async def test_what_was_told_is_shown(open_house: House) -> None:
    home = open_house
    state = AlertState("2026-11", eighty=True, hundred=True, steps=3, included=10, step=1)
    async with home.world.store.transaction() as tx:
        await tx.alerts.locked([1])
        await tx.alerts.keep({1: ServiceAlerts(sent={"out": state})})
    found = (await home.get(PATH)).body["reported"]
    assert found == [{"resource": "out", "period": "2026-11", "80": True, "100": True, "beyond": 3}]
    assert (await put(home, {"80": False})).body["reported"] == found


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"81": True}, "81"),
        ({"eighty": True}, "eighty"),
        ({"80": "yes"}, "80"),
        ({"100": 1}, "100"),
        ({"beyond": []}, "beyond"),
        ({"reason": "x" * 2001}, "reason"),
    ],
)
async def test_what_is_no_switch_is_refused(home: House, body: Any, field: str) -> None:
    async with home.world.store.transaction() as tx:
        await a_service(tx)
    answer = await put(home, body)
    assert (answer.status, answer.body["code"], answer.fields) == (422, "invalid_body", [field])
    assert (await home.get(PATH)).body == ALL_ON


@pytest.mark.parametrize(("role", "status"), [("read", 403), ("order", 403), ("operate", 200), ("bill", 200)])
async def test_those_who_operate_and_those_who_bill_may_switch(home: House, role: str, status: int) -> None:
    async with home.world.store.transaction() as tx:
        await a_service(tx)
    assert (await put(home, {"80": False}, role=role)).status == status


async def test_a_service_that_is_not_there_or_released_has_nothing_to_switch(home: House) -> None:
    for method in ("GET", "PUT"):
        answer = await home.ask(method, PATH, {} if method == "PUT" else None)
        assert (answer.status, answer.body["code"]) == (404, "no_service")
    async with home.world.store.transaction() as tx:
        await a_service(tx)
        await tx.execute("UPDATE service SET state = 'released' WHERE id = 1")
    answer = await put(home, {"80": False})
    assert (answer.status, answer.body["code"]) == (409, "released")
    assert (await home.get(PATH)).status == 200
