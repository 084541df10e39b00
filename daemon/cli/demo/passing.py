"""An installation on a virtual clock: time passes, and everything that a daemon does by itself is done when it is due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from daemon.app import UseCases
from daemon.cli.demo.outcome import DemoError, require
from daemon.domain.clock import VirtualClock
from daemon.domain.operation import Status
from daemon.domain.service import Service
from daemon.notify.delivery import deliver_due
from daemon.provisioning.ordering import Placed

MODULE = "dci-main"
RHYTHM = timedelta(hours=1)
"""Of the rounds: with the usual five minutes a month would take minutes."""
FIRST_ROUND = timedelta(minutes=57)
"""After the full hour. Panels refresh their totals in steps: the last one of a month is read before the month turns."""


class OnlyNode:
    """Nobody else could take an operation over."""

    def valid(self) -> bool:
        return True


class Passing:
    """`rounds` are the moments of the rounds that were answered, `missed` counts the others."""

    def __init__(self, house: UseCases, clock: VirtualClock, after_round: Callable[[], None]) -> None:
        self.house = house
        self.rounds: list[datetime] = []
        self.missed = 0
        self._clock = clock
        self._after_round = after_round
        self._next_round = clock.now().replace(minute=0) + FIRST_ROUND
        self._kept_up: datetime | None = None

    async def until(self, moment: datetime) -> None:
        """Let the time pass."""
        while self._next_round <= moment:
            self._clock.advance_to(self._next_round)
            self._next_round += RHYTHM
            await self._round()
        self._clock.advance_to(moment)

    async def _round(self) -> None:
        """A collection round, and what a daemon does every few minutes: mail, and closing periods that are over."""
        at, statistics = self._clock.now(), self.house.statistics
        made = await statistics.collector.round(MODULE)
        if made.samples:
            self.rounds.append(at)
        elif made.problems:
            self.missed += 1
        await statistics.records.close_due()
        await deliver_due(self.house.store, self.house.mailer, self._clock)
        if self._kept_up is None or at.date() > self._kept_up.date():
            self._kept_up = at
            await statistics.upkeep.run()
        self._after_round()

    async def order(self, order: dict[str, Any]) -> Service:
        """Order and build; the active service."""
        found: list[Placed] = []

        def answer(placed: Placed) -> tuple[int, Any]:
            found.append(placed)
            return 201, {}

        await self.house.ordering.place(order, key=order["customer"]["ref"], actor="demo", answer=answer)
        await self._carry_out(found[0].operation.id)
        return await self.service(found[0].service.id)

    async def release(self, service_id: int) -> None:
        _, operation_id = await self.house.desk.release(
            service_id, actor="demo", reason="the customer left", answer=lambda operation: (202, operation.id)
        )
        await self._carry_out(operation_id)

    async def _carry_out(self, operation_id: int) -> None:
        due: datetime | None = self._clock.now()
        while due is not None:
            await self.until(due)
            due = await self.house.legs.run(operation_id, "demo", OnlyNode())
        operation = await self.house.store.read.operations.get(operation_id)
        assert operation is not None
        why = operation.error or operation.waiting_for
        require(operation.status is Status.DONE, f"operation {operation_id} is {operation.status}: {why}")

    async def service(self, service_id: int) -> Service:
        found = await self.house.store.read.services.get(service_id)
        if found is None:
            raise DemoError(f"service {service_id} is gone")
        return found
