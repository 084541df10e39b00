"""Named checks behind `/readyz` (may work be sent here?) and `/healthz` (is the process worth keeping?)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from daemon.observability.redaction import mask_text

Check = Callable[[], Awaitable[str | None]]
"""None when all is well, else one sentence for people."""


class Health:
    """The checks of one daemon. `within`: seconds that one check may take; all of them run at once."""

    def __init__(self, *, within: float = 5.0) -> None:
        self._within = within
        self._ready: dict[str, Check] = {}
        self._alive: dict[str, Check] = {}

    def add(self, name: str, check: Check, *, vital: bool = False) -> None:
        """Add a check to `ready`; a `vital` one counts for `alive` too: failing it, the process should be restarted."""
        self._ready[name] = check
        if vital:
            self._alive[name] = check

    async def ready(self) -> dict[str, Any]:
        """Shape: {"ok": bool, "checks": {name: {"ok": bool, "message": str | None}}}."""
        return await self._run(self._ready)

    async def alive(self) -> dict[str, Any]:
        """The same shape, vital checks only."""
        return await self._run(self._alive)

    async def _run(self, checks: dict[str, Check]) -> dict[str, Any]:
        messages = await asyncio.gather(*(self._ask(check) for check in checks.values()))
        answers = {
            name: {"ok": message is None, "message": message} for name, message in zip(checks, messages, strict=True)
        }
        return {"ok": all(answer["ok"] for answer in answers.values()), "checks": answers}

    async def _ask(self, check: Check) -> str | None:
        """A check that hangs or breaks has not said that all is well."""
        try:
            async with asyncio.timeout(self._within):
                message = await check()
        except TimeoutError:
            return f"no answer within {self._within:g} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return mask_text(str(error) or type(error).__name__)
        return None if message is None else mask_text(message)
