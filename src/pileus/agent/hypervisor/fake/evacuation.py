"""Simulated guests of dead hosts go on elsewhere."""

from __future__ import annotations

from pileus.agent.commands import PrepareGuest, TakeOverGuest
from pileus.agent.hypervisor.base import Result, require_shared
from pileus.agent.hypervisor.fake.guests import FakeGuests
from pileus.agent.timeline import Timeline


class FakeEvacuation(FakeGuests):
    """See base.Hypervisor."""

    def prepare(self, host: str, command: PrepareGuest, timeline: Timeline) -> Result:
        self._refuse(host, command)
        require_shared(command.shared, shared := self._shares)
        if not shared:
            self._define(host, command.guest)
        return {"shared": shared}

    def take_over(self, host: str, command: TakeOverGuest, timeline: Timeline) -> Result:
        self._refuse(host, command)
        if not self._shares:
            self._require(host, command.subject)
        return self._run_if(host, command.run, command.guest, command.plug_timeout_s, timeline)
