"""Power states, errors and waiting, without a libvirtd."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.agent.commands import PowerState
from pileus.agent.errors import CommandFailed

libvirt = pytest.importorskip("libvirt")

from pileus.agent.hypervisor import connection  # noqa: E402


@pytest.mark.parametrize(
    ("state", "reason", "shown"),
    [
        (libvirt.VIR_DOMAIN_RUNNING, 0, PowerState.RUNNING),
        (libvirt.VIR_DOMAIN_PAUSED, 0, PowerState.PAUSED),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, PowerState.SHUTDOWN),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, PowerState.CRASHED),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 0, PowerState.RUNNING),
        (99, 0, PowerState.NOSTATE),
    ],
)
def test_power_states(state: int, reason: int, shown: int) -> None:
    assert connection.power_state(state, reason) == shown


def test_errors_name_no_path() -> None:
    with pytest.raises(CommandFailed) as failure, connection.said_by_libvirt():
        raise libvirt.libvirtError("Cannot access storage file '/var/lib/pileus/x/disk' (as uid:0)")
    assert failure.value.code == "hypervisor"
    assert failure.value.message == "libvirt: Cannot access storage file '(path)' (as uid:0)"


def test_waiting_looks_nudges_and_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "NUDGE_S", 0.0)
    nudges: list[int] = []
    unconnected: Any = connection.Connection(daemon=None, changed=lambda _: None)  # type: ignore[arg-type]
    assert unconnected.wait_for(lambda: True, 0)
    assert not unconnected.wait_for(lambda: False, 0.05, nudge=lambda: nudges.append(1))
    assert nudges


def test_the_press_that_works_ends_the_wait() -> None:
    """News of a guest end the wait at once, not at the next look."""
    waited: Any = connection.Connection(daemon=None, changed=lambda _: None)  # type: ignore[arg-type]
    looks = iter([False, True])

    def done() -> bool:
        waited._on_lifecycle(None, _Domain(), 0, 0, None)  # while we look
        return next(looks)

    assert waited.wait_for(done, 0.9)


class _Domain:
    def UUIDString(self) -> str:
        return "a"
