"""Commands that plug ports into guests and take them out again."""

from __future__ import annotations

from typing import Any

import libvirt

from pileus.agent.commands import AttachPort, DetachPort, GuestPort, PowerState
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor import domain
from pileus.agent.hypervisor.base import Result
from pileus.agent.hypervisor.connection import power_state, quiet
from pileus.agent.hypervisor.guests import Guests
from pileus.agent.timeline import Timeline

_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG


class PortCommands(Guests):
    """See base.Hypervisor."""

    def attach_port(self, host: str, command: AttachPort, timeline: Timeline) -> Result:
        """Plug the port into the guest as it runs and as it is defined; each that has it already is left alone."""
        guest = command.guest
        wiring = next((one for one in guest.ports if one.port.id == command.port_id), None)
        if wiring is None:
            raise CommandFailed("invalid", "the port to attach is none of the server's")
        with self._commanded(host, guest.server_id):
            found = self._existing(guest.server_id)
            _check_no_saved_memory(found)
            self._data.put(guest)  # before it is plugged: a discard must know of its tap
            self._prepare_networks([wiring], timeline)
            with timeline.stage("attach port") as detail:
                detail["port"] = command.port_id
                for scope in _scopes(found):
                    self._plug_in(found, wiring, scope)
            if found.isActive():
                self._network.await_up([command.port_id], command.plug_timeout_s, timeline)
        return None

    def detach_port(self, host: str, command: DetachPort, timeline: Timeline) -> Result:
        """Have the guest let go of the port, then forget it: in this order, so that what fails changes nothing."""
        server_id, wiring = command.subject, command.port
        with self._commanded(host, server_id):
            found = self._find(server_id)
            if found is not None:
                _check_no_saved_memory(found)
                with timeline.stage("detach port") as detail:
                    detail["port"] = wiring.port.id
                    self._pull_out(found, wiring, command.timeout_s, timeline)
            self._unplug((wiring,), timeline)
            if self._data.get(server_id) is not None:
                self._data.put(command.guest)
            self._release((wiring,))
        return None

    def _plug_in(self, found: Any, wiring: GuestPort, scope: int) -> None:
        if _interface(found, wiring, scope) is not None:
            return
        if scope == _LIVE:
            self._network.unplug([wiring.port.id])  # what a crash left, as before every start
        found.attachDeviceFlags(self._network.interface_xml(wiring), scope)

    def _pull_out(self, found: Any, wiring: GuestPort, timeout_s: float, timeline: Timeline) -> None:
        """Press the interface's eject button until the guest has let go of it."""

        def held() -> str | None:
            return _interface(found, wiring, _LIVE) if found.isActive() else None

        def press() -> None:
            # QEMU refuses to be asked again within five seconds, and libvirt what is gone meanwhile.
            with quiet():
                if (interface := held()) is not None:
                    found.detachDeviceFlags(interface, _LIVE)

        if held() is not None:
            if power_state(*found.state()[:2]) == PowerState.PAUSED:
                raise CommandFailed("guest-paused", "the server is paused and cannot let go of its port")
            press()
            self._connection.wait_for(lambda: timeline.abandoned or held() is None, timeout_s, nudge=press)
            if held() is not None:
                raise CommandFailed("detach-timeout", f"the server did not let go of its port within {timeout_s:g} s")
        if (interface := _interface(found, wiring, _CONFIG)) is not None:
            found.detachDeviceFlags(interface, _CONFIG)


def _check_no_saved_memory(found: Any) -> None:
    """Devices that were saved with the memory must be there when it is restored, and no others."""
    if not found.isActive() and found.hasManagedSaveImage():
        raise CommandFailed("guest-suspended", "the server is suspended: its ports cannot change")


def _scopes(found: Any) -> tuple[int, ...]:
    return (_LIVE, _CONFIG) if found.isActive() else (_CONFIG,)


def _interface(found: Any, wiring: GuestPort, scope: int) -> str | None:
    """The element of a port in the running guest (_LIVE) or in its definition (_CONFIG)."""
    text = found.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if scope == _CONFIG else 0)
    return domain.interface(text, wiring)
