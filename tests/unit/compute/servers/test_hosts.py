"""What hosts say: guests that change by themselves, guests that nobody accounts for, signs of life."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from pileus import clock
from pileus.agent.commands import (
    AgentReport,
    Answer,
    DiscardGuest,
    Envelope,
    Failure,
    GuestEvent,
    GuestReport,
    RebootGuest,
    StopGuest,
)
from pileus.clock import Clock
from pileus.compute import hosts
from pileus.compute.model import UP_FOR_S, Host, Server, UnknownGuest
from pileus.db import utcnow
from pileus.operations import debts, task_states
from tests.client import Client
from tests.unit.compute.servers.world import reported
from tests.unit.serving import Serving

RUNNING, PAUSED, SHUTDOWN, CRASHED = 1, 3, 4, 6


class Cloud:
    """The cloud with a runner whose turns the test gives, and hosts that it plays."""

    def __init__(self, serving: Serving, demo: Client) -> None:
        self.db, self._demo = serving.db, demo
        self._runner, self._post, self._collector = serving.cloud.runner, serving.cloud.post, serving.cloud.collector
        self._runner.begin()

    def run(self) -> None:
        """What can be done now is done."""
        while any([self._runner.take_up(), self._runner.work(0), self._runner.work_group(0)]):
            pass

    def sent(self) -> list[Envelope]:
        """What hosts have not answered."""
        return [letter.envelope for letter in self._post.letters()]

    def answer(self, at: float, power_state: int = RUNNING, failure: Failure | None = None) -> None:
        """The host answers the one command that is under way; then it goes on."""
        [envelope] = self.sent()
        self._post.withdraw(envelope.key)
        result = {} if failure else {"power_state": power_state}
        self._runner.answer(Answer(key=envelope.key, host=envelope.host, result=result, failure=failure, at=at))
        self.run()

    def act(self, server_id: str, **action: object) -> None:
        answer = self._demo("POST", f"/compute/v2.1/servers/{server_id}/action", json=action)
        assert answer.status_code == 202, answer.text
        self.run()

    def delete(self, server_id: str) -> None:
        assert self._demo("DELETE", f"/compute/v2.1/servers/{server_id}").status_code == 204
        self.run()

    def says(self, server_id: str, power_state: int, at: float, host: str | None = None) -> None:
        """A guest changes by itself."""
        where = host or self.server(server_id).host or ""
        with self.db.write() as session:
            hosts.observe(session, GuestEvent(server_id=server_id, host=where, power_state=power_state, at=at))

    def report(self, asked: datetime | None = None, **guests: GuestReport) -> None:
        """An agent reports; `host_0` is what is on host-0."""
        names = {name.replace("_", "-"): guest for name, guest in guests.items()}
        report: AgentReport = reported(2)
        told = tuple(replace(one, guests=(names[one.name],) if one.name in names else ()) for one in report.hosts)
        with self.db.write() as session:
            hosts.register(session, replace(report, hosts=told), asked or utcnow())

    def server(self, server_id: str) -> Server:
        with self.db.read() as session:
            return session.get_one(Server, server_id)

    def states(self, server_id: str) -> tuple[str, int]:
        server = self.server(server_id)
        return server.vm_state, server.power_state

    def unknown(self) -> list[tuple[str, str, int, int | None]]:
        with self.db.read() as session:
            rows = session.scalars(select(UnknownGuest).order_by(UnknownGuest.host))
            return [(one.host, one.server_id, one.incarnation, one.power_state) for one in rows]


@pytest.fixture
def cloud(serving: Serving, demo: Client) -> Cloud:
    return Cloud(serving, demo)


@pytest.fixture
def active(cloud: Cloud, boot: Callable[..., str]) -> str:
    """A server that runs."""
    server_id = boot()
    cloud.run()
    cloud.answer(at=100.0)
    assert cloud.states(server_id) == ("active", RUNNING)
    return server_id


# --- guest events -------------------------------------------------------------------------------------------------


def test_a_guest_that_stops_by_itself_is_followed(cloud: Cloud, active: str) -> None:
    cloud.says(active, SHUTDOWN, 200.0)
    assert cloud.states(active) == ("stopped", SHUTDOWN)
    cloud.says(active, RUNNING, 201.0)
    assert cloud.states(active) == ("active", RUNNING)
    cloud.says(active, CRASHED, 202.0)
    assert cloud.states(active) == ("stopped", CRASHED)
    cloud.says(active, PAUSED, 203.0)
    assert cloud.states(active) == ("paused", PAUSED)


def test_the_last_event_during_an_operation_counts_when_it_ends(cloud: Cloud, active: str) -> None:
    cloud.act(active, reboot={"type": "HARD"})
    assert isinstance(cloud.sent()[0].command, RebootGuest)
    for state, at in ((SHUTDOWN, 210.0), (RUNNING, 211.0), (SHUTDOWN, 230.0)):
        cloud.says(active, state, at)
    assert cloud.states(active) == ("active", RUNNING), "not meanwhile"
    cloud.answer(at=220.0)
    assert cloud.states(active) == ("stopped", SHUTDOWN) and cloud.server(active).news is None


def test_an_event_before_the_hosts_answer_does_not_count(cloud: Cloud, active: str) -> None:
    """A guest that is power cycled stops, which is no news."""
    cloud.act(active, reboot={"type": "HARD"})
    cloud.says(active, SHUTDOWN, 210.0)
    cloud.answer(at=220.0)
    assert cloud.states(active) == ("active", RUNNING) and cloud.server(active).news is None


def test_an_event_during_an_operation_that_fails_counts(cloud: Cloud, active: str) -> None:
    cloud.act(active, **{"os-stop": None})
    assert isinstance(cloud.sent()[0].command, StopGuest)
    cloud.says(active, SHUTDOWN, 210.0)
    cloud.answer(at=220.0, failure=Failure(code="hypervisor", message="no"))
    assert cloud.states(active) == ("stopped", SHUTDOWN) and cloud.server(active).news is None


def test_an_event_during_a_boot_counts_when_it_ends(cloud: Cloud, boot: Callable[..., str]) -> None:
    server_id = boot()
    cloud.run()
    cloud.says(server_id, SHUTDOWN, 150.0)
    cloud.answer(at=100.0)
    assert cloud.states(server_id) == ("stopped", SHUTDOWN)


def test_what_another_host_says_of_a_guest_does_not_count(cloud: Cloud, active: str) -> None:
    [other] = {"host-0", "host-1"} - {cloud.server(active).host or ""}
    cloud.says(active, SHUTDOWN, 200.0, host=other)
    assert cloud.states(active) == ("active", RUNNING)


# --- reports ------------------------------------------------------------------------------------------------------


def on(cloud: Cloud, server_id: str, power_state: int | None = RUNNING) -> dict[str, GuestReport]:
    server = cloud.server(server_id)
    host = (server.host or "").replace("-", "_")
    return {host: GuestReport(server_id=server_id, power_state=power_state, incarnation=server.incarnation)}


def test_a_report_brings_power_states_up_to_date(cloud: Cloud, active: str) -> None:
    cloud.report(**on(cloud, active, SHUTDOWN))
    assert cloud.states(active) == ("stopped", SHUTDOWN)
    cloud.report(**on(cloud, active))
    assert cloud.states(active) == ("active", RUNNING) and cloud.unknown() == []
    cloud.report()
    assert cloud.states(active) == ("stopped", SHUTDOWN), "its guest is not there"


def test_a_report_during_an_operation_changes_nothing(cloud: Cloud, active: str) -> None:
    cloud.act(active, **{"os-stop": None})
    cloud.report()
    assert cloud.states(active) == ("active", RUNNING)


def test_a_report_says_nothing_about_what_changed_after_it_was_asked_for(cloud: Cloud, active: str) -> None:
    asked = utcnow()
    cloud.act(active, **{"os-stop": None})
    running = on(cloud, active)
    cloud.answer(at=200.0, power_state=SHUTDOWN)
    cloud.report(asked, **running)
    assert cloud.states(active) == ("stopped", SHUTDOWN)
    cloud.delete(active)
    cloud.answer(at=300.0)
    assert cloud.server(active).deleted_at is not None
    cloud.report(asked, **running)
    assert cloud.unknown() == []
    cloud.report(**running)
    assert [one[1] for one in cloud.unknown()] == [active], "it is there after all"


@pytest.mark.parametrize("power_state", [RUNNING, SHUTDOWN, None])
def test_a_guest_that_no_server_accounts_for_is_shown_and_left_alone(cloud: Cloud, power_state: int | None) -> None:
    for _ in range(2):
        cloud.report(host_0=GuestReport(server_id="nobody's", power_state=power_state, incarnation=3))
        cloud.run()
        assert cloud.unknown() == [("host-0", "nobody's", 3, power_state)]
    assert cloud.sent() == []
    with cloud.db.read() as session:
        assert debts.count(session) == 0
    cloud.report()
    assert cloud.unknown() == []


def test_when_an_unknown_guest_was_first_seen_is_kept(cloud: Cloud) -> None:
    stray = GuestReport(server_id="nobody's", power_state=RUNNING)
    cloud.report(host_0=stray)
    with cloud.db.write() as session:
        row = session.scalars(select(UnknownGuest)).one()
        first = row.first_seen = row.first_seen.replace(year=2020)
    cloud.report(host_0=replace(stray, power_state=SHUTDOWN))
    with cloud.db.read() as session:
        row = session.scalars(select(UnknownGuest)).one()
        assert (row.first_seen, row.power_state) == (first, SHUTDOWN)


def test_a_second_guest_of_a_server_is_unknown(cloud: Cloud, active: str) -> None:
    there = on(cloud, active)
    [(host, guest)] = there.items()
    [other] = {"host_0", "host_1"} - {host}
    cloud.report(**there, **{other: guest})
    assert cloud.unknown() == [(other.replace("_", "-"), active, guest.incarnation, RUNNING)]
    cloud.report(**{host: replace(guest, incarnation=guest.incarnation + 1)})
    assert cloud.unknown() == [(host.replace("_", "-"), active, guest.incarnation + 1, RUNNING)]
    cloud.report(**{host: replace(guest, incarnation=0)})
    assert cloud.unknown() == [], "the agent does not know which it is"


def test_a_guest_that_an_operation_is_about_is_not_unknown(cloud: Cloud, boot: Callable[..., str]) -> None:
    server_id = boot()
    cloud.run()
    cloud.report(**on(cloud, server_id))
    assert cloud.unknown() == []
    cloud.answer(at=100.0)
    cloud.delete(server_id)
    assert isinstance(cloud.sent()[0].command, DiscardGuest)
    cloud.report(**on(cloud, server_id))
    assert cloud.unknown() == []


def test_a_guest_that_is_still_to_be_discarded_is_not_unknown(cloud: Cloud, active: str) -> None:
    there = on(cloud, active)
    cloud.delete(active)
    cloud.answer(at=200.0, failure=Failure(code="host-down", message="away"))
    assert cloud.server(active).deleted_at is not None
    with cloud.db.read() as session:
        [debt] = debts.open_debts(session)
        assert (debt.subject_id, debt.name) == (active, "discard guest")
        assert task_states(session, [active]) == {}
    cloud.report(**there)
    assert cloud.unknown() == []
    with cloud.db.write() as session:
        assert debts.forget(session, debt.id)
    cloud.report(**there)
    assert [one[1] for one in cloud.unknown()] == [active]


def test_a_report_makes_what_its_hosts_are_owed_due_now(cloud: Cloud, active: str) -> None:
    cloud.delete(active)
    cloud.answer(at=200.0, failure=Failure(code="host-down", message="away"))
    with cloud.db.write() as session:
        [debt] = debts.open_debts(session)
        debt.next_try = debt.next_try.replace(year=debt.next_try.year + 1)
    cloud.report()
    with cloud.db.read() as session:
        [debt] = debts.open_debts(session)
        assert debt.next_try <= utcnow()


# --- signs of life ------------------------------------------------------------------------------------------------


class TwoClocks(Clock):
    """A database whose clock is not this machine's."""

    machine_s, database_s = 0.0, 0.0

    def time(self) -> float:
        return super().time() + self.machine_s

    def database(self) -> float:
        return super().database() + self.database_s


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> TwoClocks:
    clocks = TwoClocks()
    monkeypatch.setattr(clock, "current", clocks)
    return clocks


def alive(cloud: Cloud) -> list[bool]:
    with cloud.db.read() as session:
        return [host.alive for host in session.scalars(select(Host).order_by(Host.name))]


def test_a_host_is_alive_by_the_databases_clock(cloud: Cloud, clocks: TwoClocks) -> None:
    clocks.machine_s = -7200
    cloud.report()
    assert alive(cloud) == [True, True]
    clocks.machine_s = 7200
    assert alive(cloud) == [True, True], "a replica's own clock says nothing"
    clocks.database_s = UP_FOR_S - 5
    assert alive(cloud) == [True, True]
    clocks.database_s = UP_FOR_S + 5
    assert alive(cloud) == [False, False]
    with cloud.db.write() as session:
        hosts.heard_of(session, ["host-1"])
    assert alive(cloud) == [False, True]


def test_hosts_that_are_down(cloud: Cloud, clocks: TwoClocks) -> None:
    names = ["host-0", "host-1", "nobody's"]
    with cloud.db.write() as session:
        assert hosts.down(session, names) == {"nobody's"}
        session.get_one(Host, "host-0").forced_down = True
    with cloud.db.read() as session:
        assert hosts.down(session, names) == {"host-0", "nobody's"}
        assert hosts.down(session, ["host-1"]) == set()
    clocks.database_s = UP_FOR_S + 5
    with cloud.db.read() as session:
        assert hosts.down(session, names) == set(names)
