"""What `provisiond sandbox` does: serve until told to stop."""

from __future__ import annotations

import asyncio
import json as json_format
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.sandbox import Sandbox
from daemon.sandbox.settings import SandboxSettings


async def run_sandbox(settings: SandboxSettings, *, json: bool, config_dir: Path | None) -> None:
    """Start, print where everything is (with `json` as one line), then serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with Sandbox.start(settings) as sandbox:
            config = sandbox.write_config(config_dir) if config_dir else None
            sys.stdout.write(_announcement(sandbox, config, json=json))
            sys.stdout.flush()
            await stop.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _announcement(sandbox: Sandbox, config: Path | None, *, json: bool) -> str:
    systems = sandbox.addresses()
    if json:
        return json_format.dumps(systems | ({"config": str(config)} if config else {})) + "\n"
    lines = [
        f"{name}: {value['url']}  user {value['username']}  password {value['password']}"
        for name, value in _panels(systems)
    ]
    lines.append(f"mail: {sandbox.mail.host}:{sandbox.mail.port}")
    lines.append(f"doors: {sandbox.doors_url}/state")
    if config:
        lines.append(f"configuration: {config}   (provisiond --config {config} run)")
    return "\n".join([*lines, "stop with Ctrl+C", ""])


def _panels(systems: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    return [(name, value) for name, value in systems.items() if isinstance(value, dict) and "username" in value]
