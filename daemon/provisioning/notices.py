"""Mail to departments: what only people can bring, told once."""

from __future__ import annotations

from datetime import timedelta

from daemon.domain.errors import ProvisiondError, Unhealthy
from daemon.domain.operation import Operation
from daemon.provisioning.outcomes import Limits
from daemon.store.repositories import Repositories

NOTICE_EVERY = timedelta(days=1)
"""How often an illness that comes back is told again at most."""


async def notice(tx: Repositories, operation: Operation, error: ProvisiondError, department: str) -> None:
    """Tell the department once that an operation waits for something only people can bring."""
    await mail_department(
        tx, department, f"notice:{operation.id}:{error.code}", f"Operation {operation.id} waits: {error.message}",
        f"Service {operation.service_id}, {operation.verb}: {error.message}. It goes on by itself when this is mended.",
    )  # fmt: skip


async def notice_of_illness(tx: Repositories, error: Unhealthy, limits: Limits) -> None:
    """Keep that a module is ill, and tell its department once, however many operations wait.

    Where a module is well and ill by turns it is told once a day at most.
    """
    module, now = limits.module, tx.clock.now()
    since = await tx.module_health.ill(module, error.code, error.message)
    known = f"notice:{module}:{error.code}:"
    if not await tx.outbox.was_put(known, now - NOTICE_EVERY):
        await mail_department(
            tx, limits.department, f"{known}{since.isoformat()}", f"Module {module} can't be used: {error.message}",
            f"{error.message}. Operations on {module} wait, and go on by themselves when this is mended.",
        )  # fmt: skip


async def mail_department(tx: Repositories, department: str, key: str, subject: str, text: str) -> None:
    """Put a mail for a department into the outbox; `notify` knows the address, and whether there is one."""
    await tx.outbox.put(key, "department_mail", {"department": department, "subject": subject, "text": text})
