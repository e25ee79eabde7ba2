"""What tenants read of hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.compute.unnamed import unnamed
from tests.unit.nouns import Nouns

SENTENCES = [
    ("Host up: disk broken.", "Host #1: disk broken."),
    ("Building failed on 2 hosts. Host down: x. Host up: y.", "Building failed on 2 hosts. Host #1: x. Host #2: y."),
    ("Host down does not answer; down, up and down.", "Host #1 does not answer; #1, #2 and #1."),
    ("up-1, down.example and setup are no hosts.", "up-1, down.example and setup are no hosts."),
    ("", ""),
]


@pytest.mark.parametrize(("written", "read"), SENTENCES)
def test_hosts_are_numbered(tmp_path: Path, written: str, read: str) -> None:
    with Nouns(tmp_path).serving.db.read() as session:
        assert unnamed(session, written) == read
