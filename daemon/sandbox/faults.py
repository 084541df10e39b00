"""The fault switches: what goes wrong, on which panel, in which function, at which call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """What happens to a call; the README of this folder has the table."""

    SLOW = "slow"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"
    HTML = "html"
    TRUNCATED = "truncated"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    LATE = "late"
    WRONG = "wrong"
    AUTH_LOSS = "auth_loss"
    FORGET_INSTALL = "forget_install"
    INSTALL_FAILS = "install_fails"
    EMPTY_LIST = "empty_list"
    SHORT_LIST = "short_list"


ANY = "*"


@dataclass(slots=True)
class Fault:
    """One switch. `func` is a function's name or `*`; calls are counted from the moment the switch is set.

    It strikes from the `nth` matching call on, `times` times; `times=0` means until the faults are reset. `seconds` is for
    `slow` (how long the answer is held back) and `late` (how long after the cut the effect lands).
    """

    panel: str
    func: str
    kind: FaultKind
    nth: int = 1
    times: int = 1
    seconds: float = 0.0
    seen: int = 0
    struck: int = 0

    def meets(self, panel: str, func: str) -> bool:
        return self.panel in (ANY, panel) and self.func in (ANY, func)

    def strikes(self) -> bool:
        """Whether it strikes at the call just counted."""
        return self.seen >= self.nth and (self.times == 0 or self.struck < self.times)


class FaultBoard:
    """All switches of a sandbox. At most one fault strikes a call: the one set first."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def clear(self) -> None:
        self.faults.clear()

    def take(self, panel: str, func: str) -> Fault | None:
        """Count the call on every switch that it meets and return the one that strikes."""
        chosen: Fault | None = None
        for fault in self._meeting(panel, func):
            fault.seen += 1
            if chosen is None and fault.strikes():
                fault.struck += 1
                chosen = fault
        return chosen

    def _meeting(self, panel: str, func: str) -> Iterable[Fault]:
        return [fault for fault in self.faults if fault.meets(panel, func)]

    def state(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.faults]
