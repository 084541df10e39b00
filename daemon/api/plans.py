"""Plans: what is sold, and how many could be sold now."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from daemon.api.deps import Faces
from daemon.api.endpoint import EVERY_ROLE, Call, NoBody, Reply, Shape, endpoint
from daemon.api.orders import VerdictShape
from daemon.api.paging import PageQuery, cut
from daemon.api.shapes import Page
from daemon.provisioning.choice import Known, Verdict, judge
from daemon.provisioning.ordering import resolve_addons
from daemon.settings.plans import PlanSettings

TAG = "plans"


class PlanShape(Shape):
    name: str
    title: str
    product: str
    revision: str
    server_type: str
    available: int | None = Field(description="free servers now; null when the panels can't be asked")
    module: str | None = Field(description="the module that an order would use now")
    modules: list[VerdictShape] = Field(description="all its modules by priority, each with what was found")
    prices: dict[str, Any]
    addons: dict[str, Any]
    resources: list[str]


class PlanPage(Page[PlanShape]):
    pass


@endpoint("GET", "/v1/plans", tag=TAG, roles=EVERY_ROLE, answer=PlanPage, query=PageQuery)
async def list_plans(call: Call[PageQuery, NoBody]) -> Reply:
    """What can be ordered, with what is free now."""
    after = call.query.after_text()
    plans = sorted(call.faces.fleet.settings.plans, key=lambda plan: plan.name)
    page, following = cut([plan for plan in plans if plan.name > after], call.query.limit, lambda plan: plan.name)
    # All at once: plans on one panel share its list, which the panel's client asks for once.
    known = await Known.read(call.faces.fleet, call.faces.store.read)
    shapes = await asyncio.gather(*(_shape(call.faces, plan, known) for plan in page))
    return Reply(PlanPage(items=list(shapes), next=following))


async def _shape(faces: Faces, plan: PlanSettings, known: Known) -> PlanShape:
    addons, _ = resolve_addons(plan, {})
    verdicts = await judge(faces.fleet, faces.store.read, plan, addons, first_only=False, known=known)
    content = plan.content()
    return PlanShape(
        name=plan.name,
        title=plan.label,
        product=plan.product,
        revision=plan.revision,
        server_type=plan.server_type,
        available=available(verdicts),
        module=next((verdict.module for verdict in verdicts if verdict.free), None),
        modules=[VerdictShape(**verdict.as_dict()) for verdict in verdicts],
        prices=content["prices"],
        addons=content["addons"],
        resources=list(content["resources"]),
    )


def available(verdicts: list[Verdict]) -> int | None:
    """What is surely free; None when that is nothing and some panel could not be asked."""
    free = sum(len(verdict.free) for verdict in verdicts)
    return None if free == 0 and any(not verdict.asked for verdict in verdicts) else free


ENDPOINTS = (list_plans,)
