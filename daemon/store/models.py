"""The tables, as tortoise models. Partial unique indexes and checks stand in `constraints.py`, as SQL per dialect.

Only this package knows these classes; repositories return the objects of `daemon.domain`.
"""

from __future__ import annotations

from tortoise import fields
from tortoise.models import Model


class CustomerRow(Model):
    id = fields.BigIntField(primary_key=True)
    ref = fields.CharField(200, unique=True)
    name = fields.CharField(400)
    email = fields.CharField(400)
    parent: fields.ForeignKeyNullableRelation[CustomerRow] = fields.ForeignKeyField(
        "provisiond.CustomerRow", related_name=False, null=True, on_delete=fields.RESTRICT
    )
    customer_class = fields.CharField(100, default="")
    language = fields.CharField(20, default="")
    currency = fields.CharField(3, default="")
    zone = fields.CharField(64, default="")
    created_at = fields.DatetimeField()

    class Meta:
        table = "customer"


class PlanRevisionRow(Model):
    id = fields.BigIntField(primary_key=True)
    name = fields.CharField(200)
    revision = fields.CharField(64)
    content: fields.Field[object] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "plan_revision"
        unique_together = (("name", "revision"),)


class OrderRow(Model):
    id = fields.BigIntField(primary_key=True)
    customer: fields.ForeignKeyRelation[CustomerRow] = fields.ForeignKeyField(
        "provisiond.CustomerRow", related_name=False, on_delete=fields.RESTRICT
    )
    plan_revision: fields.ForeignKeyRelation[PlanRevisionRow] = fields.ForeignKeyField(
        "provisiond.PlanRevisionRow", related_name=False, on_delete=fields.RESTRICT
    )
    currency = fields.CharField(3)
    period = fields.CharField(20)
    hostname = fields.CharField(253)
    addons: fields.Field[object] = fields.JSONField()
    prices: fields.Field[object] = fields.JSONField()
    created_at = fields.DatetimeField()
    actor = fields.CharField(200)

    class Meta:
        table = "service_order"


class IdempotencyRow(Model):
    """A key, the request it stood for and the answer it got. Never expires."""

    id = fields.BigIntField(primary_key=True)
    key = fields.CharField(200, unique=True)
    route = fields.CharField(200)
    body_hash = fields.CharField(64)
    status = fields.IntField()
    answer: fields.Field[object] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta:
        table = "idempotency"


class ServiceRow(Model):
    id = fields.BigIntField(primary_key=True)
    customer: fields.ForeignKeyRelation[CustomerRow] = fields.ForeignKeyField(
        "provisiond.CustomerRow", related_name=False, on_delete=fields.RESTRICT
    )
    order: fields.ForeignKeyRelation[OrderRow] = fields.ForeignKeyField(
        "provisiond.OrderRow", related_name=False, on_delete=fields.RESTRICT, unique=True
    )
    plan_revision: fields.ForeignKeyRelation[PlanRevisionRow] = fields.ForeignKeyField(
        "provisiond.PlanRevisionRow", related_name=False, on_delete=fields.RESTRICT
    )
    state = fields.CharField(20)
    target = fields.CharField(20, null=True)
    fault: fields.Field[object | None] = fields.JSONField(null=True)
    label = fields.CharField(200, default="")
    properties: fields.Field[object] = fields.JSONField(default=dict)
    hostname = fields.CharField(253)
    module = fields.CharField(100, null=True)
    datacenter = fields.CharField(100, null=True)
    remote_id = fields.CharField(200, null=True)
    billing_from = fields.DatetimeField(null=True)
    billing_until = fields.DatetimeField(null=True)
    closed_until = fields.DatetimeField(null=True)
    """End of its last closed period: up to here usage records exist."""
    closes_at = fields.DatetimeField(null=True)
    """When its next period can be closed at the earliest; null: not worked out yet."""
    created_at = fields.DatetimeField()

    class Meta:
        table = "service"


class OperationRow(Model):
    id = fields.BigIntField(primary_key=True)
    service: fields.ForeignKeyRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, on_delete=fields.RESTRICT, db_index=True
    )
    verb = fields.CharField(20)
    status = fields.CharField(20)
    phase = fields.CharField(10, default="forward")
    params: fields.Field[object] = fields.JSONField(default=dict)
    due_at = fields.DatetimeField(null=True)
    deadline = fields.DatetimeField()
    waiting_for = fields.TextField(null=True)
    waiting_since = fields.DatetimeField(null=True)
    leg = fields.BigIntField(default=0)
    fence = fields.BigIntField(default=0)
    owner = fields.CharField(200, null=True)
    cancel = fields.TextField(null=True)
    error: fields.Field[object | None] = fields.JSONField(null=True)
    created_at = fields.DatetimeField()
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "operation"


class StepRow(Model):
    id = fields.BigIntField(primary_key=True)
    operation: fields.ForeignKeyRelation[OperationRow] = fields.ForeignKeyField(
        "provisiond.OperationRow", related_name=False, on_delete=fields.RESTRICT
    )
    name = fields.CharField(100)
    ordinal = fields.IntField()
    status = fields.CharField(20)
    attempts = fields.IntField(default=0)
    sent_at = fields.DatetimeField(null=True)
    before: fields.Field[object | None] = fields.JSONField(null=True)
    result: fields.Field[object | None] = fields.JSONField(null=True)
    error: fields.Field[object | None] = fields.JSONField(null=True)
    created_at = fields.DatetimeField()
    finished_at = fields.DatetimeField(null=True)

    class Meta:
        table = "step"
        unique_together = (("operation", "name", "ordinal"),)


class ClaimRow(Model):
    """A server is taken. Written before the panel is touched."""

    id = fields.BigIntField(primary_key=True)
    module = fields.CharField(100)
    remote_id = fields.CharField(200)
    service: fields.ForeignKeyRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, on_delete=fields.RESTRICT
    )
    operation: fields.ForeignKeyRelation[OperationRow] = fields.ForeignKeyField(
        "provisiond.OperationRow", related_name=False, on_delete=fields.RESTRICT
    )
    created_at = fields.DatetimeField()
    released_at = fields.DatetimeField(null=True)

    class Meta:
        table = "claim"


class AllocationRow(Model):
    id = fields.BigIntField(primary_key=True)
    key = fields.CharField(200, unique=True)
    service: fields.ForeignKeyRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, on_delete=fields.RESTRICT, db_index=True
    )
    operation: fields.ForeignKeyRelation[OperationRow] = fields.ForeignKeyField(
        "provisiond.OperationRow", related_name=False, on_delete=fields.RESTRICT
    )
    ipam = fields.CharField(100)
    family = fields.CharField(4)
    address_type = fields.CharField(100)
    role = fields.CharField(10)
    address = fields.CharField(45, null=True)
    state = fields.CharField(10)
    module = fields.CharField(100, null=True)
    remote_id = fields.CharField(200, null=True)
    created_at = fields.DatetimeField()
    released_at = fields.DatetimeField(null=True)

    class Meta:
        table = "allocation"


class EventRow(Model):
    """The audit log: append-only, a hash chain per stream (a service, or "system")."""

    id = fields.BigIntField(primary_key=True)
    stream = fields.CharField(40)
    seq = fields.BigIntField()
    at = fields.DatetimeField()
    kind = fields.CharField(60)
    actor = fields.CharField(200)
    reason = fields.TextField(default="")
    operation_id = fields.BigIntField(null=True)
    before: fields.Field[object | None] = fields.JSONField(null=True)
    after: fields.Field[object | None] = fields.JSONField(null=True)
    hash = fields.CharField(64)

    class Meta:
        table = "event"
        unique_together = (("stream", "seq"),)


class TaskRow(Model):
    id = fields.BigIntField(primary_key=True)
    department = fields.CharField(100)
    service: fields.ForeignKeyNullableRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, null=True, on_delete=fields.RESTRICT
    )
    operation: fields.ForeignKeyNullableRelation[OperationRow] = fields.ForeignKeyField(
        "provisiond.OperationRow", related_name=False, null=True, on_delete=fields.RESTRICT, db_index=True
    )
    step = fields.CharField(100, null=True)
    ordinal = fields.IntField(default=0)
    title = fields.CharField(400)
    instructions = fields.TextField()
    wants: fields.Field[object] = fields.JSONField(default=dict)
    preset: fields.Field[object] = fields.JSONField(default=dict)
    status = fields.CharField(20)
    result: fields.Field[object | None] = fields.JSONField(null=True)
    note = fields.TextField(null=True)
    created_at = fields.DatetimeField()
    closed_at = fields.DatetimeField(null=True)
    closed_by = fields.CharField(200, null=True)

    class Meta:
        table = "task"


class OutboxRow(Model):
    """Mail (later webhooks and exports), written in the transaction that caused it, delivered at least once with a stable key."""

    id = fields.BigIntField(primary_key=True)
    key = fields.CharField(200, unique=True)
    kind = fields.CharField(40)
    payload: fields.Field[object] = fields.JSONField()
    due_at = fields.DatetimeField(null=True)
    attempts = fields.IntField(default=0)
    error = fields.TextField(null=True)
    created_at = fields.DatetimeField()
    delivered_at = fields.DatetimeField(null=True)

    class Meta:
        table = "outbox"


class SwitchRow(Model):
    """A runtime drain or disable, apart from YAML."""

    id = fields.BigIntField(primary_key=True)
    scope = fields.CharField(40)
    name = fields.CharField(100)
    value = fields.CharField(40)
    since = fields.DatetimeField()
    actor = fields.CharField(200)
    reason = fields.TextField(default="")

    class Meta:
        table = "switch"
        unique_together = (("scope", "name"),)


class NodeRow(Model):
    """A daemon that runs, or ran. `boot` changes at every start, a lapsed lease starts a new `generation`."""

    name = fields.CharField(100, primary_key=True)
    boot = fields.CharField(40)
    generation = fields.BigIntField(default=0)
    lease_until = fields.DatetimeField()
    heartbeat_at = fields.DatetimeField()
    started_at = fields.DatetimeField()
    build = fields.CharField(40)

    class Meta:
        table = "node"


class ModuleHealthRow(Model):
    """Why a module is not used now. No row means that it is well."""

    module = fields.CharField(100, primary_key=True)
    code = fields.CharField(60)
    message = fields.TextField()
    since = fields.DatetimeField()

    class Meta:
        table = "module_health"


class TokenRow(Model):
    id = fields.BigIntField(primary_key=True)
    name = fields.CharField(200)
    hash = fields.CharField(64, unique=True)
    roles: fields.Field[object] = fields.JSONField()
    created_at = fields.DatetimeField()
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "token"


class AccessLinkRow(Model):
    """A one-time link to a service's passwords. Only a hash of the link is kept."""

    id = fields.BigIntField(primary_key=True)
    hash = fields.CharField(64, unique=True)
    service: fields.ForeignKeyRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, on_delete=fields.RESTRICT
    )
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    used_at = fields.DatetimeField(null=True)

    class Meta:
        table = "access_link"


class UsageRecordRow(Model):
    id = fields.BigIntField(primary_key=True)
    service: fields.ForeignKeyRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, on_delete=fields.RESTRICT
    )
    resource = fields.CharField(60)
    period_from = fields.DatetimeField()
    period_until = fields.DatetimeField()
    base_unit = fields.CharField(20)
    base_quantity = fields.BigIntField()
    covered_us = fields.BigIntField()
    """Microseconds of the period in which the quantity is known; with the period's length it gives the coverage exactly."""
    samples = fields.BigIntField()
    revision = fields.IntField()
    created_at = fields.DatetimeField()
    known = fields.BooleanField(default=True)
    """False: nothing is known of the period, and the quantity says nothing."""
    expected = fields.BigIntField(default=0)
    classes: fields.Field[object] = fields.JSONField(default=dict)
    """Quality class -> how many samples."""
    formula = fields.IntField(default=0)
    seal = fields.CharField(80, default="")
    held = fields.BooleanField(default=False)
    aside = fields.BigIntField(default=0)
    corrected = fields.BigIntField(default=0)
    reason = fields.TextField(null=True)
    author = fields.CharField(200, default="daemon")
    basis: fields.Field[object] = fields.JSONField(default=dict)
    """What it was computed by: sources, rhythm, bounds."""

    class Meta:
        table = "usage_record"
        unique_together = (("service", "resource", "period_from", "revision"),)


class WatermarkRow(Model):
    """Up to when a source has brought all it had: a report of a module, by its last reading that came."""

    source = fields.CharField(200, primary_key=True)
    at = fields.DatetimeField()

    class Meta:
        table = "watermark"


class ServiceAlertsRow(Model):
    """Which alerts a service wants, and which of its period have been sent."""

    id = fields.BigIntField(primary_key=True)
    service: fields.ForeignKeyRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, on_delete=fields.RESTRICT, unique=True
    )
    switches: fields.Field[object] = fields.JSONField(default=dict)
    sent: fields.Field[object] = fields.JSONField(default=dict)

    class Meta:
        table = "service_alerts"


class FactRow(Model):
    """Single facts of the installation: the fingerprint of the master key, the oldest build that may use this schema."""

    name = fields.CharField(60, primary_key=True)
    value = fields.TextField()

    class Meta:
        table = "fact"


class PushedEventRow(Model):
    """Usage that somebody pushed. The row is the event and its key at once: the key lives as long as the event."""

    id = fields.BigIntField(primary_key=True)
    source = fields.CharField(255)
    event_id = fields.CharField(255)
    service: fields.ForeignKeyRelation[ServiceRow] = fields.ForeignKeyField(
        "provisiond.ServiceRow", related_name=False, on_delete=fields.RESTRICT
    )
    at = fields.DatetimeField()
    resource = fields.CharField(60)
    quantity = fields.BigIntField()
    second_resource = fields.CharField(60, null=True)
    second_quantity = fields.BigIntField(null=True)
    state = fields.CharField(12)
    why = fields.CharField(20, null=True)
    """Why it was put into quarantine."""
    actor = fields.CharField(200)
    received_at = fields.DatetimeField()
    counted_at = fields.DatetimeField(null=True)
    """Since when it counts: at once, or when a person let it out of quarantine."""

    class Meta:
        table = "pushed_event"
        unique_together = (("source", "event_id"),)


class PushedConflictRow(Model):
    """The key of an event, sent once more with another content: refused, and kept."""

    id = fields.BigIntField(primary_key=True)
    source = fields.CharField(255)
    event_id = fields.CharField(255)
    content_hash = fields.CharField(64)
    sent: fields.Field[object] = fields.JSONField()
    kept: fields.Field[object] = fields.JSONField()
    """What the event says that was there first."""
    service_id = fields.BigIntField()
    """The service of that event."""
    actor = fields.CharField(200)
    received_at = fields.DatetimeField()

    class Meta:
        table = "pushed_conflict"
        unique_together = (("source", "event_id", "content_hash"),)
