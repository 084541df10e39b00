"""Mail: turns a parcel into a message and hands it to the mail server. The only user of aiosmtplib.

Kinds of parcels and their payloads:

    department_mail  {department, subject, text}                  to the address in `departments`
    customer_mail    {to, subject, text}                          to a customer
    service_active   {to, operation, hostname, addresses, days}   to a customer, with the one-time link of the operation

In the first two, {template, values} may stand in the place of `text`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import aiosmtplib

from daemon.domain.clock import Clock
from daemon.domain.errors import Permanent, Temporary
from daemon.notify.templates import one_line, plain, render
from daemon.settings import DaemonSettings, Secret
from daemon.settings.daemon import MailSettings
from daemon.store.outbox import Parcel

GOODBYE_WITHIN = 5.0
"""Seconds for QUIT: the message is with the server by then."""

_ADDRESS = re.compile(r"([^@\s\x00-\x1f\x7f<>(),;:\"\\\[\]]{1,64})@([^@\s\x00-\x1f\x7f<>(),;:\"\\\[\]]{1,255})")

LinkTo = Callable[[int], str]
"""Operation -> the one-time link to the access data of what it provisioned."""


class ServerUnusable(Temporary):
    """The mail server can't be used at all: what else is due needn't be tried now."""


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    text: str


@dataclass(frozen=True)
class NotSent:
    """There is nobody to send it to, on purpose."""

    reason: str


class Mailer:
    """Sends mail as the settings say. `password` belongs to the login in them; `link_to` makes access links."""

    def __init__(
        self, settings: DaemonSettings, clock: Clock, *, link_to: LinkTo, password: Secret | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._link_to = link_to
        self._password = password
        self.turn = asyncio.Lock()
        """Held during a round of deliveries, so that two rounds don't send the same parcel."""

    def letter(self, parcel: Parcel) -> Letter | NotSent:
        """What a parcel says and to whom. Raises Temporary for a kind that this build doesn't know: a newer one may."""
        to = self._recipient(parcel)
        if self._settings.mail is None:
            return NotSent("the settings have no mail server")
        if to is None:
            return NotSent(f"department {parcel.payload['department']} has no mail address")
        if parcel.kind == "service_active":
            return Letter(
                to, f"Your server {parcel.payload['hostname']} is ready", self._service_active(parcel.payload)
            )
        return Letter(to, str(parcel.payload["subject"]), _text(parcel.payload))

    async def send(self, key: str, letter: Letter) -> None:
        """Hand `letter` to the mail server, under a message id that follows from the parcel's `key`.

        Raises Permanent when the recipient is refused for good, ServerUnusable when no mail can be sent at all, Temporary otherwise.
        After a Temporary the server may have taken it all the same: the message id tells the repetition from a second mail.
        """
        mail = self._settings.mail
        if mail is None:
            raise ServerUnusable("no_mail_server", "the settings have no mail server")
        message = compose(key, letter, mail.sender, self._clock)
        try:
            await self._hand_over(mail, message, letter.to)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refused(error) from error
        except aiosmtplib.SMTPNotSupported as error:
            raise Permanent("mail_not_supported", f"the mail server can't send it: {one_line(error)}") from error
        except (aiosmtplib.SMTPAuthenticationError, aiosmtplib.SMTPHeloError) as error:
            raise ServerUnusable("mail_login", f"the mail server refuses us: {one_line(error)}") from error
        except TimeoutError as error:
            text = f"the mail server {mail.host} gave no answer within {mail.timeout.total_seconds():g} s"
            raise ServerUnusable("mail_timeout", text) from error
        except (OSError, ssl.SSLError) as error:
            text = f"the mail server {mail.host} can't be used: {one_line(error) or type(error).__name__}"
            raise ServerUnusable("mail_unreachable", text) from error
        except aiosmtplib.SMTPException as error:
            raise Temporary("mail_refused", f"the mail server did not take it: {one_line(error)}") from error

    def _recipient(self, parcel: Parcel) -> str | None:
        if parcel.kind == "department_mail":
            department = self._settings.departments.get(parcel.payload["department"])
            return department.email if department else None
        if parcel.kind in ("customer_mail", "service_active"):
            return str(parcel.payload["to"])
        raise Temporary("unknown_parcel", f"nothing here delivers a parcel of kind {parcel.kind}")

    def _service_active(self, payload: dict[str, Any]) -> str:
        return render("service_active", {**payload, "link": self._link_to(payload["operation"])})

    async def _hand_over(self, mail: MailSettings, message: EmailMessage, to: str) -> None:
        smtp = self._client(mail)
        try:
            async with asyncio.timeout(mail.timeout.total_seconds()):
                await smtp.connect()
                await smtp.send_message(message, sender=mail.sender, recipients=[to])
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                async with asyncio.timeout(GOODBYE_WITHIN):
                    await smtp.quit()
        finally:
            smtp.close()

    def _client(self, mail: MailSettings) -> aiosmtplib.SMTP:
        secret = self._password.reveal() if self._password else None
        return aiosmtplib.SMTP(
            hostname=mail.host,
            port=mail.port,
            username=mail.username if secret else None,
            password=secret,
            local_hostname=socket.gethostname() or "localhost",  # the library's own way asks DNS
            timeout=mail.timeout.total_seconds(),
            use_tls=mail.security == "tls",
            start_tls=mail.security == "starttls",
        )


def compose(key: str, letter: Letter, sender: str, clock: Clock) -> EmailMessage:
    """The message as it is sent. Raises Permanent when the recipient is no mail address."""
    match = _ADDRESS.fullmatch(letter.to)
    if match is None or ".." in letter.to:
        raise Permanent("mail_address", "the recipient is no mail address")
    message = EmailMessage(policy=policy.SMTP if letter.to.isascii() else policy.SMTPUTF8)
    message["From"] = sender
    message["To"] = Address(username=match[1], domain=match[2])
    message["Subject"] = one_line(letter.subject)
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = f"<{message_id(key)}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: holiday notices must not answer it
    message.set_content(plain(letter.text), charset="utf-8", cte="quoted-printable")
    return message


def message_id(key: str) -> str:
    """The same for every try of one parcel, so that a receiver can tell a repetition."""
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}@provisiond"


def _text(payload: dict[str, Any]) -> str:
    template = payload.get("template")
    return render(template, payload.get("values") or {}) if template else str(payload["text"])


def _refused(error: aiosmtplib.SMTPRecipientsRefused) -> Permanent | Temporary:
    """A 5xx answer to the recipient is final: repeating it only harms our name."""
    answer = error.recipients[0]
    text = f"the mail server refuses the recipient: {answer.code} {one_line(answer.message)}"
    if answer.code >= 500:
        return Permanent("recipient_refused", text)
    return Temporary("recipient_put_off", text)
