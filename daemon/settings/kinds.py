"""What a field takes, in words for people, read off its annotation."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, PlainValidator

from daemon.settings import resources, types

_BY_CHECK: dict[Any, str] = {
    types.parse_duration: "duration",
    types.parse_amount: "amount in quotes",
    types.parse_size: "size",
    types.parse_secret: "`cred:NAME`",
    types.parse_zone: "time zone",
    types.parse_listen: "address:port",
    types.check_url: "URL",
    types.check_pin: "fingerprint",
    types.check_email: "mail address",
    resources.parse_quantity: "quantity",
    resources.check_unit: "unit",
}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that is a block, or None: mappings of blocks are not blocks."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, UnionType, Annotated}:
        return next((found for part in get_args(annotation) if (found := model_in(part))), None)
    return None


def models_below(annotation: Any) -> list[type[BaseModel]]:
    """Every model that appears in an annotation, mappings and lists included."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in models_below(part)]


def kind_of(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    notes = list(metadata)
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        notes = [*more, *notes]
    for note in notes:
        if isinstance(note, AfterValidator | PlainValidator) and note.func in _BY_CHECK:
            return _BY_CHECK[note.func]
    return _plain(annotation, notes)


def _plain(annotation: Any, notes: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in {Union, UnionType}:
        return " or ".join(kind_of(part) for part in arguments if part is not NoneType)
    if origin is tuple:
        return f"list of {kind_of(arguments[0])}"
    if origin is dict:
        inner = "block" if models_below(arguments[1]) else kind_of(arguments[1])
        return f"mapping of {kind_of(arguments[0])} to {inner}"
    if model_in(annotation) is not None:
        return "block"
    if annotation is bool:
        return "true or false"
    if annotation is int:
        return f"whole number{_bounds(notes)}"
    return "folder" if getattr(annotation, "__name__", "") == "Path" else "text"


def _bounds(notes: list[Any]) -> str:
    parts = [part for note in notes for part in (getattr(note, "metadata", None) or [note])]
    low = max((part.ge for part in parts if getattr(part, "ge", None) is not None), default=None)
    high = min((part.le for part in parts if getattr(part, "le", None) is not None), default=None)
    if high is None or high >= 1_000_000_000:
        return f" from {low}" if low else ""
    return f" from {low} to {high}"
