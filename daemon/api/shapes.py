"""What answers look like. Names are part of the API: more may come, none may go."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, PlainSerializer, WithJsonSchema

from daemon.api.endpoint import Shape
from daemon.domain.address import LIVE_ADDRESS, AddressState, Allocation
from daemon.domain.operation import Operation, Step
from daemon.domain.order import Customer, Order
from daemon.domain.service import Fault, Service
from daemon.domain.task import Task

T = TypeVar("T")

Moment = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class Page(Shape, Generic[T]):
    items: list[T]
    next: str | None = Field(description="cursor of the next page; null on the last one")


class Error(Shape):
    """Why something went wrong, as the journal keeps it."""

    code: str
    message: str

    @classmethod
    def of(cls, error: dict[str, Any] | None) -> Error | None:
        return cls(code=error["code"], message=error["message"]) if error else None


class CustomerShape(Shape):
    id: int
    ref: str
    name: str
    email: str

    @classmethod
    def of(cls, customer: Customer) -> CustomerShape:
        return cls(id=customer.id, ref=customer.ref, name=customer.name, email=customer.email)


class OrderShape(Shape):
    id: int
    plan: str
    customer: CustomerShape
    currency: str
    period: str
    hostname: str
    addons: dict[str, Any] = Field(description="every add-on of the service, defaults filled in")
    prices: dict[str, Any] = Field(description="frozen when it was ordered; amounts are strings in `currency`")
    created_at: Moment
    actor: str
    service: int | None

    @classmethod
    def of(cls, order: Order, plan: str, customer: Customer, service_id: int | None) -> OrderShape:
        return cls(
            id=order.id,
            plan=plan,
            customer=CustomerShape.of(customer),
            currency=order.currency,
            period=order.period,
            hostname=order.hostname,
            addons=order.addons,
            prices=order.prices,
            created_at=order.created_at,
            actor=order.actor,
            service=service_id,
        )


class FaultShape(Shape):
    """Why a person is needed."""

    code: str
    message: str
    since: Moment
    operation: int

    @classmethod
    def of(cls, fault: Fault | None) -> FaultShape | None:
        if fault is None:
            return None
        return cls(code=fault.code, message=fault.message, since=fault.since, operation=fault.operation)


class ServerShape(Shape):
    remote_id: str | None = Field(description="the platform's id; null while no server is chosen")
    hostname: str


class AddressShape(Shape):
    address: str
    family: str
    type: str
    role: str
    parked: bool = Field(description="true when the freed server keeps it as its parking address")

    @classmethod
    def of(cls, allocation: Allocation) -> AddressShape:
        return cls(
            address=allocation.address or "",
            family=allocation.family,
            type=allocation.address_type,
            role=allocation.role.value,
            parked=allocation.state is AddressState.PARKED,
        )


class ServiceShape(Shape):
    id: int
    state: str
    target: str | None = Field(description="the state that an operation is taking it to")
    fault: FaultShape | None
    plan: str
    plan_revision: str = Field(description="content hash of what was sold")
    customer: CustomerShape
    order: int
    module: str | None
    datacenter: str | None
    server: ServerShape
    addresses: list[AddressShape]
    addons: dict[str, Any]
    billing_from: Moment | None
    billing_until: Moment | None
    created_at: Moment

    @classmethod
    def of(
        cls,
        service: Service,
        *,
        plan: tuple[str, str],
        customer: Customer,
        addons: dict[str, Any],
        allocations: list[Allocation],
    ) -> ServiceShape:
        """`plan` is name and revision."""
        live = [held for held in allocations if held.state in LIVE_ADDRESS and held.address]
        return cls(
            id=service.id,
            state=service.state.value,
            target=service.target.value if service.target else None,
            fault=FaultShape.of(service.fault),
            plan=plan[0],
            plan_revision=plan[1],
            customer=CustomerShape.of(customer),
            order=service.order_id,
            module=service.module,
            datacenter=service.datacenter,
            server=ServerShape(remote_id=service.remote_id, hostname=service.hostname),
            addresses=[AddressShape.of(held) for held in live],
            addons=addons,
            billing_from=service.billing_from,
            billing_until=service.billing_until,
            created_at=service.created_at,
        )


class StepShape(Shape):
    name: str
    ordinal: int
    status: str
    attempts: int
    error: Error | None
    began_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, step: Step) -> StepShape:
        return cls(
            name=step.name,
            ordinal=step.ordinal,
            status=step.status.value,
            attempts=step.attempts,
            error=Error.of(step.error),
            began_at=step.created_at,
            finished_at=step.finished_at,
        )


class OperationSummary(Shape):
    id: int
    service: int
    verb: str
    status: str
    phase: str
    deadline: Moment
    waiting_for: str | None
    waiting_since: Moment | None
    due_at: Moment | None = Field(description="when it is looked at next; null: now, or when a person has acted")
    cancel: str | None = Field(description="why it shall stop and undo")
    error: Error | None
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, operation: Operation) -> OperationSummary:
        return cls(**_operation(operation))


class OperationShape(OperationSummary):
    steps: list[StepShape]

    @classmethod
    def full(cls, operation: Operation, steps: list[Step]) -> OperationShape:
        return cls(**_operation(operation), steps=[StepShape.of(step) for step in steps])


def _operation(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "service": operation.service_id,
        "verb": operation.verb.value,
        "status": operation.status.value,
        "phase": operation.phase.value,
        "deadline": operation.deadline,
        "waiting_for": operation.waiting_for,
        "waiting_since": operation.waiting_since,
        "due_at": operation.due_at,
        "cancel": operation.cancel,
        "error": Error.of(operation.error),
        "created_at": operation.created_at,
        "finished_at": operation.finished_at,
    }


class OperationRef(Shape):
    id: int


class OperationAnswer(Shape):
    """The operation that does it."""

    operation: OperationRef

    @classmethod
    def of(cls, operation: Operation) -> OperationAnswer:
        return cls(operation=OperationRef(id=operation.id))


class TaskShape(Shape):
    id: int
    department: str
    service: int | None
    operation: int | None
    step: str | None
    title: str
    instructions: str
    wants: dict[str, str] = Field(description="field of the result -> what to enter")
    preset: dict[str, Any]
    status: str
    result: dict[str, Any] | None
    note: str | None
    created_at: Moment
    closed_at: Moment | None
    closed_by: str | None

    @classmethod
    def of(cls, task: Task) -> TaskShape:
        return cls(
            id=task.id,
            department=task.department,
            service=task.service_id,
            operation=task.operation_id,
            step=task.step,
            title=task.title,
            instructions=task.instructions,
            wants=task.wants,
            preset=task.preset,
            status=task.status.value,
            result=task.result,
            note=task.note,
            created_at=task.created_at,
            closed_at=task.closed_at,
            closed_by=task.closed_by,
        )
