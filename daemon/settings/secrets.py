"""Where secrets come from, and a wrapper that doesn't show them by accident."""

from __future__ import annotations

import hmac
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from daemon.domain.errors import ConfigError
from daemon.settings.types import SecretRef

_MAX_BYTES = 64 * 1024


class Secret:
    """A value that only `reveal` shows: not a log line, not a traceback, not a JSON dump, not a pickle."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        return self.__value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        """In constant time: a comparison must not tell how much of a guess was right."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is a hint about it

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class Credentials:
    """Finds `cred:NAME`: in the folder that systemd gives, else in `credentials_dir`, whose files must be private."""

    def __init__(self, directory: Path, *, check_mode: bool = True) -> None:
        self.directory = directory
        self._check_mode = check_mode

    @classmethod
    def choose(cls, credentials_dir: Path, environ: Mapping[str, str]) -> Credentials:
        """Systemd's folder is private by itself and its files may be 0440: modes are ours to check only elsewhere."""
        given = environ.get("CREDENTIALS_DIRECTORY")
        return cls(Path(given), check_mode=False) if given else cls(credentials_dir)

    def path(self, name: str) -> Path:
        return self.directory / name

    def read_bytes(self, name: str) -> bytes | None:
        """The file as it is, or None when there is none."""
        path = self.path(name)
        try:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError("credential_unreadable", f"{path} is not a file", credential=name)
            if self._check_mode and mode & 0o077:
                text = f"{path} may be read by others (mode {mode & 0o777:04o}): chmod 600 {path}"
                raise ConfigError("credential_mode", text, credential=name)
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            text = f"{path} can't be read: {error.strerror or error}"
            raise ConfigError("credential_unreadable", text, credential=name) from None
        if len(content) > _MAX_BYTES:
            raise ConfigError("credential_unreadable", f"{path} is too large for a credential", credential=name)
        return content

    def resolve(self, ref: SecretRef) -> Secret:
        """The secret as text, without the newline that editors put at the end."""
        content = self.read_bytes(ref.name)
        path = self.path(ref.name)
        if content is None:
            raise ConfigError(
                "credential_missing", f"credential {ref.name} not found: no file {path}", credential=ref.name
            )
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise ConfigError("credential_unreadable", f"{path} is not UTF-8 text", credential=ref.name) from None
        text = text.removesuffix("\n").removesuffix("\r")
        if not text or "\x00" in text:
            raise ConfigError("credential_unreadable", f"{path} is empty or holds NUL bytes", credential=ref.name)
        return Secret(text)


def secret_refs(model: Any, place: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], SecretRef]]:
    """Every reference in a settings model with the place of its field."""
    found: list[tuple[tuple[str | int, ...], SecretRef]] = []
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        here = (*place, info.alias or name)
        if isinstance(value, SecretRef):
            found.append((here, value))
        elif hasattr(type(value), "model_fields"):
            found.extend(secret_refs(value, here))
    return found
