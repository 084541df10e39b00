"""Writes a ready configuration for the daemon that points at a running sandbox."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.sandbox.installation import DCI_NAME, IPM_NAME
from daemon.sandbox.mail import MailSink
from daemon.sandbox.settings import DEFAULT_TYPE, SandboxSettings

_PLAIN = re.compile(r"^[A-Za-z/][A-Za-z0-9_./:@-]*[A-Za-z0-9_/]$|^[0-9]+(ms|s|m|h|d)$")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "none"})

MODULE_DEFAULTS: dict[str, Any] = {
    "timeout": "10s",
    "settle": "10s",
    "watch_every": "1s",
    "power_within": "10m",
    "install_within": "2h",
    "connections": 4,
    "readback_pause": "200ms",
    "capacity_within": "24h",
    "install_start_within": "2s",
    "install_at_least": "4s",
}


def write_config(
    directory: Path, settings: SandboxSettings, urls: Mapping[str, str], mail: MailSink, overrides: Mapping[str, object]
) -> Path:
    """Files: provisiond.yaml, modules.d/, ipam.d/, plans.d/ and credentials/ (0600). Returns the path of provisiond.yaml."""
    for folder in ("modules.d", "ipam.d", "plans.d", "credentials"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    modules = {_module_name(panel): url for panel, url in urls.items() if panel != IPM_NAME}
    for number, (name, url) in enumerate(modules.items(), 1):
        _write(directory / "modules.d" / f"{name}.yaml", {**_module(name, url, 10 * number, settings), **overrides})
        _secret(directory, name, settings.password)
    _write(directory / "ipam.d" / "ipm-main.yaml", _ipam(urls[IPM_NAME], settings))
    _secret(directory, "ipm-main", settings.password)
    (directory / "plans.d" / "ds-small.yaml").write_text(_plan(settings, list(modules)), encoding="utf-8")
    main = directory / "provisiond.yaml"
    main.write_text(_main(mail), encoding="utf-8")
    return main


def _module_name(panel: str) -> str:
    return "dci-main" if panel == DCI_NAME else panel


def _module(name: str, url: str, priority: int, settings: SandboxSettings) -> dict[str, Any]:
    return {
        "name": name,
        "type": "dcimanager",
        "priority": priority,
        "responsible": "dc-team",
        "url": url,
        "username": settings.username,
        "password": f"cred:{name}",
        "ipam": "ipm-main",
        "parking_ip_type": "parking",
        **MODULE_DEFAULTS,
    }


def _ipam(url: str, settings: SandboxSettings) -> dict[str, Any]:
    return {
        "name": "ipm-main",
        "type": "ipmanager",
        "url": url,
        "username": settings.username,
        "password": "cred:ipm-main",
        "timeout": "10s",
        "settle": "10s",
    }


def _main(mail: MailSink) -> str:
    port = _free_port()
    return f"""\
listen: 127.0.0.1:{port}
state_dir: var
credentials_dir: credentials
database: sqlite
log_level: info
poll_every: 5m
public_url: http://127.0.0.1:{port}
departments:
  dc-team: {{email: dc@example.test}}
mail: {{host: {mail.host}, port: {mail.port}, from: noc@example.test}}
"""


def _plan(settings: SandboxSettings, modules: list[str]) -> str:
    server_type = next(iter(settings.servers), DEFAULT_TYPE)
    templates = ", ".join(_scalar(template) for template in settings.templates)
    recipes = ", ".join(_scalar(recipe) for recipe in settings.recipes)
    return f"""\
name: ds-small
product: dedicated
server_type: {_scalar(server_type)}
modules: [{", ".join(modules)}]
prices:
  EUR: {{setup: "0.00", month: "49.00"}}
addons:
  ostempl: {{billing: client_selects, values: [{templates}], default: {_scalar(settings.templates[0])}}}
  recipe: {{billing: client_selects, values: [{recipes}]}}
  ip: {{billing: amount, max: 16, prices: {{EUR: {{month: "2.00"}}}}}}
  ipv6: {{billing: amount, max: 16}}
  privateip: {{billing: amount, max: 16}}
  special_ip_block_guardvlan9: {{billing: client_selects, values: [guardvlan9, "none"], default: "none"}}
resources: {{{", ".join(f"{code}: {{}}" for code in settings.resources)}}}
"""


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text("".join(f"{key}: {_scalar(value)}\n" for key, value in values.items()), encoding="utf-8")


def _scalar(value: object) -> str:
    """YAML for one value: plain where that is surely the same text, else in JSON's quotes, which YAML reads alike."""
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)


def _secret(directory: Path, name: str, value: str) -> None:
    path = directory / "credentials" / name
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(value, encoding="utf-8")


def _free_port() -> int:
    """A port that is free now; the daemon takes it soon after."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
