"""How a panel's certificate is verified: the system's authorities, a CA file, or a pin. There is no off switch."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import aiohttp

from daemon.domain.errors import ConfigError

_REASONS = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is self-signed: give its CA file or its pin",
    19: "its certificate chain ends in an unknown authority: give its CA file or its pin",
    20: "its certificate is signed by an unknown authority: give its CA file or its pin",
    21: "its certificate is signed by an unknown authority: give its CA file or its pin",
    62: "its certificate is for another host name",
    64: "its certificate is for another address",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """`ca_file`: PEM file that replaces the system's authorities. `pins`: "sha256:<hex of the leaf certificate's DER>"."""

    ca_file: Path | None = None
    pins: tuple[str, ...] = ()


class Pins(aiohttp.Fingerprint):
    """Several pins at once, so that a certificate can be changed without a gap.

    aiohttp checks it after the handshake and before the first byte of a request; with a pin the chain is not asked.
    """

    def __init__(self, digests: Collection[bytes]) -> None:
        super().__init__(next(iter(digests)))
        self._digests = frozenset(digests)

    def check(self, transport: asyncio.Transport) -> None:
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        got = self._hashfunc(certificate).digest()
        if got not in self._digests:
            host, port, *_ = transport.get_extra_info("peername")
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, got, host, port)


def verifier(tls: Tls) -> ssl.SSLContext | Pins:
    """What aiohttp's connector verifies with. Raises ConfigError for a CA file that can't be read or a pin that is none."""
    if tls.pins:
        return Pins([_digest(pin) for pin in tls.pins])
    if tls.ca_file is None:
        return _system_authorities()
    try:
        return _context(tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "ca_file", f"{tls.ca_file} can't be used as CA file: {error}", file=str(tls.ca_file)
        ) from None


@cache
def _system_authorities() -> ssl.SSLContext:
    return _context(None)


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _digest(pin: str) -> bytes:
    try:
        digest = bytes.fromhex(pin.removeprefix("sha256:").replace(":", ""))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ConfigError("pin", "a pin is sha256: and 64 hexadecimal digits")
    return digest


def why_refused(error: aiohttp.ClientError) -> str | None:
    """The reason for people when `error` is a refused TLS handshake; None when it is something else."""
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"its certificate has another fingerprint than the pin (sha256:{error.got.hex()})"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        code = getattr(cause, "verify_code", None)
        return _REASONS.get(
            code or 0, f"its certificate was refused ({getattr(cause, 'verify_message', 'unknown reason')})"
        )
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "the TLS handshake failed: does it speak TLS 1.2 or newer on this port?"
    return None
