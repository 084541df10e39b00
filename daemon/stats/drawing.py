"""What the worker is asked to draw: a line to look at, as text that a face puts into its answer as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from daemon.domain.metering import Look, Measured
from daemon.domain.resources import Kind, Resource

POINT_FIELDS = ("from", "until", "value", "average", "maximum", "minimum", "percentile", "coverage")
SAMPLE_FIELDS = ("at", "value", "base_value", "class")


class Form(StrEnum):
    OBJECTS = "objects"
    """A JSON list with an object for each point."""
    COLUMNS = "columns"
    """A JSON object with a list for each field."""
    CSV = "csv"
    """Rows without a heading; every row after the first begins a new line, and so does the text behind the last one."""


@dataclass(frozen=True)
class Beside:
    """What the average, maximum, minimum and percentile of a resource are measured in: `scale` and `base` as stored, `unit` as shown."""

    base: str
    scale: int
    unit: str


@dataclass(frozen=True)
class Drawing:
    """`beside` None: there is only a value. `samples`: each stored sample instead of points. `measured`: measure the whole time, too."""

    look: Look
    form: Form
    beside: Beside | None = None
    samples: bool = False
    measured: bool = False


@dataclass(frozen=True)
class Drawn:
    """`count` points or samples, and their text."""

    measured: Measured | None
    count: int
    text: str


def beside_of(resource: Resource, resources: Mapping[str, Resource]) -> Beside | None:
    """Rates of traffic in bit/s, levels in the resource's own unit, those of an integral in the unit of what it is made of."""
    if resource.kind.counts_up:
        return Beside("bit/s", 0, "bit/s") if resource.base_unit == "B" else None
    if resource.kind is Kind.INTEGRAL:
        resource = resources[resource.of or ""]
    return Beside(resource.base_unit, resource.scale, resource.unit)
