"""One daemon per SQLite file: a lock on `state_dir` that dies with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.domain.errors import ConfigError

NAME = "lock"


class StateLock:
    """`with StateLock(state_dir):` for as long as the database is written to.

    The lock is the kernel's (flock), so that a killed process leaves none behind; the file itself stays.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / NAME
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raise ConfigError `state_locked` when another process has it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f" (process {holder})" if holder else ""
            raise ConfigError(
                "state_locked", f"{self._path.parent}: another provisiond{who} works on this folder"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
