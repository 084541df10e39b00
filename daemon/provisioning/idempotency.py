"""Idempotency keys: the same key and request get the same answer, stored in the transaction of the effect."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tortoise.exceptions import IntegrityError

from daemon.domain.errors import Refused
from daemon.store.database import Store
from daemon.store.orders import KeptAnswer
from daemon.store.repositories import Repositories

Answer = tuple[int, Any]
Effect = Callable[[Repositories], Awaitable[Answer]]
Keep = Callable[[Repositories, Answer], Awaitable[None]]


async def keep_nothing(_tx: Repositories, _answer: Answer) -> None:
    """For work that came without a key."""


def body_hash(body: Any) -> str:
    """Equal JSON values have equal hashes, however they were written."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Answers:
    """Runs an effect once per key. Keys are unique in the whole installation and never expire."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def once(self, key: str | None, route: str, body: Any, prepare: Callable[[], Awaitable[Effect]]) -> Answer:
        """The answer of the effect, or the kept one. `prepare` checks and asks platforms, outside of any transaction.

        Raises Refused `key_reused` (409) for a key that stood for something else. A refused request stores no key.
        """
        if key is None:
            effect = await prepare()
            async with self._store.transaction() as tx:
                return await effect(tx)
        wanted = (route, body_hash(body))
        async with _Turn(self._locks, key):
            kept = await self._store.read.orders.kept_answer(key)
            if kept is not None:
                return _same(kept, wanted)
            effect = await prepare()
            try:
                async with self._store.transaction() as tx:
                    status, answer = await effect(tx)
                    await tx.orders.keep_answer(key, KeptAnswer(*wanted, status, answer))
            except IntegrityError:
                # Another node was quicker with the same key.
                kept = await self._store.read.orders.kept_answer(key)
                if kept is None:
                    raise
                return _same(kept, wanted)
            return status, answer

    async def around(self, key: str | None, route: str, body: Any, work: Callable[[Keep], Awaitable[Answer]]) -> Answer:
        """Like `once`, for work that opens its own transaction and calls `keep` in it."""
        if key is None:
            return await work(keep_nothing)
        wanted = (route, body_hash(body))

        async def keep(tx: Repositories, answer: Answer) -> None:
            await tx.orders.keep_answer(key, KeptAnswer(*wanted, *answer))

        async with _Turn(self._locks, key):
            kept = await self._store.read.orders.kept_answer(key)
            if kept is not None:
                return _same(kept, wanted)
            try:
                return await work(keep)
            except IntegrityError:
                # Another node was quicker with the same key.
                kept = await self._store.read.orders.kept_answer(key)
                if kept is None:
                    raise
                return _same(kept, wanted)


def _same(kept: KeptAnswer, wanted: tuple[str, str]) -> Answer:
    if (kept.route, kept.body_hash) != wanted:
        raise Refused("key_reused", "this Idempotency-Key stood for another request", status=409)
    return kept.status, kept.answer


class _Turn:
    """One caller per key at a time; the lock goes when nobody waits for it."""

    def __init__(self, locks: dict[str, tuple[asyncio.Lock, int]], key: str) -> None:
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        lock, users = self._locks.get(self._key, (asyncio.Lock(), 0))
        self._locks[self._key] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._locks[self._key][0].release()
        self._leave()

    def _leave(self) -> None:
        lock, users = self._locks[self._key]
        if users > 1:
            self._locks[self._key] = (lock, users - 1)
        else:
            del self._locks[self._key]
