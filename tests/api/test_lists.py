"""Lists: filters and pages, and how many statements they cost."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from daemon.sandbox import SandboxSettings
from daemon.store.targets import SqliteTarget
from tests.api.house import House, house
from tests.provisioning.world import order


async def fill(home: House, number: int) -> None:
    for n in range(number):
        customer = {"ref": f"C-{n % 2}", "name": "Ada", "email": "ada@example.test"}
        answer = await home.order(order(hostname=f"s{n}.example.test", customer=customer))
        assert answer.status == 201, answer.text


@pytest.mark.parametrize("path", ["/v1/services", "/v1/orders", "/v1/operations"])
async def test_pages_hold_every_item_once_newest_first(home: House, path: str) -> None:
    await fill(home, 4)
    for limit in (1, 2, 3, 4, 5):
        assert [item["id"] for item in await home.all_pages(path, limit)] == [4, 3, 2, 1]


async def test_new_items_do_not_shift_the_pages(home: House) -> None:
    await fill(home, 3)
    first = (await home.get("/v1/services?limit=2")).body
    await fill(home, 1)
    second = (await home.get(f"/v1/services?limit=2&after={first['next']}")).body
    assert [item["id"] for item in first["items"] + second["items"]] == [3, 2, 1]


async def test_services_are_filtered_by_state_and_customer(home: House) -> None:
    await fill(home, 3)
    assert [s["id"] for s in (await home.get("/v1/services?customer=C-0")).body["items"]] == [3, 1]
    assert [s["id"] for s in (await home.get("/v1/services?state=pending")).body["items"]] == [3, 2, 1]
    assert (await home.get("/v1/services?state=active")).body["items"] == []
    assert (await home.get("/v1/services?customer=nobody")).body == {"items": [], "next": None}


async def test_operations_are_filtered_by_status_and_service(home: House) -> None:
    await fill(home, 2)
    assert [o["id"] for o in (await home.get("/v1/operations?service=2")).body["items"]] == [2]
    assert (await home.get("/v1/operations?status=done")).body["items"] == []
    assert len((await home.get("/v1/operations?status=open")).body["items"]) == 2


async def test_events_are_paged_in_the_order_in_which_they_happened(home: House) -> None:
    await fill(home, 1)
    await home.world.drive()
    events = await home.all_pages("/v1/services/1/events", 5)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["kind"] == "service.ordered"
    assert events[0]["actor"] == "token:admin"


async def test_plans_and_modules_are_paged_by_name(home: House) -> None:
    assert [plan["name"] for plan in await home.all_pages("/v1/plans", 1)] == ["ds-small"]
    modules = await home.all_pages("/v1/modules", 1)
    assert [(m["name"], m["type"], m["priority"], m["healthy"], m["drained"]) for m in modules] == [
        ("dci-main", "dcimanager", 10, True, False)
    ]


async def test_tokens_are_paged(home: House) -> None:
    assert [token["name"] for token in await home.all_pages("/v1/tokens", 2)] == list(home.tokens)


async def statements(home: House, path: str) -> list[str]:
    """What the database is asked for one request."""
    seen: list[str] = []
    connection = home.world.store._reader._connection
    await connection.set_trace_callback(seen.append)
    assert (await home.get(path)).status == 200
    await connection.set_trace_callback(None)
    return seen


@pytest.mark.parametrize("path", ["/v1/services", "/v1/orders", "/v1/operations", "/v1/tasks", "/v1/usage-records"])
async def test_a_list_costs_the_same_number_of_statements_however_long_it_is(home: House, path: str) -> None:
    await fill(home, 1)
    few = await statements(home, path)
    await fill(home, 3)
    many = await statements(home, path)
    assert 0 < len(many) == len(few) <= 12, many


async def test_plans_on_one_panel_share_its_list(sqlite_target: SqliteTarget, tmp_path) -> None:
    async with house(sqlite_target, tmp_path, SandboxSettings()) as home:
        settings = home.world.fleet.settings
        plan = settings.plans[0]
        more = tuple(plan.model_copy(update={"name": f"ds-{n}"}) for n in range(5))
        object.__setattr__(settings, "plans", (*settings.plans, *more))
        with capture_logs() as lines:
            answer = await home.get("/v1/plans")
        assert [(item["available"], item["module"]) for item in answer.body["items"]] == [(4, "dci-main")] * 6
        assert len([line for line in lines if line["event"] == "panel call" and line["func"] == "server"]) == 1


async def test_a_plan_whose_panel_is_down_has_an_unknown_number(home: House) -> None:
    home.world.sandbox.fault("dci", "*", "http_500", times=0)
    item = (await home.get("/v1/plans")).body["items"][0]
    assert (item["available"], item["module"]) == (None, None)
    assert item["modules"][0]["reason"]


async def test_a_plan_without_stock_has_none_available(home: House) -> None:
    for server in home.world.sandbox.dci.servers.values():
        server.blocked = True
    item = (await home.get("/v1/plans")).body["items"][0]
    assert (item["available"], item["module"]) == (0, None)
