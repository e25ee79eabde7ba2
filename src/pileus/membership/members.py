"""Who belongs to the cloud, as one replica sees it: which agents it reaches, and how (operations.agents.Members)."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import select

from pileus.agent.commands import Certificate, CertificateRequest
from pileus.certificates import AGENT, Identity, Papers, requested_key
from pileus.db import Database, Session
from pileus.errors import Unavailable
from pileus.membership import agents, authority
from pileus.membership.model import Agent
from pileus.operations.agents import Contact
from pileus.operations.ids import cloud_id
from pileus.operations.wires import Local, Remote, Way
from pileus.settings import Settings

DIAL_S = 5.0
"""How long OVN's northbound database may take to accept a connection."""
RENEWED_AT = 1 / 3
"""A certificate is renewed when so much of its time is left."""


class Members:
    """Thread-safe."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self._db, self._settings = db, settings
        self._lock = threading.Lock()
        self._papers: dict[Callable[[Session, str], Papers], Papers] = {}

    def cloud(self) -> str:
        """The cloud's id."""
        with self._db.read() as session:
            return cloud_id(session)

    def contacts(self) -> list[Contact]:
        """Every agent that this replica can reach."""
        with self._db.read() as session:
            rows = list(session.scalars(select(Agent).order_by(Agent.name)))
            cloud = cloud_id(session)
            ways = [(row, self._way(session, cloud, row)) for row in rows]
        return [Contact(row.name, way, partial(agents.owns, row.hosts)) for row, way in ways if way]

    def way_to(self, host: str) -> Way:
        """The way to a host's agent.

        Raises:
            Unavailable: nobody speaks for this host, or it cannot be reached from here.
        """
        with self._db.read() as session:
            row = agents.of_host(session, host)
            way = self._way(session, cloud_id(session), row) if row else None
        if way is None:
            raise Unavailable(f"Host {host} cannot be reached.")
        return way

    def certify(self, name: str, asked: CertificateRequest) -> Certificate | None:
        """A new certificate of an agent, if the one that it has ends soon."""
        lasts_s = self._settings.certificate_lifetime_s
        if asked.ends - datetime.now(UTC).timestamp() > RENEWED_AT * lasts_s:
            return None
        key = requested_key(asked.request.encode())
        with self._db.write() as session:
            agents.note_key(session, name, key.decode())
            return Certificate(
                certificate=authority.certify_agent(session, name, key, lasts_s).decode(),
                authority=authority.certificate(session).decode(),
                replicas=authority.of_replicas(session).decode(),
            )

    def dial_northbound(self) -> ssl.SSLSocket:
        """A connection to OVN's northbound database.

        Raises:
            Unavailable: the cloud has none. OSError, Refused: it cannot be reached.
        """
        with self._db.read() as session:
            row = agents.central(session)
            if row is None:
                raise Unavailable("The cloud has no OVN central.")
            papers = self._own(session, authority.northbound_papers)
            way = self._remote(row, row.northbound, cloud_id(session), papers)
        return way.open(DIAL_S)

    def _way(self, session: Session, cloud: str, row: Agent) -> Way | None:
        if row.replica_id == self._settings.replica_id:
            return Local(self._settings.agent_socket)
        if not agents.ADDRESS.fullmatch(row.address):
            return None
        return self._remote(row, row.address, cloud, self._own(session, authority.replica_papers))

    @staticmethod
    def _remote(row: Agent, address: str, cloud: str, papers: Papers) -> Remote:
        """The way to an address where an agent's certificate is shown."""
        host, _, port = address.rpartition(":")
        return Remote(host.strip("[]"), int(port), Identity(cloud, AGENT, row.name), papers, row.keys)

    def _own(self, session: Session, made: Callable[[Session, str], Papers]) -> Papers:
        """What this process shows; made anew when half of its time is over."""
        with self._lock:
            papers = self._papers.get(made)
            if papers is None or papers.ends - datetime.now(UTC) < authority.REPLICA_LASTS / 2:
                papers = self._papers[made] = made(session, self._settings.replica_id)
            return papers
