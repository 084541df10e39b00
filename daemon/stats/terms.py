"""By what each service's usage is counted: its plan's resources, where their readings come from, and its billing periods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from daemon.domain.metering import Ask, Billable, Source, UsageRecord
from daemon.domain.order import Customer
from daemon.domain.percentile import Directions
from daemon.domain.periods import Grain, Period, bucket
from daemon.domain.quality import Meter
from daemon.domain.resources import RESOURCES, Kind, Resource
from daemon.domain.service import Service
from daemon.modules.base import Report
from daemon.settings.modules import ModuleSettings
from daemon.settings.plans import PlanSettings, ResourceSettings
from daemon.settings.resources import READ
from daemon.store.database import Store
from daemon.store.repositories import Repositories

DECLARED = "declared-resources"
"""The fact that has every resource of your own as the settings last had it."""
SCALE, UNIT = "scale", "unit"
"""Entries of a record's basis: how its resource was shown."""
_INSTANT = timedelta(microseconds=1)
BOTH, DAILY = ("in", "out"), ("burst_in_day", "burst_out_day")
"""The two directions of traffic."""
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

    def source_of(self, metric: str) -> str | None:
        """The same as watermarks name it."""
        report = self.report_of(metric)
        return None if report is None else f"{self.module}/{report}"


@dataclass(frozen=True)
class Included:
    """What a plan includes of a resource, and the step of the alerts beyond it; base units."""

    amount: int
    step: int | None
    unit: str
    """The one in which the plan names the amount."""


@dataclass(frozen=True)
class Terms:
    """One service's. `watermarks` are the sources that must have passed the end of a period: (source, how late its data may come).

    `doubts`: resource -> why a person must look at each of its records: what the settings alone tell. `rests_on`: resource -> its sources.
    `department` hears of sources that bring nothing; None where the module, and with it everybody responsible, is gone from the settings.
    """

    service: Service
    zone: tzinfo
    billables: Mapping[str, Billable]
    included: Mapping[str, Included]
    watermarks: Mapping[str, timedelta]
    doubts: Mapping[str, str] = field(default_factory=dict)
    rests_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    department: str | None = None

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


def as_made(record: UsageRecord) -> Resource:
    """Its resource as it was when the record was made."""
    basis = record.basis
    kind = Kind(basis.get("kind", Kind.STOCK.value))
    of = record.resource if kind in (Kind.INTEGRAL, Kind.RATE) else None
    unit = basis.get(UNIT, record.base_unit)
    return Resource(record.resource, record.base_unit, basis.get(SCALE, 0), unit, kind, timedelta(), of)


class Book:
    """Finds the terms of services; plans are read once.

    What was sold stays billed, so a resource that the settings have no more is taken as they last had it. That is kept beside the plans
    and not in them: services that were sold before are served as well, ids of plans stay, and the readings and pushed quantities at hand
    were counted in the units that the settings last had, not in those of the day of the order.
    """

    def __init__(self, resources: Mapping[str, Resource], metered: Mapping[str, Metered]) -> None:
        """`resources`: every one that the settings know; `metered`: by module."""
        self._resources = resources
        self._metered = metered
        self._plans: dict[int, PlanSettings] = {}
        self._gone: dict[str, Resource] = {}
        """Sold, and not in the settings any more."""
        self._guessed: set[str] = set()
        """Those of them of which nobody remembers what they were."""

    @property
    def resources(self) -> Mapping[str, Resource]:
        """Every one that the settings know, and those that were sold and are gone from them."""
        return {**self._gone, **self._resources}

    async def remember(self, store: Store) -> None:
        """Keep how the settings have each resource of your own, for the time when they don't."""
        own = {code: _plain(resource) for code, resource in self._resources.items() if code not in RESOURCES}
        before = json.loads(await store.read.facts.get(DECLARED) or "{}")
        if {**before, **own} != before:
            async with store.transaction() as tx:
                await tx.facts.put(DECLARED, json.dumps({**before, **own}, sort_keys=True))

    async def gone(self, read: Repositories) -> list[str]:
        """Sentences: what services have that the settings don't."""
        plans: dict[str, set[str]] = {}
        for revision in await read.orders.revisions_in_use():
            for code in revision.content.get("resources", {}).keys() - self._resources.keys():
                plans.setdefault(code, set()).add(revision.name)
        return [
            f"resources: {code} is not there any more, but services of plan {', '.join(sorted(names))} were sold it: "
            "their usage records of it will be held"
            for code, names in sorted(plans.items())
        ]

    async def sold(self, read: Repositories, service: Service) -> list[Resource]:
        """What the plan of a service counts, whether or not anything was counted yet."""
        await self._load_plans(read, [service])
        codes = self._plans[service.plan_revision_id].resources
        return [self.resources[code] for code in codes]

    async def of(self, read: Repositories, services: Sequence[Service]) -> dict[int, Terms]:
        """Service id -> its terms. A service whose module is no longer configured has none: it can't be told what its readings mean."""
        return await self._found(read, [service for service in services if service.module in self._metered])

    async def without_module(self, read: Repositories, services: Sequence[Service]) -> dict[int, Terms]:
        """The terms of those: only what our own data tells can be measured."""
        return await self._found(read, [service for service in services if service.module not in self._metered])

    async def one(self, read: Repositories, service: Service) -> Terms | None:
        return (await self.of(read, [service])).get(service.id)

    async def _found(self, read: Repositories, services: Sequence[Service]) -> dict[int, Terms]:
        await self._load_plans(read, services)
        without = {service.customer_id for service in services if self._plans[service.plan_revision_id].zone is None}
        customers = await read.orders.customers(sorted(without))
        return {service.id: self._terms(service, customers) for service in services}

    async def _load_plans(self, read: Repositories, services: Iterable[Service]) -> None:
        missing = {service.plan_revision_id for service in services} - self._plans.keys()
        if missing:
            for revision in (await read.orders.revisions(sorted(missing))).values():
                # through JSON, because the models are strict about the types that YAML has
                plan = self._plans[revision.id] = PlanSettings.model_validate_json(json.dumps(revision.content))
                for code in plan.resources.keys() - self._resources.keys() - self._gone.keys():
                    await self._recall(read, code, plan.resources[code])

    async def _recall(self, read: Repositories, code: str, own: ResourceSettings) -> None:
        """What a resource was: as the settings last had it, else as it was billed last; else only that it was sold is known."""
        declared = json.loads(await read.facts.get(DECLARED) or "{}").get(code)
        last = None if declared else await read.usage_records.last_of(code)
        if declared is None and last is None:
            self._guessed.add(code)
        self._gone[code] = _declared(code, declared) if declared else as_made(last) if last else _unknown(code, own)

    def _terms(self, service: Service, customers: Mapping[int, Customer]) -> Terms:
        plan, metered = self._plans[service.plan_revision_id], self._metered.get(service.module or "")
        wanted, known = plan.resources, self.resources
        billables = {
            code: self._billable(service, plan, metered, code, own)
            for code, own in wanted.items()
            if not _counted_with_the_other(code, wanted)
        }
        included = {
            code: Included(own.included.of(known[code]), _step(own, known[code]), own.included.unit)
            for code, own in wanted.items()
            if own.included is not None and code in billables and code not in self._guessed
        }
        zone = plan.zone or _zone_of(customers[service.customer_id])
        doubts = {code: why for code, one in billables.items() if (why := self._doubt(service, metered, one))}
        # A module that is gone is a source that nothing will come from.
        marks = _watermarks(billables.values(), metered) if metered else {service.module or "": timedelta()}
        rests_on = _rests_on(billables, metered) if metered else {}
        department = metered.settings.responsible if metered else None
        return Terms(service, zone, billables, included, marks, doubts, rests_on, department)

    def _doubt(self, service: Service, metered: Metered | None, billable: Billable) -> str | None:
        code, kind = billable.resource.code, billable.resource.kind
        if code in self._gone and (billable.amount is None or code in self._guessed):
            return f"the settings no longer have the resource {code}"
        if metered is None and kind is not Kind.STOCK:
            return f"the settings no longer have its module {service.module}"
        if metered is not None and (lacking := _lacking(billable, metered)):
            return f"no report gives {lacking}, and {billable.directions} needs both directions"
        return None

    def _billable(
        self, service: Service, plan: PlanSettings, metered: Metered | None, code: str, own: ResourceSettings
    ) -> Billable:
        resource = self.resources[code]
        directions = Directions(own.direction)
        daily = metered is not None and resource.kind is Kind.RATE and metered.report_of(code) is not None
        metrics = _metrics(resource, directions, daily=daily)
        # Of a resource that is gone, what was read before is still there.
        sources = tuple(
            Source(metric, self._meter(service, plan, metered, metric))
            for metric in metrics
            if metered is not None and (code in self._gone or metered.report_of(metric) is not None)
        )
        if len(metrics) == len(BOTH) != len(sources):
            sources = ()  # one direction alone is not what was sold
        amount = None if own.amount is None or code in self._guessed else own.amount.of(resource)
        if code == "services":
            amount = 1
        return Billable(service.id, resource, sources, own.percentile, directions, daily, amount)

    def _meter(self, service: Service, plan: PlanSettings, metered: Metered, metric: str) -> Meter:
        resource = self.resources[metric]
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
        return DAILY if daily else BOTH
    return (resource.code,) if daily or resource.of is None else (resource.of,)


def _counted_with_the_other(code: str, wanted: Mapping[str, ResourceSettings]) -> bool:
    """Of two directions that make one quantity, only burst_in_day has it."""
    return code == "burst_out_day" and "burst_in_day" in wanted and wanted[code].direction != "separate"


def _lacking(billable: Billable, metered: Metered) -> str | None:
    """The direction that a quantity of both directions has no readings of."""
    if billable.resource.kind is not Kind.RATE or billable.directions is Directions.SEPARATE:
        return None
    both = _metrics(billable.resource, billable.directions, daily=billable.daily)
    return next((metric for metric in both if metered.report_of(metric) is None), None)


def _plain(resource: Resource) -> dict[str, Any]:
    late_by = resource.late_by / timedelta(seconds=1)
    return {
        "base_unit": resource.base_unit, SCALE: resource.scale, UNIT: resource.unit, "kind": resource.kind.value,
        "late_by": late_by, "declared": resource.declared,
    }  # fmt: skip


def _declared(code: str, plain: Mapping[str, Any]) -> Resource:
    late_by = timedelta(seconds=plain["late_by"])
    kind, declared = Kind(plain["kind"]), plain["declared"]
    return Resource(code, plain["base_unit"], plain[SCALE], plain[UNIT], kind, late_by, declared=declared)


def _unknown(code: str, own: ResourceSettings) -> Resource:
    """One that nobody remembers. As the rate of a level, which does not exist, its quantity is unknown whatever was read or pushed."""
    quantity = own.included or own.amount
    unit = quantity.unit if quantity is not None else "items"
    return Resource(code, unit, 0, unit, Kind.RATE, timedelta(), of=code)


def _step(own: ResourceSettings, resource: Resource) -> int | None:
    return None if own.alert_every is None else own.alert_every.of(resource)


def _zone_of(customer: Customer) -> tzinfo:
    return ZoneInfo(customer.zone) if customer.zone else UTC


def _watermarks(billables: Iterable[Billable], metered: Metered) -> dict[str, timedelta]:
    found: dict[str, timedelta] = {}
    for billable in billables:
        for source in billable.sources:
            name = metered.source_of(source.metric)
            if name is not None:
                found[name] = max(_late_by(billable), found.get(name, timedelta()))
    return found


def _rests_on(billables: Mapping[str, Billable], metered: Metered) -> dict[str, frozenset[str]]:
    return {
        code: frozenset(name for source in billable.sources if (name := metered.source_of(source.metric)) is not None)
        for code, billable in billables.items()
    }
