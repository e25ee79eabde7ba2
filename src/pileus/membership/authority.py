"""The cloud's own certificate authorities: one of all its parts, and one of replicas alone.

OVN's northbound database lets in whoever shows a certificate of the authority that it was told of, whomever that names:
it is told of the second one.
"""

from __future__ import annotations

from datetime import timedelta

from pileus import certificates
from pileus.certificates import Identity, Papers
from pileus.db import Session, utcnow
from pileus.membership.model import Authority
from pileus.operations.ids import cloud_id

REPLICA_LASTS = timedelta(days=7)
"""How long a replica's certificate is valid; it makes itself a new one whenever it wants."""
_OF_ALL, _OF_REPLICAS = 1, 2


def found(session: Session) -> None:
    """Make the authorities that the cloud does not have yet."""
    for id, name in ((_OF_ALL, cloud_id(session)), (_OF_REPLICAS, f"{cloud_id(session)} replicas")):
        if session.get(Authority, id) is None:
            key, certificate = certificates.found_authority(name)
            session.add(Authority(id=id, key=key, certificate=certificate, created_at=utcnow()))


def certificate(session: Session) -> bytes:
    """The own certificate, PEM, of the authority of all parts."""
    return session.get_one(Authority, _OF_ALL).certificate


def of_replicas(session: Session) -> bytes:
    """The own certificate, PEM, of the authority that signs for replicas alone."""
    return session.get_one(Authority, _OF_REPLICAS).certificate


def certify_agent(session: Session, name: str, public_key: bytes, lasts_s: float) -> bytes:
    """A certificate, PEM, that a public key is an agent's."""
    return _sign(session, certificates.AGENT, name, public_key, timedelta(seconds=lasts_s))


def replica_papers(session: Session, replica_id: str) -> Papers:
    """A new key of a replica with its certificate, for agents."""
    return _replica_papers(session, replica_id, _OF_ALL)


def northbound_papers(session: Session, replica_id: str) -> Papers:
    """The same for OVN's northbound database, which shows the certificate of the agent that it runs beside."""
    return _replica_papers(session, replica_id, _OF_REPLICAS)


def _replica_papers(session: Session, replica_id: str, by: int) -> Papers:
    key = certificates.new_key()
    own = _sign(session, certificates.REPLICA, replica_id, certificates.public_of(key), REPLICA_LASTS, by)
    return Papers(key, own, certificate(session))


def _sign(session: Session, role: str, name: str, public_key: bytes, lasts: timedelta, by: int = _OF_ALL) -> bytes:
    row = session.get_one(Authority, by)
    who = Identity(cloud_id(session), role, name)
    return certificates.sign((row.key, row.certificate), public_key, who, lasts)
