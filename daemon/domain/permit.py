"""The right to send, asked at the last moment before a change leaves the house.

A leg runs under its node's lease. A verb of a plugin may send several requests; between two of them the process may have been frozen
for longer than the lease. So the one door of outgoing requests asks here, before every write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_may_send: ContextVar[Callable[[], bool] | None] = ContextVar("may_send", default=None)


class LeaseLost(Exception):
    """Our node may not send any more; another leg, here or elsewhere, goes on. What was sent before is looked at first."""


@contextmanager
def sending_under(may_send: Callable[[], bool]) -> Iterator[None]:
    """Every write inside asks `may_send` first."""
    token = _may_send.set(may_send)
    try:
        yield
    finally:
        _may_send.reset(token)


def require_permit() -> None:
    """Raise LeaseLost when the leg that we are in may not send any more. Outside of legs there is nothing to ask."""
    may_send = _may_send.get()
    if may_send is not None and not may_send():
        raise LeaseLost
