"""A service: the long-lived thing a customer pays for. Four stable states, and beside them a target and a fault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from daemon.domain.errors import Refused


class State(StrEnum):
    PENDING = "pending"
    """Ordered, not usable yet; nothing is billed."""
    ACTIVE = "active"
    SUSPENDED = "suspended"
    RELEASED = "released"
    """Given back; never comes to life again."""


MOVES: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.ACTIVE, State.RELEASED}),
    State.ACTIVE: frozenset({State.SUSPENDED, State.RELEASED}),
    State.SUSPENDED: frozenset({State.ACTIVE, State.RELEASED}),
    State.RELEASED: frozenset(),
}


def check_move(before: State, after: State) -> None:
    """Raise Refused when a service can't go from `before` to `after`."""
    if after not in MOVES[before]:
        raise Refused("state_move", f"a {before} service can't become {after}", status=409, before=before, after=after)


@dataclass(frozen=True)
class Fault:
    """Why a person is needed; it never changes the service's state."""

    code: str
    message: str
    since: datetime
    operation: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "since": self.since.isoformat(),
            "operation": self.operation,
        }


@dataclass(frozen=True)
class Service:
    id: int
    customer_id: int
    order_id: int
    plan_revision_id: int
    state: State
    target: State | None
    fault: Fault | None
    label: str
    properties: dict[str, Any]
    hostname: str
    module: str | None
    datacenter: str | None
    remote_id: str | None
    billing_from: datetime | None
    billing_until: datetime | None
    closed_until: datetime | None
    """End of its last closed billing period; None: none is closed."""
    created_at: datetime
