"""Alerts of a service: of which usage its customer hears, and what was told."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from daemon.api.endpoint import BILLING, EVERY_ROLE, OPERATING, Call, NoBody, NoQuery, Reply, Shape, endpoint
from daemon.api.keys import once
from daemon.domain.alerts import AlertState
from daemon.provisioning.desk import Also
from daemon.provisioning.requests import Reason, Request
from daemon.store.alerts import ServiceAlerts

TAG = "services"


class AlertsRequest(Request):
    """What is left out stays as it is. For every resource of which the plan includes some."""

    model_config = ConfigDict(validate_by_alias=True)

    eighty: Annotated[bool | None, Field(alias="80", description="tell when 80 % of what is included is used")] = None
    hundred: Annotated[bool | None, Field(alias="100", description="tell when all that is included is used")] = None
    beyond: Annotated[
        bool | None, Field(description="tell at each `alert_every` of the plan beyond what is included")
    ] = None
    reason: Annotated[Reason, Field(description="why; stands in the audit log")] = ""

    @property
    def changes(self) -> dict[str, bool]:
        """Name of the threshold -> on or off."""
        named = {"80": self.eighty, "100": self.hundred, "beyond": self.beyond}
        return {name: on for name, on in named.items() if on is not None}


class ReportedShape(Shape):
    """What was told of one resource, in the last period of which anything was told."""

    resource: str
    period: str
    eighty: bool = Field(alias="80")
    hundred: bool = Field(alias="100")
    beyond: int = Field(description="how many times `alert_every` beyond what is included were told")

    @classmethod
    def of(cls, resource: str, state: AlertState) -> ReportedShape:
        return cls(
            resource=resource, period=state.period, eighty=state.eighty, hundred=state.hundred, beyond=state.steps
        )


class AlertsShape(Shape):
    service: int
    eighty: bool = Field(alias="80")
    hundred: bool = Field(alias="100")
    beyond: bool
    reported: list[ReportedShape]

    @classmethod
    def of(cls, service_id: int, alerts: ServiceAlerts) -> AlertsShape:
        return cls(
            service=service_id,
            eighty=alerts.wanted.eighty,
            hundred=alerts.wanted.hundred,
            beyond=alerts.wanted.beyond,
            reported=[ReportedShape.of(resource, state) for resource, state in sorted(alerts.sent.items())],
        )


@endpoint("GET", "/v1/services/{id}/alerts", tag=TAG, roles=EVERY_ROLE, answer=AlertsShape)
async def get_alerts(call: Call[NoQuery, NoBody]) -> Reply:
    """Of which usage the customer of a service hears, and what was told."""
    return Reply(AlertsShape.of(call.id, await call.faces.alerts.alerts(call.id)))


@endpoint(
    "PUT",
    "/v1/services/{id}/alerts",
    tag=TAG,
    roles=OPERATING | BILLING,
    answer=AlertsShape,
    body=AlertsRequest,
    key="optional",
    refusals={409: "it is released"},
)
async def put_alerts(call: Call[NoQuery, AlertsRequest]) -> Reply:
    """Switch alerts of a service on or off; what is passed already when one is switched on is told in the next round."""
    body = call.body

    async def work(also: Also) -> ServiceAlerts:
        desk = call.faces.alerts
        return await desk.switch(call.id, body.changes, actor=call.caller.actor, reason=body.reason, also=also)

    def shape(alerts: ServiceAlerts) -> AlertsShape:
        return AlertsShape.of(call.id, alerts)

    return await once(call, "PUT /v1/services/{id}/alerts", work, shape, 200)


ENDPOINTS = (get_alerts, put_alerts)
