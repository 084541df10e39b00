"""An order becomes a running server, and everything is given back."""

from __future__ import annotations

from pathlib import Path

from daemon.domain.operation import Status
from daemon.domain.service import State
from daemon.store.targets import Target
from tests.provisioning.world import world


async def test_an_order_becomes_a_running_server(target: Target, tmp_path: Path) -> None:
    async with world(target, tmp_path) as w:
        placed = await w.place()
        await w.drive()

        service = await w.service(placed.service.id)
        operation = await w.operation(placed.operation.id)
        assert operation.status is Status.DONE, await w.story(operation.id)
        assert service.state is State.ACTIVE
        assert service.billing_from is not None
        assert service.remote_id is not None
        server = w.server(service.remote_id)
        assert server.hostname == "a.example.test"
        await w.check_invariants()


async def test_a_released_service_leaves_nothing_behind(target: Target, tmp_path: Path) -> None:
    async with world(target, tmp_path) as w:
        free = w.free_servers()
        held = len(w.held())
        placed = await w.place()
        await w.drive()
        service = await w.service(placed.service.id)
        assert service.remote_id is not None
        w.sandbox.dci.send_traffic(service.remote_id, 5_000_000, 7_000_001)
        operation_id = await w.release(placed.service.id)
        await w.drive()

        assert (await w.operation(operation_id)).status is Status.DONE, await w.story(operation_id)
        assert (await w.service(placed.service.id)).state is State.RELEASED
        assert w.free_servers() == free
        assert len(w.held()) == held
        records = await w.store.read.usage_records.page(service_id=service.id, after=0, limit=10)
        assert {record.resource: record.base_quantity for record in records} == {"in": 5_000_000, "out": 7_000_001}
        await w.check_invariants()
