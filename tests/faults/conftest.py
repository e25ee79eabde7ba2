"""A cloud that is killed again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import FAKE
from tests.support import CloudUnderTest, eventually


class Victim:
    """A cloud with one image and one network, whose processes can be held at a named point and killed there."""

    def __init__(self, cloud: CloudUnderTest) -> None:
        self.cloud = cloud
        cloud.up()
        admin = cloud.connect("admin")
        self.compute = admin.compute
        self.image = admin.image.create_image(
            name="zeroes", disk_format="raw", container_format="bare", data=bytes(1024 * 1024)
        ).id
        self.network = admin.network.create_network(name="net").id
        admin.network.create_subnet(network_id=self.network, ip_version=4, cidr="10.1.0.0/16")
        self.ports = self.count_ports()

    def kill_at(self, point: str, request: Callable[[], None]) -> None:
        """Make a request; kill -9 once the point is reached, then start as usual."""
        with self.cloud.held_at(point) as [held]:
            request()
            eventually(lambda: held.taken, 30, "the hold point")
            self.cloud.kill()
        self.cloud.up()

    def boot(self) -> str:
        return str(
            self.compute.create_server(
                name="victim", image_id=self.image, flavor_id="42", networks=[{"uuid": self.network}]
            ).id
        )

    def settled(self, server_id: str) -> Any:
        """The server once nothing is under way on it any more."""

        def look() -> Any:
            server = self.compute.get_server(server_id)
            return server if server.task_state is None and server.status != "BUILD" else None

        return eventually(look, 60, f"the end of what is under way on {server_id}")

    def gone(self, server_id: str) -> None:
        eventually(lambda: self.compute.find_server(server_id, ignore_missing=True) is None, 60, "the server's end")

    # --- what is left -----------------------------------------------------------------------------------------

    def count_ports(self) -> int:
        return int(self.cloud.query("SELECT count(*) FROM ports")[0][0])

    def guests(self) -> list[Path]:
        return [path for path in (self.cloud.state / "agent" / "fake").glob("fake-*/*") if path.is_file()]

    def assert_holds_exactly(self, servers: int) -> None:
        """Allocations, ports and guests of `servers` servers and no others; nothing under way, owed or unaccounted."""
        eventually(lambda: len(self.guests()) == servers, 20, f"{servers} guests on the hosts")
        assert self.count_ports() - self.ports == servers
        assert self.cloud.query("SELECT count(*) FROM consumers")[0][0] == servers
        assert self.cloud.query("SELECT count(DISTINCT consumer_id) FROM allocations")[0][0] == servers
        self._comes_to_none("the end of every operation", "kind, state FROM operations WHERE finished_at IS NULL")
        self._comes_to_none("the payment of every debt", "host, subject_id, name, error FROM debts")
        assert self.cloud.query("SELECT subject_id, operation_id FROM operation_subjects") == []
        assert self.cloud.query("SELECT host, server_id FROM unknown_guests") == []

    def _comes_to_none(self, what: str, rows: str) -> None:
        eventually(lambda: not self.cloud.query(f"SELECT {rows}"), 20, what)


@pytest.fixture(scope="session")
def victim(new_database: Callable[[], str | None]) -> Iterator[Victim]:
    cloud = CloudUnderTest(new_database(), *FAKE, "--fake-hosts", "2")
    yield Victim(cloud)
    cloud.remove()
