from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from daemon.domain.clock import VirtualClock
from daemon.notify.mail import Mailer
from daemon.sandbox.clock import SandboxClock
from daemon.sandbox.mail import MailSink
from daemon.settings import DaemonSettings, Secret
from daemon.store.database import Store
from daemon.store.targets import Target

MakeMailer = Callable[..., Mailer]


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    """Delivery asks the same of both databases: one test runs on both, the others on the quicker one."""
    return sqlite_store


@pytest.fixture
async def either_store(target: Target, clock: VirtualClock) -> AsyncIterator[Store]:
    opened = await Store.open(target, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def sink(clock: VirtualClock) -> AsyncIterator[MailSink]:
    """A real SMTP server on loopback that keeps what it gets."""
    sink = MailSink(SandboxClock(clock.now))
    await sink.start()
    yield sink
    await sink.stop()


@pytest.fixture
def make_mailer(clock: VirtualClock) -> MakeMailer:
    def make(port: int | None, *, login: str | None = None, **mail: Any) -> Mailer:
        """`login`: the password with which user "provisiond" logs in."""
        if login:
            mail |= {"username": "provisiond", "password": "cred:mail"}
        block = {"host": "127.0.0.1", "port": port, "from": "noc@example.test", "timeout": "2s", **mail}
        settings = DaemonSettings.model_validate(
            {
                "departments": {"dc-team": {"email": "dc@example.test"}, "night": {}},
                **({"mail": block} if port else {}),
            }
        )
        secret = Secret(login) if login else None
        return Mailer(settings, clock, link_to=lambda operation: f"https://p.test/access/L{operation}", password=secret)

    return make


@pytest.fixture
def mailer(make_mailer: MakeMailer, sink: MailSink) -> Mailer:
    return make_mailer(sink.port)
