from __future__ import annotations

import pytest

from daemon.domain.clock import VirtualClock
from daemon.modules.base import Install, PersonNeeded
from daemon.modules.registry import build
from daemon.settings.modules import ManualSettings
from daemon.settings.secrets import Secret
from tests.modules.contract import PASSWORD, ModuleContract, Subject


@pytest.fixture
def subject() -> Subject:
    settings = ManualSettings(name="by-hand", type="manual", stock={"E3": 2})
    module = build(settings, lambda _: Secret("x"), VirtualClock())
    return Subject(module, "E3", "ISPsystem__Debian-12", "192.0.2.9")


class TestManual(ModuleContract):
    async def test_stock_is_as_high_as_the_ceiling(self, subject: Subject) -> None:
        stock = await subject.module.stock("E3")
        assert [server.remote_id for server in stock.free] == ["by-hand-E3-1", "by-hand-E3-2"]

    async def test_the_install_task_says_what_to_install_and_where_the_password_is(self, subject: Subject) -> None:
        with pytest.raises(PersonNeeded) as caught:
            await subject.module.install("rack-7", Install("Debian", "lamp", "a.example.test", "192.0.2.1", PASSWORD))
        for word in ("Debian", "lamp", "rack-7", "a.example.test", "192.0.2.1", "provisiond service access"):
            assert word in caught.value.instructions

    async def test_without_stock_check_says_that_nothing_can_be_sold(self) -> None:
        module = build(ManualSettings(name="m", type="manual"), lambda _: Secret("x"), VirtualClock())
        assert (await module.check()).problems
