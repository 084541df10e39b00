"""Cursor paging: `?limit=` and an opaque `?after=`. New rows never shift what a reader has not seen yet."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from daemon.api.endpoint import Query
from daemon.domain.errors import Refused

T = TypeVar("T")
DEFAULT = 50
MOST = 500
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)


def _whole(value: Any) -> Any:
    """A query's number is digits only: `1.0`, `+1` and ` 1 ` would be understood by some readers and not by others."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("expected a whole number")
    return value


Id = Annotated[int, Field(ge=1, le=2**63 - 1), BeforeValidator(_whole)]


class PageQuery(Query):
    limit: Annotated[int, Field(ge=1, le=MOST, description="items of one page"), BeforeValidator(_whole)] = DEFAULT
    after: Annotated[
        str | None, Field(max_length=200, pattern="^[A-Za-z0-9_-]+$", description="`next` of the page before")
    ] = None

    def after_id(self) -> int:
        """The id to go on after, 0 for the first page."""
        text = self.after_text()
        if not text:
            return 0
        if not _NUMBER.fullmatch(text) or int(text) > 2**63 - 1:
            raise _no_cursor()
        return int(text)

    def after_text(self) -> str:
        if self.after is None:
            return ""
        try:
            text = base64.urlsafe_b64decode(self.after + "=" * (-len(self.after) % 4)).decode()
        except (binascii.Error, ValueError):
            raise _no_cursor() from None
        if not text.startswith("c:"):
            raise _no_cursor()
        return text.removeprefix("c:")


def cursor(place: str | int) -> str:
    return base64.urlsafe_b64encode(f"c:{place}".encode()).decode().rstrip("=")


def cut(found: Sequence[T], limit: int, place: Callable[[T], str | int]) -> tuple[list[T], str | None]:
    """One page out of up to `limit` + 1 items, and the cursor of the next page if there is one."""
    items = list(found[:limit])
    return items, cursor(place(items[-1])) if len(found) > limit else None


def _no_cursor() -> Refused:
    return Refused(
        "bad_cursor",
        "the cursor is not one of ours",
        status=400,
        errors=[{"field": "after", "code": "bad_cursor", "message": "expected `next` of a page"}],
    )
