"""One entry of the API: what it is called, who may call it, what goes in and what comes out. OpenAPI is made from the same words."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict
from yarl import URL

from daemon.api import csv_answer
from daemon.api.deps import Faces
from daemon.api.strictjson import PLAIN, Rules


class Role(StrEnum):
    """What a token may do. Every role may read; admin means all."""

    READ = "read"
    ORDER = "order"
    OPERATE = "operate"
    BILL = "bill"
    ADMIN = "admin"


EVERY_ROLE = frozenset(Role)
ORDERING = frozenset({Role.ORDER, Role.ADMIN})
OPERATING = frozenset({Role.OPERATE, Role.ADMIN})
ORDERING_OR_OPERATING = ORDERING | OPERATING
BILLING = frozenset({Role.BILL, Role.ADMIN})
ADMIN = frozenset({Role.ADMIN})


class Query(BaseModel):
    """Parameters after the question mark; what isn't named is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shape(BaseModel):
    """A piece of an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)


class NoQuery(Query):
    """Takes no parameters."""


class NoBody(BaseModel):
    """Takes no body."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Anything(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="allow")


Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class Caller:
    """Who asks: `token:<name>`, or `uid:<number>` over the local socket."""

    actor: str
    roles: frozenset[Role]


@dataclass(frozen=True)
class Call(Generic[Q, B]):
    """One request, checked."""

    faces: Faces
    caller: Caller
    ids: Mapping[str, int]
    query: Q
    body: B
    raw: Any
    """The body as JSON; its own use case checks it where the entry says `raw_body`."""
    key: str | None
    """The Idempotency-Key."""
    csv: bool = False
    """CSV is asked for, of an entry that gives it."""

    @property
    def id(self) -> int:
        return self.ids["id"]


@dataclass(frozen=True)
class Written:
    """An answer that is text already."""

    text: str
    media: str = "application/json"


@dataclass(frozen=True)
class Reply:
    body: Any
    """A Shape, plain JSON, or Written."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Key = Literal["none", "optional", "required"]
Handler = Callable[[Call[Any, Any]], Awaitable[Reply]]
RawHandler = Callable[[Faces, web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Endpoint:
    """`roles` None: no login. `media` other than JSON goes with a raw handler, which makes its own answer."""

    method: str
    path: str
    tag: str
    summary: str
    roles: frozenset[Role] | None
    handler: Handler | None = None
    raw_handler: RawHandler | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] = NoBody
    raw_body: bool = False
    key: Key = "none"
    refusals: Mapping[int, str] = field(default_factory=dict)
    """Statuses of its own beside those that every entry of its kind may answer."""
    media: str = "application/json"
    rules: Rules = PLAIN
    """How the body is read."""
    others: Mapping[int, str] = field(default_factory=dict)
    """Further good statuses, with the same answer."""
    own_csv: bool = False
    """Its handler gives CSV where `call.csv` says so; lists give it by themselves."""

    @property
    def csv(self) -> bool:
        """Whether it can be asked for as CSV."""
        return self.own_csv or (self.method == "GET" and csv_answer.is_list(self.answer))

    @property
    def name(self) -> str:
        handler = self.handler or self.raw_handler
        assert handler is not None
        return handler.__name__

    @property
    def takes_body(self) -> bool:
        return self.body is not NoBody


def endpoint(
    method: str,
    path: str,
    *,
    tag: str,
    roles: frozenset[Role],
    answer: type[BaseModel] | None,
    status: int = 200,
    query: type[Q] = NoQuery,  # type: ignore[assignment]  # the default of a type variable
    body: type[B] = NoBody,  # type: ignore[assignment]  # as above
    raw_body: bool = False,
    key: Key = "none",
    refusals: Mapping[int, str] | None = None,
    rules: Rules = PLAIN,
    others: Mapping[int, str] | None = None,
    csv: bool = False,
) -> Callable[[Callable[[Call[Q, B]], Awaitable[Reply]]], Endpoint]:
    """Makes an entry of a function; the first line of its docstring is the summary."""

    def make(handler: Callable[[Call[Q, B]], Awaitable[Reply]]) -> Endpoint:
        return Endpoint(
            method=method,
            path=path,
            tag=tag,
            summary=summary_of(handler),
            roles=roles,
            handler=handler,
            answer=answer,
            status=status,
            query=query,
            body=body,
            raw_body=raw_body,
            key=key,
            refusals=refusals or {},
            rules=rules,
            others=others or {},
            own_csv=csv,
        )

    return make


def plain_endpoint(
    method: str, path: str, *, tag: str, media: str, answer: type[BaseModel] | None = None, refusals: Mapping[int, str]
) -> Callable[[RawHandler], Endpoint]:
    """An entry without login that makes its own answer."""

    def make(handler: RawHandler) -> Endpoint:
        return Endpoint(
            method=method,
            path=path,
            tag=tag,
            summary=summary_of(handler),
            roles=None,
            raw_handler=handler,
            answer=answer,
            refusals=refusals,
            media=media,
        )

    return make


def summary_of(handler: Callable[..., object]) -> str:
    text = (handler.__doc__ or "").strip().splitlines()
    if not text:
        raise ValueError(f"{handler.__name__} needs a docstring: it is what the reference says")
    return text[0].removesuffix(".")


def plain(body: Any) -> Any:
    """The JSON of an answer."""
    return body.model_dump(mode="json", by_alias=True) if isinstance(body, BaseModel) else body


def response(reply: Reply) -> web.Response:
    if reply.status == 204:
        return web.Response(status=204, headers=reply.headers)
    if isinstance(reply.body, Written):
        written = reply.body
        return web.Response(
            status=reply.status, text=written.text, content_type=written.media, charset="utf-8", headers=reply.headers
        )
    text = json.dumps(plain(reply.body), ensure_ascii=False, separators=(",", ":"))
    return web.Response(status=reply.status, text=text, content_type="application/json", headers=reply.headers)


def page_as_csv(entry: Endpoint, reply: Reply, url: URL) -> Reply:
    """A page of a list as CSV; the address of the next one stands in `Link`."""
    assert entry.answer is not None
    body = plain(reply.body)
    headers = dict(reply.headers)
    if body["next"] is not None:
        headers["Link"] = f'<{url.update_query(after=body["next"]).relative()}>; rel="next"'
    return Reply(Written(csv_answer.of_page(entry.answer, body), csv_answer.CONTENT_TYPE), reply.status, headers)
