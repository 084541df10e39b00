"""The whole story over HTTP: ordered, provisioned, handed over, counted, released, sold again. Real processes, both databases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.store.targets import PostgresTarget
from tests.acceptance import canaries
from tests.acceptance.house import (
    TEMPLATE,
    Answer,
    Api,
    Cli,
    Daemon,
    Database,
    Sandbox,
    change,
    daemon,
    http,
    order,
    sandbox,
    until,
)
from tests.acceptance.house import use_postgres as point_at
from tests.conftest import BOTH

ADDONS: dict[str, Any] = {
    "ostempl": TEMPLATE,
    "ip": 2,
    "ipv6": 1,
    "privateip": 1,
    "special_ip_block_guardvlan9": "guardvlan9",
}
ADA: dict[str, Any] = {"hostname": "a.example.test", "addons": ADDONS}
FIRST = (5_368_709_121, 1_073_741_827)
LATER = (1_000_003, 7)
"""Bytes in and out, sent before the poll and after it; odd, so that nothing rounded can pass."""
TOTAL = {"in": FIRST[0] + LATER[0], "out": FIRST[1] + LATER[1]}
PANEL_PASSWORD = "Canary+of/the=panel 4711"


@pytest.mark.parametrize("kind", BOTH)
def test_an_order_becomes_a_server_whose_traffic_is_counted_and_everything_is_given_back(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    target: PostgresTarget | None = None
    with sandbox(tmp_path, "--install-seconds", "0.5", "--password", PANEL_PASSWORD) as panels:
        if kind == "postgres":
            target = request.getfixturevalue("postgres_target")
            point_at(panels.config, target)
        change(panels.config, "log_level", "debug")
        with daemon(panels.config) as running:
            cli = Cli(panels.config)
            api = Api(running.url, cli.token("admin"))
            secrets = tell(Story(panels, running, api, cli))
            assert_a_second_customer_gets_the_same_server(panels, api)
            scraped = http("GET", f"{running.url}/metrics").body
            written = [("the log", running.log.read_bytes()), ("metrics", scraped)]
            written += [("an answer of the API", body) for body in api.seen]
            written += [("output of a command", text) for text in cli.seen]
            written += list(database(tmp_path, target))
        written += [("the whole log", running.log.read_bytes()), *database(tmp_path, target)]
        secrets |= {
            "panel password": PANEL_PASSWORD.encode(),
            "token": api.token.encode(),
            "master key": (tmp_path / "var" / "master.key").read_bytes(),
        }
    assert canaries.leaks(secrets, written) == []
    assert canaries.leaks({"a host name, which may be anywhere": b"a.example.test"}, written)


def database(folder: Path, target: PostgresTarget | None) -> Iterator[tuple[str, bytes]]:
    return canaries.sqlite_bytes(folder / "var") if target is None else canaries.postgres_bytes(target)


class Story:
    def __init__(self, panels: Sandbox, running: Daemon, api: Api, cli: Cli) -> None:
        self.panels, self.running, self.api, self.cli = panels, running, api, cli


def tell(story: Story) -> dict[str, bytes]:
    """Chapter by chapter; the secrets that came up."""
    panels, api = story.panels, story.api
    free, stock, held = panels.free(), panels.stock(), len(panels.held())
    assert_plans_show_what_is_free(api, len(free))
    placed = assert_an_order_is_taken_once(api)
    service = assert_it_becomes_active(panels, api, placed)
    passwords = assert_the_customer_gets_in_once(panels, story.running)
    secrets = assert_an_operator_gets_in(story, service["id"], passwords)
    remote_id = service["server"]["remote_id"]
    panels.door("traffic", server=remote_id, rx=FIRST[0], tx=FIRST[1])
    assert_a_poll_counts(story, service["id"])
    panels.door("traffic", server=remote_id, rx=LATER[0], tx=LATER[1])
    assert_everything_is_given_back(panels, api, service)
    assert panels.free() == free
    assert panels.stock() == stock
    assert len(panels.held()) == held
    return secrets


def assert_plans_show_what_is_free(api: Api, free: int) -> None:
    plans = api.get("/v1/plans")
    assert [(plan["name"], plan["available"], plan["module"]) for plan in plans["items"]] == [
        ("ds-small", free, "dci-main")
    ]
    assert api.get("/v1/modules")["items"][0]["healthy"] is True


def assert_an_order_is_taken_once(api: Api) -> Any:
    first = api.call("POST", "/v1/orders", order(**ADA), key="order-ada")
    assert first.status == 201, first.text
    again = api.call("POST", "/v1/orders", order(**ADA), key="order-ada")
    assert (again.status, again.json) == (201, first.json)
    other = api.call("POST", "/v1/orders", order(**{**ADA, "hostname": "b.example.test"}), key="order-ada")
    assert other.status == 409, other.text
    assert other.headers["Content-Type"].startswith("application/problem+json")
    assert len(api.get("/v1/orders")["items"]) == 1
    return first.json


def assert_it_becomes_active(panels: Sandbox, api: Api, placed: Any) -> Any:
    operation = api.ended(placed["operation"]["id"])
    assert operation["verb"] == "provision"
    assert {step["status"] for step in operation["steps"]} == {"done"}
    assert all(step["attempts"] <= 1 for step in operation["steps"])
    service = api.service(placed["service"]["id"])
    assert (service["state"], service["target"], service["fault"]) == ("active", None, None)
    assert (service["plan"], service["module"], service["addons"]) == (
        "ds-small",
        "dci-main",
        service["addons"] | ADDONS,
    )
    assert service["customer"]["ref"] == "C-17"
    assert service["billing_from"] is not None
    assert service["billing_until"] is None
    assert service["server"]["hostname"] == "a.example.test"
    found = sorted((a["role"], a["family"], a["type"], a["parked"]) for a in service["addresses"])
    assert found == [
        ("extra", "ipv4", "private", False),
        ("extra", "ipv4", "public", False),
        ("extra", "ipv6", "public", False),
        ("main", "ipv4", "guardvlan9", False),
    ]
    assert_the_panel_agrees(panels, service)
    return service


def assert_the_panel_agrees(panels: Sandbox, service: Any) -> None:
    server = panels.servers()[service["server"]["remote_id"]]
    addresses = {address["address"]: address for address in service["addresses"]}
    assert {entry["ip"] for entry in server["iplist"]} == set(addresses)
    assert addresses[server["ip"]]["role"] == "main"
    assert (server["os"], server["power"], server["hostname"]) == (TEMPLATE, "on", "a.example.test")
    assert len(server["installs"]) == 1
    assert panels.owned() == [server["id"]]
    assert set(addresses) <= set(panels.held())


def assert_the_customer_gets_in_once(panels: Sandbox, running: Daemon) -> list[str]:
    """By the link in the one mail: a button first, then the passwords, then nothing. The link's secret and the passwords."""
    (mail,) = until(lambda: panels.mails("ada@example.test"), "the mail with the link")
    link = re.search(rf"{re.escape(running.url)}/access/(\S+)", mail["text"])
    assert link, mail["text"]
    page = http("GET", link[0])
    assert (page.status, "<button" in page.text) == (200, True)
    assert secrets_on(page) == []
    assert http("GET", link[0]).status == 200  # looking does not use it up
    shown = http("POST", link[0])
    assert shown.status == 200
    assert shown.headers["Cache-Control"] == "no-store"
    passwords = secrets_on(shown)
    assert len(passwords) >= 2
    for method in ("POST", "GET"):
        gone = http(method, link[0])
        assert (gone.status, secrets_on(gone)) == (404, [])
    return [link[1], *passwords]


def secrets_on(page: Answer) -> list[str]:
    facts = re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", page.text)
    return [value for name, value in facts if "Password" in name]


def assert_an_operator_gets_in(story: Story, service_id: int, from_link: list[str]) -> dict[str, bytes]:
    shown = story.cli.json("service", "access", str(service_id), "--reason", "a customer called")
    assert [shown["root_password"], shown["user_password"]] == from_link[1:]
    by_api = story.api.post(f"/v1/services/{service_id}/access", {"reason": "the same by HTTP"})
    assert by_api == shown
    who = [event for event in story.api.get(f"/v1/services/{service_id}/events")["items"] if "access" in event["kind"]]
    assert [event["reason"] for event in who] == ["one-time link", "a customer called", "the same by HTTP"]
    assert len({event["actor"] for event in who}) == 3
    return {
        "link": from_link[0].encode(),
        "root password": shown["root_password"].encode(),
        "panel user's password": shown["user_password"].encode(),
    }


def assert_a_poll_counts(story: Story, service_id: int) -> None:
    rounds = story.cli.json("usage", "poll")["items"]
    assert [(found["module"], found["problems"]) for found in rounds] == [("dci-main", [])]
    usage = story.api.get(f"/v1/services/{service_id}/usage")
    totals = {
        found["resource"]: (found["base_total"], found["base_unit"], found["unit"]) for found in usage["resources"]
    }
    assert totals == {"in": (str(FIRST[0]), "B", "KiB"), "out": (str(FIRST[1]), "B", "KiB")}


def assert_everything_is_given_back(panels: Sandbox, api: Api, service: Any) -> None:
    released = api.release(service["id"])
    assert (released["state"], released["target"], released["fault"]) == ("released", None, None)
    assert released["billing_until"] is not None
    records = api.get(f"/v1/usage-records?service={service['id']}")["items"]
    assert {record["resource"]: int(record["base_quantity"]) for record in records} == TOTAL
    assert len(records) == len(TOTAL)
    assert {(record["from"], record["until"]) for record in records} == {
        (service["billing_from"], released["billing_until"])
    }
    assert {record["coverage"] for record in records} == {"100.00"}
    server = panels.servers()[service["server"]["remote_id"]]
    assert panels.held()[server["ip"]]["type"] == "parking"
    assert [entry["ip"] for entry in server["iplist"]] == [server["ip"]]
    assert (server["owner"], server["notes"], server["power"]) == (None, "", "off")
    assert [(a["address"], a["type"], a["parked"]) for a in released["addresses"]] == [(server["ip"], "parking", True)]


def assert_a_second_customer_gets_the_same_server(panels: Sandbox, api: Api) -> None:
    bob = {"ref": "C-18", "name": "Bob Example", "email": "bob@example.test"}
    before = panels.servers()
    service = api.active("order-bob", customer=bob, hostname="b.example.test")
    used = [number for number, server in before.items() if server["installs"]]
    assert [service["server"]["remote_id"]] == used
    assert panels.servers()[used[0]]["owner"] not in {None, before[used[0]]["owner"]}
    api.release(service["id"])
    records = api.get(f"/v1/usage-records?service={service['id']}")["items"]
    assert [record["base_quantity"] for record in records] == ["0", "0"]
    assert len(until(lambda: panels.mails("bob@example.test"), "Bob's mail")) == 1
    assert len(panels.mails("ada@example.test")) == 1


def test_what_is_not_right_is_refused_and_changes_nothing(tmp_path: Path, on_both: Callable[[Path], Database]) -> None:
    with sandbox(tmp_path) as panels:
        on_both(panels.config)
        with daemon(panels.config) as running:
            api = Api(running.url, Cli(panels.config).token("order"))
            untouched = len(panels.effects())
            answer = api.call("POST", "/v1/orders", order(plan="ds-large", currency="XXX", addons={"ip": 99}), key="k")
            assert answer.status == 422, answer.text
            assert {error["field"] for error in answer.json["errors"]} >= {"plan"}
            answer = api.call("POST", "/v1/orders", order(currency="USD", addons={"ip": 99, "ostmpl": "x"}), key="k")
            assert {"currency", "addons.ip", "addons.ostmpl"} <= {error["field"] for error in answer.json["errors"]}
            assert api.call("POST", "/v1/orders", order()).status == 400  # without a key
            assert http("GET", f"{running.url}/v1/orders").status == 401
            assert api.get("/v1/orders")["items"] == []
            assert len(panels.effects()) == untouched
            assert api.call("POST", "/v1/orders", order(), key="k").status == 201  # a refusal keeps no key
