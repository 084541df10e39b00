"""When a customer hears of the usage of a period, and an operator of its coverage.

Thresholds are measured against what the plan includes: 80 %, 100 %, and every `step` units beyond. Each is reported once per period. A
jump reports every threshold that it passed, in one round: at most one alert of each kind, and the one for steps says how many there
were, so that one mail can name them all and a jump of a thousand steps is not a thousand mails. Thresholds do not hang on each other:
one that is switched off takes nothing from the others, and one that is switched on later is reported in the next round if it is passed.

Usage that falls again (a correction) arms nothing anew. A threshold is armed again within the period only when what is included was
raised and the usage lies below the new threshold by more than 2 % of it; so neither a correction nor a plan changed to and fro makes
the same mail twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from daemon.domain.errors import Refused

_MARGIN = 50
"""A threshold is armed again below 49/50 of it."""


class Threshold(StrEnum):
    EIGHTY = "80"
    HUNDRED = "100"
    BEYOND = "beyond"


@dataclass(frozen=True)
class Switches:
    """What is reported; `step` in base units beyond what is included, None for no such alerts."""

    eighty: bool = True
    hundred: bool = True
    step: int | None = None

    def __post_init__(self) -> None:
        if self.step is not None and self.step < 1:
            raise Refused("alert_step", "expected a step of at least one unit")


@dataclass(frozen=True)
class Wanted:
    """Which thresholds a service wants to hear of; all, unless somebody said otherwise."""

    eighty: bool = True
    hundred: bool = True
    beyond: bool = True

    def switches(self, step: int | None) -> Switches:
        """For a resource whose plan has that step beyond what is included."""
        return Switches(self.eighty, self.hundred, step if self.beyond else None)

    def changed(self, changes: Mapping[str, bool]) -> Wanted:
        """With other values of some thresholds, by their names."""
        return Wanted.from_dict({**self.as_dict(), **changes})

    def as_dict(self) -> dict[str, bool]:
        """By the names of the thresholds."""
        return {"80": self.eighty, "100": self.hundred, "beyond": self.beyond}

    @classmethod
    def from_dict(cls, data: Mapping[str, bool]) -> Wanted:
        """A threshold that isn't named is wanted."""
        return cls(*(data.get(threshold, True) for threshold in Threshold))


@dataclass(frozen=True)
class AlertState:
    """What was reported in the period of that name, carried from round to round.

    `steps` is how many steps beyond were reported, `included` and `step` what they were measured against.
    """

    period: str
    eighty: bool = False
    hundred: bool = False
    steps: int = 0
    included: int | None = None
    step: int | None = None

    @property
    def blank(self) -> bool:
        """Nothing was reported: the same as no state at all."""
        return not (self.eighty or self.hundred or self.steps)

    def for_period(self, period: str) -> AlertState:
        """Itself, or a fresh state when another period began."""
        return self if period == self.period else AlertState(period)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AlertState:
        return cls(**data)


@dataclass(frozen=True)
class Alert:
    """One threshold that was passed. All amounts in base units; `at` is the highest one passed of its kind, `count` how many.

    `remaining` is what is left of the included amount, `excess` what was used beyond it.
    """

    threshold: Threshold
    at: int
    usage: int
    included: int
    count: int = 1

    @property
    def remaining(self) -> int:
        return max(0, self.included - self.usage)

    @property
    def excess(self) -> int:
        return max(0, self.usage - self.included)


def next_alerts(
    state: AlertState, usage: int | None, included: int | None, switches: Switches
) -> tuple[tuple[Alert, ...], AlertState]:
    """The alerts of this round, lowest threshold first, and the state for the next.

    `usage` None (not known) and `included` None (nothing is measured against) report nothing and change nothing. Where zero units are
    included there is no 80 or 100 %, only steps from the first unit on.
    """
    if usage is None or included is None:
        return (), state
    state = _measured(state, usage, included, switches.step)
    alerts: list[Alert] = []
    eighty = included > 0 and 5 * usage >= 4 * included
    if eighty and switches.eighty and not state.eighty:
        alerts.append(Alert(Threshold.EIGHTY, -(-4 * included // 5), usage, included))
        state = replace(state, eighty=True)
    if included > 0 and usage >= included and switches.hundred and not state.hundred:
        alerts.append(Alert(Threshold.HUNDRED, included, usage, included))
        state = replace(state, hundred=True)
    steps = _steps(usage, included, switches.step)
    if switches.step is not None and steps > state.steps:
        at = included + steps * switches.step
        alerts.append(Alert(Threshold.BEYOND, at, usage, included, steps - state.steps))
        state = replace(state, steps=steps)
    return tuple(alerts), state


def _steps(usage: int, included: int, step: int | None) -> int:
    return max(0, usage - included) // step if step is not None else 0


def _measured(state: AlertState, usage: int, included: int, step: int | None) -> AlertState:
    """The state against these bounds: what was raised is armed again, steps that were passed under an older step count as reported."""
    if state.included is not None and included > state.included:
        state = replace(
            state,
            eighty=state.eighty and not _clear(usage, 4 * included, 5),
            hundred=state.hundred and not _clear(usage, included, 1),
        )
    if state.included is not None and included != state.included:
        state = replace(state, steps=min(state.steps, _steps(usage, included, state.step)))
    if state.step is not None and step is not None and step != state.step:
        state = replace(state, steps=_steps(usage, included, step) if state.steps else 0)
    return replace(state, included=included, step=step if step is not None else state.step)


def _clear(usage: int, threshold: int, parts: int) -> bool:
    """The usage lies below `threshold` / `parts` by more than the margin."""
    return usage * parts * _MARGIN < threshold * (_MARGIN - 1)


# Coverage, for operators.


@dataclass(frozen=True)
class CoverageState:
    """Whether the low coverage of the period of that name was reported."""

    period: str
    low: bool = False

    def for_period(self, period: str) -> CoverageState:
        """Itself, or a fresh state when another period began."""
        return self if period == self.period else CoverageState(period)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CoverageState:
        return cls(**data)


def next_coverage_alert(
    state: CoverageState,
    covered: timedelta,
    length: timedelta,
    *,
    below: int = 990,
    again_from: int = 995,
    not_before: timedelta = timedelta(hours=6),
) -> tuple[bool, CoverageState]:
    """Whether to report that `covered` of the `length` that has passed of a period is too little, and the state for the next round.

    Shares in thousandths: reported below 99.0 %, and again only after it had recovered to 99.5 %. Nothing is said before `not_before`
    of the period has passed, when a single missed round weighs too much.
    """
    if length < not_before:
        return False, state
    if covered * 1000 < length * below:
        return not state.low, replace(state, low=True)
    if covered * 1000 >= length * again_from:
        return False, replace(state, low=False)
    return False, state
