"""IPmanager: taking, labelling and giving back addresses."""

from __future__ import annotations

from .lab import PanelClient, lab

TAKE = {"sok": "ok", "family": "ipv4", "iptype": "public"}


async def test_an_address_is_taken_labelled_and_given_back() -> None:
    async with lab() as it:
        free = it.sandbox.ipm.free("public")
        address = (await it.ipm.ok("ip.edit", **TAKE, domain="a.example.test", note="k1")).findtext("ip") or ""
        form = await it.ipm.ok("ip.edit", elid=address)
        assert (form.findtext("domain"), form.findtext("note"), form.findtext("iptype")) == (
            "a.example.test",
            "k1",
            "public",
        )
        assert it.sandbox.ipm.free("public") == free - 1

        await it.ipm.ok("ip.edit", elid=address, sok="ok", domain="b.example.test")
        assert it.sandbox.ipm.held[address].domain == "b.example.test"
        assert it.sandbox.ipm.held[address].note == "k1"
        await it.ipm.ok("ip.delete", elid=address)

        assert it.sandbox.ipm.free("public") == free
        assert await it.ipm.error("ip.delete", elid=address) == ("missed", "elid")


async def test_an_empty_pool_says_limit_and_which_type() -> None:
    async with lab(guardvlan9=1) as it:
        await it.ipm.ok("ip.edit", **{**TAKE, "iptype": "guardvlan9"})

        doc = await it.ipm.xml("ip.edit", **{**TAKE, "iptype": "guardvlan9"})

        error = doc.find("error")
        assert error is not None
        assert error.attrib["type"] == "limit"
        assert error.findtext("param[@name='value']") == "guardvlan9"


async def test_single_ipv6_addresses_come_from_a_prefix() -> None:
    async with lab() as it:
        got = [(await it.ipm.ok("ip.edit", **{**TAKE, "family": "ipv6"})).findtext("ip") for _ in range(2)]

        assert got == ["2001:db8:1::1", "2001:db8:1::2"]


async def test_every_server_starts_with_a_parking_address_of_the_daemons_account() -> None:
    async with lab(servers={"T": 3}, parking=5) as it:
        rows = await it.ipm.rows("ip")

        assert [row.findtext("iptype") for row in rows] == ["parking"] * 3
        assert {row.findtext("ip") for row in rows} == {s.main_ip for s in it.sandbox.dci.servers.values()}
        assert it.sandbox.ipm.free("parking") == 5


async def test_a_user_sees_and_frees_his_own_addresses_only() -> None:
    async with lab() as it:
        await it.ipm.ok("user.edit", sok="ok", name="other", passwd="pw", confirm="pw")
        other = PanelClient(it.http, it.sandbox.ipm_url, "other:pw")
        address = (await other.ok("ip.edit", **TAKE)).findtext("ip") or ""

        assert [row.findtext("ip") for row in await other.rows("ip")] == [address]
        assert await it.ipm.error("ip.delete", elid=address) == ("missed", "elid")
        assert address not in [row.findtext("ip") for row in await it.ipm.rows("ip")]


async def test_the_address_form_erases_what_is_left_out_in_the_mode_all() -> None:
    async with lab(save_trap="all") as it:
        address = (await it.ipm.ok("ip.edit", **TAKE, domain="a", note="k1")).findtext("ip") or ""
        await it.ipm.ok("ip.edit", elid=address, sok="ok", domain="b")

        assert it.sandbox.ipm.held[address].note == ""


async def test_a_given_address_is_taken_once() -> None:
    async with lab() as it:
        await it.ipm.ok("ip.edit", **TAKE, ip="192.0.2.9")

        assert await it.ipm.error("ip.edit", **TAKE, ip="192.0.2.9") == ("exists", "ip")
        assert await it.ipm.error("ip.edit", **TAKE, ip="x") == ("value", "ip")
        assert await it.ipm.error("ip.edit", **{**TAKE, "iptype": "nope"}) == ("missed", "iptype")
        assert await it.ipm.error("ip.edit", **{**TAKE, "family": "ipx"}) == ("value", "family")


async def test_the_ip_list_can_be_filtered() -> None:
    async with lab() as it:
        await it.ipm.ok("ip.edit", **TAKE, note="k1")
        await it.ipm.ok("ip.filter", sok="ok", note="k1")

        assert len(await it.ipm.rows("ip")) == 1
