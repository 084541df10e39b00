from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from daemon.coremanager.tls import Tls
from daemon.coremanager.transport import Transport
from daemon.domain.errors import ConfigError, Temporary
from daemon.settings.remote import TlsSettings
from tests.coremanager.scripted import OK, client_of, scripted

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class Pair:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def context(self, folder: Path) -> ssl.SSLContext:
        (folder / "key.pem").write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem(folder), folder / "key.pem")
        return context

    def pem(self, folder: Path) -> Path:
        path = folder / "certificate.pem"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    @property
    def pin(self) -> str:
        return f"sha256:{self.certificate.fingerprint(hashes.SHA256()).hex()}"


def certificate(
    name: str = "localhost", *, days: int = 36500, signer: Pair | None = None, authority: bool = False
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begins = START - dt.timedelta(days=3650)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer.key if signer else key, hashes.SHA256())
    )
    return Pair(key, built)


async def ask(pair: Pair, folder: Path, tls: TlsSettings, *, host: str = "localhost") -> tuple[Temporary | None, int]:
    """The error, if any, and how many calls reached the panel."""
    async with scripted(pair.context(folder)) as panel:
        panel.says("server", OK)
        async with client_of(panel.url.replace("localhost", host), tls=tls, authinfo=True) as client:
            try:
                await client.call("server", write=True)
            except Temporary as error:
                return error, len(panel.calls)
            return None, len(panel.calls)


async def refused(pair: Pair, folder: Path, *, host: str = "localhost", **tls: Any) -> str:
    error, calls = await ask(pair, folder, TlsSettings(**tls), host=host)
    assert error is not None
    assert error.code == "tls_refused"
    assert calls == 0, "nothing may be sent to a panel that is not trusted"
    return error.message


async def test_a_self_signed_certificate_is_refused_and_the_error_says_what_to_give(tmp_path: Path) -> None:
    assert "self-signed" in await refused(certificate(), tmp_path)


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    authority = certificate("Our CA", authority=True)
    assert "unknown authority" in await refused(certificate(signer=authority), tmp_path)


async def test_its_ca_file_makes_it_trusted(tmp_path: Path) -> None:
    authority = certificate("Our CA", authority=True)
    ca_file = tmp_path / "ca"
    ca_file.mkdir()
    tls = TlsSettings(ca_file=str(authority.pem(ca_file)))
    assert await ask(certificate(signer=authority), tmp_path, tls) == (None, 1)


async def test_another_authority_does_not(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    pem = certificate("Other CA", authority=True).pem(other)
    await refused(certificate(signer=certificate("Our CA", authority=True)), tmp_path, ca_file=str(pem))


async def test_a_wrong_host_name_is_said(tmp_path: Path) -> None:
    authority = certificate("Our CA", authority=True)
    folder = tmp_path / "ca"
    folder.mkdir()
    pair = certificate("panel.example.test", signer=authority)
    assert "another host name" in await refused(pair, tmp_path, ca_file=str(authority.pem(folder)))


async def test_a_wrong_address_is_said(tmp_path: Path) -> None:
    authority = certificate("Our CA", authority=True)
    folder = tmp_path / "ca"
    folder.mkdir()
    message = await refused(
        certificate(signer=authority), tmp_path, host="127.0.0.1", ca_file=str(authority.pem(folder))
    )
    assert "another address" in message


async def test_an_expired_certificate_is_said(tmp_path: Path) -> None:
    authority = certificate("Our CA", authority=True)
    folder = tmp_path / "ca"
    folder.mkdir()
    pair = certificate(signer=authority, days=30)
    assert "expired" in await refused(pair, tmp_path, ca_file=str(authority.pem(folder)))


async def test_the_right_pin_makes_a_self_signed_certificate_trusted(tmp_path: Path) -> None:
    pair = certificate("whatever")
    assert await ask(pair, tmp_path, TlsSettings(pin=pair.pin)) == (None, 1)


async def test_a_wrong_pin_is_refused_before_anything_is_sent_and_the_error_shows_the_real_one(tmp_path: Path) -> None:
    pair = certificate()
    assert pair.pin in await refused(pair, tmp_path, pin=certificate().pin)


async def test_one_of_several_pins_is_enough(tmp_path: Path) -> None:
    pair = certificate()
    async with scripted(pair.context(tmp_path)) as panel:
        panel.says("server", OK)
        transport = Transport("dci-main", panel.url, tls=Tls(pins=(certificate().pin, pair.pin)))
        try:
            await transport.post("server", {"func": "server"}, write=False, deadline=_soon(), reader=_Anything)
        finally:
            await transport.close()
        assert len(panel.calls) == 1


async def test_a_panel_that_speaks_no_tls_is_said(tmp_path: Path) -> None:
    async with scripted() as panel, client_of(panel.url.replace("http:", "https:"), authinfo=True) as client:
        with pytest.raises(Temporary) as caught:
            await client.call("server", write=True)
        assert caught.value.code == "tls_refused"


@pytest.mark.parametrize(
    "url", ["http://panel.example.test/dcimgr", "ftp://127.0.0.1/x", "https://u:p@127.0.0.1/x", "x"]
)
def test_a_password_is_never_sent_in_the_clear_or_to_an_odd_url(url: str) -> None:
    with pytest.raises(ConfigError):
        Transport("dci-main", url)


def test_a_ca_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for path in (bad, tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match=path.name):
            Transport("dci-main", "https://127.0.0.1:1/x", tls=Tls(ca_file=path))


class _Anything:
    def feed(self, data: bytes) -> None:
        del data

    def close(self) -> None:
        return None


def _soon() -> float:
    import asyncio

    return asyncio.get_running_loop().time() + 5
