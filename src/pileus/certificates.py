"""Keys and certificates by which the parts of one cloud know each other: mutual TLS 1.3, one authority of its own.

Who somebody is stands in its certificate as a URI, pileus://CLOUD/ROLE/NAME (RFC 5280, 4.2.1.6).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AGENT, REPLICA = "agent", "replica"
"""Roles."""
AUTHORITY_LASTS = timedelta(days=3650)
SLACK = timedelta(minutes=5)
"""How far clocks may differ."""


class Identity(msgspec.Struct, frozen=True):
    """Who a certificate is for: a part of one cloud."""

    cloud: str
    role: str
    name: str

    @property
    def uri(self) -> str:
        return f"pileus://{quote(self.cloud, safe='')}/{quote(self.role, safe='')}/{quote(self.name, safe='')}"


class Papers(msgspec.Struct, frozen=True):
    """What a part shows and trusts, in PEM: its private key, its certificate, and the authority's certificate."""

    key: bytes
    certificate: bytes
    authority: bytes

    @property
    def ends(self) -> datetime:
        """When the certificate ends."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    def context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        """For connections on which both ends show who they are; `peer` then says who the other one is.

        Args:
            purpose: SERVER_AUTH of who connects, CLIENT_AUTH of who is connected to.

        Raises:
            ssl.SSLError: these are no such things.
        """
        side = ssl.PROTOCOL_TLS_CLIENT if purpose is ssl.Purpose.SERVER_AUTH else ssl.PROTOCOL_TLS_SERVER
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # names of this cloud are no host names; `peer` compares them
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.authority.decode())
        # OpenSSL wants a file; this one has no name, and is nobody else's.
        descriptor = os.memfd_create("papers", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(self.certificate + self.key)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context


def peer(shown: Mapping[str, Any] | None) -> Identity | None:
    """Who the other end of a connection is, by its certificate (`SSLSocket.getpeercert`); None: nobody of ours."""
    for kind, value in (shown or {}).get("subjectAltName", ()):
        url = urlsplit(value)
        parts = url.path.split("/")
        if kind == "URI" and url.scheme == "pileus" and len(parts) == 3:
            return Identity(unquote(url.netloc), unquote(parts[1]), unquote(parts[2]))
    return None


def key_shown(certificate: bytes) -> bytes:
    """The public key, PEM, in a certificate (DER)."""
    return _public(x509.load_der_x509_certificate(certificate).public_key())


def is_of(key: str, known: tuple[str, ...]) -> bool:
    """Whether a public key (PEM) is among those that somebody is known by; anybody's is, if none are known."""
    return not known or key in known


def new_key() -> bytes:
    """A private key (P-256) in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form)


def request(key: bytes) -> bytes:
    """Ask for a certificate for a key (PEM, RFC 2986); who it is for is for the authority to say."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject("pileus"))
    return builder.sign(_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def requested_key(asked: bytes) -> bytes:
    """The public key of a request, PEM.

    Raises:
        ValueError: it is no request, not signed by its own key, or the key is of another kind than `new_key` makes.
    """
    found = x509.load_pem_x509_csr(asked)
    public = found.public_key()
    if not found.is_signature_valid:
        raise ValueError("the request is not signed by its own key")
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ValueError("the key is not of the curve P-256")
    return _public(public)


def found_authority(name: str) -> tuple[bytes, bytes]:
    """The key and the certificate, PEM, of a new authority; `name` tells it from others."""
    key = _key(new_key())
    subject, began = _subject(f"pileus {name}"), datetime.now(UTC) - SLACK
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + AUTHORITY_LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    made = builder.sign(key, hashes.SHA256())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form), made.public_bytes(serialization.Encoding.PEM)


def sign(authority: tuple[bytes, bytes], public: bytes, who: Identity, lasts: timedelta) -> bytes:
    """The authority's certificate, PEM, that a public key is somebody's; no longer valid than its own.

    The name is the subject's common name, too: OVN knows a chassis by that.
    """
    key, issuer = _key(authority[0]), x509.load_pem_x509_certificate(authority[1])
    owner = serialization.load_pem_public_key(public)
    assert isinstance(owner, ec.EllipticCurvePublicKey)
    now = datetime.now(UTC)
    end = min(now + lasts, issuer.not_valid_after_utc)
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        x509.CertificateBuilder(issuer.subject, _subject(who.name), owner, x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(who.uri)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(usages, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def public_of(key: bytes) -> bytes:
    """The public key of a private one, both PEM."""
    return _public(_key(key).public_key())


def _public(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    found = serialization.load_pem_private_key(pem, None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return found


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})
