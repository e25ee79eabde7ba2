"""Key pairs: a user's public keys, imported or generated."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from sqlalchemy import func, select

from pileus.api import Asks, Requester, Values
from pileus.compute.model import KeyPair
from pileus.compute.quotas import QUOTAS
from pileus.db import Session, utcnow
from pileus.errors import Conflict, Invalid, Unavailable

RSA_BITS = 3072
MOST_MAKING = 4
"""Keys that are being made, or wait for it: each takes a thread that answers requests, and tenths of a second."""
_places = threading.BoundedSemaphore(MOST_MAKING)
_making = threading.BoundedSemaphore(max(1, (os.cpu_count() or 1) // 2))
MOST_COMMON_NAME = 64
"""Bytes in a certificate's common name."""
VALID_FOR = timedelta(days=3650)
UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
"""A user principal name: how Windows knows whose certificate it is."""


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """A key before it has an owner; `private_key` only if it was generated here."""

    type: str
    public_key: str
    fingerprint: str
    private_key: str | None = None


def _invalid(reason: str) -> Invalid:
    return Invalid(f"Keypair data is invalid: {reason}")


def _colons(digest: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in digest)


def imported(kind: str, public_key: str) -> Material:
    """The material of a given public key, checked.

    Raises:
        Invalid: it is not a public key (ssh) or certificate (x509).
    """
    check = _ssh_fingerprint if kind == "ssh" else _x509_fingerprint
    return Material(type=kind, public_key=public_key, fingerprint=check(public_key))


def _ssh_fingerprint(public_key: str) -> str:
    """MD5 of the key in OpenSSH's older form: pairs of digits with colons between them."""
    try:
        serialization.load_ssh_public_key(public_key.encode())
        raw = base64.b64decode(public_key.split()[1])
    except (ValueError, IndexError, UnsupportedAlgorithm, binascii.Error):
        raise _invalid("failed to generate fingerprint") from None
    return _colons(hashlib.md5(raw, usedforsecurity=False).digest())


def _x509_fingerprint(certificate: str) -> str:
    try:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _invalid(f"failed to generate X509 fingerprint. Error message: {error}") from None
    return _colons(parsed.fingerprint(hashes.SHA1()))  # noqa: S303  # the documented form of the fingerprint


def generated(kind: str, user_id: str) -> Material:
    """A new key; takes a moment, so call it outside of transactions.

    Args:
        user_id: whom a certificate names.

    Raises:
        Invalid: no certificate can name this user. Unavailable: too many keys are being made.
    """
    if kind == "x509" and not 0 < len(user_id.encode()) <= MOST_COMMON_NAME:
        raise _invalid(f"a certificate cannot name a user whose id is longer than {MOST_COMMON_NAME} bytes")
    key = _private_key()
    return _ssh(key) if kind == "ssh" else _x509(key, user_id)


def _private_key() -> rsa.RSAPrivateKey:
    """A new key; few are made at a time, so that who wants many keeps nobody from being answered."""
    if not _places.acquire(blocking=False):
        raise Unavailable("Too many keys are being made at the moment; try again, or import one.")
    try:
        with _making:
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    finally:
        _places.release()


def _ssh(key: rsa.RSAPrivateKey) -> Material:
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    text = f"{public.decode()} Generated-by-Pileus"
    return Material(type="ssh", public_key=text, fingerprint=_ssh_fingerprint(text), private_key=private.decode())


def _x509(key: rsa.RSAPrivateKey, user_id: str) -> Material:
    """A certificate by which Windows lets its user in over WinRM: self-signed, for client authentication, with a UPN.

    The private key comes as Nova gives it: a PKCS #12 archive of key and certificate without password, in base64.
    """
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id)])
    principal = x509.OtherName(UPN, _utf8(f"{user_id}@localhost"))
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([principal]), critical=False)
        .sign(key, hashes.SHA256())
    )
    archive = pkcs12.serialize_key_and_certificates(None, key, certificate, None, serialization.NoEncryption())
    text = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = base64.b64encode(archive).decode()
    return Material(type="x509", public_key=text, fingerprint=_x509_fingerprint(text), private_key=private)


def _utf8(text: str) -> bytes:
    """A UTF8String in DER."""
    raw = text.encode()
    assert len(raw) < 0x80, "longer ones have another form"
    return bytes([0x0C, len(raw)]) + raw


def find(session: Session, user_id: str, name: str) -> KeyPair | None:
    """A user's key pair by its name."""
    return session.get(KeyPair, (user_id, name))


def create(session: Session, values: Values, asks: Requester) -> KeyPair:
    """Keep a key under a name.

    Args:
        values: `name`, `user_id` whose key it is, and `material`.
        asks: its project's quota holds; it counts the user's keys.

    Raises:
        QuotaExceeded: the user has as many as the project allows. Conflict: the name is taken.
    """
    session.lock("key_pairs")
    user_id, name, material = values["user_id"], values["name"], values["material"]
    held = session.scalar(select(func.count()).select_from(KeyPair).where(KeyPair.user_id == user_id)) or 0
    QUOTAS.fit(session, asks.caller.project_id or "", {"key_pairs": 1}, used={"key_pairs": held})
    if find(session, user_id, name) is not None:
        raise Conflict(f"Key pair '{name}' already exists.")
    key = KeyPair(
        user_id=user_id,
        name=name,
        id=(session.scalar(select(func.max(KeyPair.id))) or 0) + 1,
        type=material.type,
        public_key=material.public_key,
        fingerprint=material.fingerprint,
        created_at=utcnow(),
    )
    session.add(key)
    session.flush()
    return key


def delete(session: Session, key: KeyPair, asks: Asks) -> None:
    """Forget a key; servers keep what they took of it."""
    session.delete(key)
