"""What simulated guests are: files, which are there again after the agent's restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pileus.agent.commands import Command, GuestReport, GuestSpec, PowerState, State
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.base import Result
from pileus.agent.ids import checked_id
from pileus.agent.network.base import Network
from pileus.agent.timeline import Timeline


class FakeGuests:
    """Of some hosts. A guest is a file that holds its power state: like a real one it survives the agent.

    `fake/HOST/ID` is the guest, `fake/remembered/HOST/ID.json` what it was last built or changed with,
    `fake/HOST.saved/ID` is there while its memory is saved, `fake/HOST.stash/ID` what was set aside of it: the
    incarnation that this was; `fake/HOST.coming/ID` names the host that it comes from as it runs, while it does,
    `fake/HOST.leaving/ID` the incarnation of one that is to leave.
    """

    def __init__(self, state: Path, network: Network, hosts: int, suffix: str = "") -> None:
        self._root, self._network = state / "fake", network
        self._hosts = [f"fake-{number + 1}{suffix}" for number in range(hosts)]

    def remembered(self, host: str, server_id: str) -> GuestSpec:
        if host not in self._hosts:
            raise CommandFailed("no-such-host", f"This agent has no host {host}.")
        try:
            return msgspec.json.decode(self._memory(host, checked_id(server_id)).read_bytes(), type=GuestSpec)
        except (OSError, msgspec.DecodeError) as error:
            raise CommandFailed("no-guest", f"Host {host} remembers nothing of guest {server_id}.") from error

    def _begin(self, host: str, command: Command, *allowed: int) -> State:
        """The guest's power state, which must be one of those that are allowed, if any are named.

        Raises:
            CommandFailed: it is not, there is no such guest, or the command shall fail.
        """
        self._refuse(host, command)
        state = self._require(host, command.subject)
        if allowed and state not in allowed:
            raise CommandFailed("not-running", "the server does not run")
        return state

    def _refuse(self, host: str, command: Command) -> None:
        """Raises CommandFailed: the command shall fail, here or everywhere."""
        reason = self._behaviour().get("fail", {}).get(command.method)
        if reason := reason.get(host) if isinstance(reason, dict) else reason:
            raise CommandFailed("hypervisor", reason)

    def _require(self, host: str, server_id: str) -> State:
        try:
            return _state(self._root / host / server_id)
        except FileNotFoundError:
            raise CommandFailed("no-such-guest", "the server has no disk on this host") from None

    def _check_not_saved(self, host: str, server_id: str) -> None:
        if self._saved(host, server_id).exists():
            raise CommandFailed("guest-suspended", "the server is suspended: its ports cannot change")

    def _guests(self, host: str) -> list[Path]:
        folder = self._root / host
        return list(folder.iterdir()) if folder.is_dir() else []

    def _guest_reports(self, host: str) -> Iterator[GuestReport]:
        for path in self._guests(host):
            try:
                yield GuestReport(server_id=path.name, power_state=_state(path))
            except FileNotFoundError:
                continue  # discarded just now
        for path in (*self._guests(f"{host}.stash"), *self._guests(f"{host}.coming")):
            if not (self._root / host / path.name).exists():
                yield GuestReport(server_id=path.name, power_state=None)

    def _run(self, host: str, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> Result:
        self._network.await_up([wiring.port.id for wiring in guest.ports], plug_timeout_s, timeline)
        with timeline.stage("running"):
            self._remember(host, guest)
            self._saved(host, guest.server_id).unlink(missing_ok=True)
            return self._set(host, guest.server_id, PowerState.RUNNING)

    def _define(self, host: str, guest: GuestSpec) -> Result:
        self._remember(host, guest)
        return self._set(host, guest.server_id, PowerState.SHUTDOWN)

    def _run_if(self, host: str, run: bool, guest: GuestSpec, plug_timeout_s: float, timeline: Timeline) -> Result:
        """Run a guest that is defined, if it is to run."""
        return self._run(host, guest, plug_timeout_s, timeline) if run else self._define(host, guest)

    def _set(self, host: str, server_id: str, power_state: int) -> Result:
        replace(self._root / host / server_id, str(power_state).encode())
        return {"power_state": power_state}

    def _memory(self, host: str, server_id: str) -> Path:
        return self._root / "remembered" / host / f"{server_id}.json"

    def _saved(self, host: str, server_id: str) -> Path:
        return self._root / f"{host}.saved" / server_id

    def _stash(self, host: str, server_id: str) -> Path:
        return self._root / f"{host}.stash" / server_id

    def _set_aside(self, host: str, server_id: str) -> int | None:
        """The incarnation that was set aside of a guest; None: nothing was."""
        try:
            return int(self._stash(host, server_id).read_text())
        except FileNotFoundError:
            return None

    def _remember(self, host: str, guest: GuestSpec) -> None:
        """Keep all of the specification but the password, as real hosts do."""
        data = msgspec.structs.replace(guest.data, admin_pass=None)
        replace(self._memory(host, guest.server_id), msgspec.json.encode(msgspec.structs.replace(guest, data=data)))

    @property
    def _shares(self) -> bool:
        """Whether hosts see each other's disks."""
        return bool(self._behaviour().get("shared"))

    def _behaviour(self) -> dict[str, Any]:
        path = self._root / "behaviour.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _coming(self, host: str, server_id: str) -> Path:
        return self._root / f"{host}.coming" / server_id

    def _leaving(self, host: str, server_id: str) -> Path:
        return self._root / f"{host}.leaving" / server_id


def _state(path: Path) -> State:
    state: State = msgspec.json.decode(path.read_bytes(), type=State)
    return state


def replace(path: Path, content: bytes) -> None:
    """Write a file at once, so that nobody reads half of it, or lists what is not whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.parent.parent / f"{path.parent.name}.{path.name}.new"
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.replace(path)
