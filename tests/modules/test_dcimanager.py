from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from daemon.domain.clock import VirtualClock
from daemon.domain.errors import Permanent, ProvisiondError, ServerTaken, Temporary, Uncertain, Unhealthy
from daemon.modules.base import Install, Part, Power, ProcessingModule, RemoteAddress
from daemon.modules.dcimanager.marks import marks_in, with_mark, without_mark
from daemon.modules.registry import build
from daemon.sandbox import DciPanel, Sandbox, SandboxSettings
from daemon.settings.dcimanager import DcimanagerSettings, PanelNames
from daemon.settings.secrets import Secret
from daemon.settings.types import SecretRef
from tests.modules.contract import ALL, PASSWORD, ModuleContract, Subject

TYPE = "E3-1230-16G"
DEBIAN = "ISPsystem__Debian-12-x86_64"
SPARE = "203.0.113.77"


@dataclass
class World:
    sandbox: Sandbox
    module: ProcessingModule
    clock: VirtualClock

    @property
    def dci(self) -> DciPanel:
        return self.sandbox.dci

    def fault(self, func: str, kind: str, **more: Any) -> None:
        self.sandbox.fault("dci", func, kind, **more)

    def count(self, func: str) -> int:
        return self.dci.counts[func]


@asynccontextmanager
async def world(module: dict[str, Any] | None = None, **sandbox_settings: Any) -> AsyncIterator[World]:
    clock = VirtualClock()
    async with Sandbox.start(SandboxSettings(now=clock.now, **sandbox_settings)) as sandbox:
        settings = DcimanagerSettings(
            name="dci-main",
            type="dcimanager",
            url=sandbox.dci_url,
            username="provisiond",
            password=SecretRef("dci-main"),
            ipam="ipm-main",
            parking_ip_type="parking",
            **{"timeout": timedelta(seconds=5), **(module or {})},
        )
        built = build(settings, lambda _: Secret(sandbox.settings.password), clock)
        try:
            yield World(sandbox, built, clock)
        finally:
            await built.close()


def subject_of(w: World) -> Subject:
    return Subject(w.module, TYPE, DEBIAN, SPARE, settled=lambda: w.sandbox.advance(60))


@pytest.fixture(params=["xml", "json", "authinfo", "vendor's fields", "slow flags"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """The same promises over both formats, both logins, both ways to save a form, and a panel that shows its flags late."""
    module: dict[str, Any] = {}
    sandbox: dict[str, Any] = {"save_trap": "all"}
    if request.param == "json":
        module = {"out": "json"}
    elif request.param == "authinfo":
        module = {"authinfo": True}
    elif request.param == "vendor's fields":
        module = {"panel": PanelNames(save_fields=("mac", "name", "notes", "type", "ip"))}
        sandbox = {"save_trap": "vendor"}
    elif request.param == "slow flags":
        sandbox |= {"flag_delay": 5.0, "power_seconds": 10.0, "install_seconds": 20.0}
    async with world(module, **sandbox) as w:
        yield subject_of(w)


class TestDcimanager(ModuleContract):
    pass


# stock ------------------------------------------------------------------------------------------------------------------------


async def test_servers_that_are_not_free_are_left_out_with_the_reason() -> None:
    async with world(servers={TYPE: 8}) as w:
        servers = list(w.dci.servers.values())
        servers[0].owner = "1"
        servers[1].addresses[0].domain = "a.example.test"
        servers[2].blocked = True
        servers[3].hwproblem = True
        servers[4].diagnosing = 1
        servers[5].operation_failed = True
        servers[6].disabled = True
        stock = await w.module.stock(TYPE)
        assert [s.remote_id for s in stock.free] == [servers[7].id]
        assert list(stock.left_out) == [s.id for s in servers[:7]]
        assert stock.left_out[servers[0].id] == "owned by admin"
        assert "a.example.test" in stock.left_out[servers[1].id]
        assert stock.left_out[servers[2].id] == "not for sale"


async def test_a_server_is_found_by_either_kind_of_type() -> None:
    async with world() as w:
        assert len((await w.module.stock("E3")).free) == 4
    async with world({"server_type_by": "chassis_templ"}) as w:
        assert (await w.module.stock("E3")).free == ()


async def test_an_empty_stock_from_a_short_list_is_not_believed() -> None:
    async with world() as w:
        w.fault("server", "empty_list", times=0)
        with pytest.raises(Temporary) as caught:
            await w.module.stock(TYPE)
        assert caught.value.code == "short_list"


# reading ----------------------------------------------------------------------------------------------------------------------


async def test_a_server_that_is_neither_in_the_list_nor_has_a_form_is_absent() -> None:
    async with world() as w:
        for parts in (ALL, {Part.ROW}, {Part.FORM}, {Part.ADDRESSES}, {Part.CONNECTIONS}, {Part.SYSTEM}, ()):
            assert await w.module.read("999", parts) is None


@pytest.mark.parametrize("kind", ["short_list", "empty_list"])
async def test_absence_from_a_short_list_is_not_believed(kind: str) -> None:
    async with world() as w:
        last = list(w.dci.servers)[-1]
        w.fault("server", kind, times=0)
        for server in ("999", last):
            with pytest.raises(Temporary):
                await w.module.read(server, {Part.ROW})


async def test_a_sticky_filter_hides_nothing_from_us() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        assert await w.module.read(server, {Part.ROW}) is not None
        account = w.dci.accounts.named("provisiond")
        assert account is not None
        account.filters["server"] = {"name": "nothing-has-this-name"}
        with pytest.raises(Temporary):
            await w.module.read(server, {Part.ROW})


async def test_an_address_list_without_the_main_address_is_not_believed() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        for kind in ("empty_list", "short_list"):
            w.fault("iplist", kind, times=1)
            with pytest.raises(Temporary):
                await w.module.read(server, {Part.ADDRESSES})


async def test_an_address_that_a_filter_hides_is_not_gone() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        await w.module.put_address(server, SPARE, "public", "ipv4", "a.example.test")
        view = await w.module.read(server, {Part.ADDRESSES})
        assert view is not None
        account = w.dci.accounts.named("provisiond")
        assert account is not None
        account.filters["iplist"] = {"domain": "free.ds"}
        for _ in range(2):
            with pytest.raises(Temporary):
                await w.module.read(server, {Part.ADDRESSES})
        account.filters.clear()
        spare = view.address(SPARE)
        assert spare is not None
        await w.module.remove_address(server, spare)
        view = await w.module.read(server, {Part.ADDRESSES})
        assert view is not None
        assert view.address(SPARE) is None


async def test_a_form_that_shows_another_server_is_not_believed() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        w.fault("server.edit", "wrong", times=0)
        with pytest.raises(Temporary):
            await w.module.read(server, {Part.FORM})
        with pytest.raises(Temporary):
            await w.module.reserve(server, "k")
        assert not w.dci.effects


async def test_many_readers_share_few_lists() -> None:
    async with world(servers={TYPE: 20}, latency=0.02) as w:
        views = await asyncio.gather(*(w.module.read(server, {Part.ROW}) for server in w.dci.servers))
        assert len(views) == 20
        assert w.count("server") <= 2


async def test_flags_become_a_view() -> None:
    async with world(install_seconds=100, power_seconds=50) as w:
        server = next(iter(w.dci.servers))
        await w.module.power_on(server)
        view = await w.module.read(server, ALL)
        assert view is not None
        assert view.busy or view.power is Power.OFF
        w.sandbox.advance(60)
        await w.module.install(server, Install(DEBIAN, "#local__base", "h", "192.0.2.1", PASSWORD))
        view = await w.module.read(server, ALL)
        assert view is not None
        assert (view.power, view.installing, view.failed) == (Power.ON, True, False)
        w.dci.servers[server].disabled = True
        view = await w.module.read(server, {Part.ROW})
        assert view is not None
        assert not view.enabled
        view = await w.module.read(server, {Part.FORM})
        assert view is not None
        assert not view.enabled


async def test_a_failed_install_is_seen() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        w.fault("server.operations", "install_fails")
        await w.module.install(server, Install(DEBIAN, None, "h", "192.0.2.1", PASSWORD))
        view = await w.module.read(server, {Part.ROW, Part.SYSTEM})
        assert view is not None
        assert view.failed
        assert view.system != DEBIAN


# marks and owner --------------------------------------------------------------------------------------------------------------


async def test_a_persons_notes_and_every_other_field_stay_as_they_were() -> None:
    async with world(save_trap="all") as w:
        server = w.dci.servers[next(iter(w.dci.servers))]
        server.notes = "RAM swapped 2026-02\nsecond line: <ü> & more"
        before = (server.mac, server.name, server.type, server.chassis_templ, server.rack, server.unit, server.main_ip)
        await w.module.reserve(server.id, "op-1-reserve")
        assert server.notes == "RAM swapped 2026-02\nsecond line: <ü> & more\nprovisiond op-1-reserve"
        await w.module.unreserve(server.id, "op-1-reserve", [await w.module.own_id()])
        assert server.notes == "RAM swapped 2026-02\nsecond line: <ü> & more"
        assert before == (
            server.mac,
            server.name,
            server.type,
            server.chassis_templ,
            server.rack,
            server.unit,
            server.main_ip,
        )


@pytest.mark.parametrize("change", ["owner", "own without our key", "disabled", "hwproblem", "gone"])
async def test_a_server_that_is_not_free_any_more_is_left_alone(change: str) -> None:
    async with world() as w:
        server = w.dci.servers[next(iter(w.dci.servers))]
        if change == "owner":
            server.owner = "1"
        elif change == "own without our key":
            server.owner = await w.module.own_id()
        elif change == "gone":
            del w.dci.servers[server.id]
        else:
            setattr(server, change, True)
        with pytest.raises(ServerTaken):
            await w.module.reserve(server.id, "k")
        assert not w.dci.effects


async def test_only_our_line_and_only_known_owners_are_cleared() -> None:
    async with world() as w:
        server = w.dci.servers[next(iter(w.dci.servers))]
        server.owner, server.notes = "1", "provisiond other-key"
        await w.module.unreserve(server.id, "k", [await w.module.own_id()])
        assert (server.owner, server.notes) == ("1", "provisiond other-key")
        assert not w.dci.effects


async def test_a_server_without_our_line_is_not_handed_over() -> None:
    async with world() as w:
        server = w.dci.servers[next(iter(w.dci.servers))]
        server.owner = "1"
        owner = await w.module.create_owner("pd-1", PASSWORD)
        with pytest.raises(ServerTaken):
            await w.module.hand_over(server.id, owner.remote_id)
        assert server.owner == "1"


async def test_a_handed_over_server_can_be_taken_back() -> None:
    async with world() as w:
        server = w.dci.servers[next(iter(w.dci.servers))]
        own = await w.module.own_id()
        await w.module.reserve(server.id, "k")
        owner = await w.module.create_owner("pd-1", PASSWORD)
        await w.module.hand_over(server.id, owner.remote_id)
        await w.module.hand_over(server.id, own)
        assert server.owner == own


async def test_a_user_that_was_there_before_us_is_found_and_not_made() -> None:
    async with world() as w:
        there = w.dci.accounts.add("pd-5", "their-own-password")
        owner = await w.module.create_owner("pd-5", PASSWORD)
        assert (owner.remote_id, owner.created) == (there.id, False)
        assert there.password == "their-own-password"


async def test_a_new_user_is_ours_and_has_the_password() -> None:
    async with world() as w:
        owner = await w.module.create_owner("pd-6", PASSWORD)
        assert owner.created
        assert w.dci.accounts.by_id[owner.remote_id].password == PASSWORD


async def test_no_server_is_ever_given_to_an_administrator() -> None:
    async with world() as w:
        with pytest.raises(Permanent) as caught:
            await w.module.create_owner("admin", PASSWORD)
        assert caught.value.code == "owner_is_admin"


async def test_an_id_that_the_panel_only_claims_is_not_believed() -> None:
    async with world() as w:
        w.fault("user.edit", "wrong")
        with pytest.raises(Uncertain):
            await w.module.create_owner("pd-7", PASSWORD)
        assert await w.module.find_owner("pd-7") is None


async def test_an_account_that_does_not_see_itself_is_unhealthy() -> None:
    async with world() as w:
        account = w.dci.accounts.named("provisiond")
        assert account is not None
        account.filters["user"] = {"name": "admin"}
        with pytest.raises(Unhealthy):
            await w.module.own_id()


# addresses --------------------------------------------------------------------------------------------------------------------


async def test_an_address_that_is_on_the_server_already_is_not_added_twice() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        for _ in range(2):
            await w.module.put_address(server, "2001:db8:1::7", "public", "ipv6", "a.example.test")
        assert [effect["func"] for effect in w.dci.effects] == ["iplist.edit"]


async def test_an_address_on_another_server_is_permanent() -> None:
    async with world() as w:
        first, second, *_ = w.dci.servers
        await w.module.put_address(first, SPARE, "public", "ipv4", "a.example.test")
        with pytest.raises(Permanent):
            await w.module.put_address(second, SPARE, "public", "ipv4", "a.example.test")


async def test_another_address_than_the_asked_one_is_said() -> None:
    async with world() as w:
        w.fault("iplist.edit", "wrong")
        with pytest.raises(Permanent) as caught:
            await w.module.put_address(next(iter(w.dci.servers)), SPARE, "public", "ipv4", "a.example.test")
        assert caught.value.code == "wrong_address"


async def test_the_main_address_is_not_deleted() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        view = await w.module.read(server, ALL)
        assert view is not None
        with pytest.raises(Permanent) as caught:
            await w.module.remove_address(server, view.addresses[0])
        assert caught.value.code == "panel_main_ip"


async def test_a_deleted_address_that_is_not_there_counts_as_done() -> None:
    async with world() as w:
        await w.module.remove_address(next(iter(w.dci.servers)), RemoteAddress("4711", SPARE, ""))


# install ----------------------------------------------------------------------------------------------------------------------


async def test_a_wrong_template_is_permanent_and_the_password_is_not_in_the_error() -> None:
    async with world() as w:
        with pytest.raises(Permanent) as caught:
            await w.module.install(next(iter(w.dci.servers)), Install("No__Such", None, "h", "192.0.2.1", PASSWORD))
        assert PASSWORD not in str(caught.value.as_dict())


# bad days ---------------------------------------------------------------------------------------------------------------------

READ_FAULTS = ["http_500", "http_503", "html", "truncated", "reset_before", "reset_after"]


@pytest.mark.parametrize("kind", READ_FAULTS)
async def test_reads_survive_one_bad_answer_and_end_as_temporary_after_three(kind: str) -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        w.fault("server.edit", kind, times=1)
        assert await w.module.read(server, {Part.FORM}) is not None
        w.sandbox.clear_faults()
        w.fault("server.edit", kind, times=0)
        with pytest.raises(Temporary):
            await w.module.read(server, {Part.FORM})


@pytest.mark.parametrize("kind", READ_FAULTS)
async def test_a_write_with_a_bad_answer_is_uncertain_and_reading_tells_what_happened(kind: str) -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        w.fault("iplist.edit", kind)
        with pytest.raises(Uncertain):
            await w.module.put_address(server, SPARE, "public", "ipv4", "a.example.test")
        view = await w.module.read(server, ALL)
        assert view is not None
        landed = view.address(SPARE) is not None
        assert landed == (kind in {"truncated", "reset_after"})
        await w.module.put_address(server, SPARE, "public", "ipv4", "a.example.test")
        assert len([e for e in w.dci.effects if e["func"] == "iplist.edit"]) == 1


async def test_a_lost_session_is_not_noticed() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        await w.module.reserve(server, "k")
        w.fault("server.poweron", "auth_loss")
        await w.module.power_on(server)
        assert w.dci.servers[server].powered


async def test_a_late_landing_is_seen_by_a_later_reading() -> None:
    async with world() as w:
        server = next(iter(w.dci.servers))
        w.fault("server.poweron", "late", seconds=30)
        with pytest.raises(Uncertain):
            await w.module.power_on(server)
        view = await w.module.read(server, {Part.ROW})
        assert view is not None
        assert view.power is Power.OFF
        w.sandbox.advance(31)
        view = await w.module.read(server, {Part.ROW})
        assert view is not None
        assert view.power is Power.ON


async def test_a_slow_panel_is_temporary_for_a_read_and_uncertain_for_a_write() -> None:
    async with world({"timeout": timedelta(milliseconds=300)}) as w:
        server = next(iter(w.dci.servers))
        await w.module.own_id()
        w.fault("*", "slow", seconds=5, times=0)
        with pytest.raises(Temporary):
            await w.module.read(server, {Part.FORM})
        with pytest.raises(Uncertain):
            await w.module.power_on(server)


async def test_an_install_that_the_panel_forgot_shows_neither_running_nor_failed_nor_installed() -> None:
    async with world(install_seconds=100) as w:
        server = next(iter(w.dci.servers))
        await w.module.install(server, Install(DEBIAN, None, "h", "192.0.2.1", PASSWORD))
        w.fault("server", "forget_install")
        view = await w.module.read(server, {Part.ROW, Part.SYSTEM})
        assert view is not None
        assert (view.installing, view.failed) == (False, False)
        assert view.system != DEBIAN


async def test_rows_that_show_each_others_data_do_not_make_a_server_ours() -> None:
    async with world() as w:
        first, second, *_ = w.dci.servers
        await w.module.reserve(first, "k")
        w.fault("server", "wrong", times=0)
        for server, ours in ((first, True), (second, False)):
            view = await w.module.read(server, ALL - {Part.ROW})
            assert view is not None
            assert ("k" in view.marks) == ours


async def test_a_login_that_gives_a_useless_session_is_made_once_more() -> None:
    async with world() as w:
        w.fault("auth", "wrong")
        assert (await w.module.stock(TYPE)).free


async def test_check_says_what_is_missing() -> None:
    async with world(row_limit=2, templates=()) as w:
        problems = " ".join((await w.module.check()).problems)
        assert "2 of 4 rows" in problems
        assert "no OS template" in problems


async def test_a_panel_with_nothing_to_sell_is_told_by_check() -> None:
    async with world(servers={}, templates=()) as w:
        assert set((await w.module.check()).problems) == {
            "there is no server, or none that this user may see",
            "there is no OS template, or none that this user may see",
        }


async def test_a_wrong_password_is_unhealthy() -> None:
    async with world() as w:
        account = w.dci.accounts.named("provisiond")
        assert account is not None
        account.password = "changed"
        with pytest.raises(Unhealthy):
            await w.module.check()


async def test_probe_changes_nothing_and_confirms_what_it_can() -> None:
    async with world() as w:
        w.dci.send_traffic(next(iter(w.dci.servers)), 1, 2)
        findings = {finding.setting: finding.verdict for finding in await w.module.probe()}
        assert not w.dci.effects
        assert findings["panel.main_address_field"] == "confirmed"
        assert findings["panel.installed_system_field"] == "confirmed"
        assert findings["traffic.text_unit"] == "confirmed"
        assert findings["traffic.swap"] == "unknown"


async def test_a_wrong_field_name_is_contradicted_by_probe_and_stops_reserve() -> None:
    async with world({"panel": PanelNames(notes_field="remarks")}) as w:
        findings = {finding.setting: finding for finding in await w.module.probe()}
        assert findings["panel.notes_field"].verdict == "contradicted"
        assert "notes" in findings["panel.notes_field"].detail
        with pytest.raises(ProvisiondError) as caught:
            await w.module.reserve(next(iter(w.dci.servers)), "k")
        assert caught.value.code == "field_missing"


@pytest.mark.parametrize(
    "notes", ["", "a", "a\nb", "a\r\nb\r\n", "provisiond x", "provisiond x\nb", "a\nprovisiond xy"]
)
def test_a_mark_comes_and_goes_without_a_trace(notes: str) -> None:
    marked = with_mark(notes, "k-1")
    assert "k-1" in marks_in(marked)
    assert with_mark(marked, "k-1") == marked
    assert without_mark(marked, "k-1") == notes.rstrip("\r\n")
    assert marks_in(notes) == marks_in(without_mark(marked, "k-1"))


def test_marks_are_found_where_a_panel_made_one_line_of_the_notes() -> None:
    assert marks_in("old server provisiond a provisiond b") == {"a", "b"}
    assert marks_in("notprovisiond a") == frozenset()
    assert without_mark("old provisiond a provisiond ab new", "a").split() == ["old", "provisiond", "ab", "new"]
