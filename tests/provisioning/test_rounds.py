"""What fails for good is undone and verified; then the next module carries the order, or a person is told."""

from __future__ import annotations

import pytest
from annotated_types import Le

from daemon.domain.operation import Phase, Status
from daemon.domain.service import State
from daemon.provisioning.provision import ROUND
from daemon.settings.addons import AddonSettings
from tests.provisioning.conftest import Open


async def test_the_second_module_carries_what_the_first_one_could_not_install(open_world: Open) -> None:
    async with open_world(dci_panels=2, servers={"E3-1230-16G": 2}) as w:
        free, held = w.free_servers(), len(w.held())
        w.sandbox.fault("dci", "server.operations", "install_fails", times=0)
        await w.place()
        await w.drive()
        service, operation = await w.service(1), await w.operation(1)
        assert (operation.status, operation.error, operation.phase) == (Status.DONE, None, Phase.FORWARD)
        assert (service.state, service.module, service.remote_id) == (State.ACTIVE, "dci-second", "101")
        assert w.free_servers() == free
        assert [server.id for server in w.sandbox.dcis[1].servers.values() if server.owner] == ["101"]
        await w.check_invariants()
        steps = {s.key: s for s in await w.store.read.steps.of_operation(1)}
        assert steps["undone", 0].result["cause"]["code"] == "install_failed"
        reasons = {v["module"]: v["reason"] for v in steps["choose", 1].result["reasons"]}
        assert reasons["dci-main"].startswith("failed for this order: the panel says that the install of")
        await w.released(1)
        parked = await w.store.read.fetch("SELECT key, address FROM allocation WHERE state = 'parked' ORDER BY id")
        assert len({row["key"] for row in parked}) == len(parked) == 2
        assert {row["address"] for row in parked} == {p.servers["101"].main_ip for p in w.sandbox.dcis}
        assert len(w.held()) == held
        await w.check_invariants()


def test_a_round_has_room_for_every_address_that_can_be_ordered() -> None:
    """Else the addresses of a round that failed would be taken for those of the next."""
    limits = [bound.le for bound in AddonSettings.model_fields["max"].metadata if isinstance(bound, Le)]
    assert limits == [65536]
    assert ROUND > 3 * 65536


async def test_without_a_module_left_the_service_stays_pending_with_fault_task_and_mail(open_world: Open) -> None:
    async with open_world(dci_panels=2) as w:
        free, held = w.free_servers(), len(w.held())
        w.sandbox.fault("*", "server.operations", "install_fails", times=0)
        await w.place()
        await w.drive()
        service, operation = await w.service(1), await w.operation(1)
        assert operation.status is Status.FAILED
        assert (service.state, service.target, service.module, service.billing_from) == (
            State.PENDING,
            None,
            None,
            None,
        )
        assert service.fault is not None
        assert (service.fault.code, service.fault.operation) == ("no_module", 1)
        (task,) = await w.open_tasks()
        assert (task.department, task.operation_id) == ("dc-team", 1)
        (mail,) = await w.mails("fault:")
        assert "dc-team" in str(mail["payload"])
        assert w.free_servers() == free
        assert len(w.held()) == held
        await w.check_invariants()


async def test_an_undo_that_cannot_be_verified_stays_open_and_goes_on_when_it_is_mended(open_world: Open) -> None:
    async with open_world({"step_within": "5m"}, servers={"E3-1230-16G": 1}, install_seconds=45) as w:
        free, held = w.free_servers(), len(w.held())
        w.sandbox.fault("dci", "server.operations", "install_fails")
        await w.place()
        await w.drive_to("installed", "failed")
        w.sandbox.fault("dci", "iplist.delete", "http_500", times=0)
        await w.drive()
        operation, service = await w.operation(1), await w.service(1)
        assert (operation.status, operation.phase, operation.due_at) == (Status.OPEN, Phase.UNDO, None)
        assert operation.waiting_for is not None
        assert operation.waiting_for.startswith("a person")
        assert service.fault is not None
        assert service.state is State.PENDING
        (task,) = await w.open_tasks()
        assert "while undoing" in task.title
        assert len(await w.mails("fault:")) == 1
        why = await w.desk.why(1)
        assert why.step is not None
        assert why.step.name == "undo:put"
        assert why.may == ["retry", "done"]
        w.sandbox.clear_faults()
        await w.desk.retry(1, actor="ann", reason="the panel is back")
        await w.drive()
        assert (await w.operation(1)).status is Status.FAILED, await w.story(1)
        assert w.free_servers() == free
        assert len(w.held()) == held
        await w.check_invariants()


async def test_a_server_bought_by_somebody_between_list_and_save_is_left_alone(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}) as w:
        await w.place()
        await w.drive_to("reserve", "intended")
        foreign = w.server("101")
        foreign.owner, foreign.notes = "1", "sold by hand"
        await w.drive()
        service = await w.service(1)
        assert (service.state, service.remote_id) == (State.ACTIVE, "102"), await w.story(1)
        assert (foreign.owner, foreign.notes, foreign.powered, len(foreign.addresses)) == (
            "1",
            "sold by hand",
            False,
            1,
        )
        await w.check_invariants()


async def test_a_server_taken_between_the_two_readings_is_left_alone(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 2}) as w:
        await w.place()
        await w.drive_to("settle")
        foreign = w.server("101")
        foreign.owner, foreign.notes = "1", foreign.notes + "\nsold by hand"
        await w.drive()
        service = await w.service(1)
        assert (service.state, service.remote_id) == (State.ACTIVE, "102"), await w.story(1)
        assert (foreign.owner, foreign.notes.strip(), foreign.powered) == ("1", "sold by hand", False)
        await w.check_invariants()


async def test_an_undo_leaves_a_server_alone_that_was_given_to_somebody_meanwhile(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=45) as w:
        await w.place()
        await w.drive_to("install")
        server = w.server("101")
        server.owner, server.notes, addresses = "1", "taken over by hand", len(server.addresses)
        await w.desk.abandon(1, actor="ann", reason="wrong order")
        await w.drive()
        operation = await w.operation(1)
        assert (operation.status, operation.phase) == (Status.OPEN, Phase.UNDO), await w.story(1)
        assert (server.powered, len(server.addresses)) == (True, addresses)
        fault = (await w.service(1)).fault
        assert fault is not None
        assert fault.code == "not_ours"


async def test_the_notes_of_people_stay_as_they_were(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        server = w.server("101")
        server.notes = "disk 2 replaced\nkeep warm"
        service = await w.active()
        assert server.notes == "disk 2 replaced\nkeep warm\nprovisiond pd-test-1"
        await w.released(service.id)
        assert server.notes == "disk 2 replaced\nkeep warm"


@pytest.mark.parametrize("flag_delay", [0.0, 5.0])
async def test_an_install_that_begins_after_the_stop_is_stopped_as_well(flag_delay: float, open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=600, flag_delay=flag_delay) as w:
        await w.place()
        await w.drive_to("install")
        await w.release(1)
        await w.drive()
        w.clock.advance(3600)
        await w.check_invariants()
        assert [install.outcome for install in w.server("101").install_log] == ["cancelled"]
        assert not w.server("101").powered
        assert w.free_servers() == ["101"]


async def test_a_forgotten_install_is_told_again(open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=100) as w:
        await w.place()
        await w.drive_to("install")
        w.sandbox.fault("dci", "server", "forget_install", nth=2)
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        assert [install.outcome for install in w.server("101").install_log] == ["forgotten", "done"]


async def test_an_install_forgotten_before_it_was_seen_is_no_install_of_the_old_system(open_world: Open) -> None:
    """The server had the same system before: its field proves nothing."""
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=100, flag_delay=10) as w:
        w.server("101").ostemplate = "ISPsystem__Debian-12-x86_64"
        await w.place()
        w.sandbox.fault("dci", "server", "forget_install", nth=1)
        await w.drive_to("install", "intended", on_intent=w.sandbox.clear_faults)
        w.sandbox.fault("dci", "server", "forget_install", nth=2)
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        assert w.server("101").install_log[-1].outcome == "done", [i.outcome for i in w.server("101").install_log]


async def test_an_install_seen_shortly_and_forgotten_is_no_install_of_the_old_system(open_world: Open) -> None:
    """A server sold again with the same system: it was seen running, and still nothing proves that it ran to its end."""
    async with open_world(servers={"E3-1230-16G": 1}, install_seconds=100) as w:
        w.server("101").ostemplate = "ISPsystem__Debian-12-x86_64"
        await w.place()
        await w.drive_to("install")
        w.sandbox.fault("dci", "server", "forget_install", nth=2)
        await w.drive()
        assert (await w.service(1)).state is State.ACTIVE, await w.story(1)
        assert [install.outcome for install in w.server("101").install_log] == ["forgotten", "done"]


@pytest.mark.parametrize("before", ["", "ISPsystem__Debian-12-x86_64"])
async def test_an_install_too_quick_to_be_seen_is_believed(before: str, open_world: Open) -> None:
    async with open_world(servers={"E3-1230-16G": 1}) as w:
        w.server("101").ostemplate = before
        await w.active()
