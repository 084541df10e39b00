"""Usage: what a service used, its samples, and a reading now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from daemon.api import csv_answer, services
from daemon.api.endpoint import (
    EVERY_ROLE,
    OPERATING,
    Call,
    NoBody,
    NoQuery,
    Query,
    Reply,
    Shape,
    Written,
    endpoint,
    plain,
)
from daemon.api.shapes import Moment
from daemon.domain.errors import Refused
from daemon.domain.metering import Measured, coverage
from daemon.domain.periods import Grain
from daemon.domain.resources import Resource, UnitError
from daemon.domain.service import Service
from daemon.provisioning.idempotency import Answer, Effect
from daemon.settings.types import format_duration, parse_duration
from daemon.stats.drawing import POINT_FIELDS, SAMPLE_FIELDS, Beside, Drawn, Form
from daemon.stats.terms import Terms
from daemon.stats.usage import Span, Step, Used, check_range
from daemon.store.repositories import Repositories

TAG = "usage"
LATEST_YEAR = 9000
"""Far enough from the end of the calendar for any arithmetic on it."""


def _moment(value: Any) -> Any:
    """ISO 8601 with an offset, nothing else: a time without one means another moment on each side of a border."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a time such as 2026-01-31T00:00:00Z (write + as %2B in a URL)") from None
    if moment.tzinfo is None:
        raise ValueError("expected a time with an offset, such as 2026-01-31T00:00:00Z")
    if not 1000 <= moment.year <= LATEST_YEAR:
        raise ValueError(f"expected a year from 1000 to {LATEST_YEAR}")
    return moment


AskedMoment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=31)
_GRAINS = tuple(grain.value for grain in Grain)


def _resolution(value: Any) -> Any:
    """A word, or a duration as settings have it."""
    if not isinstance(value, str) or value in ("raw", *_GRAINS):
        return value
    expected = f"expected raw, a duration from 1m to 31d such as 5m, or one of {', '.join(_GRAINS)}"
    try:
        length = parse_duration(value)
    except ValueError:
        raise ValueError(expected) from None
    if not SHORTEST <= length <= LONGEST:
        raise ValueError(expected)
    return value


class RangeQuery(Query):
    since: Annotated[AskedMoment | None, Field(alias="from", description="default: billing_from")] = None
    until: Annotated[AskedMoment | None, Field(description="default: billing_until, else now")] = None
    period: Annotated[
        str | None,
        Field(
            max_length=40,
            description="instead of `from` and `until`: a period of the billing zone, such as 2026-11, 2026-W47, 2026-Q4, today, last month",
        ),
    ] = None


class UsageQuery(RangeQuery):
    resolution: Annotated[
        Literal["raw", "hour", "day", "week", "month", "quarter", "half_year", "year"],
        Field(description="how long a point is; raw: one for each reading"),
    ] = "raw"


class SamplesQuery(RangeQuery):
    metric: Annotated[str, Field(max_length=63, description="code of a resource of the service")]
    resolution: Annotated[
        str | None,
        BeforeValidator(_resolution),
        Field(
            description="raw, a duration such as 5m or 6h, or hour to year; default: one that gives at most 2000 points"
        ),
    ] = None


class PointShape(Shape):
    """What is known of a step. Steps of which nothing is known are left out; a value that is not known is null, never 0."""

    since: Moment = Field(alias="from")
    until: Moment
    value: str | None = Field(description="in `unit`: what `total` is of the whole time, of this step")
    average: str | None = Field(description="in `rate_unit`, three decimals: rate of traffic, or level")
    maximum: str | None
    minimum: str | None
    percentile: str | None = Field(description="the `percent`-th")
    coverage: str | None = Field(description="percent of the step that is known")


class ResourceUsage(Shape):
    resource: str
    kind: str
    unit: str
    total: str | None = Field(
        description="exact, never rounded: a volume, an integral, a level on average, a percentile, the highest stock; null when nothing is known"
    )
    base_unit: str
    base_total: str | None = Field(description="the same as a whole number of base units")
    rate_unit: str | None = Field(description="unit of average, maximum, minimum and percentile of the points")
    percent: int | None = Field(description="which percentile")
    coverage: str | None = Field(description="percent of the time that is known; null when nothing is")
    count: int = Field(description="readings that were counted")
    expected: int = Field(description="readings that there should be")
    classes: dict[str, int] = Field(description="quality class -> how many readings")
    points: list[PointShape]


class UsageShape(Shape):
    service: int
    since: Moment | None = Field(alias="from", description="null for a service that was never billed")
    until: Moment | None
    zone: str | None = Field(description="the billing zone: where hours, days and months begin")
    resolution: str
    resources: list[ResourceUsage]


class SampleColumns(Shape):
    """A list for each field, all of the same length. `at`, `base_value` and `class` of samples (raw), the others of steps, see PointShape."""

    at: list[Moment] | None = None
    since: list[Moment] | None = Field(default=None, alias="from")
    until: list[Moment] | None = None
    value: list[str | None] = Field(description="in `unit`; of a sample what the meter showed")
    base_value: list[str] | None = Field(default=None, description="the same as a whole number of base units")
    quality: list[str] | None = Field(default=None, alias="class", description="the quality class that a bill gives it")
    average: list[str | None] | None = None
    maximum: list[str | None] | None = None
    minimum: list[str | None] | None = None
    percentile: list[str | None] | None = None
    coverage: list[str | None] | None = None


class SamplesShape(Shape):
    service: int
    metric: str
    since: Moment | None = Field(alias="from", description="null for a service that was never billed")
    until: Moment | None
    zone: str | None
    resolution: str | None = Field(description="the one that was asked for, or chosen")
    unit: str
    base_unit: str
    rate_unit: str | None
    count: int = Field(description="length of each column")
    columns: SampleColumns


class RoundShape(Shape):
    """What a reading of one module brought."""

    module: str
    servers: int
    samples: int
    missing: int = Field(description="services without a reading; their volume comes with the next one")
    problems: list[str]
    classes: dict[str, int] = Field(description="quality class -> how many of the samples")


class RoundsShape(Shape):
    items: list[RoundShape]


_GONE = {409: "the module of the service is not configured: nobody knows what its readings mean"}


@endpoint(
    "GET",
    "/v1/services/{id}/usage",
    tag=TAG,
    roles=EVERY_ROLE,
    answer=UsageShape,
    query=UsageQuery,
    refusals=_GONE,
    csv=True,
)
async def get_usage(call: Call[UsageQuery, NoBody]) -> Reply:
    """What a service used, per resource."""
    service, query, desk = await services.one(call.faces, call.id), call.query, call.faces.usage
    _one_way(query)
    if service.billing_from is None:
        return await _never_billed(call, service)
    terms = await desk.terms(service)
    span = desk.span(terms, query.since, query.until, query.period)
    step = None if query.resolution == "raw" else Grain(query.resolution)
    found = await desk.used(terms, span, step, Form.CSV if call.csv else Form.OBJECTS)
    if call.csv:
        return Reply(Written(_usage_csv(found, span), csv_answer.CONTENT_TYPE))
    heads = [_head(used.billable.resource, used, span) for used in found]
    resources = [_joined(head, "points", used.line.text) for head, used in zip(heads, found, strict=True)]
    body = _seen(service, span, terms) | {"resolution": query.resolution}
    return Reply(Written(_joined(body, "resources", f"[{','.join(resources)}]")))


def _one_way(query: RangeQuery) -> None:
    if query.period is not None and (query.since is not None or query.until is not None):
        message = "expected a period, or from and until, not both"
        errors = [{"field": "period", "code": "two_ranges", "message": message}]
        raise Refused("invalid_query", f"period: {message}", status=400, errors=errors)
    check_range(query.since, query.until)


async def _never_billed(call: Call[UsageQuery, NoBody], service: Service) -> Reply:
    sold = await call.faces.usage.sold(service)
    if call.csv:
        return Reply(Written(csv_answer.table(USAGE_COLUMNS, ()), csv_answer.CONTENT_TYPE))
    resources = [_head(resource, None, None) | {"points": []} for resource in sold]
    return Reply(_seen(service, None, None) | {"resolution": call.query.resolution, "resources": resources})


def _seen(service: Service, span: Span | None, terms: Terms | None) -> dict[str, Any]:
    return {
        "service": service.id,
        "from": span.since.isoformat() if span else None,
        "until": span.until.isoformat() if span else None,
        "zone": str(terms.zone) if terms else None,
    }


def _head(resource: Resource, used: Used | None, span: Span | None) -> dict[str, Any]:
    """Everything but the points."""
    measured = used.measured if used is not None and span is not None and not span.empty else None
    return {
        "resource": resource.code,
        "kind": resource.kind.value,
        "unit": resource.unit,
        "total": _total(resource, measured),
        "base_unit": resource.base_unit,
        "base_total": None if measured is None or measured.quantity is None else str(measured.quantity),
        "rate_unit": _unit(used.beside) if used else None,
        "percent": used.billable.percent if used else None,
        "coverage": _coverage(measured, span),
        "count": measured.count if measured else 0,
        "expected": measured.expected if measured else 0,
        "classes": {quality.value: count for quality, count in measured.classes.items()} if measured else {},
    }


def _unit(beside: Beside | None) -> str | None:
    return None if beside is None else beside.unit


def _total(resource: Resource, measured: Measured | None) -> str | None:
    if measured is None or measured.quantity is None:
        return None
    try:
        return format(resource.shown(measured.quantity), "f")
    except UnitError:  # of a unit in which it never comes out even
        return format(resource.rounded(measured.quantity, 3), "f")


def _coverage(measured: Measured | None, span: Span | None) -> str | None:
    if measured is None or span is None or measured.quantity is None:
        return None
    return _percent(coverage(measured.covered, span.since, span.until))


def _percent(share: Decimal | None) -> str | None:
    return None if share is None else str(share)


def _joined(body: Mapping[str, Any], field: str, text: str) -> str:
    """The JSON of a body with one more field, which is JSON already."""
    head = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return f'{head[:-1]},"{field}":{text}}}'


# CSV: one table, a line with the total of each resource before those of its points


USAGE_COLUMNS = ("row", "resource", "unit", "rate_unit", *POINT_FIELDS)


def _usage_csv(found: list[Used], span: Span) -> str:
    return csv_answer.table(USAGE_COLUMNS, ()) + "".join(line for used in found for line in _usage_lines(used, span))


def _usage_lines(used: Used, span: Span) -> Iterator[str]:
    head = _head(used.billable.resource, used, span)
    begin = [head["resource"], head["unit"], head["rate_unit"]]
    total = [span.since.isoformat(), span.until.isoformat(), head["total"], *[None] * 4, head["coverage"]]
    yield csv_answer.row(["total", *begin, *total])
    before = csv_answer.row(["point", *begin]).removesuffix("\r\n")
    yield from (f"{before},{line}" for line in used.line.text.splitlines(keepends=True))


# Samples


@endpoint(
    "GET",
    "/v1/services/{id}/samples",
    tag=TAG,
    roles=EVERY_ROLE,
    answer=SamplesShape,
    query=SamplesQuery,
    refusals=_GONE,
    csv=True,
)
async def get_samples(call: Call[SamplesQuery, NoBody]) -> Reply:
    """The samples of one metric of a service, or its line in steps of any length."""
    service, query, desk = await services.one(call.faces, call.id), call.query, call.faces.usage
    _one_way(query)
    if service.billing_from is None:
        return await _no_samples(call, service)
    terms = await desk.terms(service)
    resource = desk.resource(terms, query.metric)
    span = desk.span(terms, query.since, query.until, query.period)
    form = Form.CSV if call.csv else Form.COLUMNS
    step = _step(query.resolution) if query.resolution else desk.good_step(terms, query.metric, span)
    if step is None:
        return _samples(
            call, _seen(service, span, terms), resource, None, await desk.samples(terms, query.metric, span, form)
        )
    line = await desk.line(terms, query.metric, span, step, form)
    return _samples(call, _seen(service, span, terms), resource, step, line)


def _step(resolution: str) -> Step:
    if resolution == "raw":
        return None
    return Grain(resolution) if resolution in _GRAINS else parse_duration(resolution)


def _name(step: Step) -> str:
    if step is None:
        return "raw"
    return step.value if isinstance(step, Grain) else format_duration(step)


async def _no_samples(call: Call[SamplesQuery, NoBody], service: Service) -> Reply:
    sold = {resource.code: resource for resource in await call.faces.usage.sold(service)}
    resource = call.faces.usage.among(sold, call.query.metric)
    step = _step(call.query.resolution) if call.query.resolution else Grain.DAY
    fields = SAMPLE_FIELDS if step is None else POINT_FIELDS
    text = "" if call.csv else json.dumps({name: [] for name in fields})
    return _samples(call, _seen(service, None, None), resource, step, Drawn(None, 0, text))


def _samples(
    call: Call[SamplesQuery, NoBody], seen: dict[str, Any], resource: Resource, step: Step, line: Drawn
) -> Reply:
    beside = None if step is None else call.faces.usage.beside(resource)
    if call.csv:
        fields = SAMPLE_FIELDS if step is None else POINT_FIELDS
        units = csv_answer.row([resource.code, resource.unit, *([] if step is None else [_unit(beside)])]).removesuffix(
            "\r\n"
        )
        columns = ("metric", "unit", *(() if step is None else ("rate_unit",)), *fields)
        rows = (f"{units},{one}" for one in line.text.splitlines(keepends=True))
        return Reply(Written(csv_answer.table(columns, ()) + "".join(rows), csv_answer.CONTENT_TYPE))
    head = {
        "service": seen["service"],
        "metric": resource.code,
        **seen,
        "resolution": _name(step),
        "unit": resource.unit,
        "base_unit": resource.base_unit,
        "rate_unit": _unit(beside),
        "count": line.count,
    }
    return Reply(Written(_joined(head, "columns", line.text)))


@endpoint("POST", "/v1/usage/poll", tag=TAG, roles=OPERATING, answer=RoundsShape, key="optional")
async def poll_usage(call: Call[NoQuery, NoBody]) -> Reply:
    """Read the counters of all modules now."""

    async def prepare() -> Effect:
        rounds = await call.faces.collector.poll()
        answer = RoundsShape(items=[RoundShape(**made.as_dict()) for made in rounds])

        async def effect(_tx: Repositories) -> Answer:
            return 200, plain(answer)

        return effect

    status, body = await call.faces.answers.once(call.key, "POST /v1/usage/poll", None, prepare)
    return Reply(body, status)


ENDPOINTS = (get_usage, get_samples, poll_usage)
