"""What a probe can say, how a leg can end, and how long the steps on a platform may take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.domain.errors import Permanent, ProvisiondError

Json = Any


@dataclass(frozen=True)
class Found:
    """The probe sees the effect of the call."""

    result: Json = None


@dataclass(frozen=True)
class NotThere:
    """The probe surely sees no effect; final only when a lost request can't land any more."""


@dataclass(frozen=True)
class Unclear:
    """The probe can't tell."""

    reason: str


Seen = Found | NotThere | Unclear


class LegEnds(Exception):
    """Carries the end of a leg out of the workflow."""


class Wait(LegEnds):
    """Nothing to do before `at`; None: only a person makes it go on."""

    def __init__(self, at: datetime | None, reason: str) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason


class Stuck(LegEnds):
    """A person is needed: the operation stays open with a fault."""

    def __init__(self, error: ProvisiondError) -> None:
        super().__init__(error.message)
        self.error = error


class Withdrawn(Permanent):
    """Somebody asked the operation to stop: what it did is undone."""


@dataclass(frozen=True)
class Limits:
    """How long the steps on one platform may take.

    `settle`: a request whose answer was lost may still land for this long. `shows`: an accepted one may take this long to show;
    then it is sent again. `within`: how long a step may fail in passing or stay in doubt. `look`: the longest pause between two
    looks. `capacity`: how long it waits for stock. `task`: how long a person may take.
    """

    settle: timedelta
    shows: timedelta
    within: timedelta
    look: timedelta
    capacity: timedelta
    task: timedelta
    department: str
    module: str
