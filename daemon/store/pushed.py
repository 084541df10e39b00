"""Pushed usage: events, their keys and their quarantine in one table, so that none of them can be there without the others.

Statements take any number of events as one JSON text: the same few statements for one event and for ten thousand.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from daemon.domain.pushed import Key, PushedEvent
from daemon.store.connection import Connection


class EventState(StrEnum):
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"
    """A person decided that it never counts; it stays, so that its key is not taken a second time."""


@dataclass(frozen=True)
class StoredEvent:
    id: int
    event: PushedEvent
    state: EventState
    why: str | None
    actor: str
    received_at: datetime


@dataclass(frozen=True)
class Conflict:
    """`sent` is the content that was refused, `kept` that of the event that was there first."""

    id: int
    source: str
    event_id: str
    service_id: int
    sent: dict[str, Any]
    kept: dict[str, Any]
    actor: str
    received_at: datetime


@dataclass(frozen=True)
class PushedReading:
    """One quantity of one event that counts."""

    at: datetime
    quantity: int
    source: str
    event_id: str


_COLUMNS = "source, event_id, service_id, at, resource, quantity, second_resource, second_quantity, state, why"
_FIELDS = tuple(_COLUMNS.split(", "))
_INSERT = f"INSERT INTO pushed_event ({_COLUMNS}, actor, received_at, counted_at)"
_AT = "json_extract(e.value, '$.at')"
_BILLED = "{at} >= s.billing_from AND (s.billing_until IS NULL OR {at} < s.billing_until)"
_SQLITE_ADD = (
    f"{_INSERT} SELECT {', '.join(f'''json_extract(e.value, '$.{name}')''' for name in _FIELDS)}, ?, ?,"  # noqa: S608 - column names
    " CASE WHEN json_extract(e.value, '$.state') = 'accepted' THEN ? END"
    # CROSS JOIN: event by event, each looking up its service.
    " FROM json_each(?) e CROSS JOIN service s ON s.id = json_extract(e.value, '$.service_id')"
    f" WHERE {_BILLED.format(at=_AT)} ON CONFLICT DO NOTHING RETURNING source, event_id"
)
_POSTGRES_ADD = (
    f"{_INSERT} SELECT {', '.join(f'e.{name}' for name in _FIELDS)}, CAST(? AS text), CAST(? AS timestamptz),"  # noqa: S608 - as above
    " CASE WHEN e.state = 'accepted' THEN CAST(? AS timestamptz) END"
    " FROM json_to_recordset(CAST(? AS json)) AS e (source text, event_id text, service_id bigint, at timestamptz,"
    " resource text, quantity bigint, second_resource text, second_quantity bigint, state text, why text)"
    f" JOIN service s ON s.id = e.service_id WHERE {_BILLED.format(at='e.at')}"
    # In order, so that two batches with the same keys wait for each other and not for ever.
    " ORDER BY e.source, e.event_id ON CONFLICT DO NOTHING RETURNING source, event_id"
)


class PushedUsage:
    def __init__(self, connection: Connection) -> None:
        self._c = connection
        self._sqlite = connection.dialect == "sqlite"

    # taking in -------------------------------------------------------------------------------------------------------------------

    async def add(self, events: Sequence[tuple[PushedEvent, str | None]], *, actor: str) -> set[Key]:
        """Key and event in one row: those that were new, and whose service is there and billed at their time.

        Each comes with the reason for its quarantine, or None. What is not in the answer was not stored.
        """
        now = self._c.clock.now()
        rows = [
            {
                "source": event.source,
                "event_id": event.event_id,
                "service_id": event.service_id,
                "at": event.at.isoformat(" "),  # as every time stands in a SQLite file
                "resource": event.resource,
                "quantity": event.quantity,
                "second_resource": event.second_resource,
                "second_quantity": event.second_quantity,
                "state": EventState.ACCEPTED.value if why is None else EventState.QUARANTINED.value,
                "why": why,
            }
            for event, why in events
        ]
        sql = _SQLITE_ADD if self._sqlite else _POSTGRES_ADD
        return {(row["source"], row["event_id"]) for row in await self._c.fetch(sql, actor, now, now, rows)}

    async def find(self, keys: Collection[Key]) -> dict[Key, StoredEvent]:
        """What stands under these keys, whatever became of it."""
        wanted = [list(key) for key in keys]
        given = (
            "SELECT json_extract(value, '$[0]') AS source, json_extract(value, '$[1]') AS event_id FROM json_each(?)"
            if self._sqlite
            else "SELECT value->>0 AS source, value->>1 AS event_id FROM json_array_elements(CAST(? AS json))"
        )
        rows = await self._c.fetch(
            f"SELECT p.* FROM ({given}) k {'CROSS ' if self._sqlite else ''}JOIN pushed_event p"  # noqa: S608 - no values
            " ON p.source = k.source AND p.event_id = k.event_id",
            wanted,
        )
        stored = [self._stored(row) for row in rows]
        return {one.event.key: one for one in stored}

    async def billed(self, ids: Collection[int]) -> dict[int, tuple[datetime | None, datetime | None]]:
        """From when until when each of these services that there is is billed."""
        given = (
            "SELECT value FROM json_each(?)"
            if self._sqlite
            else "SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(? AS json))"
        )
        rows = await self._c.fetch(
            f"SELECT id, billing_from, billing_until FROM service WHERE id IN ({given})",  # noqa: S608 - no values
            list(ids),
        )
        return {row["id"]: (self._c.moment(row["billing_from"]), self._c.moment(row["billing_until"])) for row in rows}

    async def keep_conflicts(self, found: Sequence[tuple[PushedEvent, StoredEvent]], *, actor: str) -> dict[int, Key]:
        """Keep what was sent under a key that stood for something else; id -> key of those that weren't kept before."""
        new: dict[int, Key] = {}
        for sent, kept in found:
            content = sent.content()
            text = json.dumps(content, sort_keys=True, separators=(",", ":"))
            rows = await self._c.fetch(
                "INSERT INTO pushed_conflict (source, event_id, content_hash, sent, kept, service_id, actor, received_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
                sent.source, sent.event_id, hashlib.sha256(text.encode()).hexdigest(), content, kept.event.content(),
                kept.event.service_id, actor, self._c.clock.now(),
            )  # fmt: skip
            new |= {int(row["id"]): sent.key for row in rows}
        return new

    # reading ---------------------------------------------------------------------------------------------------------------------

    async def events_of(self, service_id: int, resource: str, since: datetime, until: datetime) -> list[PushedReading]:
        """What counts for one service and resource with since <= at < until, oldest first."""
        rows = await self._c.fetch(
            "SELECT at, source, event_id, CASE WHEN resource = ? THEN quantity ELSE second_quantity END AS quantity"
            " FROM pushed_event WHERE service_id = ? AND at >= ? AND at < ? AND state = 'accepted'"
            " AND (resource = ? OR second_resource = ?) ORDER BY at, id",
            resource, service_id, since, until, resource, resource,
        )  # fmt: skip
        return [PushedReading(self._moment(row["at"]), row["quantity"], row["source"], row["event_id"]) for row in rows]

    async def events_of_many(
        self, service_ids: Collection[int], since: datetime, until: datetime
    ) -> dict[tuple[int, str], list[tuple[datetime, int]]]:
        """(service id, resource) -> (time, quantity) of what counts with since <= at < until, oldest first."""
        given = (
            "SELECT value FROM json_each(?)"
            if self._sqlite
            else "SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(? AS json))"
        )
        rows = await self._c.fetch(
            "SELECT service_id, at, resource, quantity, second_resource, second_quantity FROM pushed_event"  # noqa: S608 - no values
            f" WHERE service_id IN ({given}) AND at >= ? AND at < ? AND state = 'accepted' ORDER BY at, id",
            list(service_ids), since, until,
        )  # fmt: skip
        found: defaultdict[tuple[int, str], list[tuple[datetime, int]]] = defaultdict(list)
        for row in rows:
            at = self._moment(row["at"])
            found[row["service_id"], row["resource"]].append((at, row["quantity"]))
            if row["second_resource"] is not None:
                found[row["service_id"], row["second_resource"]].append((at, row["second_quantity"]))
        return dict(found)

    async def late_since(self, moment: datetime) -> dict[tuple[int, str], datetime]:
        """(service id, resource) -> earliest time of the events that count since `moment` or later, and lie in a closed period."""
        found: dict[tuple[int, str], datetime] = {}
        for column in ("resource", "second_resource"):
            rows = await self._c.fetch(
                f"SELECT p.service_id, p.{column} AS resource, MIN(p.at) AS at FROM pushed_event p"  # noqa: S608 - column names
                f" JOIN service s ON s.id = p.service_id WHERE p.counted_at >= ? AND p.at < s.closed_until"
                f" AND p.{column} IS NOT NULL GROUP BY p.service_id, p.{column}",
                moment,
            )
            for row in rows:
                key, at = (int(row["service_id"]), str(row["resource"])), self._moment(row["at"])
                found[key] = min(at, found.get(key, at))
        return found

    async def first_counted(
        self, service_id: int, resource: str, since: datetime, until: datetime, count: int
    ) -> list[tuple[datetime, int]]:
        """(time, base quantity) of the events with since <= at < until that counted first, so many of them, in order of time."""
        rows = await self._c.fetch(
            "SELECT id, at, quantity FROM ("
            "SELECT id, at, quantity, counted_at FROM pushed_event"
            " WHERE service_id = ? AND at >= ? AND at < ? AND state = 'accepted' AND resource = ?"
            " UNION ALL SELECT id, at, second_quantity, counted_at FROM pushed_event"
            " WHERE service_id = ? AND at >= ? AND at < ? AND state = 'accepted' AND second_resource = ?"
            ") found ORDER BY counted_at, id LIMIT ?",
            *[service_id, since, until, resource] * 2, count,
        )  # fmt: skip
        ordered = sorted((self._moment(row["at"]), row["id"], row["quantity"]) for row in rows)
        return [(at, quantity) for at, _, quantity in ordered]

    async def quarantined(self, *, after: int, limit: int) -> list[StoredEvent]:
        """What waits for a person, newest first, ids below `after` (0: from the newest)."""
        rows = await self._c.fetch(
            "SELECT * FROM pushed_event WHERE state = 'quarantined' AND id < ? ORDER BY id DESC LIMIT ?",
            after or 2**63 - 1, limit,
        )  # fmt: skip
        return [self._stored(row) for row in rows]

    async def get(self, event_id: int) -> StoredEvent | None:
        """By our own number."""
        rows = await self._c.fetch("SELECT * FROM pushed_event WHERE id = ?", event_id)
        return self._stored(rows[0]) if rows else None

    async def conflicts(self, *, after: int, limit: int) -> list[Conflict]:
        """Newest first, ids below `after` (0: from the newest)."""
        rows = await self._c.fetch(
            "SELECT * FROM pushed_conflict WHERE id < ? ORDER BY id DESC LIMIT ?", after or 2**63 - 1, limit
        )
        return [
            Conflict(
                row["id"], row["source"], row["event_id"], row["service_id"], json.loads(row["sent"]),
                json.loads(row["kept"]), row["actor"], self._moment(row["received_at"]),
            )
            for row in rows
        ]  # fmt: skip

    # what becomes of them --------------------------------------------------------------------------------------------------------

    async def decide(self, event_id: int, state: EventState) -> bool:
        """Out of quarantine; False when it isn't there any more."""
        counted = self._c.clock.now() if state is EventState.ACCEPTED else None
        count = await self._c.execute(
            "UPDATE pushed_event SET state = ?, counted_at = ? WHERE id = ? AND state = 'quarantined'",
            state.value, counted, event_id,
        )  # fmt: skip
        return count == 1

    async def forget(self, before: datetime, *, limit: int) -> int:
        """Drop up to `limit` events, with their keys, whose time and arrival both lie before; never what is in quarantine."""
        return await self._c.execute(
            "DELETE FROM pushed_event WHERE id IN (SELECT id FROM pushed_event"
            " WHERE received_at < ? AND at < ? AND state <> 'quarantined' ORDER BY id LIMIT ?)",
            before, before, limit,
        )  # fmt: skip

    def _stored(self, row: dict[str, Any]) -> StoredEvent:
        event = PushedEvent(
            row["source"], row["event_id"], row["service_id"], self._moment(row["at"]), row["resource"],
            row["quantity"], row["second_resource"], row["second_quantity"],
        )  # fmt: skip
        return StoredEvent(
            row["id"], event, EventState(row["state"]), row["why"], row["actor"], self._moment(row["received_at"])
        )

    def _moment(self, value: Any) -> datetime:
        found = self._c.moment(value)
        assert found is not None
        return found.astimezone(UTC)
