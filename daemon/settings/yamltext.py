"""Values as they would be written in a settings file, and fields in the order people read them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.settings.tree import scalar

_PLAIN = re.compile(r"[A-Za-z0-9/~][A-Za-z0-9 _./:@~+-]*", re.ASCII)


def yaml_text(value: Any) -> str:
    """One value on one line; text is quoted exactly where YAML would read something else."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_text(key)}: {yaml_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(yaml_text(each) for each in value) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and not value.endswith((":", " ")) and ": " not in value and " #" not in value
        return value if plain and isinstance(scalar(value), str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Default of every field that has one, as it would be written, by the name in the file."""
    found = model.__pydantic_serializer__.to_python(model.model_construct(), mode="json", by_alias=True, warnings=False)
    return {key: value for key, value in found.items() if value is not None}


def ordered(model: type[BaseModel]) -> list[tuple[str, str, FieldInfo]]:
    """Fields as (attribute, name in the file, info): name and type first, what is required before the rest."""
    fields = [(name, info.alias or name, info) for name, info in model.model_fields.items()]
    first = {"name": 0, "type": 1}
    return sorted(fields, key=lambda field: (first.get(field[0], 2), not field[2].is_required()))


def is_type(info: FieldInfo) -> bool:
    """`type` has a default in Python only: in a file it says which model reads it."""
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    return choices in {("dcimanager",), ("manual",), ("ipmanager",)}
