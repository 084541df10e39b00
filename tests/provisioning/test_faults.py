"""Whatever a panel does to a call: one server, nothing lost, nothing billed wrongly; the service works or everything is undone."""

from __future__ import annotations

import pytest

from daemon.domain.operation import Status
from daemon.domain.service import State
from tests.provisioning.conftest import Open
from tests.provisioning.world import World

ON_EVERY_CALL = (
    "http_500",
    "http_503",
    "html",
    "truncated",
    "reset_before",
    "reset_after",
    "late",
    "wrong",
    "auth_loss",
)
ON_LISTS = ("empty_list", "short_list")
LISTS = ("server", "user", "iplist", "server.connection", "ip")
ACTIONS = ("iplist.delete", "server.enable", "server.poweron", "server.poweroff", "traffic", "ip.delete")
FORMS = {
    "server.edit": (1, 2, 4),
    "iplist.edit": (1, 2),
    "user.edit": (1,),
    "server.operations": (1, 2),
    "ip.edit": (1, 2, 4),
}
"""Forms are read and saved under one name: which calls of it are struck."""
INSTALL_SECONDS = 45.0


def cases() -> list[tuple[str, str, tuple[int, ...]]]:
    found: list[tuple[str, str, tuple[int, ...]]] = [
        (func, kind, (1, 3)) for func in LISTS for kind in (*ON_EVERY_CALL, *ON_LISTS)
    ]
    found += [(func, kind, (1,)) for func in ACTIONS for kind in ON_EVERY_CALL]
    return found + [(func, kind, calls) for func, calls in FORMS.items() for kind in ON_EVERY_CALL]


def strike(w: World, func: str, kind: str, calls: tuple[int, ...]) -> None:
    w.sandbox.clear_faults()
    for nth in calls:
        w.sandbox.fault(panel_of(func), func, kind, nth=nth, seconds=8)


def panel_of(func: str) -> str:
    return "ipm" if func == "ip" or func.startswith("ip.") else "dci"


@pytest.mark.parametrize(("func", "kind", "calls"), cases())
async def test_bad_calls_change_nothing_in_the_end(
    func: str, kind: str, calls: tuple[int, ...], open_world: Open
) -> None:
    async with open_world(install_seconds=INSTALL_SECONDS, servers={"E3-1230-16G": 3}) as w:
        free, held = w.free_servers(), len(w.held())
        await w.place()
        strike(w, func, kind, calls)
        await w.drive()
        await w.check_invariants()
        service = await w.service(1)
        if service.state is State.ACTIVE:
            assert w.owned() == [service.remote_id]
            assert w.owner_of(service) == "pd-1"
            w.sandbox.dci.send_traffic(str(service.remote_id), 1000, 2000)
        else:
            assert (await w.operation(1)).status is Status.FAILED, await w.story(1)
            assert kind == "wrong", await w.story(1)
        strike(w, func, kind, calls)
        release = await w.release(1)
        await w.drive()
        assert (await w.service(1)).state is State.RELEASED, await w.story(release)
        assert w.free_servers() == free
        assert len(w.held()) == held
        if service.state is State.ACTIVE:
            assert await w.usage(1) == {"in": 1000, "out": 2000}
        await w.check_invariants()
