"""All entries of the API, in the order of the reference."""

from __future__ import annotations

from daemon.api import (
    alerts,
    health,
    links,
    modules,
    operations,
    orders,
    plans,
    pushed,
    records,
    services,
    tasks,
    tokens,
    usage,
)
from daemon.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *plans.ENDPOINTS,
    *orders.ENDPOINTS,
    *services.ENDPOINTS,
    *alerts.ENDPOINTS,
    *operations.ENDPOINTS,
    *tasks.ENDPOINTS,
    *modules.ENDPOINTS,
    *usage.ENDPOINTS,
    *records.ENDPOINTS,
    *pushed.ENDPOINTS,
    *tokens.ENDPOINTS,
    *links.ENDPOINTS,
    *health.ENDPOINTS,
)
