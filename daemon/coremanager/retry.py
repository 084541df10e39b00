"""Repeating reads at once: the one place that does it, out of one budget per panel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import tenacity

from daemon.domain.clock import Clock
from daemon.domain.errors import Temporary

T = TypeVar("T")

ATTEMPTS = 3
FIRST_WAIT = 0.2
LONGEST_WAIT = 2.0

REPEATABLE = frozenset({"panel_unreachable", "panel_no_answer", "panel_bad_answer"})
"""Codes of Temporary errors that the next attempt may well not meet; a refused certificate stays refused."""


class Budget:
    """Token bucket over all reads of one panel: a panel in trouble isn't asked three times as much as a healthy one."""

    def __init__(self, clock: Clock, *, tokens: float = 10, per_minute: float = 12) -> None:
        self._clock = clock
        self._most = tokens
        self._per_second = per_minute / 60
        self._tokens = tokens
        self._at = clock.monotonic()

    def left(self) -> float:
        """How many reads may be repeated now."""
        now = self._clock.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return self._tokens

    def take(self) -> bool:
        if self.left() < 1:
            return False
        self._tokens -= 1
        return True


async def repeated(
    read: Callable[[], Awaitable[T]], *, budget: Budget, clock: Clock, seconds_left: Callable[[], float]
) -> T:
    """Run `read` at most three times with full jitter; the last error is raised as it is.

    `seconds_left` is the call's own deadline: no attempt is begun that could not be finished.
    """

    def again(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return (
            isinstance(error, Temporary)
            and error.code in REPEATABLE
            and state.attempt_number < ATTEMPTS  # asked before a token is spent
            and seconds_left() > LONGEST_WAIT
            and budget.take()
        )

    retrying = tenacity.AsyncRetrying(
        sleep=clock.sleep,
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
        retry=again,
        reraise=True,
    )
    return await retrying(read)
