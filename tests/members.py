"""Who belongs to a cloud, for tests of those who talk to each other: an authority, and the ways that are given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pileus import certificates
from pileus.agent.commands import Certificate, CertificateRequest
from pileus.agent.papers import PapersFolder
from pileus.certificates import AGENT, REPLICA, Identity, Papers
from pileus.operations.agents import Contact
from pileus.operations.wires import Way

LASTS = timedelta(hours=1)


class Cloud:
    """A cloud's authority, and what it signs (operations.agents.Members, of the agents added to it)."""

    def __init__(self, id: str) -> None:
        self.id = id
        self._authority = certificates.found_authority(id)
        self._of_replicas = certificates.found_authority(f"{id} replicas")
        self._contacts: list[Contact] = []
        self.renewed: list[str] = []
        self.images: dict[str, Path] = {}
        """What it keeps, and where it takes the data of images that hosts make (operations.freight.Stock)."""
        self.cap_bytes, self.reserve_bytes = 1 << 40, 0

    def papers(self, role: str, name: str, lasts: timedelta = LASTS) -> Papers:
        """A part's key and certificate."""
        key = certificates.new_key()
        own = self._sign(Identity(self.id, role, name), certificates.public_of(key), lasts)
        return Papers(key, own, self._authority[1])

    def replica(self) -> Papers:
        return self.papers(REPLICA, "r1")

    def northbound(self) -> Papers:
        """A replica's for OVN's northbound database."""
        key = certificates.new_key()
        own = certificates.sign(self._of_replicas, certificates.public_of(key), Identity(self.id, REPLICA, "r1"), LASTS)
        return Papers(key, own, self._authority[1])

    def enrol(self, folder: Path, name: str) -> PapersFolder:
        """An agent's folder, with a certificate."""
        found = PapersFolder(folder)
        found.take(self._certificate(name, found.request()))
        return found

    def add(self, name: str, way: Way) -> None:
        """Let replicas know of an agent; all hosts are its own."""
        self._contacts.append(Contact(name, way, lambda host: True))

    # --- operations.agents.Members ----------------------------------------------------------------------------

    def cloud(self) -> str:
        return self.id

    def contacts(self) -> list[Contact]:
        return self._contacts

    def way_to(self, host: str) -> Way:
        return self._contacts[0].way

    def certify(self, name: str, asked: CertificateRequest) -> Certificate | None:
        if asked.ends:
            return None
        self.renewed.append(name)
        return self._certificate(name, asked)

    # --- operations.freight.Stock -----------------------------------------------------------------------------

    def data(self, image_id: str, owns: Callable[[str], bool]) -> Path | None:
        return self.images.get(image_id) if owns("fake-1") else None

    def incoming(self, image_id: str, hosts: set[str]) -> Path | None:
        return self.images.get(image_id) if "fake-1" in hosts else None

    def arrived(self, part: Path, sha512: str) -> None:
        part.rename(part.with_suffix(""))

    # --- inside -----------------------------------------------------------------------------------------------

    def _certificate(self, name: str, asked: CertificateRequest) -> Certificate:
        public = certificates.requested_key(asked.request.encode())
        own = self._sign(Identity(self.id, AGENT, name), public, LASTS)
        authority, replicas = self._authority[1].decode(), self._of_replicas[1].decode()
        return Certificate(certificate=own.decode(), authority=authority, replicas=replicas)

    def _sign(self, who: Identity, public: bytes, lasts: timedelta) -> bytes:
        return certificates.sign(self._authority, public, who, lasts)
