"""`provisiond service`."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli import client, lists, out
from daemon.cli.lazy import Noun, State
from daemon.cli.usage import resolution_options, show_usage
from daemon.cli.values import reason_options

ALERTS = ("80", "100", "beyond")
SERVICE = click.argument("service_id", metavar="ID", type=click.IntRange(1))


@click.group(cls=Noun)
def service() -> None:
    """What customers have."""


def _row(item: dict[str, Any]) -> out.Row:
    state = f"{item['state']} -> {item['target']}" if item["target"] else item["state"]
    main = next((a["address"] for a in item["addresses"] if a["role"] == "main"), None)
    return (
        item["id"],
        state,
        item["plan"],
        item["customer"]["ref"],
        item["server"]["hostname"],
        main,
        item["module"],
        item["fault"]["message"] if item["fault"] else None,
    )


@service.command("list")
@click.option("--state", "wanted", type=click.Choice(("pending", "active", "suspended", "released")))
@click.option("--customer", help="Only services of the customer with this ref.")
@lists.page_options
@click.pass_obj
def list_services(
    state: State, wanted: str | None, customer: str | None, limit: int, after: str | None, *, everything: bool
) -> None:
    """All services, newest first."""
    columns = ("ID", "STATE", "PLAN", "CUSTOMER", "HOST NAME", "ADDRESS", "MODULE", "FAULT")
    query = {"state": wanted, "customer": customer}
    lists.show(state, "/v1/services", query, columns, _row, limit=limit, after=after, everything=everything)


@service.command("show")
@SERVICE
@click.pass_obj
def show(state: State, service_id: int) -> None:
    """One service."""
    out.emit(state, client.ask(state, "GET", f"/v1/services/{service_id}"), lambda body: _human(state, body))


def _human(state: State, body: dict[str, Any]) -> None:
    fault = body["fault"]
    out.facts(
        [
            ("service", body["id"]),
            ("state", f"{body['state']} -> {body['target']}" if body["target"] else body["state"]),
            ("fault", f"{fault['message']} (since {out.moment(fault['since'])})" if fault else None),
            ("plan", body["plan"]),
            ("customer", f"{body['customer']['ref']}  {body['customer']['name']}"),
            ("server", f"{body['server']['remote_id'] or '-'} on {body['module'] or '-'}"),
            ("host name", body["server"]["hostname"]),
            ("add-ons", [f"{name}={value}" for name, value in body["addons"].items()]),
            ("billed", f"{out.moment(body['billing_from'])} to {out.moment(body['billing_until'])}"),
        ]
    )
    if body["addresses"]:
        click.echo()
        rows = [(a["address"], a["family"], a["type"], a["role"], a["parked"]) for a in body["addresses"]]
        out.table(("ADDRESS", "FAMILY", "TYPE", "ROLE", "PARKED"), rows)
    if fault:
        click.echo(f"\nwhat to do: {state.command} operation why {fault['operation']}")


@service.command("release")
@SERVICE
@reason_options
@click.pass_obj
def release(state: State, service_id: int, reason: str, key: str | None) -> None:
    """Give a service back: its server, its addresses, its name."""
    body = client.ask(state, "POST", f"/v1/services/{service_id}/release", {"reason": reason}, key=key)
    out.emit(state, body, lambda body: click.echo(f"operation {body['operation']['id']} releases service {service_id}"))


@service.command("access")
@SERVICE
@click.option("--reason", default="", help="Why; stands in the audit log.")
@click.pass_obj
def access(state: State, service_id: int, reason: str) -> None:
    """Show the passwords of a service. Who asked, and why, is recorded."""
    body = client.ask(state, "POST", f"/v1/services/{service_id}/access", {"reason": reason})

    def human(body: dict[str, Any]) -> None:
        out.facts(
            [
                ("host name", body["hostname"]),
                ("address", body["address"]),
                ("root password", body["root_password"]),
                ("panel user", body["user"]),
                ("user's password", body["user_password"]),
            ]
        )
        if body["note"]:
            click.echo(body["note"], err=True)

    out.emit(state, body, human)


@service.command("events")
@SERVICE
@lists.page_options
@click.pass_obj
def events(state: State, service_id: int, limit: int, after: str | None, *, everything: bool) -> None:
    """The story of a service, oldest first: who did what, when and why."""

    def row(item: dict[str, Any]) -> out.Row:
        after = item["after"] if isinstance(item["after"], dict) else {}
        what = f"{item['kind']} {after['step']}" if "step" in after else item["kind"]
        return item["seq"], out.moment(item["at"]), what, item["actor"], item["operation"], item["reason"]

    path = f"/v1/services/{service_id}/events"
    columns = ("NUMBER", "AT", "WHAT", "WHO", "OPERATION", "WHY")
    lists.show(state, path, {}, columns, row, limit=limit, after=after, everything=everything)


@service.command("alerts")
@SERVICE
@click.option(
    "--on", "on", multiple=True, type=click.Choice(ALERTS), help="Tell the customer of this. May be repeated."
)
@click.option("--off", "off", multiple=True, type=click.Choice(ALERTS), help="Be silent about this. May be repeated.")
@reason_options
@click.pass_obj
def alerts(
    state: State, service_id: int, on: tuple[str, ...], off: tuple[str, ...], reason: str, key: str | None
) -> None:
    """Show, or switch on and off, of which usage the customer hears; and of what was told already."""
    both = set(on) & set(off)
    if both:
        raise click.UsageError(f"{', '.join(sorted(both))} can't be both on and off")
    path, changes = f"/v1/services/{service_id}/alerts", dict.fromkeys(on, True) | dict.fromkeys(off, False)
    if changes:
        body = client.ask(state, "PUT", path, {**changes, "reason": reason}, key=key)
    else:
        body = client.ask(state, "GET", path)
    out.emit(state, body, _alerts)


def _alerts(body: dict[str, Any]) -> None:
    names = {"80": "at 80 %", "100": "at 100 %", "beyond": "beyond 100 %"}
    out.facts([("service", body["service"]), *((names[name], "on" if body[name] else "off") for name in ALERTS)])
    if body["reported"]:
        click.echo()
        rows = [(one["resource"], one["period"], one["80"], one["100"], one["beyond"]) for one in body["reported"]]
        out.table(("RESOURCE", "PERIOD", "80 % TOLD", "100 % TOLD", "STEPS BEYOND TOLD"), rows)


@service.command("usage")
@SERVICE
@resolution_options
@click.pass_obj
def usage(state: State, service_id: int, since: str | None, until: str | None, resolution: str) -> None:
    """What a service used."""
    show_usage(state, service_id, since, until, resolution)
