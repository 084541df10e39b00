"""Usage records: immutable; a correction is a new revision."""

from __future__ import annotations

from daemon.domain.usage import UsageRecord
from daemon.store.connection import Connection
from daemon.store.models import UsageRecordRow


def to_domain(row: UsageRecordRow) -> UsageRecord:
    return UsageRecord(
        id=row.id,
        service_id=row.service_id,  # type: ignore[attr-defined]  # tortoise makes the _id field at run time
        resource=row.resource,
        since=row.period_from,
        until=row.period_until,
        base_unit=row.base_unit,
        base_quantity=row.base_quantity,
        covered_us=row.covered_us,
        samples=row.samples,
        revision=row.revision,
    )


class UsageRecords:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(self, record: UsageRecord) -> None:
        """Write a record in the caller's transaction; the same service, resource, start and revision a second time is an error."""
        await UsageRecordRow.create(
            service_id=record.service_id,
            resource=record.resource,
            period_from=record.since,
            period_until=record.until,
            base_unit=record.base_unit,
            base_quantity=record.base_quantity,
            covered_us=record.covered_us,
            samples=record.samples,
            revision=record.revision,
            created_at=self._c.clock.now(),
            using_db=self._c.db,
        )

    async def page(self, *, service_id: int | None, after: int, limit: int) -> list[UsageRecord]:
        """Newest first, ids below `after` (0: from the newest)."""
        query = UsageRecordRow.all().using_db(self._c.db).order_by("-id").limit(limit)
        if service_id is not None:
            query = query.filter(service_id=service_id)
        if after:
            query = query.filter(id__lt=after)
        return [to_domain(row) for row in await query]
