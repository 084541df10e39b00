"""Power, blocking and operating systems of a server (docs/reference/contracts.md#servers).

All of it is asynchronous: the answer only says that the request was taken. After `flag_delay` the flags appear, after that the
switching or the install takes its time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon.sandbox.answers import Document, PanelError, done, select
from daemon.sandbox.dci_model import Connection, Install, Server
from daemon.sandbox.panel import Call, Function

if TYPE_CHECKING:
    from daemon.sandbox.dcimanager import DciPanel

NO_RECIPE = "null"


class PowerFunctions:
    def __init__(self, panel: DciPanel) -> None:
        self.panel = panel

    def table(self) -> dict[str, Function]:
        return {
            "server.enable": Function(self.enable, "always"),
            "server.disable": Function(self.disable, "always"),
            "server.poweron": Function(self.power_on, "always", admin=False),
            "server.poweroff": Function(self.power_off, "always", admin=False),
            "server.reboot": Function(self.reboot, "always", admin=False),
            "server.operations": Function(self.operations, "sok", admin=False),
            "server.opercancel": Function(self.cancel, "always", admin=False),
        }

    def _servers(self, call: Call) -> list[Server]:
        return [self.panel.server_for(Call(call.func, {**call.params, "elid": elid}, call.user)) for elid in call.elids]

    # switching ----------------------------------------------------------------------------------------------------------------

    def enable(self, call: Call) -> Document:
        return self._block(call, disabled=False)

    def disable(self, call: Call) -> Document:
        return self._block(call, disabled=True)

    def _block(self, call: Call, *, disabled: bool) -> Document:
        """Blocks or frees the server's network: its switch ports are switched, the power stays as it is."""
        for server in self._servers(call):
            server.blocking = request = self.panel.serial()
            self._switch(server, "Switch", lambda s=server, r=request: _set_blocked(s, r, disabled=disabled))  # type: ignore[misc]
        return done()

    def power_on(self, call: Call) -> Document:
        return self._power(call, on=True)

    def power_off(self, call: Call) -> Document:
        return self._power(call, on=False)

    def reboot(self, call: Call) -> Document:
        return self._power(call, on=True)

    def _power(self, call: Call, *, on: bool) -> Document:
        for server in self._servers(call):
            server.switching = request = self.panel.serial()
            self._switch(server, "PDU", lambda s=server, r=request: _set_power(s, r, on=on))  # type: ignore[misc]
        return done()

    def _switch(self, server: Server, kind: str, end: Callable[[], None]) -> None:
        """Mark the cables of a kind as being switched from `flag_delay` on, for `power_seconds`; then `end`."""
        cables = [cable for cable in server.connections if cable.type == kind]
        settings = self.panel.settings
        switch_cables(self.panel, cables)
        self.panel.later(settings.flag_delay + settings.power_seconds, end)

    # operating system -----------------------------------------------------------------------------------------------------------

    def operations(self, call: Call) -> Document:
        server = self.panel.server_for(call)
        if not call.saving:
            return self._form(server)
        if call.get("operation", "ostemplate") != "ostemplate":
            raise PanelError("value", "operation", call.get("operation"), "This operation is not known")
        self._start(server, self._install(server, call))
        return done()

    def _form(self, server: Server) -> Document:
        templates = [(template, template.partition("__")[2]) for template in self.panel.settings.templates]
        recipes = [(NO_RECIPE, "-- none --"), *((recipe, recipe) for recipe in self.panel.settings.recipes)]
        form: Document = {
            "elid": server.id,
            "operation": "ostemplate",
            "hostname": server.hostname,
            "ipaddr": server.main_ip,
            "ostemplate": server.ostemplate,
            "recipe": server.recipe or NO_RECIPE,
        }
        return form | {"slist": [select("ostemplate", templates), select("recipe", recipes)]}

    def _install(self, server: Server, call: Call) -> Install:
        """The accepted request. `confirm`, `checkpasswd` and `recipe` may be left out; what is sent has to fit."""
        template, recipe, password = call.need("ostemplate"), call.get("recipe") or NO_RECIPE, call.need("passwd")
        if template not in self.panel.settings.templates:
            raise PanelError("missed", "ostemplate", template, "There is no such template")
        if recipe != NO_RECIPE and recipe not in self.panel.settings.recipes:
            raise PanelError("missed", "recipe", recipe, "There is no such recipe")
        for name in ("confirm", "checkpasswd"):
            if call.get(name, password) != password:
                raise PanelError("value", name, "", "The passwords differ")
        if server.install is not None:
            raise PanelError("busy", "server", server.id, "An operation is running on this server")
        fails, self.panel.failing_installs = self.panel.failing_installs > 0, max(0, self.panel.failing_installs - 1)
        digest = hashlib.sha256(password.encode()).hexdigest()
        number, now = self.panel.serial(), self.panel.now()
        return Install(number, template, recipe, digest, now, server.hostname, server.main_ip, fails=fails)

    def _start(self, server: Server, install: Install) -> None:
        server.install = install
        server.install_log.append(install)
        self.panel.later(self.panel.settings.flag_delay, lambda: self._run(server, install))

    def _run(self, server: Server, install: Install) -> None:
        if server.install is not install:
            return
        install.outcome, install.started = "running", self.panel.now()
        server.operation_failed = False
        self.panel.later(self.panel.settings.install_seconds, lambda: self._end(server, install))

    def _end(self, server: Server, install: Install) -> None:
        """A cancelled or forgotten install is no longer the server's and changes nothing."""
        if server.install is not install:
            return
        install.ended, server.install = self.panel.now(), None
        install.outcome = "failed" if install.fails else "done"
        server.operation_failed = install.fails
        if not install.fails:
            server.ostemplate, server.recipe, server.powered = install.template, install.recipe, True
            if install.recipe == NO_RECIPE:
                server.recipe = ""
        self.panel.effect("install.end", {"elid": server.id, "outcome": install.outcome, "template": install.template})

    def cancel(self, call: Call) -> Document:
        for server in self._servers(call):
            if server.install is not None:
                server.install.outcome, server.install.ended = "cancelled", self.panel.now()
                server.install = None
            server.operation_failed = False
        return done()


def _set_blocked(server: Server, request: int, *, disabled: bool) -> None:
    if server.blocking == request:
        server.disabled = disabled
        for cable in server.connections:
            if cable.type == "Switch":
                cable.on = not disabled


def _set_power(server: Server, request: int, *, on: bool) -> None:
    if server.switching == request:
        server.powered, server.power_error = on, False
        for cable in server.connections:
            if cable.type == "PDU":
                cable.on = on


def switch_cables(panel: DciPanel, cables: list[Connection]) -> None:
    """Show `func_in_progress` on the cables from `flag_delay` on, for `power_seconds`."""
    if panel.settings.power_seconds <= 0:
        return

    def begin() -> None:
        for cable in cables:
            cable.busy += 1

    def end() -> None:
        for cable in cables:
            cable.busy -= 1

    panel.later(panel.settings.flag_delay, begin)
    panel.later(panel.settings.flag_delay + panel.settings.power_seconds, end)
