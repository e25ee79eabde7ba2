"""A host that has a disk set aside for host `dest`, and agents of others that ask it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus import certificates
from pileus.agent.commands import Peer
from pileus.agent.commands.freight import PIECE
from pileus.agent.doors import open_tls
from pileus.agent.errors import CommandFailed
from pileus.agent.executor import Executor
from pileus.agent.freight import FreightDesk
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.journal import Journal
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.peers import TlsPeers
from pileus.agent.server import Agent
from pileus.agent.timeline import Timeline
from tests.members import Cloud
from tests.support import free_port

SERVER, CLOUD = "11111111-2222-3333-4444-555555555555", "cloud-1"
HEAD, TAIL = os.urandom(PIECE + 4096), os.urandom(8192)
HOLE = 64 * 1024 * 1024


class Source:
    """A host that has a disk set aside for host `dest`."""

    def __init__(self, folder: Path, cloud: Cloud) -> None:
        folder.mkdir()
        self.disk = folder / "disk"
        with self.disk.open("wb") as file:
            file.write(HEAD)
            file.seek(HOLE)
            file.write(TAIL)
            file.truncate(HOLE + len(TAIL) + 4096)
        journal = Journal(folder / "journal.db")
        hypervisor = FakeHypervisor(folder, FakeNetwork(), 1)
        hypervisor.handed_over = self._handed_over  # type: ignore[method-assign]
        (folder / "cloud").write_text(CLOUD)
        papers = cloud.enrol(folder / "papers", "source")
        parts: Any = (hypervisor, "fake", Executor(hypervisor, journal), journal, folder / "cloud", papers)
        self.agent = Agent("source", *parts, FreightDesk())
        self.port = free_port()
        self.peer = Peer("source", f"127.0.0.1:{self.port}")
        self.asked: list[tuple[str, str, str]] = []
        self.keys: list[str] = []
        self.open()

    def open(self) -> None:
        self.door = open_tls(self.agent, ("127.0.0.1", self.port))

    def close(self) -> None:
        self.door.shutdown()
        self.door.server_close()

    def _handed_over(self, to: str, server_id: str, file: str, key: str = "") -> Path:
        self.asked.append((to, server_id, file))
        self.keys.append(key)
        if (to, server_id, file) != ("dest", SERVER, "disk"):
            raise CommandFailed("no-such-guest", "nothing of that guest is set aside for you")
        return self.disk


def peers(tmp_path: Path, cloud: Cloud, name: str = "dest", reserve_bytes: int = 0) -> TlsPeers:
    """How a host of this name asks others."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "cloud").write_text(CLOUD)
    return TlsPeers(cloud.enrol(folder / "papers", name), folder / "cloud", reserve_bytes)


def key_of(found: TlsPeers) -> str:
    """What it is known by."""
    papers = found._papers.papers()
    assert papers is not None
    return certificates.public_of(papers.key).decode()


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(CLOUD)


@pytest.fixture
def source(tmp_path: Path, cloud: Cloud) -> Iterator[Source]:
    made = Source(tmp_path / "source", cloud)
    yield made
    made.close()


@pytest.fixture
def fetch(tmp_path: Path, cloud: Cloud, source: Source) -> Callable[..., Path]:
    """Fetches as a host; gives where."""

    def fetch(name: str = "dest", of: str = "source", file: str = "disk", papers: Any = None, told: Any = None) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "cloud").write_text(CLOUD)
        mine = papers or cloud.enrol(folder / "papers", name)
        into = folder / "disk.part"
        progress = told or (lambda done, total: None)
        TlsPeers(mine, folder / "cloud").fetch(source.peer._replace(host=of), SERVER, file, into, progress, Timeline())
        return into

    return fetch
