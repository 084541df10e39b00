"""Error documents as exceptions (docs/reference/contracts.md#errors).

A panel's refusal means that the call was not executed. What a program may go by is `type`, `object` and `value`; the message is
translated text, shown and never matched.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from daemon.coremanager.documents import Elem, text_of
from daemon.domain.errors import Permanent, Unhealthy

AUTH_ERRORS = frozenset({"access", "auth", "badpassword"})
MISSING_ERRORS = frozenset({"missed"})

_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error document says. `type` is as it came, cleaned of anything that is no word."""

    type: str
    object: str
    value: str
    message: str

    def without(self, secrets: Collection[str]) -> Refusal:
        """The same with every one of `secrets` blotted out: panels repeat what they were sent."""
        return Refusal(self.type, _blot(self.object, secrets), _blot(self.value, secrets), _blot(self.message, secrets))


class PanelError(Permanent):
    """The panel refused the call: surely not executed. `code` is `panel_` and the panel's own error type."""

    def __init__(self, system: str, func: str, refusal: Refusal) -> None:
        super().__init__(f"panel_{refusal.type}", _sentence(system, func, refusal), **_context(system, func, refusal))
        self.refusal = refusal


class NotThereError(PanelError):
    """No such element."""


class AlreadyThereError(PanelError):
    """An element with that name is there already."""


class PanelUnhealthyError(Unhealthy):
    """The panel refuses our login or right."""

    def __init__(self, system: str, func: str, refusal: Refusal) -> None:
        super().__init__(f"panel_{refusal.type}", _sentence(system, func, refusal), **_context(system, func, refusal))
        self.refusal = refusal


def read_refusal(error: Elem) -> Refusal:
    """Lenient about where things stand: `value` and `object` as attribute or `param`, `msg` wrapped or missing."""
    params = {param.get("name"): text_of(param) for param in error.raw.findall("param")}
    children = {name: error.text(name) or "" for name in ("type", "object", "value", "msg")}

    def field(name: str) -> str:
        return (error.attribute(name) or params.get(name) or children[name])[:_LONGEST]

    message = children["msg"] or _inner_message(error) or error.attribute("msg") or ""
    return Refusal(_word(field("type")), field("object"), field("value"), message[:_LONGEST])


def error_of(
    system: str,
    func: str,
    refusal: Refusal,
    *,
    auth: Collection[str] = AUTH_ERRORS,
    missing: Collection[str] = MISSING_ERRORS,
) -> PanelError | PanelUnhealthyError:
    """The exception for a refusal; `auth` and `missing` are the error types that the settings count as such."""
    if refusal.type in auth:
        return PanelUnhealthyError(system, func, refusal)
    if refusal.type in missing:
        return NotThereError(system, func, refusal)
    if refusal.type == "exists":
        return AlreadyThereError(system, func, refusal)
    return PanelError(system, func, refusal)


def _inner_message(error: Elem) -> str:
    """Some answers wrap the message once more (`msg` in `msg`)."""
    inner = error.raw.find("msg/msg")
    return "" if inner is None else text_of(inner)


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text.strip())[:64] or "unnamed"


def _sentence(system: str, func: str, refusal: Refusal) -> str:
    about = " ".join(part for part in (refusal.object, refusal.value) if part)
    text = f"{system} refused {func}: {refusal.type}" + (f" ({about})" if about else "")
    return f"{text}: {refusal.message}" if refusal.message else text


def _context(system: str, func: str, refusal: Refusal) -> dict[str, str]:
    return {"system": system, "func": func, "type": refusal.type, "object": refusal.object, "value": refusal.value}


def _blot(text: str, secrets: Collection[str]) -> str:
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
