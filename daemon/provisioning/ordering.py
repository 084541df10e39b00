"""Ordering: everything that is wrong with a request is said at once, and nothing of it is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from daemon.domain.clock import Clock
from daemon.domain.errors import Refused
from daemon.domain.operation import Operation, Status, Verb
from daemon.domain.order import Customer, Order
from daemon.domain.service import Service, State
from daemon.provisioning.choice import Verdict, judge
from daemon.provisioning.fleet import Fleet
from daemon.provisioning.idempotency import Answer, Answers, Effect
from daemon.provisioning.requests import OrderRequest
from daemon.settings.addons import CHOSEN, COUNTED, AddonSettings, special_block
from daemon.settings.plans import PlanSettings
from daemon.store.database import Store
from daemon.store.repositories import Repositories

Problem = dict[str, str]
MOST_OF_A_NAME = 200
MANUAL_TASKS = 12
"""So many tasks, one after the other, an operation by hand may have time for."""
SLACK = timedelta(hours=6)
"""On top of the limits of its parts: time for retries and for a panel's restart."""


@dataclass(frozen=True)
class Placed:
    order: Order
    service: Service
    operation: Operation
    customer: Customer


@dataclass(frozen=True)
class Preview:
    """What an order would do, without doing it."""

    plan: PlanSettings
    request: OrderRequest
    addons: dict[str, Any]
    prices: dict[str, Any]
    verdicts: list[Verdict]

    @property
    def module(self) -> str | None:
        return next((verdict.module for verdict in self.verdicts if verdict.free), None)


class Ordering:
    def __init__(
        self, store: Store, clock: Clock, fleet: Fleet, answers: Answers, woken: Callable[[int], Awaitable[None]]
    ) -> None:
        """`woken` is called with the id of an operation that is due."""
        self._store = store
        self._clock = clock
        self.fleet = fleet
        self._answers = answers
        self._woken = woken

    async def preview(self, raw: Any) -> Preview:
        """Check a request and choose a module, without storing anything. Raises Refused with every problem."""
        request, plan, addons = _check(raw, self.fleet)
        verdicts = await judge(self.fleet, self._store.read, plan, addons)
        return Preview(plan, request, addons, _prices(plan, request, addons), verdicts)

    async def place(self, raw: Any, *, key: str, actor: str, answer: Callable[[Placed], Answer]) -> Answer:
        """Store order, service and operation with the key and its answer, in one transaction."""

        async def prepare() -> Effect:
            preview = await self.preview(raw)
            _require_stock(preview)

            async def effect(tx: Repositories) -> Answer:
                placed = await self._store_order(tx, preview, actor)
                opened.append(placed.operation.id)
                return answer(placed)

            return effect

        opened: list[int] = []
        result = await self._answers.once(key, "POST /v1/orders", raw, prepare)
        for operation_id in opened:
            await self._woken(operation_id)
        return result

    async def _store_order(self, tx: Repositories, preview: Preview, actor: str) -> Placed:
        request, plan = preview.request, preview.plan
        customer = await _customer(tx, request, actor)
        revision = await tx.orders.plan_revision(plan.name, plan.revision, plan.content())
        order = await tx.orders.add(
            customer_id=customer.id,
            plan_revision_id=revision.id,
            currency=request.currency,
            period=request.period,
            hostname=request.hostname,
            addons=preview.addons,
            prices=preview.prices,
            actor=actor,
        )
        service = await tx.services.add(
            customer_id=customer.id,
            order_id=order.id,
            plan_revision_id=revision.id,
            hostname=request.hostname,
            target=State.ACTIVE,
        )
        operation = await open_operation(tx, service.id, plan, self.fleet, self._clock)
        await tx.events.add(
            "service.ordered",
            service_id=service.id,
            operation_id=operation.id,
            actor=actor,
            after={"order": order.id, "plan": plan.name, "revision": plan.revision, "addons": preview.addons},
        )
        return Placed(order, service, operation, customer)


async def open_operation(
    tx: Repositories, service_id: int, plan: PlanSettings, fleet: Fleet, clock: Clock
) -> Operation:
    """A provision operation with the deadline of its plan's slowest module."""
    carriers = fleet.by_priority(plan.modules)
    within = max(
        (
            c.limits.task * MANUAL_TASKS
            if c.by_hand
            else c.limits.capacity * 2 + c.settings.install_within + c.limits.within * 2
            for c in carriers
        ),
        default=timedelta(days=2),
    )
    deadline = clock.now() + within + SLACK
    return await tx.operations.add(service_id, Verb.PROVISION, status=Status.OPEN, deadline=deadline, params={})


def _require_stock(preview: Preview) -> None:
    if preview.module is not None:
        return
    reasons = "; ".join(f"{verdict.module}: {verdict.reason}" for verdict in preview.verdicts)
    if all(verdict.asked for verdict in preview.verdicts):
        raise Refused("no_stock", f"no free server for plan {preview.plan.name} ({reasons})", status=409)
    raise Refused("stock_unknown", f"the platforms can't say what is free: {reasons}", status=503)


async def _customer(tx: Repositories, request: OrderRequest, actor: str) -> Customer:
    asked = request.customer
    known = await tx.orders.customer_by_ref(asked.ref)
    if known is None:
        return await tx.orders.add_customer(
            ref=asked.ref, name=asked.name, email=asked.email, currency=request.currency
        )
    if (known.name, known.email) != (asked.name, asked.email):
        await tx.orders.rename_customer(known.id, name=asked.name, email=asked.email)
        await tx.events.add(
            "customer.changed",
            actor=actor,
            before={"ref": known.ref, "name": known.name, "email": known.email},
            after={"ref": known.ref, "name": asked.name, "email": asked.email},
        )
        return await tx.orders.customer(known.id)
    return known


# checking -----------------------------------------------------------------------------------------------------------------------


def _check(raw: Any, fleet: Fleet) -> tuple[OrderRequest, PlanSettings, dict[str, Any]]:
    problems: list[Problem] = []
    request = None
    try:
        request = OrderRequest.model_validate(raw)
    except ValidationError as error:
        problems += [
            _found(found["loc"], found["type"], found["msg"])
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    values: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    name = values.get("plan")
    plan = fleet.settings.plan(name) if isinstance(name, str) else None
    addons: dict[str, Any] = {}
    if plan is None:
        if isinstance(name, str):
            problems.append(_problem("plan", "unknown_plan", f"there is no plan {name[:100]!r}"))
    else:
        problems += _price_problems(plan, values)
        asked = values.get("addons", {})
        if isinstance(asked, Mapping):
            addons, wrong = resolve_addons(plan, asked)
            problems += wrong
    hostname = values.get("hostname")
    if any(hostname == carrier.module.free_hostname for carrier in fleet.carriers.values()):
        problems.append(_problem("hostname", "reserved", f"{hostname} is the name of a free server"))
    if problems or request is None or plan is None:
        unique = {(p["field"], p["code"]): p for p in problems}
        raise Refused("invalid_order", "the order can't be taken", status=422, errors=list(unique.values()))
    return request, plan, addons


def _found(place: tuple[int | str, ...], code: str, message: str) -> Problem:
    if place[:1] == ("addons",) and len(place) > 1:  # what follows are the kinds of value that it could have been
        return _problem(f"addons.{_short(place[1])}", "invalid_addon", "expected a whole number or a text")
    return _problem(".".join(_short(part) for part in place) or "body", code, message)


def _short(name: object) -> str:
    """A name that came in, short enough to be told again."""
    return str(name)[:MOST_OF_A_NAME]


def _price_problems(plan: PlanSettings, values: Mapping[str, Any]) -> list[Problem]:
    currency, period = values.get("currency"), values.get("period")
    if not isinstance(currency, str) or not isinstance(period, str):
        return []
    prices = plan.prices.get(currency)
    if prices is None:
        return [_problem("currency", "not_sold", f"plan {plan.name} is sold in {', '.join(plan.prices)}")]
    if period not in prices.periods:
        return [
            _problem("period", "not_sold", f"in {currency} plan {plan.name} is sold by {', '.join(prices.periods)}")
        ]
    return []


def resolve_addons(plan: PlanSettings, asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Every add-on the service will have, with defaults filled in, and what is wrong with what was asked for."""
    problems = [
        _problem(
            f"addons.{_short(name)}",
            "unknown_addon",
            f"plan {plan.name} has no such add-on; it has {', '.join(plan.addons)}",
        )
        for name in asked
        if name not in plan.addons
    ]
    found: dict[str, Any] = {}
    for name, addon in plan.addons.items():
        value: int | str | None
        if name in COUNTED:
            value, wrong = _counted(name, addon, asked.get(name))
        elif name in CHOSEN or special_block(name):
            value, wrong = _chosen(name, addon, asked.get(name))
        else:
            value = None
            wrong = "can't be ordered yet" if name in asked else None
        if wrong:
            problems.append(_problem(f"addons.{name}", "invalid_addon", wrong))
        elif value is not None:
            found[name] = value
    blocks = [name for name, value in found.items() if special_block(name) and value == special_block(name)]
    problems += [
        _problem(
            f"addons.{name}", "two_blocks", f"can't be had together with {blocks[0]}: a service has one main address"
        )
        for name in blocks[1:]
    ]
    return found, problems


def _counted(name: str, addon: AddonSettings, value: Any) -> tuple[int | None, str | None]:
    if addon.billing == "included":
        if value not in (None, addon.fixed):
            return None, f"is part of the plan: {addon.fixed}, nothing to choose"
        return addon.fixed, None
    if value is None:
        if isinstance(addon.default, int):
            return addon.default, None
        return None, f"expected a whole number from {addon.least(name)} to {addon.most}" if addon.is_required(
            name
        ) else None
    if not isinstance(value, int) or isinstance(value, bool) or not addon.least(name) <= value <= addon.most:
        return None, f"expected a whole number from {addon.least(name)} to {addon.most}"
    return value, None


def _chosen(name: str, addon: AddonSettings, value: Any) -> tuple[str | None, str | None]:
    block = special_block(name)
    if block and addon.billing == "do_not_count":
        return block, None
    default = addon.default if isinstance(addon.default, str) else None
    if addon.billing == "included":
        return (
            (default, None)
            if value in (None, default)
            else (None, f"is part of the plan: {default}, nothing to choose")
        )
    choices = list(addon.values or ()) or ([default] if default else [])
    if value is None:
        if default is None and addon.is_required(name):
            return None, f"expected one of {', '.join(choices)}"
        return default, None
    if value not in choices:
        return None, f"expected one of {', '.join(choices)}"
    return str(value), None


def _prices(plan: PlanSettings, request: OrderRequest, addons: Mapping[str, Any]) -> dict[str, Any]:
    """The prices of this order, frozen: strings in the order's currency. What is not priced costs nothing."""
    price = plan.prices[request.currency]
    frozen: dict[str, Any] = {
        "setup": _text(price.setup),
        "period": str(price.periods[request.period]),
        "addons": {},
    }
    for name, value in addons.items():
        addon = plan.addons[name]
        own = addon.prices.get(request.currency)
        block = special_block(name)
        if own is None or (block and value != block):
            continue
        number = max(0, value - (addon.included or 0)) if isinstance(value, int) else 1
        frozen["addons"][name] = {
            "number": number,
            "setup": _text(own.setup),
            "each": str(own.periods.get(request.period, "0")),
        }
    return frozen


def _text(amount: Decimal | None) -> str:
    """An amount with the digits it was written with."""
    return "0" if amount is None else str(amount)


def _problem(field: str, code: str, message: str) -> Problem:
    return {"field": field, "code": code, "message": message}
