"""What is on the simulated hosts: guests, and their disks in directories of real agents' make."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pileus.agent.commands import Command, GuestCommand, PowerState
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.storage.file import GuestFiles
from pileus.agent.storage.instances import InstanceFiles
from pileus.agent.timeline import Timeline
from tests.simulation.dice import Dice


class Killed(BaseException):
    """The process that was playing is no more."""


class Hangs(BaseException):
    """A command never comes back; its thread is lost."""


class Guest(msgspec.Struct):
    """What is on a host of a guest, beside its disk.

    Attributes:
        disk: what was on its disk when it was defined: the incarnation that this was made for, though it may have been
            shelved since; later commands may have been about a newer one.
        defined: it is a domain; before, only files and instance data are there.
        saved: its memory is on the disk, with the ports that it had.
        coming: it is migrated to this host as it runs; "all": its memory is here, and not to be lost.
    """

    incarnation: int
    disk: int = 0
    defined: bool = False
    power_state: int = PowerState.SHUTDOWN
    ports: tuple[str, ...] = ()
    saved: bool = False
    coming: str = ""


class Storage:
    """Guests' directories, of each host for itself, or one that all hosts see; whose they are is real agents' code."""

    def __init__(self, folder: Path, shared: bool) -> None:
        self.shared = shared
        self._folder, self._hosts = folder, dict[str, InstanceFiles]()

    def on(self, host: str) -> InstanceFiles:
        """The guests' directories as a host sees them."""
        if host not in self._hosts:
            seen = self._folder / host / "instances"
            seen.parent.mkdir(parents=True)
            if self.shared:
                (self._folder / "shared").mkdir(exist_ok=True)
                seen.symlink_to(self._folder / "shared")
            self._hosts[host] = InstanceFiles(seen, host=host)
        return self._hosts[host]

    def aside(self, host: str) -> dict[str, GuestFiles]:
        """What a host has set aside, by server."""
        found = {server_id: self.on(host).aside(server_id) for server_id in self.on(host).known()}
        return {id: aside for id, aside in found.items() if aside.directory.exists() and not aside.anothers}


@contextmanager
def lasting_files() -> Iterator[None]:
    """No machine loses what it has written: files need not be brought to its disk."""
    former = os.fsync
    os.fsync = lambda file: None
    try:
        yield
    finally:
        os.fsync = former


def content(files: GuestFiles) -> int:
    """What is on a disk.

    Raises:
        CommandFailed: there is none.
    """
    try:
        return int(files.root.read_text())
    except FileNotFoundError:
        raise CommandFailed("no-such-guest", "the server has no disk on this host") from None


def ports_of(command: GuestCommand) -> tuple[str, ...]:
    return tuple(wiring.port.id for wiring in command.guest.ports)


class Guests:
    """What is on the hosts of one agent.

    Attributes:
        buried: hosts that were declared dead, of all agents: what they may run yet is run elsewhere.
    """

    peers: Sequence[Guests]
    storage: Storage

    def __init__(self, dice: Dice, hosts: list[str]) -> None:
        self._dice, self.hosts = dice, hosts
        self.guests: dict[tuple[str, str], Guest] = {}
        self.buried: set[str] = set()

    def files(self, host: str, server_id: str) -> GuestFiles:
        return self.storage.on(host).guest(server_id)

    def alone(self, server_id: str, found: Guest) -> None:
        """Raises AssertionError if another guest of the same disk runs, on a host that nobody took for dead."""
        others = [
            on
            for on, guest in self.elsewhere(server_id, found)
            if guest.disk == found.disk and guest.power_state == PowerState.RUNNING and on not in self.buried
        ]
        assert not others, f"a guest is run that runs on {others} as well"

    def elsewhere(self, server_id: str, but: Guest | None) -> list[tuple[str, Guest]]:
        """The guests of a server on all hosts, but one."""
        return [
            (on, guest)
            for peer in self.peers
            for (on, one), guest in peer.guests.items()
            if one == server_id and guest is not but
        ]

    def require_free(self, server_id: str, but: Guest | None) -> None:
        """Raises CommandFailed: a guest of another host has the disk that this one sees open, and locked."""
        others = [guest for _, guest in self.elsewhere(server_id, but) if not guest.coming]
        if self.storage.shared and any(guest.power_state != PowerState.SHUTDOWN for guest in others):
            raise CommandFailed("in-use", "another host has the disk open")

    def define(self, host: str, command: GuestCommand) -> Guest:
        """With the disk that is there, and the ports that the command names."""
        found = self._found(host, command)
        found.disk = content(self.files(host, command.subject))
        found.defined, found.ports = True, ports_of(command)
        return found

    def finish(self, host: str, command: GuestCommand, run: bool, timeline: Timeline) -> Result:
        """Define a guest whose disk was moved, and run it if it is to run: no other guest of that disk may run then."""
        found = self.define(host, command)
        self._trouble()
        if run:
            self.require_free(command.subject, found)
            self.alone(command.subject, found)
        return self._set(host, command, PowerState.RUNNING if run else PowerState.SHUTDOWN, timeline)

    def _set(
        self, host: str, command: Command, power_state: int, timeline: Timeline, saved: bool | None = None
    ) -> Result:
        with timeline.stage("running" if power_state == PowerState.RUNNING else "power off"):
            self._trouble()
            found = self._found(host, command)
            if not found.defined:
                raise CommandFailed("no-such-guest", "there is no such guest")
            if power_state != PowerState.SHUTDOWN and found.power_state == PowerState.SHUTDOWN:
                self.require_free(command.subject, found)
            found.power_state, found.incarnation = power_state, command.age  # after a rebuild that never came here
            found.saved = found.saved if saved is None else saved
            return {"power_state": power_state}

    def _found(self, host: str, command: Command) -> Guest:
        if (found := self.guests.get((host, command.subject))) is None:
            raise CommandFailed("no-such-guest", "there is no such guest")
        return found

    def _trouble(self) -> None:
        if self._dice.strikes("host hangs"):
            raise Hangs
        if self._dice.strikes("host refuses"):
            raise CommandFailed("hypervisor", "the host is not well")
