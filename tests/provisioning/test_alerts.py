"""Alerts over a simulated panel: each threshold of a month is told once, whatever the counters, the daemon and the plan do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.app import build_fleet, metered
from daemon.domain.clock import VirtualClock
from daemon.notify.templates import render
from daemon.sandbox import SandboxSettings
from daemon.settings.loader import load
from daemon.stats.letters import Low, coverage_letter
from daemon.stats.system import Statistics
from daemon.store.targets import Target
from tests.provisioning.world import QUICK, Inline, World, world

TEN = "{included: 10 GB, alert_every: 1 GB}"
GB = 10**9
POLL = 300


def plan(resources: str) -> Any:
    """Sets the billable resources of the plan."""

    def configure(folder: Path) -> None:
        file = folder / "plans.d" / "ds-small.yaml"
        lines = [line for line in file.read_text().splitlines() if not line.startswith("resources:")]
        file.write_text("\n".join([*lines, f"resources: {resources}", ""]))

    return configure


@asynccontextmanager
async def opened(target: Target, folder: Path, resources: str, **settings: Any) -> AsyncIterator[World]:
    clock = VirtualClock(datetime(2026, 11, 2, tzinfo=UTC))
    found = SandboxSettings(now=clock.now, servers={"E3-1230-16G": 3}, **settings)
    async with world(
        target, folder, settings=found, clock=clock, overrides=dict(QUICK), configure=plan(resources)
    ) as w:
        yield w


@pytest.fixture
async def w(sqlite_target: Target, tmp_path: Path) -> AsyncIterator[World]:
    """With one service, of whose outgoing traffic 10 GB are included."""
    async with opened(sqlite_target, tmp_path, f"{{in: {{}}, out: {TEN}}}") as made:
        await made.active()
        yield made


async def send(w: World, out: int, incoming: int = 0, service_id: int = 1) -> None:
    """Time for that much traffic, the traffic, and a round."""
    w.clock.advance(POLL)
    service = await w.service(service_id)
    w.sandbox.dci.send_traffic(str(service.remote_id), incoming, out)
    found = await w.statistics.collector.round("dci-main")
    assert found.problems == ()


async def told(w: World) -> list[list[str]]:
    """Of each mail so far: what it says was reached, of all resources."""
    return [
        [limit for one in mail["resources"] for limit in one["passed"]]
        for mail in [values(row) for row in await w.mails("alert:")]
    ]


def payload(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["payload"]) if isinstance(row["payload"], str) else row["payload"]
    return found


def values(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = payload(row)["values"]
    return found


@asynccontextmanager
async def started_again(w: World) -> AsyncIterator[Statistics]:
    """Metering of a daemon that has just started on the same store, with the settings as they are now."""
    made = Statistics(w.store, w.clock, load(w.config), lambda: metered(w.fleet), Inline())
    try:
        yield made
    finally:
        await made.close()


async def another_plan(w: World, included: str) -> None:
    """The service is moved to a plan that includes another amount."""
    settings = w.fleet.settings.plan("ds-small")
    assert settings is not None
    content = settings.content()
    content["resources"]["out"]["included"] = included
    async with w.store.transaction() as tx:
        revision = await tx.orders.plan_revision("ds-small", f"with-{included}", content)
        await tx.execute("UPDATE service SET plan_revision_id = ? WHERE id = 1", revision.id)
    await w.statistics.close()
    w.statistics = Statistics(w.store, w.clock, w.fleet.settings, lambda: metered(w.fleet), Inline())


EIGHTY, HUNDRED = "80 % of what is included", "100 % of what is included"


async def test_nothing_is_told_at_79_percent_and_one_mail_is_sent_at_80(w: World) -> None:
    await send(w, 79 * GB // 10)
    assert await told(w) == []
    await send(w, GB // 10)
    assert await told(w) == [[EIGHTY]]
    await send(w, GB)
    assert await told(w) == [[EIGHTY]]


async def test_a_jump_tells_everything_it_passed_in_one_mail(w: World) -> None:
    await send(w, 7 * GB)
    await send(w, 28 * GB)
    beyond = "each 1 GB beyond what is included, up to 25 GB (25 times)"
    assert await told(w) == [[EIGHTY, HUNDRED, beyond]]
    await send(w, GB)
    assert (await told(w))[1:] == [["26 GB beyond what is included"]]


async def test_the_mail_says_what_was_used_what_remains_and_what_more_costs(w: World) -> None:
    await send(w, 8_512_345_678)
    (row,) = await w.mails("alert:")
    assert row["kind"] == "customer_mail"
    assert payload(row)["to"] == "ada@example.test"
    assert payload(row)["subject"] == "a.example.test: 80 % of the included outgoing traffic reached"
    text = render("usage_alert", values(row))
    for line in (
        "Outgoing traffic, 2026-11 (until 2026-12-01 00:00 (UTC))",
        "Used so far:  8.51 GB, which is 85 % of what is included",
        "Included:     10 GB",
        "Remaining:    1.48 GB",
        "More costs:   no price yet",
        "Reached now:  80 % of what is included",
        "your server a.example.test",
    ):
        assert line in text
    await send(w, 4 * GB)
    text = render("usage_alert", values((await w.mails("alert:"))[1]))
    assert "Beyond it:    2.51 GB" in text
    assert "Remaining" not in text


async def test_two_resources_that_pass_something_in_one_round_stand_in_one_mail(
    sqlite_target: Target, tmp_path: Path
) -> None:
    async with opened(sqlite_target, tmp_path, f"{{in: {TEN}, out: {TEN}}}") as w:
        await w.active()
        await send(w, 8 * GB, 10 * GB)
        (row,) = await w.mails("alert:")
        assert [one["name"] for one in values(row)["resources"]] == ["Incoming traffic", "Outgoing traffic"]
        assert await told(w) == [[EIGHTY, HUNDRED, EIGHTY]]


async def test_a_correction_and_the_way_back_send_nothing_again(w: World) -> None:
    await send(w, 9 * GB)
    server = w.server(str((await w.service(1)).remote_id))
    server.traffic.tx -= 2 * GB
    await send(w, 0)
    server.traffic.tx += 2 * GB
    await send(w, 0)
    assert await told(w) == [[EIGHTY]]


async def test_the_next_month_begins_anew(w: World) -> None:
    await send(w, 9 * GB)
    w.clock.advance_to(datetime(2026, 12, 1, 0, 5, tzinfo=UTC))
    await send(w, 0)
    await send(w, 7 * GB)
    assert len(await told(w)) == 1
    await send(w, 2 * GB)
    assert await told(w) == [[EIGHTY], [EIGHTY]]
    assert [values(row)["resources"][0]["period"] for row in await w.mails("alert:")] == ["2026-11", "2026-12"]


async def test_what_is_switched_off_is_silent_and_is_told_when_it_is_switched_on_later(w: World) -> None:
    desk = w.statistics.alerts
    await desk.switch(1, {"80": False, "100": False, "beyond": False}, actor="test", reason="")
    await send(w, 13 * GB)
    assert await told(w) == []
    await desk.switch(1, {"100": True}, actor="test", reason="")
    await send(w, 0)
    assert await told(w) == [[HUNDRED]]
    await desk.switch(1, {"80": True, "beyond": True}, actor="test", reason="")
    await send(w, 0)
    await send(w, 0)
    assert (await told(w))[1:] == [[EIGHTY, "each 1 GB beyond what is included, up to 3 GB (3 times)"]]


async def test_a_daemon_that_starts_again_tells_nothing_twice_and_forgets_nothing(w: World) -> None:
    await send(w, 9 * GB)
    async with started_again(w) as again:
        w.clock.advance(POLL)
        await again.collector.round("dci-main")
        assert await told(w) == [[EIGHTY]]
        w.clock.advance(POLL)
        w.sandbox.dci.send_traffic(str((await w.service(1)).remote_id), 0, GB)
        await again.collector.round("dci-main")
        assert await told(w) == [[EIGHTY], [HUNDRED]]


async def test_what_was_passed_while_the_daemon_was_down_is_told_by_the_first_round(w: World) -> None:
    await send(w, 7 * GB)
    w.clock.advance(86_400)
    w.sandbox.dci.send_traffic(str((await w.service(1)).remote_id), 0, 2 * GB)
    async with started_again(w) as again:
        await again.collector.round("dci-main")
    assert await told(w) == [[EIGHTY]]


async def test_two_nodes_at_once_send_one_mail(target: Target, tmp_path: Path) -> None:
    async with opened(target, tmp_path, f"{{in: {{}}, out: {TEN}}}") as w:
        await w.active()
        await send(w, 7 * GB)
        async with started_again(w) as other:
            w.clock.advance(POLL)
            w.sandbox.dci.send_traffic(str((await w.service(1)).remote_id), 0, 2 * GB)
            await asyncio.gather(w.statistics.collector.round("dci-main"), other.collector.round("dci-main"))
            own = list(w.statistics.progress.terms([1]).values())
            await asyncio.gather(*(each.alerts.look(own) for each in (w.statistics, other) for _ in range(3)))
        assert await told(w) == [[EIGHTY]]


async def test_the_state_and_the_mail_are_written_together_or_not_at_all(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(w, 7 * GB)
    async with w.store.transaction() as tx:
        await tx.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(Exception, match="disk is full"):
        await send(w, 2 * GB)
    assert (await w.store.read.alerts.of([1]))[1].sent == {}
    async with w.store.transaction() as tx:
        await tx.execute("DROP TRIGGER full_disk")
    await send(w, 0)
    assert await told(w) == [[EIGHTY]]


async def test_a_raised_amount_arms_what_lies_clearly_above_the_usage(w: World) -> None:
    await send(w, 105 * GB // 10)
    assert await told(w) == [[EIGHTY, HUNDRED]]
    await another_plan(w, "20 GB")
    await send(w, 0)
    assert len(await told(w)) == 1
    await send(w, 5 * GB)
    assert len(await told(w)) == 1
    await send(w, GB)
    assert (await told(w))[1:] == [[EIGHTY]]
    await send(w, 4 * GB)
    assert (await told(w))[2:] == [[HUNDRED]]


async def test_a_threshold_is_told_within_two_rounds_of_when_it_was_passed(w: World) -> None:
    service = await w.service(1)
    for _ in range(2):
        w.clock.advance(POLL)
        w.sandbox.dci.send_traffic(str(service.remote_id), 0, 4 * GB)
        await w.statistics.collector.round("dci-main")
    assert await told(w) == [[EIGHTY]]


async def push(w: World, number: int, resource: str, quantity: int) -> None:
    event = {
        "specversion": "1.0", "id": f"e-{number}", "source": "router", "type": "usage", "subject": "1",
        "time": w.clock.now().isoformat(), "data": {"resource": resource, "value": str(quantity)},
    }  # fmt: skip
    (item,) = await w.statistics.pushed.push([event], actor="test")
    assert not item.bad, item


async def test_what_was_pushed_counts_beside_what_was_read(target: Target, tmp_path: Path) -> None:
    async with opened(target, tmp_path, f"{{in: {{}}, out: {TEN}}}") as w:
        await w.active()
        await send(w, 7 * GB)
        for number in range(4):
            w.clock.advance(1)
            await push(w, number, "out", GB // 4)
        await send(w, 0)
        assert await told(w) == [[EIGHTY]]


async def test_what_is_only_pushed_or_configured_or_held_is_measured_by_its_own_rule(
    sqlite_target: Target, tmp_path: Path
) -> None:
    resources = (
        "{active_calls: {included: 10 calls}, pbx_extensions: {amount: 9 extensions, included: 10 extensions},"
        " addresses: {included: 2 addresses}, in: {}}"
    )
    async with opened(sqlite_target, tmp_path, resources) as w:
        await w.active()
        await send(w, 0)
        (row,) = await w.mails("alert:")
        found = {one["name"]: one["passed"] for one in values(row)["resources"]}
        assert found == {"PBX extensions": [EIGHTY], "IP addresses": [EIGHTY, HUNDRED]}


async def test_power_and_burst_are_told_by_what_would_be_billed_if_the_period_ended_now(
    sqlite_target: Target, tmp_path: Path
) -> None:
    resources = (
        "{in: {}, out: {}, power: {included: 100 W}, energy: {included: 1 kWh, alert_every: 1 kWh},"
        " burst_out_day: {included: 80 Mbit/s}}"
    )
    async with opened(sqlite_target, tmp_path, resources) as w:
        service = await w.active()
        w.server(str(service.remote_id)).power = 81.0
        for _ in range(3):
            await send(w, 3 * GB)
        found = {one["name"]: one["passed"] for row in await w.mails("alert:") for one in values(row)["resources"]}
        assert found["Electric power (average)"] == [EIGHTY]
        assert found["Outgoing bandwidth"] == [EIGHTY, HUNDRED]
        for _ in range(12 * 13):
            await send(w, 3 * GB)
        found = {one["name"]: one["passed"] for row in await w.mails("alert:") for one in values(row)["resources"]}
        assert found["Electric energy"] == [HUNDRED]


async def test_the_customer_is_written_to_where_the_customer_is_now(w: World) -> None:
    async with w.store.transaction() as tx:
        await tx.orders.rename_customer(1, name="Ada", email="new@example.test")
    await send(w, 9 * GB)
    assert [payload(row)["to"] for row in await w.mails("alert:")] == ["new@example.test"]


async def test_a_service_that_passed_nothing_has_no_row(w: World) -> None:
    for _ in range(3):
        await send(w, GB)
    assert await w.store.read.fetch("SELECT * FROM service_alerts") == []


# coverage ------------------------------------------------------------------------------------------------------------------------


async def low(w: World) -> list[dict[str, Any]]:
    return [values(row) for row in await w.mails("coverage:")]


async def rounds(w: World, hours: float) -> None:
    for _ in range(int(hours * 2)):
        w.clock.advance(1800)
        await w.statistics.collector.round("dci-main")


async def silent(w: World, hours: float) -> None:
    """The panel gives no report for so long."""
    w.sandbox.fault("dci", "traffic", "html", times=0)
    await rounds(w, hours)
    w.sandbox.clear_faults()


@pytest.fixture
async def three(sqlite_target: Target, tmp_path: Path) -> AsyncIterator[World]:
    """Three services, of which nothing is included."""
    async with opened(sqlite_target, tmp_path, "{in: {}, out: {}}") as made:
        for name in "abc":
            await made.active(f"order-{name}", hostname=f"{name}.example.test")
        yield made


async def test_readings_that_are_missing_are_told_to_the_department_in_one_mail(three: World) -> None:
    w = three
    await rounds(w, 10)
    assert await low(w) == []
    await silent(w, 2)
    (mail,) = await low(w)
    assert (mail["module"], mail["count"], mail["least"]) == ("dci-main", 3, 99)
    (row,) = await w.mails("coverage:")
    assert (row["kind"], payload(row)["department"]) == ("department_mail", "dc-team")
    text = render("coverage_alert", mail)
    assert "The readings of 3 services on module dci-main cover less than 99 % of the running billing period." in text
    assert "  service 2  b.example.test  9" in text
    assert await w.store.read.alerts.low_coverage() == {"dci-main": 3}


async def test_coverage_that_recovered_is_told_again_when_it_falls_again(three: World) -> None:
    w = three
    await rounds(w, 8)
    await silent(w, 1)
    await rounds(w, 2)
    assert await w.store.read.alerts.low_coverage() == {}
    assert len(await low(w)) == 1
    await silent(w, 2)
    assert len(await low(w)) == 2


async def test_a_daemon_that_starts_again_tells_of_no_coverage_twice(three: World) -> None:
    w = three
    await rounds(w, 8)
    await silent(w, 1)
    async with started_again(w) as again:
        w.sandbox.fault("dci", "traffic", "html", times=0)
        w.clock.advance(1800)
        await again.collector.round("dci-main")
    assert len(await low(w)) == 1


async def test_the_first_hours_of_a_period_are_not_judged_and_a_new_one_begins_anew(three: World) -> None:
    w = three
    await silent(w, 5)
    assert await low(w) == []
    await rounds(w, 8)
    await silent(w, 1)
    assert len(await low(w)) == 1
    w.clock.advance_to(datetime(2026, 11, 30, 23, 50, tzinfo=UTC))
    await rounds(w, 2)
    assert await w.store.read.alerts.low_coverage() == {}
    await rounds(w, 6)
    await silent(w, 1)
    assert len(await low(w)) == 2


async def test_a_mail_about_many_services_names_the_worst_and_counts_the_rest() -> None:
    service = SimpleNamespace(id=0, hostname="x")
    found = [
        Low(SimpleNamespace(**{**vars(service), "id": number}), timedelta(hours=number), timedelta(hours=100))  # type: ignore[arg-type]  # only id and name are looked at
        for number in range(30, 0, -1)
    ]
    letter = coverage_letter("dc-team", "dci-main", found, 99)
    assert [one["id"] for one in letter["values"]["services"]] == list(range(1, 21))
    assert "  service 1  x  1.00 %\n" in (text := render("coverage_alert", letter["values"]))
    assert "  and 10 more\n" in text


# without a panel -----------------------------------------------------------------------------------------------------------------


async def test_a_round_of_a_module_without_a_panel_looks_at_what_was_pushed(
    sqlite_target: Target, tmp_path: Path
) -> None:
    async with opened(sqlite_target, tmp_path, f"{{in: {{}}, out: {TEN}}}") as w:
        await w.active()
        async with w.store.transaction() as tx:
            await tx.execute("UPDATE service SET module = 'hands' WHERE id = 1")
        text = "name: hands\ntype: manual\nresponsible: dc-team\nipam: ipm-main\nstock: {rack: 2}\n"
        (w.config.parent / "modules.d" / "hands.yaml").write_text(text)
        fleet = build_fleet(load(w.config), w.clock)
        made = Statistics(w.store, w.clock, fleet.settings, lambda: metered(fleet), Inline())
        w.clock.advance(POLL)
        await push(w, 1, "out", 9 * GB)
        w.clock.advance(1)
        assert (await made.collector.round("hands")).problems == ()
        assert await told(w) == [[EIGHTY]]
        await made.close()
        await fleet.close()
