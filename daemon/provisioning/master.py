"""Where the master key comes from, and the check that it is the one this database was used with."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import structlog

from daemon.domain.errors import ConfigError
from daemon.domain.secrets import MasterKey
from daemon.settings.secrets import Credentials
from daemon.store.database import Store

FINGERPRINT = "master_fingerprint"
INSTALLATION = "installation"
FILE = "master.key"
LENGTH = 32

log = structlog.get_logger(__name__)


async def load_master(store: Store, credentials: Credentials, state_dir: Path) -> MasterKey:
    """`cred:master`, else `state_dir/master.key`, else a new one while nothing depends on it.

    Raises ConfigError: `master_missing` or `master_different` when passwords that were given out could not be derived again.
    """
    raw = credentials.read_bytes("master")
    path = state_dir / FILE
    known = await store.read.facts.get(FINGERPRINT)
    if raw is None and path.exists():
        raw = path.read_bytes()
    if raw is None:
        if known is not None and await store.read.operations.exists_any():
            raise ConfigError(
                "master_missing",
                f"the master key is missing: restore {path}, or the credential `master`, from your backup",
            )
        raw = _make(path)
    if len(raw) != LENGTH:
        raise ConfigError("master_length", f"the master key has {len(raw)} bytes; expected {LENGTH}")
    master = MasterKey(raw)
    await _check(store, master, known)
    return master


async def installation_id(store: Store) -> str:
    """Short, random, made once: part of our marks on the platforms."""
    async with store.transaction() as tx:
        return await tx.facts.put_once(INSTALLATION, secrets.token_hex(3))


async def _check(store: Store, master: MasterKey, known: str | None) -> None:
    if known == master.fingerprint:
        return
    if known is not None and await store.read.operations.exists_any():
        raise ConfigError(
            "master_different", "the master key is not the one this database was used with: restore it from your backup"
        )
    async with store.transaction() as tx:
        await tx.facts.put(FINGERPRINT, master.fingerprint)


def _make(path: Path) -> bytes:
    raw = secrets.token_bytes(LENGTH)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    log.warning("master.made", path=str(path), note="put it into your backup: passwords are derived from it")
    return raw
