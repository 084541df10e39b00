"""Accounts of a panel, their sessions and one-time keys (docs/reference/contracts.md#authentication)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from daemon.sandbox.answers import PanelError

ADMIN_LEVEL = 29
USER_LEVEL = 16
SESSION_LIFE = timedelta(hours=1)
SHORTEST_KEY = 16


@dataclass(slots=True)
class Account:
    """A panel user. `row_limit` is its "Number of records" (0: no limit), `filters` the sticky filter of each list."""

    id: str
    name: str
    password: str = field(repr=False)
    level: int = USER_LEVEL
    row_limit: int = 0
    filters: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def is_admin(self) -> bool:
        return self.level > USER_LEVEL


@dataclass(slots=True)
class _Session:
    account: Account
    peer: str
    last_call: datetime


class Accounts:
    """Users by id; a session lives one hour after its last call and belongs to the caller it was made for."""

    def __init__(self, *, bind_sessions: bool = True) -> None:
        self.by_id: dict[str, Account] = {}
        self._sessions: dict[str, _Session] = {}
        self._keys: dict[str, str] = {}
        self._bind = bind_sessions

    def add(self, name: str, password: str, level: int = USER_LEVEL) -> Account:
        """Raises PanelError `exists` (object `user`) for a name that is taken."""
        if self.named(name):
            raise PanelError("exists", "user", name, f"The user {name} already exists")
        account = Account(str(len(self.by_id) + 1), name, password, level)
        while account.id in self.by_id:
            account.id = str(int(account.id) + 1)
        self.by_id[account.id] = account
        return account

    def named(self, name: str) -> Account | None:
        return next((account for account in self.by_id.values() if account.name == name), None)

    def log_in(self, name: str, password: str) -> Account:
        account = self.named(name)
        if account is None or not secrets.compare_digest(account.password.encode(), password.encode()):
            raise PanelError("auth", "badpassword", name, "Wrong user name or password")
        return account

    def log_in_by_key(self, name: str, key: str) -> Account:
        """A one-time key dies with its use, right or wrong user."""
        account = self.named(name)
        if account is None or self._keys.pop(key, None) != account.id:
            raise PanelError("auth", "badkey", name, "The key is not valid")
        return account

    def new_key(self, name: str, key: str) -> None:
        account = self.named(name)
        if account is None:
            raise PanelError("missed", "user", name, f"There is no user {name}")
        if len(key) < SHORTEST_KEY:
            raise PanelError("value", "key", "", f"A key has at least {SHORTEST_KEY} characters")
        self._keys[key] = account.id

    def open_session(self, account: Account, peer: str, now: datetime) -> str:
        session_id = secrets.token_hex(8)
        self._sessions[session_id] = _Session(account, peer, now)
        return session_id

    def resume(self, session_id: str, peer: str, now: datetime) -> Account:
        session = self._sessions.get(session_id)
        if session is None or (self._bind and session.peer != peer):
            raise PanelError("auth", "session", "", "Access denied: there is no such session")
        if now - session.last_call > SESSION_LIFE or session.account.id not in self.by_id:
            del self._sessions[session_id]
            raise PanelError("auth", "expired", "", "Access denied: the session has expired")
        session.last_call = now
        return session.account

    def close_session(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def drop_sessions(self) -> None:
        self._sessions.clear()

    @property
    def open_sessions(self) -> int:
        return len(self._sessions)
