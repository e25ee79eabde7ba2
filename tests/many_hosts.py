"""A cloud of several replicas and several agents on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support import CloudUnderTest, eventually, free_port


class ManyHosts:
    """Replicas over one database, agents that joined them by mutual TLS, an image and a network.

    Args:
        hosts: that each agent simulates; the agent's name is behind theirs. addresses: where agents listen.
    """

    def __init__(
        self, database: str, replicas: int = 2, agents: int = 2, hosts: int = 3, addresses: Sequence[str] = ()
    ) -> None:
        self.hosts, self._addresses = hosts, addresses
        self.replicas = [CloudUnderTest(None, "--database", database, verb="replica") for _ in range(replicas)]
        self.agents: list[CloudUnderTest] = []
        try:
            self._start(database, agents)
            self._furnish()
            eventually(lambda: len(self.states()) == agents * hosts, 60, "every host")
        except BaseException:
            self.remove()
            raise

    def _start(self, database: str, agents: int) -> None:
        for one in self.replicas:
            one.database = database
            one.settings["image_folder"] = str(self.replicas[0].state / "images")  # as a shared file system's
            one.up()
        token = self.replicas[0].pileus("join-token").strip()
        for number in range(agents):
            url = f"http://127.0.0.1:{self.replicas[number % len(self.replicas)].port}"
            simulated = ["--hypervisor", "fake", "--fake-hosts", str(self.hosts)]
            if self._addresses:
                simulated += ["--listen", f"{self._addresses[number]}:{free_port()}"]
            options = ("--join", url, "--token", token, "--name", f"rack{number}", *simulated)
            self.agents.append(CloudUnderTest(None, *options, verb="agent"))
            self.agents[-1].up()

    def _furnish(self) -> None:
        self.first, self.second = (one.connect("admin") for one in self.replicas[:2])
        image = {"name": "zeroes", "disk_format": "raw", "container_format": "bare"}
        self.image = self.first.image.create_image(**image, data=bytes(1024 * 1024)).id
        self.network = self.first.network.create_network(name="net").id
        self.first.network.create_subnet(network_id=self.network, ip_version=4, cidr="10.1.0.0/16")
        project = self.first.current_project_id
        self.first.compute.put(
            f"/os-quota-sets/{project}", json={"quota_set": dict.fromkeys(("instances", "cores", "ram"), -1)}
        )
        self.first.network.put(f"/quotas/{project}", json={"quota": {"port": -1}})

    def remove(self) -> None:
        for one in (*self.agents, *self.replicas):
            one.remove()

    def states(self) -> dict[str, str]:
        """Of each host, whether it is up."""
        return {one.host: one.state for one in self.first.compute.services()}

    def boot(self, count: int, connection: Any) -> None:
        """Ask for servers, in one request."""
        body = {"name": "s", "imageRef": self.image, "flavorRef": "42", "networks": [{"uuid": self.network}]}
        answer = connection.compute.post("/servers", json={"server": body | {"min_count": count, "max_count": count}})
        assert answer.status_code == 202, answer.text

    def settled(self, count: int) -> list[Any]:
        """The servers, once there are so many and nothing is under way on them; each has one guest, where it is."""

        def look() -> list[Any] | None:
            found = list(self.first.compute.servers())
            busy = [one for one in found if one.task_state is not None or one.status == "BUILD"]
            return found if len(found) == count and not busy else None

        found: list[Any] = eventually(look, 90, f"{count} servers at rest") if count else []
        eventually(lambda: self.guests() == {one.id: one.compute_host for one in found}, 20, "exactly their guests")
        assert self.replicas[0].query("SELECT count(*) FROM consumers")[0][0] == count
        eventually(lambda: not self.replicas[0].query("SELECT name FROM debts"), 30, "the payment of every debt")
        return found

    def guests(self) -> dict[str, str]:
        """The host of each guest; "twice" of one that is on two."""
        found: dict[str, str] = {}
        for one in self.agents:
            for path in (one.state / "agent" / "fake").glob("fake-*/*"):
                found[path.name] = "twice" if path.name in found else path.parent.name
        return found

    def clear(self) -> None:
        for one in list(self.first.compute.servers()):
            self.first.compute.delete_server(one.id)
        eventually(lambda: not list(self.first.compute.servers()), 60, "the end of every server")
        self.settled(0)
