"""What a workflow is given: the operation's journal, what was ordered, and the platforms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from daemon.domain.metering import UsageRecord
from daemon.domain.order import Customer, Order
from daemon.domain.secrets import MasterKey
from daemon.domain.service import Service
from daemon.provisioning.fleet import Fleet
from daemon.provisioning.journal import Journal
from daemon.settings.plans import PlanSettings
from daemon.store.repositories import Repositories


class Metering(Protocol):
    """What the workflows need of metering: to keep the readings at the edges of a service's life, and to close what it used."""

    async def keep(self, service_id: int, module: str, at: datetime, totals: Mapping[str, int]) -> None:
        """Store the readings of one moment; the same moment again changes nothing."""
        ...

    async def final(self, service: Service, until: datetime) -> list[UsageRecord]:
        """Records of everything that is not closed yet, up to the last reading at `until`. Nothing is written."""
        ...


@dataclass(frozen=True)
class Context:
    """Everything a workflow may look at. The plan is the frozen one of the order, not what YAML says today."""

    journal: Journal
    fleet: Fleet
    read: Repositories
    service: Service
    order: Order
    customer: Customer
    plan: PlanSettings
    master: MasterKey
    metering: Metering
    installation: str
    """Short id of this installation: two of them on one panel don't take each other's marks for their own."""

    @property
    def key(self) -> str:
        """Our mark on the platforms: the same for an operation however often it is repeated."""
        return f"pd-{self.installation}-{self.journal.operation.id}"


Workflow = Callable[[Context], Awaitable[None]]
