"""What a panel answers, before it is written in one of the wire formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = "str | Element | Mapping[str, Value] | Sequence[Value]"
"""Text, an element with attributes, a nested element, or a repeated element. The empty text is an element without content."""

Row: TypeAlias = dict[str, Value]
Document: TypeAlias = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Element:
    """An element that carries attributes; it has text or children, not both."""

    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, Value] = field(default_factory=dict)


class PanelError(Exception):
    """A panel's refusal: becomes an error document.

    `type` and `object` are what a program goes by, `value` what it is about, the message is for people
    (docs/reference/contracts.md#errors).
    """

    def __init__(self, error_type: str, error_object: str = "", value: str = "", message: str = "") -> None:
        super().__init__(message or f"{error_type}: {error_object} {value}".strip())
        self.type = error_type
        self.object = error_object
        self.value = value


def listing(rows: Sequence[Row], total: int | None = None) -> Document:
    """A list answer: rows and `p_elems`, the number of elements there really are."""
    document: Document = {"elem": rows} if rows else {}
    document["p_elems"] = str(len(rows) if total is None else total)
    return document


def report(band: str, rows: Sequence[Row]) -> Document:
    return {"reportdata": {band: {"elem": rows} if rows else {}}}


def done(**fields: Value) -> Document:
    return {**fields, "ok": ""}


def select(name: str, choices: Sequence[tuple[str, str]]) -> Element:
    """One select list of a form: pairs of key and text."""
    return Element(attributes={"name": name}, children={"val": [Element(text, {"key": key}) for key, text in choices]})


def flag(value: bool) -> str:  # noqa: FBT001 - reads as flag(x)
    return "on" if value else "off"


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def scaled(octets: int, *, with_orig: bool = True) -> Value:
    """Bytes as a panel shows them: text rounded for people ("1.50 GiB"), the exact number in `orig`."""
    size, unit = float(octets), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    text = f"{size:.2f} {_UNITS[unit]}" if unit else f"{octets} B"
    return Element(text, {"orig": str(octets)}) if with_orig else text
