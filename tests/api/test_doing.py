"""Services, operations and tasks: what people and programs do with them over HTTP."""

from __future__ import annotations

import asyncio

from tests.api.house import House
from tests.provisioning.world import order


async def active(home: House) -> int:
    placed = (await home.order(order())).body
    await home.world.drive()
    service_id: int = placed["service"]["id"]
    assert (await home.get(f"/v1/services/{service_id}")).body["state"] == "active"
    return service_id


async def stuck(home: House) -> tuple[int, int]:
    """(service, operation) of an order that can't go on by itself: the panel refuses to power the server on, and to undo."""
    placed = (await home.order(order())).body
    home.world.sandbox.fault("dci", "server.poweron", "wrong", times=0)
    await home.world.drive()
    return placed["service"]["id"], placed["operation"]["id"]


async def test_a_service_is_released_over_http(home: House) -> None:
    service_id = await active(home)
    answer = await home.post(f"/v1/services/{service_id}/release", {"reason": "moved away"})
    assert answer.status == 202
    assert set(answer.body) == {"operation"}
    again = await home.post(f"/v1/services/{service_id}/release")
    assert again.status == 409
    await home.world.drive()
    shown = (await home.get(f"/v1/services/{service_id}")).body
    assert shown["state"] == "released"
    assert [(a["role"], a["parked"]) for a in shown["addresses"]] == [("main", True)]
    events = (await home.get(f"/v1/services/{service_id}/events?limit=500")).body["items"]
    release = next(event for event in events if event["kind"] == "service.release")
    assert (release["actor"], release["reason"]) == ("token:admin", "moved away")


async def test_a_release_with_a_key_is_done_once(home: House) -> None:
    service_id = await active(home)
    path = f"/v1/services/{service_id}/release"
    answers = await asyncio.gather(*(home.post(path, {"reason": "x"}, key="r") for _ in range(4)))
    assert {(answer.status, answer.body["operation"]["id"]) for answer in answers} == {
        (202, answers[0].body["operation"]["id"])
    }
    assert (await home.post(path, {"reason": "y"}, key="r")).status == 409


async def test_a_key_stands_for_one_route_only(home: House) -> None:
    service_id = await active(home)
    await home.order(order(hostname="b.example.test"), key="k")
    answer = await home.post(f"/v1/services/{service_id}/release", key="k")
    assert (answer.status, answer.body["code"]) == (409, "key_reused")


async def test_access_is_shown_to_an_operator_and_recorded(home: House) -> None:
    service_id = await active(home)
    answer = await home.post(f"/v1/services/{service_id}/access", {"reason": "customer called"}, role="operate")
    assert answer.status == 200
    assert answer.body["root_password"]
    events = (await home.get(f"/v1/services/{service_id}/events?limit=500")).body["items"]
    assert (events[-1]["kind"], events[-1]["actor"], events[-1]["reason"]) == (
        "service.access",
        "token:operate",
        "customer called",
    )
    assert answer.body["root_password"] not in str(events)


async def test_a_pending_service_has_no_access(home: House) -> None:
    placed = (await home.order(order())).body
    assert (await home.post(f"/v1/services/{placed['service']['id']}/access")).status == 409


async def test_why_says_what_an_operation_waits_for_and_what_a_person_may_do(home: House) -> None:
    placed = (await home.order(order())).body
    why = (await home.get(f"/v1/operations/{placed['operation']['id']}/why")).body
    assert why["status"] == "open"
    assert why["until"] == placed["operation"]["deadline"]
    assert set(why["may"]) == {"retry", "abandon"}


async def test_an_operation_is_abandoned_retried_and_both_are_recorded(home: House) -> None:
    placed = (await home.order(order())).body
    operation_id, service_id = placed["operation"]["id"], placed["service"]["id"]
    answer = await home.post(f"/v1/operations/{operation_id}/abandon", {"reason": "wrong plan"}, role="operate")
    assert answer.status == 202
    await home.world.drive()
    shown = (await home.get(f"/v1/operations/{operation_id}")).body
    assert shown["status"] == "failed"
    service = (await home.get(f"/v1/services/{service_id}")).body
    assert (service["state"], service["fault"]["operation"]) == ("pending", operation_id)
    tasks = (await home.get("/v1/tasks?status=open")).body["items"]
    assert [task["operation"] for task in tasks] == [operation_id]
    again = await home.post(f"/v1/operations/{operation_id}/retry", {"reason": "right after all"}, role="operate")
    assert again.body["operation"]["id"] != operation_id
    await home.world.drive()
    assert (await home.get(f"/v1/services/{service_id}")).body["state"] == "active"
    kinds = {
        (event["kind"], event["actor"], event["reason"])
        for event in (await home.get(f"/v1/services/{service_id}/events?limit=500")).body["items"]
    }
    assert ("operation.abandon", "token:operate", "wrong plan") in kinds
    assert ("operation.retry", "token:operate", "right after all") in kinds


async def test_a_retry_with_a_key_opens_one_operation_however_often_it_is_sent(home: House) -> None:
    placed = (await home.order(order())).body
    operation_id = placed["operation"]["id"]
    await home.post(f"/v1/operations/{operation_id}/abandon", {"reason": "test"})
    await home.world.drive()
    path = f"/v1/operations/{operation_id}/retry"
    answers = await asyncio.gather(*(home.post(path, {"reason": "x"}, key="again") for _ in range(4)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["operation"]["id"] for answer in answers}) == 1
    assert (await home.post(path, {"reason": "other"}, key="again")).status == 409


async def test_what_is_done_already_can_not_be_done_again(home: House) -> None:
    service_id = await active(home)
    operation_id = (await home.get(f"/v1/operations?service={service_id}")).body["items"][0]["id"]
    for verb in ("retry", "abandon", "done"):
        answer = await home.post(f"/v1/operations/{operation_id}/{verb}", {"reason": "test"})
        assert (answer.status, answer.body["code"]) == (409, "not_now")


async def test_a_task_that_wants_nothing_takes_a_plain_word(home: House) -> None:
    placed = (await home.order(order())).body
    await home.post(f"/v1/operations/{placed['operation']['id']}/abandon", {"reason": "test"})
    await home.world.drive()
    task = (await home.get("/v1/tasks?status=open")).body["items"][0]
    answer = await home.post(f"/v1/tasks/{task['id']}/close", {"result": "done", "note": "looked at it"})
    assert (answer.status, answer.body["status"], answer.body["note"]) == (200, "closed", "done: looked at it")


async def test_closing_the_task_of_a_fault_is_a_retry(home: House) -> None:
    placed = (await home.order(order())).body
    await home.post(f"/v1/operations/{placed['operation']['id']}/abandon", {"reason": "test"})
    await home.world.drive()
    task = (await home.get("/v1/tasks?status=open")).body["items"][0]
    assert (await home.get(f"/v1/tasks/{task['id']}")).body == task
    bad = await home.post(f"/v1/tasks/{task['id']}/close", {"result": {"color": "red"}})
    assert (bad.status, bad.fields) == (422, ["result.color"])
    closed = await home.post(f"/v1/tasks/{task['id']}/close", {"note": "mended"}, key="t")
    assert closed.status == 200, closed.text
    again = await home.post(f"/v1/tasks/{task['id']}/close", {"note": "mended"}, key="t")
    assert (again.status, again.body) == (closed.status, closed.body)
    await home.world.drive()
    assert (await home.get(f"/v1/services/{placed['service']['id']}")).body["state"] == "active"


async def test_usage_is_polled_shown_and_recorded_to_the_byte(home: House) -> None:
    service_id = await active(home)
    remote_id = (await home.get(f"/v1/services/{service_id}")).body["server"]["remote_id"]
    home.world.clock.advance(300)
    async with home.http.post(
        f"{home.world.sandbox.doors_url}/traffic", json={"server": remote_id, "rx": 5_368_709_121, "tx": 3}
    ) as answer:
        assert answer.status == 200, await answer.text()
    polled = await home.post("/v1/usage/poll", role="operate")
    assert polled.status == 200
    assert polled.body["items"][0]["module"] == "dci-main"
    assert polled.body["items"][0]["problems"] == []
    usage = {r["resource"]: r for r in (await home.get(f"/v1/services/{service_id}/usage")).body["resources"]}
    assert usage["in"]["base_total"] == "5368709121"
    assert usage["in"]["total"] == "5242880.0009765625"
    assert usage["in"]["points"][0]["value"] == "5242880.0009765625"
    home.world.clock.advance(300)
    await home.post(f"/v1/services/{service_id}/release")
    await home.world.drive()
    records = {r["resource"]: r for r in (await home.get(f"/v1/usage-records?service={service_id}")).body["items"]}
    assert records["in"]["base_quantity"] == "5368709121"
    assert records["in"]["quantity"] == "5242880.0009765625"
    assert (records["in"]["unit"], records["in"]["base_unit"], records["in"]["revision"]) == ("KiB", "B", 1)
    assert records["out"]["base_quantity"] == "3"
    assert records["out"]["coverage"]
