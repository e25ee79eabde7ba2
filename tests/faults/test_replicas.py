"""Two replicas over PostgreSQL and two agents that joined them by mutual TLS, each of which may go away."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.many_hosts import ManyHosts
from tests.postgres import Postgres
from tests.support import eventually

HOSTS = 3


@pytest.fixture(scope="module")
def world(postgres: Postgres) -> Iterator[ManyHosts]:
    made = ManyHosts(postgres.new_database(), hosts=HOSTS)
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


def test_no_secret_stays_on_a_command_line(cloud: ManyHosts) -> None:
    database, token = cloud.replicas[0].database, cloud.agents[0].options[3]
    assert database and token
    for one in (*cloud.replicas, *cloud.agents):
        for pid in (one.pid, *one.children):
            words = Path(f"/proc/{pid}/cmdline").read_text()
            assert database not in words and token not in words and "pileus" in words


def test_a_host_keeps_the_name_that_its_cloud_knows(cloud: ManyHosts) -> None:
    agent = cloud.agents[0]
    agent.down()
    given, agent.options = agent.options, ["--name", "another"]
    with pytest.raises(AssertionError, match="wants --join"):
        agent.up()
    agent.options = given
    agent.up()


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
        one.options = []  # it has joined
        one.up()
    slowly(cloud, 0)
    assert Counter(one.status for one in cloud.settled(30)) == {"ACTIVE": 30}


def test_replicas_and_agents_that_are_restarted_one_after_another_lose_nothing(cloud: ManyHosts) -> None:
    """As from one release to the next: orderly, amid builds, and more is asked for all the time."""
    slowly(cloud, 0.3)
    sdks = (cloud.first, cloud.second)
    wanted = 0
    for number in range(2):
        cloud.boot(10, sdks[1 - number])
        cloud.replicas[number].down()
        cloud.boot(10, sdks[1 - number])
        cloud.replicas[number].up()
        cloud.boot(10, sdks[number])
        agent = cloud.agents[number]
        agent.down("--keep-guests")
        agent.options = []  # it has joined
        cloud.boot(10, sdks[number])
        agent.up()
        wanted += 40
    slowly(cloud, 0)
    assert Counter(one.status for one in cloud.settled(wanted)) == {"ACTIVE": wanted}


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


def test_a_machine_that_dies_is_evacuated_and_comes_back_without_its_guests(cloud: ManyHosts) -> None:
    """It dies with its guests, and has them still when it is back: every one of them has gone on elsewhere."""
    cloud.boot(8, cloud.first)
    before = {one.id: one for one in cloud.settled(8)}
    gone = [one.id for one in before.values() if one.compute_host.endswith(".rack0")]
    assert gone, "both racks are used"
    dead = cloud.agents[0]
    dead.kill()
    for one in [one for one in cloud.first.compute.services() if one.host.endswith(".rack0")]:
        cloud.first.compute.update_service_forced_down(one, forced=True)
    connections = (cloud.first, cloud.second)
    for number, server_id in enumerate(gone):
        answer = connections[number % 2].compute.post(
            f"/servers/{server_id}/action", json={"evacuate": {}}, microversion="2.29"
        )
        assert answer.status_code == 200, answer.text

    def elsewhere() -> bool:
        found = list(cloud.first.compute.servers())
        return all(one.status == "ACTIVE" and one.compute_host.endswith(".rack1") for one in found)

    eventually(elsewhere, 90, "every server's being elsewhere")
    assert {one.id: one.addresses for one in cloud.first.compute.servers()} == {
        server_id: one.addresses for server_id, one in before.items()
    }
    assert set(cloud.guests().values()) & {"twice"}, "the dead machine's disks are still there"
    dead.options = []  # it has joined
    dead.up()
    for one in [one for one in cloud.first.compute.services() if one.host.endswith(".rack0")]:
        cloud.first.compute.update_service_forced_down(one, forced=False)
    eventually(lambda: "twice" not in cloud.guests().values(), 60, "the discarding of what it has")
    found = cloud.settled(8)
    assert {one.compute_host.rpartition(".")[2] for one in found} == {"rack1"}
    eventually(lambda: set(cloud.states().values()) == {"up"}, 60, "its being used again")
