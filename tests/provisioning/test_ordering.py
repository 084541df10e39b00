"""What is wrong with an order is said at once with its field, and nothing of it is stored; what is sold stays as it was sold."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from daemon.app import build_fleet
from daemon.domain.errors import Refused
from daemon.settings.loader import load
from daemon.store.targets import Target
from tests.provisioning.conftest import Open
from tests.provisioning.world import TEMPLATE, World, order, world

CUSTOMER = {"ref": "C-17", "name": "Ada Example", "email": "ada@example.test"}
BLOCK = "special_ip_block_guardvlan9"
LONG = "x" * 65536

BAD: list[tuple[str, dict[str, Any], set[str]]] = [
    ("an unknown plan", {"plan": "nothing"}, {"plan"}),
    ("a plan that is no text", {"plan": 7}, {"plan"}),
    ("an unknown currency", {"currency": "CHF"}, {"currency"}),
    ("a currency that is none", {"currency": "euro"}, {"currency"}),
    ("a period that is not sold", {"period": "year"}, {"period"}),
    ("no period", {"period": None}, {"period"}),
    ("a customer without a name", {"customer": {**CUSTOMER, "name": ""}}, {"customer.name"}),
    ("a customer of spaces", {"customer": {**CUSTOMER, "name": "   "}}, {"customer.name"}),
    ("a customer without a ref", {"customer": {**CUSTOMER, "ref": ""}}, {"customer.ref"}),
    ("no address of the customer", {"customer": {"ref": "C-1", "name": "A"}}, {"customer.email"}),
    ("an address that is none", {"customer": {**CUSTOMER, "email": "ada"}}, {"customer.email"}),
    ("two lines in an address", {"customer": {**CUSTOMER, "email": "a@b.c\nBcc: d@e.f"}}, {"customer.email"}),
    ("no customer", {"customer": None}, {"customer"}),
    ("NUL in a name", {"customer": {**CUSTOMER, "name": "a\x00b"}}, {"customer.name"}),
    ("half a character", {"customer": {**CUSTOMER, "name": "\ud800"}}, {"customer.name"}),
    ("NUL in a hostname", {"hostname": "a.\x00.test"}, {"hostname"}),
    ("a hostname in capitals", {"hostname": "A.example.test"}, {"hostname"}),
    ("a hostname of one word", {"hostname": "server"}, {"hostname"}),
    ("the hostname of free servers", {"hostname": "free.ds"}, {"hostname"}),
    ("64 KiB of plan", {"plan": LONG}, {"plan"}),
    ("64 KiB of hostname", {"hostname": LONG}, {"hostname"}),
    ("64 KiB of name", {"customer": {**CUSTOMER, "name": LONG}}, {"customer.name"}),
    ("64 KiB of add-on", {"addons": {LONG: 1}}, {"addons." + LONG[:200]}),
    ("an unknown add-on", {"addons": {"ram": 1}}, {"addons.ram"}),
    ("NUL in an add-on", {"addons": {"ip\x00": 1}}, {"addons.ip\x00"}),
    ("an unknown value", {"addons": {"ostempl": "Windows"}}, {"addons.ostempl"}),
    ("too many addresses", {"addons": {"ip": 17}}, {"addons.ip"}),
    ("no address at all", {"addons": {"ip": 0}}, {"addons.ip"}),
    ("less than none", {"addons": {"ipv6": -1}}, {"addons.ipv6"}),
    ("2^63 addresses", {"addons": {"ip": 2**63}}, {"addons.ip"}),
    ("a number as text", {"addons": {"ip": "2"}}, {"addons.ip"}),
    ("yes instead of a number", {"addons": {"ip": True}}, {"addons.ip"}),
    ("half an address", {"addons": {"ip": 1.5}}, {"addons.ip"}),
    ("a number instead of a value", {"addons": {"ostempl": 1}}, {"addons.ostempl"}),
    ("a block that is no value", {"addons": {BLOCK: "guardvlan8"}}, {f"addons.{BLOCK}"}),
    ("add-ons as a list", {"addons": ["ip"]}, {"addons"}),
    ("a field that we don't know", {"coupon": "X"}, {"coupon"}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "fields"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_bad_order_names_its_field(changes: dict[str, Any], fields: set[str], open_world: Open) -> None:
    async with open_world() as w:
        with pytest.raises(Refused) as refused:
            await w.place(**changes)
        assert 400 <= refused.value.status < 500
        assert {error["field"] for error in refused.value.errors} == fields
        assert all(error["code"] and error["message"] for error in refused.value.errors)
        assert len(str(refused.value.errors)) < 4000
        for table in ("customer", "service", "service_order", "operation", "event", "idempotency"):
            assert await w.store.read.fetch(f"SELECT * FROM {table}") == []


@pytest.mark.parametrize("body", [None, [], "order", 7, {}])
async def test_what_is_no_order_is_refused(body: Any, open_world: Open) -> None:
    async with open_world() as w:
        with pytest.raises(Refused) as refused:
            await w.ordering.preview(body)
        assert refused.value.errors


async def test_all_problems_are_said_at_once(open_world: Open) -> None:
    async with open_world() as w:
        with pytest.raises(Refused) as refused:
            await w.place(
                currency="CHF",
                hostname="free.ds",
                customer={**CUSTOMER, "name": "", "email": "x"},
                addons={"ip": 99, "ram": 1, "ostempl": "Windows"},
            )
        assert {error["field"] for error in refused.value.errors} == {
            "currency", "hostname", "customer.name", "customer.email", "addons.ip", "addons.ram", "addons.ostempl",
        }  # fmt: skip


async def test_what_is_sold_stays_as_it_was_sold(open_world: Open) -> None:
    async with open_world() as w:
        first = await w.place("one", addons={"ip": 3})
        path = w.config.parent / "plans.d/ds-small.yaml"
        path.write_text(
            path.read_text().replace('"49.00"', '"99.00"').replace('"2.00"', '"7.00"').replace("out: {}", "")
        )
        await reload(w)
        second = await w.place("two", hostname="b.example.test", addons={"ip": 3})
        assert first.order.plan_revision_id != second.order.plan_revision_id
        orders = [await w.store.read.orders.get(placed.order.id) for placed in (first, second)]
        assert [o.prices["period"] for o in orders] == ["49.00", "99.00"]
        assert [o.prices["addons"]["ip"]["each"] for o in orders] == ["2.00", "7.00"]
        assert orders[0].prices["addons"]["ip"]["number"] == 3
        await w.drive()
        await w.released(1)
        await w.released(2)
        assert [set(await w.usage(n)) for n in (1, 2)] == [{"in", "out"}, {"in"}]


async def test_a_plan_that_is_gone_still_carries_what_was_sold(open_world: Open) -> None:
    async with open_world() as w:
        await w.place()
        (w.config.parent / "plans.d/ds-small.yaml").unlink()
        await reload(w)
        await w.drive()
        await w.released(1)


async def test_equal_plans_are_one_revision(open_world: Open) -> None:
    async with open_world() as w:
        one, two = await w.place("one"), await w.place("two", hostname="b.example.test")
        assert one.order.plan_revision_id == two.order.plan_revision_id


async def test_a_known_customer_with_another_name_is_updated_with_an_event(open_world: Open) -> None:
    async with open_world() as w:
        one = await w.place("one")
        assert await w.events("customer.changed") == []
        two = await w.place("two", hostname="b.example.test", customer={**CUSTOMER, "name": "Ada Lovelace"})
        assert (one.customer.id, two.customer.name) == (two.customer.id, "Ada Lovelace")
        (event,) = await w.events("customer.changed")
        assert "Ada Example" in str(event["before"])
        assert "Ada Lovelace" in str(event["after"])


async def test_the_same_key_is_one_order(open_world: Open) -> None:
    async with open_world() as w:
        answers = [
            await w.ordering.place(order(), key="k", actor="test", answer=lambda p: (201, {"service": p.service.id}))
            for _ in range(2)
        ]
        assert answers[0] == answers[1] == (201, {"service": 1})
        with pytest.raises(Refused) as refused:
            await w.ordering.place(order(hostname="b.example.test"), key="k", actor="test", answer=lambda _: (201, {}))
        assert (refused.value.code, refused.value.status) == ("key_reused", 409)
        assert len(await w.store.read.fetch("SELECT id FROM service")) == 1


async def test_defaults_are_filled_in_and_included_add_ons_are_not_chosen(open_world: Open) -> None:
    def included(folder: Path) -> None:
        path = folder / "plans.d/ds-small.yaml"
        ip = "  ip: {billing: included, included: 2}"
        lines = [ip if line.startswith("  ip: ") else line for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")

    async with open_world(configure=included) as w:
        placed = await w.place(addons={})
        assert placed.order.addons == {"ostempl": TEMPLATE, "ip": 2, BLOCK: "none"}
        with pytest.raises(Refused):
            await w.place("two", addons={"ip": 3})


async def test_a_plan_can_be_looked_at_without_doing_anything(open_world: Open) -> None:
    async with open_world() as w:
        preview = await w.ordering.preview(order())
        assert preview.module == "dci-main"
        assert preview.prices["period"] == "49.00"
        assert w.effects("server.edit") == 0
        assert await w.store.read.fetch("SELECT * FROM service") == []


async def reload(w: World) -> None:
    """As after a restart with other settings."""
    await w.fleet.close()
    w.fleet = build_fleet(load(w.config), w.clock)
    w.ordering.fleet = w.desk.fleet = w.legs.fleet = w.fleet


async def test_two_orders_of_a_new_customer_at_the_same_moment(target: Target, tmp_path: Path) -> None:
    async with world(target, tmp_path) as w:
        placed = await asyncio.gather(*[w.place(f"order-{n}", hostname=f"h{n}.example.test") for n in range(4)])
        assert len({one.customer.id for one in placed}) == 1
        assert len(await w.store.read.fetch("SELECT id FROM customer")) == 1
