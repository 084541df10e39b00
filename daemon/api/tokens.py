"""Bearer tokens: made, listed, revoked. Only a hash is kept."""

from __future__ import annotations

import secrets
from typing import Annotated

from pydantic import Field

from daemon.api.callers import new_token
from daemon.api.endpoint import ADMIN, Call, NoBody, NoQuery, Reply, Role, Shape, endpoint
from daemon.api.keys import once
from daemon.api.paging import PageQuery, cut
from daemon.api.shapes import Moment, Page
from daemon.domain.errors import Refused
from daemon.provisioning.desk import Also
from daemon.provisioning.requests import Request, Word
from daemon.store.accounts import Token

TAG = "tokens"


class TokenRequest(Request):
    name: Annotated[
        Word | None, Field(description="who uses it; stands in the audit log. Without one it gets a name of its own")
    ] = None
    roles: Annotated[list[Annotated[Role, Field(strict=False)]], Field(min_length=1, max_length=len(Role))]


class TokenShape(Shape):
    id: int
    name: str
    roles: list[str]
    created_at: Moment
    revoked_at: Moment | None

    @classmethod
    def of(cls, token: Token) -> TokenShape:
        return cls(
            id=token.id,
            name=token.name,
            roles=list(token.roles),
            created_at=token.created_at,
            revoked_at=token.revoked_at,
        )


class NewTokenShape(TokenShape):
    token: str = Field(description="shown this once")


class TokenPage(Page[TokenShape]):
    pass


@endpoint("POST", "/v1/tokens", tag=TAG, roles=ADMIN, answer=NewTokenShape, status=201, body=TokenRequest)
async def create_token(call: Call[NoQuery, TokenRequest]) -> Reply:
    """Make a token; it is shown once. A lost answer is no harm: revoke the token and make another."""
    secret = new_token()
    name = call.body.name or f"unnamed-{secrets.token_hex(3)}"  # two of them must stay apart in the audit log
    roles = sorted({role.value for role in call.body.roles})
    async with call.faces.store.transaction() as tx:
        token = await tx.tokens.add(name, secret, roles)
        await tx.events.add(
            "token.created",
            actor=call.caller.actor,
            after={"token": token.id, "name": token.name, "roles": roles},
        )
    shown = TokenShape.of(token).model_dump()
    return Reply(NewTokenShape(token=secret, **shown), 201)


@endpoint("GET", "/v1/tokens", tag=TAG, roles=ADMIN, answer=TokenPage, query=PageQuery)
async def list_tokens(call: Call[PageQuery, NoBody]) -> Reply:
    """All tokens, revoked ones too."""
    after = call.query.after_id()
    found = [token for token in await call.faces.store.read.tokens.all() if token.id > after]
    page, following = cut(found, call.query.limit, lambda token: token.id)
    return Reply(TokenPage(items=[TokenShape.of(token) for token in page], next=following))


@endpoint(
    "DELETE",
    "/v1/tokens/{id}",
    tag=TAG,
    roles=ADMIN,
    answer=None,
    status=204,
    key="optional",
    refusals={409: "it is revoked already"},
)
async def revoke_token(call: Call[NoQuery, NoBody]) -> Reply:
    """Revoke a token; the next request with it is refused."""

    async def work(also: Also) -> None:
        async with call.faces.store.transaction() as tx:
            if not await tx.tokens.revoke(call.id):
                known = any(token.id == call.id for token in await tx.tokens.all())
                if known:
                    raise Refused("revoked", f"token {call.id} is revoked already", status=409)
                raise Refused("no_token", f"there is no token {call.id}", status=404)
            await tx.events.add("token.revoked", actor=call.caller.actor, after={"token": call.id})
            await also(tx, None)

    return await once(call, "DELETE /v1/tokens/{id}", work, lambda _: {}, 204)


ENDPOINTS = (list_tokens, create_token, revoke_token)
