"""Who may do what, and what is kept of a token."""

from __future__ import annotations

import pytest

from daemon.api.callers import MOST_FAILURES
from daemon.api.endpoint import Endpoint, Role
from daemon.api.table import ENDPOINTS
from tests.api.house import House
from tests.provisioning.world import order

ROLES = [role.value for role in Role]
WITH_LOGIN = [entry for entry in ENDPOINTS if entry.roles is not None]


@pytest.mark.parametrize("entry", WITH_LOGIN, ids=lambda entry: entry.name)
async def test_every_entry_asks_for_a_login_and_for_one_of_its_roles(home: House, entry: Endpoint) -> None:
    assert entry.roles is not None
    path = entry.path.replace("{id}", "999")
    for headers in ({}, {"Authorization": "Bearer nothing"}, {"Authorization": "Basic YTpi"}):
        answer = await home.ask(entry.method, path, role=None, headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for role in ROLES:
        answer = await home.ask(entry.method, path, role=role, data=b"{}" if entry.takes_body else None)
        may = Role(role) in entry.roles
        assert (answer.status == 403) is not may, f"{role}: {answer.text}"


def test_admin_may_do_everything_and_every_role_may_read() -> None:
    for entry in WITH_LOGIN:
        assert entry.roles is not None
        assert Role.ADMIN in entry.roles
        if entry.method == "GET" and entry.tag != "tokens":
            assert entry.roles == frozenset(Role)


async def test_a_token_is_shown_once_and_only_its_hash_is_kept(home: House) -> None:
    made = await home.post("/v1/tokens", {"name": "shop", "roles": ["order", "read"]})
    assert made.status == 201
    secret = made.body["token"]
    assert made.headers["Cache-Control"] == "no-store"
    listed = await home.get("/v1/tokens")
    assert secret not in listed.text
    assert listed.body["items"][-1]["roles"] == ["order", "read"]
    dump = str([await home.world.store.read.fetch(f"SELECT * FROM {table}") for table in ("token", "event")])
    assert secret not in dump
    assert secret[3:] not in dump
    answer = await home.order(order(), headers={"Authorization": f"Bearer {secret}"})
    assert answer.body["order"]["actor"] == "token:shop"


async def test_a_revoked_token_is_refused_from_the_next_request_on(home: House) -> None:
    made = (await home.post("/v1/tokens", {"name": "shop", "roles": ["read"]})).body
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert (await home.get("/v1/services", headers=headers)).status == 200
    assert (await home.ask("DELETE", f"/v1/tokens/{made['id']}")).status == 204
    assert (await home.get("/v1/services", headers=headers)).status == 401
    assert (await home.ask("DELETE", f"/v1/tokens/{made['id']}")).status == 409
    assert (await home.ask("DELETE", "/v1/tokens/999")).status == 404


async def test_revoking_with_a_key_gives_the_same_answer_again(home: House) -> None:
    made = (await home.post("/v1/tokens", {"name": "shop", "roles": ["read"]})).body
    for _ in range(2):
        assert (await home.ask("DELETE", f"/v1/tokens/{made['id']}", key="gone")).status == 204


@pytest.mark.parametrize("roles", [[], ["king"], "admin", ["admin"] * 6, [None]])
async def test_a_token_with_roles_that_are_none_is_refused(home: House, roles) -> None:
    answer = await home.post("/v1/tokens", {"name": "x", "roles": roles})
    assert answer.status == 422
    assert answer.fields[0].startswith("roles")


async def test_a_secret_is_not_kept_under_a_key(home: House) -> None:
    answer = await home.post("/v1/tokens", {"roles": ["read"]}, key="k")
    assert (answer.status, answer.body["code"]) == (400, "key_not_taken")


async def test_too_many_failed_logins_are_slowed_down_and_good_tokens_still_work(home: House) -> None:
    statuses = [(await home.get("/v1/plans", role=None)).status for _ in range(MOST_FAILURES + 2)]
    assert statuses == [401] * MOST_FAILURES + [429] * 2
    answer = await home.get("/v1/services", role=None)
    assert int(answer.headers["Retry-After"]) > 0
    assert (await home.get("/v1/services")).status == 200
    home.world.clock.advance(61)
    assert (await home.get("/v1/services", role=None)).status == 401
