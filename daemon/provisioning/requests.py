"""What a caller may ask for, as models; every text is bounded and free of control characters."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
MAX_ADDON_NAMES = 64


def _plain(value: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("expected text without control characters")
    if not value.strip():
        raise ValueError("expected text, got nothing")
    return value


def _hostname(value: str) -> str:
    labels = value.split(".")
    if len(labels) < 2 or not all(HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError("expected a full host name in lower case, such as a.example.com")
    return value


def _email(value: str) -> str:
    if not EMAIL.fullmatch(value):
        raise ValueError("expected an email address")
    return value


Plain = AfterValidator(_plain)
Hostname = Annotated[str, Field(max_length=253), AfterValidator(_hostname)]
Email = Annotated[str, Field(max_length=254), Plain, AfterValidator(_email)]
Ref = Annotated[str, Field(max_length=200), Plain]
PersonName = Annotated[str, Field(max_length=200), Plain]
Word = Annotated[str, Field(max_length=100), Plain]
Reason = Annotated[str, Field(max_length=2000)]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CustomerRequest(Request):
    ref: Annotated[Ref, Field(description="your own key of the customer")]
    name: PersonName
    email: Email


AddonValue = Annotated[int, Field(ge=0, le=65536)] | Annotated[str, Field(max_length=400)]


class OrderRequest(Request):
    """One order of one service."""

    plan: Word
    customer: CustomerRequest
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217")]
    period: Annotated[
        str, Field(max_length=20, description="day, month, quarter, half_year or year, as the plan is sold")
    ]
    hostname: Annotated[Hostname, Field(description="full host name of the server, lower case")]
    addons: Annotated[dict[Word, AddonValue], Field(max_length=MAX_ADDON_NAMES)] = {}


class ReasonRequest(Request):
    """Why a person wants it; goes into the audit log."""

    reason: Reason = ""


class WhyRequest(Request):
    """Who steps in says why: it stands in the audit log beside the name."""

    reason: Annotated[str, Field(min_length=1, max_length=2000), Plain]


class DoneRequest(WhyRequest):
    """The current step was done by hand; `result` where the step gives something, such as {"address": "192.0.2.7"}."""

    result: Annotated[dict[Word, Any], Field(max_length=20)] | None = None


class TaskResult(Request):
    """What a person did. `result` has the fields that the task wants; a plain word such as "done" is for tasks that want none."""

    result: (
        Annotated[dict[Word, Annotated[str, Field(max_length=400)]], Field(max_length=20)]
        | Annotated[str, Field(max_length=400), Plain]
    ) = {}
    note: Reason = ""

    @property
    def fields(self) -> dict[str, str]:
        return {} if isinstance(self.result, str) else self.result

    @property
    def said(self) -> str:
        """The note, with the plain word in front of it."""
        word = self.result if isinstance(self.result, str) else ""
        return ": ".join(part for part in (word, self.note) if part)
