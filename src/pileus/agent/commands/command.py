"""What every command of the contract is made of; how all travel is in parcels.py."""

from __future__ import annotations

import re
from typing import ClassVar

from pileus.agent.commands.base import Spec
from pileus.agent.commands.guests import GuestSpec


class Command(Spec, frozen=True, kw_only=True, tag=True):
    """Base of commands: each is about one guest on one host, and is carried out by one method of the host's driver."""

    method: ClassVar[str]
    """The driver's method; it takes the host's name, the command and a timeline, and gives the command's result."""
    makes: ClassVar[bool] = False
    """Whether the guest is here because of it: an older incarnation must make way."""
    alone: ClassVar[bool] = True
    """Whether only an operation that has the server to itself sends it: no rebuild of the server is under way then."""
    discards: ClassVar[bool] = False
    """Whether it removes the guest: it takes back what is under way, and repeated it is as good as once."""
    continues: ClassVar[bool] = False
    """Whether the guest goes on from what was set aside of an older incarnation: making way for it leaves that."""
    drops: ClassVar[bool] = False
    """Whether it removes only what was set aside: a newer guest is left alone, and does not make it stale."""
    interrupts: ClassVar[bool] = False
    """Whether what is under way about the guest is to end for it, though nothing is discarded."""
    long: ClassVar[bool] = False
    """Whether it may take hours or days: it copies or moves. A host carries a few of each kind out at a time."""

    @classmethod
    def words(cls) -> str:
        """What rows call it: PauseGuest is "pause guest"."""
        return re.sub(r"(?<!^)(?=[A-Z])", " ", cls.__name__).lower()

    @property
    def subject(self) -> str:
        """What commands are carried out one at a time for."""
        raise NotImplementedError

    @property
    def age(self) -> int:
        """The incarnation of the guest that is meant."""
        raise NotImplementedError


class GuestCommand(Command, frozen=True, kw_only=True):
    """A command that carries the whole desired state of a guest."""

    guest: GuestSpec

    @property
    def subject(self) -> str:
        return self.guest.server_id

    @property
    def age(self) -> int:
        return self.guest.incarnation


class ServerCommand(Command, frozen=True, kw_only=True):
    """A command that needs no more than to name its guest."""

    server_id: str
    incarnation: int = 0

    @property
    def subject(self) -> str:
        return self.server_id

    @property
    def age(self) -> int:
        return self.incarnation
