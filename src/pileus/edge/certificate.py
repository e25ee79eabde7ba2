"""TLS: the operator's certificate, or one that we make and sign ourselves."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pileus.files import write_private
from pileus.settings import Settings

VALID = timedelta(days=825)


def context(settings: Settings) -> ssl.SSLContext:
    """What connections are encrypted with: TLS 1.2 or later.

    Raises:
        OSError: a file cannot be read. ssl.SSLError: it is no certificate, or the key is not its own.
    """
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.load_cert_chain(settings.tls_cert, settings.tls_key)
    return found


def trusting() -> ssl.SSLContext:
    """For a client that knows whom it asks: the certificate is not looked at."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    return found


def self_signed(folder: Path, host: str) -> tuple[Path, Path]:
    """The certificate and the key in a folder, made if they are not there; the key only its owner may read.

    Args:
        host: address that clients connect to; the certificate is for this machine's names and the loopback, too.
    """
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not (certificate.exists() and key.exists()):
        private = ec.generate_private_key(ec.SECP256R1())
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        write_private(key, private.private_bytes(*form))
        write_private(certificate, _certificate(private, host).public_bytes(serialization.Encoding.PEM))
        certificate.chmod(0o644)
    return certificate, key


def _certificate(key: ec.EllipticCurvePrivateKey, host: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pileus")])
    began = datetime.now(UTC) - timedelta(minutes=5)
    names = dict.fromkeys([host, "127.0.0.1", "::1", "localhost", socket.gethostname()])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + VALID)
        .add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
