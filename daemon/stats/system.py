"""Everything of metering that one daemon has, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from daemon.domain.clock import Clock
from daemon.domain.metering import UsageRecord
from daemon.domain.quality import Quality
from daemon.domain.service import Service
from daemon.settings.loader import Settings
from daemon.settings.modules import ModuleSettings
from daemon.stats import crunch
from daemon.stats.alerts import AlertDesk
from daemon.stats.collection import Collector, Round, Source
from daemon.stats.crunch import Heavy
from daemon.stats.measuring import Measuring
from daemon.stats.progress import Progress
from daemon.stats.pushable import Pushable
from daemon.stats.pushed import PushDesk
from daemon.stats.records import Keeping, Records
from daemon.stats.terms import Book, Metered
from daemon.stats.upkeep import Upkeep
from daemon.stats.usage import UsageDesk
from daemon.store.database import Store
from daemon.store.days.store import DayStore


class Statistics:
    """What workflows, faces and periodic work need of metering."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        sources: Callable[[], Iterable[tuple[Source, ModuleSettings]]],
        heavy: Heavy,
        observe: Callable[[Round], None] = lambda _round: None,
    ) -> None:
        """`sources`: every module with its settings."""
        base = settings.daemon
        keeping = Keeping(base.grace, base.coverage_least, base.samples_keep, base.evidence_keep)
        self._clock = clock
        self.days = DayStore.of(store, base.state_dir, crunch.crunching(heavy))
        self.measuring = Measuring(store, self.days, heavy)
        book = Book(settings.resources, _metered(settings, sources()))
        self.records = Records(store, clock, self.measuring, book, settings.resources, keeping)
        self.progress = Progress(clock, self.measuring, heavy)
        self.alerts = AlertDesk(store, clock, self.progress, self.measuring, settings)
        self.collector = Collector(
            store,
            clock,
            self.days,
            book,
            self.progress,
            lambda: [source for source, _ in sources()],
            observe,
            self.alerts.look,
        )
        self.usage = UsageDesk(store, clock, self.measuring, book)
        pushable = Pushable(settings.resources, _metered(settings, sources()))
        self.pushed = PushDesk(store, clock, resources=settings.resources, pushable=pushable)
        self.upkeep = Upkeep(store, clock, self.days, keeping)

    # what the workflows ask for

    async def keep(self, service_id: int, module: str, at: datetime, totals: Mapping[str, int]) -> None:
        """Store the readings of one moment; the same moment again changes nothing."""
        await self.days.append(
            at, module, {metric: {service_id: (total, Quality.OK.code)} for metric, total in totals.items()}
        )

    async def final(self, service: Service, until: datetime) -> list[UsageRecord]:
        """Records of everything that is not closed yet, up to the last reading at `until`. Nothing is written."""
        return await self.records.final(service, until)

    async def close(self) -> None:
        await self.days.close()


def _metered(settings: Settings, sources: Iterable[tuple[Source, ModuleSettings]]) -> dict[str, Metered]:
    return {
        source.name: Metered(source.name, source.reports(), own.poll_every or settings.daemon.poll_every, own)
        for source, own in sources
    }
