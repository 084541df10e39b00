"""`provisiond usage`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from daemon.cli import client, lists, out
from daemon.cli.lazy import Noun, State
from daemon.domain.errors import Refused

F = TypeVar("F", bound=Callable[..., Any])


def resolution_options(command: F) -> F:
    """`--from`, `--until` and `--resolution`."""
    command = click.option(
        "--resolution", type=click.Choice(("raw", "hour", "day", "month")), default="day", show_default=True
    )(command)
    command = click.option("--until", help="ISO 8601 with an offset; without it: the end of billing, or now.")(command)
    return click.option("--from", "since", help="ISO 8601 with an offset; without it: the start of billing.")(command)


@click.group(cls=Noun)
def usage() -> None:
    """What services used."""


@usage.command("show")
@click.argument("service_id", metavar="SERVICE", type=click.IntRange(1))
@resolution_options
@click.pass_obj
def show(state: State, service_id: int, since: str | None, until: str | None, resolution: str) -> None:
    """What a service used."""
    show_usage(state, service_id, since, until, resolution)


def show_usage(state: State, service_id: int, since: str | None, until: str | None, resolution: str) -> None:
    query = {"from": since, "until": until, "resolution": resolution}
    body = client.ask(state, "GET", f"/v1/services/{service_id}/usage", query=query)

    def human(body: dict[str, Any]) -> None:
        rows = [
            (r["resource"], out.moment(p["from"]), out.moment(p["until"]), p["value"], r["unit"])
            for r in body["resources"]
            for p in r["points"]
        ]
        out.table(("RESOURCE", "FROM", "UNTIL", "USED", "UNIT"), rows)
        click.echo()
        totals = [(r["resource"], r["total"], r["unit"], f"{r['coverage'] or '-'} %") for r in body["resources"]]
        out.table(("RESOURCE", "TOTAL", "UNIT", "KNOWN"), totals)

    out.emit(state, body, human)


@usage.command("records")
@click.option("--service", type=click.IntRange(1), help="Only records of this service.")
@lists.page_options
@click.pass_obj
def records(state: State, service: int | None, limit: int, after: str | None, *, everything: bool) -> None:
    """What bills rest on: closed quantities, newest first."""

    def row(item: dict[str, Any]) -> out.Row:
        return (
            item["id"],
            item["service"],
            item["resource"],
            out.moment(item["from"]),
            out.moment(item["until"]),
            f"{item['quantity']} {item['unit']}",
            f"{item['coverage'] or '-'} %",
            item["revision"],
        )

    columns = ("ID", "SERVICE", "RESOURCE", "FROM", "UNTIL", "QUANTITY", "KNOWN", "REVISION")
    lists.show(
        state, "/v1/usage-records", {"service": service}, columns, row, limit=limit, after=after, everything=everything
    )


@usage.command("poll")
@click.pass_obj
def poll(state: State) -> None:
    """Read the counters of all modules now."""
    body = client.ask(state, "POST", "/v1/usage/poll")

    def human(body: dict[str, Any]) -> None:
        rows = [(r["module"], r["servers"], r["samples"], r["missing"], r["problems"]) for r in body["items"]]
        out.table(("MODULE", "SERVERS", "SAMPLES", "MISSING", "PROBLEMS"), rows)

    out.emit(state, body, human)
    raise SystemExit(1 if any(r["problems"] for r in body["items"]) else 0)


PUSHED_AT_ONCE = 1000
"""Events of one request: a file of any length goes in small pieces."""


@usage.command("push")
@click.argument("file", metavar="FILE|-", type=click.File("rb"))
@click.pass_obj
def push(state: State, file: BinaryIO) -> None:
    """Push usage events: a CloudEvents object, a list of them, or one a line. What was pushed before counts once."""
    items: list[dict[str, Any]] = []
    events = _events(file.read())
    for start in range(0, len(events), PUSHED_AT_ONCE):
        items += client.ask(state, "POST", "/v1/usage", events[start : start + PUSHED_AT_ONCE])["items"]
    bad = [(number, item) for number, item in enumerate(items, 1) if item["error"]]

    def human(_body: Any) -> None:
        for number, item in bad:
            error = item["error"]
            reasons = [f"{e['field']}: {e['message']}" for e in error["errors"]] or [error["message"]]
            click.echo(out.safe(f"event {number} ({item['source']} {item['id']}): {'; '.join(reasons)}"), err=True)
        counts = Counter(item["status"] for item in items)
        click.echo(", ".join(f"{counts[status]} {status}" for status in sorted(counts)) or "no events")

    out.emit(state, {"items": items}, human)
    raise SystemExit(1 if bad else 0)


def _events(data: bytes) -> list[Any]:
    """As strictly as the daemon reads: a key that stands twice or NaN is refused before anything is sent."""
    from daemon.api import strictjson

    try:
        found = strictjson.parse(data, whole=False)
    except Refused:
        lines = [line for line in data.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith(b"{") for line in lines):
            raise
        return [strictjson.parse(line, whole=False) for line in lines]
    return found if isinstance(found, list) else [found]


@usage.group("quarantine", cls=Noun)
def quarantine() -> None:
    """Pushed events from too long ago or from the future: they count when a person says so."""


@quarantine.command("list")
@lists.page_options
@click.pass_obj
def list_quarantine(state: State, limit: int, after: str | None, *, everything: bool) -> None:
    """What waits for a person, newest first."""

    def row(item: dict[str, Any]) -> out.Row:
        quantities = [f"{code} {quantity}" for code, quantity in item["quantities"].items()]
        return (
            item["id"],
            item["service"],
            out.moment(item["time"]),
            quantities,
            item["why"],
            item["source"],
            item["event_id"],
        )

    columns = ("ID", "SERVICE", "TIME", "QUANTITIES", "WHY", "SOURCE", "EVENT")
    lists.show(state, "/v1/usage/quarantine", {}, columns, row, limit=limit, after=after, everything=everything)


def _decide(state: State, verb: str, event_id: int, reason: str) -> None:
    body = client.ask(state, "POST", f"/v1/usage/quarantine/{event_id}/{verb}", {"reason": reason})
    out.emit(state, body, lambda body: click.echo(f"event {body['id']} is {body['status']}"))


@quarantine.command("release")
@click.argument("event_id", metavar="ID", type=click.IntRange(1))
@click.option("--reason", default="", help="For the audit log.")
@click.pass_obj
def release(state: State, event_id: int, reason: str) -> None:
    """Let an event count, at its own time."""
    _decide(state, "release", event_id, reason)


@quarantine.command("discard")
@click.argument("event_id", metavar="ID", type=click.IntRange(1))
@click.option("--reason", default="", help="For the audit log.")
@click.pass_obj
def discard(state: State, event_id: int, reason: str) -> None:
    """Decide that an event never counts."""
    _decide(state, "discard", event_id, reason)
