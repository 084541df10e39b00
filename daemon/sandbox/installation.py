"""Builds the panel models of one installation: pools, servers with parking addresses, accounts. No sockets."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from daemon.sandbox.clock import SandboxClock
from daemon.sandbox.dci_model import FREE_NAME
from daemon.sandbox.dcimanager import DciPanel, DciSettings
from daemon.sandbox.faults import FaultBoard
from daemon.sandbox.ipmanager import IPV4, IPV6, IpPanel, Pool, Pools
from daemon.sandbox.panel import Panel
from daemon.sandbox.sessions import ADMIN_LEVEL
from daemon.sandbox.settings import SandboxSettings

DCI_NAME, SECOND_DCI_NAME, IPM_NAME = "dcimanager", "dci-second", "ipmanager"
PARKING = "parking"
ALIASES = {
    "dci": DCI_NAME,
    "dcimgr": DCI_NAME,
    "dci-main": DCI_NAME,
    "ipm": IPM_NAME,
    "ipmgr": IPM_NAME,
    "ipm-main": IPM_NAME,
}
"""Other names by which a panel is understood at the doors."""

_NETWORKS = {
    "public": ("192.0.2.0/24", "198.18.0.0/16"),
    "guardvlan9": ("203.0.113.0/24", "198.19.0.0/17"),
    "private": ("10.32.0.0/16", "10.128.0.0/10"),
    PARKING: ("10.64.0.0/16", "10.192.0.0/10"),
}
_OWN_BASE = {
    "public": ("198.51.100.0/24", "198.19.128.0/17"),
    "guardvlan9": ("100.64.0.0/16", "100.72.0.0/13"),
    "private": ("172.16.0.0/16", "172.24.0.0/13"),
    PARKING: ("172.17.0.0/16", "172.20.0.0/14"),
}
_IPV6_FIRST, _OWN_IPV6_FIRST = "2001:db8:1::1", "2001:db8:2::1"
_FURTHER = ipaddress.IPv4Address("100.80.0.1")


@dataclass
class Installation:
    """The models of one sandbox and what they share."""

    clock: SandboxClock
    board: FaultBoard
    dcis: list[DciPanel]
    ipm: IpPanel

    @property
    def panels(self) -> list[Panel]:
        return [*self.dcis, self.ipm]

    def panel(self, name: str) -> Panel:
        """By name or alias. Raises KeyError with the names there are."""
        wanted = ALIASES.get(name, name)
        for panel in self.panels:
            if panel.name == wanted:
                return panel
        raise KeyError(f"there is no panel {name}; there are {', '.join(panel.name for panel in self.panels)}")

    def settle(self) -> None:
        for panel in self.panels:
            panel.settle()


def build(settings: SandboxSettings) -> Installation:
    """The models, filled as `settings` say: every server is free and has a parking address held by the daemon's account."""
    clock, board = SandboxClock(settings.now), FaultBoard()
    servers = sum(settings.servers.values()) * settings.dci_panels
    ipm = IpPanel(
        IPM_NAME,
        clock,
        board,
        _ipm_pools(settings, servers),
        single_as_object=settings.json_single_as_object,
        save_trap=settings.save_trap,
    )
    account = ipm.accounts.add(settings.username, settings.password, ADMIN_LEVEL)
    account.row_limit = settings.row_limit
    dcis = [_dci(settings, number, clock, board) for number in range(settings.dci_panels)]
    for dci in dcis:
        dci.accounts.add(settings.username, settings.password, ADMIN_LEVEL).row_limit = settings.row_limit
        for server_type, count in settings.servers.items():
            for _ in range(count):
                held = ipm.hold(PARKING, IPV4, FREE_NAME, "", account)
                dci.add_server(server_type, held.address, PARKING, FREE_NAME)
    return Installation(clock, board, dcis, ipm)


def _dci(settings: SandboxSettings, number: int, clock: SandboxClock, board: FaultBoard) -> DciPanel:
    name = (DCI_NAME, SECOND_DCI_NAME, *(f"dci-{n}" for n in range(3, number + 2)))[number]
    behaviour = DciSettings(
        flag_delay=settings.flag_delay,
        power_seconds=settings.power_seconds,
        install_seconds=settings.install_seconds,
        diag_seconds=settings.diag_seconds,
        save_trap=settings.save_trap,
        zone=settings.zone,
        traffic_orig=settings.traffic_orig,
        burst_both=settings.burst_both,
        iplist_groups=settings.iplist_groups,
        single_as_object=settings.json_single_as_object,
        templates=settings.templates,
        recipes=settings.recipes,
    )
    return DciPanel(name, clock, board, _own_base(settings), behaviour)


def _sizes(settings: SandboxSettings) -> dict[str, int]:
    return {
        "public": settings.public,
        "private": settings.private,
        PARKING: settings.parking,
        "guardvlan9": settings.guardvlan9,
    }


def _ipm_pools(settings: SandboxSettings, servers: int) -> Pools:
    sizes = _sizes(settings)
    sizes[PARKING] += servers
    pools = [Pool(iptype, IPV4, _first(_NETWORKS[iptype], size), size) for iptype, size in sizes.items()]
    pools.append(Pool("public", IPV6, int(ipaddress.IPv6Address(_IPV6_FIRST)), settings.public_ipv6))
    first = int(_FURTHER)
    for iptype, size in settings.pools.items():
        pools.append(Pool(iptype, IPV4, first, size))
        first += size + 256
    return Pools(pools)


def _own_base(settings: SandboxSettings) -> Pools:
    """The panel's own base has the same types, in other networks, so that an address tells where it came from."""
    pools = [Pool(iptype, IPV4, _first(_OWN_BASE[iptype], size), size) for iptype, size in _sizes(settings).items()]
    pools.append(Pool("public", IPV6, int(ipaddress.IPv6Address(_OWN_IPV6_FIRST)), settings.public_ipv6))
    return Pools(pools)


def _first(networks: tuple[str, str], size: int) -> int:
    """The first address of the small network if `size` addresses fit, else of the large one."""
    small, large = (ipaddress.IPv4Network(network) for network in networks)
    return int((small if size < small.num_addresses - 1 else large).network_address) + 1
