"""One POST to a panel, and what its failure means: the one place where outgoing HTTP sessions are made.

What failed before the request could have been sent is Temporary. What failed after it is Temporary for a read and Uncertain
for a write. Errors name host and function, never a parameter: the request's body holds passwords and session ids.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol, TypeAlias, TypeVar
from urllib.parse import urlsplit

import aiohttp

from daemon.coremanager.tls import Pins, Tls, verifier, why_refused
from daemon.domain.errors import ConfigError, ProvisiondError, Temporary, Uncertain
from daemon.domain.permit import require_permit
from daemon.settings.types import is_loopback

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

Session: TypeAlias = aiohttp.ClientSession  # noqa: TID251 - the one door

SLICE = 32 * 1024
"""Bytes parsed before the loop gets its turn: a few milliseconds of the pure Python XML parser."""

BODY_LIMIT = 8 * 1024 * 1024
IDLE_CONNECTION_LIFE = 10.0
"""Seconds. Short, so that a write seldom meets a connection which the panel has just closed: it would count as uncertain."""


class UnreadableError(Exception):
    """An answer that is no document of a panel; the text says why and holds nothing of the answer."""


class Reader(Protocol[T_co]):
    """Takes an answer slice by slice. Both methods raise UnreadableError."""

    def feed(self, data: bytes) -> None: ...

    def close(self) -> T_co: ...


@dataclass(slots=True)
class _Trip:
    """How far a request came. `sent` is set as soon as it has a connection: from then on the panel may act on it."""

    sent: bool = False


def open_session(verify: ssl.SSLContext | Pins, *, connections: int) -> Session:
    """A session that verifies, keeps no cookies, uses no proxy of the environment and decompresses nothing."""
    connector = aiohttp.TCPConnector(
        ssl=verify, limit=connections, keepalive_timeout=IDLE_CONNECTION_LIFE, ttl_dns_cache=30
    )
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(_has_connection)
    tracing.on_connection_reuseconn.append(_has_connection)
    return Session(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # the deadline of the call rules, see Transport.post
        headers={"User-Agent": "provisiond", "Accept-Encoding": "identity"},
        trust_env=False,
        auto_decompress=False,  # nothing packed is asked for: a body is never larger than what came
        trace_configs=[tracing],
    )


async def _has_connection(_session: Session, context: SimpleNamespace, _params: object) -> None:
    context.trace_request_ctx.sent = True


class Transport:
    """The HTTP side of one panel. `system` is the name that people know it by (the module's or IPAM's name)."""

    def __init__(
        self, system: str, url: str, *, tls: Tls | None = None, connections: int = 4, body_limit: int = BODY_LIMIT
    ) -> None:
        self.system = system
        self.host = _checked_host(url)
        self._url = url
        self._verify = verifier(tls or Tls())  # here, so that a bad CA file stops the start and not the first call
        self._connections = connections
        self._body_limit = body_limit
        self._gate = asyncio.Semaphore(connections)
        self._session: Session | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(
        self, func: str, form: Mapping[str, str], *, write: bool, deadline: float, reader: Callable[[], Reader[T]]
    ) -> T:
        """Send `form` and read the answer, all before `deadline` (the loop's time); waiting for a free connection counts.

        Raises Temporary (`panel_unreachable`, `tls_refused`: surely not sent; reads also `panel_no_answer`,
        `panel_bad_answer`) or, for a write that may have been sent, Uncertain with the same codes.
        """
        trip = _Trip()
        try:
            async with asyncio.timeout_at(deadline), self._gate:
                if write:
                    require_permit()
                return await self._exchange(form, trip, reader())
        except TimeoutError:
            raise self._no_answer(func, trip, write=write) from None
        except UnreadableError as error:
            raise self._failed(func, write, "panel_bad_answer", f"answered with {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(func, trip, error, write=write) from None

    async def _exchange(self, form: Mapping[str, str], trip: _Trip, reader: Reader[T]) -> T:
        if self._session is None:
            self._session = open_session(self._verify, connections=self._connections)
        async with self._session.post(self._url, data=form, allow_redirects=False, trace_request_ctx=trip) as answer:
            if answer.status >= 500:
                raise UnreadableError(f"HTTP status {answer.status}")
            if 300 <= answer.status < 400:
                raise UnreadableError(f"a redirect (HTTP status {answer.status}); give the full URL of the panel")
            try:
                return await self._read(answer, reader)
            except UnreadableError as error:
                if answer.status >= 400:
                    raise UnreadableError(f"HTTP status {answer.status}") from error
                raise

    async def _read(self, answer: aiohttp.ClientResponse, reader: Reader[T]) -> T:
        size = 0
        async for data in answer.content.iter_chunked(SLICE):
            size += len(data)
            if size > self._body_limit:
                raise UnreadableError(f"more than {self._body_limit} bytes")
            reader.feed(data)
            await asyncio.sleep(0)
        return reader.close()

    def _no_answer(self, func: str, trip: _Trip, *, write: bool) -> ProvisiondError:
        if trip.sent:
            return self._failed(func, write, "panel_no_answer", "did not answer in time")
        return self._failed(func, False, "panel_unreachable", "could not be reached in time")

    def _broken(self, func: str, trip: _Trip, error: Exception, *, write: bool) -> ProvisiondError:
        if trip.sent:
            return self._failed(func, write, "panel_no_answer", "broke the connection off")
        refused = why_refused(error) if isinstance(error, aiohttp.ClientError) else None
        if refused:
            return self._failed(func, False, "tls_refused", f"is not trusted: {refused}")
        return self._failed(func, False, "panel_unreachable", f"can't be reached: {_plain(error)}")

    def _failed(self, func: str, write: bool, code: str, what: str) -> ProvisiondError:  # noqa: FBT001 - private, named above
        kind = Uncertain if write else Temporary
        return kind(
            code, f"{self.system} at {self.host} {what} ({func})", system=self.system, host=self.host, func=func
        )


def _plain(error: Exception) -> str:
    """The operating system's words; aiohttp's own text would repeat the whole address."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (getattr(cause, "strerror", None) or type(cause).__name__).lower()


def _checked_host(url: str) -> str:
    """Host and port for people. The settings check the URL too; this is the last gate before a password leaves."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise ConfigError("url", "a panel's URL is https://HOST:PORT/NAME without user name and password in it")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError("url", f"plain http:// goes to loopback addresses only, not to {parts.hostname}")
    return parts.netloc
