"""A collection round asks for every report of a module, once each, and what one of them lacks takes nothing from the others."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.clock import VirtualClock
from daemon.engine.periodic import _Rhythm
from daemon.sandbox import SandboxSettings
from daemon.sandbox.answers import Document
from daemon.sandbox.panel import Call, Function
from daemon.stats.collection import ROUNDS_AT_ONCE, Round, Source
from daemon.stats.terms import Terms
from daemon.store.targets import PostgresTarget
from tests.modules.spoiled import exact, put, spoil
from tests.provisioning.conftest import Open
from tests.provisioning.readings import (
    MODULE,
    RHYTHM,
    a_round,
    another_node,
    moment,
    points,
    rounds,
    rounds_until,
    sent,
    stored,
)
from tests.provisioning.world import QUICK, World, world

ONE: dict[str, Any] = {"servers": {"E3-1230-16G": 1}}

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


# how often, and by whom ---------------------------------------------------------------------------------------------------------


async def test_a_panel_that_is_being_read_or_was_slow_is_left_in_peace_and_a_person_is_told_why(
    open_world: Open,
) -> None:
    """By hand, too: a round in the middle of another, and one before the panel has rested as long as the last one took."""
    async with open_world(**ONE) as w:
        await w.active()
        honest, said = w.sandbox.dci.functions["traffic"], []

        async def ask() -> None:
            said.extend(await w.statistics.collector.poll())

        def slow(call: Call) -> Document:
            w.clock.advance(90)
            return honest.run(call)

        w.sandbox.dci.functions["traffic"] = Function(slow, admin=False)
        w.clock.advance(RHYTHM)
        begun = w.clock.now()
        running = asyncio.create_task(w.statistics.collector.round(MODULE))
        await asyncio.sleep(0)
        await ask()
        assert (await running).samples == 2
        ended = w.clock.now()
        await ask()
        assert [made.samples for made in said] == [0, 0]
        assert said[0].problems == (
            f"dci-main is being read since {begun.isoformat(timespec='seconds')}: this round is left out",
        )
        until = ended + (ended - begun)
        assert said[1].problems == (
            f"dci-main took 90.0 s for its last round, and is left in peace as long, until {until.isoformat(timespec='seconds')}",
        )
        w.sandbox.dci.functions["traffic"] = honest
        w.clock.advance_to(until - timedelta(seconds=5))
        await ask()  # nearly rested: a person waits for it
        assert (said[2].samples, w.clock.now()) == (2, until)


async def test_many_panels_are_read_a_few_at_a_time(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, dci_panels=6) as w:
        for number in range(6):
            await w.active(str(number), hostname=f"h{number}.example.test")
        at_once: list[int] = []
        inside = 0
        collector = w.statistics.collector
        whole = collector.collect

        async def watched(source: Source) -> tuple[Round, Mapping[int, Terms]]:
            nonlocal inside
            inside += 1
            at_once.append(inside)
            try:
                return await whole(source)
            finally:
                inside -= 1

        collector.collect = watched  # type: ignore[method-assign] # only looked at
        w.clock.advance(RHYTHM)
        made = await asyncio.gather(*(collector.round(name) for name in collector.modules))
        assert [found.samples for found in made] == [2] * 6
        assert max(at_once) == ROUNDS_AT_ONCE


async def test_the_modules_own_rhythm_wins_and_each_panel_has_its_own_place_in_it(open_world: Open) -> None:
    async with open_world({"poll_every": "20m"}, dci_panels=2) as w:
        await w.active()
        terms = await w.statistics.usage.terms(await w.service(1))
        assert terms.meters["in"].rhythm == timedelta(minutes=20)
        offsets = {
            _Rhythm("collect", name, 1200.0, _spread(name)).tick_after(w.clock.now()) for name in ("a", "b", "c")
        }
        assert len(offsets) == 3
        assert all(timedelta() < tick - w.clock.now() <= timedelta(minutes=20) for tick in offsets)


def _spread(name: str) -> float:
    return zlib.crc32(f"collect:{name}".encode()) % 1000 / 1000 * 120.0


async def test_what_is_stored_at_arrival_is_what_the_whole_series_says(open_world: Open) -> None:
    async with open_world({"port_speed": "100 Mbit/s"}, **ONE) as w:
        w.clock.advance_to(moment(2026, 1, 31, 22))
        w.sandbox.dci.send_traffic("101", 10**9, 10**9)
        await w.active()
        await rounds(w, 3, 1000, 10)
        await a_round(w, 1000, after=1500)
        await a_round(w, 10**12)
        await rounds(w, 2, 1000)
        w.server("101").traffic.tx = 0
        await rounds(w, 2, 10, 10)
        await rounds_until(w, moment(2026, 2, 1, 1), 100, 100)
        for metric in ("in", "out"):
            found = await stored(w, metric)
            assert found[1:] == [point[2] for point in await points(w, metric)]
            assert {"ok", "gap"} < set(found)
        assert "impossible" in await stored(w)
        assert "reset" in await stored(w, "out")


@pytest.mark.parametrize("turns", ["ABABAB", "AABBAB", "ABBBBA", "AAAABA"])
async def test_rounds_on_two_nodes_make_no_gap_and_count_nothing_twice(
    turns: str, postgres_target: PostgresTarget, tmp_path: Path
) -> None:
    """Whichever node reads, and whichever is asked: both know what was used so far up to their own last round."""
    clock = VirtualClock()
    settings = SandboxSettings(now=clock.now, servers={"E3-1230-16G": 1})
    async with world(postgres_target, tmp_path, settings=settings, clock=clock, overrides=QUICK) as w:
        await w.active()
        before = sent(w)[0]
        nodes = {"A": w.statistics, "B": another_node(w)}
        try:
            for number, name in enumerate(turns):
                w.sandbox.dci.send_traffic("101", 1000 + number, 0)
                w.clock.advance(RHYTHM)
                found = await nodes[name].collector.round(MODULE)
                assert found.classes == {"ok": 2}, (number, found)
                so_far = nodes[name].progress.so_far(1)["in"]
                assert so_far.quantity == sent(w)[0] - before
        finally:
            await nodes["B"].close()
        assert (await stored(w))[1:] == ["ok"] * len(turns)


async def test_a_panel_that_another_node_reads_is_left_in_peace(
    postgres_target: PostgresTarget, tmp_path: Path
) -> None:
    clock = VirtualClock()
    settings = SandboxSettings(now=clock.now, servers={"E3-1230-16G": 1})
    async with world(postgres_target, tmp_path, settings=settings, clock=clock, overrides=QUICK) as w:
        await w.active()
        other = another_node(w)
        honest = w.sandbox.dci.functions["traffic"]

        def slow(call: Call) -> Document:
            w.clock.advance(60)
            return honest.run(call)

        w.sandbox.dci.functions["traffic"] = Function(slow, admin=False)
        try:
            await a_round(w, 1000)
            told = (await other.collector.round(MODULE)).problems
            assert told == (
                "dci-main is being read by another node, or left in peace after it: this round is left out",
            )
            w.clock.advance(60)
            assert (await other.collector.round(MODULE)).samples == 2
        finally:
            await other.close()
