"""Moves of simulated guests that do not run: by what was set aside of them, and away from dead hosts."""

from __future__ import annotations

from pathlib import Path

from pileus.agent.commands import (
    DropStash,
    GuestCommand,
    GuestSpec,
    PowerState,
    PrepareGuest,
    ReceiveGuest,
    RestoreGuest,
    StashGuest,
    TakeOverGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result, require_shared
from pileus.agent.storage import moved
from pileus.agent.timeline import Timeline
from tests.simulation.database import IMAGE
from tests.simulation.guests import Guest, Guests, content


class Moves(Guests):
    """See Hypervisor. Files are dealt with in the order of real hosts."""

    def stash(self, host: str, command: StashGuest, timeline: Timeline) -> Result:
        key = (host, command.server_id)
        on = self.storage.on(host)
        files, aside = on.guest(command.server_id), on.aside(command.server_id)
        if moved.noted(aside) != command.incarnation:
            with timeline.stage("power off"):
                self._trouble()
                moved.note(files, command.incarnation, command.to)
                if found := self.guests.get(key):
                    found.power_state, found.saved = PowerState.SHUTDOWN, False
                    self._trouble()
            with timeline.stage("set disk aside"):
                self.guests.pop(key, None)
                self._trouble()
                moved.set_aside(files, aside)
                self._trouble()
        return {"power_state": PowerState.SHUTDOWN, "files": moved.names(aside)}

    def receive(self, host: str, command: ReceiveGuest, timeline: Timeline) -> Result:
        key = (host, command.subject)
        with timeline.stage("copy disk"):
            self._trouble()
            self.files(host, command.subject).require_left(command.source)
            aside = self.storage.on(command.source).aside(command.subject)
            if moved.noted(aside) != command.set_aside:
                raise CommandFailed("no-such-guest", "nothing was set aside")
            there = self.guests.get(key)
            assert there is None or there.incarnation == command.age, "an older guest was not removed first"
            self.guests[key] = there or Guest(command.age)
            files = self.files(host, command.subject)
            files.make_directory(command.age)
            self._trouble()
            moved.receive(files, files.root.name, lambda name, into: _copy(aside.directory / name, into))
            self._trouble()
            if not files.root.exists():
                files.root.with_name(f"{files.root.name}.whole").replace(files.root)
        return self.finish(host, command, command.run, timeline)

    def restore(self, host: str, command: RestoreGuest, timeline: Timeline) -> Result:
        key = (host, command.subject)
        on = self.storage.on(host)
        files, aside = on.guest(command.subject), on.aside(command.subject)
        with timeline.stage("restore disk"):
            self._trouble()
            if aside.directory.exists():
                if key in self.guests:
                    raise CommandFailed("busy", "another guest is in its place")
                moved.take_back(aside, files)
            self._trouble()
            content(files)
            files.note_holder(command.age)
            found = self.guests.setdefault(key, Guest(command.age))
            found.incarnation = command.age
            if moved.noted(files) is None:
                return {"power_state": found.power_state}
            self._trouble()
        result = self.finish(host, command, command.run, timeline)
        moved.forget(files)
        return result

    def drop_stash(self, host: str, command: DropStash, timeline: Timeline) -> Result:
        with timeline.stage("remove disk"):
            self._trouble()
            on = self.storage.on(host)
            moved.drop(on.aside(command.server_id), on.guest(command.server_id), command.incarnation)
            self._trouble()
        return None

    # --- what a dead host leaves --------------------------------------------------------------------------------

    def prepare(self, host: str, command: PrepareGuest, timeline: Timeline) -> Result:
        key, files = (host, command.subject), self.files(host, command.subject)
        with timeline.stage("create disk"):
            self._trouble()
            require_shared(command.shared, shared := files.kept(command.age))
            if not shared:
                moved.require_none_aside(self.storage.on(host).aside(command.subject))
            there = self.guests.get(key)
            assert there is None or there.incarnation == command.age, "an older guest was not removed first"
            if shared:
                self.require_free(command.subject, there)
                return {"shared": True}
            self.guests[key] = there or Guest(command.age)
            self.make_disk(host, command.guest)
            self._trouble()
        with timeline.stage("define guest"):
            self.define(host, command)
            self._trouble()
        return {"shared": False}

    def take_over(self, host: str, command: TakeOverGuest, timeline: Timeline) -> Result:
        there = self.guests.get((host, command.subject))
        if there is not None and there.power_state == PowerState.RUNNING:
            return {"power_state": PowerState.RUNNING}
        with timeline.stage("take disk over"):
            self._trouble()
            self.take_disk_over(host, command)
            assert (host, command.subject) in self.guests, "the disk that a server is to go on with is gone"
            self._trouble()
        return self.finish(host, command, command.run, timeline)

    def take_disk_over(self, host: str, command: GuestCommand) -> None:
        """As every start does: a disk that another host had, or this one before, is this guest's."""
        key, files = (host, command.subject), self.files(host, command.subject)
        if files.root.exists() and files.holder and not files.are_of(command.age):
            self.require_free(command.subject, self.guests.get(key))
            self.guests.setdefault(key, Guest(command.age, defined=True))
            files.note_holder(command.age)

    def make_disk(self, host: str, guest: GuestSpec) -> None:
        """Of its image, unless it has one."""
        files = self.files(host, guest.server_id)
        made_of = _image(guest)
        files.make_directory(guest.incarnation)
        self._trouble()
        if not files.root.exists():
            files.root.write_text(str(made_of))


def _image(guest: GuestSpec) -> int:
    """The incarnation whose disk the image is a copy of; one that is no copy makes a new disk."""
    if guest.image is None or guest.image.id == IMAGE:
        return guest.incarnation
    try:
        server_id, incarnation = Path(guest.image.location.removeprefix("file://")).read_text().split()
    except FileNotFoundError:
        raise CommandFailed("image-missing", "the image is not there") from None
    assert server_id == guest.server_id, "a server comes back from the image of another"
    return int(incarnation)


def _copy(disk: Path, into: Path) -> None:
    into.write_bytes(disk.read_bytes())
