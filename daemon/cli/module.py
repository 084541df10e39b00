"""`provisiond module`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import click

from daemon.cli import exits, lists, out
from daemon.cli.lazy import Noun, State


@click.group(cls=Noun)
def module() -> None:
    """The platforms that carry services."""


def _row(item: dict[str, Any]) -> out.Row:
    health = "healthy" if item["healthy"] else f"unhealthy: {item['reason']}"
    return item["name"], item["type"], item["priority"], health, item["drained"], item["department"], item["ipam"]


@module.command("list")
@lists.page_options
@click.pass_obj
def list_modules(state: State, limit: int, after: str | None, *, everything: bool) -> None:
    """All processing modules with their health."""
    columns = ("MODULE", "TYPE", "PRIORITY", "HEALTH", "DRAINED", "DEPARTMENT", "IPAM")
    lists.show(state, "/v1/modules", {}, columns, _row, limit=limit, after=after, everything=everything)


@module.command("probe")
@click.argument("name")
@click.pass_obj
def probe(state: State, name: str) -> None:
    """Say which unverified settings the live panel confirms; only reads, and needs no daemon."""
    from daemon import app

    out.quiet()
    findings = [asdict(finding) for finding in asyncio.run(app.probe(state.config, name))]
    rows = [(f["setting"], f["value"], f["verdict"], f["detail"]) for f in findings]
    columns = ("SETTING", "VALUE", "VERDICT", "DETAIL")
    out.emit(state, {"items": findings, "next": None}, lambda _: out.table(columns, rows))
    raise SystemExit(exits.FAILED if any(f["verdict"] == "contradicted" for f in findings) else 0)


@module.command("pin")
@click.argument("url")
@click.pass_obj
def pin(state: State, url: str) -> None:
    """Print the fingerprint of a panel's certificate, for `tls: {pin: ...}`. Compare it with the panel's own before you use it."""
    import hashlib
    import ssl

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host = None
    if host is None or parts.scheme != "https":
        raise click.UsageError("expected a URL such as https://panel.example.test:1500/dcimgr")
    try:
        pem = ssl.get_server_certificate((host, port), timeout=10)
    except OSError as error:
        click.echo(f"provisiond: {host}:{port} shows no certificate: {error.strerror or error}", err=True)
        raise SystemExit(exits.FAILED) from None
    found = "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    out.emit(state, {"pin": found}, lambda body: click.echo(body["pin"]))
