from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from daemon.domain.clock import VirtualClock
from daemon.domain.errors import Permanent, Temporary, Uncertain
from daemon.ipam.base import Ipam
from daemon.ipam.registry import build
from daemon.sandbox import Sandbox, SandboxSettings
from daemon.settings.ipam import IpmanagerSettings
from daemon.settings.secrets import Secret
from daemon.settings.types import SecretRef
from tests.ipam.contract import IpamContract, Subject


@dataclass
class World:
    sandbox: Sandbox
    ipam: Ipam
    clock: VirtualClock

    def fault(self, func: str, kind: str, **more: Any) -> None:
        self.sandbox.fault("ipm", func, kind, **more)

    def free(self) -> int:
        return self.sandbox.ipm.free("public")

    async def take(self, key: str) -> str:
        return await self.ipam.take(family="ipv4", address_type="public", hostname="a.example.test", key=key)


@asynccontextmanager
async def world(settings: dict[str, Any] | None = None, **sandbox_settings: Any) -> AsyncIterator[World]:
    clock = VirtualClock()
    async with Sandbox.start(SandboxSettings(now=clock.now, **sandbox_settings)) as sandbox:
        model = IpmanagerSettings(
            name="ipm-main",
            type="ipmanager",
            url=sandbox.ipm_url,
            username="provisiond",
            password=SecretRef("ipm-main"),
            **{"timeout": timedelta(seconds=5), **(settings or {})},
        )
        ipam = build(model, lambda _: Secret(sandbox.settings.password), clock)
        try:
            yield World(sandbox, ipam, clock)
        finally:
            await ipam.close()


@pytest.fixture(params=["xml", "json", "authinfo"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    settings = {"authinfo": True} if request.param == "authinfo" else {"out": request.param}
    async with world(settings, guardvlan9=2, save_trap="all") as w:
        yield Subject(w.ipam, "guardvlan9", 2)


class TestIpmanager(IpamContract):
    pass


@pytest.mark.parametrize("kind", ["http_500", "html", "truncated", "reset_before", "reset_after"])
async def test_a_take_without_an_answer_is_uncertain_and_its_key_tells_what_it_took(kind: str) -> None:
    async with world() as w:
        free = w.free()
        w.fault("ip.edit", kind)
        with pytest.raises(Uncertain):
            await w.take("k1")
        held = await w.ipam.find("k1")
        assert (held is not None) == (kind in {"truncated", "reset_after"})
        assert w.free() == free - (1 if held else 0)


async def test_an_address_told_by_mistake_never_becomes_ours() -> None:
    async with world() as w:
        first = await w.take("k1")
        w.fault("ip.edit", "wrong")
        with pytest.raises(Uncertain):
            await w.take("k2")
        assert await w.ipam.find("k2") is None
        held = await w.ipam.holds(first)
        assert held is not None
        assert held.note == "k1"


async def test_a_taken_address_that_cannot_be_read_back_is_uncertain() -> None:
    async with world() as w:
        w.fault("ip.edit", "http_503", nth=2, times=0)
        with pytest.raises(Uncertain):
            await w.take("k1")
        w.sandbox.clear_faults()
        assert await w.ipam.find("k1") is not None


@pytest.mark.parametrize("kind", ["empty_list", "short_list"])
async def test_a_short_list_proves_nothing(kind: str) -> None:
    async with world() as w:
        for number in range(4):
            await w.take(f"k{number}")
        w.fault("ip", kind, times=0)
        with pytest.raises(Temporary):
            await w.ipam.find("k3")


@pytest.mark.parametrize("shown", ["elsewhere.example.test", "a.example.test"])
async def test_a_filter_that_somebody_left_proves_nothing(shown: str) -> None:
    async with world() as w:
        await w.take("k1")
        await w.ipam.take(family="ipv4", address_type="public", hostname="b.example.test", key="k2")
        account = w.sandbox.ipm.accounts.named("provisiond")
        assert account is not None
        account.filters["ip"] = {"domain": shown}
        with pytest.raises(Temporary):
            await w.ipam.find("k2")


async def test_addresses_that_somebody_took_from_us_are_not_mourned_for_ever() -> None:
    async with world() as w:
        await w.take("k1")
        address = await w.take("k2")
        w.sandbox.ipm.call("ip.delete", {"elid": address}, _account(w))
        assert await w.ipam.find("k2") is None


async def test_the_last_address_given_back_leaves_a_list_that_is_believed() -> None:
    async with world() as w:
        address = await w.take("k1")
        assert await w.ipam.find("k1") is not None
        await w.ipam.give_back(address)
        assert await w.ipam.find("k1") is None


async def test_a_list_without_our_key_field_is_a_mistake_in_the_settings_and_not_an_absence() -> None:
    async with world() as w:
        await w.take("k1")
    async with world({"key_field": "remark"}) as w:
        w.sandbox.ipm.hold("public", "ipv4", "a", "k1", _account(w))
        with pytest.raises(Permanent) as caught:
            await w.ipam.find("k1")
        assert caught.value.code == "field_missing"
        findings = {finding.setting: finding.verdict for finding in await w.ipam.probe()}
        assert findings == {"type_field": "confirmed", "hostname_field": "confirmed", "key_field": "contradicted"}


async def test_a_type_that_the_panel_does_not_know_is_permanent() -> None:
    async with world() as w:
        with pytest.raises(Permanent):
            await w.ipam.take(family="ipv4", address_type="no-such-type", hostname="a", key="k1")


async def test_addresses_of_other_accounts_are_not_ours() -> None:
    async with world() as w:
        other = w.sandbox.ipm.accounts.by_id["1"]
        held = w.sandbox.ipm.hold("public", "ipv4", "x", "k1", other)
        assert await w.ipam.holds(held.address) is None
        assert await w.ipam.find("k1") is None
        await w.ipam.give_back(held.address)
        assert held.address in w.sandbox.ipm.held


def _account(w: World) -> Any:
    return w.sandbox.ipm.accounts.named("provisiond")
