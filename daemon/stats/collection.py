"""Collection: each bulk report of a module once a round, kept as samples of the services that are on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError, Unhealthy
from daemon.domain.service import State
from daemon.domain.usage import RESOURCES
from daemon.modules.base import Measurement, Report
from daemon.store.database import Store

log = structlog.get_logger(__name__)
COUNTED = (State.ACTIVE, State.SUSPENDED)


class Source(Protocol):
    """What collection needs of a module."""

    name: str
    by_hand: bool

    def reports(self) -> tuple[Report, ...]: ...

    async def measure(self, report: str, at: datetime) -> Measurement: ...


@dataclass(frozen=True)
class Round:
    """What one round brought. `problems` are sentences; a server without a reading keeps its volume for the next round."""

    module: str
    servers: int
    samples: int
    missing: int
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "module": self.module,
            "servers": self.servers,
            "samples": self.samples,
            "missing": self.missing,
            "problems": list(self.problems),
        }


class Collector:
    """Polls modules. A round that fails changes nothing: the running totals carry its volume into the next one."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        sources: Callable[[], list[Source]],
        observe: Callable[[Round], Awaitable[None] | None] = lambda _round: None,
        *,
        counted: Collection[str] = RESOURCES,
    ) -> None:
        """`counted`: codes of the resources that are kept; a report that gives none of them is not asked for."""
        self._store = store
        self._clock = clock
        self._sources = sources
        self._observe = observe
        self._counted = frozenset(counted)

    @property
    def modules(self) -> list[str]:
        """Names of the modules that can be polled."""
        return [source.name for source in self._sources() if not source.by_hand]

    async def poll(self) -> list[Round]:
        """One round of every module, now."""
        return [await self.round(name) for name in self.modules]

    async def round(self, module: str) -> Round:
        """One round of one module; what went wrong on the platform is in `problems`, and logged."""
        source = next(source for source in self._sources() if source.name == module)
        measured: list[Measurement] = []
        problems: list[str] = []
        for report in source.reports():
            if self._counted.isdisjoint(report.resources):
                continue
            try:
                measured.append(await source.measure(report.name, self._clock.now()))
            except ProvisiondError as error:
                log.warning(
                    "collection.failed", module=module, report=report.name, code=error.code, error=error.message
                )
                problems.append(error.message)
                if isinstance(error, Unhealthy):
                    async with self._store.transaction() as tx:
                        await tx.module_health.ill(module, error.code, error.message)
                    return await self._observed(Round(module, 0, 0, 0, tuple(problems)))
        if not measured:
            return await self._observed(Round(module, 0, 0, 0, tuple(problems)))
        services = await self._store.read.services.on_module(module, COUNTED)
        servers: set[str] = set()
        samples, missing = 0, 0
        async with self._store.transaction() as tx:
            for each in measured:
                readings = {
                    code: {service_id: found[remote_id] for service_id, remote_id in services if remote_id in found}
                    for code, found in each.values.items()
                }
                await tx.samples.append(each.at, readings)
                problems += each.problems
                servers.update(*each.values.values())
                samples += sum(len(found) for found in readings.values())
                missing = max(missing, *(len(services) - len(found) for found in readings.values()))
            await tx.module_health.well(module)
        if missing:
            problems.append(f"{missing} services have no reading")
        if problems:
            log.warning("collection.incomplete", module=module, problems=problems[:10], count=len(problems))
        return await self._observed(Round(module, len(servers), samples, missing, tuple(problems)))

    async def _observed(self, made: Round) -> Round:
        waits = self._observe(made)
        if waits is not None:
            await waits
        return made
