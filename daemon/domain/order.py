"""Customers and orders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Customer:
    id: int
    ref: str
    """The ordering system's own key of the customer; unique."""
    name: str
    email: str
    parent_id: int | None
    customer_class: str
    language: str
    currency: str
    zone: str


@dataclass(frozen=True)
class Order:
    """One immutable request."""

    id: int
    customer_id: int
    plan_revision_id: int
    currency: str
    period: str
    hostname: str
    addons: dict[str, Any]
    """Every add-on the service has, with its value; defaults filled in."""
    prices: dict[str, Any]
    """Frozen at order time: {"setup": "0.00", "period": "49.00", "addons": {name: "2.00"}}; strings, in `currency`."""
    created_at: datetime
    actor: str


@dataclass(frozen=True)
class PlanRevision:
    """What was sold, frozen by content hash: editing the plan's YAML never changes it."""

    id: int
    name: str
    revision: str
    """SHA-256 over the canonical JSON of `content`, hex."""
    content: dict[str, Any]
