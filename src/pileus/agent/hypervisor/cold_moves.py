"""Commands of moves: a guest is set aside on one host, and made of that on another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pileus.agent import configdrive
from pileus.agent.commands import DropStash, PowerState, ReceiveGuest, RestoreGuest, StashGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.hypervisor.newcomers import Newcomers
from pileus.agent.ids import checked_id
from pileus.agent.metadata import paths
from pileus.agent.storage import console, disks, moved
from pileus.agent.storage.file import GuestFiles
from pileus.agent.timeline import Timeline


class ColdMoveCommands(Newcomers):
    """See base.Hypervisor. What becomes of the disks is said in storage.moved."""

    def stash(self, host: str, command: StashGuest, timeline: Timeline) -> Result:
        """Shut the guest down, forget its definition, put its directory aside; nothing is left but that."""
        server_id = command.server_id
        with self._commanded(host, server_id):
            files, aside = self._files.guest(server_id), self._files.aside(server_id)
            if moved.noted(aside) != command.incarnation:
                moved.note(files, command.incarnation, command.to, command.keys)
                self._end(server_id, command.timeout_s, timeline)
                former = self._data.get(server_id)
                self._unplug(former.ports if former else (), timeline)
                with timeline.stage("set disk aside"):
                    self._undefine(server_id)
                    moved.set_aside(files, aside)
            if not files.directory.exists() and (former := self._data.get(server_id)):
                self._data.remove(server_id)
                self._release(former.ports)
            self._watch.known(server_id, None)
            return {"power_state": PowerState.SHUTDOWN, "files": moved.names(aside), "base": aside.base_name() or ""}

    def receive(self, host: str, command: ReceiveGuest, timeline: Timeline) -> Result:
        """Copy what is set aside, then define, plug and run as a build does; whole disks are kept."""
        guest = command.guest
        with self._commanded(host, guest.server_id):
            make_files = partial(self._receive_files, command)
            return self._make(guest, make_files, command.plug_timeout_s, timeline, command.run)

    def restore(self, host: str, command: RestoreGuest, timeline: Timeline) -> Result:
        """Take the directory back, then define, plug and run afresh."""
        guest = command.guest
        with self._commanded(host, guest.server_id):
            files = self._files.guest(guest.server_id)
            aside = self._files.aside(guest.server_id)
            if aside.directory.exists():
                with timeline.stage("restore disk"):
                    moved.take_back(aside, files)
            if not files.root.exists():
                raise CommandFailed("no-such-guest", "the server has no disk on this host")
            files.note_holder(guest.incarnation)
            self._data.put(guest)
            if moved.noted(files) is None:
                return self._settled(guest.server_id)
            if command.run and self._power(guest.server_id) == PowerState.RUNNING:
                result = self._settled(guest.server_id)  # it was not even shut down
            else:
                result = self._start_again(guest, command.plug_timeout_s, timeline, command.run)
            moved.forget(files)
            return result

    def drop_stash(self, host: str, command: DropStash, timeline: Timeline) -> Result:
        """Remove the directory that was put aside."""
        self._check(host)
        with timeline.stage("remove disk"):
            aside, files = self._files.aside(command.server_id), self._files.guest(command.server_id)
            moved.drop(aside, files, command.incarnation)
        return None

    def handed_over(self, to: str, server_id: str, file: str, key: str = "") -> Path:
        """A file of what is set aside of a guest, if it goes to that host: to be opened by files.open_regular.

        On storage that is shared every host can write the notes: what counts is what this one was told.
        """
        aside = self._files.aside(checked_id(server_id))
        files = self._files.guest(server_id)
        if (promise := aside.promised(to, key)) is not None:
            is_aside = moved.goes_to(aside) == to
            leaves = (holder := files.holder) is not None and holder.leaving == to
            if is_aside and file in moved.names(aside):
                return aside.directory / file
            if leaves and file == files.config_drive.name:
                return files.config_drive
            if (is_aside or leaves) and file == promise.base:
                return self._images.path(file)
        raise CommandFailed("no-such-guest", "nothing of that guest is set aside for you")

    def _receive_files(self, command: ReceiveGuest, files: GuestFiles, timeline: Timeline) -> None:
        guest = command.guest
        files.require_left(command.source)
        aside = self._files.aside(guest.server_id)
        here = moved.noted(aside) == command.set_aside  # the same host, or storage that both share
        fetch = partial(self._fetch, command, moved.most_bytes(guest), timeline)
        bring = partial(moved.copy, aside) if here else fetch
        base = self._base_for(command, command.base, files, timeline)
        files.make_directory(guest.incarnation)
        files.note_base(base)  # so that it is there still when the disk is

        with timeline.stage("copy disk") as detail:
            detail |= {"source": command.source, "shared": here, "files": list(command.files)}
            for name in command.files:
                moved.receive(files, name, bring)
        with timeline.stage("resize disk") as detail:
            detail["root_gib"] = guest.root_gib
            moved.settle(files, guest, base)
            disks.make(files, guest, base)
        if guest.config_drive and not files.config_drive.exists():
            with timeline.stage("config drive"):
                configdrive.write(files.config_drive, paths.config_drive(guest))
        with timeline.stage("console"):
            console.make(files.console)
