"""Pushing usage over HTTP: what is answered, what is kept, and who may."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.api.openapi import description
from daemon.api.pushed import RULES
from daemon.store.targets import Target
from tests.api.house import Answer, House, house
from tests.api.test_openapi import check
from tests.store.rows import a_billed_service

BATCH = "application/cloudevents-batch+json"


@pytest.fixture
async def open_house(target: Target, tmp_path: Path) -> AsyncIterator[House]:
    """On both kinds of database, with service 1."""
    async with house(target, tmp_path) as made:
        async with made.world.store.transaction() as tx:
            await a_billed_service(tx)
        yield made


def event(home: House, number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "collector/a",
        "type": "usage",
        "time": home.world.clock.now().isoformat(),
        "subject": "1",
        "data": {"resource": "out", "value": "1024"},
        **changes,
    }


async def push(home: House, body: Any, **more: Any) -> Answer:
    return await home.post("/v1/usage", body, **{"role": "bill", **more})


def states(answer: Answer) -> list[str]:
    return [item["status"] for item in answer.body["items"]]


async def counted(home: House, resource: str = "out") -> int:
    now = home.world.clock.now()
    found = await home.world.store.read.pushed.events_of(
        1, resource, now - timedelta(days=400), now + timedelta(days=400)
    )
    return sum(reading.quantity for reading in found)


async def test_one_event_is_answered_by_its_status(open_house: House) -> None:
    home = open_house
    old = (home.world.clock.now() - timedelta(days=36)).isoformat()
    answers = [
        await push(home, event(home)),
        await push(home, event(home)),
        await push(home, event(home, data={"resource": "out", "value": "7"})),
        await push(home, event(home, 2, time=old)),
        await push(home, event(home, 3, data={"resource": "out", "value": 1.5})),
        await push(home, event(home, 4, subject="99")),
    ]
    assert [answer.status for answer in answers] == [201, 200, 409, 202, 422, 422]
    item = {"id": "e-1", "source": "collector/a", "status": "accepted", "why": None, "error": None}
    assert answers[0].body == {"items": [item]}
    assert [states(answer) for answer in (answers[1], answers[3])] == [["duplicate"], ["quarantined"]]
    assert answers[3].body["items"][0]["why"] == "too_old"
    assert [answer.body.get("code") for answer in (answers[2], answers[4])] == ["usage_conflict", "event_refused"]
    assert answers[4].fields == ["data.value"]
    assert answers[5].fields == ["subject"]
    assert await counted(home) == 1024


async def test_a_batch_is_answered_item_by_item(open_house: House) -> None:
    home = open_house
    await push(home, event(home))
    batch = [event(home), event(home, data={"upload": 1, "download": 2}), event(home, 2), {"id": "x"}, 5]
    answer = await push(home, batch)
    assert answer.status == 200
    assert states(answer) == ["duplicate", "conflict", "accepted", "refused", "refused"]
    errors = [item["error"] for item in answer.body["items"]]
    assert [error and error["code"] for error in errors] == [
        None, "usage_conflict", None, "event_refused", "event_refused",
    ]  # fmt: skip
    assert (answer.body["items"][3]["id"], answer.body["items"][3]["source"]) == ("x", None)
    assert await counted(home) == 2048
    schema = description("0.1.0")["paths"]["/v1/usage"]["post"]
    check(schema["responses"]["200"]["content"]["application/json"]["schema"], answer.body)
    check(schema["requestBody"]["content"][BATCH]["schema"], batch[:3])


@pytest.mark.parametrize("media", RULES.media)
async def test_each_media_type_of_events_is_taken(home: House, media: str) -> None:
    async with home.world.store.transaction() as tx:
        await a_billed_service(tx)
    body = [event(home)] if "batch" in media else event(home)
    answer = await push(home, None, data=json.dumps(body).encode(), headers={"Content-Type": f"{media}; charset=utf-8"})
    assert answer.status == (200 if "batch" in media else 201)
    other = await push(home, None, data=b"{}", headers={"Content-Type": "text/plain"})
    assert (other.status, other.body["code"]) == (415, "content_type")


async def test_two_callers_with_one_event_at_once_count_it_once(open_house: House) -> None:
    home = open_house
    answers = await asyncio.gather(*(push(home, event(home)) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert await counted(home) == 1024


async def test_the_two_usage_fields_count_for_their_own_resources(open_house: House) -> None:
    home = open_house
    await push(home, event(home, data={"upload": "10", "download": "20", "unit": "KiB"}))
    assert (await counted(home, "out"), await counted(home, "in")) == (10240, 20480)


async def test_the_quarantine_is_listed_released_and_discarded(open_house: House) -> None:
    home = open_house
    ahead = (home.world.clock.now() + timedelta(hours=1)).isoformat()
    await push(home, [event(home, number, time=ahead) for number in range(5)])
    listed = await home.all_pages("/v1/usage/quarantine", 2)
    assert [item["event_id"] for item in listed] == ["e-4", "e-3", "e-2", "e-1", "e-0"]
    assert listed[0]["quantities"] == {"out": "1024"}
    path = f"/v1/usage/quarantine/{listed[0]['id']}"
    done = [await home.post(f"{path}/release", {"reason": "a clock"}, role="bill", key="k") for _ in range(2)]
    assert [answer.status for answer in done] == [200, 200]
    assert done[0].body == done[1].body
    assert done[0].body["status"] == "accepted"
    again = await home.post(f"{path}/release", {"reason": "a clock"}, role="bill")
    assert (again.status, again.body["code"]) == (409, "not_in_quarantine")
    other = await home.post(f"/v1/usage/quarantine/{listed[1]['id']}/discard", {"reason": "a test"}, role="bill")
    assert other.body["status"] == "discarded"
    assert (await home.post("/v1/usage/quarantine/999/release", {}, role="bill")).status == 404
    assert len(await home.all_pages("/v1/usage/quarantine", 50)) == 3
    assert await counted(home) == 1024
    events = (await home.get("/v1/services/1/events")).body["items"]
    assert [(made["kind"], made["reason"], made["actor"]) for made in events] == [
        ("usage.released", "a clock", "token:bill"),
        ("usage.discarded", "a test", "token:bill"),
    ]


async def test_what_was_refused_for_its_content_is_listed(open_house: House) -> None:
    home = open_house
    await push(home, [event(home), event(home, data={"resource": "out", "value": 5})])
    [kept] = await home.all_pages("/v1/usage/conflicts", 10)
    assert (kept["sent"]["quantities"], kept["kept"]["quantities"]) == ({"out": "5"}, {"out": "1024"})
    [made] = (await home.get("/v1/services/1/events")).body["items"]
    assert (made["kind"], made["actor"]) == ("usage.conflict", "token:bill")


async def test_a_request_with_a_key_gets_the_same_answer_again(open_house: House) -> None:
    home = open_house
    for _ in range(2):
        assert (await push(home, event(home), key="k")).status == 201
        assert states(await push(home, [event(home, 2)], key="b")) == ["accepted"]
    assert (await push(home, event(home, 3), key="k")).body["code"] == "key_reused"
    bad = event(home, 4, subject="99")
    assert [(await push(home, bad, key="c")).status for _ in range(2)] == [422, 422]
    assert (await push(home, event(home, 4), key="c")).status == 201


@pytest.mark.parametrize(("role", "status"), [("read", 403), ("order", 403), ("operate", 403), ("bill", 201)])
async def test_pushing_and_releasing_need_the_role_bill(home: House, role: str, status: int) -> None:
    async with home.world.store.transaction() as tx:
        await a_billed_service(tx)
    assert (await push(home, event(home), role=role)).status == status
    assert (await home.post("/v1/usage/quarantine/9/release", {}, role=role)).status == (404 if status == 201 else 403)
    assert (await home.get("/v1/usage/quarantine", role=role)).status == 200


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"{", 400, "bad_json"),
        (b"[NaN]", 400, "bad_json"),
        (b'{"id": 1e999}', 400, "bad_json"),
        (b'{"id": "a", "id": "b"}', 400, "duplicate_key"),
        (b'[{"data": {"value": 1, "value": 2}}]', 400, "duplicate_key"),
        (b"[" * 100_000, 400, "too_deep"),
        (b"\xff", 400, "bad_json"),
        (b"", 422, "event_refused"),
        (b"null", 422, "event_refused"),
        (b"[" + b"0," * 10_000 + b"0]", 422, "too_many_events"),
        (b'{"' + b"x" * 65536 + b'": 1}', 422, "event_refused"),
        (b'{"\\ud800": "\\u0000"}', 422, "event_refused"),
    ],
)
async def test_a_body_that_is_no_events_is_refused(home: House, data: bytes, status: int, code: str) -> None:
    answer = await push(home, None, data=data)
    assert (answer.status, answer.body["code"]) == (status, code), answer.text


async def test_one_item_that_can_not_be_stored_does_not_keep_the_others_out(open_house: House) -> None:
    home = open_house
    bad = [event(home, 1, id="a\x00b"), event(home, 2, source="\ud800"), event(home, 3, **{"\ud800\x00": 1})]
    bad += [event(home, 4, data={"resource": "out", "value": 2**63}), event(home, 5, data=[[[[]]]])]
    answer = await push(home, None, data=json.dumps([*bad, event(home, 6)]).encode(), key="k")
    assert (answer.status, states(answer)) == (200, ["refused"] * 5 + ["accepted"]), answer.text


async def test_a_large_batch_is_taken_and_a_larger_body_is_not(home: House) -> None:
    async with home.world.store.transaction() as tx:
        await a_billed_service(tx)
    batch = [event(home, number, source="s" * 200) for number in range(5000)]
    answer = await push(home, None, data=io.BytesIO(json.dumps(batch).encode()))
    assert set(states(answer)) == {"accepted"}
    too_large = await push(home, None, data=io.BytesIO(b" " * (RULES.largest + 1)))
    assert (too_large.status, too_large.body["code"]) == (413, "too_large")
    elsewhere = await home.post("/v1/orders/plan", None, data=io.BytesIO(b" " * (2 * 1024 * 1024)))
    assert elsewhere.status == 413
