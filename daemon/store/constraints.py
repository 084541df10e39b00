"""What the database itself refuses, as SQL per dialect: partial unique indexes, checks, tables that only grow.

tortoise records conditional unique constraints and checks in a first migration without creating them, and SQLite can't add a check to a
table that exists; there a check is a pair of triggers. What stands in a list here is part of a released migration: it is never edited, a
later migration brings its own list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daemon.store.connection import Dialect


def _one_of(column: str, *values: str) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


@dataclass(frozen=True)
class Unique:
    """At most one row per `columns` among those that `where` selects (all, when it is empty)."""

    name: str
    table: str
    columns: str
    where: str = ""

    def statements(self, dialect: Dialect) -> list[str]:
        del dialect  # the same on both
        condition = f" WHERE {self.where}" if self.where else ""
        return [f"CREATE UNIQUE INDEX {self.name} ON {self.table} ({self.columns}){condition}"]


@dataclass(frozen=True)
class Index:
    name: str
    table: str
    columns: str
    where: str = ""

    def statements(self, dialect: Dialect) -> list[str]:
        del dialect  # the same on both
        condition = f" WHERE {self.where}" if self.where else ""
        return [f"CREATE INDEX {self.name} ON {self.table} ({self.columns}){condition}"]


@dataclass(frozen=True)
class Check:
    """`rule` is an SQL condition in which the row's columns are written as NEW.column; unknown (NULL) passes, as in any CHECK."""

    name: str
    table: str
    rule: str

    def statements(self, dialect: Dialect) -> list[str]:
        if dialect == "postgres":
            return [f"ALTER TABLE {self.table} ADD CONSTRAINT {self.name} CHECK ({self.rule.replace('NEW.', '')})"]
        return [
            f"CREATE TRIGGER {self.name}_{event.lower()} BEFORE {event} ON {self.table} WHEN NOT ({self.rule})"
            f" BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: {self.name}'); END"
            for event in ("INSERT", "UPDATE")
        ]


@dataclass(frozen=True)
class AppendOnly:
    """Rows of this table are never changed and never deleted."""

    table: str

    def statements(self, dialect: Dialect) -> list[str]:
        name = f"{self.table}_append_only"
        message = f"rows of {self.table} are never changed"
        if dialect == "sqlite":
            return [
                f"CREATE TRIGGER {name}_{event.lower()} BEFORE {event} ON {self.table} BEGIN SELECT RAISE(ABORT, '{message}'); END"
                for event in ("UPDATE", "DELETE")
            ]
        complain = f"RAISE EXCEPTION '{message}' USING ERRCODE = 'restrict_violation'"
        return [
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {complain}; END $$",
            f"CREATE TRIGGER {name} BEFORE UPDATE OR DELETE ON {self.table} FOR EACH ROW EXECUTE FUNCTION {name}()",
            f"CREATE TRIGGER {name}_truncate BEFORE TRUNCATE ON {self.table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()",
        ]


Rule = Unique | Index | Check | AppendOnly


def statements(rules: Iterable[Rule], dialect: Dialect) -> list[str]:
    return [statement for rule in rules for statement in rule.statements(dialect)]


FIRST: tuple[Rule, ...] = (
    # never two of anything for one order
    Unique("service_one_per_order", "service", "order_id"),
    Unique("operation_one_open_per_service", "operation", "service_id", "status = 'open'"),
    Unique("claim_one_per_server", "claim", "module, remote_id", "released_at IS NULL"),
    Unique("claim_one_per_service", "claim", "service_id", "released_at IS NULL"),
    Unique("allocation_one_per_address", "allocation", "ipam, address", "state <> 'released' AND address IS NOT NULL"),
    Unique("task_one_open_per_step", "task", "operation_id, step, ordinal", "status = 'open'"),
    # service
    Check("service_state", "service", _one_of("NEW.state", "pending", "active", "suspended", "released")),
    Check("service_target", "service", _one_of("NEW.target", "pending", "active", "suspended", "released")),
    Check("service_billing_needs_work", "service", "NEW.billing_from IS NULL OR NEW.state <> 'pending'"),
    Check("service_billing_has_begun", "service", "NEW.billing_until IS NULL OR NEW.billing_from IS NOT NULL"),
    Check("service_billing_order", "service", "NEW.billing_until >= NEW.billing_from"),
    # operation and its journal
    Check(
        "operation_verb",
        "operation",
        _one_of("NEW.verb", "provision", "change", "suspend", "resume", "reinstall", "power", "release"),
    ),
    Check("operation_status", "operation", _one_of("NEW.status", "queued", "open", "done", "failed", "superseded")),
    Check("operation_phase", "operation", _one_of("NEW.phase", "forward", "undo")),
    Check("operation_counters", "operation", "NEW.leg >= 0 AND NEW.fence >= 0"),
    Check("operation_owner_while_open", "operation", "NEW.owner IS NULL OR NEW.status = 'open'"),
    Check("operation_finish", "operation", "(NEW.finished_at IS NULL) = (NEW.status IN ('queued', 'open'))"),
    Check("step_status", "step", _one_of("NEW.status", "intent", "waiting", "done", "failed")),
    Check("step_counters", "step", "NEW.attempts >= 0 AND NEW.ordinal >= 0"),
    # what is taken
    Check("claim_order", "claim", "NEW.released_at >= NEW.created_at"),
    Check("allocation_family", "allocation", _one_of("NEW.family", "ipv4", "ipv6")),
    Check("allocation_role", "allocation", _one_of("NEW.role", "main", "extra")),
    Check("allocation_state", "allocation", _one_of("NEW.state", "held", "bound", "parked", "cooling", "released")),
    Check("allocation_release", "allocation", "(NEW.released_at IS NULL) = (NEW.state <> 'released')"),
    Check("allocation_has_address", "allocation", "NEW.address IS NOT NULL OR NEW.state NOT IN ('bound', 'parked')"),
    # people
    Check("task_status", "task", _one_of("NEW.status", "open", "closed", "withdrawn")),
    Check("task_closing", "task", "(NEW.closed_at IS NULL) = (NEW.status = 'open')"),
    # quantities
    Check(
        "usage_record_quantities",
        "usage_record",
        "NEW.base_quantity >= 0 AND NEW.covered_us >= 0 AND NEW.samples >= 0",
    ),
    Check("usage_record_period", "usage_record", "NEW.period_until >= NEW.period_from AND NEW.revision >= 1"),
    Check("event_seq", "event", "NEW.seq >= 1"),
    Check("outbox_attempts", "outbox", "NEW.attempts >= 0"),
    Check("node_generation", "node", "NEW.generation >= 0"),
    # what only grows
    AppendOnly("event"),
    AppendOnly("usage_record"),
    AppendOnly("plan_revision"),
    AppendOnly("service_order"),
    # what is looked for often
    Index("operation_due", "operation", "status, due_at"),
    Index("operation_owner", "operation", "owner", "owner IS NOT NULL"),
    Index("outbox_due", "outbox", "due_at", "delivered_at IS NULL"),
    Index("service_customer", "service", "customer_id"),
    Index("service_state_index", "service", "state"),
    Index("service_server", "service", "module, remote_id"),
    Index("allocation_server", "allocation", "module, remote_id", "state <> 'released'"),
    Index("allocation_operation", "allocation", "operation_id"),
    Index("task_status_index", "task", "status"),
)

PUSHED: tuple[Rule, ...] = (
    Check("pushed_event_state", "pushed_event", _one_of("NEW.state", "accepted", "quarantined", "discarded")),
    Check("pushed_event_quantities", "pushed_event", "NEW.quantity >= 0 AND COALESCE(NEW.second_quantity, 0) >= 0"),
    Check("pushed_event_second", "pushed_event", "(NEW.second_resource IS NULL) = (NEW.second_quantity IS NULL)"),
    Check("pushed_event_counts", "pushed_event", "(NEW.counted_at IS NULL) = (NEW.state <> 'accepted')"),
    Check("pushed_event_quarantine", "pushed_event", "NEW.why IS NOT NULL OR NEW.state = 'accepted'"),
    AppendOnly("pushed_conflict"),
    Index("pushed_event_of_service", "pushed_event", "service_id, at"),
    Index("pushed_event_waiting", "pushed_event", "id", "state = 'quarantined'"),
)

METERING: tuple[Rule, ...] = (
    Index("pushed_event_counted", "pushed_event", "counted_at", "counted_at IS NOT NULL"),
    Index("usage_record_held", "usage_record", "id", "held"),
    # tortoise makes no constraint of a foreign key that is unique
    Unique("service_alerts_service", "service_alerts", "service_id"),
)
