"""Moves of simulated guests between hosts, while they do not run."""

from __future__ import annotations

import time

from pileus.agent.commands import DropStash, PowerState, ReceiveGuest, RestoreGuest, StashGuest
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.hypervisor.fake.guests import FakeGuests, replace
from pileus.agent.timeline import Timeline


class FakeColdMoves(FakeGuests):
    """See base.Hypervisor."""

    def stash(self, host: str, command: StashGuest, timeline: Timeline) -> Result:
        server_id = command.server_id
        self._refuse(host, command)
        if self._set_aside(host, server_id) != command.incarnation:
            self._require(host, server_id)
            with timeline.stage("power off"):
                self._saved(host, server_id).unlink(missing_ok=True)
            with timeline.stage("unplug port"):
                self._network.unplug([wiring.port.id for wiring in self.remembered(host, server_id).ports])
            with timeline.stage("set disk aside"):
                replace(self._stash(host, server_id), str(command.incarnation).encode())
        (self._root / host / server_id).unlink(missing_ok=True)
        return {"power_state": PowerState.SHUTDOWN, "files": ["disk"]}

    def receive(self, host: str, command: ReceiveGuest, timeline: Timeline) -> Result:
        """Disks that another agent's host has set aside are taken to be there."""
        self._refuse(host, command)
        if command.source in self._hosts and self._set_aside(command.source, command.subject) != command.set_aside:
            raise CommandFailed("no-such-guest", "nothing of the server was set aside")
        with timeline.stage("copy disk") as detail:
            detail["source"] = command.source
            time.sleep(float(self._behaviour().get("copy_s", 0)))
        with timeline.stage("define guest"):
            self._define(host, command.guest)
        return self._run_if(host, command.run, command.guest, command.plug_timeout_s, timeline)

    def restore(self, host: str, command: RestoreGuest, timeline: Timeline) -> Result:
        server_id = command.subject
        self._refuse(host, command)
        if self._set_aside(host, server_id) is None:
            return {"power_state": self._require(host, server_id)}
        with timeline.stage("restore disk"):
            self._define(host, command.guest)
        result = self._run_if(host, command.run, command.guest, command.plug_timeout_s, timeline)
        self._stash(host, server_id).unlink()
        return result

    def drop_stash(self, host: str, command: DropStash, timeline: Timeline) -> Result:
        self._refuse(host, command)
        set_aside = self._set_aside(host, command.server_id)
        if set_aside is not None and set_aside <= command.incarnation:
            with timeline.stage("remove disk"):
                self._stash(host, command.server_id).unlink()
        return None
