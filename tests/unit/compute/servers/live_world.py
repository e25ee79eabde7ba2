"""A server that migrates as it runs, between hosts that answer as the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import (
    Answer,
    ArriveGuest,
    AwaitGuest,
    DepartGuest,
    Envelope,
    Failure,
    MigrateGuest,
    StayGuest,
)
from pileus.compute import hosts
from pileus.compute.actions.live_migrate import SELDOM_S
from pileus.compute.model import Host
from pileus.network.model import Port
from pileus.operations.questions import Questions
from pileus.placement import allocations
from tests.client import Client
from tests.unit.compute.servers.world import SERVERS, World
from tests.unit.operations.world import FakeClock
from tests.unit.serving import Serving

ANY = {"host": None, "block_migration": "auto"}
Result = dict[str, Any]


class LiveWorld(World):
    """As World; hosts answer as the test says."""

    def __init__(self, serving: Serving, admin: Client, demo: Client, boot: Callable[..., str]) -> None:
        super().__init__(serving, admin, demo, boot)
        self.results: dict[type, Result | Failure | None] = {
            DepartGuest: {"power_state": 1, "disks": [], "virt_type": "kvm"},
            AwaitGuest: {"block": True, "directory": "/x"},
            StayGuest: {"here": True, "power_state": 1},
            ArriveGuest: {"complete": True, "power_state": 1},
        }
        """What commands come to: None: nothing yet."""
        self.hosts.answer = self._answer  # type: ignore[method-assign]
        self.told: list[Result] = []

    def _answer(self, envelope: Envelope, failure: Failure | None = None) -> None:
        result = self.results.get(type(envelope.command), {"power_state": 1})
        if result is None:
            return
        self.hosts.withdraw(envelope.key)
        failed = result if isinstance(result, Failure) else failure
        said = {} if failed or isinstance(result, Failure) else result
        if isinstance(envelope.command, ArriveGuest) and envelope.command.run and said.get("power_state") == 3:
            said = said | {"power_state": 1}  # it was held, and is let run
        answer = Answer(key=envelope.key, host=envelope.host, result=said, failure=failed, at=clock.time())
        for replica in self.hosts.replicas:
            replica.answer(answer)

    def migrate(self, **body: Any) -> None:
        self.done("os-migrateLive", ANY | body, self.admin)

    def status(self) -> tuple[str, str, str]:
        """The server's status, where it is, and the move's status."""
        shown = self.show(self.admin)
        return shown["status"], shown["OS-EXT-SRV-ATTR:host"], self.migration().status

    def names(self) -> list[str]:
        return [f"{name} {'source' if host == self.source else 'dest'}" for name, host, _ in self.commands()]

    def ports(self) -> tuple[str, str, str]:
        with self.serving.db.read() as session:
            port = session.scalars(select(Port).where(Port.server_id == self.id)).one()
            return port.host, port.next_host, port.status

    def begin(self) -> None:
        """One that is under way, of which the source has said nothing yet."""
        self.results[MigrateGuest] = None
        self.migrate()
        assert self.status() == ("MIGRATING", self.source, "running")

    def end(self, kind: type, result: Result | Failure) -> None:
        """The command of this kind that is under way comes to this."""
        (letter,) = (one for one in self.hosts.letters() if isinstance(one.envelope.command, kind))
        self.results[kind] = result
        self._answer(letter.envelope)
        self.replica.run()

    def wait(self, fake_clock: FakeClock, seconds: float = SELDOM_S) -> None:
        """Until hosts, which are heard of, are asked again, or for so long."""
        fake_clock.move(seconds)
        with self.serving.db.write() as session:
            hosts.heard_of(session, [self.source, self.other])
        self.replica.run()

    def change_other(self, **values: bool) -> None:
        """The other host is disabled, or forced down."""
        self.change(self.other, **values)

    def change(self, name: str, **values: bool) -> None:
        with self.serving.db.write() as session:
            host = session.get_one(Host, name)
            allocations.move_on(session, [host.provider_id])
            for name, value in values.items():
                setattr(host, name, value)

    def one(self, suffix: str = "") -> str:
        return f"{SERVERS}/{self.id}/migrations/{self.migration().id}{suffix}"

    def steer(self, method: str, version: str = "2.104", body: Any = None) -> Any:
        headers = {"OpenStack-API-Version": f"compute {version}"}
        suffix = "/action" if body is not None else ""
        return self.admin(method, self.one(suffix), json=body, headers=headers)


@pytest.fixture
def world(
    serving: Serving, admin: Client, demo: Client, boot: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> LiveWorld:
    world = LiveWorld(serving, admin, demo, boot)
    monkeypatch.setattr(Questions, "tell", lambda self, question, **told: world.told.append(told) or {})
    return world
