"""The doors for tests, the same on every panel's port: faults, clock, traffic, loads, accounts, reset, and the whole truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web

from daemon.sandbox.dci_load import Load
from daemon.sandbox.dci_model import Server
from daemon.sandbox.dcimanager import DciPanel
from daemon.sandbox.face import Door
from daemon.sandbox.faults import ANY, Fault, FaultKind
from daemon.sandbox.installation import DCI_NAME, Installation
from daemon.sandbox.mail import MailSink

LONGEST = 100 * 366 * 86400.0
"""Seconds; a hundred years are enough for any test."""


class Doors:
    """Every door takes and gives JSON; what is wrong with a request is said with status 400 and {"error": "..."}."""

    def __init__(self, installation: Installation, mail: MailSink) -> None:
        self.installation = installation
        self.mail = mail

    def table(self) -> dict[tuple[str, str], Door]:
        posts = {
            "faults": self.set_fault,
            "clock": self.set_clock,
            "traffic": self.send_traffic,
            "load": self.put_load,
            "ledger": self.show_ledger,
            "account": self.set_account,
            "server": self.set_server,
            "reset": self.reset,
        }
        doors: dict[tuple[str, str], Door] = {("POST", name): _json_door(run) for name, run in posts.items()}
        doors["GET", "state"] = self._show
        doors["GET", "faults"] = self._show_faults
        doors["DELETE", "faults"] = _json_door(self.clear_faults)
        return doors

    async def _show(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response(self.state())

    async def _show_faults(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response({"faults": self.installation.board.state()})

    def state(self) -> dict[str, Any]:
        """Shape: {"now", "faults", "mail": [...], <panel>: {...} for each panel by its name}."""
        self.installation.settle()
        truth: dict[str, Any] = {
            "now": self.installation.clock.now().isoformat(),
            "faults": self.installation.board.state(),
            "mail": self.mail.state(),
        }
        return truth | {panel.name: panel.state() for panel in self.installation.panels}

    def fault(self, body: Mapping[str, Any]) -> Fault:
        """Set a switch. Raises ValueError or KeyError that says what is wrong."""
        unknown = set(body) - {"panel", "func", "kind", "nth", "times", "seconds"}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        panel = str(body.get("panel", ANY))
        name = ANY if panel == ANY else self.installation.panel(panel).name
        nth, times, seconds = int(body.get("nth", 1)), int(body.get("times", 1)), float(body.get("seconds", 0))
        if nth < 1 or times < 0 or not 0 <= seconds < LONGEST:
            raise ValueError("nth counts from 1, times and seconds from 0")
        kind = _kind(body.get("kind"))
        fault = Fault(name, str(body.get("func", ANY)) or ANY, kind, nth, times, seconds)
        return self.installation.board.add(fault)

    def set_fault(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.fault(body)
        return {"ok": True, "faults": self.installation.board.state()}

    def clear_faults(self, body: Mapping[str, Any]) -> dict[str, Any]:
        del body
        self.installation.board.clear()
        return {"ok": True}

    def set_clock(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.installation.settle()
        seconds = float(body["advance"])
        if not 0 <= seconds < LONGEST:
            raise ValueError(f"advance is a number of seconds from 0, got {seconds}")
        self.installation.clock.advance(seconds)
        self.installation.settle()
        return {"ok": True, "now": self.installation.clock.now().isoformat()}

    def send_traffic(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """{server, rx, tx} in bytes, on top; {burst_in, burst_out} in Mbit/s and {power} in W replace what was."""
        panel, server = self._server(body)
        rx, tx = int(body.get("rx", 0)), int(body.get("tx", 0))
        if rx < 0 or tx < 0:
            raise ValueError("rx and tx are bytes, from 0")
        panel.send_traffic(server.id, rx, tx)
        for name in {"burst_in", "burst_out", "power"} & set(body):
            setattr(server, name, float(body[name]))
        return {"ok": True, "traffic": server.traffic.state()}

    def put_load(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """{server} and any of {rx_mbit, tx_mbit, watts, every, seed}: it sends by itself from now on."""
        panel, server = self._server(body)
        load = Load.of(body)
        panel.put_load(server.id, load)
        return {"ok": True, "load": asdict(load)}

    def show_ledger(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """{server}: what its loads have sent, line by line."""
        panel, server = self._server(body)
        panel.settle()
        return {"ok": True, "ledger": [sent.state() for sent in panel.ledger.get(server.id, [])]}

    def set_server(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """{server} and any of {blocked, hwproblem, power_error, operation_failed, powered, disabled} as true or false."""
        _, server = self._server(body)
        for name in {"blocked", "hwproblem", "power_error", "operation_failed", "powered", "disabled"} & set(body):
            setattr(server, name, bool(body[name]))
        return {"ok": True, "flags": server.flags()}

    def _server(self, body: Mapping[str, Any]) -> tuple[DciPanel, Server]:
        """The server named by `server`, on the panel named by `panel` (the first DCImanager if not given)."""
        panel = self.installation.panel(str(body.get("panel", DCI_NAME)))
        if not isinstance(panel, DciPanel):
            raise TypeError(f"{panel.name} has no servers")
        server_id = str(body["server"])
        if server_id not in panel.servers:
            raise ValueError(f"there is no server {server_id}")
        return panel, panel.servers[server_id]

    def set_account(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """{panel, username, rows}: the account's "Number of records"; 0 shows all."""
        account = self.installation.panel(str(body["panel"])).accounts.named(str(body["username"]))
        if account is None:
            raise ValueError(f"there is no user {body['username']}")
        account.row_limit = int(body["rows"])
        return {"ok": True}

    def reset(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Forget faults, logs and mails; servers and addresses stay as they are."""
        del body
        self.installation.board.clear()
        self.mail.messages.clear()
        for panel in self.installation.panels:
            panel.calls.clear()
            panel.counts.clear()
            panel.effects.clear()
        return {"ok": True}


def _kind(value: object) -> FaultKind:
    kinds = [kind.value for kind in FaultKind]
    if value not in kinds:
        raise ValueError(f"there is no fault {value!r}; there are {', '.join(kinds)}")
    return FaultKind(str(value))


def _json_door(run: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Door:
    async def door(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(run(_object(await request.text())))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            said = error.args[0] if isinstance(error, KeyError) and error.args else error
            return web.json_response({"error": str(said)}, status=400)

    return door


def _object(text: str) -> dict[str, Any]:
    body = json.loads(text or "{}")
    if not isinstance(body, dict):
        raise TypeError("a JSON object is expected")
    return body
