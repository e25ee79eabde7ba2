"""What an agent's settings lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.main import AgentSettings, make_hypervisor
from pileus.agent.metadata import MetadataService, MetadataStore
from pileus.agent.network.fake import FakeNetwork


@pytest.mark.parametrize("kind", ["fake", "libvirt"])
@pytest.mark.parametrize("given", [None, "elsewhere"])
def test_images_go_beside_the_agents_state_unless_told_otherwise(tmp_path: Path, kind: str, given: str | None) -> None:
    if kind == "libvirt":
        pytest.importorskip("libvirt")
    place = tmp_path / (given or "cloud/images/incoming")
    settings = AgentSettings(
        state=tmp_path / "cloud" / "agent",
        name="a",
        listen=("127.0.0.1", 0),
        socket=tmp_path / "agent.sock",
        group=None,
        hypervisor=kind,
        network="fake",
        fake_hosts=1,
        uploads=place if given else None,
    )
    service = MetadataService(MetadataStore(settings.state / "metadata"))
    hypervisor = make_hypervisor(settings, kind, FakeNetwork(), service)
    uploads = hypervisor._uploads  # type: ignore[attr-defined]
    assert uploads.check(f"file://{place}/image") == "image"
    with pytest.raises(CommandFailed):
        uploads.check(f"file://{tmp_path}/image")
