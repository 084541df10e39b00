"""A whole installation in one process: real panels over HTTP, a real database, and a clock that moves only when told."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from daemon.app import build_fleet, metered
from daemon.domain.clock import VirtualClock
from daemon.domain.operation import Operation, Status, Step
from daemon.domain.secrets import MasterKey
from daemon.domain.service import Service, State
from daemon.domain.task import Task
from daemon.provisioning.desk import Desk
from daemon.provisioning.fleet import Fleet
from daemon.provisioning.idempotency import Answers
from daemon.provisioning.legs import Legs
from daemon.provisioning.ordering import Ordering, Placed
from daemon.sandbox import Sandbox, SandboxSettings
from daemon.settings.loader import load
from daemon.stats.system import Statistics
from daemon.store.database import Store
from daemon.store.targets import Target

T = TypeVar("T")

TEMPLATE = "ISPsystem__Debian-12-x86_64"
QUICK: dict[str, object] = {"watch_every": "30s", "install_start_within": "20s", "install_at_least": "30s"}
"""Settings of a module that keep legs few: time is free on a virtual clock, legs are not."""


class Inline:
    """The worker's arithmetic in this process: the same code without a process to start. `tests/acceptance` has the real one."""

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)


class Stopped(BaseException):
    """The process is gone, as far as the leg can tell."""


class AlwaysValid:
    """A lease that never lapses."""

    def valid(self) -> bool:
        return True


def order(**changes: Any) -> dict[str, Any]:
    return {
        "plan": "ds-small",
        "customer": {"ref": "C-17", "name": "Ada Example", "email": "ada@example.test"},
        "currency": "EUR",
        "period": "month",
        "hostname": "a.example.test",
        "addons": {"ostempl": TEMPLATE, "ip": 2},
        **changes,
    }


@dataclass
class World:
    """The daemon's use cases without its engine: `drive` wakes whatever is due and moves the clock to what is due next."""

    sandbox: Sandbox
    clock: VirtualClock
    target: Target
    config: Path
    store: Store
    fleet: Fleet
    legs: Legs
    ordering: Ordering
    desk: Desk
    master: MasterKey
    statistics: Statistics
    legs_run: int = 0
    woken: list[int] = field(default_factory=list)

    async def place(self, key: str = "order-1", **changes: Any) -> Placed:
        found: list[Placed] = []

        def answer(placed: Placed) -> tuple[int, Any]:
            found.append(placed)
            return 201, {"service": placed.service.id}

        await self.ordering.place(order(**changes), key=key, actor="test", answer=answer)
        return found[0]

    async def release(self, service_id: int, reason: str = "the customer left") -> int:
        self.clock.advance(1)  # two readings of one moment are one
        _, answer = await self.desk.release(
            service_id, actor="test", reason=reason, answer=lambda operation: (202, {"operation": operation.id})
        )
        operation_id: int = answer["operation"]
        return operation_id

    async def drive(self, *, legs: int = 500, patience: float = 60 * 86400) -> None:
        """Run legs until nothing is due by itself, moving the clock; at most `patience` seconds of it."""
        start = self.clock.now()
        while (due := await self.next_due()) is not None:
            assert (due[1] - start).total_seconds() <= patience, await self.story(due[0])
            assert self.legs_run < legs, await self.story(due[0])
            await self.leg(*due)

    async def leg(self, operation_id: int, at: datetime) -> None:
        self.clock.advance_to(at)
        self.legs_run += 1
        await self.legs.run(operation_id, "node/boot", AlwaysValid())

    async def drive_until(self, holds: Callable[[Operation], bool], operation_id: int = 1) -> Operation:
        """Run legs until the operation is as wanted after one of them."""
        for _ in range(500):
            operation = await self.operation(operation_id)
            if holds(operation):
                return operation
            due = await self.next_due()
            assert due is not None, await self.story(operation_id)
            await self.leg(*due)
        raise AssertionError(await self.story(operation_id))

    async def drive_for(self, seconds: float) -> None:
        """Run the legs of the next `seconds`, and let them pass."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while (due := await self.next_due()) is not None and due[1] <= end:
            await self.leg(*due)
        self.clock.advance_to(end)

    async def drive_to(
        self, step: str, edge: str = "committed", ordinal: int = 0, on_intent: Callable[[], object] = lambda: None
    ) -> None:
        """Run legs up to an edge of a step and stop dead there, as a killed process does; the operation is free again."""

        def stop(at: str, reached: Step) -> None:
            if (at, reached.name, reached.ordinal) == ("intended", step, ordinal):
                on_intent()
            if (at, reached.name, reached.ordinal) == (edge, step, ordinal):
                raise Stopped

        whole, self.legs = (
            self.legs,
            Legs(self.store, self.clock, self.fleet, self.master, "test", self.statistics, edge=stop),
        )
        try:
            await self.drive()
        except Stopped:
            async with self.store.transaction() as tx:
                await tx.operations.free_all("node/boot")
        else:
            raise AssertionError(f"{step} was never {edge}: {await self.story(1)}")
        finally:
            self.legs = whole

    async def active(self, key: str = "order-1", **changes: Any) -> Service:
        """Order and build a service."""
        placed = await self.place(key, **changes)
        await self.drive()
        service = await self.service(placed.service.id)
        assert service.state is State.ACTIVE, await self.story(placed.operation.id)
        return service

    async def released(self, service_id: int) -> Service:
        """Release a service, to the end."""
        operation_id = await self.release(service_id)
        await self.drive()
        service = await self.service(service_id)
        assert service.state is State.RELEASED, await self.story(operation_id)
        return service

    async def next_due(self) -> tuple[int, datetime] | None:
        rows = await self.store.read.fetch(
            "SELECT id, due_at FROM operation WHERE status = 'open' AND due_at IS NOT NULL ORDER BY due_at, id LIMIT 1"
        )
        at = self.store.read.moment(rows[0]["due_at"]) if rows else None
        return (rows[0]["id"], at) if at is not None else None

    async def operation(self, operation_id: int) -> Operation:
        found = await self.store.read.operations.get(operation_id)
        assert found is not None
        return found

    async def service(self, service_id: int) -> Service:
        found = await self.store.read.services.get(service_id)
        assert found is not None
        return found

    async def story(self, operation_id: int) -> str:
        operation = await self.operation(operation_id)
        lines = [f"operation {operation.id} {operation.verb} {operation.status} waits for {operation.waiting_for}"]
        lines += [
            f"  {step.name}#{step.ordinal} {step.status} x{step.attempts} {step.error or step.result}"
            for step in await self.store.read.steps.of_operation(operation_id)
        ]
        return "\n".join(lines)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        return await self.store.read.fetch("SELECT * FROM event WHERE kind = ? ORDER BY seq", kind)

    async def mails(self, beginning: str = "") -> list[dict[str, Any]]:
        """What stands in the outbox under keys that begin so."""
        rows = await self.store.read.fetch("SELECT * FROM outbox ORDER BY id")
        return [row for row in rows if row["key"].startswith(beginning)]

    async def open_tasks(self) -> list[Task]:
        return list(reversed(await self.store.read.tasks.page(status="open", after=0, limit=100)))

    async def usage(self, service_id: int) -> dict[str, int]:
        """Resource -> what all its periods come to."""
        records = await self.store.read.usage_records.page(service_id=service_id, after=0, limit=100, newest=True)
        found: Counter[str] = Counter()
        for record in records:
            found[record.resource] += record.base_quantity or 0
        return dict(found)

    # the truth on the panels --------------------------------------------------------------------------------------------------

    def server(self, remote_id: str) -> Any:
        return self.sandbox.dci.servers[remote_id]

    def held(self) -> dict[str, str]:
        """Address -> note, for all addresses that IPmanager shows as held."""
        return {address: held.note for address, held in self.sandbox.ipm.held.items()}

    def free_servers(self) -> list[str]:
        return [server.id for server in self.sandbox.dci.free_servers()]

    def owned(self) -> list[str]:
        """Servers that somebody owns, on all panels."""
        return [server.id for panel in self.sandbox.dcis for server in panel.servers.values() if server.owner]

    def owner_of(self, service: Service) -> str:
        """The name of the panel user that has the server."""
        return self.sandbox.dci.owner_name(self.server(str(service.remote_id)).owner)

    def calls(self, func: str, *, saves: bool = False) -> int:
        """How often a function was called so far, or how often a form was saved."""
        logs = [call for panel in [*self.sandbox.dcis, self.sandbox.ipm] for call in panel.calls]
        return len([call for call in logs if call.func == func and (not saves or "sok" in call.params)])

    def effects(self, func: str) -> int:
        """How often something really changed."""
        self.sandbox.settle()
        panels = [*self.sandbox.dcis, self.sandbox.ipm]
        return len([effect for panel in panels for effect in panel.effects if effect["func"] == func])

    async def check_invariants(self) -> None:
        """What must hold whatever happened: one server per order, nothing of ours without a service, no lost address."""
        read = self.store.read
        self.sandbox.settle()
        live = await read.fetch("SELECT address, key, state FROM allocation WHERE state <> 'released'")
        ledger = {row["address"] for row in live if row["address"]}
        ours = {address for address, note in self.held().items() if note.startswith("pd-")}
        assert ours <= ledger, f"held on the IPAM, unknown to the ledger: {ours - ledger}"
        assert all(address in self.held() for address in ledger), "in the ledger, not on the IPAM"
        panels = {"dci-main" if panel is self.sandbox.dci else panel.name: panel for panel in self.sandbox.dcis}
        marked = {
            (name, server.id)
            for name, panel in panels.items()
            for server in panel.servers.values()
            if "provisiond " in server.notes
        }
        claims = await read.fetch("SELECT module, remote_id FROM claim WHERE released_at IS NULL")
        claimed = {(row["module"], row["remote_id"]) for row in claims if row["module"] in panels}
        assert marked == claimed, f"marked {marked}, claimed {claimed}"
        on_servers = {a.ip for panel in panels.values() for server in panel.servers.values() for a in server.addresses}
        assert on_servers <= set(self.held()), f"on a server, held by nobody: {on_servers - set(self.held())}"
        assert not await read.events.broken_links()
        assert all(
            op.status is not Status.OPEN or op.deadline
            for op in await read.operations.page(status=None, after=0, limit=100)
        )


@asynccontextmanager
async def world(
    target: Target,
    folder: Path,
    *,
    sandbox: Sandbox | None = None,
    settings: SandboxSettings | None = None,
    clock: VirtualClock | None = None,
    overrides: dict[str, object] | None = None,
    configure: Callable[[Path], None] | None = None,
) -> AsyncIterator[World]:
    """Start panels (unless given) and everything of ours on top of a migrated database.

    `configure` may change the files in the folder of the configuration before they are read.
    """
    clock = clock or VirtualClock()
    if sandbox is None:
        async with (
            Sandbox.start(settings or SandboxSettings(now=clock.now)) as started,
            world(target, folder, sandbox=started, clock=clock, overrides=overrides, configure=configure) as made,
        ):
            yield made
        return
    config = sandbox.write_config(folder / "config", overrides or {})
    if configure is not None:
        configure(config.parent)
    store = await Store.open(target, clock=clock)
    fleet = build_fleet(load(config), clock)
    statistics = Statistics(store, clock, fleet.settings, lambda: metered(fleet), Inline())
    master = MasterKey(b"m" * 32)
    woken: list[int] = []

    async def wake(operation_id: int) -> None:
        woken.append(operation_id)

    answers = Answers(store)
    made = World(
        sandbox=sandbox,
        clock=clock,
        target=target,
        config=config,
        store=store,
        fleet=fleet,
        legs=Legs(store, clock, fleet, master, "test", statistics),
        ordering=Ordering(store, clock, fleet, answers, wake),
        desk=Desk(store, clock, fleet, answers, wake),
        master=master,
        statistics=statistics,
        woken=woken,
    )
    try:
        yield made
    finally:
        # A test may have replaced them: `start_again` of the crash suite does.
        await made.fleet.close()
        await made.statistics.close()
        await made.store.close()
