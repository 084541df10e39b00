"""The sandbox's time: a base clock plus an offset that tests push forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from daemon.domain.clock import SystemClock

Now = Callable[[], datetime]


class SandboxClock:
    """`now()` is aware UTC: the base clock (real time unless one is given) plus whatever `advance` has added.

    Nothing in the sandbox waits for it: a panel works out what became due when it is asked.
    """

    def __init__(self, base: Now | None = None) -> None:
        self._base = base or SystemClock().now
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return self._base() + self.offset

    def advance(self, seconds: float) -> datetime:
        """Push the clock forward and return the new time. Raises ValueError for a step back: panels don't unlive events."""
        if seconds < 0:
            raise ValueError(f"the sandbox's clock only goes forward, got {seconds}")
        self.offset += timedelta(seconds=seconds)
        return self.now()
