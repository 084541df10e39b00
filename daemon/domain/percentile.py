"""Percentiles by rank, in whole numbers.

The rule: sort the n values of a period, drop the highest floor((100 - percent) * n / 100) of them, and take the highest one left. For
the 95th percentile of 5-minute rates that is rank n - floor(5n / 100) from below, counted from 1: the nearest rank. Only intervals
whose rate is known take part; what is missing is shown as coverage and never stands in as zero.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Slot = TypeVar("Slot", bound=Hashable)


def percentile_rank(n: int, percent: int = 95) -> int:
    """The rank, from 1 for the lowest, of the value to bill among `n`. Raises ValueError unless n >= 1 and 1 <= percent <= 100."""
    if n < 1 or not 1 <= percent <= 100:
        raise ValueError(f"no rank for {n} values and {percent} percent")
    return n - (100 - percent) * n // 100


def percentile(values: Sequence[int], percent: int = 95) -> int | None:
    """The value at that rank; None without values: not known, which is not zero."""
    if not values:
        return None
    return sorted(values)[percentile_rank(len(values), percent) - 1]


class Directions(StrEnum):
    """What becomes of the two directions of traffic."""

    SEPARATE = "separate"
    """Two results, one for each."""
    LARGER = "larger"
    """Each direction's percentile by itself, then the larger of the two."""
    SUM = "sum"
    """In and out added interval by interval, then one percentile."""


@dataclass(frozen=True)
class Summed(Generic[Slot]):
    """Values by interval, and how many intervals were left out because one of the series has no value there."""

    values: Mapping[Slot, int]
    missing: int


@dataclass(frozen=True)
class Percentile:
    """`direction` is "in", "out" or "sum"; `value` is None and `count` 0 where nothing is known."""

    direction: str
    value: int | None
    count: int
    missing: int = 0


def sum_per_interval(series: Sequence[Mapping[Slot, int]]) -> Summed[Slot]:
    """Several ports, or both directions, added interval by interval before the percentile is taken.

    An interval that one of the series lacks has no sum: what the others show would be too little, and a zero would be a guess.
    """
    slots = {slot for values in series for slot in values}
    whole = {slot: sum(values[slot] for values in series) for slot in slots if all(slot in values for values in series)}
    return Summed(whole, len(slots) - len(whole))


def of_directions(
    incoming: Sequence[Mapping[Slot, int]],
    outgoing: Sequence[Mapping[Slot, int]],
    directions: Directions = Directions.SEPARATE,
    percent: int = 95,
) -> tuple[Percentile, ...]:
    """One result, or two for SEPARATE; `incoming` and `outgoing` hold one mapping of interval to rate for each port.

    For LARGER a direction of which nothing is known doesn't count, and of two equal ones it is "in".
    """
    if directions is Directions.SUM:
        return (_of("sum", sum_per_interval((*incoming, *outgoing)), percent),)
    both = (_of("in", sum_per_interval(incoming), percent), _of("out", sum_per_interval(outgoing), percent))
    if directions is Directions.SEPARATE:
        return both
    known = [found for found in both if found.value is not None]
    return (max(known, key=lambda found: found.value or 0) if known else both[0],)


def _of(direction: str, summed: Summed[Slot], percent: int) -> Percentile:
    return Percentile(direction, percentile(tuple(summed.values.values()), percent), len(summed.values), summed.missing)
