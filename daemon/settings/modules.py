"""`modules.d/*.yaml`: processing modules. What all of them share, and the one where a person is the platform."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr

from daemon.domain.resources import RESOURCES, Resource
from daemon.settings.base import About, SettingsModel
from daemon.settings.resources import Quantity, Speed
from daemon.settings.types import Duration, Name, Positive, Text, Whole


class ModuleSettings(SettingsModel):
    """What every processing module has, of whatever type."""

    name: Annotated[Name, About("its name, used by plans, orders, logs and metrics")]
    type: Annotated[Name, About("which kind of module")]
    priority: Annotated[
        Whole, About("the lowest number is tried first, like the panel's Sorting", why="room on both sides of it")
    ] = 100
    responsible: Annotated[
        Name | None,
        About(
            "department that gets a task when a person must act",
            why="tasks are shown, but mailed to nobody",
            example="dc-team",
        ),
    ] = None
    datacenter: Annotated[
        Text | None,
        About("where its servers stand; kept with each service", why="one place needs no name", example="dc-1"),
    ] = None
    ipam: Annotated[
        Name | None,
        About(
            "address manager that gives this module's services their addresses",
            why="a person chooses them",
            example="ipm-main",
        ),
    ] = None
    public_ip_type: Annotated[
        Text, About("address type of public IPv4 and IPv6", why="what these panels expect", unverified=True)
    ] = "public"
    private_ip_type: Annotated[Text, About("address type of private IPv4", unverified=True)] = "private"
    parking_ip_type: Annotated[
        Text | None,
        About(
            "address type that a freed server's main address is changed into",
            why="a server keeps its main address for life",
            example="parking",
        ),
    ] = None
    license_server: Annotated[
        Name | None, About("licence server for control panels", why="none is sold", later=True, example="isp-main")
    ] = None
    poll_every: Annotated[
        Positive | None,
        About("how often the reports are read from this module", why="poll_every of provisiond.yaml", example="5m"),
    ] = None
    port_speed: Annotated[
        Speed,
        About(
            "speed of its servers' ports; what would need a faster one is not billed. A plan's own port_speed wins",
            why="faster than most, so that nothing real is refused",
        ),
    ] = Quantity(Decimal(10), "Gbit/s")
    watch_every: Annotated[
        Positive, About("how often power and install are looked at while waiting", why="what the vendor's module does")
    ] = timedelta(seconds=30)
    readback_pause: Annotated[
        Duration,
        About("pause between the two readings that must agree before a server counts as ours", why="panels write late"),
    ] = timedelta(seconds=2)
    power_within: Annotated[
        Positive, About("deadline of a power change, enabling, and ports", why="what the vendor's module waits")
    ] = timedelta(minutes=10)
    install_within: Annotated[Positive, About("deadline of an install", why="what the vendor's module waits")] = (
        timedelta(hours=2)
    )
    capacity_within: Annotated[
        Positive, About("how long an order waits for a server or an address", why="time to rack one or to free some")
    ] = timedelta(hours=24)
    step_within: Annotated[
        Positive,
        About(
            "how long a step that fails in passing, or whose answer was lost, is tried and looked for",
            why="longer than a panel's restart or update",
        ),
    ] = timedelta(hours=1)

    _catalogue: Mapping[str, Resource] = PrivateAttr(default_factory=lambda: RESOURCES)

    @property
    def catalogue(self) -> Mapping[str, Resource]:
        """Every resource by its code: the built-in ones, and after loading those that the settings declare."""
        return self._catalogue

    @property
    def month_zone(self) -> tzinfo:
        """The zone in which the platform's running totals begin their month."""
        return UTC

    def knowing(self, catalogue: Mapping[str, Resource]) -> Self:
        """The same module with the resources of the whole configuration."""
        known = self.model_copy()
        known._catalogue = catalogue  # noqa: SLF001 - our own, of another instance
        return known


class ManualSettings(ModuleSettings):
    """A person is the platform: every step is a task for the department, closing the task continues the operation."""

    type: Annotated[Literal["manual"], About("which kind of module")] = "manual"
    stock: Annotated[
        dict[Text, Whole],
        About(
            "how many servers of each type may be sold at the same time, by server type",
            unit="servers",
            why="it has none to sell",
        ),
    ] = Field(default_factory=dict)
    task_within: Annotated[
        Positive, About("deadline of a task, after which the service shows a fault", why="a long weekend")
    ] = timedelta(days=4)
