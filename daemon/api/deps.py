"""What the HTTP face is given: use cases, made by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from daemon.domain.clock import Clock
from daemon.observability.health import Health
from daemon.observability.metrics import Metrics
from daemon.provisioning.access import AccessDesk
from daemon.provisioning.desk import Desk
from daemon.provisioning.fleet import Fleet
from daemon.provisioning.idempotency import Answers
from daemon.provisioning.ordering import Ordering
from daemon.stats.alerts import AlertDesk
from daemon.stats.collection import Collector
from daemon.stats.pushed import PushDesk
from daemon.stats.records import Records
from daemon.stats.usage import UsageDesk
from daemon.store.database import Store


async def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Faces:
    """Everything a request may ask for; the TCP face and the local one share it."""

    store: Store
    clock: Clock
    fleet: Fleet
    answers: Answers
    ordering: Ordering
    desk: Desk
    access: AccessDesk
    usage: UsageDesk
    records: Records
    collector: Collector
    pushed: PushDesk
    alerts: AlertDesk
    health: Health
    metrics: Metrics
    version: str = "0"
    before_scrape: Callable[[], Awaitable[None]] = _nothing
    """Called before `/metrics` is rendered, to bring the gauges up to date."""
