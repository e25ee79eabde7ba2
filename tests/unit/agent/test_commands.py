"""Each command names a method that every driver has; what is on the wire stays as it was."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import msgspec
import pytest

from pileus.agent.commands import (
    COMMANDS,
    CONTRACT,
    AnyCommand,
    AwaitGuest,
    BuildGuest,
    Command,
    DiscardGuest,
    DropStash,
    PauseGuest,
    PrepareGuest,
    RebootGuest,
    ReceiveGuest,
    SnapshotGuest,
    StartGuest,
    StayGuest,
    StopGuest,
    UpdateInstanceData,
)
from pileus.agent.hypervisor.base import Hypervisor, Result
from pileus.agent.hypervisor.fake import FakeHypervisor
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import guest


def drivers() -> list[type[Any]]:
    pytest.importorskip("libvirt")
    from pileus.agent.hypervisor.libvirt import LibvirtHypervisor

    return [Hypervisor, FakeHypervisor, LibvirtHypervisor]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_driver_has_the_method_that_a_command_names(command: type[Command]) -> None:
    for driver in drivers():
        method = getattr(driver, command.method)
        assert list(inspect.signature(method).parameters) == ["self", "host", "command", "timeline"], driver
        wanted = {"host": str, "command": command, "timeline": Timeline, "return": Result}
        assert get_type_hints(method) == wanted, driver


def test_every_command_has_a_method_of_its_own() -> None:
    assert len({command.method for command in COMMANDS}) == len(COMMANDS) == 24


def test_what_rows_call_commands() -> None:
    """Rows of earlier releases name them."""
    assert {command.words() for command in COMMANDS} == {
        "build guest", "discard guest", "start guest", "stop guest", "reboot guest", "pause guest", "unpause guest",
        "suspend guest", "resume guest", "snapshot guest", "attach port", "detach port", "update instance data",
        "stash guest", "receive guest", "restore guest", "drop stash", "prepare guest", "take over guest",
        "depart guest", "await guest", "migrate guest", "stay guest", "arrive guest",
    }  # fmt: skip


def test_traits() -> None:
    assert {command for command in COMMANDS if command.makes} == {BuildGuest, ReceiveGuest, PrepareGuest, AwaitGuest}
    assert [command for command in COMMANDS if command.continues] == [ReceiveGuest]
    assert [command for command in COMMANDS if command.drops] == [DropStash]
    assert [command for command in COMMANDS if command.discards] == [DiscardGuest]
    assert [command for command in COMMANDS if command.interrupts] == [StayGuest]


def test_the_drivers_can_be_used_as_one() -> None:
    methods = {name for name, _ in inspect.getmembers(Hypervisor, inspect.isfunction) if not name.startswith("_")}
    for driver in drivers():
        assert methods <= set(dir(driver))


@pytest.mark.parametrize(
    ("command", "content"),
    [
        (BuildGuest(guest=guest(ports=())), b'{"type":"BuildGuest","guest":%s}'),
        (DiscardGuest(server_id="s", incarnation=2), b'{"type":"DiscardGuest","server_id":"s","incarnation":2}'),
        (StartGuest(guest=guest(ports=()), plug_timeout_s=5), b'{"type":"StartGuest","guest":%s,"plug_timeout_s":5.0}'),
        (StopGuest(server_id="s", timeout_s=1), b'{"type":"StopGuest","server_id":"s","timeout_s":1.0}'),
        (RebootGuest(guest=guest(ports=()), hard=True), b'{"type":"RebootGuest","guest":%s,"hard":true}'),
        (UpdateInstanceData(guest=guest(ports=())), b'{"type":"UpdateInstanceData","guest":%s}'),
        (PauseGuest(server_id="s", incarnation=2), b'{"type":"PauseGuest","server_id":"s","incarnation":2}'),
        (
            SnapshotGuest(server_id="s", image_id="i", location="file:///i"),
            b'{"type":"SnapshotGuest","server_id":"s","image_id":"i","location":"file:///i"}',
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_commands_of_the_contract_before_are_what_they_were(command: Command, content: bytes) -> None:
    if b"%s" in content:
        content %= msgspec.json.encode(guest(ports=()))
    assert msgspec.json.decode(msgspec.json.encode(command)) == msgspec.json.decode(content)
    assert msgspec.json.decode(content, type=AnyCommand) == command


def test_the_contract() -> None:
    """A new command raises it."""
    assert CONTRACT == 5
