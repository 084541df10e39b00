"""Answers as CSV (RFC 4180), for spreadsheets: `Accept: text/csv`, or `?format=csv`.

A text that a spreadsheet would take for a formula gets an apostrophe in front: a host name such as `=HYPERLINK(...)` must not run at the desk of
the one who opens the file. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from daemon.domain.errors import Refused

CONTENT_TYPE = "text/csv"
PARAMETER = "format"
FORMATS = ("json", "csv")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def wanted(parameter: str | None, accept: str) -> bool:
    """The parameter decides, else what the client takes most gladly. Raises Refused for another format."""
    if parameter is None:
        return _weight(accept, "text/csv") > _weight(accept, "application/json")
    if parameter not in FORMATS:
        errors = [{"field": PARAMETER, "code": "format", "message": f"expected {' or '.join(FORMATS)}"}]
        raise Refused("invalid_query", f"format: expected {' or '.join(FORMATS)}", status=400, errors=errors)
    return parameter == "csv"


def _weight(accept: str, media: str) -> float:
    """How gladly a client takes what it names; whoever takes anything takes JSON."""
    for part in accept.split(","):
        name, *rest = (piece.strip().lower() for piece in part.split(";"))
        if name == media:
            quality = next((piece[2:] for piece in rest if piece.startswith("q=")), "1")
            return float(quality) if re.fullmatch(r"[01](\.[0-9]{0,3})?", quality) else 0.0
    return 0.0


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A heading and rows; lines end as the RFC has it."""
    return row(columns) + "".join(row(values) for values in rows)


def row(values: Iterable[Any]) -> str:
    """One row, its end included."""
    found = io.StringIO()
    csv.writer(found).writerow([cell(value) for value in values])
    return found.getvalue()


def cell(value: Any) -> str:
    """Unknown is empty, lists and mappings are JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def is_list(answer: type[BaseModel] | None) -> bool:
    """A page of a list."""
    return answer is not None and {"items", "next"} <= answer.model_fields.keys()


def of_page(answer: type[BaseModel], body: Mapping[str, Any]) -> str:
    """The items of a page, a column for each field; the fields of a part are `part.field`."""
    (item,) = get_args(answer.model_fields["items"].annotation)
    columns = list(_columns(item, ()))
    return table([".".join(path) for path in columns], [[_at(row, path) for path in columns] for row in body["items"]])


def _columns(model: type[BaseModel], before: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        path = (*before, field.serialization_alias or field.alias or name)
        part = _part(field.annotation)
        if part is None:
            yield path
        else:
            yield from _columns(part, path)


def _part(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, if it holds one, or one or nothing."""
    found = [kind for kind in get_args(annotation) or (annotation,) if kind is not type(None)]
    single = found[0] if len(found) == 1 else None
    within = getattr(annotation, "__origin__", None)
    is_model = isinstance(single, type) and within not in (list, tuple, dict) and issubclass(single, BaseModel)
    return single if is_model else None


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if row is None:
            return None
        row = row[name]
    return row
