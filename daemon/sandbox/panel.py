"""What every simulated panel has: functions, accounts, lists with filters, time, faults, and a record of all calls.

A panel is pure: no sockets, no waiting. `serve` takes one request and says what the HTTP face has to send, hold back or cut
off; `call` runs one function directly. Whatever a panel has to do later stands in its agenda and is done when the panel is next
asked anything, at the time it was due.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from daemon.sandbox.answers import Document, Element, PanelError, Value, done, listing
from daemon.sandbox.clock import SandboxClock
from daemon.sandbox.faults import Fault, FaultBoard, FaultKind
from daemon.sandbox.lists import fields, matches, mixed_up, public, results, rows_of, shortened
from daemon.sandbox.mgr5 import LOGIN_PAGE, error_document, render
from daemon.sandbox.sessions import ADMIN_LEVEL, Account, Accounts

LOG_LIMIT = 50_000


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function by an account."""

    func: str
    params: Mapping[str, str]
    user: Account

    def get(self, name: str, default: str = "") -> str:
        return self.params.get(name, default)

    def need(self, name: str) -> str:
        value = self.params.get(name, "")
        if not value:
            raise PanelError("missed", name, "", f"The parameter {name} is missing")
        return value

    @property
    def saving(self) -> bool:
        return bool(self.params.get("sok"))

    @property
    def elids(self) -> list[str]:
        """Group operations join ids by comma and space."""
        return [part.strip() for part in self.need("elid").split(",") if part.strip()]


Handler = Callable[[Call], Document]


@dataclass(frozen=True, slots=True)
class Function:
    """`changes` is None for a read, "always" for an action, "sok" for a form that changes something only when saved."""

    run: Handler
    changes: str | None = None
    admin: bool = True

    def changes_with(self, params: Mapping[str, str]) -> bool:
        return self.changes == "always" or (self.changes == "sok" and bool(params.get("sok")))


@dataclass(frozen=True, slots=True)
class Served:
    """What the face sends: after `delay` seconds; `cut` means the connection is dropped without an answer."""

    status: int = 200
    content_type: str = "text/xml"
    body: bytes = b""
    delay: float = 0.0
    cut: bool = False


@dataclass(slots=True)
class Logged:
    """One line of the call log; `outcome` is ok, an error's type and object, or the fault that struck."""

    time: datetime
    func: str
    params: dict[str, str]
    user: str
    outcome: str = "ok"

    def state(self, panel: str) -> dict[str, Any]:
        line = {"time": self.time.isoformat(), "panel": panel, "func": self.func, "user": self.user}
        return {**line, "params": self.params, "outcome": self.outcome}


@dataclass(order=True, slots=True)
class _Due:
    at: datetime
    number: int
    action: Callable[[], None] = field(compare=False)


class Panel:
    """Common ground of the panel models. A model fills `functions` and offers its own state."""

    kind = ""
    """The panel's program, as in its URL: dcimgr, ipmgr."""

    def __init__(self, name: str, clock: SandboxClock, board: FaultBoard, *, single_as_object: bool = True) -> None:
        self.name = name
        self.clock = clock
        self.board = board
        self.accounts = Accounts()
        self.accounts.add("admin", "sandbox-admin", ADMIN_LEVEL)
        self.functions: dict[str, Function] = {}
        self.calls: deque[Logged] = deque(maxlen=LOG_LIMIT)
        self.counts: Counter[str] = Counter()
        self.effects: deque[dict[str, Any]] = deque(maxlen=LOG_LIMIT)
        self.single_as_object = single_as_object
        self._agenda: list[_Due] = []
        self._numbers = 0
        self._moment: datetime | None = None

    # time -----------------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The model's time: the clock's, or the time of the agenda's entry being done."""
        return self._moment or self.clock.now()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Put `action` into the agenda; zero seconds means before the next look at the panel."""
        self._numbers += 1
        heapq.heappush(self._agenda, _Due(self.now() + timedelta(seconds=seconds), self._numbers, action))

    def settle(self) -> None:
        """Do everything that is due by now, in order of time, each at its own time."""
        if self._moment is not None:
            return
        now = self.clock.now()
        while self._agenda and self._agenda[0].at <= now:
            due = heapq.heappop(self._agenda)
            self._moment = due.at
            try:
                due.action()
            finally:
                self._moment = None

    # one request ------------------------------------------------------------------------------------------------------------

    def serve(self, params: Mapping[str, str], peer: str = "local") -> Served:
        """Answer one request. `params` are the form's or query's fields, `peer` the caller's address."""
        self.settle()
        func = params.get("func", "")
        if not func:
            return Served(content_type="text/html", body=LOGIN_PAGE.encode())
        self.counts[func] += 1
        line = Logged(self.now(), func, public(params), params.get("username", ""))
        self.calls.append(line)
        fault = self.board.take(self.name, func)
        if fault is not None:
            line.outcome = f"fault:{fault.kind}"
            served = self._serve_faulty(fault, params, peer, line)
        else:
            served = self._serve(params, peer, line)
        self.settle()
        return served

    def _serve(self, params: Mapping[str, str], peer: str, line: Logged) -> Served:
        return self._rendered(self._document(params, peer, line), params)

    def _document(self, params: Mapping[str, str], peer: str, line: Logged) -> Document:
        try:
            user = self._identify(params, peer)
            line.user = user.name
            return self._open_or_run(params, peer, user)
        except PanelError as error:
            if line.outcome == "ok":
                line.outcome = f"error:{error.type}:{error.object}"
            return error_document(error)

    def _rendered(self, document: Document, params: Mapping[str, str]) -> Served:
        kind, body = render(document, params.get("out", "xml"), single_as_object=self.single_as_object)
        return Served(content_type=kind, body=body)

    def _identify(self, params: Mapping[str, str], peer: str) -> Account:
        user = self._who(params, peer)
        if params.get("su"):
            if not user.is_admin:
                raise PanelError("access", "su", params["su"], "Only an administrator may work as another user")
            other = self.accounts.named(params["su"])
            if other is None:
                raise PanelError("missed", "user", params["su"], "There is no such user")
            return other
        return user

    def _who(self, params: Mapping[str, str], peer: str) -> Account:
        if params["func"] == "auth" and params.get("username"):
            if params.get("key"):
                return self.accounts.log_in_by_key(params["username"], params["key"])
            return self.accounts.log_in(params["username"], params.get("password", ""))
        if params.get("auth"):
            return self.accounts.resume(params["auth"], peer, self.now())
        if params.get("authinfo"):
            name, _, password = params["authinfo"].partition(":")
            return self.accounts.log_in(name, password)
        raise PanelError("auth", "required", "", "Access denied: log in first")

    def _open_or_run(self, params: Mapping[str, str], peer: str, user: Account) -> Document:
        func = params["func"]
        if func == "auth":
            session = self.accounts.open_session(user, peer, self.now())
            return {"auth": Element(session, {"id": session, "level": str(user.level)})}
        if func == "session.delete":
            self.accounts.close_session(params.get("auth", ""))
            return done()
        return self.call(func, params, user)

    # one function -----------------------------------------------------------------------------------------------------------

    def call(self, func: str, params: Mapping[str, str], user: Account | None = None) -> Document:
        """Run one function as `user` (an administrator if not given), without session, faults or log. Raises PanelError."""
        self.settle()
        user = user or self.accounts.by_id["1"]
        call = Call(func, params, user)
        built_in = self._built_in(call)
        if built_in is not None:
            return built_in
        function = self._function(func, user)
        document = function.run(call)
        if function.changes_with(params):
            self.effect(func, {key: value for key, value in public(params).items() if key != "sok"}, results(document))
        elif "p_elems" in document:
            document = self._as_listed(call, document)
        self.settle()
        return document

    def _function(self, func: str, user: Account) -> Function:
        function = self.functions.get(func)
        if function is None:
            raise PanelError("missed", "func", func, f"There is no function {func}")
        if function.admin and not user.is_admin:
            raise PanelError("access", "func", func, "You have no right to do this")
        return function

    def effect(self, func: str, params: dict[str, str], result: dict[str, str] | None = None) -> None:
        """Remember that something changed; tests count these."""
        self.effects.append({"time": self.now().isoformat(), "func": func, "params": params, "result": result or {}})

    def _built_in(self, call: Call) -> Document | None:
        if call.func == "session.newkey":
            if not call.user.is_admin:
                raise PanelError("access", "func", call.func, "Only an administrator makes keys")
            self.accounts.new_key(call.need("username"), call.need("key"))
            return done()
        name, _, last = call.func.rpartition(".")
        if last in ("filter", "setfilter") and name in self.functions and call.func not in self.functions:
            return self._set_filter(name, call)
        return None

    # lists ------------------------------------------------------------------------------------------------------------------

    def _set_filter(self, name: str, call: Call) -> Document:
        """Sticky: it stays with the user until replaced; a save without fields takes it away."""
        if not call.saving:
            return dict(call.user.filters.get(name, {}))
        wanted = {key: value for key, value in fields(call.params).items() if value}
        call.user.filters.pop(name, None)
        if wanted:
            call.user.filters[name] = wanted
        return done()

    def _as_listed(self, call: Call, document: Document) -> Document:
        """The list as this account sees it: filtered, and cut at its number of records (which `p_elems` gives away)."""
        rows = rows_of(document)
        wanted = call.user.filters.get(call.func, {})
        if call.get("filter") == "on":
            wanted = {**wanted, **fields(call.params)}
        if wanted:
            rows = [row for row in rows if matches(row, wanted)]
        limit = call.user.row_limit
        return listing(rows[:limit] if limit else rows, len(rows))

    # faults -----------------------------------------------------------------------------------------------------------------

    def _serve_faulty(self, fault: Fault, params: Mapping[str, str], peer: str, line: Logged) -> Served:
        kind = fault.kind
        if kind in _PAGES:
            return _PAGES[kind]
        if kind is FaultKind.RESET_BEFORE:
            return Served(cut=True)
        if kind is FaultKind.LATE:
            return self._cut_and_land_later(fault, params, peer, line)
        if kind is FaultKind.AUTH_LOSS:
            self.accounts.drop_sessions()
            return self._rendered(error_document(PanelError("auth", "session", "", "Access denied")), params)
        if kind is FaultKind.FORGET_INSTALL:
            self.forget_installs()
        if kind is FaultKind.INSTALL_FAILS:
            self.fail_next_install()
        if kind is FaultKind.WRONG:
            return self._rendered(self._wrong(params, peer, line), params)
        document = self._document(params, peer, line)
        if kind in (FaultKind.EMPTY_LIST, FaultKind.SHORT_LIST):
            document = shortened(document, empty=kind is FaultKind.EMPTY_LIST)
        served = self._rendered(document, params)
        if kind is FaultKind.SLOW:
            return Served(served.status, served.content_type, served.body, delay=fault.seconds)
        if kind is FaultKind.RESET_AFTER:
            return Served(cut=True)
        if kind is FaultKind.TRUNCATED:
            return Served(served.status, served.content_type, served.body[: max(1, len(served.body) * 2 // 3)])
        return served

    def _cut_and_land_later(self, fault: Fault, params: Mapping[str, str], peer: str, line: Logged) -> Served:
        """The caller is who it is now; what the call finds is what stands there when it lands."""
        try:
            user = self._identify(params, peer)
        except PanelError:
            return Served(cut=True)
        line.user = user.name
        kept = dict(params)

        def land() -> None:
            try:
                self.call(kept["func"], kept, user)
                line.outcome += ":landed"
            except PanelError as error:
                line.outcome += f":refused:{error.type}"

        self.later(fault.seconds, land)
        return Served(cut=True)

    def _wrong(self, params: Mapping[str, str], peer: str, line: Logged) -> Document:
        """Well-formed and wrong: a change is confirmed without effect, a read shows another element's data."""
        try:
            user = self._identify(params, peer)
            line.user = user.name
            func = params["func"]
            if func == "auth":
                return {"auth": Element("0000000000000000", {"id": "0000000000000000", "level": str(user.level)})}
            if self._function(func, user).changes_with(params):
                return done(**self.wrong_result(Call(func, params, user)))
            document = self.call(func, {**params, **self.wrong_element(params)}, user)
        except PanelError as error:
            return error_document(error)
        return mixed_up(document)

    def wrong_result(self, call: Call) -> dict[str, Value]:
        """What a create that did nothing answers beside `ok`."""
        del call
        return {}

    def wrong_element(self, params: Mapping[str, str]) -> dict[str, str]:
        """Parameters that point a read at another element."""
        del params
        return {}

    def forget_installs(self) -> None:
        """A restart of the panel that loses running installs; a panel without installs has nothing to lose."""

    def fail_next_install(self) -> None:
        """Let the next install end as failed, where there are installs."""

    # truth ------------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The whole truth as JSON: what every panel has; a model adds its own."""
        self.settle()
        return {
            "kind": self.kind,
            "users": [
                {
                    "id": user.id,
                    "name": user.name,
                    "level": user.level,
                    "row_limit": user.row_limit,
                    "filters": user.filters,
                }
                for user in self.accounts.by_id.values()
            ],
            "next_due": self._agenda[0].at.isoformat() if self._agenda else None,
            "sessions": self.accounts.open_sessions,
            "counts": dict(self.counts),
            "calls": [line.state(self.name) for line in self.calls],
            "effects": list(self.effects),
        }


_PAGES = {
    FaultKind.HTTP_500: Served(500, "text/html", b"<html><body>Internal Server Error</body></html>"),
    FaultKind.HTTP_503: Served(503, "text/html", b"<html><body>Service Unavailable</body></html>"),
    FaultKind.HTML: Served(200, "text/html", LOGIN_PAGE.encode()),
}
