"""A collection round asks for every report of a module, once each, and what one of them lacks takes nothing from the others."""

from __future__ import annotations

from datetime import timedelta

from tests.modules.spoiled import exact, put, spoil
from tests.provisioning.conftest import Open
from tests.provisioning.world import World

ALL = ("in", "out", "power", "burst_in_day", "burst_out_day")


async def test_a_report_that_gives_nothing_counted_is_not_asked_for(open_world: Open) -> None:
    async with open_world() as w:
        await w.active()
        before = w.calls("powerconsumption")
        found = await w.statistics.collector.round("dci-main")
        assert (found.samples, found.problems) == (2, ())
        assert w.calls("powerconsumption") == before


async def kept(w: World, resource: str, service_id: int = 1) -> list[int]:
    now = w.clock.now()
    found = await w.statistics.days.series(resource, service_id, now - timedelta(days=1), now)
    return [sample.value for sample in found]


async def test_each_report_is_asked_for_once_however_many_servers_there_are(open_world: Open) -> None:
    async with open_world({"burst": {"source": "panel"}}, resources=ALL) as w:
        await w.active()
        server = next(server for server in w.sandbox.dci.servers.values() if server.powered)
        server.power, server.burst_in, server.burst_out = 91.5, 12.5, 30.0
        w.clock.advance(300)
        before = {func: w.calls(func) for func in ("traffic", "powerconsumption", "trafficburstable")}
        found = await w.statistics.collector.round("dci-main")
        assert (found.samples, found.missing, found.problems) == (5, 0, ())
        assert {func: w.calls(func) - count for func, count in before.items()} == dict.fromkeys(before, 1)
        assert (await kept(w, "power"))[-1] == 91_500
        assert (await kept(w, "burst_in_day"))[-1] == 12_500_000
        assert (await kept(w, "burst_out_day"))[-1] == 30_000_000


async def test_a_report_that_fails_is_told_and_the_others_are_kept(open_world: Open) -> None:
    async with open_world({"power": {"function": "nosuchreport"}}, resources=ALL) as w:
        await w.active()
        w.clock.advance(300)
        found = await w.statistics.collector.round("dci-main")
        assert (found.samples, found.missing) == (2, 0)
        assert len(found.problems) == 1
        assert await kept(w, "power") == []


async def test_a_row_that_is_gone_or_wrong_is_a_missing_reading_and_no_zero(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, resources=ALL) as w:
        await w.active()
        w.clock.advance(300)
        spoil(w.sandbox.dci, "traffic", lambda rows: [{**row, "id": "no-such-server"} for row in rows])
        put(w.sandbox.dci, "powerconsumption", "power", exact("n/a"))
        count = len(await kept(w, "in"))
        found = await w.statistics.collector.round("dci-main")
        assert (found.samples, found.missing) == (0, 1)
        assert found.problems == ("server 101: power holds no number", "1 services have no reading")
        assert len(await kept(w, "in")) == count
        assert await kept(w, "power") == []
