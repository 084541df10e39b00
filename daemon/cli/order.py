"""`provisiond order`."""

from __future__ import annotations

import uuid
from typing import Any

import click

from daemon.cli import client, lists, out
from daemon.cli.lazy import Noun, State
from daemon.cli.values import Document, read_document


@click.group(cls=Noun)
def order() -> None:
    """Order, or see what an order would do."""


@order.command("create")
@click.argument("file", metavar="FILE|-")
@click.option("--key", help="Idempotency key; without it a new one is made, and told when the answer is lost.")
@click.pass_obj
def create(state: State, file: str, key: str | None) -> None:
    """Order what FILE (YAML or JSON) says."""
    body = _send(state, "/v1/orders", read_document(file), key or str(uuid.uuid4()))

    def human(body: dict[str, Any]) -> None:
        operation = body["operation"]["id"]
        click.echo(f"order {body['order']['id']}, service {body['service']['id']}, operation {operation}")
        click.echo(f"follow it: {state.command} operation show {operation}", err=True)

    out.emit(state, body, human)


@order.command("plan")
@click.argument("file", metavar="FILE|-")
@click.pass_obj
def plan(state: State, file: str) -> None:
    """Say what the order in FILE would do, on which module and why; nothing is done."""
    body = _send(state, "/v1/orders/plan", read_document(file), None)
    out.emit(state, body, _human_plan)
    raise SystemExit(0 if body["module"] else 1)


def _send(state: State, path: str, document: Document, key: str | None) -> Any:
    try:
        return client.fetch(state, "POST", path, document.data, key=key)
    except client.Problem as problem:
        found = {error["field"]: document.places(error["field"]) for error in problem.body["errors"]}
        client.refuse(state, problem.body, {field: place for field, place in found.items() if place})


def _human_plan(body: dict[str, Any]) -> None:
    out.facts(
        [
            ("plan", body["plan"]),
            ("module", body["module"] or "none can carry it now"),
            ("server", body["server"]),
            ("add-ons", [f"{name}={value}" for name, value in body["addons"].items()]),
        ]
    )
    click.echo("\nmodules, as they were looked at:")
    rows = [(v["module"], "unknown" if v["free"] is None else v["free"], v["reason"] or "chosen") for v in body["why"]]
    out.table(("MODULE", "FREE", "WHY"), rows)
    click.echo("\nthe order would:")
    for number, sentence in enumerate(body["would"], 1):
        click.echo(out.safe(f"  {number}. {sentence}"))


@order.command("show")
@click.argument("order_id", metavar="ID", type=click.IntRange(1))
@click.pass_obj
def show(state: State, order_id: int) -> None:
    """One order with its service and newest operation."""
    out.emit(state, client.ask(state, "GET", f"/v1/orders/{order_id}"), _human)


def _human(body: dict[str, Any]) -> None:
    order, service, operation = body["order"], body["service"], body["operation"]
    prices = order["prices"]
    out.facts(
        [
            ("order", order["id"]),
            ("plan", order["plan"]),
            ("customer", f"{order['customer']['ref']}  {order['customer']['name']}"),
            ("host name", order["hostname"]),
            ("add-ons", [f"{name}={value}" for name, value in order["addons"].items()]),
            ("price", f"{prices['period']} {order['currency']} a {order['period']}, set-up {prices['setup']}"),
            ("ordered", f"{out.moment(order['created_at'])} by {order['actor']}"),
            ("service", f"{service['id']} ({service['state']})"),
            ("operation", f"{operation['id']} ({operation['verb']}, {operation['status']})" if operation else None),
        ]
    )


def _row(item: dict[str, Any]) -> out.Row:
    return (
        item["id"],
        item["plan"],
        item["customer"]["ref"],
        item["hostname"],
        item["service"],
        out.moment(item["created_at"]),
    )


@order.command("list")
@lists.page_options
@click.pass_obj
def list_orders(state: State, limit: int, after: str | None, *, everything: bool) -> None:
    """All orders, newest first."""
    columns = ("ID", "PLAN", "CUSTOMER", "HOST NAME", "SERVICE", "ORDERED")
    lists.show(state, "/v1/orders", {}, columns, _row, limit=limit, after=after, everything=everything)
