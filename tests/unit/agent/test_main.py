"""What an agent's settings lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.freight import FreightDesk
from pileus.agent.main import AgentSettings, make_hypervisor
from pileus.agent.metadata import MetadataService, MetadataStore
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.papers import PapersFolder
from pileus.agent.storage.uploads import Outgoing


@pytest.mark.parametrize("kind", ["fake", "libvirt"])
@pytest.mark.parametrize("beside", [True, False], ids=["a replica's machine", "another machine"])
def test_images_of_guests_go_to_the_replica_of_this_machine_or_wait_for_another(
    tmp_path: Path, kind: str, beside: bool
) -> None:
    if kind == "libvirt":
        pytest.importorskip("libvirt")
    settings = AgentSettings(
        state=tmp_path / "cloud" / "agent",
        name="a",
        listen=("127.0.0.1", 0),
        socket=tmp_path / "agent.sock",
        group=None,
        hypervisor=kind,
        network="fake",
        fake_hosts=1,
        store=tmp_path / "images" if beside else None,
    )
    service = MetadataService(MetadataStore(settings.state / "metadata"))
    hypervisor = make_hypervisor(
        settings, kind, FakeNetwork(), service, FreightDesk(), PapersFolder(tmp_path / "papers")
    )
    uploads = hypervisor._uploads  # type: ignore[attr-defined]
    assert uploads.check(f"file://{tmp_path}/images/incoming/image") == "image"
    assert isinstance(uploads, Outgoing) is not beside
    if beside:
        with pytest.raises(CommandFailed):
            uploads.check(f"file://{tmp_path}/image")
