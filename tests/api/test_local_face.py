"""The Unix socket: no token, and the kernel says who calls."""

from __future__ import annotations

import os

import aiohttp

from tests.api.house import House
from tests.provisioning.world import order


def local(home: House) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(home.socket)), base_url="http://provisiond")


async def test_the_caller_of_the_socket_is_its_uid_with_role_admin(home: House) -> None:
    async with local(home) as http:
        async with http.post("/v1/orders", json=order(), headers={"Idempotency-Key": "k"}) as answer:
            assert answer.status == 201
            placed = await answer.json()
        async with http.get("/v1/tokens") as answer:
            assert answer.status == 200
    assert placed["order"]["actor"] == f"uid:{os.getuid()}"


async def test_the_socket_and_the_port_share_their_keys(home: House) -> None:
    over_port = await home.order(order(), key="k")
    async with local(home) as http, http.post("/v1/orders", json=order(), headers={"Idempotency-Key": "k"}) as answer:
        assert await answer.json() == over_port.body


async def test_the_local_face_on_a_port_lets_nobody_in(home: House) -> None:
    from aiohttp import web

    from daemon.api.app import make_app

    runner = web.AppRunner(make_app(home.faces, local=True), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with home.http.get(f"http://127.0.0.1:{port}/v1/services") as answer:
            assert answer.status == 401
    finally:
        await runner.cleanup()
