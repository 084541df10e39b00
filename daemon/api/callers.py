"""Who calls: a bearer token on the TCP face, the kernel's word for it on the local socket."""

from __future__ import annotations

import re
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from daemon.api.deps import Faces
from daemon.api.endpoint import Caller, Role
from daemon.domain.clock import Clock
from daemon.domain.errors import Refused

Identify = Callable[[web.Request], Awaitable[Caller]]
TOKEN = re.compile(r"pd_[A-Za-z0-9_-]{43}", re.ASCII)
WINDOW = 60.0
MOST_FAILURES = 20
"""Failed logins of one address in a window; a good token is let in all the same, so that nobody can lock others out."""
MOST_ADDRESSES = 1000

log = structlog.get_logger(__name__)


def new_token() -> str:
    """256 random bits: what is kept of it needs no slow hash."""
    return "pd_" + secrets.token_urlsafe(32)


class Failures:
    """Counts failed logins by address, in windows of a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def note(self, address: str) -> float:
        """Count one more; seconds to wait when there were too many, else 0."""
        now = self._clock.monotonic()
        since, number = self._seen.get(address, (now, 0))
        if now - since >= WINDOW:
            since, number = now, 0
        if len(self._seen) >= MOST_ADDRESSES and address not in self._seen:
            self._seen.clear()
        self._seen[address] = (since, number + 1)
        if number + 1 <= MOST_FAILURES:
            return 0.0
        if number + 1 == MOST_FAILURES + 1:
            log.warning("login.too_many_failures", address=address)
        return since + WINDOW - now


def by_token(faces: Faces) -> Identify:
    """The caller of `Authorization: Bearer <token>`."""
    failures = Failures(faces.clock)

    async def identify(request: web.Request) -> Caller:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() == "bearer" and TOKEN.fullmatch(given):
            token = await faces.store.read.tokens.find(given)
            if token is not None:
                return Caller(f"token:{token.name}", frozenset(Role(role) for role in token.roles if role in set(Role)))
        wait = failures.note(request.remote or "")
        if wait > 0:
            raise Refused("too_many_logins", "too many failed logins", status=429, retry_after=max(1, round(wait)))
        raise Refused("no_login", "expected Authorization: Bearer with a token of this daemon", status=401)

    return identify


async def by_socket(request: web.Request) -> Caller:
    """Whoever may open the socket may do everything: file rights decide, the kernel says who it is."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None or sock.family != socket.AF_UNIX:
        raise Refused("no_login", "the local face answers on its Unix socket only", status=401)
    peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", peer)
    return Caller(f"uid:{uid}", frozenset({Role.ADMIN}))
