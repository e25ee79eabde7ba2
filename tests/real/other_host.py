"""Another host on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pileus.agent.commands import Peer
from pileus.agent.timeline import Timeline
from tests.real.libvirt_world import Cloud


class OtherHost:
    """Brings files from another hypervisor of this machine."""

    def __init__(self, other: Cloud) -> None:
        self.other = other

    def fetch(self, peer: Peer, server_id: str, file: str, into: Path, progress: Any, timeline: Timeline) -> None:
        source = self.other.hypervisor.handed_over("there", server_id, file)
        shutil.copyfile(source, into)
        progress(source.stat().st_size, source.stat().st_size)
