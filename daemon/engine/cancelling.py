"""Ending tasks of our own for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 0.5


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks until they have ended; what they ended with is nobody's concern any more.

    Once is not enough: a cancellation that meets a connection which its pool is just handing over is lost.
    """
    ended, running = set[asyncio.Task[Any]](), set(tasks)
    while running:
        for task in running:
            task.cancel()
        done, running = await asyncio.wait(running, timeout=AGAIN)
        ended |= done
    await asyncio.gather(*ended, return_exceptions=True)
