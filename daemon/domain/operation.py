"""An operation: the durable execution of one verb on one service, and the steps of its journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.service import State


class Verb(StrEnum):
    PROVISION = "provision"
    RELEASE = "release"


TARGET: dict[Verb, State] = {Verb.PROVISION: State.ACTIVE, Verb.RELEASE: State.RELEASED}


class Status(StrEnum):
    QUEUED = "queued"
    """Accepted; waits for the operation before it on the same service to end."""
    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    """Given up, and everything it did is undone and verified."""
    SUPERSEDED = "superseded"
    """Ended because a later operation took its place; what it did is undone or handed on."""


LIVE = (Status.QUEUED, Status.OPEN)


class Phase(StrEnum):
    FORWARD = "forward"
    UNDO = "undo"


class StepStatus(StrEnum):
    INTENT = "intent"
    """Written before the call. With `sent_at` the call may have been made: look before doing anything."""
    WAITING = "waiting"
    """Nothing is sent: a person, a time or a condition is waited for."""
    DONE = "done"
    FAILED = "failed"
    """Ended without effect, for good; `error` says why."""


@dataclass(frozen=True)
class Operation:
    id: int
    service_id: int
    verb: Verb
    status: Status
    phase: Phase
    params: dict[str, Any]
    due_at: datetime | None
    deadline: datetime
    waiting_for: str | None
    waiting_since: datetime | None
    leg: int
    fence: int
    owner: str | None
    cancel: str | None
    """Why it shall stop and undo, when somebody asked for that; None otherwise."""
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Step:
    """One action. `result` is plain JSON; `before` is what the platform showed before the call, where it has no place for a key."""

    operation_id: int
    name: str
    ordinal: int
    status: StepStatus
    attempts: int
    sent_at: datetime | None
    before: Any
    result: Any
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def key(self) -> tuple[str, int]:
        return (self.name, self.ordinal)
