"""What every processing module promises; each implementation subclasses this and gives a fixture `subject`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from daemon.domain.errors import Permanent
from daemon.domain.platform import PlatformReport
from daemon.domain.resources import RESOURCES
from daemon.modules.base import Install, Part, PersonNeeded, Power, ProcessingModule, RemoteAddress, ServerView

PASSWORD = "Root-pw-7f3a"
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
ALL = frozenset(Part)


@dataclass
class Subject:
    """A module with something to work on. `settled` lets the platform finish what it is at."""

    module: ProcessingModule
    server_type: str
    template: str
    spare_address: str
    asked: list[PersonNeeded] = field(default_factory=list)
    settled: Callable[[], None] = lambda: None

    async def do(self, verb: Callable[[], Awaitable[object]]) -> None:
        """A verb is "make it so": twice does no harm. By hand it asks a person, in words without a secret."""
        for _ in range(2):
            if not self.module.by_hand:
                await verb()
                self.settled()
                continue
            with pytest.raises(PersonNeeded) as caught:
                await verb()
            self.asked.append(caught.value)
            assert caught.value.title
            assert caught.value.instructions.endswith(".")
            assert PASSWORD not in f"{caught.value} {vars(caught.value)}"

    async def view(self, remote_id: str) -> ServerView | None:
        """What can be read; None where nothing can."""
        view = await self.module.read(remote_id, ALL)
        assert view is not None
        assert view.remote_id == remote_id
        return None if self.module.by_hand else view

    async def a_free_server(self) -> str:
        return (await self.module.stock(self.server_type)).free[0].remote_id


class ModuleContract:
    async def test_check_says_what_the_platform_is_like(self, subject: Subject) -> None:
        report = await subject.module.check()
        assert isinstance(report, PlatformReport)
        assert report.problems == ()

    async def test_probe_gives_findings_with_a_known_verdict(self, subject: Subject) -> None:
        for finding in await subject.module.probe():
            assert finding.verdict in {"confirmed", "contradicted", "unknown"}
            assert finding.detail

    async def test_stock_lists_each_free_server_once(self, subject: Subject) -> None:
        free = (await subject.module.stock(subject.server_type)).free
        assert len({server.remote_id for server in free}) == len(free) > 0

    async def test_a_type_nobody_has_is_an_empty_stock(self, subject: Subject) -> None:
        assert (await subject.module.stock("no-such-type")).free == ()

    async def test_a_reserved_server_is_ours_and_carries_the_key(self, subject: Subject) -> None:
        server = await subject.a_free_server()
        await subject.do(lambda: subject.module.reserve(server, "op-1-reserve"))
        if view := await subject.view(server):
            assert view.owner_id == await subject.module.own_id()
            assert view.marks == {"op-1-reserve"}
            assert server not in {s.remote_id for s in (await subject.module.stock(subject.server_type)).free}
        else:
            assert {"remote_id", "main_address"} <= set(subject.asked[0].wants)

    async def test_an_unreserved_server_is_free_again(self, subject: Subject) -> None:
        server, own = await subject.a_free_server(), await subject.module.own_id()
        await subject.do(lambda: subject.module.reserve(server, "op-1-reserve"))
        await subject.do(lambda: subject.module.unreserve(server, "op-1-reserve", [own]))
        if view := await subject.view(server):
            assert view.owner_id is None
            assert view.marks == frozenset()

    async def test_a_customer_has_one_user_however_often_it_is_made(self, subject: Subject) -> None:
        name = subject.module.owner_name(17)
        first = await subject.module.create_owner(name, PASSWORD)
        second = await subject.module.create_owner(name, PASSWORD)
        found = await subject.module.find_owner(name)
        assert first.remote_id == second.remote_id
        assert found is not None
        assert found.remote_id == first.remote_id
        assert not second.created

    async def test_a_server_is_handed_over(self, subject: Subject) -> None:
        server = await subject.a_free_server()
        await subject.do(lambda: subject.module.reserve(server, "k"))
        owner = await subject.module.create_owner(subject.module.owner_name(17), PASSWORD)
        await subject.do(lambda: subject.module.hand_over(server, owner.remote_id))
        if view := await subject.view(server):
            assert view.owner_id == owner.remote_id
            assert view.marks == {"k"}

    async def test_an_address_is_put_on_made_the_main_one_named_and_the_old_one_removed(self, subject: Subject) -> None:
        module, server = subject.module, await subject.a_free_server()
        new = subject.spare_address
        await subject.do(lambda: module.put_address(server, new, "public", "ipv4", "a.example.test"))
        before = await subject.view(server)
        await subject.do(lambda: module.set_main_address(server, new))
        old = before.main_address if before else "192.0.2.1"
        gone = (before.address(old) if before else None) or RemoteAddress("1", old, "")
        await subject.do(lambda: module.remove_address(server, gone))
        after = await subject.view(server)
        if before and after:
            assert old != new
            assert after.main_address == new
            assert [a.address for a in after.addresses] == [new]
        held = after.addresses if after else (RemoteAddress("2", new, "a.example.test"),)
        await subject.do(lambda: module.set_hostname(server, held, "b.example.test"))
        if named := await subject.view(server):
            assert named.hostname == "b.example.test"
            assert {a.name for a in named.addresses} == {"b.example.test"}

    async def test_naming_what_has_the_name_already_asks_nobody(self, subject: Subject) -> None:
        await subject.module.set_hostname("1", [RemoteAddress("1", "192.0.2.1", "a.example.test")], "a.example.test")

    async def test_power_goes_on_and_off(self, subject: Subject) -> None:
        module, server = subject.module, await subject.a_free_server()
        await subject.do(lambda: module.enable(server))
        await subject.do(lambda: module.power_on(server))
        if view := await subject.view(server):
            assert (view.power, view.enabled) == (Power.ON, True)
        await subject.do(lambda: module.power_off(server))
        if view := await subject.view(server):
            assert view.power is Power.OFF

    async def test_a_system_is_installed(self, subject: Subject) -> None:
        module, server = subject.module, await subject.a_free_server()
        await subject.do(lambda: module.power_on(server))
        install = Install(subject.template, None, "a.example.test", "192.0.2.1", PASSWORD)
        assert PASSWORD not in repr(install)
        await subject.do(lambda: module.install(server, install))
        if view := await subject.view(server):
            assert view.system == subject.template
            assert not view.installing
            assert not view.failed
        await subject.do(lambda: module.cancel_install(server))

    async def test_its_reports_have_names_and_no_resource_is_in_two_of_them(self, subject: Subject) -> None:
        reports = subject.module.reports()
        assert reports == subject.module.reports()
        assert len({report.name for report in reports}) == len(reports)
        codes = [code for report in reports for code in report.resources]
        assert len(set(codes)) == len(codes)
        assert set(codes) <= set(RESOURCES)
        traffic = next((report for report in reports if report.name == "traffic"), None)
        assert traffic is None or set(traffic.resources) == {"in", "out"}

    async def test_a_measurement_has_the_time_it_was_asked_for_and_every_resource_of_its_report(
        self, subject: Subject
    ) -> None:
        servers = {server.remote_id for server in (await subject.module.stock(subject.server_type)).free}
        for report in subject.module.reports():
            measured = await subject.module.measure(report.name, NOW)
            assert measured.at == NOW
            assert measured.problems == ()
            assert set(measured.values) == set(report.resources)
            for values in measured.values.values():
                assert servers <= set(values)
                assert all(type(value) is int and 0 <= value < 2**63 for value in values.values())

    async def test_a_report_that_it_does_not_have_is_refused(self, subject: Subject) -> None:
        with pytest.raises(Permanent) as caught:
            await subject.module.measure("no-such-report", NOW)
        assert caught.value.code == "no_report"

    async def test_it_says_how_a_free_server_is_named(self, subject: Subject) -> None:
        assert subject.module.free_hostname

    async def test_closing_twice_is_fine(self, subject: Subject) -> None:
        await subject.module.close()
        await subject.module.close()
