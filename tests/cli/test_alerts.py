"""`provisiond service alerts`."""

from __future__ import annotations

from daemon.domain.alerts import AlertState
from daemon.store.alerts import ServiceAlerts
from tests.cli.conftest import Desk
from tests.store.rows import a_service


async def test_alerts_are_shown_and_switched(desk: Desk) -> None:
    async with desk.home.world.store.transaction() as tx:
        await a_service(tx)
        await tx.alerts.locked([1])
        await tx.alerts.keep({1: ServiceAlerts(sent={"out": AlertState("2026-11", eighty=True, steps=3)})})
    shown = await desk("service", "alerts", "1")
    assert shown.code == 0
    assert "at 80 %" in shown.out
    assert "2026-11" in shown.out
    done = await desk("service", "alerts", "1", "--off", "80", "--off", "beyond", "--reason", "asked", "--json")
    assert [done.json[name] for name in ("80", "100", "beyond")] == [False, True, False]
    done = await desk("service", "alerts", "1", "--on", "80", "--off", "100", "--json")
    assert [done.json[name] for name in ("80", "100", "beyond")] == [True, False, False]


async def test_a_switch_that_is_both_on_and_off_or_none_is_refused(desk: Desk) -> None:
    assert (await desk("service", "alerts", "1", "--on", "80", "--off", "80")).code == 2
    assert (await desk("service", "alerts", "1", "--on", "90")).code == 2
    assert (await desk("service", "alerts", "1")).code == 1
