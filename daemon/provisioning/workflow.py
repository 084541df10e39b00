"""What a workflow is given: the operation's journal, what was ordered, and the platforms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from daemon.domain.order import Customer, Order
from daemon.domain.secrets import MasterKey
from daemon.domain.service import Service
from daemon.provisioning.fleet import Fleet
from daemon.provisioning.journal import Journal
from daemon.settings.plans import PlanSettings
from daemon.store.repositories import Repositories


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
    installation: str
    """Short id of this installation: two of them on one panel don't take each other's marks for their own."""

    @property
    def key(self) -> str:
        """Our mark on the platforms: the same for an operation however often it is repeated."""
        return f"pd-{self.installation}-{self.journal.operation.id}"


Workflow = Callable[[Context], Awaitable[None]]
