"""The event table: every change with its actor, reason, before and after, in one hash chain per stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any

from daemon.store.connection import Connection

FIRST = "0" * 64


def stream_of(service_id: int | None) -> str:
    return "system" if service_id is None else f"service/{service_id}"


def link(previous: str, body: dict[str, Any]) -> str:
    """The hash of an event: SHA-256 over the previous hash and the canonical JSON of the event."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


class Events:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(
        self,
        kind: str,
        *,
        service_id: int | None = None,
        operation_id: int | None = None,
        actor: str = "daemon",
        reason: str = "",
        before: Any = None,
        after: Any = None,
    ) -> None:
        """Append one event, in the caller's transaction. A second writer of the same stream waits for the first one's end."""
        stream = stream_of(service_id)
        if self._c.dialect == "postgres":
            # SQLite has one writer anyway. A statement of its own: what follows must see what the other one committed.
            await self._c.fetch("SELECT pg_advisory_xact_lock(hashtextextended(?, 7305119))", stream)
        last = await self._c.fetch("SELECT seq, hash FROM event WHERE stream = ? ORDER BY seq DESC LIMIT 1", stream)
        seq, previous = (last[0]["seq"], last[0]["hash"]) if last else (0, FIRST)
        at = self._c.clock.now()
        body = _body(stream, seq + 1, at.isoformat(), kind, actor, reason, operation_id, before, after)
        await self._c.execute(
            "INSERT INTO event (stream, seq, at, kind, actor, reason, operation_id, before, after, hash)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            stream, seq + 1, at, kind, actor, reason, operation_id, _json(before), _json(after), link(previous, body),
        )  # fmt: skip

    async def of_service(self, service_id: int) -> list[dict[str, Any]]:
        """The story of a service, oldest first: {seq, at, kind, actor, reason, operation, before, after}."""
        rows = await self._c.fetch("SELECT * FROM event WHERE stream = ? ORDER BY seq", stream_of(service_id))
        return [self._shape(row) for row in rows]

    async def broken_links(self, service_ids: Collection[int] | None = None) -> list[tuple[str, int]]:
        """(stream, seq) of every event that does not follow from the one before it; empty means that the log is whole.

        `service_ids`: only the streams of these services.
        """
        broken = []
        previous: dict[str, tuple[int, str]] = {}
        streams = [] if service_ids is None else [stream_of(service_id) for service_id in service_ids]
        only = "" if service_ids is None else f" WHERE stream IN ({', '.join('?' for _ in streams) or 'NULL'})"
        for row in await self._c.fetch(f"SELECT * FROM event{only} ORDER BY stream, seq", *streams):  # noqa: S608 - only question marks are put in
            seq, before = previous.get(row["stream"], (0, FIRST))
            shape = self._shape(row)
            body = _body(
                row["stream"], row["seq"], shape["at"], row["kind"], row["actor"], row["reason"],
                row["operation_id"], shape["before"], shape["after"],
            )  # fmt: skip
            if row["seq"] != seq + 1 or link(before, body) != row["hash"]:
                broken.append((row["stream"], row["seq"]))
            previous[row["stream"]] = (row["seq"], row["hash"])
        return broken

    def _shape(self, row: dict[str, Any]) -> dict[str, Any]:
        at = self._c.moment(row["at"])
        assert at is not None
        return {
            "seq": row["seq"],
            "at": at.isoformat(),
            "kind": row["kind"],
            "actor": row["actor"],
            "reason": row["reason"],
            "operation": row["operation_id"],
            "before": _from_json(row["before"]),
            "after": _from_json(row["after"]),
        }


def _body(
    stream: str, seq: int, at: str, kind: str, actor: str, reason: str, operation: int | None, before: Any, after: Any
) -> dict[str, Any]:
    return {
        "stream": stream, "seq": seq, "at": at, "kind": kind, "actor": actor, "reason": reason,
        "operation": operation, "before": before, "after": after,
    }  # fmt: skip


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
