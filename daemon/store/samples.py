"""The sample store: packed integers per metric, reading and block of 64 services; never one row per sample.

A payload is a sequence of pairs of little-endian signed 64-bit integers: service id, reading.
"""

from __future__ import annotations

import sys
from array import array
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from daemon.domain.usage import Reading
from daemon.store.connection import Connection

BLOCK = 64


def pack(flat: array[int]) -> bytes:
    """`flat` is not to be used afterwards."""
    if sys.byteorder == "big":
        flat.byteswap()
    return flat.tobytes()


def unpack(payload: bytes) -> dict[int, int]:
    flat = array("q")
    flat.frombytes(payload)
    if sys.byteorder == "big":
        flat.byteswap()
    return dict(zip(flat[::2], flat[1::2], strict=True))


class Samples:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def append(self, at: datetime, readings: Mapping[str, Mapping[int, int]]) -> None:
        """Store one round: metric -> service id -> running total."""
        rows: list[list[object]] = []
        for metric, values in readings.items():
            blocks: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
            for service_id, value in values.items():
                flat = blocks[service_id // BLOCK]
                flat.append(service_id)
                flat.append(value)
            rows += [[metric, block, at, pack(flat)] for block, flat in blocks.items()]
        if rows:
            await self._c.execute_many(
                "INSERT INTO sample_block (metric, block, at, payload) VALUES (?, ?, ?, ?)", rows
            )

    async def series(self, metric: str, service_id: int, since: datetime, until: datetime) -> list[Reading]:
        """All readings of one service with since <= at <= until, oldest first."""
        rows = await self._c.fetch(
            "SELECT at, payload FROM sample_block WHERE metric = ? AND block = ? AND at >= ? AND at <= ? ORDER BY at, id",
            metric, service_id // BLOCK, since, until,
        )  # fmt: skip
        found = []
        for row in rows:
            value = unpack(row["payload"]).get(service_id)
            at = self._c.moment(row["at"])
            if value is not None and at is not None:
                found.append(Reading(at, value))
        return found

    async def last_before(self, metric: str, service_id: int, since: datetime, before: datetime) -> Reading | None:
        """The newest reading with since <= at < before."""
        rows = await self._c.fetch(
            "SELECT at, payload FROM sample_block WHERE metric = ? AND block = ? AND at >= ? AND at < ? ORDER BY at DESC, id DESC",
            metric, service_id // BLOCK, since, before,
        )  # fmt: skip
        for row in rows:
            value = unpack(row["payload"]).get(service_id)
            at = self._c.moment(row["at"])
            if value is not None and at is not None:
                return Reading(at, value)
        return None
