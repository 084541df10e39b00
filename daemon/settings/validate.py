"""One tree of one file -> a frozen model, or problems that say where, what was expected and what came."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from daemon.settings.base import Place, SettingsModel, about_field
from daemon.settings.problems import Problem
from daemon.settings.tree import Node

ModelT = TypeVar("ModelT", bound=BaseModel)

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text (numbers and true or false need quotes to be text)",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to settings",
    "model_type": "a mapping of names to settings",
    "mapping_type": "a mapping of names to settings",
}
# What came is not shown for these: it may be a secret that somebody typed in.
_SECRET_WORDS = ("password", "secret", "token", "authinfo")


def validate(model: type[ModelT], root: Node, shown: str) -> tuple[ModelT | None, list[Problem]]:
    try:
        return model.model_validate(root.data), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    problems = [problem for detail in details for problem in _explain(detail, model, root, shown)]
    return None, problems + _rules_of_the_rest(model, details, root, shown)


def _rules_of_the_rest(model: type[ModelT], details: list[ErrorDetails], root: Node, shown: str) -> list[Problem]:
    """Rules over several entries don't run while one entry has a wrong type: judge the entries without it, too."""
    if not issubclass(model, SettingsModel):
        return []
    wrong = {tuple(detail["loc"][:2]) for detail in details if detail["loc"] and detail["loc"][0] in model.judged_apart}
    if not wrong:
        return []
    data = dict(root.data)
    for name in {str(place[0]) for place in wrong}:
        if not isinstance(data[name], dict):
            return []
        data[name] = {key: value for key, value in data[name].items() if (name, key) not in wrong}
    try:
        model.model_validate(data)
    except ValidationError as error:
        rest = error.errors(include_url=False, include_input=False)
        rules = [detail for detail in rest if detail["type"] == "faults" and detail["loc"][:1]]
        return [problem for detail in rules for problem in _explain(detail, model, root, shown)]
    return []


def problem_at(root: Node, shown: str, place: Place, message: str, *, key: bool = False) -> Problem:
    """A problem at the value of `place`, or at what is nearest to it in the file; with `key`, at the name itself."""
    path = _existing(root, place)
    node = _walk(root, path)
    line, column = node.line, node.column
    if path and isinstance(path[-1], str) and (key or node.data is None or len(path) < len(place)):
        line, column = _walk(root, path[:-1]).keys[path[-1]]
    return Problem(shown, line, column, field_name(place), message)


def field_name(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _explain(detail: Any, model: type[BaseModel], root: Node, shown: str) -> list[Problem]:
    place = _clean(root, tuple(detail["loc"]), detail["type"])
    context = detail.get("ctx", {})
    if detail["type"] == "faults":
        # A rule broken by a value that isn't in the file: it is the default.
        hint = ", its default" if _existing(root, place) != place else ""
        return [problem_at(root, shown, (*place, *inner), text + hint) for inner, text in context["faults"]]
    if detail["type"] == "extra_forbidden":
        return [problem_at(root, shown, place, _unknown(model, place), key=True)]
    if detail["type"] == "missing":
        about = about_field(model, place[0]) if len(place) == 1 else None
        return [problem_at(root, shown, place, (about and about.if_missing) or "is required")]
    if place and place[-1] == "[key]":
        place = place[:-1]
        expected = _expected(detail["type"], context, detail["msg"])
        return [problem_at(root, shown, place, f'expected {expected}, got "{place[-1]}"', key=True)]
    got = "" if _is_secret(place) else f", got {_walk(root, _existing(root, place)).show()}"
    expected = _expected(detail["type"], context, detail["msg"])
    return [problem_at(root, shown, place, f"expected {expected}{got}")]


def _expected(kind: str, context: dict[str, Any], message: str) -> str:
    if kind in {"expected", "literal_error"}:
        return str(context["expected"]).replace("'", "")
    bounds: dict[str, Callable[[], str]] = {
        "greater_than_equal": lambda: f"a number of at least {context['ge']}",
        "less_than_equal": lambda: f"a number of at most {context['le']}",
        "greater_than": lambda: f"a number greater than {context['gt']}",
        "less_than": lambda: f"a number less than {context['lt']}",
        "string_too_long": lambda: f"at most {context['max_length']} characters",
        "too_short": lambda: f"at least {context['min_length']} of them",
        "too_long": lambda: f"at most {context['max_length']} of them",
    }
    if kind in bounds:
        return bounds[kind]()
    return _EXPECTED.get(kind) or message.removeprefix("Input should be ").removeprefix("Value error, ")


def _is_secret(place: Place) -> bool:
    return any(word in str(place[-1]).lower() for word in _SECRET_WORDS) if place else False


def _clean(root: Node, loc: Place, kind: str) -> Place:
    """Pydantic puts names of types and validators between the names of a file: only the latter mean something to people."""
    place: list[str | int] = []
    node: Node | None = root
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if node is not None and part in node.items:
            place.append(part)
            node = node.items[part]
        elif last and (kind in {"missing", "faults"} or part == "[key]"):
            place.append(part)
    return tuple(place)


def _existing(root: Node, place: Place) -> Place:
    """The longest beginning of `place` that stands in the file."""
    node, found = root, 0
    for part in place:
        if part not in node.items:
            break
        node, found = node.items[part], found + 1
    return place[:found]


def _walk(root: Node, place: Place) -> Node:
    node = root
    for part in place:
        node = node.items[part]
    return node


def _unknown(model: type[BaseModel], place: Place) -> str:
    known = _known(model, place[:-1])
    near = nearest(str(place[-1]), known)
    if near:
        return f'is not a setting; did you mean "{near}"?'
    return (
        f"is not a setting; known here: {', '.join(sorted(known))}"
        if known
        else "is not a setting; none are known here"
    )


def nearest(word: str, known: Sequence[str]) -> str | None:
    found = difflib.get_close_matches(word[:100].lower(), known, n=1, cutoff=0.6)
    return found[0] if found else None


def _known(model: type[BaseModel], place: Place) -> list[str]:
    """Names of the fields that may stand at `place`; found by walking the model's own annotations."""
    models: list[type[BaseModel]] = [model]
    for part in place:
        following: list[type[BaseModel]] = []
        for each in models:
            for name, info in each.model_fields.items():
                if part in {name, info.alias}:
                    following.extend(_models_in(info.annotation))
        # A key of a mapping (a department's or an add-on's name) leads to the same models as the mapping itself.
        models = following or models
    return [info.alias or name for each in models for name, info in each.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _models_in(part)]
