"""Key pairs: a user's public keys, imported or generated."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import func, select

from pileus.compute.model import KeyPair
from pileus.compute.quotas import QUOTAS
from pileus.db import Session, utcnow
from pileus.errors import Conflict, Invalid, NotFound, QuotaExceeded

RSA_BITS = 3072


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


def generated(kind: str) -> Material:
    """A new key; takes a moment, so call it outside of transactions.

    Raises:
        Invalid: only ssh keys are generated.
    """
    if kind != "ssh":
        raise _invalid(f"{kind} key pairs can be imported, but are not generated")
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    text = f"{public.decode()} Generated-by-Pileus"
    return Material(type=kind, public_key=text, fingerprint=_ssh_fingerprint(text), private_key=private.decode())


def find(session: Session, user_id: str, name: str) -> KeyPair | None:
    """A user's key pair by its name."""
    return session.get(KeyPair, (user_id, name))


def get(session: Session, user_id: str, name: str) -> KeyPair:
    """Raises NotFound: the user has no key pair of this name."""
    key = find(session, user_id, name)
    if key is None:
        raise NotFound(f"Keypair {name} not found for user {user_id}")
    return key


def page(session: Session, user_id: str, marker: str | None, limit: int | None) -> list[KeyPair]:
    """A user's key pairs by name, from behind `marker` on.

    Raises:
        Invalid: the user has no key pair of the marker's name.
    """
    query = select(KeyPair).where(KeyPair.user_id == user_id).order_by(KeyPair.name)
    if marker is not None:
        if find(session, user_id, marker) is None:
            raise Invalid(f"Marker {marker} could not be found.")
        query = query.where(KeyPair.name > marker)
    return list(session.scalars(query.limit(limit)))


def create(session: Session, user_id: str, project_id: str, name: str, material: Material) -> KeyPair:
    """Keep a key under a name.

    Args:
        project_id: the project whose quota holds; it counts the user's keys.

    Raises:
        QuotaExceeded: the user has as many as the project allows. Conflict: the name is taken.
    """
    session.lock("key_pairs")
    limit = QUOTAS.limits(session, project_id)["key_pairs"]
    held = session.scalar(select(func.count()).select_from(KeyPair).where(KeyPair.user_id == user_id)) or 0
    if 0 <= limit <= held:
        raise QuotaExceeded("Quota exceeded, too many key pairs.")
    if find(session, user_id, name) is not None:
        raise Conflict(f"Key pair '{name}' already exists.")
    values: dict[str, Any] = msgspec.structs.asdict(material)
    values.pop("private_key")
    number = (session.scalar(select(func.max(KeyPair.id))) or 0) + 1
    key = KeyPair(user_id=user_id, name=name, id=number, created_at=utcnow(), **values)
    session.add(key)
    session.flush()
    return key


def remove(session: Session, user_id: str, name: str) -> None:
    """Raises NotFound: the user has no key pair of this name."""
    session.delete(get(session, user_id, name))
