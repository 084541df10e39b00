"""Each rule of the database is broken once, on both kinds; each must refuse."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from datetime import timedelta

import pytest
from tortoise.exceptions import IntegrityError

from daemon.domain.address import AddressState, Role
from daemon.domain.operation import Phase, Status, StepStatus, Verb
from daemon.domain.service import State
from daemon.domain.task import TaskStatus
from daemon.store.constraints import FIRST, AppendOnly, Check, Index
from daemon.store.database import Store
from tests.store.rows import a_service, an_operation

INSERTS = {
    "operation": "INSERT INTO operation (service_id, verb, status, phase, params, deadline, leg, fence, created_at)"
    " VALUES ({service}, 'provision', 'open', 'forward', '{{}}', {now}, 0, 0, {now})",
    "claim": "INSERT INTO claim (module, remote_id, service_id, operation_id, created_at) VALUES ('m', '{remote}', {service}, {operation}, {now})",
    "allocation": "INSERT INTO allocation (key, service_id, operation_id, ipam, family, address_type, role, address, state, created_at)"
    " VALUES ('{key}', {service}, {operation}, 'i', 'ipv4', 't', 'main', {address}, 'held', {now})",
    "task": "INSERT INTO task (department, operation_id, step, ordinal, title, instructions, wants, preset, status, created_at)"
    " VALUES ('d', {operation}, 's', 0, 't', 'i', '{{}}', '{{}}', 'open', {now})",
    "step": "INSERT INTO step (operation_id, name, ordinal, status, attempts, created_at) VALUES ({operation}, 's', 0, 'intent', 0, {now})",
    "event": "INSERT INTO event (stream, seq, at, kind, actor, reason, hash) VALUES ('system', 1, {now}, 'k', 'a', '', 'h')",
    "outbox": "INSERT INTO outbox (key, kind, payload, attempts, created_at) VALUES ('k', 'mail', '{{}}', 0, {now})",
    "node": "INSERT INTO node (name, boot, generation, lease_until, heartbeat_at, started_at, build) VALUES ('n', 'b', 1, {now}, {now}, {now}, 'x')",
    "usage_record": "INSERT INTO usage_record (service_id, resource, period_from, period_until, base_unit, base_quantity, covered_us,"
    " samples, revision, created_at) VALUES ({service}, 'in', {now}, {later}, 'B', 1, 1, 1, 1, {now})",
}

BREAKS = {
    "service_state": "UPDATE service SET state = 'gone'",
    "service_target": "UPDATE service SET target = 'gone'",
    "service_billing_needs_work": "UPDATE service SET billing_from = {now}",
    "service_billing_has_begun": "UPDATE service SET state = 'active', billing_until = {now}",
    "service_billing_order": "UPDATE service SET state = 'active', billing_from = {later}, billing_until = {now}",
    "operation_verb": "UPDATE operation SET verb = 'explode'",
    "operation_status": "UPDATE operation SET status = 'lost', finished_at = {now}",
    "operation_phase": "UPDATE operation SET phase = 'sideways'",
    "operation_counters": "UPDATE operation SET fence = -1",
    "operation_owner_while_open": "UPDATE operation SET status = 'done', finished_at = {now}, owner = 'n/1'",
    "operation_finish": "UPDATE operation SET status = 'done'",
    "step_status": "UPDATE step SET status = 'lost'",
    "step_counters": "UPDATE step SET attempts = -1",
    "claim_order": "UPDATE claim SET released_at = {earlier}",
    "allocation_family": "UPDATE allocation SET family = 'ipv5'",
    "allocation_role": "UPDATE allocation SET role = 'other'",
    "allocation_state": "UPDATE allocation SET state = 'lost'",
    "allocation_release": "UPDATE allocation SET state = 'released'",
    "allocation_has_address": "UPDATE allocation SET state = 'bound', address = NULL",
    "task_status": "UPDATE task SET status = 'lost', closed_at = {now}",
    "task_closing": "UPDATE task SET status = 'closed'",
    "outbox_attempts": "UPDATE outbox SET attempts = -1",
    "node_generation": "UPDATE node SET generation = -1",
}
"""Rules that an update can break, by name."""

BAD_INSERTS = {
    "usage_record_quantities": ("usage_record", "'B', 1, 1", "'B', -1, 1"),
    "usage_record_period": ("usage_record", "{now}, {later}", "{now}, {earlier}"),
    "event_seq": ("event", "'system', 1", "'system', 0"),
}
"""Rules of tables that can't be updated: (table, part of its good insert, what breaks it)."""


class Broken:
    """A store with one good row of each kind; `refuses` runs a statement that must fail."""

    def __init__(self, store: Store, service: int, operation: int) -> None:
        self.store = store
        now = store.clock.now()
        self.words: dict[str, object] = {
            "service": service,
            "operation": operation,
            "now": self.text(now),
            "later": self.text(now + timedelta(hours=1)),
            "earlier": self.text(now - timedelta(hours=1)),
            "key": "k1",
            "remote": "r1",
            "address": "'192.0.2.1'",
        }

    def text(self, moment) -> str:
        return f"'{self.store.read._value(moment)}'"

    async def run(self, statement: str, **words: object) -> None:
        async with self.store.transaction() as tx:
            await tx.db.execute_query(statement.format(**{**self.words, **words}))

    async def refuses(self, statement: str, **words: object) -> str:
        with pytest.raises(IntegrityError) as caught:
            await self.run(statement, **words)
        return str(caught.value)


@pytest.fixture
async def broken(store: Store) -> Broken:
    async with store.transaction() as tx:
        operation = await an_operation(tx)
    broken = Broken(store, operation.service_id, operation.id)
    for table, statement in INSERTS.items():
        if table != "operation":
            await broken.run(statement)
    return broken


def rules(kind: type) -> Iterable[str]:
    return [rule.name for rule in FIRST if isinstance(rule, kind)]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", rules(Check))
async def test_a_row_that_breaks_a_rule_is_refused(broken: Broken, name: str) -> None:
    if name in BAD_INSERTS:
        table, good, bad = BAD_INSERTS[name]
        assert good in INSERTS[table]
        message = await broken.refuses(INSERTS[table].replace(good, bad))
    else:
        message = await broken.refuses(BREAKS[name])
    assert name in message


async def test_a_service_has_one_open_operation_and_any_number_of_others(broken: Broken) -> None:
    await broken.run(INSERTS["operation"].replace("'open'", "'queued'"))
    await broken.refuses(INSERTS["operation"])
    await broken.run("UPDATE operation SET status = 'done', finished_at = {now} WHERE status = 'open'")
    await broken.run(INSERTS["operation"])


async def test_a_server_is_claimed_once_and_again_after_its_release(broken: Broken) -> None:
    async with broken.store.transaction() as tx:
        other = await a_service(tx)
    await broken.refuses(INSERTS["claim"], service=other)
    await broken.refuses(INSERTS["claim"], remote="r2")
    await broken.run("UPDATE claim SET released_at = {later}")
    await broken.run(INSERTS["claim"], service=other)


async def test_an_address_is_held_once_whatever_its_state_until_it_is_released(broken: Broken) -> None:
    for state in ("bound", "parked", "cooling"):
        await broken.run(f"UPDATE allocation SET state = '{state}'")
        await broken.refuses(INSERTS["allocation"], key=f"again-{state}")
    await broken.run("UPDATE allocation SET state = 'released', released_at = {now}")
    await broken.run(INSERTS["allocation"], key="k2")
    await broken.run(INSERTS["allocation"], key="k3", address="NULL")
    await broken.run(INSERTS["allocation"], key="k4", address="NULL")


async def test_a_key_stands_for_one_allocation_for_ever(broken: Broken) -> None:
    await broken.run("UPDATE allocation SET state = 'released', released_at = {now}")
    await broken.refuses(INSERTS["allocation"], address="'192.0.2.2'")


async def test_a_step_has_one_open_task(broken: Broken) -> None:
    await broken.refuses(INSERTS["task"])
    await broken.run("UPDATE task SET status = 'withdrawn', closed_at = {now}")
    await broken.run(INSERTS["task"])


async def test_an_order_has_one_service(broken: Broken) -> None:
    await broken.refuses(
        "INSERT INTO service (customer_id, order_id, plan_revision_id, state, label, properties, hostname, created_at)"
        " SELECT customer_id, order_id, plan_revision_id, state, label, properties, hostname, created_at FROM service"
    )


async def test_two_events_of_one_stream_have_different_numbers(broken: Broken) -> None:
    await broken.refuses(INSERTS["event"])


@pytest.mark.parametrize("table", [rule.table for rule in FIRST if isinstance(rule, AppendOnly)])
async def test_what_only_grows_is_neither_changed_nor_deleted(broken: Broken, table: str) -> None:
    column = {"event": "kind", "usage_record": "resource", "plan_revision": "name", "service_order": "hostname"}[table]
    assert "never changed" in await broken.refuses(f"UPDATE {table} SET {column} = 'x'")
    assert "never changed" in await broken.refuses(f"DELETE FROM {table}")


async def test_the_audit_log_is_not_truncated(postgres_store: Store) -> None:
    with pytest.raises(IntegrityError):
        async with postgres_store.transaction() as tx:
            await tx.execute("TRUNCATE event")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("service_state", State),
        ("service_target", State),
        ("operation_status", Status),
        ("operation_phase", Phase),
        ("step_status", StepStatus),
        ("allocation_state", AddressState),
        ("allocation_role", Role),
        ("task_status", TaskStatus),
    ],
)
def test_a_rule_knows_the_words_of_the_domain(rule: str, words: type[enum.StrEnum]) -> None:
    assert _words(rule) == {str(word) for word in words}


def test_the_rule_of_verbs_knows_those_to_come_as_well() -> None:
    assert {str(verb) for verb in Verb} <= _words("operation_verb")


def _words(name: str) -> set[str]:
    check = next(rule for rule in FIRST if isinstance(rule, Check) and rule.name == name)
    return set(re.findall(r"'(\w+)'", check.rule))


async def test_the_sweep_reads_an_index(sqlite_store: Store) -> None:
    plan = await sqlite_store.read.fetch(
        "EXPLAIN QUERY PLAN SELECT id FROM operation WHERE status = 'open' AND owner IS NULL AND due_at <= 'x'"
    )
    assert "operation_due" in plan[0]["detail"]
    assert "operation_due" in rules(Index)
