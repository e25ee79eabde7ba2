"""The cloud's own certificate authority."""

from __future__ import annotations

from datetime import timedelta

from pileus import certificates
from pileus.certificates import Identity, Papers
from pileus.db import Session, utcnow
from pileus.membership.model import Authority
from pileus.operations.ids import cloud_id

REPLICA_LASTS = timedelta(days=7)
"""How long a replica's certificate is valid; it makes itself a new one whenever it wants."""
_ONLY = 1


def found(session: Session) -> None:
    """Make the authority, if the cloud has none."""
    if session.get(Authority, _ONLY) is None:
        key, certificate = certificates.found_authority(cloud_id(session))
        session.add(Authority(id=_ONLY, key=key, certificate=certificate, created_at=utcnow()))


def certificate(session: Session) -> bytes:
    """The authority's own certificate, PEM."""
    return session.get_one(Authority, _ONLY).certificate


def certify_agent(session: Session, name: str, public_key: bytes, lasts_s: float) -> bytes:
    """A certificate, PEM, that a public key is an agent's."""
    return _sign(session, certificates.AGENT, name, public_key, timedelta(seconds=lasts_s))


def replica_papers(session: Session, replica_id: str) -> Papers:
    """A new key of a replica with its certificate."""
    key = certificates.new_key()
    own = _sign(session, certificates.REPLICA, replica_id, certificates.public_of(key), REPLICA_LASTS)
    return Papers(key, own, certificate(session))


def _sign(session: Session, role: str, name: str, public_key: bytes, lasts: timedelta) -> bytes:
    row = session.get_one(Authority, _ONLY)
    who = Identity(cloud_id(session), role, name)
    return certificates.sign((row.key, row.certificate), public_key, who, lasts)
