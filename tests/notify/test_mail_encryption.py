from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from daemon.domain.errors import Temporary
from daemon.notify.mail import Letter, ServerUnusable

LETTER = Letter("dc@example.test", "s", "t")
PASSWORD = "zq7-canary-Vx91"


@dataclass
class Kept:
    """What the mail server took."""

    envelopes: list

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        return "250 kept"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """Paths of a self-signed certificate for 127.0.0.1, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return str(folder / "cert.pem"), str(folder / "key.pem")


def authenticate(server, session, envelope, mechanism, data) -> AuthResult:
    good = data.login == b"provisiond" and data.password == PASSWORD.encode()
    return AuthResult(success=good, handled=good)


@dataclass
class TlsServer:
    port: int
    kept: Kept


@pytest.fixture
async def starttls(certificate) -> AsyncIterator[TlsServer]:
    """A mail server that wants STARTTLS and then a login."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    kept = Kept([])

    def protocol() -> SMTP:
        return SMTP(kept, tls_context=context, require_starttls=True, auth_required=True, authenticator=authenticate)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield TlsServer(server.sockets[0].getsockname()[1], kept)


@pytest.fixture
def make(make_mailer, starttls):
    def make(password: str = PASSWORD):
        return make_mailer(starttls.port, login=password, encryption="starttls")

    return make


async def test_a_server_with_a_certificate_that_nobody_vouches_for_gets_neither_mail_nor_password(make, starttls):
    with pytest.raises(ServerUnusable, match=r"(?i)certificate"):
        await make().send("k", LETTER)
    assert starttls.kept.envelopes == []


async def test_a_trusted_server_gets_login_and_mail_over_tls(make, starttls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    await make().send("k", LETTER)
    (envelope,) = starttls.kept.envelopes
    assert envelope.rcpt_tos == ["dc@example.test"]


async def test_a_refused_login_is_put_off_and_shows_no_password(make, starttls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with pytest.raises(ServerUnusable) as caught:
        await make("wrong-" + PASSWORD).send("k", LETTER)
    assert caught.value.code == "mail_login"
    assert PASSWORD not in str(caught.value)
    assert starttls.kept.envelopes == []


async def test_a_server_without_tls_gets_nothing_where_the_settings_ask_for_it(make_mailer, sink):
    with pytest.raises(Temporary):
        await make_mailer(sink.port, encryption="starttls").send("k", LETTER)
    assert sink.messages == []
