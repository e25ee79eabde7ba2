"""Two replicas over PostgreSQL and two agents that joined them by mutual TLS, each of which may go away."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.postgres import Postgres
from tests.support import CloudUnderTest, eventually

HOSTS = 3


class ManyHosts:
    """The cloud, with an image and a network."""

    def __init__(self, database: str) -> None:
        self.replicas = [CloudUnderTest(None, "--database", database, verb="replica") for _ in range(2)]
        for one in self.replicas:
            one.database = database
            one.settings["image_folder"] = str(self.replicas[0].state / "images")  # as a shared file system's
            one.up()
        token = self.replicas[0].pileus("join-token").strip()
        self.agents: list[CloudUnderTest] = []
        for number, replica in enumerate(self.replicas):
            url = f"http://127.0.0.1:{replica.port}"
            options = ("--join", url, "--token", token, "--name", f"rack{number}", "--fake-hosts", str(HOSTS))
            self.agents.append(CloudUnderTest(None, *options, verb="agent"))
            self.agents[-1].up()
        self.first, self.second = (one.connect("admin") for one in self.replicas)
        image = {"name": "zeroes", "disk_format": "raw", "container_format": "bare"}
        self.image = self.first.image.create_image(**image, data=bytes(1024 * 1024)).id
        self.network = self.first.network.create_network(name="net").id
        self.first.network.create_subnet(network_id=self.network, ip_version=4, cidr="10.1.0.0/16")
        project = self.first.current_project_id
        self.first.compute.put(
            f"/os-quota-sets/{project}", json={"quota_set": dict.fromkeys(("instances", "cores", "ram"), -1)}
        )
        eventually(lambda: len(self.states()) == 2 * HOSTS, 30, "every host")

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
        assert self.replicas[0].query("SELECT host, name, error FROM debts") == []
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


@pytest.fixture(scope="module")
def world(postgres: Postgres) -> Iterator[ManyHosts]:
    made = ManyHosts(postgres.new_database())
    yield made
    made.remove()


@pytest.fixture
def cloud(world: ManyHosts) -> Iterator[ManyHosts]:
    yield world
    world.clear()


def slowly(cloud: ManyHosts, seconds: float) -> None:
    """Guests take so long to build from now on."""
    for one in cloud.agents:
        (one.state / "agent" / "fake" / "behaviour.json").write_text(json.dumps({"build_s": seconds}))


def test_every_replica_serves_every_host(cloud: ManyHosts) -> None:
    names = {f"fake-{number + 1}.rack{agent}" for number in range(HOSTS) for agent in range(2)}
    assert cloud.states() == dict.fromkeys(names, "up")
    cloud.boot(2 * HOSTS, cloud.second)
    found = cloud.settled(2 * HOSTS)
    assert {one.status for one in found} == {"ACTIVE"}
    assert {one.compute_host.rpartition(".")[2] for one in found} == {"rack0", "rack1"}
    for connection in (cloud.first, cloud.second):
        for one in found:
            assert connection.compute.get_server_console_output(one.id)["output"], "asked of its host by mutual TLS"


def test_an_image_that_a_host_made_is_every_replicas(cloud: ManyHosts) -> None:
    cloud.boot(1, cloud.first)
    [server] = cloud.settled(1)
    made = cloud.second.compute.create_server_image(server, "copy", wait=True)
    data = [one.image.download_image(made.id).content for one in (cloud.first, cloud.second)]
    assert data[0] == data[1] and len(data[0]) == cloud.first.image.get_image(made.id).size > 0
    cloud.first.image.delete_image(made.id)


def test_replicas_know_the_same_passwords(cloud: ManyHosts) -> None:
    first, second = (one.credentials("demo")["OS_PASSWORD"] for one in cloud.replicas)
    assert first == second and cloud.replicas[1].connect("demo").authorize()


def test_an_agent_holds_no_secret_of_the_control_plane(cloud: ManyHosts) -> None:
    for one in cloud.agents:
        settings = json.loads((one.state / "settings.json").read_text())
        assert settings["database"] == "" and not (one.state / "credentials.json").exists()
        papers = one.state / "agent" / "papers" / "papers.json"
        assert papers.stat().st_mode & 0o077 == 0 and papers.parent.stat().st_mode & 0o077 == 0
        assert f"host       {one.options[one.options.index('--name') + 1]}, of cloud" in one.pileus("status")


def test_what_a_killed_replica_had_under_way_is_taken_over(cloud: ManyHosts) -> None:
    slowly(cloud, 0.5)
    cloud.boot(40, cloud.second)
    cloud.replicas[1].kill()
    found = cloud.settled(40)
    assert Counter(one.status for one in found) == {"ACTIVE": 40}
    cloud.replicas[1].up()
    slowly(cloud, 0)


def test_a_database_that_is_lost_for_a_moment_loses_nothing(cloud: ManyHosts, postgres: Postgres) -> None:
    slowly(cloud, 0.3)
    cloud.boot(30, cloud.first)
    postgres.restart()
    slowly(cloud, 0)
    assert Counter(one.status for one in cloud.settled(30)) == {"ACTIVE": 30}


def test_agents_that_are_restarted_amid_builds_lose_nothing(cloud: ManyHosts) -> None:
    slowly(cloud, 0.3)
    cloud.boot(30, cloud.first)
    for one in cloud.agents:
        one.kill()
        one.options = ["--fake-hosts", str(HOSTS)]  # it has joined
        one.up()
    slowly(cloud, 0)
    assert Counter(one.status for one in cloud.settled(30)) == {"ACTIVE": 30}


def test_a_silent_host_is_down_and_gets_nothing_until_it_is_back(cloud: ManyHosts) -> None:
    silent = cloud.agents[0]
    [process] = silent.children
    os.kill(process, signal.SIGSTOP)
    try:
        eventually(lambda: Counter(cloud.states().values()) == {"down": HOSTS, "up": HOSTS}, 45, "its being down")
        cloud.boot(4, cloud.second)
        eventually(lambda: len(cloud.guests()) == 4, 60, "four guests")
        assert {host.rpartition(".")[2] for host in cloud.guests().values()} == {"rack1"}
    finally:
        os.kill(process, signal.SIGCONT)
    eventually(lambda: set(cloud.states().values()) == {"up"}, 30, "its being back")
    cloud.settled(4)
