"""Messages to the service manager: one datagram each, to the socket that it named in NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)


class Notifier:
    """Tells systemd how we are. Without an address (not started by systemd) every call does nothing."""

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = _socket_address(address)
        self.watchdog_seconds = watchdog_seconds if self._address else None
        """How long systemd waits for a sign of life; None when it doesn't wait for any."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notifier:
        """What systemd asks of this process. A watchdog meant for another process is not ours to feed."""
        return cls(environ.get("NOTIFY_SOCKET"), _watchdog_seconds(environ))

    def ready(self, status: str) -> None:
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows."""
        self._send(_status(text))

    def stopping(self, status: str = "stopping") -> None:
        self._send("STOPPING=1", _status(status))

    def watchdog(self) -> None:
        """A sign of life."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:  # a service manager that doesn't listen must not stop the work
            log.warning("systemd.unreachable", message=lines[0], error=str(error))


def _socket_address(address: str | None) -> str | None:
    """A path, or a name that starts with @ and stands for an abstract socket; other kinds are not for local services."""
    if not address or address[0] not in "/@":
        return None
    return "\0" + address[1:] if address[0] == "@" else address


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant_for = environ.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or int(microseconds) == 0 or (meant_for and meant_for != str(os.getpid())):
        return None
    return int(microseconds) / 1_000_000


def _status(text: str) -> str:
    """One line: a line feed would begin a second message."""
    return "STATUS=" + " ".join(text.split())
