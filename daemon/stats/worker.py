"""One process for arithmetic that would hold up the loop for more than 20 ms: plain data in, plain data out.

It is a fresh interpreter, not a fork of a daemon full of threads; it is started when somebody needs it and ends when nobody has for a while, or
when the daemon is gone. A call that its end interrupts fails as Temporary and may be made again.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, TypeVar

import structlog

from daemon.domain.errors import ProvisiondError, Temporary, from_dict

T = TypeVar("T")

IDLE_SECONDS = 60.0
END_WITHIN = 2.0
SIZE = struct.Struct("<Q")

log = structlog.get_logger(__name__)


class Worker:
    """Runs one function at a time; others wait their turn."""

    def __init__(self, idle: float = IDLE_SECONDS) -> None:
        self._idle = idle
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """None while there is no process."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of a module, by name, with arguments that can be pickled. Its errors are raised here.

        Temporary `worker_lost` when the process ended meanwhile, `worker_stopped` when the daemon is ending. A call that is cancelled
        while it runs ends the process; the next call starts another.
        """
        request = pickle.dumps((function, args), protocol=pickle.HIGHEST_PROTOCOL)
        async with self._turn:
            if self._stopped:
                raise Temporary("worker_stopped", "the daemon is ending")
            if self._timer is not None:
                self._timer.cancel()
            process = await self._started()
            answered = False
            try:
                answer = await _exchange(process, request)
                answered = True
            except (OSError, asyncio.IncompleteReadError) as error:
                code = await process.wait()
                log.warning("worker.lost", function=function.__qualname__, code=code)
                raise Temporary(
                    "worker_lost", f"the worker process ended ({code}) in the middle of its work"
                ) from error
            finally:
                if answered:
                    self._timer = asyncio.get_running_loop().call_later(self._idle, self._let_go)
                else:
                    self._kill()
        result: T = _result(answer)
        return result

    async def stop(self) -> None:
        """End the process, whatever it is doing: what it does can be done again."""
        self._stopped = True
        if self._turn.locked():
            self._kill()
        self._let_go()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            log.debug("worker.started", pid=self._process.pid)
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            self._wait_for(process)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        process, self._process = self._process, None
        if process is not None:
            self._wait_for(process)

    def _wait_for(self, process: asyncio.subprocess.Process) -> None:
        task = asyncio.create_task(_ended(process), name="worker end")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _exchange(process: asyncio.subprocess.Process, request: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(SIZE.pack(len(request)))
    process.stdin.write(request)
    await process.stdin.drain()
    (size,) = SIZE.unpack(await process.stdout.readexactly(SIZE.size))
    return await process.stdout.readexactly(size)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Its input ends, so it does; one that doesn't is killed."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), END_WITHIN)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _result(answer: bytes) -> Any:
    kind, value = pickle.loads(answer)  # noqa: S301 - written by our own process on a pipe that nobody else has
    if kind == "ours":
        raise from_dict(value)
    if kind == "error":
        raise value
    return value


# --- in the process ----------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Answer requests on standard input until it ends; whatever prints, prints to standard error."""
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # meant for the daemon, which ends this process in its own time
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with suppress(BrokenPipeError):
        while (request := _read(requests)) is not None:
            answer = _answer(request)
            answers.write(SIZE.pack(len(answer)))
            answers.write(answer)
            answers.flush()


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(SIZE.size)
    if len(head) < SIZE.size:
        return None
    (size,) = SIZE.unpack(head)
    body = stream.read(size)
    return body if len(body) == size else None


def _answer(request: bytes) -> bytes:
    pack = partial(pickle.dumps, protocol=pickle.HIGHEST_PROTOCOL)
    try:
        function, args = pickle.loads(request)  # noqa: S301 - as above
        return pack(("value", function(*args)))
    except ProvisiondError as error:
        return pack(("ours", error.as_dict()))
    except Exception as error:  # noqa: BLE001 - the caller's to judge
        return pack(("error", _portable(error)))


def _portable(error: Exception) -> Exception:
    """The error itself, if it survives the journey."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - whatever its class does when it is made anew
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main()
