"""Systems that refused our login are asked again now and then: when one is well, what waited for it goes on."""

from __future__ import annotations

import structlog

from daemon.domain.errors import ProvisiondError
from daemon.provisioning.fleet import Fleet
from daemon.store.database import Store

log = structlog.get_logger(__name__)


async def look_again(store: Store, fleet: Fleet) -> None:
    """One check of each ill system: a login, which its client makes at most once a minute."""
    platforms = fleet.platforms()
    for name in await store.read.module_health.all():
        platform = platforms.get(name)
        try:
            if platform is not None:
                await platform.check()
        except ProvisiondError as error:
            log.info("module.still_ill", module=name, code=error.code)
            continue
        async with store.transaction() as tx:
            await tx.module_health.well(name)
        log.info("module.well_again", module=name)
