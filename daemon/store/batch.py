"""Small writes of many callers in one commit: a commit costs a disk's patience, not the writes in it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from daemon.store.repositories import Repositories

T = TypeVar("T")
Write = Callable[[Repositories], Awaitable[Any]]
Begin = Callable[[], AbstractAsyncContextManager[Repositories]]

AT_ONCE = 64
"""Writes in one transaction at most, so that the last caller in line doesn't wait for long."""


@dataclass
class _Item:
    write: Write
    answer: asyncio.Future[Any]


class Batch:
    """Runs what comes in while the last commit was on its way in one transaction, one after the other."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._queue: deque[_Item] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def run(self, write: Callable[[Repositories], Awaitable[T]]) -> T:
        """`write` in a transaction that others may share; returns after the commit.

        When anything in a shared transaction fails, each of its writes is run again in a transaction of its own: `write` may
        run twice, so it must do nothing but read and write the database.
        """
        item = _Item(write, asyncio.get_running_loop().create_future())
        self._queue.append(item)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="store batch")
        result: T = await item.answer
        return result

    async def drain(self) -> None:
        """Wait for what was begun."""
        if self._worker is not None:
            await asyncio.wait({self._worker})

    async def _work(self) -> None:
        while self._queue:
            taken = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
            items = [item for item in taken if not item.answer.done()]  # done: its caller was cancelled before it began
            if len(items) > 1 and await self._together(items):
                continue
            for item in items:
                await self._alone(item)

    async def _together(self, items: list[_Item]) -> bool:
        try:
            async with self._begin() as tx:
                results = [await item.write(tx) for item in items]
        except Exception:  # noqa: BLE001 - whose error it was shows when each runs alone
            return False
        for item, result in zip(items, results, strict=True):
            _settle(item.answer, result)
        return True

    async def _alone(self, item: _Item) -> None:
        try:
            async with self._begin() as tx:
                result = await item.write(tx)
        except Exception as error:  # noqa: BLE001 - it's the caller's
            if not item.answer.done():
                item.answer.set_exception(error)
        else:
            _settle(item.answer, result)


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if not answer.done():
        answer.set_result(result)
