"""Secrets that are derived and never stored: a repeated step sends the same one (HKDF-SHA256, RFC 5869)."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PASSWORD_LENGTH = 24


class MasterKey:
    """32 random bytes; everything else follows from them."""

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("a master key has 32 bytes")
        self._key = key

    @property
    def fingerprint(self) -> str:
        """Tells one key from another without telling the key."""
        return self._derive("fingerprint").hex()

    def root_password(self, operation_id: int) -> str:
        return self._password(f"root/{operation_id}")

    def owner_password(self, module: str, customer_id: int) -> str:
        return self._password(f"owner/{module}/{customer_id}")

    def link(self, operation_id: int) -> str:
        """The secret part of an access link, safe in a URL."""
        return base64.urlsafe_b64encode(self._derive(f"link/{operation_id}")).decode().rstrip("=")

    def _password(self, purpose: str) -> str:
        """Letters and digits, with at least one of each kind that panels ask for."""
        text = base64.b32encode(self._derive(purpose)).decode().lower()
        return "Pd7" + "".join(c.upper() if i % 3 else c for i, c in enumerate(text))[: PASSWORD_LENGTH - 3]

    def _derive(self, purpose: str) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=f"provisiond/{purpose}".encode()).derive(self._key)


def link_hash(secret: str) -> str:
    """What is kept of an access link."""
    return hashlib.sha256(secret.encode()).hexdigest()
