"""A client of one panel: login, calls, forms, lists (docs/reference/contracts.md#coremanager)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import structlog

from daemon.coremanager.documents import Doc, DocReader
from daemon.coremanager.errors import PanelError, PanelUnhealthyError, Refusal, error_of, read_refusal
from daemon.coremanager.forms import Form, read_form, save_params
from daemon.coremanager.lists import Coalesced, Listing, Memory, doubt_of
from daemon.coremanager.retry import Budget, repeated
from daemon.coremanager.tls import Tls
from daemon.coremanager.transport import Transport
from daemon.domain.clock import Clock
from daemon.domain.errors import ProvisiondError, Temporary
from daemon.settings.remote import RemoteSettings

SECRET_PARAMS = frozenset({"auth", "authinfo", "checkpasswd", "confirm", "key", "passwd", "password", "username"})
"""Parameters whose values never appear in an error or a log, not even when the panel repeats them."""

_LOST_SESSION = "auth"
_MISSING_RIGHT = "access"

Observer = Callable[[str, str, str, float], None]
"""Told of each call: system, func, outcome ("ok" or the error's code), seconds."""

_deadline: ContextVar[float | None] = ContextVar("coremanager_deadline", default=None)
_log = structlog.get_logger(__name__)


class PanelClient:
    """Speaks mgr5 with one panel. `password` is asked for at each login, so that a changed credential is found.

    Calls raise what Transport.post raises, PanelError (Permanent) for a refusal, PanelUnhealthyError (Unhealthy) for a refused
    login or right.
    """

    def __init__(self, system: str, settings: RemoteSettings, password: Callable[[], str], clock: Clock) -> None:
        self.system = system
        self.settings = settings
        self.timeout = settings.timeout.total_seconds()
        self.observe: Observer = _nobody
        self._password = password
        self._clock = clock
        self._transport = Transport(
            system,
            settings.url,
            tls=_tls(settings),
            connections=settings.connections,
            body_limit=settings.body_limit,
        )
        self._budget = Budget(clock, per_minute=settings.reads_repeated)
        self._memory = Memory(clock, limit_percent=settings.list_shrink_limit)
        self._coalesced: dict[str, Coalesced] = {}
        self._login = asyncio.Lock()
        self._session: str | None = None
        self._session_at = 0.0
        self._last_password = ""
        self._refused: tuple[float, PanelUnhealthyError] | None = None

    def repetitions_left(self) -> float:
        """How many reads this panel may still be asked again."""
        return self._budget.left()

    async def close(self) -> None:
        for coalesced in self._coalesced.values():
            await coalesced.close()
        await self._transport.close()

    @contextmanager
    def one_deadline(self) -> Iterator[None]:
        """All calls inside share one `timeout`: a verb of several calls still ends in the time that `settle` rests on."""
        token = _deadline.set(self._new_deadline())
        try:
            yield
        finally:
            _deadline.reset(token)

    # calls ------------------------------------------------------------------------------------------------------------------

    async def call(self, func: str, params: Mapping[str, str] | None = None, *, write: bool = False) -> Doc:
        """One function of the panel. A write is sent once; a read is repeated at once while the panel's budget lasts."""
        deadline = self._new_deadline()
        if self.settings.authinfo:
            return await self._with_authinfo(func, params or {}, deadline, write=write)
        return await self._with_session(func, params or {}, deadline, write=write)

    async def log_in(self) -> None:
        """Log in now if there is no session. Raises PanelUnhealthyError at once within `login_every` of a refusal."""
        if not self.settings.authinfo:
            await self._session_id(self._new_deadline(), unlike=None)

    async def form(self, func: str, elid: str, *, plid: str | None = None) -> Form:
        """Read an object's form. Raises NotThereError when the panel says that there is no such object."""
        params = {"elid": elid} if plid is None else {"elid": elid, "plid": plid}
        doc = await self.call(func, params)
        shown = doc.text("elid")
        if shown and shown != elid:
            # Saving it would write one object's fields over another's.
            raise Temporary(
                "panel_contradiction",
                f"{self.system} was asked for {func} of {elid} and showed {shown}",
                system=self.system,
                func=func,
            )
        return read_form(func, elid, plid, doc)

    async def save(self, form: Form, changes: Mapping[str, str]) -> Doc:
        """Write a form back with `changes`; whether it took effect is for the caller to read."""
        return await self.call(form.func, save_params(form, changes), write=True)

    # lists ------------------------------------------------------------------------------------------------------------------

    async def list(self, func: str, params: Mapping[str, str] | None = None) -> Listing:
        """A full list. One of the whole panel (no `params`) is also compared with its last reading."""
        doc = await self.call(func, params)
        rows = doc.rows()
        doubt = doubt_of(doc, len(rows))
        if doubt is None and not params:
            doubt = self._memory.doubt(func, len(rows))
        return Listing(self.system, func, rows, doubt)

    async def fresh(self, func: str) -> Listing:
        """A full list whose request began after this call; callers at the same time share one request."""
        if func not in self._coalesced:
            self._coalesced[func] = Coalesced(lambda: self.list(func))
        try:
            async with asyncio.timeout_at(self._new_deadline()):
                return await self._coalesced[func].get()
        except TimeoutError:
            raise self._too_late(func) from None

    def removed(self, func: str) -> None:
        """We took a row off a list ourselves: its being shorter is no surprise."""
        self._memory.removed(func)

    # login ------------------------------------------------------------------------------------------------------------------

    async def _with_session(self, func: str, params: Mapping[str, str], deadline: float, *, write: bool) -> Doc:
        session = await self._session_id(deadline, unlike=None)
        try:
            return await self._exchange(func, {**params, "auth": session}, deadline, write=write)
        except PanelUnhealthyError as refused:
            if not self._worth_a_login(refused):
                raise
        # An error of the login says that the call was not executed, so even a write may be sent again.
        session = await self._session_id(deadline, unlike=session)
        try:
            return await self._exchange(func, {**params, "auth": session}, deadline, write=write)
        except PanelUnhealthyError as refused:
            self._remember(refused)
            raise

    async def _with_authinfo(self, func: str, params: Mapping[str, str], deadline: float, *, write: bool) -> Doc:
        self._hold_back()
        self._last_password = self._password()
        authinfo = f"{self.settings.username}:{self._last_password}"
        try:
            return await self._exchange(func, {**params, "authinfo": authinfo}, deadline, write=write)
        except PanelUnhealthyError as refused:
            self._remember(refused)
            raise

    async def _session_id(self, deadline: float, *, unlike: str | None) -> str:
        """The shared session, made if there is none or if it still is `unlike`."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._login.acquire()
        except TimeoutError:
            raise self._too_late("auth") from None
        try:
            if self._session is not None and self._session != unlike:
                return self._session
            self._session = None
            self._hold_back()
            self._session = await self._new_session(deadline)
            self._session_at = self._clock.monotonic()
            return self._session
        finally:
            self._login.release()

    async def _new_session(self, deadline: float) -> str:
        self._last_password = self._password()
        login = {"username": self.settings.username, "password": self._last_password}
        try:
            doc = await self._exchange("auth", login, deadline, write=False)
        except PanelUnhealthyError as refused:
            self._refused = (self._clock.monotonic(), refused)
            raise
        session = doc.text("auth") or (auth.get("id") if (auth := doc.raw.find("auth")) is not None else None)
        if not session:
            raise Temporary(
                "panel_bad_answer", f"{self.system} answered the login without a session", system=self.system
            )
        self._refused = None
        return session

    def _worth_a_login(self, refused: PanelUnhealthyError) -> bool:
        """A lost session is worth one. A missing right is not, unless the session is old enough to have been lost."""
        if refused.refusal.type == _LOST_SESSION:
            return True
        return self._clock.monotonic() - self._session_at >= self.settings.login_every.total_seconds()

    def _remember(self, refused: PanelUnhealthyError) -> None:
        """A call refused in spite of a fresh login: the next login would not help. A missing right concerns one function only."""
        if refused.refusal.type != _MISSING_RIGHT:
            self._session = None
            self._refused = (self._clock.monotonic(), refused)

    def _hold_back(self) -> None:
        if self._refused is None:
            return
        since, refused = self._refused
        if self._clock.monotonic() - since < self.settings.login_every.total_seconds():
            raise type(refused)(self.system, "auth", refused.refusal)
        self._refused = None

    # exchange ---------------------------------------------------------------------------------------------------------------

    async def _exchange(self, func: str, params: Mapping[str, str], deadline: float, *, write: bool) -> Doc:
        form = {"func": func, "out": self.settings.out, **params}
        began = self._clock.monotonic()

        async def once() -> Doc:
            return await self._transport.post(func, form, write=write, deadline=deadline, reader=DocReader)

        outcome = "cancelled"
        try:
            doc = await (once() if write else self._repeated(once, deadline))
            error = doc.error
            if error is not None:
                refusal = read_refusal(error).without([*_secrets(params), self._last_password])
                raise self._error(func, refusal)
            outcome = "ok"
            return doc
        except ProvisiondError as failed:
            outcome = failed.code
            raise
        finally:
            took = self._clock.monotonic() - began
            self.observe(self.system, func, outcome, took)
            _log.debug(
                "panel call", system=self.system, func=func, write=write, outcome=outcome, seconds=round(took, 3)
            )

    async def _repeated(self, read: Callable[[], Awaitable[Doc]], deadline: float) -> Doc:
        loop = asyncio.get_running_loop()
        return await repeated(read, budget=self._budget, clock=self._clock, seconds_left=lambda: deadline - loop.time())

    def _error(self, func: str, refusal: Refusal) -> PanelError | PanelUnhealthyError:
        return error_of(
            self.system, func, refusal, auth=self.settings.auth_errors, missing=self.settings.missing_errors
        )

    def _new_deadline(self) -> float:
        inherited = _deadline.get()
        own = asyncio.get_running_loop().time() + self.timeout
        return own if inherited is None else min(inherited, own)

    def _too_late(self, func: str) -> Temporary:
        return Temporary(
            "panel_unreachable",
            f"{self.system} was too busy to be asked in time ({func})",
            system=self.system,
            func=func,
        )


def _nobody(_system: str, _func: str, _outcome: str, _seconds: float) -> None:
    """Nobody watches."""


def _secrets(params: Mapping[str, str]) -> list[str]:
    return [value for key, value in params.items() if key in SECRET_PARAMS]


def _tls(settings: RemoteSettings) -> Tls:
    ca_file = settings.tls.ca_file
    return Tls(Path(ca_file) if ca_file else None, (settings.tls.pin,) if settings.tls.pin else ())
