"""A figure, how it is judged, and how two sides are compared: alternating pairs of one run, the median counts, the spread is shown."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PAIRS = 5


@dataclass(frozen=True)
class Figure:
    """One line of the result. `holds` None: it is shown and not judged; `skipped` says why there is no value."""

    name: str
    value: float | None
    unit: str
    bound: str
    holds: bool | None
    spread: str = ""
    note: str = ""
    skipped: str = ""

    def line(self) -> str:
        if self.skipped:
            return f"{self.name:<28} skipped: {self.skipped}"
        verdict = {True: "holds", False: "DOES NOT HOLD", None: "-"}[self.holds]
        value = "-" if self.value is None else f"{self.value:.4g}"
        more = "  ".join(part for part in (self.spread, self.note) if part)
        return f"{self.name:<28} {value:>8} {self.unit:<10} {self.bound:<12} {verdict:<14} {more}".rstrip()

    def entry(self) -> dict[str, Any]:
        """As in bench.json; texts that say nothing are left out."""
        fixed = {"name", "value", "unit", "bound", "holds"}
        return {key: value for key, value in asdict(self).items() if key in fixed or value}


def at_most(name: str, value: float, bound: float, unit: str, *, spread: str = "", note: str = "") -> Figure:
    return Figure(name, value, unit, f"<= {bound:g}", value <= bound, spread, note)


def at_least(name: str, value: float, bound: float, unit: str, *, spread: str = "", note: str = "") -> Figure:
    return Figure(name, value, unit, f">= {bound:g}", value >= bound, spread, note)


def flat(name: str, value: float, *, within: float = 0.2, spread: str = "", note: str = "") -> Figure:
    """A ratio of two sizes that should be one; cheaper at the larger size is no fault."""
    return Figure(name, value, "x", f"1 +-{within:.0%}", value <= 1 + within, spread, note)


def shown(name: str, value: float, unit: str, *, spread: str = "", note: str = "") -> Figure:
    """Worth knowing, without a bound."""
    return Figure(name, value, unit, "", None, spread, note)


def skipped(name: str, why: str) -> Figure:
    return Figure(name, None, "", "", None, skipped=why)


def spread_of(values: Sequence[float]) -> str:
    return f"[{min(values):.3g} .. {max(values):.3g}]"


@dataclass(frozen=True)
class Pairs:
    """What alternating pairs gave: (ours, the other side's) of each pair."""

    ours: list[float]
    others: list[float]

    @property
    def ratios(self) -> list[float]:
        return [ours / other for ours, other in zip(self.ours, self.others, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> str:
        return f"{len(self.ours)} pairs {spread_of(self.ratios)}"


async def alternating(
    ours: Callable[[], Awaitable[float]], other: Callable[[], Awaitable[float]], pairs: int = PAIRS
) -> Pairs:
    """Both sides in turn, the first one changing from pair to pair, so that neither always meets the warmer machine."""
    found = Pairs([], [])
    for number in range(pairs):
        sides = [(ours, found.ours), (other, found.others)]
        for side, values in sides if number % 2 == 0 else reversed(sides):
            values.append(await side())
    return found


def machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load average {load} at the start"


def write_json(path: Path, figures: Sequence[Figure]) -> None:
    path.write_text(json.dumps([figure.entry() for figure in figures], indent=1) + "\n", encoding="utf-8")
