"""Real processes: a sandbox, daemons on it, the command line, and a client of the HTTP API. Everything waits by deadline."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from daemon.store.targets import PostgresTarget

T = TypeVar("T")

TEMPLATE = "ISPsystem__Debian-12-x86_64"
PATIENCE = 40.0
PROGRAM = [sys.executable, "-m", "daemon"]
QUICK = {
    "watch_every": "200ms",
    "readback_pause": "50ms",
    "install_start_within": "300ms",
    "timeout": "3s",
    "settle": "3s",
}
"""A module that looks often: these panels answer at once."""


def order(**changes: Any) -> dict[str, Any]:
    return {
        "plan": "ds-small",
        "customer": {"ref": "C-17", "name": "Ada Example", "email": "ada@example.test"},
        "currency": "EUR",
        "period": "month",
        "hostname": "a.example.test",
        "addons": {"ostempl": TEMPLATE},
        **changes,
    }


def until(look: Callable[[], T | None], what: str, within: float = PATIENCE, every: float = 0.05) -> T:
    """The first answer that is true; after `within` seconds the test fails, saying what it waited for."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= end:
            raise AssertionError(f"waited {within:g} s in vain: {what} (last seen: {found!r})")
        time.sleep(every)


# HTTP -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http(method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request; every status is an answer, and OSError means that nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=data, method=method, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, dict(refused.headers), refused.read())


@dataclass
class Api:
    """A client with a token. `seen` keeps every body but those of `access`, which is the place for passwords."""

    url: str
    token: str
    seen: list[bytes] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Idempotency-Key": key} if key else {})
        answer = http(method, self.url + path, body, headers)
        if not path.endswith("/access"):
            self.seen.append(answer.body)
        return answer

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def post(self, path: str, body: Any, key: str | None = None) -> Any:
        answer = self.call("POST", path, body, key)
        assert answer.status < 300, answer.text
        return answer.json

    def order(self, key: str = "order-1", **changes: Any) -> Any:
        return self.post("/v1/orders", order(**changes), key)

    def service(self, service_id: int) -> Any:
        return self.get(f"/v1/services/{service_id}")

    def operation(self, operation_id: int) -> Any:
        return self.get(f"/v1/operations/{operation_id}")

    def ended(self, operation_id: int, within: float = PATIENCE) -> Any:
        """The operation, when it is done; any other end fails the test."""

        def look() -> Any:
            found = self.operation(operation_id)
            return found if found["status"] not in {"open", "queued"} else None

        found = until(look, f"the end of operation {operation_id}", within)
        assert found["status"] == "done", found
        return found

    def active(self, key: str = "order-1", **changes: Any) -> Any:
        """Order, and wait: the active service."""
        placed = self.order(key, **changes)
        self.ended(placed["operation"]["id"])
        return self.service(placed["service"]["id"])

    def release(self, service_id: int) -> Any:
        """Release, and wait: the released service."""
        answer = self.post(f"/v1/services/{service_id}/release", {"reason": "the customer left"})
        self.ended(answer["operation"]["id"])
        return self.service(service_id)


# processes ------------------------------------------------------------------------------------------------------------------------


@dataclass
class Sandbox:
    """`provisiond sandbox` as a process of its own."""

    process: subprocess.Popen[bytes]
    systems: dict[str, Any]

    @property
    def config(self) -> Path:
        return Path(self.systems["config"])

    def state(self) -> Any:
        return http("GET", f"{self.systems['doors']}/state").json

    def door(self, name: str, **body: Any) -> Any:
        answer = http("POST", f"{self.systems['doors']}/{name}", body)
        assert answer.status == 200, answer.text
        return answer.json

    def fault(self, panel: str, func: str, kind: str, *, times: int = 1, nth: int = 1, seconds: float = 0) -> None:
        self.door("faults", panel=panel, func=func, kind=kind, times=times, nth=nth, seconds=seconds)

    def mend(self) -> None:
        assert http("DELETE", f"{self.systems['doors']}/faults").status == 200

    def servers(self) -> dict[str, Any]:
        return {server["id"]: server for server in self.state()["dcimanager"]["servers"]}

    def owned(self) -> list[str]:
        return [server["id"] for server in self.servers().values() if server["owner"]]

    def free(self) -> list[str]:
        return [server["id"] for server in self.servers().values() if not server["owner"] and not server["notes"]]

    def held(self) -> dict[str, Any]:
        return {held["address"]: held for held in self.state()["ipmanager"]["held"]}

    def stock(self) -> dict[str, int]:
        """Addresses that each pool still has."""
        return {f"{pool['type']} {pool['family']}": pool["free"] for pool in self.state()["ipmanager"]["pools"]}

    def mails(self, to: str) -> list[Any]:
        return [mail for mail in self.state()["mail"] if to in mail["to"]]

    def count(self, func: str, panel: str = "dcimanager") -> int:
        return int(self.state()[panel]["counts"].get(func, 0))

    def effects(self) -> list[Any]:
        state = self.state()
        return [*state["dcimanager"]["effects"], *state["ipmanager"]["effects"]]


@contextmanager
def sandbox(folder: Path, *options: str, module: Mapping[str, str] = QUICK) -> Iterator[Sandbox]:
    """A sandbox with a configuration in `folder`, whose module has the settings `module`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [*PROGRAM, "sandbox", "--json", "--config", str(folder), *options]
    with (folder / "sandbox.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if ready else b""
        assert line, (folder / "sandbox.log").read_text()
        for name, value in module.items():
            change(folder / "modules.d" / "dci-main.yaml", name, value)
        yield Sandbox(process, json.loads(line))
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(15)
        process.stdout.close()


def change(file: Path, name: str, value: str) -> None:
    """Set one setting of a YAML file that has one to a line."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}:")]
    file.write_text("\n".join([*lines, f"{name}: {value}", ""]))


def use_postgres(config: Path, target: PostgresTarget) -> None:
    query = "&".join(f"{name}={urllib.parse.quote(value)}" for name, value in target.params)
    user = urllib.parse.quote(target.user)
    url = f"postgresql://{user}@{target.host}:{target.port}/{target.database}" + (f"?{query}" if query else "")
    if target.password is None:
        change(config, "database", f'{{url: "{url}"}}')
        return
    secret = config.parent / "credentials" / "db"
    secret.touch(0o600)
    secret.write_text(target.password)
    change(config, "database", f'{{url: "{url}", password: cred:db}}')


@dataclass
class Daemon:
    """`provisiond run` as a process of its own; its log goes on in one file over all starts."""

    config: Path
    process: subprocess.Popen[bytes]
    log: Path
    from_byte: int

    @property
    def url(self) -> str:
        return listens(self.config)

    def wait_ready(self, within: float = PATIENCE) -> None:
        until(self._is_ready, "READY", within, every=0.03)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.tail()}"
        try:
            return http("GET", f"{self.url}/readyz").status == 200
        except OSError:
            return False

    def stop(self) -> tuple[int, float]:
        """Stop it as systemd does; exit code and seconds."""
        began = time.monotonic()
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        return code, time.monotonic() - began

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def lines(self) -> list[dict[str, Any]]:
        """What this start has logged; every line is one JSON object."""
        text = self.log.read_bytes()[self.from_byte :].decode()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("event") == event]

    def tail(self) -> str:
        return self.log.read_bytes()[self.from_byte :].decode()[-4000:]


def listens(config: Path) -> str:
    found = re.search(r"^listen: (\S+)$", config.read_text(), re.MULTILINE)
    assert found
    return f"http://{found[1]}"


def start(config: Path, *, environ: Mapping[str, str] | None = None) -> Daemon:
    log = config.parent / "daemon.log"
    log.touch()
    from_byte = log.stat().st_size
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*PROGRAM, "--config", str(config), "run"],
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environ or {})},
        )
    return Daemon(config, process, log, from_byte)


@contextmanager
def daemon(config: Path) -> Iterator[Daemon]:
    """A daemon that is ready; at the end it is stopped, and must stop well unless the test has ended it."""
    running = start(config)
    try:
        running.wait_ready()
        yield running
        if running.process.poll() is None:
            code, seconds = running.stop()
            assert code == 0, running.tail()
            assert seconds < 10
    finally:
        if running.process.poll() is None:
            running.kill()


def refused_start(config: Path) -> tuple[int, str]:
    """Start a daemon that must not start; its exit code and what it said."""
    running = start(config)
    try:
        code = running.process.wait(PATIENCE)
    finally:
        running.process.kill()
        running.process.wait()
    return code, running.tail()


# the command line -----------------------------------------------------------------------------------------------------------------


@dataclass
class Cli:
    """`provisiond --config ...` by a person. `seen` keeps what it printed, but for commands that are there to show a secret."""

    config: Path
    seen: list[bytes] = field(default_factory=list)

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "--config", str(self.config), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if arguments[:2] not in {("service", "access"), ("token", "create")}:
            self.seen += [done.stdout.encode(), done.stderr.encode()]
        return done

    def text(self, *arguments: str, stdin: str | None = None) -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, (arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        return json.loads(self.text(*arguments, "--json", stdin=stdin))

    def json_of_failed(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode != 0
        return json.loads(done.stdout)

    def token(self, *roles: str) -> str:
        options = [word for role in roles for word in ("--role", role)]
        found: str = self.json("token", "create", *options)["token"]
        return found


def api_of(config: Path) -> Api:
    return Api(listens(config), Cli(config).token("admin"))


# the database, as an administrator might change it --------------------------------------------------------------------------------


def conninfo(target: PostgresTarget) -> str:
    return make_conninfo(
        host=target.host, port=target.port, user=target.user, password=target.password, dbname=target.database,
        **dict(target.params),
    )  # fmt: skip


@dataclass(frozen=True)
class Database:
    """The database behind a daemon; `target` None is SQLite."""

    config: Path
    target: PostgresTarget | None = None

    @property
    def file(self) -> Path:
        return self.config.parent / "var" / "provisiond.db"

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and commit it; its rows, if it gives any. One that loses a deadlock against the daemon is run again."""
        while self.target is not None:
            with (
                contextlib.suppress(psycopg.errors.DeadlockDetected),
                psycopg.connect(conninfo(self.target)) as connection,
            ):
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        with contextlib.closing(sqlite3.connect(self.file, timeout=10)) as db, db:
            return db.execute(statement).fetchall()

    def number(self, statement: str) -> int:
        return int(self.ask(statement)[0][0])
