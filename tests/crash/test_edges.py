"""The process dies at every edge of every step of provision, of its undo and of release; each time it starts again and converges."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.domain.service import State
from tests.crash.edges import Crash, Knife, Point, installation, points, run, start_again, watch
from tests.provisioning.world import World

ALL = [point for scenario in ("provision", "undo", "release") for point in points(scenario)]
ENDS = {"provision": State.ACTIVE, "undo": State.PENDING, "release": State.RELEASED}


@pytest.mark.parametrize("point", ALL, ids=str)
async def test_a_crash_leaves_exactly_one_server_and_no_leak(point: Point, tmp_path: Path) -> None:
    async with installation(tmp_path) as w:
        free, held = w.free_servers(), len(w.held())
        knife = Knife(point, w.sandbox)

        with pytest.raises(Crash):
            await run(point.scenario, w, lambda: watch(w, knife))
        await start_again(w)
        await w.drive()

        service = await w.service(1)
        assert service.state is ENDS[point.scenario], await stories(w)
        await w.check_invariants()
        if point.scenario == "provision":
            assert_one_server(w, service.remote_id)
            await w.release(1)
            await w.drive()
            service = await w.service(1)
            assert service.state is State.RELEASED, await stories(w)
        assert w.free_servers() == free
        assert len(w.held()) == held
        await w.check_invariants()
        if point.scenario == "release":
            records = await w.store.read.usage_records.page(service_id=1, after=0, limit=10)
            assert {record.resource: record.base_quantity for record in records} == {"in": 1000, "out": 2000}


def test_the_suite_covers_every_edge_of_all_three_workflows() -> None:
    edges = {point.edge for point in ALL}
    assert edges == {"before", "intended", "sent", "effect", "answered", "committed"}
    by_scenario = {name: len([point for point in ALL if point.scenario == name]) for name in ENDS}
    assert all(count > 30 for count in by_scenario.values()), by_scenario


def assert_one_server(w: World, remote_id: str | None) -> None:
    owned = [server.id for server in w.sandbox.dci.servers.values() if server.owner]
    assert owned == [remote_id]


async def stories(w: World) -> str:
    return "\n".join([await w.story(op.id) for op in await w.store.read.operations.of_service(1)])
