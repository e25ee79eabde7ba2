"""Change what the metadata service tells a guest: the server's row has changed already."""

from __future__ import annotations

from functools import partial

from pileus.compute import spec
from pileus.operations import Operation, flow


@flow("guest.update_data")
def update_data(op: Operation, server_id: str, host: str) -> None:
    """One host command; the guest reads the new data when it asks next."""
    op.command("update instance data", host, partial(spec.update_data, server_id=server_id))
