"""IPmanager 5 as an address manager; see README.md in this folder."""

from __future__ import annotations

from daemon.domain.clock import Clock
from daemon.ipam.base import Ipam
from daemon.ipam.registry import Credentials, Plugin
from daemon.settings.ipam import IpmanagerSettings


def _make(settings: IpmanagerSettings, credentials: Credentials, clock: Clock) -> Ipam:
    from daemon.ipam.ipmanager.ipam import Ipmanager  # noqa: PLC0415 - aiohttp is imported only where it is used

    return Ipmanager(settings, credentials, clock)


PLUGIN = Plugin("ipmanager", IpmanagerSettings, _make)
