"""`provisiond token`."""

from __future__ import annotations

from typing import Any

import click

from daemon.cli import client, lists, out
from daemon.cli.lazy import Noun, State

ROLES = ("read", "order", "operate", "bill", "admin")


@click.group(cls=Noun)
def token() -> None:
    """Who may use the HTTP API."""


@token.command("create")
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="May be given several times."
)
@click.option("--name", help="Who uses it; stands in the audit log.")
@click.pass_obj
def create(state: State, roles: tuple[str, ...], name: str | None) -> None:
    """Make a token. It is shown this once: only a hash of it is kept."""
    body = client.ask(state, "POST", "/v1/tokens", {"name": name, "roles": list(roles)})

    def human(body: dict[str, Any]) -> None:
        click.echo(body["token"])
        click.echo(f"token {body['id']} ({', '.join(body['roles'])}); it is not shown again", err=True)

    out.emit(state, body, human)


def _row(item: dict[str, Any]) -> out.Row:
    return item["id"], item["name"], item["roles"], out.moment(item["created_at"]), out.moment(item["revoked_at"])


@token.command("list")
@lists.page_options
@click.pass_obj
def list_tokens(state: State, limit: int, after: str | None, *, everything: bool) -> None:
    """All tokens, revoked ones too."""
    columns = ("ID", "NAME", "ROLES", "CREATED", "REVOKED")
    lists.show(state, "/v1/tokens", {}, columns, _row, limit=limit, after=after, everything=everything)


@token.command("revoke")
@click.argument("token_id", metavar="ID", type=click.IntRange(1))
@click.pass_obj
def revoke(state: State, token_id: int) -> None:
    """Revoke a token: the next request with it is refused."""
    client.ask(state, "DELETE", f"/v1/tokens/{token_id}")
    out.emit(state, {"revoked": token_id}, lambda _: click.echo(f"token {token_id} is revoked"))
