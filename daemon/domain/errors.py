"""The error classes that decide what happens next.

Every error carries a stable `code`, a sentence for people and a context without secrets. What the journal does with each class is
written in `docs/explanation/errors.md`.
"""

from __future__ import annotations

from typing import Any


class ProvisiondError(Exception):
    """Root of all errors the daemon raises on purpose.

    `code` is stable and machine-readable (`free_server`, `panel_unreachable`), `message` is a sentence for people, `context`
    holds plain JSON values and never a secret.
    """

    def __init__(self, code: str, message: str, **context: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.context = context

    def as_dict(self) -> dict[str, Any]:
        """Shape: {"class", "code", "message", "context"}, JSON-ready."""
        return {"class": type(self).__name__, "code": self.code, "message": self.message, "context": self.context}


class ConfigError(ProvisiondError):
    """Settings are wrong: the daemon refuses to start or to reload."""


class Refused(ProvisiondError):
    """The request is wrong or not possible now; nothing was stored.

    `errors` lists every problem at once as {"field", "code", "message"}; `status` is the HTTP status that tells it best.
    """

    def __init__(
        self, code: str, message: str, *, status: int = 422, errors: list[dict[str, str]] | None = None, **context: Any
    ) -> None:
        super().__init__(code, message, **context)
        self.status = status
        self.errors = errors or []


class Temporary(ProvisiondError):
    """Will pass: nothing was done, the same call may be made again later."""


class Unhealthy(Temporary):
    """The platform refuses our login or right: the module is unhealthy and its operations wait for a person to mend it."""


class Permanent(ProvisiondError):
    """Will not pass by waiting: undo, then the next module, or a fault."""


class ServerTaken(Permanent):
    """The chosen server turned out to be somebody else's: leave it alone and choose another one."""


class Capacity(ProvisiondError):
    """No server or no address is free: wait with a deadline."""


class Uncertain(ProvisiondError):
    """Sent, answer unknown: look before doing anything else."""


BY_NAME: dict[str, type[ProvisiondError]] = {
    cls.__name__: cls for cls in (Refused, Temporary, Unhealthy, Permanent, ServerTaken, Capacity, Uncertain)
}


def from_dict(data: dict[str, Any]) -> ProvisiondError:
    """The error that `as_dict` described; an unknown class becomes Permanent, so that it is never repeated blindly."""
    cls = BY_NAME.get(data["class"], Permanent)
    return cls(data["code"], data["message"], **data.get("context", {}))
