"""A task: what a person must do before an operation can go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class TaskStatus(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    """Nobody needs to do it any more."""


@dataclass(frozen=True)
class Task:
    id: int
    department: str
    service_id: int | None
    operation_id: int | None
    step: str | None
    ordinal: int
    title: str
    instructions: str
    wants: dict[str, str]
    """Field of the result -> sentence that says what to enter."""
    preset: dict[str, Any]
    status: TaskStatus
    result: dict[str, Any] | None
    note: str | None
    created_at: datetime
    closed_at: datetime | None
    closed_by: str | None
