"""Commands that start, stop and hold guests."""

from __future__ import annotations

from typing import Any

import libvirt

from pileus.agent.commands import (
    PauseGuest,
    PowerState,
    RebootGuest,
    ResumeGuest,
    StartGuest,
    StopGuest,
    SuspendGuest,
    UnpauseGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.hypervisor.connection import power_state
from pileus.agent.hypervisor.guests import Guests
from pileus.agent.timeline import Timeline

_REBOOT_PLUG_TIMEOUT_S = 60.0


class PowerCommands(Guests):
    """See base.Hypervisor."""

    def power_on(self, host: str, command: StartGuest, timeline: Timeline) -> Result:
        """Run a guest that is off, with a fresh definition; its disks must exist."""
        guest = command.guest
        with self._commanded(host, guest.server_id):
            self._data.put(guest)
            if self._power(guest.server_id) == PowerState.RUNNING:
                return self._settled(guest.server_id)
            return self._start_again(guest, command.plug_timeout_s, timeline)

    def power_off(self, host: str, command: StopGuest, timeline: Timeline) -> Result:
        """Press the guest's power button until it is off; after the time-out, cut the power."""
        with self._commanded(host, command.server_id):
            self._end(command.server_id, command.timeout_s, timeline)
            return self._settled(command.server_id)

    def reboot(self, host: str, command: RebootGuest, timeline: Timeline) -> Result:
        """Shut down (cut the power if hard, or without an answer) and start with a fresh definition."""
        guest = command.guest
        with self._commanded(host, guest.server_id):
            self._data.put(guest)
            found = self._find(guest.server_id)
            if found is not None and found.isActive():
                with timeline.stage("power off") as detail:
                    detail["clean"] = not command.hard and self._shut_down(found, command.timeout_s, timeline)
            return self._start_again(guest, _REBOOT_PLUG_TIMEOUT_S, timeline)

    def pause(self, host: str, command: PauseGuest, timeline: Timeline) -> Result:
        """Hold the CPUs."""
        with self._commanded(host, command.server_id), timeline.stage("pause guest"):
            found = self._existing(command.server_id)
            if self._held_or_running(found) == PowerState.RUNNING:
                found.suspend()
            return self._settled(command.server_id)

    def unpause(self, host: str, command: UnpauseGuest, timeline: Timeline) -> Result:
        """Let the CPUs go on."""
        with self._commanded(host, command.server_id), timeline.stage("unpause guest"):
            found = self._existing(command.server_id)
            if self._held_or_running(found) == PowerState.PAUSED:
                found.resume()
            return self._settled(command.server_id)

    def suspend(self, host: str, command: SuspendGuest, timeline: Timeline) -> Result:
        """Save the memory where libvirt finds it again, and power off."""
        with self._commanded(host, command.server_id), timeline.stage("suspend guest"):
            found = self._existing(command.server_id)
            if found.isActive():
                self._bound(found, False)
                try:
                    found.managedSave(0)
                except libvirt.libvirtError:
                    self._bound(found)
                    raise
            elif not found.hasManagedSaveImage():
                raise _not_running()
            return self._settled(command.server_id)

    def resume(self, host: str, command: ResumeGuest, timeline: Timeline) -> Result:
        """Restore the memory, with the devices that were saved with it; what is paused has only to go on."""
        guest = command.guest
        with self._commanded(host, guest.server_id):
            self._data.put(guest)
            found, state = self._find(guest.server_id), self._power(guest.server_id)
            if state == PowerState.RUNNING:
                return self._settled(guest.server_id)
            if state != PowerState.PAUSED:
                if found is None or not found.hasManagedSaveImage():
                    return self._start_again(guest, command.plug_timeout_s, timeline)
                self._prepare_networks(guest.ports, timeline)
                with timeline.stage("restore memory"):
                    self._network.unplug([wiring.port.id for wiring in guest.ports])  # as before every start
                    self._hand_over(found, guest.server_id)
                    found.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
            return self._run(found, guest, command.plug_timeout_s, timeline)

    def _hand_over(self, found: Any, server_id: str) -> None:
        """Have a saved guest's files be the user's that it was saved as: of an earlier release, it has none."""
        files = self._files.guest(server_id)
        own = "model='dac'" in found.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
        files.hand_over(files.runs_as if own else self._account)

    def _held_or_running(self, found: Any) -> int:
        """PAUSED or RUNNING.

        Raises:
            CommandFailed: it is neither.
        """
        state = power_state(*found.state()[:2])
        if state not in (PowerState.PAUSED, PowerState.RUNNING):
            raise _not_running()
        return state


def _not_running() -> CommandFailed:
    return CommandFailed("not-running", "the server does not run")
