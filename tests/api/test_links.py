"""The customer's page behind a one-time link."""

from __future__ import annotations

import asyncio
import re

from daemon.domain.secrets import link_hash
from daemon.provisioning.access import LINK_LIFE
from tests.api.house import House
from tests.api.test_doing import active

SECRET = "s" * 43


async def link(home: House, service_id: int) -> str:
    async with home.world.store.transaction() as tx:
        await tx.access_links.add(service_id, link_hash(SECRET), home.world.clock.now() + LINK_LIFE)
    return f"/access/{SECRET}"


async def test_looking_at_a_link_shows_a_button_and_no_secret(home: House) -> None:
    path = await link(home, await active(home))
    passwords = (await home.post("/v1/services/1/access")).body
    for _ in range(3):  # as often as a mail scanner likes
        page = await home.get(path, role=None)
        assert page.status == 200
        assert "<button" in page.text
        assert passwords["root_password"] not in page.text
        assert passwords["user_password"] not in page.text


async def test_pressing_the_button_shows_the_passwords_once(home: House) -> None:
    path = await link(home, await active(home))
    passwords = (await home.post("/v1/services/1/access")).body
    shown = await home.post(path, role=None)
    assert shown.status == 200
    for name in ("root_password", "user_password", "user", "hostname", "address"):
        assert passwords[name] in shown.text
    for answer in (await home.post(path, role=None), await home.get(path, role=None)):
        assert answer.status == 404
        assert passwords["root_password"] not in answer.text


async def test_two_presses_at_once_show_the_passwords_to_one_of_them(home: House) -> None:
    path = await link(home, await active(home))
    answers = await asyncio.gather(*(home.post(path, role=None) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [200, 404, 404, 404, 404, 404]


async def test_using_a_link_is_recorded(home: House) -> None:
    path = await link(home, await active(home))
    await home.post(path, role=None)
    event = (await home.get("/v1/services/1/events?limit=500")).body["items"][-1]
    assert (event["kind"], event["actor"]) == ("service.access", "customer")


async def test_a_link_ends_after_seven_days(home: House) -> None:
    path = await link(home, await active(home))
    home.world.clock.advance(LINK_LIFE.total_seconds() + 1)
    assert (await home.get(path, role=None)).status == 404
    assert (await home.post(path, role=None)).status == 404


async def test_a_link_of_a_service_that_ended_shows_nothing(home: House) -> None:
    path = await link(home, await active(home))
    await home.post("/v1/services/1/release")
    await home.world.drive()
    assert (await home.post(path, role=None)).status == 404


async def test_a_link_that_is_none_is_not_found(home: House) -> None:
    for secret in ("x", "%00", "a" * 5000, "%ff%fe", "..%2f..%2fetc"):
        for method in ("GET", "POST"):
            answer = await home.ask(method, f"/access/{secret}", role=None)
            assert answer.status == 404, (method, secret)


async def test_the_pages_are_not_kept_framed_indexed_or_run(home: House) -> None:
    path = await link(home, await active(home))
    for answer in (await home.get(path, role=None), await home.post(path, role=None), await home.get(path, role=None)):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "noindex" in answer.headers["X-Robots-Tag"]
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search("<script|https?://|javascript:", answer.text)
