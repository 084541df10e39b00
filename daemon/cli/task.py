"""`provisiond task`."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli import client, lists, out
from daemon.cli.lazy import Noun, State
from daemon.cli.values import pairs


@click.group(cls=Noun)
def task() -> None:
    """What a person must do."""


def _row(item: dict[str, Any]) -> out.Row:
    return (
        item["id"],
        item["department"],
        item["status"],
        item["operation"],
        out.moment(item["created_at"]),
        item["title"],
    )


@task.command("list")
@click.option(
    "--status",
    type=click.Choice(("open", "closed", "withdrawn", "any")),
    default="open",
    show_default=True,
)
@lists.page_options
@click.pass_obj
def list_tasks(state: State, status: str, limit: int, after: str | None, *, everything: bool) -> None:
    """Tasks, newest first."""
    columns = ("ID", "DEPARTMENT", "STATUS", "OPERATION", "SINCE", "TITLE")
    query = {"status": None if status == "any" else status}
    lists.show(state, "/v1/tasks", query, columns, _row, limit=limit, after=after, everything=everything)


@task.command("show")
@click.argument("task_id", metavar="ID", type=click.IntRange(1))
@click.pass_obj
def show(state: State, task_id: int) -> None:
    """One task: what to do, and how to say that it is done."""
    out.emit(state, client.ask(state, "GET", f"/v1/tasks/{task_id}"), lambda body: _human(state, body))


def _human(state: State, body: dict[str, Any]) -> None:
    click.echo(f"task {body['id']} ({body['status']}): {out.safe(body['title'])}")
    out.facts(
        [
            ("department", body["department"]),
            ("service", body["service"]),
            ("operation", body["operation"]),
            ("since", out.moment(body["created_at"])),
            ("closed", f"{out.moment(body['closed_at'])} by {body['closed_by']}" if body["closed_at"] else None),
            ("note", body["note"]),
        ]
    )
    click.echo()
    for line in body["instructions"].splitlines():
        click.echo(out.safe(line))
    if body["status"] == "open":
        click.echo(f"\nwhen it is done: {closing(state, body)}")


def closing(state: State, body: dict[str, Any]) -> str:
    """The command that closes a task, with the fields it wants."""
    wanted = "".join(f" --result {name}=..." for name in body["wants"])
    return f'{state.command} task close {body["id"]}{wanted} --note "..."'


@task.command("close")
@click.argument("task_id", metavar="ID", type=click.IntRange(1))
@click.option(
    "--result", "results", multiple=True, metavar="NAME=VALUE", help="What came out; may be given several times."
)
@click.option("--note", default="", help="For the audit log.")
@click.option("--key", help="Idempotency key: repeating a lost request with the same one does nothing twice.")
@click.pass_obj
def close(state: State, task_id: int, results: tuple[str, ...], note: str, key: str | None) -> None:
    """Say that a task is done; its operation goes on."""
    asked = {"result": pairs(results), "note": note}
    body = client.ask(state, "POST", f"/v1/tasks/{task_id}/close", asked, key=key)
    out.emit(state, body, lambda body: click.echo(f"task {body['id']} is {body['status']}"))
