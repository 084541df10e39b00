"""Rows in bulk, by SQL: a database that has been in use for years, made in seconds.

What is filled in looks like what the daemon writes; only the hashes of events are made up, as nothing here reads them back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from psycopg.conninfo import make_conninfo

from daemon.store.targets import PostgresTarget, SqliteTarget, Target

STEPS = 26
"""Steps of a provision with an installed system and two addresses."""
STEP_NAMES = (
    "choose",
    "own-user",
    "reserve",
    "settle",
    "still-ours",
    "take",
    "put",
    "main",
    "unpark",
    "enable",
    "install",
)


class _Connection(Protocol):
    def execute(self, statement: Any) -> Any: ...


@dataclass(frozen=True)
class History:
    """What to fill in. Services: first the `finished` ones, released long ago, then those with an open operation."""

    finished: int = 0
    """Finished operations: a provision and a release of each of half as many services."""
    waiting: int = 0
    """Open operations that are due tomorrow."""
    due: int = 0
    """Open operations that are due now and have not begun."""
    active: int = 0
    """Active services without a live operation; on the servers `101`, `102`, ... of dci-main."""
    allocations: int = 0
    """Rows of the ledger, shared out among all services."""
    events: int = 0
    """Events beside those of the operations, shared out among all services."""
    steps: int = STEPS
    """Steps and events of each finished operation."""
    plan: str = field(default="{}", repr=False)
    """JSON of the plan that everything was sold by."""

    @property
    def released(self) -> int:
        return self.finished // 2

    @property
    def services(self) -> int:
        return self.released + self.waiting + self.due + self.active


def fill(target: Target, history: History) -> None:
    """Into a migrated, empty database that nobody uses."""
    with _opened(target) as connection:
        for statement in _Filler(target, history).statements():
            connection.execute(statement)


@contextmanager
def _opened(target: Target) -> Iterator[_Connection]:
    """Without foreign keys, which hold by construction, and in one transaction."""
    if isinstance(target, SqliteTarget):
        file = sqlite3.connect(target.path)
        try:
            file.execute("PRAGMA foreign_keys = OFF")
            file.execute("PRAGMA synchronous = OFF")
            yield file
            file.commit()
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            file.close()
    else:
        with server(target) as connection:
            connection.execute("SET session_replication_role = replica")
            yield connection
        with server(target) as connection:
            connection.execute("ANALYZE")


def server(target: PostgresTarget) -> psycopg.Connection:
    words = make_conninfo(
        host=target.host, port=target.port, user=target.user, password=target.password, dbname=target.database,
        **dict(target.params),
    )  # fmt: skip
    return psycopg.connect(words)


class _Filler:
    def __init__(self, target: Target, history: History) -> None:
        self._postgres = isinstance(target, PostgresTarget)
        self._history = history

    def statements(self) -> Iterator[str]:
        h, now, text = self._history, self._time("now"), self._text
        past, tomorrow = self._time("past"), self._time("tomorrow")
        empty = self._json("{}")
        yield self._insert(
            "customer", "id, ref, name, email, customer_class, language, currency, zone, created_at",
            f"i, {text('old-')}, {text('Customer ')}, 'old@example.test', '', '', 'EUR', '', {past}", h.services,
        )  # fmt: skip
        yield self._insert(
            "plan_revision", "id, name, revision, content, created_at",
            f"i, 'ds-small', 'r1', {self._json(h.plan)}, {past}", 1,
        )  # fmt: skip
        prices = self._json('{"setup": "0", "period": "49.00", "addons": {}}')
        addons = self._json('{"ostempl": "ISPsystem__Debian-12-x86_64", "ip": 2}')
        yield self._insert(
            "service_order",
            "id, customer_id, plan_revision_id, currency, period, hostname, addons, prices, created_at, actor",
            f"i, i, 1, 'EUR', 'month', {text('old')}, {addons}, {prices}, {past}, 'test'", h.services,
        )  # fmt: skip
        gone, open_until = h.released, h.released + h.waiting + h.due
        state = f"CASE WHEN i <= {gone} THEN 'released' WHEN i <= {open_until} THEN 'pending' ELSE 'active' END"
        server_id = f"CASE WHEN i > {open_until} THEN CAST(100 + i - {open_until} AS TEXT) ELSE {text('old')} END"
        running = f"(i <= {gone} OR i > {open_until})"
        yield self._insert(
            "service",
            "id, customer_id, order_id, plan_revision_id, state, target, label, properties, hostname, module, remote_id,"
            " billing_from, billing_until, created_at",
            f"i, i, i, 1, {state}, CASE WHEN {state} = 'pending' THEN 'active' END, '', {empty}, {text('old')},"
            f" CASE WHEN {running} THEN 'dci-main' END, CASE WHEN {running} THEN {server_id} END,"
            f" CASE WHEN {running} THEN {past} END, CASE WHEN i <= {gone} THEN {past} END, {past}",
            h.services,
        )  # fmt: skip
        yield self._insert(
            "operation",
            "id, service_id, verb, status, phase, params, deadline, leg, fence, created_at, finished_at",
            f"i, (i + 1) / 2, CASE WHEN i % 2 = 1 THEN 'provision' ELSE 'release' END, 'done', 'forward', {empty}, {past},"
            f" 3, 3, {past}, {past}",
            2 * gone,
        )  # fmt: skip
        due = f"CASE WHEN i <= {h.waiting} THEN {tomorrow} ELSE {now} END"
        yield self._insert(
            "operation",
            "id, service_id, verb, status, phase, params, due_at, deadline, waiting_for, leg, fence, created_at",
            f"{2 * gone} + i, {gone} + i, 'provision', 'open', 'forward', {empty}, {due}, {tomorrow},"
            f" CASE WHEN i <= {h.waiting} THEN 'the install of ISPsystem__Debian-12-x86_64' END, 1, 1, {past}",
            h.waiting + h.due,
        )  # fmt: skip
        name = f"'{STEP_NAMES[0]}'"
        for number, word in enumerate(STEP_NAMES[1:], 1):
            name = f"CASE WHEN (i - 1) % {len(STEP_NAMES)} = {number} THEN '{word}' ELSE {name} END"
        value = self._json('{"value": {"remote_id": "101", "address": "192.0.2.77"}}')
        yield self._insert(
            "step",
            "operation_id, name, ordinal, status, attempts, sent_at, result, created_at, finished_at",
            f"(i - 1) / {h.steps} + 1, {name}, (i - 1) % {h.steps}, 'done', 1, {past}, {value}, {past}, {past}",
            2 * gone * h.steps,
        )  # fmt: skip
        yield self._events(
            2 * gone * h.steps, f"((i - 1) / {2 * h.steps} + 1)", f"((i - 1) % {2 * h.steps} + 1)", value
        )
        spread = max(1, h.services)
        yield self._events(
            h.events, f"((i - 1) % {spread} + 1)", f"((i - 1) / {spread} + 1 + {2 * h.steps if gone else 0})", value
        )
        given = f"((i - 1) % {spread} + 1)"
        yield self._insert(
            "allocation",
            "key, service_id, operation_id, ipam, family, address_type, role, address, state, module, remote_id,"
            " created_at",
            f"{text('old-')}, {given}, {given}, 'ipm-main', 'ipv4', 'public', 'extra', {text('old-')}, 'bound', 'dci-main',"
            f" {text('', given)}, {past}",
            h.allocations,
        )  # fmt: skip
        if self._postgres:
            for table in ("customer", "plan_revision", "service_order", "service", "operation"):
                yield f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT COALESCE(MAX(id), 1) FROM {table}))"

    def _events(self, rows: int, service: str, seq: str, after: str) -> str:
        past = self._time("past")
        return self._insert(
            "event",
            "stream, seq, at, kind, actor, reason, operation_id, after, hash",
            f"{self._text('service/', service)}, {seq}, {past}, 'step.done', 'daemon', '', {service}, {after}, '{'0' * 64}'",
            rows,
        )

    def _insert(self, table: str, columns: str, values: str, rows: int) -> str:
        if self._postgres:
            return f"INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series(1, {rows}) AS n(i)"
        numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
        return f"INSERT INTO {table} ({columns}) {numbers} SELECT {values} FROM n WHERE {rows} > 0"

    def _text(self, prefix: str, number: str = "i") -> str:
        return f"('{prefix}' || CAST({number} AS TEXT))"

    def _json(self, text: str) -> str:
        quoted = "'" + text.replace("'", "''") + "'"
        return f"CAST({quoted} AS JSONB)" if self._postgres else quoted

    def _time(self, when: str) -> str:
        if self._postgres:
            return {"now": "now()", "past": "now() - interval '30 days'", "tomorrow": "now() + interval '1 day'"}[when]
        shift = {"now": "+0 days", "past": "-30 days", "tomorrow": "+1 day"}[when]
        return f"(strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now', '{shift}'))"
