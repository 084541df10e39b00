"""`provisiond operation`."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli import client, lists, out
from daemon.cli.lazy import Noun, State
from daemon.cli.task import closing
from daemon.cli.values import pairs, why_options

OPERATION = click.argument("operation_id", metavar="ID", type=click.IntRange(1))
DOES = {
    "retry": "try again now, with all time limits anew",
    "abandon": "stop, undo what was done, leave the service pending",
    "done": "the step was done by hand: believe it and go on",
}


@click.group(cls=Noun)
def operation() -> None:
    """What is being done, and what it waits for."""


def _row(item: dict[str, Any]) -> out.Row:
    status = item["status"] if item["phase"] == "forward" else f"{item['status']} (undoing)"
    return (
        item["id"],
        item["service"],
        item["verb"],
        status,
        out.moment(item["created_at"]),
        out.moment(item["deadline"]),
        item["waiting_for"] or (item["error"]["message"] if item["error"] else None),
    )


@operation.command("list")
@click.option("--status", type=click.Choice(("queued", "open", "done", "failed", "superseded")))
@click.option("--service", type=click.IntRange(1), help="Only operations of this service.")
@lists.page_options
@click.pass_obj
def list_operations(
    state: State, status: str | None, service: int | None, limit: int, after: str | None, *, everything: bool
) -> None:
    """All operations, newest first."""
    columns = ("ID", "SERVICE", "VERB", "STATUS", "SINCE", "DEADLINE", "WAITS FOR")
    query = {"status": status, "service": service}
    lists.show(state, "/v1/operations", query, columns, _row, limit=limit, after=after, everything=everything)


@operation.command("show")
@OPERATION
@click.pass_obj
def show(state: State, operation_id: int) -> None:
    """One operation with its steps."""
    out.emit(state, client.ask(state, "GET", f"/v1/operations/{operation_id}"), lambda body: _human(state, body))


def _human(state: State, body: dict[str, Any]) -> None:
    out.facts(
        [
            ("operation", f"{body['id']}: {body['verb']} of service {body['service']}"),
            ("status", f"{body['status']}, {body['phase']}"),
            ("began", out.moment(body["created_at"])),
            ("ended", out.moment(body["finished_at"])),
            ("deadline", out.moment(body["deadline"])),
            ("waits for", body["waiting_for"]),
            ("error", body["error"]["message"] if body["error"] else None),
        ]
    )
    click.echo()
    rows = [
        (s["name"], s["status"], s["attempts"], out.moment(s["finished_at"]), s["error"] and s["error"]["message"])
        for s in body["steps"]
    ]
    out.table(("STEP", "STATUS", "ATTEMPTS", "ENDED", "ERROR"), rows)
    if body["status"] in {"open", "failed"}:
        click.echo(f"\nmore: {state.command} operation why {body['id']}")


@operation.command("why")
@OPERATION
@click.pass_obj
def why(state: State, operation_id: int) -> None:
    """What it waits for, since when, until when, and what a person may do."""
    out.emit(state, client.ask(state, "GET", f"/v1/operations/{operation_id}/why"), lambda body: _why(state, body))


def _why(state: State, body: dict[str, Any]) -> None:
    step, fault = body["step"], body["fault"]
    shown = None
    if step:
        shown = f"{step['name']} ({step['status']}, {step['attempts']} attempts)"
        shown += f": {step['error']['message']}" if step["error"] else ""
    out.facts(
        [
            (
                "operation",
                f"{body['operation']}: {body['verb']} of service {body['service']} ({body['service_state']})",
            ),
            ("status", body["status"] + (", undoing" if body["phase"] == "undo" else "")),
            ("waits for", body["waiting_for"] or ("its turn: it runs now" if body["status"] == "open" else None)),
            ("since", out.moment(body["since"])),
            ("next look", out.moment(body["next_look"])),
            ("until", f"{out.moment(body['until'])} (deadline)" if body["status"] in {"open", "queued"} else None),
            ("stands at", shown),
            ("fault", f"{fault['message']} (since {out.moment(fault['since'])})" if fault else None),
        ]
    )
    for task in body["tasks"]:
        click.echo(f"\nopen task {task['id']} of {task['department'] or 'no department'}: {out.safe(task['title'])}")
        click.echo(f"  read it:       {state.command} task show {task['id']}")
        click.echo(f"  when it's done: {closing(state, task)}")
    click.echo("\na person may:" if body["may"] else "\na person can do nothing with it now")
    for action in body["may"]:
        click.echo(f"  {DOES[action]}:\n    {_command(state, action, body)}")
    if body["service_state"] != "released" and body["verb"] != "release":
        click.echo(f'  give the service back:\n    {state.command} service release {body["service"]} --reason "..."')


def _command(state: State, action: str, body: dict[str, Any]) -> str:
    return f'{state.command} operation {action} {body["operation"]} --reason "..."'


@operation.command("retry")
@OPERATION
@why_options
@click.pass_obj
def retry(state: State, operation_id: int, reason: str, key: str | None) -> None:
    """Try again now; a failed operation is followed by a new one."""
    _act(state, operation_id, "retry", {"reason": reason}, key)


@operation.command("abandon")
@OPERATION
@why_options
@click.pass_obj
def abandon(state: State, operation_id: int, reason: str, key: str | None) -> None:
    """Stop, undo what was done, and leave the service pending with a fault."""
    _act(state, operation_id, "abandon", {"reason": reason}, key)


@operation.command("done")
@OPERATION
@click.option(
    "--result", "results", multiple=True, metavar="NAME=VALUE", help="What came out; may be given several times."
)
@why_options
@click.pass_obj
def done(state: State, operation_id: int, results: tuple[str, ...], reason: str, key: str | None) -> None:
    """Say that the step it stands at was done by hand."""
    _act(state, operation_id, "done", {"reason": reason, "result": pairs(results) or None}, key)


def _act(state: State, operation_id: int, action: str, asked: dict[str, Any], key: str | None) -> None:
    body = client.ask(state, "POST", f"/v1/operations/{operation_id}/{action}", asked, key=key)
    out.emit(state, body, lambda body: click.echo(f"operation {body['operation']['id']} goes on"))
