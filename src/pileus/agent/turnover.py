"""Which incarnation of each guest is here: what is late is refused, and what is older makes way for the newer."""

from __future__ import annotations

from typing import Any

from pileus.agent.commands import Command, DiscardGuest, RestoreGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Hypervisor
from pileus.agent.journal import Journal, Known
from pileus.agent.timeline import Timeline


class Turnover:
    """Has the hypervisor carry commands out on the guests that they mean, and has the journal remember which are here.

    Called for one command about a guest at a time.
    """

    def __init__(self, hypervisor: Hypervisor, journal: Journal) -> None:
        self._hypervisor, self._journal = hypervisor, journal

    def carry_out(self, host: str, command: Command, timeline: Timeline) -> dict[str, Any]:
        """What comes of a command; raises CommandFailed."""
        known = self._journal.known(host, command.subject)
        if command.discards:
            return self._discard(host, command, known, timeline)
        if command.drops:
            return self._drop(host, command, known, timeline)
        if known and (command.age < known.incarnation or (known.gone and command.age == known.incarnation)):
            raise CommandFailed("stale", "The guest that is meant was discarded, or a newer one took its place.")
        if command.makes:
            self._make_way(host, command, known, timeline)
        elif isinstance(command, RestoreGuest):
            self._bring_back(host, command, known)
        elif known and not known.gone and command.alone:
            # If it is newer, a rebuild never came here: the guest that is there is the server's all the same.
            self._note_here(host, command, known)
        return self._driven(host, command, timeline)

    def remains(self, host: str, command: Command) -> DiscardGuest | None:
        """What removes what a command has made that came back when its guest was discarded already."""
        known = self._journal.known(host, command.subject)
        if known is None or not known.gone or command.age > known.incarnation or command.discards:
            return None
        return DiscardGuest(server_id=command.subject, incarnation=command.age, stash=not command.continues)

    def _driven(self, host: str, command: Command, timeline: Timeline) -> dict[str, Any]:
        """Have the driver carry a command out; the command names the method."""
        return getattr(self._hypervisor, command.method)(host, command, timeline) or {}

    def _note_here(self, host: str, command: Command, known: Known | None) -> None:
        """Remember that the guest is here."""
        if known != Known(command.age, False):
            self._journal.note(host, command.subject, Known(command.age, False))

    def _make_way(self, host: str, command: Command, known: Known | None, timeline: Timeline) -> None:
        """Remove what an older incarnation left, and remember that this one is here, before any of it is made."""
        if known and known.incarnation < command.age:  # of one that is gone something may have been set aside
            stash = not command.continues
            former = DiscardGuest(server_id=command.subject, incarnation=known.incarnation, stash=stash)
            self._hypervisor.discard(host, former, timeline)
        self._note_here(host, command, known)

    def _bring_back(self, host: str, command: RestoreGuest, known: Known | None) -> None:
        """Remember that a guest is here again, before it is: what is late must not discard it.

        Raises:
            CommandFailed: "busy", the one that went on from it is still here.
        """
        if known and not known.gone and command.set_aside < known.incarnation < command.age:
            raise CommandFailed("busy", "Another guest is in the server's place, and is to be discarded first.")
        self._note_here(host, command, known)

    def _discard(self, host: str, command: Command, known: Known | None, timeline: Timeline) -> dict[str, Any]:
        """Remove a guest, unless a newer one took its place, and remember that it is gone."""
        if known and not known.gone and known.incarnation > command.age:
            timeline.mark("newer guest", incarnation=known.incarnation)
            return {}
        result = self._driven(host, command, timeline)
        incarnation = max(command.age, known.incarnation if known else 0)
        self._journal.note(host, command.subject, Known(incarnation, True))
        return result

    def _drop(self, host: str, command: Command, known: Known | None, timeline: Timeline) -> dict[str, Any]:
        """Remove what was set aside of a guest, and all of it unless a newer one took its place."""
        if known is None or known.incarnation > command.age:
            return self._driven(host, command, timeline)
        return self._discard(host, DiscardGuest(server_id=command.subject, incarnation=command.age), known, timeline)
