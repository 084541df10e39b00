"""Reads a body as JSON, and refuses what two readers might understand in two ways."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from aiohttp import web

from daemon.domain.errors import Refused

LARGEST = 1024 * 1024
DEEPEST = 32
MOST = 2**63 - 1
APART = 64 * 1024
"""Bytes from which on a body is parsed in a thread, so that others are served meanwhile."""


@dataclass(frozen=True)
class Rules:
    """What an entry takes. `whole` false: values that can't be stored are the entry's to find, item by item."""

    largest: int = LARGEST
    media: tuple[str, ...] = ("application/json",)
    whole: bool = True


PLAIN = Rules()


async def read(request: web.Request, rules: Rules = PLAIN) -> Any:
    """The body's value; an empty body is `{}`. Raises Refused with 400, 413, 415 or 422."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused("content_encoding", "send the body unpacked", status=415)
    if not request.body_exists:
        return {}
    try:
        data = await request.clone(client_max_size=rules.largest).read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused("too_large", f"the body is larger than {rules.largest >> 20} MiB", status=413) from None
    if not data:
        return {}
    if request.content_type not in rules.media or (request.charset or "utf-8").lower() not in {"utf-8", "utf8"}:
        wanted = " or ".join(rules.media)
        raise Refused("content_type", f"expected Content-Type: {wanted}, in UTF-8", status=415)
    if len(data) < APART:
        return parse(data, whole=rules.whole)
    return await asyncio.to_thread(parse, data, whole=rules.whole)


def parse(data: bytes, *, whole: bool = True) -> Any:
    """Raises Refused: 400 for what is not JSON, 422 naming each text or number that can't be stored (not unless `whole`)."""
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError:
        raise _bad("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise _bad("the body is not JSON: a number has too many digits") from None
    if whole:
        check(value)
    return value


def check(value: Any) -> None:
    """Refuse nesting without end, and name every text or number that no column can hold."""
    errors: list[dict[str, str]] = []
    waiting: list[tuple[Any, str, int]] = [(value, "", 0)]
    while waiting:
        part, place, depth = waiting.pop()
        if depth > DEEPEST:
            raise _too_deep()
        if isinstance(part, dict):
            errors += [_error(place, "bad_text", _TEXT) for key in part if not storable(key)]
            waiting += [(item, f"{place}.{key}" if place else key, depth + 1) for key, item in part.items()]
        elif isinstance(part, list):
            waiting += [
                (item, f"{place}.{number}" if place else str(number), depth + 1) for number, item in enumerate(part)
            ]
        elif isinstance(part, str) and not storable(part):
            errors.append(_error(place, "bad_text", _TEXT))
        elif isinstance(part, int) and not -MOST <= part <= MOST:
            errors.append(_error(place, "too_large", "expected a number of at most 64 bits"))
    if errors:
        raise Refused("invalid_body", "the body holds values that can't be stored", status=422, errors=errors)


_TEXT = "expected text without NUL and without lone surrogates"


def storable(text: str) -> bool:
    """Whether every database takes this text."""
    return "\x00" not in text and not any(0xD800 <= ord(c) <= 0xDFFF for c in text if c > "\ud7ff")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add gives None, which is what is wanted
        field = twice[:100]
        raise Refused(
            "duplicate_key",
            "the body names a key twice",
            status=400,
            errors=[{"field": field, "code": "duplicate_key", "message": "expected each key once"}],
        )
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _bad(f"the body is not JSON: {text[:40]} is out of range")
    return number


def _no_constant(name: str) -> NoReturn:
    raise _bad(f"the body is not JSON: {name} is not a JSON value")


def _bad(message: str) -> Refused:
    return Refused("bad_json", message, status=400)


def _too_deep() -> Refused:
    return Refused("too_deep", f"the body is nested more than {DEEPEST} levels deep", status=400)


def _error(place: str, code: str, message: str) -> dict[str, str]:
    return {"field": place or "body", "code": code, "message": message}
