"""The second net: secrets that slipped into a log line or an answer are masked by name and by shape.

The first net is the `Secret` type, which shows nothing by itself; this one is for texts that others made (a library's message, a URL,
a traceback). It can't know every secret, so nothing may rely on it alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

MASK = "***"
DEEPEST = 8
"""Levels of nesting that are looked through; what lies deeper is left out."""

_PARTS = ("passw", "passphrase", "secret", "authinfo", "authorization", "cookie")
_WORDS = frozenset({"auth", "confirm", "token"})
_NAMES = frozenset({"key", "session_id"})
_KEYS = ("api_key", "master_key", "private_key")

_URL_LOGIN = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/]*@", re.IGNORECASE)
_NAME = r"[\w-]*(?:passw(?:or)?d|passphrase|secret|authinfo|token|api_?key)|auth|confirm"
_FIELD = re.compile(rf"(?<![\w-])({_NAME})=([^&\s\"'<>,;]+)", re.IGNORECASE)
_QUOTED = re.compile(rf"([\"'])({_NAME})\1(\s*:\s*)([\"'])(?:\\.|(?!\4).)*\4", re.IGNORECASE)
_ELEMENT = re.compile(rf"<({_NAME})>[^<]+<", re.IGNORECASE)
_HEADER = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE)
_COOKIE = re.compile(r"\b((?:set-)?cookie:\s*)[^\r\n'\"]+", re.IGNORECASE)
_LINK = re.compile(r"(/access/)[A-Za-z0-9._~%-]+")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def mask_text(text: str) -> str:
    """`text` with logins in URLs, secret form fields, tokens, cookies, one-time links and private keys masked."""
    text = _URL_LOGIN.sub(rf"\1:{MASK}@", text)
    text = _FIELD.sub(rf"\1={MASK}", text)
    text = _QUOTED.sub(rf"\1\2\1\3\4{MASK}\4", text)
    text = _ELEMENT.sub(rf"<\1>{MASK}<", text)
    text = _HEADER.sub(rf"\1 {MASK}", text)
    text = _COOKIE.sub(rf"\1{MASK}", text)
    text = _LINK.sub(rf"\1{MASK}", text)
    return _PEM.sub(MASK, text)


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, whatever its value."""
    plain = name.lower().replace("-", "_")
    if plain in _NAMES or plain.endswith(_KEYS) or any(part in plain for part in _PARTS):
        return True
    return not _WORDS.isdisjoint(plain.split("_"))


def mask(value: Any, depth: int = 0) -> Any:
    """A copy of `value` that is safe to show, made of plain JSON types; whatever has a `reveal` method becomes `***`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return mask_text(str(value))
    if callable(getattr(value, "reveal", None)):
        return MASK
    if depth >= DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): mask_field(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return mask_text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    return mask_text(_described(value))


def mask_field(name: str, value: Any, depth: int = 0) -> Any:
    """`value` as it may be shown under `name`; a yes, a no or a nothing tells no secret."""
    if is_secret_name(name) and not (value is None or isinstance(value, bool)):
        return MASK
    return mask(value, depth)


def _described(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a broken __str__ must not stop the work that logs
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"
