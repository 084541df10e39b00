"""`provisiond usage`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from daemon.cli import client, csvout, lists, out, records
from daemon.cli.lazy import Noun, State
from daemon.domain.errors import Refused

F = TypeVar("F", bound=Callable[..., Any])


GRAINS = ("hour", "day", "week", "month", "quarter", "half_year", "year")


def resolution_options(command: F) -> F:
    """`--from`, `--until`, `--resolution` and `--csv`."""
    command = click.option(
        "--resolution",
        type=click.Choice(("raw", *GRAINS)),
        default="day",
        show_default=True,
        help="How long a line is.",
    )(command)
    return _range_options(csvout.option(command))


def _range_options(command: F) -> F:
    command = click.option("--until", help="ISO 8601 with an offset; without it: the end of billing, or now.")(command)
    return click.option("--from", "since", help="ISO 8601 with an offset; without it: the start of billing.")(command)


def period_option(command: F) -> F:
    """`--period`."""
    text = "Instead: a period of the billing zone, such as 2026-11, 2026-W47, 2026-Q4, today, 'last month'."
    return click.option("--period", metavar="NAME", help=text)(command)


SERVICE = click.argument("service_id", metavar="SERVICE", type=click.IntRange(1))
STEP = click.option(
    "--resolution",
    metavar="STEP",
    help="A duration such as 5m or 6h, or hour to year; without it: a good one for the time.",
)


@click.group(cls=Noun)
def usage() -> None:
    """What services used."""


@usage.command("show")
@SERVICE
@period_option
@resolution_options
@click.pass_obj
def show(
    state: State, service_id: int, since: str | None, until: str | None, resolution: str, period: str | None
) -> None:
    """What a service used."""
    show_usage(state, service_id, since, until, resolution, period)


def show_usage(
    state: State, service_id: int, since: str | None, until: str | None, resolution: str, period: str | None = None
) -> None:
    query = {"from": since, "until": until, "period": period, "resolution": resolution}
    path = f"/v1/services/{service_id}/usage"
    if state.csv:
        csvout.emit(state, path, query)
        return
    out.emit(state, client.ask(state, "GET", path, query=query), _usage)


def _usage(body: dict[str, Any]) -> None:
    rows = [
        (
            r["resource"],
            _local(body, p["from"]),
            _local(body, p["until"]),
            p["value"],
            r["unit"],
            _percent(p["coverage"]),
        )
        for r in body["resources"]
        for p in r["points"]
    ]
    out.table(("RESOURCE", "FROM", "UNTIL", "USED", "UNIT", "KNOWN"), rows)
    click.echo()
    totals = [(r["resource"], r["total"], r["unit"], _percent(r["coverage"])) for r in body["resources"]]
    out.table(("RESOURCE", "TOTAL", "UNIT", "KNOWN"), totals)
    if body["from"] is not None:
        click.echo(f"\n{_local(body, body['from'])} to {_local(body, body['until'])}, times of {body['zone']}")


def _percent(share: str | None) -> str | None:
    return None if share is None else f"{share} %"


def _local(body: dict[str, Any], text: str) -> str:
    """A time of the billing zone, with its offset: the hour that comes twice has two."""
    from datetime import datetime

    from daemon.cli.graph import zone_of

    return f"{datetime.fromisoformat(text).astimezone(zone_of(body)):%Y-%m-%d %H:%M:%S%z}"


@usage.command("samples")
@SERVICE
@click.argument("metric", metavar="METRIC")
@period_option
@click.option(
    "--resolution",
    default="raw",
    show_default=True,
    metavar="STEP",
    help="raw, a duration such as 5m, or hour to year.",
)
@csvout.option
@_range_options
@click.pass_obj
def samples(
    state: State,
    service_id: int,
    metric: str,
    since: str | None,
    until: str | None,
    resolution: str,
    period: str | None,
) -> None:
    """The samples of one metric as they were read, or its line in steps."""
    query = {"metric": metric, "from": since, "until": until, "period": period, "resolution": resolution}
    path = f"/v1/services/{service_id}/samples"
    if state.csv:
        csvout.emit(state, path, query)
        return

    def human(body: dict[str, Any]) -> None:
        columns = body["columns"]
        times = {"at", "from", "until"}
        cells = [[_local(body, v) for v in values] if name in times else values for name, values in columns.items()]
        out.table([name.upper().replace("_", " ") for name in columns], list(zip(*cells, strict=True)))
        beside = f", rates or levels in {body['rate_unit']}" if body["rate_unit"] else ""
        click.echo(f"\n{body['metric']} in {body['unit']} ({body['base_unit']}){beside}, times of {body['zone']}")

    out.emit(state, client.ask(state, "GET", path, query=query), human)


@usage.command("graph")
@SERVICE
@click.argument("resource", metavar="RESOURCE")
@period_option
@STEP
@_range_options
@click.pass_obj
def graph(
    state: State,
    service_id: int,
    resource: str,
    since: str | None,
    until: str | None,
    resolution: str | None,
    period: str | None,
) -> None:
    """What a service used, drawn: rates of traffic, or levels, over time; gaps stay empty."""
    if resolution == "raw":
        raise click.BadParameter("expected a duration such as 15m, or hour to year", param_hint="--resolution")
    query = {"metric": resource, "from": since, "until": until, "period": period, "resolution": resolution}
    body = client.ask(state, "GET", f"/v1/services/{service_id}/samples", query=query)
    out.emit(state, body, _graph)


def _graph(body: dict[str, Any]) -> None:
    from daemon.cli import graph as graphs

    found = graphs.graph_of(body)
    if found is None:
        click.echo("nothing was billed in this time")
        return
    encodable = out.can_show(graphs.BLOCKS)
    drawn = graphs.lines(found, out.width(graphs.ELSEWHERE), graphs.BLOCKS if encodable else graphs.PLAIN)
    out.drawing(drawn)


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


for _command in records.COMMANDS:
    usage.add_command(_command)
