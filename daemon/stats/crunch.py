"""What the worker process can be asked for: `await worker.run(crunch.measure, packed, asks)`.

Naming a function here loads no numpy: `arrays` and `measures`, which do the work, are imported where the function runs.
"""

# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

from daemon.domain.metering import Ask, Look, Measured, Point
from daemon.domain.quality import Standing
from daemon.stats.drawing import Drawing, Drawn
from daemon.store.days.shapes import ClosedBlock, Columns, Crunch, OpenBlock, Packed

T = TypeVar("T")


def encode_block(block: OpenBlock) -> ClosedBlock:
    """Slots, and series of an earlier closing, as new series."""
    from daemon.stats import arrays

    return arrays.encode_block(block)


def decode(packed: Packed) -> dict[int, Columns]:
    """Columns of each of the services, oldest sample first; a service without samples has empty ones."""
    from daemon.stats import arrays

    return arrays.decode(packed)


def measure(packed: dict[str, Packed], asks: list[Ask], sealed: bool = True) -> list[Measured]:  # noqa: FBT001, FBT002 - the worker takes arguments by their place
    """The quantity of each ask, in order. `packed` holds the samples of each metric, of all services that are asked for.

    `sealed`: whether they are for usage records; without a seal it takes half of the time.
    """
    from daemon.stats import measures

    return measures.measure(packed, asks, sealed=sealed)


def look(packed: dict[str, Packed], looks: list[Look]) -> list[list[Point]]:
    """A line for each look: points of the steps of which something is known."""
    from daemon.stats import measures

    return measures.look(packed, looks)


def draw(packed: dict[str, Packed], drawings: list[Drawing]) -> list[Drawn]:
    """Lines as text, in order."""
    from daemon.stats import steps

    return steps.drawn(packed, drawings)


def standings(
    packed: dict[str, Packed], asks: list[Ask]
) -> list[tuple[dict[str, Standing | None], int | None, timedelta]]:
    """For each ask: the standing of each of its metrics after the last sample, the quantity so far, and the covered time."""
    from daemon.stats import measures

    return measures.standings(packed, asks)


class Heavy(Protocol):
    """Where arithmetic runs that would hold up the loop: the worker process."""

    async def run(self, function: Callable[..., T], *args: Any) -> T: ...


def crunching(heavy: Heavy) -> Crunch:
    """The heavy parts of the sample store, done by the worker."""
    return Crunch(encode=partial(heavy.run, encode_block), decode=partial(heavy.run, decode))
