"""Usage records: immutable; a correction is a new revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.domain.metering import UsageRecord
from daemon.store.connection import Connection
from daemon.store.events import Events, stream_of
from daemon.store.models import UsageRecordRow

MICROSECOND = timedelta(microseconds=1)
KIND = "usage.recorded"


def line_of(record: UsageRecord) -> dict[str, Any]:
    """What the audit log keeps of a record: enough to see later that nobody has touched the record itself."""
    return {
        "resource": record.resource,
        "from": record.since.astimezone(UTC).isoformat(),
        "until": record.until.astimezone(UTC).isoformat(),
        "revision": record.revision,
        "quantity": None if record.base_quantity is None else str(record.base_quantity),
        "unit": record.base_unit,
        "held": record.held,
        "reason": record.reason,
        "seal": record.seal,
        "digest": _digest(record),
    }


def _digest(record: UsageRecord) -> str:
    """Of everything that the line does not have in words."""
    rest = {
        "service": record.service_id,
        "covered_us": record.covered // MICROSECOND,
        "samples": record.samples,
        "expected": record.expected,
        "classes": dict(record.classes),
        "formula": record.formula,
        "aside": record.aside,
        "corrected": record.corrected,
        "author": record.author,
        "basis": dict(record.basis),
    }
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def to_domain(row: UsageRecordRow) -> UsageRecord:
    classes: Any = row.classes
    basis: Any = row.basis
    return UsageRecord(
        id=row.id,
        service_id=row.service_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        resource=row.resource,
        since=row.period_from,
        until=row.period_until,
        base_unit=row.base_unit,
        base_quantity=row.base_quantity if row.known else None,
        covered=timedelta(microseconds=row.covered_us),
        samples=row.samples,
        expected=row.expected,
        classes=classes,
        formula=row.formula,
        seal=row.seal,
        held=row.held,
        aside=row.aside,
        corrected=row.corrected,
        revision=row.revision,
        reason=row.reason,
        author=row.author,
        basis=basis,
        created_at=row.created_at,
    )


def _row(record: UsageRecord, now: datetime) -> UsageRecordRow:
    return UsageRecordRow(
        service_id=record.service_id,
        resource=record.resource,
        period_from=record.since,
        period_until=record.until,
        base_unit=record.base_unit,
        base_quantity=record.base_quantity or 0,
        known=record.base_quantity is not None,
        covered_us=record.covered // MICROSECOND,
        samples=record.samples,
        expected=record.expected,
        classes=dict(record.classes),
        formula=record.formula,
        seal=record.seal,
        held=record.held,
        aside=record.aside,
        corrected=record.corrected,
        revision=record.revision,
        reason=record.reason,
        author=record.author,
        basis=dict(record.basis),
        created_at=now,
    )


_NEWEST = (
    " AND NOT EXISTS (SELECT 1 FROM usage_record n WHERE n.service_id = r.service_id AND n.resource = r.resource"
    " AND n.period_from = r.period_from AND n.revision > r.revision)"
)


class UsageRecords:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(self, records: Collection[UsageRecord], *, reason: str = "") -> None:
        """Write them, and their seals into the audit log; the same service, resource, start and revision a second time is an error."""
        now = self._c.clock.now()
        await UsageRecordRow.bulk_create([_row(record, now) for record in records], using_db=self._c.db)
        for service_id, author in {(record.service_id, record.author): None for record in records}:
            own = [record for record in records if (record.service_id, record.author) == (service_id, author)]
            lines = {"records": [line_of(record) for record in own]}
            await Events(self._c).add(KIND, service_id=service_id, actor=author, reason=reason, after=lines)

    async def get(self, record_id: int) -> UsageRecord | None:
        row = await UsageRecordRow.get_or_none(id=record_id, using_db=self._c.db)
        return to_domain(row) if row else None

    async def page(
        self, *, service_id: int | None, after: int, limit: int, held: bool | None = None, newest: bool = False
    ) -> list[UsageRecord]:
        """Newest first, ids below `after` (0: from the newest). `newest`: the last revision of each only."""
        rows = await self._c.fetch(
            f"SELECT r.id FROM usage_record r WHERE r.id < ?"  # noqa: S608 - no values
            f"{'' if service_id is None else ' AND r.service_id = ?'}{'' if held is None else ' AND r.held = ?'}"
            f"{_NEWEST if newest else ''} ORDER BY r.id DESC LIMIT ?",
            after or 2**63 - 1, *([] if service_id is None else [service_id]), *([] if held is None else [held]), limit,
        )  # fmt: skip
        found = await UsageRecordRow.filter(id__in=[row["id"] for row in rows]).using_db(self._c.db).order_by("-id")
        return [to_domain(row) for row in found]

    async def many(self, ids: Collection[int]) -> list[UsageRecord]:
        """Those that are there, by id."""
        found = await UsageRecordRow.filter(id__in=list(ids)).using_db(self._c.db).order_by("id")
        return [to_domain(row) for row in found]

    async def last_revision(self, service_id: int, resource: str, since: datetime) -> UsageRecord | None:
        row = (
            await UsageRecordRow.filter(service_id=service_id, resource=resource, period_from=since)
            .using_db(self._c.db)
            .order_by("-revision")
            .first()
        )
        return to_domain(row) if row else None

    async def last_of(self, resource: str) -> UsageRecord | None:
        """The newest one of anybody's."""
        row = await UsageRecordRow.filter(resource=resource).using_db(self._c.db).order_by("-id").first()
        return to_domain(row) if row else None

    async def periods_waiting(self, before: datetime) -> dict[str, int]:
        """Module -> how many services have a period that could have been closed before that moment, and is not."""
        rows = await self._c.fetch(
            "SELECT module, COUNT(*) AS n FROM service WHERE billing_from IS NOT NULL AND closes_at < ? AND module IS NOT NULL"
            " AND (target IS NULL OR target <> 'released')"
            " AND (state <> 'released' OR closed_until IS NULL OR closed_until < billing_until) GROUP BY module",
            before,
        )
        return {row["module"]: int(row["n"]) for row in rows}

    async def of_pushed(self, service_id: int, resource: str, at: datetime) -> list[UsageRecord]:
        """The last revisions of the closed periods that end after `at`."""
        found: dict[datetime, UsageRecord] = {}
        rows = (
            await UsageRecordRow.filter(service_id=service_id, resource=resource, period_until__gt=at)
            .using_db(self._c.db)
            .order_by("revision")
        )
        for row in rows:
            found[row.period_from] = to_domain(row)
        return list(found.values())

    async def noted(self, service_ids: Collection[int]) -> dict[int, list[dict[str, Any]]]:
        """Service id -> what the audit log has of its records: one `line_of` each, oldest first."""
        found: dict[int, list[dict[str, Any]]] = {service_id: [] for service_id in service_ids}
        streams = {stream_of(service_id): service_id for service_id in found}
        if not streams:
            return found
        marks = ", ".join("?" for _ in streams)
        rows = await self._c.fetch(
            f"SELECT stream, after FROM event WHERE stream IN ({marks}) AND kind = ? ORDER BY stream, seq",  # noqa: S608 - only question marks are put in
            *streams, KIND,
        )  # fmt: skip
        for row in rows:
            after = json.loads(row["after"]) if isinstance(row["after"], str) else row["after"]
            found[streams[row["stream"]]] += after["records"]
        return found

    async def spans(self) -> list[tuple[datetime, datetime]]:
        """The periods that any record is about, each once."""
        rows = await self._c.fetch("SELECT DISTINCT period_from, period_until FROM usage_record")
        pairs = ((self._c.moment(row["period_from"]), self._c.moment(row["period_until"])) for row in rows)
        return [(since, until) for since, until in pairs if since is not None and until is not None]
