"""Whose a guest's files are, which is written beside them; and which host they may be handed over to, which is written
where no other host can write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from pileus.agent.commands.base import Keys
from pileus.certificates import is_of
from pileus.files import write_private


class Holder(NamedTuple):
    """The host that a guest's files belong to, of those that see the same storage, and the incarnation that it has.

    Attributes:
        leaving: the host that the guest is about to go to as it runs, or "".
    """

    host: str
    incarnation: int
    leaving: str = ""


class Promise(msgspec.Struct, frozen=True):
    """To a host, whose agent has one of these keys. `base`: name of the image base that goes along, "" if none does."""

    to: str
    keys: Keys = ()
    base: str = ""


def write(path: Path, to: str, keys: Keys, base: Callable[[], str | None]) -> None:
    """Promise files to a host; "": to none.

    Args:
        base: gives the name of the one that the root disk stands on now; raises OSError, ValueError: it is not known.
    """
    if not to:
        path.unlink(missing_ok=True)
        return
    name = ""
    with suppress(OSError, ValueError):
        name = base() or ""
    write_private(path, msgspec.json.encode(Promise(to, keys, name)))


def read(path: Path, to: str, key: str) -> Promise | None:
    """What is promised to a host, whose agent shows this key."""
    try:
        promise = msgspec.json.decode(path.read_bytes(), type=Promise)
    except (OSError, msgspec.DecodeError):
        return None
    return promise if promise.to == to and is_of(key, promise.keys) else None
