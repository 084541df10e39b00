"""`provisiond usage` for usage records: looking at them, deciding about those that wait, and proving them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from daemon.cli import client, lists, out, values
from daemon.cli.lazy import JsonCommand, State

VERIFIED_AT_ONCE = 250


@click.command("records", cls=JsonCommand)
@click.option("--service", type=click.IntRange(1), help="Only records of this service.")
@click.option("--held", is_flag=True, help="Only those that wait for a person.")
@click.option("--newest", is_flag=True, help="Only the last revision of each.")
@lists.page_options
@click.pass_obj
def records(
    state: State, service: int | None, limit: int, after: str | None, *, held: bool, newest: bool, everything: bool
) -> None:
    """What bills rest on: closed quantities, newest first."""

    def row(item: dict[str, Any]) -> out.Row:
        return (
            item["id"],
            item["service"],
            item["resource"],
            out.moment(item["from"]),
            out.moment(item["until"]),
            _quantity(item),
            f"{item['coverage'] or '-'} %",
            item["revision"],
            item["reason"] if item["held"] else None,
        )

    columns = ("ID", "SERVICE", "RESOURCE", "FROM", "UNTIL", "QUANTITY", "KNOWN", "REVISION", "HELD")
    query = {"service": service, "held": "true" if held else None, "newest": "true" if newest else None}
    lists.show(state, "/v1/usage-records", query, columns, row, limit=limit, after=after, everything=everything)


def _quantity(item: dict[str, Any]) -> str:
    return "unknown" if item["quantity"] is None else f"{item['quantity']} {item['unit']}"


@click.command("record", cls=JsonCommand)
@click.argument("record_id", metavar="RECORD", type=click.IntRange(1))
@click.pass_obj
def record(state: State, record_id: int) -> None:
    """One usage record, with everything it was made from."""
    out.emit(state, client.ask(state, "GET", f"/v1/usage-records/{record_id}"), _show)


def _show(item: dict[str, Any]) -> None:
    base = f" ({item['base_quantity']} {item['base_unit']})" if item["base_quantity"] is not None else ""
    out.facts(
        [
            ("id", item["id"]),
            ("service", item["service"]),
            ("resource", item["resource"]),
            ("period", f"{out.moment(item['from'])} to {out.moment(item['until'])}"),
            ("quantity", f"{_quantity(item)}{base}"),
            ("held", item["held"]),
            ("revision", f"{item['revision']} by {item['author']}"),
            ("reason", item["reason"]),
            ("known", f"{item['coverage'] or '-'} %"),
            ("readings", f"{item['samples']} of {item['expected']}"),
            ("classes", [f"{name} {count}" for name, count in item["classes"].items()]),
            ("put aside", f"{item['aside']} {item['base_unit']}"),
            ("taken back", f"{item['corrected']} {item['base_unit']}"),
            ("rules", item["formula"]),
            ("seal", item["seal"]),
        ]
    )


@click.command("accept", cls=JsonCommand)
@click.argument("record_id", metavar="RECORD", type=click.IntRange(1))
@values.why_options
@click.pass_obj
def accept(state: State, record_id: int, reason: str, key: str | None) -> None:
    """Let a held usage record be billed as it is."""
    _revise(state, record_id, {"reason": reason}, key)


@click.command("correct", cls=JsonCommand)
@click.argument("record_id", metavar="RECORD", type=click.IntRange(1))
@click.option("--quantity", required=True, help="What is to be billed, exact, in the unit of the record.")
@values.why_options
@click.pass_obj
def correct(state: State, record_id: int, quantity: str, reason: str, key: str | None) -> None:
    """Bill another quantity: a new revision, the old one stays."""
    _revise(state, record_id, {"quantity": quantity, "reason": reason}, key)


def _revise(state: State, record_id: int, body: dict[str, Any], key: str | None) -> None:
    made = client.ask(state, "POST", f"/v1/usage-records/{record_id}/revisions", body, key=key)
    out.emit(
        state, made, lambda made: click.echo(f"record {made['id']}, revision {made['revision']}: {_quantity(made)}")
    )


@click.command("verify", cls=JsonCommand)
@click.argument("record_ids", metavar="[RECORD]...", nargs=-1, type=click.IntRange(1))
@click.option("--all", "everything", is_flag=True, help="Every record.")
@click.option("--service", type=click.IntRange(1), help="Every record of this service.")
@click.pass_obj
def verify(state: State, record_ids: tuple[int, ...], service: int | None, *, everything: bool) -> None:
    """Make usage records again from their samples, bit for bit; exit code 1 when one is not as it was."""
    if bool(record_ids) + everything + (service is not None) != 1:
        raise click.UsageError("say which records: their numbers, --service NUMBER, or --all")
    counts: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []
    unknown: list[int] = []
    for ids in _batches(list(record_ids)) if record_ids else _pages(state, service):
        body = client.ask(state, "POST", "/v1/usage-records/verify", {"ids": ids})
        counts.update(item["proof"] for item in body["items"])
        kept += [item for item in body["items"] if item["proof"] != "intact"]
        unknown += body["unknown"]

    def human(_body: Any) -> None:
        for item in kept:
            what = f"{item['resource']} of service {item['service']} from {out.moment(item['from'])}"
            findings = out.safe("; ".join(item["findings"]))
            click.echo(f"record {item['id']} ({what}, revision {item['revision']}): {item['proof']}: {findings}")
        for record_id in unknown:
            click.echo(f"record {record_id}: there is none", err=True)
        click.echo(", ".join(f"{count} {proof}" for proof, count in sorted(counts.items())) or "no records")

    out.emit(state, {"counts": dict(counts), "items": kept, "unknown": unknown}, human)
    raise SystemExit(1 if counts["broken"] or unknown else 0)


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), VERIFIED_AT_ONCE):
        yield ids[start : start + VERIFIED_AT_ONCE]


def _pages(state: State, service: int | None) -> Iterator[list[int]]:
    query: dict[str, Any] = {"limit": VERIFIED_AT_ONCE, "service": service}
    while True:
        body = client.ask(state, "GET", "/v1/usage-records", query=query)
        if body["items"]:
            yield [item["id"] for item in body["items"]]
        if body["next"] is None:
            return
        query["after"] = body["next"]


COMMANDS = (records, record, accept, correct, verify)
