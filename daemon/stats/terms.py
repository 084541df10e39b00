"""By what each service's usage is counted: its plan's resources, where their readings come from, and its billing periods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from zoneinfo import ZoneInfo

from daemon.domain.metering import Ask, Billable, Source
from daemon.domain.order import Customer
from daemon.domain.percentile import Directions
from daemon.domain.periods import Grain, Period, bucket
from daemon.domain.quality import Meter
from daemon.domain.resources import Kind, Resource
from daemon.domain.service import Service
from daemon.modules.base import Report
from daemon.settings.modules import ModuleSettings
from daemon.settings.plans import PlanSettings, ResourceSettings
from daemon.settings.resources import READ
from daemon.store.repositories import Repositories

_INSTANT = timedelta(microseconds=1)
LEVEL_BACK = timedelta(days=1)
"""How far before a period the reading of a level is looked for that still holds at its start."""


@dataclass(frozen=True)
class Metered:
    """What a module measures: its reports, its rhythm, and what its settings say of its ports and its calendar."""

    module: str
    reports: tuple[Report, ...]
    rhythm: timedelta
    settings: ModuleSettings

    def report_of(self, metric: str) -> str | None:
        """The report that gives the readings of a metric; None: nobody reads it."""
        return next((report.name for report in self.reports if metric in report.resources), None)


@dataclass(frozen=True)
class Included:
    """What a plan includes of a resource, and the step of the alerts beyond it; base units."""

    amount: int
    step: int | None
    unit: str
    """The one in which the plan names the amount."""


@dataclass(frozen=True)
class Terms:
    """One service's. `watermarks` are the sources that must have passed the end of a period: (source, how late its data may come)."""

    service: Service
    zone: tzinfo
    billables: Mapping[str, Billable]
    included: Mapping[str, Included]
    watermarks: Mapping[str, timedelta]

    @cached_property
    def meters(self) -> Mapping[str, Meter]:
        """The series of samples that its resources are measured by, and what their readings mean."""
        return {source.metric: source.meter for billable in self.billables.values() for source in billable.sources}

    @property
    def late_by(self) -> timedelta:
        """How long after the end of a period its last reading may come."""
        return max((_late_by(billable) for billable in self.billables.values()), default=timedelta())

    def period(self, moment: datetime) -> Period:
        """The billing period that holds the moment: a calendar month of its zone."""
        return bucket(moment, Grain.MONTH, self.zone)

    def ask(self, billable: Billable, since: datetime, until: datetime) -> Ask:
        """Everything that matters for [since, until), and nothing that comes later than its data may come."""
        return Ask(billable, since, until, _begin(billable, since), until + _late_by(billable))


def _late_by(billable: Billable) -> timedelta:
    """Long enough for the reading after the boundary, too."""
    rhythms = [2 * source.meter.rhythm for source in billable.sources]
    return max([billable.resource.late_by, *rhythms])


def _begin(billable: Billable, since: datetime) -> datetime:
    """A total is judged from the start of the platform's month (what was corrected in it counts), a level from the day before."""
    begins = [since - LEVEL_BACK]
    for source in billable.sources:
        meter = source.meter
        if meter.kind is Kind.RUNNING_TOTAL:
            begins.append(bucket(since - _INSTANT, Grain.MONTH, meter.zone).since - 2 * meter.rhythm)
        if meter.owned_from is not None:
            begins = [max(begin, meter.owned_from) for begin in begins]
    return min(begins)


class Book:
    """Finds the terms of services; plans are read once."""

    def __init__(self, resources: Mapping[str, Resource], metered: Mapping[str, Metered]) -> None:
        """`resources`: every one that the settings know; `metered`: by module."""
        self._resources = resources
        self._metered = metered
        self._plans: dict[int, PlanSettings] = {}

    @property
    def resources(self) -> Mapping[str, Resource]:
        """Every one that the settings know."""
        return self._resources

    async def sold(self, read: Repositories, service: Service) -> list[Resource]:
        """What the plan of a service counts, whether or not anything was counted yet."""
        await self._load_plans(read, [service])
        codes = self._plans[service.plan_revision_id].resources
        return [self._resources[code] for code in codes if code in self._resources]

    async def of(self, read: Repositories, services: Sequence[Service]) -> dict[int, Terms]:
        """Service id -> its terms. A service whose module is no longer configured has none: it can't be told what its readings mean."""
        known = [service for service in services if service.module in self._metered]
        await self._load_plans(read, known)
        without = {service.customer_id for service in known if self._plans[service.plan_revision_id].zone is None}
        customers = await read.orders.customers(sorted(without))
        return {service.id: self._terms(service, customers) for service in known}

    async def one(self, read: Repositories, service: Service) -> Terms | None:
        return (await self.of(read, [service])).get(service.id)

    async def _load_plans(self, read: Repositories, services: Iterable[Service]) -> None:
        missing = {service.plan_revision_id for service in services} - self._plans.keys()
        if missing:
            for revision in (await read.orders.revisions(sorted(missing))).values():
                # through JSON, because the models are strict about the types that YAML has
                self._plans[revision.id] = PlanSettings.model_validate_json(json.dumps(revision.content))

    def _terms(self, service: Service, customers: Mapping[int, Customer]) -> Terms:
        plan, metered = self._plans[service.plan_revision_id], self._metered[service.module or ""]
        wanted = {code: own for code, own in plan.resources.items() if code in self._resources}
        billables = {
            code: self._billable(service, plan, metered, code, own)
            for code, own in wanted.items()
            if not _counted_with_the_other(code, wanted)
        }
        included = {
            code: Included(own.included.of(self._resources[code]), _step(own, self._resources[code]), own.included.unit)
            for code, own in wanted.items()
            if own.included is not None and code in billables
        }
        zone = plan.zone or _zone_of(customers[service.customer_id])
        return Terms(service, zone, billables, included, _watermarks(billables.values(), metered))

    def _billable(
        self, service: Service, plan: PlanSettings, metered: Metered, code: str, own: ResourceSettings
    ) -> Billable:
        resource = self._resources[code]
        directions = Directions(own.direction)
        daily = resource.kind is Kind.RATE and metered.report_of(code) is not None
        metrics = _metrics(resource, directions, daily=daily)
        sources = tuple(
            Source(metric, self._meter(service, plan, metered, metric))
            for metric in metrics
            if metered.report_of(metric) is not None
        )
        amount = None if own.amount is None else own.amount.of(resource)
        if code == "services":
            amount = 1
        return Billable(service.id, resource, sources, own.percentile, directions, daily, amount)

    def _meter(self, service: Service, plan: PlanSettings, metered: Metered, metric: str) -> Meter:
        resource = self._resources[metric]
        speed = (plan.port_speed or metered.settings.port_speed).whole("bit/s") if resource.base_unit == "B" else None
        baseline = service.properties.get("baseline")
        return Meter(
            resource.kind if resource.kind in READ else Kind.GAUGE,
            metered.rhythm,
            speed,
            metered.settings.month_zone,
            datetime.fromisoformat(baseline["at"]) if baseline else service.billing_from,
            service.billing_until,
        )


def _metrics(resource: Resource, directions: Directions, *, daily: bool) -> tuple[str, ...]:
    """The series that a resource is measured by."""
    if resource.kind is Kind.STOCK:
        return ()
    if resource.kind is Kind.RATE and directions is not Directions.SEPARATE:
        return ("burst_in_day", "burst_out_day") if daily else ("in", "out")
    return (resource.code,) if daily or resource.of is None else (resource.of,)


def _counted_with_the_other(code: str, wanted: Mapping[str, ResourceSettings]) -> bool:
    """Of two directions that make one quantity, only burst_in_day has it."""
    return code == "burst_out_day" and "burst_in_day" in wanted and wanted[code].direction != "separate"


def _step(own: ResourceSettings, resource: Resource) -> int | None:
    return None if own.alert_every is None else own.alert_every.of(resource)


def _zone_of(customer: Customer) -> tzinfo:
    return ZoneInfo(customer.zone) if customer.zone else UTC


def _watermarks(billables: Iterable[Billable], metered: Metered) -> dict[str, timedelta]:
    found: dict[str, timedelta] = {}
    for billable in billables:
        for source in billable.sources:
            name = f"{metered.module}/{metered.report_of(source.metric)}"
            found[name] = max(_late_by(billable), found.get(name, timedelta()))
    return found
