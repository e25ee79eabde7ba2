"""What tenants read of hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.compute.unnamed import unnamed
from pileus.db import utcnow
from pileus.membership.model import Agent
from tests.unit.nouns import Nouns

SENTENCES = [
    ("Host up: disk broken.", "Host #1: disk broken."),
    ("Building failed on 2 hosts. Host down: x. Host up: y.", "Building failed on 2 hosts. Host #1: x. Host #2: y."),
    ("Host down does not answer; down, up and down.", "Host #1 does not answer; #1, #2 and #1."),
    ("up-1, down.example and setup are no hosts.", "up-1, down.example and setup are no hosts."),
    ("", ""),
    ("Host gone is that of agent rack7; sim-3.rack7 is of it too.", "Host #1 is that of agent #2; #3 is of it too."),
    ("sim-x.rack, rack77 and gone3 are no hosts.", "sim-x.rack, rack77 and gone3 are no hosts."),
]


@pytest.mark.parametrize(("written", "read"), SENTENCES)
def test_hosts_are_numbered(tmp_path: Path, written: str, read: str) -> None:
    """Also those whose service was deleted, and what agents are called."""
    db = Nouns(tmp_path).serving.db
    with db.write() as session:
        for name, hosts in (("gone", "gone"), ("rack7", "*.rack7")):
            session.add(Agent(name=name, hosts=hosts, address="", public_key="k", created_at=utcnow()))
    with db.read() as session:
        assert unnamed(session, written) == read
