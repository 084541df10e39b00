"""A mail sink: a small SMTP receiver on loopback that keeps what it gets and delivers nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from daemon.sandbox.clock import SandboxClock

LARGEST = 16 * 1024 * 1024
LONGEST_LINE = 64 * 1024
_ADDRESS = re.compile(r"^(?:FROM|TO):\s*<([^>]*)>", re.IGNORECASE)


@dataclass(frozen=True)
class Mail:
    """One received message. `data` is the message as sent, dots unstuffed, lines ending in CRLF."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    received: datetime

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.data, policy=policy.default)

    @property
    def subject(self) -> str:
        return str(self.message["Subject"] or "")

    @property
    def text(self) -> str:
        """The plain text part, decoded."""
        body = self.message.get_body(preferencelist=("plain", "html"))
        return str(body.get_content()) if body is not None else ""

    def state(self) -> dict[str, Any]:
        return {
            "from": self.sender,
            "to": list(self.recipients),
            "subject": self.subject,
            "text": self.text,
            "message_id": str(self.message["Message-ID"] or ""),
            "received": self.received.isoformat(),
        }


@dataclass
class _Envelope:
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)


class MailSink:
    """Speaks EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP, VRFY and QUIT; `messages` holds what came, oldest first.

    `refuse` is answered to RCPT instead of accepting when set, for example "450 try again" or "550 no such user".
    """

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
        self.messages: list[Mail] = []
        self.refuse: str | None = None
        self.host = "127.0.0.1"
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._talk, self.host, port, limit=LONGEST_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._open):
            writer.close()
        await self._server.wait_closed()
        self._server = None

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
                await _Dialogue(self, reader, writer).run()
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def keep(self, sender: str, recipients: list[str], data: bytes) -> None:
        self.messages.append(Mail(sender, tuple(recipients), data, self._clock.now()))

    def state(self) -> list[dict[str, Any]]:
        return [mail.state() for mail in self.messages]


class _Dialogue:
    """One connection."""

    def __init__(self, sink: MailSink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sink = sink
        self.reader = reader
        self.writer = writer
        self.envelope = _Envelope()

    async def run(self) -> None:
        await self._say("220 sandbox ESMTP")
        while line := await self.reader.readline():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            verb, _, rest = text.partition(" ")
            if verb.upper() == "QUIT":
                await self._say("221 bye")
                return
            await self._obey(verb.upper(), rest.strip())

    async def _say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def _obey(self, verb: str, rest: str) -> None:
        if verb == "EHLO":
            self.envelope = _Envelope()
            await self._say("250-sandbox", "250-8BITMIME", f"250-SIZE {LARGEST}", "250 SMTPUTF8")
        elif verb in ("HELO", "RSET", "NOOP"):
            if verb != "NOOP":
                self.envelope = _Envelope()
            await self._say("250 sandbox")
        elif verb == "MAIL":
            await self._mail(rest)
        elif verb == "RCPT":
            await self._rcpt(rest)
        elif verb == "DATA":
            await self._data()
        elif verb == "VRFY":
            await self._say("252 perhaps")
        else:
            await self._say("502 command not implemented")

    async def _mail(self, rest: str) -> None:
        match = _ADDRESS.match(rest)
        if match is None:
            await self._say("501 MAIL FROM:<address>")
            return
        size = re.search(r"\bSIZE=(\d+)", rest, re.IGNORECASE)
        if size and int(size[1]) > LARGEST:
            await self._say("552 message too large")
            return
        self.envelope = _Envelope(sender=match[1])
        await self._say("250 ok")

    async def _rcpt(self, rest: str) -> None:
        match = _ADDRESS.match(rest)
        if self.envelope.sender is None:
            await self._say("503 MAIL first")
        elif match is None or not match[1]:
            await self._say("501 RCPT TO:<address>")
        elif self.sink.refuse:
            await self._say(self.sink.refuse)
        else:
            self.envelope.recipients.append(match[1])
            await self._say("250 ok")

    async def _data(self) -> None:
        if not self.envelope.recipients:
            await self._say("503 RCPT first")
            return
        await self._say("354 end with a line that holds a dot")
        data = await self._body()
        if data is None:
            await self._say("552 message too large")
        else:
            self.sink.keep(self.envelope.sender or "", self.envelope.recipients, data)
            await self._say("250 kept")
        self.envelope = _Envelope()

    async def _body(self) -> bytes | None:
        """The message up to the lone dot, None if it was too large; raises when the connection ends before the dot."""
        lines: list[bytes] = []
        size = 0
        while (line := await self.reader.readline()) not in (b".\r\n", b".\n"):
            if not line:
                raise ConnectionResetError("the message was cut off")
            size += len(line)
            if size <= LARGEST:
                lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines) if size <= LARGEST else None
