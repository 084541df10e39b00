"""DCImanager 5 as a processing module; see README.md in this folder."""

from __future__ import annotations

from daemon.domain.clock import Clock
from daemon.modules.base import ProcessingModule
from daemon.modules.registry import Credentials, Plugin
from daemon.settings.dcimanager import DcimanagerSettings


def _make(settings: DcimanagerSettings, credentials: Credentials, clock: Clock) -> ProcessingModule:
    from daemon.modules.dcimanager.module import Dcimanager  # noqa: PLC0415 - aiohttp is imported only where it is used

    return Dcimanager(settings, credentials, clock)


PLUGIN = Plugin("dcimanager", DcimanagerSettings, _make)
