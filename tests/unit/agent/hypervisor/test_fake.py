"""The fake driver answers each command as a real one does."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from pileus.agent.commands import (
    AttachPort,
    BuildGuest,
    Command,
    DetachPort,
    DiscardGuest,
    DropStash,
    PauseGuest,
    PrepareGuest,
    ReceiveGuest,
    RestoreGuest,
    ResumeGuest,
    SnapshotGuest,
    StartGuest,
    StashGuest,
    StopGuest,
    SuspendGuest,
    TakeOverGuest,
    UnpauseGuest,
)
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.network.fake import FakeNetwork
from pileus.agent.storage.uploads import Uploads
from tests.unit.agent.desk import Desk
from tests.unit.agent.specs import PORT, SERVER, guest, image_of, wiring

RUNNING, PAUSED, SHUTDOWN = 1, 3, 4


class Ward:
    """A desk with one guest, and its commands one after the other."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self._count = desk, 0
        self.do(BuildGuest(guest=guest(ports=())))

    def do(self, command: Command) -> object:
        """The power state with which a command ends, its whole result, or its failure's code."""
        self._count += 1
        answer = self.desk.carry_out(command, f"op{self._count}:0")
        self.events = [event.name for event in answer.events]
        return answer.failure.code if answer.failure else answer.result.get("power_state", answer.result)

    @property
    def state(self) -> int | None:
        return self.desk.guests()[SERVER]


@pytest.fixture
def ward(desk: Desk) -> Ward:
    return Ward(desk)


def test_pausing(ward: Ward) -> None:
    assert [ward.do(PauseGuest(server_id=SERVER)) for _ in range(2)] == [PAUSED, PAUSED] and ward.state == PAUSED
    assert [ward.do(UnpauseGuest(server_id=SERVER)) for _ in range(2)] == [RUNNING, RUNNING] and ward.state == RUNNING
    ward.do(StopGuest(server_id=SERVER))
    assert {ward.do(command(server_id=SERVER)) for command in (PauseGuest, UnpauseGuest, SuspendGuest)} == {
        "not-running"
    }
    assert ward.do(PauseGuest(server_id="other")) == "no-such-guest"


def test_suspending(ward: Ward) -> None:
    resume, attach = ResumeGuest(guest=guest()), AttachPort(guest=guest(), port_id=PORT)
    assert [ward.do(SuspendGuest(server_id=SERVER)) for _ in range(2)] == [SHUTDOWN, SHUTDOWN]
    assert ward.do(PauseGuest(server_id=SERVER)) == "not-running"
    assert ward.do(attach) == "guest-suspended"
    assert ward.do(resume) == RUNNING and ward.events == ["restore memory", "plug port", "running"]
    ward.do(SuspendGuest(server_id=SERVER))
    assert ward.do(StartGuest(guest=guest())) == RUNNING
    assert ward.do(resume) == RUNNING and "restore memory" not in ward.events, "the saved memory is lost"


def test_ports(ward: Ward) -> None:
    attach, detach = AttachPort(guest=guest(), port_id=PORT), DetachPort(guest=guest(ports=()), port=wiring())
    known = lambda: len(ward.desk.hypervisor.remembered("fake-1", SERVER).ports)  # noqa: E731
    assert ward.do(attach) == {} and ward.events == ["attach port", "plug port"] and known() == 1
    assert ward.do(replace(attach, port_id="other")) == "invalid"
    ward.do(PauseGuest(server_id=SERVER))
    assert ward.do(detach) == "guest-paused" and known() == 1
    ward.do(UnpauseGuest(server_id=SERVER))
    assert ward.do(detach) == {} and ward.events == ["detach port", "unplug port"] and known() == 0
    ward.do(StopGuest(server_id=SERVER))
    assert ward.do(attach) == {} and ward.events == ["attach port"] and known() == 1


def test_an_image_is_a_disk_that_was_never_written_to(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    path = tmp_path / "incoming" / "image"
    command = SnapshotGuest(server_id=SERVER, image_id="i", location=path.as_uri())
    ward = Ward(desk)
    assert ward.do(command) == "not-allowed", "it was told of no place for images"
    desk.hypervisor._uploads = FakeHypervisor(tmp_path, FakeNetwork(), 1, uploads=Uploads(path.parent))._uploads
    assert ward.do(replace(command, disk_format="raw")) == "unsupported"
    assert ward.do(replace(command, server_id="other")) == "no-such-guest" and list(path.parent.iterdir()) == []
    result = ward.do(command)
    content = path.read_bytes()
    assert result == {
        "size": len(content),
        "virtual_size": 1 << 30,
        "checksum": hashlib.md5(content).hexdigest(),
        "sha512": hashlib.sha512(content).hexdigest(),
    }
    assert ward.events == ["copy disk", "deliver image"]
    subprocess.run(["qemu-img", "check", "-f", "qcow2", str(path)], check=True, capture_output=True)


def test_passwords(ward: Ward, tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(CommandFailed) as failed:
            ward.desk.hypervisor.set_password("fake-1", SERVER, "root", "secret")
        return failed.value.code

    assert refused() == "no-guest-agent"
    (tmp_path / "image").touch()
    image = image_of(tmp_path / "image", "raw", properties={"hw_qemu_guest_agent": "True"})
    ward.do(StartGuest(guest=guest(image=image)))
    ward.desk.hypervisor.set_password("fake-1", SERVER, "root", "secret")
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "fake").rglob("*") if path.is_file())
    ward.do(StopGuest(server_id=SERVER))
    assert refused() == "not-running"
    ward.do(DiscardGuest(server_id=SERVER))
    assert refused() == "no-such-guest"


def test_a_discarded_guest_leaves_nothing(ward: Ward, tmp_path: Path) -> None:
    ward.do(SuspendGuest(server_id=SERVER))
    ward.do(DiscardGuest(server_id=SERVER))
    assert [path for path in (tmp_path / "fake").rglob("*") if path.is_file()] == []


def test_a_method_may_be_made_to_fail(ward: Ward, tmp_path: Path) -> None:
    (tmp_path / "fake" / "behaviour.json").write_text(json.dumps({"fail": {"pause": "no"}}))
    assert ward.do(PauseGuest(server_id=SERVER)) == "hypervisor" and ward.state == RUNNING
    assert ward.do(StopGuest(server_id=SERVER)) == SHUTDOWN


# --- moves ------------------------------------------------------------------------------------------------------------


def stash(incarnation: int = 1) -> StashGuest:
    return StashGuest(server_id=SERVER, incarnation=incarnation)


def receive(run: bool = True, **changes: object) -> ReceiveGuest:
    spec = guest(incarnation=2)
    values = {"source": "fake-1", "address": "192.0.2.1", "set_aside": 1, "files": ("disk",), "run": run} | changes
    return ReceiveGuest(guest=spec, **values)  # type: ignore[arg-type]


def restore(run: bool = True, incarnation: int = 3) -> RestoreGuest:
    return RestoreGuest(guest=guest(incarnation=incarnation, ports=()), set_aside=incarnation - 2, run=run)


def test_a_guest_is_set_aside_and_restored(ward: Ward) -> None:
    assert ward.do(stash()) == SHUTDOWN and ward.state is None, "something of it is there"
    assert ward.events == ["power off", "unplug port", "set disk aside"]
    assert ward.do(stash()) == SHUTDOWN and ward.events == []
    assert ward.do(StartGuest(guest=guest(incarnation=1))) == "no-such-guest"
    assert ward.do(restore()) == RUNNING and ward.state == RUNNING
    ward.do(StopGuest(server_id=SERVER, incarnation=3))
    assert ward.do(restore()) == SHUTDOWN, "it was restored already"
    ward.do(stash(4))
    assert ward.do(restore(run=False, incarnation=6)) == SHUTDOWN


def test_a_guest_goes_on_from_what_was_set_aside(ward: Ward) -> None:
    ward.do(stash())
    assert ward.do(receive(set_aside=7)) == "no-such-guest"
    assert ward.do(receive()) == RUNNING and ward.state == RUNNING
    assert "copy disk" in ward.events
    assert ward.do(restore()) == "busy" and ward.state == RUNNING
    assert ward.do(DiscardGuest(server_id=SERVER, incarnation=2, stash=False)) == {} and ward.state is None
    assert ward.do(restore()) == RUNNING


def test_a_guest_that_was_off_is_received_as_such(ward: Ward) -> None:
    ward.do(StopGuest(server_id=SERVER))
    ward.do(stash())
    assert ward.do(receive(run=False)) == SHUTDOWN and ward.state == SHUTDOWN


def test_what_was_set_aside_goes(ward: Ward) -> None:
    ward.do(stash())
    ward.do(receive())
    assert ward.do(DropStash(server_id=SERVER, incarnation=1)) == {} and ward.state == RUNNING
    assert ward.do(DropStash(server_id=SERVER, incarnation=1)) == {}
    ward.do(stash(3))
    assert ward.do(DropStash(server_id=SERVER, incarnation=2)) == {} and ward.state is None, "that is a newer one"
    ward.do(DiscardGuest(server_id=SERVER, incarnation=4))
    assert SERVER not in ward.desk.guests()


@pytest.mark.parametrize("shared", [False, True])
def test_a_guest_of_a_dead_host_goes_on(desk: Desk, tmp_path: Path, shared: bool) -> None:
    def do(command: Command, key: str) -> object:
        answer = desk.carry_out(command, key)
        return answer.failure.code if answer.failure else answer.result

    (tmp_path / "fake" / "behaviour.json").write_text(json.dumps({"shared": shared}))
    spec = guest(incarnation=2, ports=())
    take = TakeOverGuest(guest=spec, run=True)
    if not shared:
        assert do(take, "op0:0") == "no-such-guest"
    refused = do(PrepareGuest(guest=spec, shared=not shared), "op1:0")
    assert refused == ("shared-storage" if shared else "local-storage")
    assert do(PrepareGuest(guest=spec), "op2:0") == {"shared": shared}
    assert desk.guests() == ({} if shared else {SERVER: SHUTDOWN})
    assert do(take, "op3:0") == {"power_state": RUNNING} and desk.guests() == {SERVER: RUNNING}
