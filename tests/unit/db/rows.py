"""A row with values of many kinds."""

from __future__ import annotations

from pileus.compute.model import Server
from pileus.compute.snapshots import FlavorSnapshot, ImageSnapshot
from pileus.db import utcnow


def a_server(number: int, name: str) -> Server:
    """Deleted if it is called `gone`."""
    now = utcnow()
    return Server(
        id=name, number=number, name=name, hostname=name, project_id="p", user_id="u", reservation_id="r",
        vm_state="active", flavor=FlavorSnapshot(vcpus=1, ram=1, disk=1, extra_specs={"a": "b"}), group_id="g",
        image=ImageSnapshot(properties={"c": "d"}), networks=[], security_groups=["x"], metadata_={"k": "v"},
        created_at=now, updated_at=now, deleted_at=now if name == "gone" else None,
    )  # fmt: skip
