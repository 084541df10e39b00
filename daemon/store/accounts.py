"""Bearer tokens and one-time access links. Only hashes are kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from daemon.store.connection import Connection
from daemon.store.models import AccessLinkRow, TokenRow


def digest(secret: str) -> str:
    """What is stored of a token or link: SHA-256, since both are 32 random bytes and need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Token:
    id: int
    name: str
    roles: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


def _token(row: TokenRow) -> Token:
    return Token(row.id, row.name, tuple(row.roles), row.created_at, row.revoked_at)  # type: ignore[arg-type]  # JSON column


class Tokens:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(self, name: str, secret: str, roles: list[str]) -> Token:
        row = await TokenRow.create(
            name=name, hash=digest(secret), roles=roles, created_at=self._c.clock.now(), using_db=self._c.db
        )
        return _token(row)

    async def find(self, secret: str) -> Token | None:
        row = await TokenRow.get_or_none(hash=digest(secret), revoked_at=None, using_db=self._c.db)
        return _token(row) if row else None

    async def all(self) -> list[Token]:
        return [_token(row) for row in await TokenRow.all().using_db(self._c.db).order_by("id")]

    async def revoke(self, token_id: int) -> bool:
        count = await self._c.execute(
            "UPDATE token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", self._c.clock.now(), token_id
        )
        return count == 1


class AccessLinks:
    def __init__(self, connection: Connection) -> None:
        self._c = connection

    async def add(self, service_id: int, secret_hash: str, expires_at: datetime) -> None:
        await AccessLinkRow.create(
            hash=secret_hash,
            service_id=service_id,
            created_at=self._c.clock.now(),
            expires_at=expires_at,
            using_db=self._c.db,
        )

    async def usable(self, secret: str) -> int | None:
        """The service of a link that is neither used nor expired."""
        rows = await self._c.fetch(
            "SELECT service_id FROM access_link WHERE hash = ? AND used_at IS NULL AND expires_at > ?",
            digest(secret), self._c.clock.now(),
        )  # fmt: skip
        return rows[0]["service_id"] if rows else None

    async def use(self, secret: str) -> int | None:
        """Use a link up; its service, or None when it was used or expired before."""
        now = self._c.clock.now()
        rows = await self._c.fetch(
            "UPDATE access_link SET used_at = ? WHERE hash = ? AND used_at IS NULL AND expires_at > ? RETURNING service_id",
            now, digest(secret), now,
        )  # fmt: skip
        return rows[0]["service_id"] if rows else None
