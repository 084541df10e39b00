"""The worker process: started when needed, gone when idle, replaced when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest

from daemon.domain.errors import Permanent, Temporary
from daemon.stats import crunch
from daemon.stats.worker import Worker


def refuses() -> None:
    raise Permanent("no_such_thing", "there is no such thing", thing=7)


class Awkward(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def awkward() -> None:
    raise Awkward(1, 2)


def says_something() -> str:
    print("this must not end up among the answers")
    return "said"


def modules() -> set[str]:
    return set(sys.modules)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker()
    yield made
    await made.stop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def gone(pid: int) -> bool:
    for _ in range(100):
        if not alive(pid):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_function_runs_in_another_process_that_stays_for_the_next_one(worker: Worker) -> None:
    assert worker.pid is None
    first = await worker.run(os.getpid)
    assert first not in {os.getpid(), None}
    assert await worker.run(os.getpid) == first == worker.pid


async def test_calls_at_once_take_turns(worker: Worker) -> None:
    assert await asyncio.gather(*(worker.run(divmod, number, 7) for number in range(30))) == [
        divmod(number, 7) for number in range(30)
    ]


async def test_much_data_goes_in_and_comes_out(worker: Worker) -> None:
    data = os.urandom(20_000_000)
    assert await worker.run(bytes, data) == data


async def test_errors_of_a_function_are_raised_here_and_the_process_lives_on(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        await worker.run(divmod, 1, 0)
    with pytest.raises(Permanent) as caught:
        await worker.run(refuses)
    assert (caught.value.code, caught.value.context) == ("no_such_thing", {"thing": 7})
    with pytest.raises(RuntimeError, match="Awkward: 1 and 2"):
        await worker.run(awkward)
    assert await worker.run(says_something) == "said"


async def test_a_worker_that_is_killed_fails_that_call_and_the_next_one_has_a_new_one(worker: Worker) -> None:
    first = await worker.run(os.getpid)
    call = asyncio.create_task(worker.run(time.sleep, 30))
    await asyncio.sleep(0.2)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(Temporary) as caught:
        await call
    assert caught.value.code == "worker_lost"
    assert await worker.run(os.getpid) != first


async def test_a_worker_that_is_killed_between_calls_is_replaced(worker: Worker) -> None:
    first = await worker.run(os.getpid)
    os.kill(first, signal.SIGKILL)
    while worker.pid is not None:
        await asyncio.sleep(0.01)
    assert await worker.run(os.getpid) != first


async def test_a_call_that_is_cancelled_ends_the_process_and_the_next_answer_is_its_own(worker: Worker) -> None:
    first = await worker.run(os.getpid)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(worker.run(time.sleep, 30), 0.2)
    assert await worker.run(divmod, 9, 2) == (4, 1)
    assert await gone(first)


async def test_an_idle_worker_ends() -> None:
    worker = Worker(idle=0.2)
    pid = await worker.run(os.getpid)
    assert await gone(pid)
    assert worker.pid is None
    assert await worker.run(os.getpid) != pid
    await worker.stop()


async def test_stopping_ends_it_even_in_the_middle_of_work(worker: Worker) -> None:
    pid = await worker.run(os.getpid)
    call = asyncio.create_task(worker.run(time.sleep, 30))
    await asyncio.sleep(0.1)
    await worker.stop()
    with pytest.raises(Temporary):
        await call
    assert not alive(pid)
    with pytest.raises(Temporary) as caught:
        await worker.run(os.getpid)
    assert caught.value.code == "worker_stopped"


async def test_signals_for_the_daemon_do_not_end_its_work(worker: Worker) -> None:
    pid = await worker.run(os.getpid)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert await worker.run(os.getpid) == pid


def test_a_worker_ends_with_a_daemon_that_was_killed() -> None:
    script = (
        "import asyncio, os, signal\n"
        "from daemon.stats.worker import Worker\n"
        "async def main():\n"
        "    print(await Worker().run(os.getpid), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, timeout=60)
    assert asyncio.run(gone(int(done.stdout.split()[-1])))


async def test_numpy_is_loaded_there_and_not_here(worker: Worker) -> None:
    code = "import sys, daemon.stats.crunch, daemon.store.days.store; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout == "False\n"
    assert "numpy" not in await worker.run(modules)
    await worker.run(crunch.measure, {}, [])
    assert "numpy" in await worker.run(modules)
