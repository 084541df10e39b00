"""`plans.d/*.yaml`: tariff plans, what is sold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from daemon.domain.resources import Kind, Resource, UnitError
from daemon.settings.addons import AddonSettings, addon_faults, price_faults
from daemon.settings.base import About, Faults, SettingsModel, fault
from daemon.settings.prices import PERIODS, Prices
from daemon.settings.resources import Quantity, QuantityText, Speed, Step
from daemon.settings.types import Name, Names, Text, Zone


class ResourceSettings(SettingsModel):
    """A billable resource of a plan: what is counted for its services, and how."""

    included: Annotated[
        QuantityText | None,
        About(
            "how much of it the plan's own price covers in a period; alerts are measured against it",
            why="nothing is included, and there are no alerts",
            example="10 TiB",
        ),
    ] = None
    alert_every: Annotated[
        Step | None,
        About(
            "after all that is included: one more alert at each further so much",
            why="alerts at 80 % and 100 % only",
            example="1 TiB",
        ),
    ] = None
    percentile: Annotated[
        int,
        About(
            "of burst_in_day and burst_out_day: which percentile of a period's samples is billed",
            unit="%",
            why="what burstable bandwidth is sold by",
        ),
        Field(ge=1, le=100),
    ] = 95
    direction: Annotated[
        Literal["separate", "larger", "sum"],
        About(
            "of burst_in_day and burst_out_day: separate (each for itself), larger (the larger of the two percentiles) or sum (in and "
            "out added sample by sample); the same in both",
            why="the two have prices of their own",
        ),
    ] = "separate"
    amount: Annotated[
        QuantityText | None,
        About(
            "of a configured resource such as pbx_extensions: how much of it a service has",
            why="nothing is known of it but what is pushed",
            example="20 extensions",
        ),
    ] = None


def resource_faults(settings: ResourceSettings, resource: Resource) -> Iterator[tuple[str, str]]:
    """(setting, what is wrong) of a plan's resource: quantities of another kind of thing, and settings without a use there."""
    for name in ("included", "alert_every", "amount"):
        quantity: Quantity | None = getattr(settings, name)
        if quantity is not None:
            try:
                quantity.of(resource)
            except UnitError as error:
                yield name, str(error)
    if settings.alert_every is not None and settings.included is None:
        yield "alert_every", "has no use without included"
    if settings.amount is not None and not resource.declared:
        yield "amount", f"{resource.code} is counted, not configured"
    if resource.kind is not Kind.RATE:
        for name in ("percentile", "direction"):
            if getattr(settings, name) != ResourceSettings.model_fields[name].default:
                yield name, "has a use in burst_in_day and burst_out_day only"


class PlanSettings(SettingsModel):
    """A tariff plan."""

    judged_apart: ClassVar[tuple[str, ...]] = ("addons",)

    name: Annotated[Name, About("its name, used by orders")]
    title: Annotated[Text | None, About("what people read", why="the name")] = None
    product: Annotated[Literal["dedicated"], About("what kind of thing is sold", why="the only kind")] = "dedicated"
    server_type: Annotated[Text, About("type of the servers, as the panel names it (either kind of type)")]
    modules: Annotated[
        Names,
        About("modules that may carry it; their priority decides the order"),
        Field(min_length=1),
    ]
    prices: Annotated[
        Prices, About('price of the plan itself, per currency and period: {EUR: {setup: "0.00", month: "49.00"}}')
    ]
    zone: Annotated[
        Zone | None, About("time zone of its billing days", why="the customer's, else UTC", example="Europe/Berlin")
    ] = None
    addons: Annotated[
        dict[Text, AddonSettings], About("priced options, by internal name", why="nothing can be added")
    ] = Field(default_factory=dict)
    resources: Annotated[
        dict[Name, ResourceSettings],
        About(
            "what is counted, by code: in, out, power, energy, burst_in_day, burst_out_day, addresses, services, active_calls, "
            "concurrent_calls, pbx_extensions and resources of your own",
            why="nothing is counted",
        ),
    ] = Field(default_factory=dict)
    port_speed: Annotated[
        Speed | None,
        About(
            "speed of its servers' ports; what would need a faster one is not billed",
            why="port_speed of the module",
            example="1 Gbit/s",
        ),
    ] = None

    @field_validator("modules")
    @classmethod
    def _each_module_once(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(modules)) != len(modules):
            fault((), "expected each module once")
        return modules

    @field_validator("prices")
    @classmethod
    def _sold_by_a_period(cls, prices: Prices) -> Prices:
        faults = Faults()
        if not prices:
            faults.add((), 'expected at least one currency, such as {EUR: {month: "49.00"}}')
        for currency, price in prices.items():
            if not price.periods:
                faults.add((currency,), f"expected a price for at least one period: {', '.join(PERIODS)}")
        faults.raise_if_any()
        return prices

    @field_validator("addons")
    @classmethod
    def _addons_agree(cls, addons: dict[str, AddonSettings], info: ValidationInfo) -> dict[str, AddonSettings]:
        faults = Faults()
        faults.extend(addon_faults(addons))
        prices: Prices | None = info.data.get("prices")
        if prices is not None:
            for name, addon in addons.items():
                faults.extend(price_faults(name, addon, prices))
        faults.raise_if_any()
        return addons

    @field_validator("resources")
    @classmethod
    def _one_direction(cls, resources: dict[str, ResourceSettings]) -> dict[str, ResourceSettings]:
        one, other = resources.get("burst_in_day"), resources.get("burst_out_day")
        if one is not None and other is not None and one.direction != other.direction:
            fault(("burst_out_day", "direction"), f"expected {one.direction}, as burst_in_day has it")
        return resources

    @property
    def label(self) -> str:
        return self.title or self.name

    @property
    def required_addons(self) -> frozenset[str]:
        """Add-ons that an order must name when they have no default."""
        return frozenset(name for name, addon in self.addons.items() if addon.is_required(name))

    def content(self) -> dict[str, Any]:
        """What is sold, as plain JSON; `PlanSettings.model_validate` reads it back.

        Settings that came after the first release are in it only where they differ from their default: ids of plans stay.
        """
        content = self.model_dump(mode="json", by_alias=True)
        if self.port_speed is None:
            del content["port_speed"]
        content["resources"] = {
            code: resource.model_dump(mode="json", exclude_defaults=True) for code, resource in self.resources.items()
        }
        return content

    @property
    def revision(self) -> str:
        """Id of what is sold: equal content has an equal id, whatever the file looks like."""
        text = json.dumps(self.content(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
