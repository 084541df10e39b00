"""What every address manager promises; each implementation subclasses this and gives a fixture `subject`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pytest

from daemon.domain.errors import Capacity
from daemon.ipam.base import Ipam


@dataclass
class Subject:
    ipam: Ipam
    small_type: str
    small_size: int
    """A type with that many addresses."""


class IpamContract:
    async def test_check_finds_nothing_missing(self, subject: Subject) -> None:
        assert (await subject.ipam.check()).problems == ()

    @pytest.mark.parametrize("family", ["ipv4", "ipv6"])
    async def test_a_taken_address_is_of_the_family_and_found_by_its_key(self, subject: Subject, family: str) -> None:
        address = await subject.ipam.take(family=family, address_type="public", hostname="a.example.test", key="k1")
        assert f"ipv{ipaddress.ip_address(address).version}" == family
        for held in (await subject.ipam.find("k1"), await subject.ipam.holds(address)):
            assert held is not None
            assert (held.address, held.family, held.address_type) == (address, family, "public")
            assert (held.name, held.note) == ("a.example.test", "k1")

    async def test_what_no_key_left_is_not_found(self, subject: Subject) -> None:
        assert await subject.ipam.find("nobody-left-this") is None
        await subject.ipam.take(family="ipv4", address_type="public", hostname="nobody-left-this", key="k1")
        assert await subject.ipam.find("nobody-left-this") is None
        assert await subject.ipam.find("k") is None

    async def test_an_address_given_back_is_no_longer_held_and_may_be_given_back_again(self, subject: Subject) -> None:
        address = await subject.ipam.take(family="ipv4", address_type="public", hostname="a.example.test", key="k1")
        for _ in range(2):
            await subject.ipam.give_back(address)
        assert await subject.ipam.holds(address) is None
        assert await subject.ipam.find("k1") is None

    async def test_an_address_that_was_never_ours_is_not_held(self, subject: Subject) -> None:
        assert await subject.ipam.holds("192.0.2.222") is None

    async def test_an_empty_pool_is_named(self, subject: Subject) -> None:
        for number in range(subject.small_size):
            await subject.ipam.take(
                family="ipv4", address_type=subject.small_type, hostname="h.example.test", key=f"k{number}"
            )
        with pytest.raises(Capacity) as caught:
            await subject.ipam.take(family="ipv4", address_type=subject.small_type, hostname="h", key="one-too-many")
        assert subject.small_type in caught.value.message
        assert "ipv4" in caught.value.message

    async def test_an_address_gets_another_name_and_key(self, subject: Subject) -> None:
        address = await subject.ipam.take(family="ipv4", address_type="public", hostname="a.example.test", key="k1")
        for _ in range(2):
            await subject.ipam.relabel(address, hostname="b.example.test", key="k2")
        held = await subject.ipam.find("k2")
        assert held is not None
        assert (held.address, held.name, held.address_type) == (address, "b.example.test", "public")
        assert await subject.ipam.find("k1") is None

    async def test_probe_gives_findings_with_a_known_verdict(self, subject: Subject) -> None:
        for finding in await subject.ipam.probe():
            assert finding.verdict in {"confirmed", "contradicted", "unknown"}

    async def test_closing_twice_is_fine(self, subject: Subject) -> None:
        await subject.ipam.close()
        await subject.ipam.close()
