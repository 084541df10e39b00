"""What every settings model shares: the base class, the note beside each field, and errors that point at a field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class About:
    """The one place where a field is explained: examples and reference page are produced from it.

    `why` is the reason for the default. `unverified` marks what no live panel has confirmed yet (docs/reference/contracts.md),
    `later` what is accepted but not acted on in this release. `if_missing` is said in place of a plain "is required".
    `example` is YAML shown in the examples where there is no default to show.
    """

    text: str
    unit: str = ""
    why: str = ""
    unverified: bool = False
    later: bool = False
    if_missing: str = ""
    example: str = ""


class SettingsModel(BaseModel):
    """Strict on purpose: YAML knows numbers from text, so a wrong type is a mistake worth showing, not guessing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    judged_apart: ClassVar[tuple[str, ...]] = ()
    """Mappings whose rules are applied to the good entries when another entry is wrong."""


class Faults:
    """Collects what a rule over several fields finds wrong, so that all of it is reported at once."""

    def __init__(self) -> None:
        self._found: list[tuple[Place, str]] = []

    def add(self, place: Place, message: str) -> None:
        self._found.append((place, message))

    def extend(self, found: Iterable[tuple[Place, str]]) -> None:
        self._found.extend(found)

    def raise_if_any(self) -> None:
        """Pydantic knows one error per validator: the others travel in its context, the loader unpacks them."""
        if self._found:
            text = "; ".join(message for _, message in self._found)
            raise PydanticCustomError("faults", "{text}", {"text": text, "faults": tuple(self._found)})


def fault(place: Place, message: str) -> None:
    """Raise a single finding; `place` is relative to what is being validated."""
    faults = Faults()
    faults.add(place, message)
    faults.raise_if_any()


def refuse(expected: str) -> PydanticCustomError:
    """An error of the form `expected ..., got ...`; the loader adds what came, as it stands in the file."""
    return PydanticCustomError("expected", "expected {expected}", {"expected": expected})


def about_field(model: type[BaseModel], name: str | int) -> About | None:
    """The note beside a field."""
    info = model.model_fields.get(str(name))
    notes = info.metadata if info else []
    return next((note for note in notes if isinstance(note, About)), None)
