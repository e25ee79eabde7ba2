"""Which host a guest's files may be handed over to: written where no other host can write."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pileus.agent.commands.base import Keys
from pileus.certificates import is_of
from pileus.files import write_private


class _Promise(msgspec.Struct):
    to: str
    keys: Keys = ()


def write(path: Path, to: str, keys: Keys) -> None:
    """Promise files to a host, whose agent has one of these keys; "": to none."""
    if to:
        write_private(path, msgspec.json.encode(_Promise(to, keys)))
    else:
        path.unlink(missing_ok=True)


def holds(path: Path, to: str, key: str) -> bool:
    """Whether files are promised to a host, whose agent shows this key."""
    try:
        promise = msgspec.json.decode(path.read_bytes(), type=_Promise)
    except (OSError, msgspec.DecodeError):
        return False
    return promise.to == to and is_of(key, promise.keys)
