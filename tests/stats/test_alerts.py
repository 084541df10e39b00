"""What alerts say, and how what was told is kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from daemon.domain.alerts import Alert, AlertState, CoverageState, Threshold, Wanted
from daemon.domain.order import Customer
from daemon.domain.periods import Grain, bucket
from daemon.domain.resources import RESOURCES
from daemon.notify.templates import render
from daemon.stats.letters import Passed, Used, readable, usage_key, usage_letter
from daemon.stats.terms import Included
from daemon.store.alerts import NONE_YET, ServiceAlerts
from daemon.store.database import Store
from tests.store.rows import a_billed_service, a_service

NOW = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)
CUSTOMER = Customer(1, "C-1", "Ada", "ada@example.test", None, "", "", "EUR", "")


def used(code: str = "out", quantity: int = 85, included: int = 100, step: int | None = None, unit: str = "B") -> Used:
    return Used(
        RESOURCES[code], bucket(NOW, Grain.MONTH, UTC), "2026-11", UTC, Included(included, step, unit), quantity
    )


def eighty(of: Used) -> Passed:
    assert of.quantity is not None
    amount = of.included.amount
    return Passed(of, (Alert(Threshold.EIGHTY, amount * 4 // 5, of.quantity, amount),))


@pytest.mark.parametrize(
    ("code", "quantity", "unit", "shown"),
    [
        ("out", 10 * 2**40, "TiB", "10 TiB"),
        ("out", 10 * 10**12, "TB", "10 TB"),
        ("out", 10**12 - 1, "TB", "999.99 GB"),
        ("out", 1_234_567, "GiB", "1.17 MiB"),
        ("out", 512, "TB", "512 B"),
        ("in", 0, "B", "0 B"),
        ("burst_in_day", 123_456_789, "Mbit/s", "123.45 Mbit/s"),
        ("burst_in_day", 2_500_000_000, "bit/s", "2.5 Gbit/s"),
        ("power", 91_500, "W", "91.5 W"),
        ("energy", 1_500_000_000, "Wh", "1.5 kWh"),
        ("energy", 1, "kWh", "0 Wh"),
        ("addresses", 3, "addresses", "3 addresses"),
        ("pbx_extensions", 1200, "extensions", "1200 extensions"),
    ],
)
def test_an_amount_is_shown_in_the_unit_that_suits_it_and_is_never_rounded_up(
    code: str, quantity: int, unit: str, shown: str
) -> None:
    assert readable(RESOURCES[code], quantity, unit) == shown


def test_the_key_of_a_mail_differs_by_what_it_tells_and_fits_its_column() -> None:
    keys = {
        usage_key(1, [eighty(used())]),
        usage_key(2, [eighty(used())]),
        usage_key(1, [eighty(used("in"))]),
        usage_key(1, [eighty(used(included=104))]),
        usage_key(1, [eighty(used("in")), eighty(used())]),
    }
    assert len(keys) == 5
    assert usage_key(1, [eighty(used())]) == usage_key(1, [eighty(used(quantity=86))])
    assert max(map(len, keys)) < 200


def letter(passed: list[Passed]) -> Any:
    service: Any = type("Named", (), {"id": 7, "hostname": "a.example.test", "label": "web 1"})()
    return usage_letter(CUSTOMER, service, passed, NOW)


def test_a_mail_names_the_server_the_resource_and_every_threshold() -> None:
    far = used(quantity=350, step=10)
    alerts = (
        Alert(Threshold.EIGHTY, 80, 350, 100),
        Alert(Threshold.HUNDRED, 100, 350, 100),
        Alert(Threshold.BEYOND, 350, 350, 100, 25),
    )
    found = letter([Passed(far, alerts)])
    assert found["subject"] == "a.example.test: more than the included outgoing traffic used"
    assert render("usage_alert", found["values"]) == (
        "This is what your server a.example.test has used of what its price includes.\n"
        "\n"
        "Label:    web 1\n"
        "Service:  7\n"
        "As of:    2026-11-22 12:05 (UTC)\n"
        "\n"
        "Outgoing traffic, 2026-11 (until 2026-12-01 00:00 (UTC))\n"
        "\n"
        "  Used so far:  350 B, which is 350 % of what is included\n"
        "  Included:     100 B\n"
        "  Beyond it:    250 B\n"
        "  More costs:   no price yet\n"
        "  Reached now:  80 % of what is included\n"
        "                100 % of what is included\n"
        "                each 10 B beyond what is included, up to 250 B (25 times)\n"
        "\n"
        "Amounts are rounded down. Each of these limits is told once in a period.\n"
    )


def test_the_subject_says_how_far_it_is_or_names_all_resources() -> None:
    all_of_it = Passed(used(quantity=100), (Alert(Threshold.HUNDRED, 100, 100, 100),))
    assert letter([eighty(used())])["subject"] == "a.example.test: 80 % of the included outgoing traffic reached"
    assert letter([all_of_it])["subject"] == "a.example.test: all of the included outgoing traffic used"
    both = letter([eighty(used("in")), all_of_it])
    assert both["subject"] == "a.example.test: usage of incoming traffic, outgoing traffic"


def test_where_nothing_is_included_no_percentage_is_told() -> None:
    nothing = Passed(used(quantity=60, included=0, step=50), (Alert(Threshold.BEYOND, 50, 60, 0),))
    text = render("usage_alert", letter([nothing])["values"])
    assert "  Used so far:  60 B\n" in text
    assert "  Reached now:  50 B beyond what is included\n" in text


def test_what_may_still_fall_is_told_as_such() -> None:
    power = used("power", 85_000, 100_000, unit="W")
    text = render("usage_alert", letter([eighty(power)])["values"])
    assert "Electric power (average), 2026-11" in text
    assert "may still fall or rise" in text


# what is kept --------------------------------------------------------------------------------------------------------------------


async def test_what_is_kept_comes_back_and_a_service_without_a_row_has_everything_on(store: Store) -> None:
    async with store.transaction() as tx:
        one, other = await a_service(tx), await a_service(tx)
        kept = ServiceAlerts(
            Wanted(hundred=False),
            {"out": AlertState("2026-11", eighty=True, steps=2, included=100, step=10)},
            CoverageState("2026-11", low=True),
        )
        assert await tx.alerts.locked([other, one]) == {one: NONE_YET, other: NONE_YET}
        await tx.alerts.keep({one: kept})
    assert await store.read.alerts.of([one, other, 999]) == {one: kept, other: NONE_YET, 999: NONE_YET}


async def test_services_with_low_coverage_are_counted_by_module_while_they_are_in_use(store: Store) -> None:
    async with store.transaction() as tx:
        ids = [await a_service(tx) for _ in range(4)]
        await tx.alerts.locked(ids)
        await tx.alerts.keep({one: ServiceAlerts(coverage=CoverageState("p", low=one != ids[0])) for one in ids})
        await tx.execute("UPDATE service SET module = 'dci', state = 'active', billing_from = ?", store.clock.now())
        await tx.execute("UPDATE service SET state = 'released' WHERE id = ?", ids[1])
    assert await store.read.alerts.low_coverage() == {"dci": 2}


async def test_two_transactions_that_lock_a_service_come_one_after_the_other(store: Store) -> None:
    async with store.transaction() as tx:
        ids = [await a_service(tx) for _ in range(3)]

    async def count(order: list[int]) -> None:
        async with store.transaction() as tx:
            found = await tx.alerts.locked(order)
            await asyncio.sleep(0.01)
            states = {one: found[one].sent.get("out", AlertState("p")).steps + 1 for one in order}
            sent = {one: ServiceAlerts(sent={"out": AlertState("p", steps=steps)}) for one, steps in states.items()}
            await tx.alerts.keep(sent)

    await asyncio.gather(*(count(ids if number % 2 else ids[::-1]) for number in range(8)))
    kept = await store.read.alerts.of(ids)
    assert [alerts.sent["out"].steps for alerts in kept.values()] == [8, 8, 8]


async def test_pushed_amounts_add_up_beyond_what_a_whole_number_of_the_database_holds(store: Store) -> None:
    most = 2**63 - 1
    async with store.transaction() as tx:
        one = await a_billed_service(tx)
        for number in range(3):
            await tx.execute(
                "INSERT INTO pushed_event (source, event_id, service_id, at, resource, quantity, second_resource,"
                " second_quantity, state, actor, received_at, counted_at)"
                " VALUES ('s', ?, ?, ?, 'in', ?, 'out', ?, 'accepted', 'test', ?, ?)",
                str(number), one, NOW, most, number, NOW, NOW,
            )  # fmt: skip
    month = bucket(NOW, Grain.MONTH, UTC)
    found = await store.read.alerts.pushed([one], month.since, month.until)
    assert found == {(one, "in"): 3 * most, (one, "out"): 3}
    assert await store.read.alerts.pushed([one], month.since, NOW) == {}
