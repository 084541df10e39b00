"""How a demo fails: with a sentence."""

from __future__ import annotations


class DemoError(Exception):
    """What went wrong, as a sentence."""


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence at each call
    if not holds:
        raise DemoError(otherwise)
