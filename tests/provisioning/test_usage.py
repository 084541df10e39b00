"""What is billed at the end of a service: the increments from its first to its last reading, and nothing of anybody else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from daemon.domain.service import State
from tests.provisioning.conftest import Open
from tests.provisioning.world import World

OTHER = {"ref": "C-2", "name": "Bo", "email": "b@example.test"}


async def sample(w: World, service_id: int, rx: int, tx: int) -> None:
    await w.statistics.keep(service_id, "dci-main", w.clock.now(), {"in": rx, "out": tx})


async def record(w: World, service_id: int, resource: str = "in") -> Any:
    records = await w.store.read.usage_records.page(service_id=service_id, after=0, limit=10)
    return next(r for r in records if r.resource == resource)


async def test_two_customers_of_one_server_in_one_month_pay_for_their_own(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        w.sandbox.dci.send_traffic("101", 111, 222)
        await w.active("one")
        w.sandbox.dci.send_traffic("101", 1000, 2000)
        await w.released(1)
        w.sandbox.dci.send_traffic("101", 333, 444)
        await w.active("two", hostname="b.example.test", customer=OTHER)
        w.sandbox.dci.send_traffic("101", 5000, 6001)
        await w.released(2)
        w.sandbox.dci.send_traffic("101", 555, 666)
        assert [await w.usage(n) for n in (1, 2)] == [{"in": 1000, "out": 2000}, {"in": 5000, "out": 6001}]


async def test_billing_begins_when_it_works_and_ends_with_the_last_reading(open_world: Open) -> None:
    async with open_world(install_seconds=600) as w:
        ordered = w.clock.now()
        service = await w.active()
        assert service.billing_from is not None
        assert (service.billing_from - ordered).total_seconds() >= 600
        w.clock.advance(86400)
        await w.release(1)
        asked = w.clock.now()
        w.sandbox.fault("ipm", "ip.delete", "http_503")
        await w.drive()
        service = await w.service(1)
        used = await record(w, 1)
        assert service.billing_until == used.until
        assert asked <= service.billing_until < w.clock.now()
        assert used.since == service.billing_from


async def test_a_month_that_ends_is_no_negative_usage(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        w.clock.advance_to(datetime(2026, 1, 31, 20, tzinfo=UTC))
        w.sandbox.dci.send_traffic("101", 10_000, 10_000)
        await w.active()
        w.sandbox.dci.send_traffic("101", 700, 0)
        w.clock.advance(300)
        await sample(w, 1, 10_700, 10_000)
        w.clock.advance_to(datetime(2026, 2, 1, 3, tzinfo=UTC))
        w.sandbox.dci.send_traffic("101", 50, 9)
        await w.released(1)
        assert await w.usage(1) == {"in": 750, "out": 9}
        january = (await w.store.read.usage_records.page(service_id=1, after=0, limit=10))[-1]
        assert january.until == datetime(2026, 2, 1, tzinfo=UTC)
        assert january.covered < january.until - january.since


async def test_a_counter_that_was_reset_is_believed_when_it_grows_again_and_is_never_negative(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        w.sandbox.dci.send_traffic("101", 9000, 9000)
        await w.active()
        w.server("101").traffic.rx = w.server("101").traffic.tx = 0
        w.sandbox.dci.send_traffic("101", 30, 1)
        w.clock.advance(300)
        await w.statistics.collector.round("dci-main")
        w.sandbox.dci.send_traffic("101", 10, 1)
        w.clock.advance(300)
        await w.released(1)
        assert await w.usage(1) == {"in": 40, "out": 2}


async def test_a_fall_that_nothing_confirms_is_not_billed_and_waits_for_a_person(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        w.sandbox.dci.send_traffic("101", 9000, 9000)
        await w.active()
        w.server("101").traffic.rx = w.server("101").traffic.tx = 0
        w.sandbox.dci.send_traffic("101", 40, 2)
        await w.released(1)
        assert await w.usage(1) == {"in": 0, "out": 0}
        assert (await record(w, 1)).held


@pytest.mark.parametrize("kind", ["http_500", "truncated", "reset_before", "html", "wrong"])
@pytest.mark.parametrize("step", ["baseline", "last-reading"])
async def test_one_bad_report_bills_nothing_wrongly(kind: str, step: str, open_world: Open) -> None:
    async with open_world() as w:
        for number, server in enumerate(w.sandbox.dci.servers, 1):
            w.sandbox.dci.send_traffic(server, number * 10**9, number * 10**9)
        if step == "baseline":
            w.sandbox.fault("dci", "traffic", kind)
        service = await w.active()
        w.sandbox.dci.send_traffic(str(service.remote_id), 1000, 2000)
        w.sandbox.fault("dci", "traffic", kind)
        await w.released(1)
        assert await w.usage(1) == {"in": 1000, "out": 2000}


async def test_a_panel_that_names_its_rows_otherwise_is_believed_when_it_does_so_always(open_world: Open) -> None:
    async with open_world() as w:
        w.sandbox.fault("dci", "traffic", "wrong", times=0)
        await w.active()
        await w.released(1)
        assert await w.usage(1) == {"in": 0, "out": 0}


async def test_a_release_ends_even_when_the_report_lacks_the_server(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        await w.active()
        w.sandbox.dci.send_traffic("101", 300, 400)
        w.clock.advance(3600)
        await sample(w, 1, 300, 400)
        w.clock.advance(3600)
        await w.release(1)
        await w.drive_to("power-off")
        hidden = w.sandbox.dci.functions["traffic"]
        w.sandbox.dci.functions["traffic"] = w.sandbox.dci.functions[
            "racks" if "racks" in w.sandbox.dci.functions else "rack"
        ]
        await w.drive_for(600)
        w.sandbox.dci.functions["traffic"] = hidden
        await w.drive()
        service = await w.service(1)
        assert service.state is State.RELEASED, await w.story(2)
        assert await w.usage(1) == {"in": 300, "out": 400}
        used = await record(w, 1)
        assert used.covered < used.until - used.since


async def test_a_service_that_never_worked_has_no_usage(open_world: Open) -> None:
    async with open_world() as w:
        await w.place()
        await w.drive_to("baseline")
        await w.released(1)
        assert await w.usage(1) == {}
        assert (await w.service(1)).billing_until is None
