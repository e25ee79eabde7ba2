"""Commands of evacuation: a guest of a dead host goes on here."""

from __future__ import annotations

from functools import partial

from pileus.agent.commands import PowerState, PrepareGuest, TakeOverGuest
from pileus.agent.hypervisor.base import Result, require_shared
from pileus.agent.hypervisor.guests import Guests
from pileus.agent.storage import moved
from pileus.agent.timeline import Timeline


class EvacuationCommands(Guests):
    """See base.Hypervisor."""

    def prepare(self, host: str, command: PrepareGuest, timeline: Timeline) -> Result:
        """Of a disk on shared storage only the image base is fetched; without such, all but running as in a build."""
        guest = command.guest
        with self._commanded(host, guest.server_id):
            files = self._files.guest(guest.server_id)
            require_shared(command.shared, shared := files.kept(guest.incarnation))
            if not shared:
                moved.require_none_aside(self._files.aside(guest.server_id))
                self._make(guest, partial(self._make_files, guest), command.plug_timeout_s, timeline, run=False)
                return {"shared": False}
            self._data.put(guest)
            self._prepare_networks(guest.ports, timeline)
            base = self._base(guest, files, timeline)
            with timeline.stage("find disk") as detail:
                detail["base"] = base.name
                moved.require_free(files)
            return {"shared": True}

    def take_over(self, host: str, command: TakeOverGuest, timeline: Timeline) -> Result:
        """As a start, which makes a disk on shared storage this host's."""
        guest = command.guest
        with self._commanded(host, guest.server_id):
            self._data.put(guest)
            if self._power(guest.server_id) == PowerState.RUNNING:
                return self._settled(guest.server_id)
            return self._start_again(guest, command.plug_timeout_s, timeline, command.run)
