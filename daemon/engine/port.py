"""What the rest of the house knows of an engine: something that wakes work when it is due.

An engine remembers nothing that matters. Wiped at any moment, work is only late, until the sweeper arms it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

OPERATION = "operation"
"""The kind of a leg of an operation; `key` is the operation's id."""

FRESH = 0
HALF_DONE = 1
"""Priorities: what has begun goes before what hasn't, so that a restart leaves no half-installed servers behind a backlog."""


@dataclass(frozen=True, order=True)
class Work:
    """One thing that can be woken; the same work never runs twice at once in one process."""

    kind: str
    key: str


Handler = Callable[[Work], Awaitable[None]]


@dataclass(frozen=True)
class Slots:
    """How much may run at once in this process: legs of operations, and everything else, so that neither starves the other."""

    operations: int = 16
    others: int = 4

    def of(self, kind: str) -> int:
        return self.operations if kind == OPERATION else self.others


class Engine(Protocol):
    async def start(self, handler: Handler) -> None:
        """Begin to wake work; `handler` runs one piece of it and may raise, which is logged and nothing else."""
        ...

    async def arm(self, work: Work, at: datetime, *, priority: int = FRESH) -> None:
        """Wake `work` at `at` (in the past: as soon as there is a slot). Armed twice for the same time it is woken once.

        Never raises because of the engine's own trouble: then the work is only late.
        """
        ...

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - a limit for all of it, not for one await
        """Wake nothing more, let what runs end for half of `timeout` seconds, cancel the rest; never takes longer than `timeout`."""
        ...

    def healthy(self) -> str | None:
        """None, or a sentence that says why work isn't woken."""
        ...


class Dispatch:
    """A handler made of one handler per kind."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, kind: str, handler: Handler) -> None:
        self._handlers[kind] = handler

    async def __call__(self, work: Work) -> None:
        await self._handlers[work.kind](work)
