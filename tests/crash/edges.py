"""Finds every edge of every step of a workflow by running it once, and runs it again with a crash at one of them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from daemon.app import build_fleet
from daemon.domain.clock import VirtualClock
from daemon.domain.operation import Step
from daemon.provisioning.desk import Desk
from daemon.provisioning.idempotency import Answers
from daemon.provisioning.legs import Legs
from daemon.provisioning.ordering import Ordering
from daemon.sandbox import Sandbox, SandboxSettings
from daemon.settings.loader import load
from daemon.store.database import Store
from tests.databases import SqliteTemplate, apart
from tests.provisioning.world import World, world

QUICK: dict[str, object] = {
    "watch_every": "30s",
    "install_start_within": "20s",
    "install_at_least": "0s",
    "timeout": "10s",
    "settle": "10s",
}
INSTALL_SECONDS = 45.0
LATE_BY = 8.0
"""Seconds after which a lost request still lands: within the panels' settle of 10 s."""


class Crash(BaseException):
    """The process is gone: nothing after this point runs."""


@dataclass(frozen=True)
class Write:
    """The call of a step that changes a panel: the `nth` call of `func` after the intent."""

    panel: str
    func: str
    nth: int


@dataclass(frozen=True)
class Point:
    """Where to crash."""

    scenario: str
    step: str
    ordinal: int
    edge: str
    """before, intended, sent (the request lands later), effect (the answer is lost), answered, committed."""
    write: Write | None = None

    def __str__(self) -> str:
        return f"{self.scenario}-{self.step}-{self.ordinal}-{self.edge}"


@dataclass
class Recorder:
    """Notes every edge, and which call of each step changes a panel."""

    scenario: str
    sandbox: Sandbox
    on: bool = False
    points: dict[Point, None] = field(default_factory=dict)
    _calls: dict[str, int] = field(default_factory=dict)
    _effects: dict[str, int] = field(default_factory=dict)

    def __call__(self, edge: str, step: Step) -> None:
        if not self.on:
            return
        if edge == "intended":
            self._calls = {panel.name: len(panel.calls) for panel in self._panels()}
            self._effects = {panel.name: len(panel.effects) for panel in self._panels()}
        if edge == "answered":
            write = self._write()
            if write is not None:
                self._note(step, "sent", write)
                self._note(step, "effect", write)
        if edge != "lost":
            self._note(step, edge)

    def _note(self, step: Step, edge: str, write: Write | None = None) -> None:
        self.points[Point(self.scenario, step.name, step.ordinal, edge, write)] = None

    def _panels(self) -> list[Any]:
        return [self.sandbox.dci, self.sandbox.ipm]

    def _write(self) -> Write | None:
        for panel in self._panels():
            effects = list(panel.effects)[self._effects[panel.name] :]
            if effects:
                func = effects[-1]["func"]
                calls = [c for c in list(panel.calls)[self._calls[panel.name] :] if c.func == func]
                # A form is read, saved and read back under one name: the save is the one that says so.
                saves = [number for number, call in enumerate(calls, 1) if "sok" in call.params]
                return Write(panel.name, func, saves[-1] if saves else len(calls))
        return None


class Knife:
    """Crashes at one point, once."""

    def __init__(self, point: Point, sandbox: Sandbox, kill: Callable[[], None] | None = None) -> None:
        self.point = point
        self.cut = False
        self._sandbox = sandbox
        self._kill = kill
        self._lost: Any = None

    def __call__(self, edge: str, step: Step) -> None:
        point = self.point
        if self.cut or (step.name, step.ordinal) != (point.step, point.ordinal):
            return
        if point.edge in ("sent", "effect"):
            if edge == "intended" and self._lost is None:
                assert point.write is not None
                kind = "late" if point.edge == "sent" else "reset_after"
                self._lost = self._sandbox.fault(
                    point.write.panel, point.write.func, kind, nth=point.write.nth, seconds=LATE_BY
                )
            if edge == "lost":
                self._crash()
        elif edge == point.edge:
            self._crash()

    def _crash(self) -> None:
        self.cut = True
        if self._kill is not None:
            self._kill()
        raise Crash


@cache
def template() -> SqliteTemplate:
    return SqliteTemplate(Path(tempfile.mkdtemp(prefix="provisiond-crash-")))


@asynccontextmanager
async def installation(folder: Path, edge: Callable[[str, Step], None] | None = None) -> AsyncIterator[World]:
    clock = VirtualClock()
    settings = SandboxSettings(now=clock.now, install_seconds=INSTALL_SECONDS, servers={"E3-1230-16G": 2})
    target = template().copy(folder / "state" / "provisiond.db")
    async with world(target, folder, settings=settings, clock=clock, overrides=QUICK) as made:
        watch(made, edge)
        yield made


def watch(w: World, edge: Callable[[str, Step], None] | None) -> None:
    w.legs = Legs(w.store, w.clock, w.fleet, w.master, "test", w.statistics, edge=edge)


async def start_again(w: World) -> None:
    """Everything of ours is dropped and built anew on the same file; the panels live on."""
    await w.fleet.close()
    await w.store.close()
    w.store = await Store.open(w.target, clock=w.clock)
    w.fleet = build_fleet(load(w.config), w.clock)
    answers = Answers(w.store)

    async def wake(_operation_id: int) -> None:
        """`drive` looks for itself."""

    w.ordering = Ordering(w.store, w.clock, w.fleet, answers, wake)
    w.desk = Desk(w.store, w.clock, w.fleet, answers, wake)
    watch(w, None)
    async with w.store.transaction() as tx:
        await tx.operations.free_all("node/boot")


async def run(scenario: str, w: World, begin: Callable[[], None]) -> None:
    """One scenario up to its end; `begin` is called where the watched part begins."""
    if scenario == "provision":
        begin()
        await w.place()
        await w.drive()
    elif scenario == "undo":
        begin()
        w.sandbox.fault("dci", "server.operations", "install_fails", times=0)
        await w.place()
        await w.drive()
    else:
        await w.place()
        await w.drive()
        w.sandbox.dci.send_traffic(str((await w.service(1)).remote_id), 1000, 2000)
        begin()
        await w.release(1)
        await w.drive()


@cache
def points(scenario: str) -> list[Point]:
    """Every edge of every step of a scenario, in order."""

    async def record() -> list[Point]:
        with tempfile.TemporaryDirectory() as folder:
            async with installation(Path(folder)) as w:
                recorder = Recorder(scenario, w.sandbox)
                watch(w, recorder)

                def begin() -> None:
                    recorder.on = True

                await run(scenario, w, begin)
                assert (await w.service(1)).state in ("active", "pending", "released"), await w.story(1)
                assert scenario != "provision" or (await w.service(1)).state == "active", await w.story(1)
                found = list(recorder.points)
        return [p for p in found if p.step.startswith("undo") or p.step == "undone"] if scenario == "undo" else found

    return apart(record)
