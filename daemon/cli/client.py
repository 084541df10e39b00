"""Speaks to the daemon over its Unix socket; the one place where the command line does."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click

from daemon.cli import exits, out
from daemon.cli.lazy import DEFAULT_CONFIG, State

SOCKET = "provisiond.sock"
SYSTEM_SOCKET = Path("/var/lib/provisiond") / SOCKET
PATIENCE = 180.0
"""Seconds for one request: an order asks panels, which may take their time."""


@dataclass
class Problem(Exception):
    """What the daemon refused, as it said it."""

    body: dict[str, Any]


def ask(
    state: State,
    method: str,
    path: str,
    body: Any = None,
    *,
    query: dict[str, Any] | None = None,
    key: str | None = None,
) -> Any:
    """The answer of the daemon, or the end of the command with a message and an exit code."""
    try:
        return fetch(state, method, path, body, query=query, key=key)
    except Problem as problem:
        refuse(state, problem.body)


def fetch(
    state: State,
    method: str,
    path: str,
    body: Any = None,
    *,
    query: dict[str, Any] | None = None,
    key: str | None = None,
) -> Any:
    """The answer of the daemon; raises Problem for what it refuses. Without a daemon the command ends."""
    return _answered(state, method, path, body, query or {}, key)[0]


def as_csv(state: State, path: str, query: dict[str, Any]) -> tuple[str, str | None]:
    """What the daemon says as CSV, and the cursor of the next page, or the end of the command."""
    try:
        _, text, following = _answered(state, "GET", path, None, {**query, "format": "csv"}, None)
    except Problem as problem:
        refuse(state, problem.body)
    return text, following


def _answered(
    state: State, method: str, path: str, body: Any, query: dict[str, Any], key: str | None
) -> tuple[Any, str, str | None]:
    """JSON, text, cursor of the next page."""
    import asyncio

    import aiohttp

    place = socket_path(state)
    try:
        return asyncio.run(_request(place, method, path, body, query, key))
    except aiohttp.ClientConnectorError as error:
        _no_daemon(state, place, error.os_error)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        repeat = f"; repeat it with --key {key}: nothing is done twice" if key else ""
        click.echo(f"provisiond: the daemon's answer was lost ({type(error).__name__}){repeat}", err=True)
        sys.exit(exits.FAILED)


async def _request(
    place: Path, method: str, path: str, body: Any, query: dict[str, Any], key: str | None
) -> tuple[Any, str, str | None]:
    import aiohttp

    from daemon.coremanager.transport import Session

    headers = {"Idempotency-Key": key} if key else {}
    params = {name: str(value) for name, value in query.items() if value is not None}
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with (
        Session(connector=aiohttp.UnixConnector(str(place)), timeout=timeout) as session,
        session.request(method, f"http://provisiond{path}", json=body, params=params, headers=headers) as answer,
    ):
        text = await answer.text()
        found = json.loads(text) if answer.content_type.endswith("json") else {}
        if answer.status >= 400:
            unknown = {"detail": f"the daemon answered with status {answer.status}", "code": "http", "errors": []}
            raise Problem(unknown | found)
        return found, text, _cursor(answer.headers.get("Link", ""))


def _cursor(link: str) -> str | None:
    """The `after` of `</v1/...?after=...>; rel="next"`."""
    from urllib.parse import parse_qs, urlsplit

    address, _, relation = link.partition(">;")
    if relation.strip() != 'rel="next"':
        return None
    return parse_qs(urlsplit(address.removeprefix("<")).query).get("after", [None])[0]


def refuse(state: State, problem: dict[str, Any], places: dict[str, str] | None = None) -> NoReturn:
    """End with what the daemon said; `places` tells where a field stands in a file."""
    if state.json:
        click.echo(json.dumps(problem))
    else:
        click.echo(f"provisiond: {out.safe(problem['detail'])} ({problem['code']})", err=True)
        for error in problem["errors"]:
            place = (places or {}).get(error["field"])
            before = f"{place}: " if place else "  "
            click.echo(out.safe(f"{before}{error['field']}: {error['message']}"), err=True)
    sys.exit(exits.FAILED)


def _no_daemon(state: State, place: Path, error: OSError) -> NoReturn:
    if error.errno in {errno.EACCES, errno.EPERM}:
        click.echo(f"provisiond: {place} may not be opened by you: the rights of the socket decide", err=True)
    else:
        reason = (error.strerror or str(error)).lower()
        click.echo(f"provisiond: no daemon answers at {place} ({reason}); start it: {state.command} run", err=True)
    sys.exit(exits.NO_DAEMON)


def socket_path(state: State) -> Path:
    """Where the daemon of these settings listens. Only `state_dir` is read: a mistake elsewhere in the YAML must not lock people out."""
    if state.socket is not None:
        return state.socket
    place = _state_dir(state) / SOCKET
    if state.config == DEFAULT_CONFIG and not place.exists() and SYSTEM_SOCKET.exists():
        # systemd's StateDirectory wins over state_dir, and this shell doesn't know it.
        return SYSTEM_SOCKET
    return place


def _state_dir(state: State) -> Path:
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if not state.config.exists() and state.config == DEFAULT_CONFIG:
        return SYSTEM_SOCKET.parent
    from daemon.settings.daemon import DaemonSettings
    from daemon.settings.tree import read_tree

    root, problems = read_tree(state.config, str(state.config))
    if root is None:
        click.echo("\n".join(f"provisiond: {problem}" for problem in problems), err=True)
        sys.exit(exits.SETTINGS)
    named = root.data.get("state_dir", DaemonSettings.model_fields["state_dir"].default)
    return state.config.absolute().parent / str(named)
