"""A guest that leaves stays if that is wanted, whatever its destination does."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from pileus.agent import carrier
from pileus.agent.commands import Arrival, Departure, MigrateGuest, StayGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.live import source as module
from pileus.agent.hypervisor.live.source import SourceCommands
from pileus.agent.storage import departures
from pileus.agent.storage.instances import InstanceFiles
from pileus.agent.timeline import Timeline
from tests.support import eventually

SERVER = "11111111-2222-3333-4444-555555555555"


class Silent:
    """libvirt's side of a migration to a host that took the connection and says nothing: it ends when that is gone."""

    def __init__(self) -> None:
        self.migrated: Future[Any] = Future()
        self.aborted = 0

    def abortJob(self) -> None:
        self.aborted += 1

    def jobStats(self) -> dict[str, Any]:
        return {}

    def hung_up(self) -> None:
        if not self.migrated.done():
            self.migrated.set_exception(ConnectionError("the other host is gone"))


class Host(SourceCommands):
    """As much of a host as its guest's leaving needs."""

    def __init__(self, silent: Silent, folder: Path) -> None:
        self.silent, self._files = silent, InstanceFiles(folder / "instances", host="here")
        self._forced, self._carried = set(), {SERVER: silent.hung_up}
        self._connection: Any = SimpleNamespace(wait_for=lambda done, timeout_s: bool(done()))

    @contextmanager
    def _commanded(self, host: str, server_id: str) -> Iterator[None]:
        yield

    def _here(self, server_id: str) -> Any:
        return self.silent

    _existing = _here

    def _settled(self, server_id: str) -> dict[str, Any]:
        return {}


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Silent:
    monkeypatch.setattr(module, "END_S", 0.0)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    made = Silent()
    monkeypatch.setattr(module, "_leaves", lambda found: not made.migrated.done())
    return made


@pytest.fixture
def host(silent: Silent, tmp_path: Path) -> Host:
    return Host(silent, tmp_path)


def migration() -> MigrateGuest:
    return MigrateGuest(
        server_id=SERVER, incarnation=1, to="there", address="", arrival=Arrival(), departure=Departure(), run=True
    )


def test_a_silent_destination_does_not_keep_a_guest_leaving(host: Host, silent: Silent) -> None:
    timeline, why = Timeline(), list[CommandFailed | None]()
    timeline.abandon()
    watch = threading.Thread(
        target=lambda: why.append(host._watch_over(silent, silent.migrated, migration(), timeline)), daemon=True
    )
    watch.start()
    watch.join(60)
    assert why and why[0] is not None and why[0].code == "abandoned"


def test_nobody_is_hung_up_before_that_is_wanted(host: Host, silent: Silent) -> None:
    threading.Timer(0.2, silent.migrated.set_result, (None,)).start()
    assert host._watch_over(silent, silent.migrated, migration(), Timeline()) is None
    assert silent.aborted == 0 and silent.migrated.exception() is None


def test_what_is_to_stay_waits_for_no_silent_destination(host: Host, silent: Silent) -> None:
    """Also while the thread that moves it is held up in libvirt."""
    assert host.stay("here", StayGuest(server_id=SERVER, incarnation=1), Timeline()) == {"here": True}
    assert silent.aborted == 1


def test_what_is_carried_by_nobody_is_not_hung_up(host: Host) -> None:
    host._carried.clear()
    with pytest.raises(CommandFailed, match="does not end"):
        host.stay("here", StayGuest(server_id=SERVER, incarnation=1), Timeline())


def test_what_is_to_stay_does_not_begin_to_leave(host: Host, silent: Silent) -> None:
    """What moves it was sent before it was aborted, and comes later; the agent may have been started again between."""
    silent.hung_up()
    note = host._files.guest(SERVER).leaving_note
    departures.note(note, 1)
    host.stay("here", StayGuest(server_id=SERVER, incarnation=1), Timeline())
    with pytest.raises(CommandFailed) as refused:
        host.migrate("here", migration(), Timeline())
    assert refused.value.code == "abandoned"
    departures.note(note, 2)
    host.stay("here", StayGuest(server_id=SERVER, incarnation=1), Timeline())
    assert departures.noted(note) == 2, "an older word does not keep a newer guest"


def test_who_does_not_reach_the_destination_hears_of_that(host: Host) -> None:
    """And not what libvirt says, which knows only that somebody hung up."""
    unreached = CommandFailed("peer", "host there cannot be reached")

    def join(*_where: Any) -> Any:
        raise unreached

    assert refused(host, join, lambda: connect(host)) is unreached


def test_of_what_is_refused_again_and_again_the_first_is_kept(host: Host) -> None:
    """A QEMU that was taken over may try as often as it likes: that does not fill the agent's memory."""
    made, forgotten = list[weakref.ref[CommandFailed]](), list[bool]()

    def join(*_where: Any) -> Any:
        failed = CommandFailed("peer", f"refusal {len(made)}")
        made.append(weakref.ref(failed))
        raise failed

    def kept() -> int:
        gc.collect()
        return sum(one() is not None for one in made)

    def tries() -> None:
        while len(made) < 5:
            connect(host)
        forgotten.append(eventually(lambda: kept() == 1))

    assert refused(host, join, tries).message == "refusal 0" and forgotten == [True]


def connect(host: Any) -> None:
    """As libvirt does, until somebody hangs up."""
    with carrier.connect(host._daemon.meeting / SERVER / carrier.CONTROL, 0) as control:
        control.recv(1)


def refused(host: Any, join: Callable[..., Any], tries: Callable[[], None]) -> CommandFailed:
    """What becomes of a migration whose destination is not reached, of which libvirt knows that it failed."""

    def migrate(uri: str, parameters: dict[str, Any], flags: int) -> None:
        tries()
        raise libvirt.libvirtError("end of file")

    host._daemon = SimpleNamespace(meeting=host._files._directory / "meeting")
    host._peers = SimpleNamespace(join=join)
    host.silent = SimpleNamespace(XMLDesc=lambda flags: "<domain/>", jobStats=dict, migrateToURI3=migrate)
    departures.note(host._files.guest(SERVER).leaving_note, 1)
    with pytest.raises(CommandFailed) as failed:
        host.migrate("here", migration(), Timeline())
    return failed.value
