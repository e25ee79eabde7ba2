"""An agent's key and certificates, in a folder of its own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from pileus import certificates
from pileus.agent.commands import Certificate, CertificateRequest
from pileus.agent.errors import CommandFailed
from pileus.certificates import Papers
from pileus.files import write_private


class Pems(NamedTuple):
    """Files that hold the same for programs that want files, and the authority that signs for replicas alone."""

    key: Path
    certificate: Path
    authority: Path
    replicas: Path


class PapersFolder:
    """What the agent shows and trusts; a replica renews it over the connection that it has.

    `papers.json` is in use, and `pems` say the same; `next-key.pem` is a key that a certificate is asked for.

    Args:
        path: made if missing; only the agent's user may look into it.
        central: OVN's central is here, which wants to know the replicas' authority.
    """

    def __init__(self, path: Path, central: bool = False) -> None:
        self._central = central
        self._papers, self._asked = path / "papers.json", path / "next-key.pem"
        self.pems = Pems(*(path / f"{name}.pem" for name in Pems._fields))
        self.changed: Callable[[], None] = lambda: None
        """Called when there are new ones."""
        self._lock = threading.Lock()
        self._used: tuple[Papers, ssl.SSLContext] | None = None
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def papers(self) -> Papers | None:
        """What there is; None before it was given any."""
        try:
            return msgspec.json.decode(self._papers.read_bytes(), type=Papers)
        except FileNotFoundError:
            return None

    def context(self) -> ssl.SSLContext | None:
        """For connections that others open to this agent; None while it has no certificate."""
        papers = self.papers()
        with self._lock:
            if papers is None:
                return None
            if self._used is None or self._used[0] != papers:
                self._used = papers, papers.context(ssl.Purpose.CLIENT_AUTH)
            return self._used[1]

    def request(self) -> CertificateRequest:
        """Ask for a certificate: for a new key, the same until it has its certificate."""
        papers = self.papers()
        whole = papers is not None and (self.pems.replicas.exists() or not self._central)
        return CertificateRequest(request=self._ask(None), ends=papers.ends.timestamp() if papers and whole else 0.0)

    def request_to_join(self) -> str:
        """The same, PEM, of who joins: for the key that it has joined with, if it has."""
        papers = self.papers()
        return self._ask(papers.key if papers else None)

    def _ask(self, key: bytes | None) -> str:
        with self._lock:
            if key is None and not self._asked.exists():
                write_private(self._asked, certificates.new_key())
            return certificates.request(key or self._asked.read_bytes()).decode()

    def take(self, given: Certificate) -> None:
        """Have the certificate that was asked for; the former one goes, and its key if this is for the new one.

        Raises:
            CommandFailed: "invalid": it is for another key, or none was asked for.
        """
        papers = self.papers()
        with self._lock:
            keys = [self._asked.read_bytes()] if self._asked.exists() else []
            keys += [papers.key] if papers else []
            for key in keys:
                fresh = Papers(key, given.certificate.encode(), given.authority.encode())
                with suppress(ssl.SSLError, ValueError):
                    fresh.context(ssl.Purpose.CLIENT_AUTH)
                    write_private(self._papers, msgspec.json.encode(fresh))
                    for path, content in zip(self.pems[:3], msgspec.structs.astuple(fresh), strict=True):
                        write_private(path, content)
                    if given.replicas:
                        write_private(self.pems.replicas, given.replicas.encode())
                    self._asked.unlink(missing_ok=True)
                    break
            else:
                raise CommandFailed("invalid", "the certificate cannot be used: it is not for a key that this host has")
        self.changed()
