"""Percentiles by rank, in whole numbers.

The rule: sort the n values of a period, drop the highest floor((100 - percent) * n / 100) of them, and take the highest one left. For
the 95th percentile of 5-minute rates that is rank n - floor(5n / 100) from below, counted from 1: the nearest rank. Only intervals
whose rate is known take part; what is missing is shown as coverage and never stands in as zero.
"""

from __future__ import annotations

from enum import StrEnum


def percentile_rank(n: int, percent: int = 95) -> int:
    """The rank, from 1 for the lowest, of the value to bill among `n`. Raises ValueError unless n >= 1 and 1 <= percent <= 100."""
    if n < 1 or not 1 <= percent <= 100:
        raise ValueError(f"no rank for {n} values and {percent} percent")
    return n - (100 - percent) * n // 100


class Directions(StrEnum):
    """What becomes of the two directions of traffic."""

    SEPARATE = "separate"
    """Two results, one for each."""
    LARGER = "larger"
    """Each direction's percentile by itself, then the larger of the two."""
    SUM = "sum"
    """In and out added interval by interval, then one percentile. An interval that one of them lacks has no sum: a zero would be a guess."""
