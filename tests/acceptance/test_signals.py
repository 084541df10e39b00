"""Stopped, killed, started again; and what a service manager is told meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.house import QUICK, Api, Database, Sandbox, api_of, daemon, http, sandbox, start, until

MANY = 100
SLOW_PANELS = 3.0
STOPS_WITHIN = 10.0
GOES_ON_WITHIN = 5.0


def test_sighup_is_logged_and_ignored(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels, daemon(panels.config) as running:
        running.process.send_signal(signal.SIGHUP)
        (line,) = until(lambda: running.logged("reload.ignored"), "the line about SIGHUP")
        assert line["level"] == "warning"
        assert http("GET", f"{running.url}/readyz").status == 200


def test_a_daemon_with_a_hundred_open_operations_stops_in_time_and_goes_on_afterwards(
    tmp_path: Path, on_both: Callable[[Path], Database]
) -> None:
    options = ("--servers", f"E3-1230-16G={MANY}", "--public", "200", "--install-seconds", "3600")
    with sandbox(tmp_path, *options, module={**QUICK, "watch_every": "1s"}) as panels:
        database = on_both(panels.config)
        with daemon(panels.config) as running:
            api = api_of(panels.config)
            order_many(api)
            assert database.number("SELECT COUNT(*) FROM operation WHERE status = 'open'") == MANY
            panels.fault("*", "*", "slow", times=0, seconds=SLOW_PANELS)  # every slot is in the middle of a call
            until(lambda: database.number("SELECT COUNT(*) FROM operation WHERE owner IS NOT NULL") > 8, "busy slots")
            code, seconds = running.stop()
            assert (code, seconds < STOPS_WITHIN) == (0, True), (seconds, running.tail())
            assert database.number("SELECT COUNT(*) FROM operation WHERE status = 'open'") == MANY
        panels.mend()
        with daemon(panels.config) as again:
            assert_goes_on(panels, database)
            code, seconds = again.stop()
            assert (code, seconds < STOPS_WITHIN) == (0, True), (seconds, again.tail())
        assert len(panels.owned()) == len(set(panels.owned()))


def order_many(api: Api) -> None:
    def one(number: int) -> int:
        customer = {"ref": f"C-{number % 5}", "name": "Ada Example", "email": f"c{number % 5}@example.test"}
        return int(api.order(f"order-{number}", customer=customer)["operation"]["id"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(one, range(MANY)))) == MANY


def assert_goes_on(panels: Sandbox, database: Database) -> None:
    """Servers are reserved that weren't, and begun installs are watched."""
    began = len(panels.owned())
    done = "SELECT COUNT(*) FROM step WHERE status = 'done'"
    steps = database.number(done)
    until(lambda: database.number(done) > steps + 20, "more steps", within=15)
    until(lambda: len(panels.owned()) > began, "more servers", within=30)


def test_killed_work_is_armed_when_the_daemon_is_ready_again_and_goes_on_at_once(
    tmp_path: Path, on_both: Callable[[Path], Database]
) -> None:
    with sandbox(tmp_path, "--install-seconds", "600") as panels:
        database = on_both(panels.config)
        first = start(panels.config)
        try:
            first.wait_ready()
            api = api_of(panels.config)
            operations = [api.order(f"order-{n}")["operation"]["id"] for n in range(3)]
            until(lambda: len([s for s in panels.servers().values() if s["installs"]]) == 3, "installs")
        finally:
            first.kill()
        done = "SELECT COUNT(*) FROM step WHERE status = 'done'"
        steps = database.number(done)
        panels.door("clock", advance=600)
        with daemon(panels.config):
            ready = time.monotonic()
            until(lambda: database.number(done) > steps, "another step", within=GOES_ON_WITHIN)
            assert time.monotonic() - ready < GOES_ON_WITHIN
            for operation in operations:
                api.ended(operation)
        assert len(panels.owned()) == 3
        assert {len(server["installs"]) for server in panels.servers().values()} == {0, 1}


# the service manager --------------------------------------------------------------------------------------------------------------


class Manager:
    """The end of NOTIFY_SOCKET at which systemd sits."""

    def __init__(self, path: Path) -> None:
        self.environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1500000"}
        self.messages: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def take(self) -> list[str]:
        """Whatever has come until now, line by line."""
        with contextlib.suppress(BlockingIOError):
            while True:
                text = self._socket.recv(65536).decode()
                self.messages += [(time.monotonic(), line) for line in text.splitlines()]
        return [line for _, line in self.messages]

    def wait_for(self, line: str, number: int = 1) -> None:
        until(lambda: self.take().count(line) >= number, line, every=0.002)


@contextmanager
def manager(folder: Path) -> Iterator[Manager]:
    made = Manager(folder / "notify")
    try:
        yield made
    finally:
        made.close()


def test_the_service_manager_hears_ready_when_the_socket_answers_then_signs_of_life_then_the_stop(
    tmp_path: Path,
) -> None:
    with sandbox(tmp_path) as panels, manager(tmp_path) as systemd:
        running = start(panels.config, environ=systemd.environ)
        try:
            systemd.wait_for("READY=1")
            assert http("GET", f"{running.url}/readyz").status == 200
            assert_local_socket_answers(tmp_path)
            systemd.wait_for("WATCHDOG=1", 3)
            assert any(line.startswith("STATUS=") and "legs running" in line for line in systemd.take())
            lines = [line for line in systemd.take() if not line.startswith("STATUS=")]
            assert lines[0] == "READY=1"
            assert lines.count("READY=1") == 1
            assert "STOPPING=1" not in lines
            running.process.terminate()
            systemd.wait_for("STOPPING=1")
            assert running.process.wait(STOPS_WITHIN) == 0
            assert [line for line in systemd.take() if not line.startswith("STATUS=")][-1] == "STOPPING=1"
        finally:
            running.kill()


def assert_local_socket_answers(folder: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as local:
        local.settimeout(5)
        local.connect(str(folder / "var" / "provisiond.sock"))
        local.sendall(b"GET /readyz HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        assert local.recv(200).startswith(b"HTTP/1.1 200")


def test_a_daemon_that_must_not_start_never_says_ready(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels, manager(tmp_path) as systemd, daemon(panels.config):
        second = start(panels.config, environ=systemd.environ)
        try:
            assert second.process.wait(20) != 0
        finally:
            second.kill()
        assert systemd.take() == []


def test_a_frozen_daemon_gives_no_sign_of_life_and_is_well_again_when_it_wakes(tmp_path: Path) -> None:
    with sandbox(tmp_path) as panels, manager(tmp_path) as systemd:
        running = start(panels.config, environ=systemd.environ)
        try:
            systemd.wait_for("WATCHDOG=1")
            os.kill(running.process.pid, signal.SIGSTOP)
            until(lambda: process_state(running.process.pid) == "T", "the process to stand still")
            signs = systemd.take().count("WATCHDOG=1")
            silent_until = time.monotonic() + 2.0
            until(lambda: time.monotonic() > silent_until, "two seconds to pass")
            assert systemd.take().count("WATCHDOG=1") == signs
            os.kill(running.process.pid, signal.SIGCONT)
            systemd.wait_for("WATCHDOG=1", signs + 1)
            assert running.stop()[0] == 0
        finally:
            running.kill()


def process_state(pid: int) -> Any:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
