"""The agents hear of what they know, and of nothing else; what they missed is told later."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from pileus.agent.commands import Answer, Envelope, Failure
from pileus.cloud import Cloud
from pileus.network import ports
from pileus.network.flows import sync
from pileus.network.model import Unsynced
from pileus.network.requests import NetworkRequest
from pileus.operations import OperationRow
from pileus.operations.runner import Runner
from tests.support import eventually
from tests.unit.network.conftest import Caller


class Agent:
    """Answers every command at once; keeps them."""

    def __init__(self, cloud: Cloud) -> None:
        self.heard: list[Envelope] = []
        self.failure: Failure | None = None
        self._cloud = cloud
        self.runner = Runner(cloud.db, "replica", 2, self._send)

    def _send(self, envelope: Envelope) -> None:
        self.heard.append(envelope)
        self.runner.answer(Answer(key=envelope.key, host=envelope.host, failure=self.failure))

    def settle(self) -> list[str]:
        """Wait until nothing is under way; the names of the commands heard since the last time."""
        unfinished = select(func.count()).select_from(OperationRow).where(OperationRow.finished_at.is_(None))

        def settled() -> bool:
            with self._cloud.db.read() as session:
                return not session.scalar(unfinished)

        eventually(settled, 10, "the end of every operation")
        heard, self.heard = self.heard, []
        return [type(envelope.command).__name__ for envelope in heard]


@pytest.fixture
def agent(cloud: Cloud) -> Iterator[Agent]:
    agent = Agent(cloud)
    agent.runner.start()
    yield agent
    agent.runner.stop()


def test_only_what_is_wired_is_synced(cloud: Cloud, demo: Caller, agent: Agent) -> None:
    network = demo.network("10.0.0.0/24")
    group = demo.make("security_group", name="web")
    port = demo.make("port", network_id=network["id"], security_groups=[group["id"]])
    demo("PUT", f"/networks/{network['id']}", {"network": {"name": "x"}})
    demo.make("security_group_rule", security_group_id=group["id"], direction="ingress", protocol="tcp")
    assert agent.settle() == []
    with cloud.db.write() as session:
        ports.allocate_for_server(
            session, "s", demo.project_id, "u", "h", [NetworkRequest(port_id=port["id"])], [], "n"
        )
    demo.make("security_group_rule", security_group_id=group["id"], direction="ingress", protocol="udp")
    assert agent.settle() == ["SyncSecurityGroup"]
    demo("PUT", f"/networks/{network['id']}", {"network": {"name": "y"}})
    assert agent.settle() == ["SyncNetwork"]
    demo("PUT", f"/ports/{port['id']}", {"port": {"security_groups": []}})
    assert agent.settle() == ["SyncPort"]
    assert demo("DELETE", f"/ports/{port['id']}")[0] == 204
    assert agent.settle() == ["DropPort"]
    assert demo("DELETE", f"/security-groups/{group['id']}")[0] == 204
    assert agent.settle() == ["DropSecurityGroup"]
    assert demo("DELETE", f"/networks/{network['id']}")[0] == 204
    assert agent.settle() == ["DropNetwork"]


def test_what_the_agents_missed_is_told_later(cloud: Cloud, demo: Caller, admin: Caller, agent: Agent) -> None:
    network = admin.network("10.0.0.0/24")
    agent.failure = Failure(code="host-down", message="away")
    port = admin.make("port", network_id=network["id"], **{"binding:host_id": "h1"})
    assert agent.settle() == ["SyncPort"]
    agent.failure = None
    with cloud.db.write() as session:
        assert sync.retry(session, "req-1") == 1
    assert agent.settle() == ["SyncPort"]
    with cloud.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Unsynced)) == 0
    assert admin("DELETE", f"/ports/{port['id']}")[0] == 204
    assert agent.settle() == ["DropPort"]
