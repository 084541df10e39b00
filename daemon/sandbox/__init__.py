"""Simulated panels on loopback: DCImanager 5, IPmanager 5 and a mail sink, with fault switches (README.md in this folder).

async with Sandbox.start(SandboxSettings(install_seconds=30)) as sandbox:
    sandbox.dci_url, sandbox.ipm_url, sandbox.mail.port     where they are
    sandbox.dci.servers["101"], sandbox.ipm.held            what is true
    sandbox.fault("dci", "server.poweron", "reset_after")   what goes wrong
    sandbox.advance(30)                                     time
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from daemon.sandbox.answers import PanelError
from daemon.sandbox.clock import SandboxClock
from daemon.sandbox.config import write_config
from daemon.sandbox.dcimanager import DciPanel
from daemon.sandbox.doors import Doors
from daemon.sandbox.face import PanelFace
from daemon.sandbox.faults import Fault, FaultKind
from daemon.sandbox.installation import Installation, build
from daemon.sandbox.ipmanager import IpPanel
from daemon.sandbox.mail import Mail, MailSink
from daemon.sandbox.settings import SandboxSettings

__all__ = [
    "DciPanel",
    "Fault",
    "FaultKind",
    "IpPanel",
    "Mail",
    "MailSink",
    "PanelError",
    "Sandbox",
    "SandboxClock",
    "SandboxSettings",
    "build",
]


class Sandbox:
    """A running sandbox; made by `Sandbox.start`."""

    def __init__(self, settings: SandboxSettings, installation: Installation) -> None:
        self.settings = settings
        self.installation = installation
        self.mail = MailSink(installation.clock)
        self.doors = Doors(installation, self.mail)
        table = self.doors.table()
        self.faces = [PanelFace(panel, settings.host, settings.latency, table) for panel in installation.panels]

    @classmethod
    @asynccontextmanager
    async def start(cls, settings: SandboxSettings | None = None) -> AsyncIterator[Sandbox]:
        """Build the models and open their ports; everything is closed at the end of the block."""
        settings = settings or SandboxSettings()
        sandbox = cls(settings, build(settings))
        async with AsyncExitStack() as stack:
            stack.push_async_callback(sandbox.mail.stop)
            await sandbox.mail.start(settings.mail_port)
            for face in sandbox.faces:
                stack.push_async_callback(face.stop)
                await face.start(sandbox._port(face))
            yield sandbox

    def _port(self, face: PanelFace) -> int:
        if face.panel is self.dci:
            return self.settings.dci_port
        return self.settings.ipm_port if face.panel is self.ipm else 0

    @property
    def clock(self) -> SandboxClock:
        return self.installation.clock

    @property
    def dci(self) -> DciPanel:
        return self.installation.dcis[0]

    @property
    def dcis(self) -> list[DciPanel]:
        return self.installation.dcis

    @property
    def ipm(self) -> IpPanel:
        return self.installation.ipm

    def url(self, panel: str) -> str:
        """The full URL of a panel, by its name or an alias."""
        model = self.installation.panel(panel)
        return next(face.url for face in self.faces if face.panel is model)

    @property
    def dci_url(self) -> str:
        return self.faces[0].url

    @property
    def ipm_url(self) -> str:
        return self.faces[-1].url

    @property
    def doors_url(self) -> str:
        """Where the doors are: `<doors_url>/state`, `<doors_url>/faults`, ..."""
        return self.faces[0].doors_url

    def fault(self, panel: str, func: str, kind: str, *, nth: int = 1, times: int = 1, seconds: float = 0.0) -> Fault:
        """Set a fault switch, as the door does. Raises ValueError or KeyError for what there isn't."""
        return self.doors.fault(
            {"panel": panel, "func": func, "kind": kind, "nth": nth, "times": times, "seconds": seconds}
        )

    def clear_faults(self) -> None:
        self.installation.board.clear()

    def advance(self, seconds: float) -> None:
        """Push the clock and do what became due."""
        self.doors.set_clock({"advance": seconds})

    def settle(self) -> None:
        """Do what is due by the clock; calls and the state door do that by themselves."""
        self.installation.settle()

    def state(self) -> dict[str, Any]:
        """The whole truth, as `GET /_sandbox/state` shows it."""
        return self.doors.state()

    def write_config(self, directory: Path, overrides: Mapping[str, object] | None = None) -> Path:
        """Write a ready configuration for the daemon; returns the path of its provisiond.yaml.

        `overrides` are keys of the module file, for example {"watch_every": "200ms"}.
        """
        urls = {face.panel.name: face.url for face in self.faces}
        return write_config(directory, self.settings, urls, self.mail, overrides or {})

    def addresses(self) -> dict[str, Any]:
        """URL and credentials of every simulated system.

        Shape: {"dcimanager": {"url", "username", "password"}, "ipmanager": {...}, "mail": {"host", "port"}, "doors": url}.
        """
        login = {"username": self.settings.username, "password": self.settings.password}
        systems: dict[str, Any] = {face.panel.name: {"url": face.url, **login} for face in self.faces}
        return systems | {"mail": {"host": self.mail.host, "port": self.mail.port}, "doors": self.doors_url}
