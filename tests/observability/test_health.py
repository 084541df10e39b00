from __future__ import annotations

import asyncio

from daemon.observability.health import Health


async def well() -> None:
    return None


async def test_a_daemon_without_a_complaint_is_ready():
    health = Health()
    health.add("database", well)
    assert await health.ready() == {"ok": True, "checks": {"database": {"ok": True, "message": None}}}


async def test_one_complaint_is_enough_and_says_why():
    async def schema() -> str:
        return "the schema is of version 3, this build needs 4: run `provisiond db migrate`"

    health = Health()
    health.add("database", well)
    health.add("schema", schema)
    answer = await health.ready()
    assert not answer["ok"]
    assert answer["checks"]["database"]["ok"]
    assert "db migrate" in answer["checks"]["schema"]["message"]


async def test_only_a_vital_check_asks_for_a_restart():
    async def down() -> str:
        return "the panel does not answer"

    health = Health()
    health.add("panel", down)
    health.add("loop", well, vital=True)
    assert not (await health.ready())["ok"]
    assert await health.alive() == {"ok": True, "checks": {"loop": {"ok": True, "message": None}}}


async def test_a_check_that_hangs_is_a_complaint_and_does_not_hold_up_the_others():
    health = Health(within=0.05)
    health.add("stuck", lambda: asyncio.sleep(60))
    health.add("database", well)
    answer = await health.ready()
    assert answer["checks"]["stuck"]["message"] == "no answer within 0.05 s"
    assert answer["checks"]["database"]["ok"]


async def test_a_check_that_breaks_is_a_complaint_without_secrets():
    async def broken() -> None:
        raise ConnectionError("postgresql://app:hunter2@db refused")

    health = Health()
    health.add("database", broken)
    message = (await health.ready())["checks"]["database"]["message"]
    assert message == "postgresql://app:***@db refused"


async def test_a_daemon_without_checks_is_alive():
    assert (await Health().alive())["ok"]
