"""One panel user for all servers of a customer, and how its password is told."""

from __future__ import annotations

import pytest

from daemon.domain.errors import Refused
from daemon.provisioning.access import AccessDesk
from tests.provisioning.conftest import Open
from tests.provisioning.world import World


def access(w: World) -> AccessDesk:
    return AccessDesk(w.store, w.master)


async def test_two_services_of_a_customer_share_one_panel_user(open_world: Open) -> None:
    async with open_world() as w:
        await w.place("one")
        await w.place("two", hostname="b.example.test")
        await w.drive()
        services = [await w.service(n) for n in (1, 2)]
        assert {w.owner_of(service) for service in services} == {"pd-1"}
        assert w.effects("user.edit") == 1
        shown = [await access(w).show(n, "ann") for n in (1, 2)]
        assert shown[0].user_password == shown[1].user_password is not None
        assert shown[0].root_password != shown[1].root_password


async def test_customers_do_not_share_a_user(open_world: Open) -> None:
    async with open_world() as w:
        one = await w.active("one")
        two = await w.active("two", customer={"ref": "C-2", "name": "Bo", "email": "b@example.test"})
        assert [w.owner_of(one), w.owner_of(two)] == ["pd-1", "pd-2"]


async def test_a_user_found_before_keeps_its_password_and_we_do_not_tell_ours(open_world: Open) -> None:
    async with open_world() as w:
        w.sandbox.dci.call("user.edit", {"name": "pd-1", "passwd": "their own", "level": "lvUser", "sok": "ok"})
        await w.active()
        shown = await access(w).show(1, "ann")
        assert (shown.user, shown.user_password) == ("pd-1", None)
        account = w.sandbox.dci.accounts.named("pd-1")
        assert account is not None
        assert account.password == "their own"


async def test_a_user_made_with_its_answer_lost_is_ours(open_world: Open) -> None:
    async with open_world() as w:
        w.sandbox.fault("dci", "user.edit", "reset_after")
        await w.active()
        shown = await access(w).show(1, "ann")
        account = w.sandbox.dci.accounts.named("pd-1")
        assert account is not None
        assert shown.user_password == account.password


async def test_a_user_that_is_an_administrator_gets_no_server(open_world: Open) -> None:
    async with open_world() as w:
        w.sandbox.dci.accounts.add("pd-1", "x", 29)
        free = w.free_servers()
        await w.place()
        await w.drive()
        fault = (await w.service(1)).fault
        assert fault is not None
        assert "no ordinary user" in fault.message
        assert w.free_servers() == free
        await w.check_invariants()


async def test_what_is_shown_is_what_was_set_and_is_recorded(open_world: Open) -> None:
    import hashlib

    async with open_world() as w:
        service = await w.active()
        shown = await access(w).show(1, "ann", "lost it")
        server = w.server(str(service.remote_id))
        assert shown.root_password is not None
        assert hashlib.sha256(shown.root_password.encode()).hexdigest() == server.install_log[0].password_sha256
        assert (shown.hostname, shown.address) == ("a.example.test", server.main_ip)
        (event,) = await w.events("service.access")
        assert (event["actor"], event["reason"]) == ("ann", "lost it")
        rows = await w.store.read.fetch("SELECT before, after, reason FROM event")
        assert shown.root_password not in str(rows)


async def test_the_link_works_once(open_world: Open) -> None:
    async with open_world() as w:
        await w.active()
        secret = w.master.link(1)
        assert await access(w).link_is_usable(secret)
        assert (await access(w).use_link(secret)).root_password == w.master.root_password(1)
        assert not await access(w).link_is_usable(secret)
        for bad in (secret, "unknown", ""):
            with pytest.raises(Refused) as refused:
                await access(w).use_link(bad)
            assert (refused.value.code, refused.value.status) == ("no_link", 404)
        (event,) = await w.events("service.access")
        assert event["actor"] == "customer"


async def test_the_link_ends_after_seven_days_and_with_its_service(open_world: Open) -> None:
    async with open_world() as w:
        await w.active("one")
        await w.active("two", hostname="b.example.test")
        await w.released(2)
        with pytest.raises(Refused):
            await access(w).use_link(w.master.link(2))
        w.clock.advance(7 * 86400 + 1)
        assert not await access(w).link_is_usable(w.master.link(1))
        with pytest.raises(Refused):
            await access(w).use_link(w.master.link(1))


async def test_there_is_nothing_to_get_into_before_and_after(open_world: Open) -> None:
    async with open_world() as w:
        await w.place()
        with pytest.raises(Refused):
            await access(w).show(1, "ann")
        await w.drive()
        await w.released(1)
        with pytest.raises(Refused):
            await access(w).show(1, "ann")
        with pytest.raises(Refused) as unknown:
            await access(w).show(9, "ann")
        assert unknown.value.status == 404


async def test_the_customer_gets_one_mail(open_world: Open) -> None:
    async with open_world() as w:
        await w.active()
        (mail,) = await w.mails("active:")
        assert "ada@example.test" in str(mail["payload"])
        assert w.master.link(1) not in str(mail["payload"])
