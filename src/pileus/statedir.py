"""What a directory must be to hold a cloud's state."""

from __future__ import annotations

import os
from pathlib import Path

OURS = ("lock", "settings.json", "credentials.json")
"""Files that tell a state directory."""
PREPARED = frozenset({"policy", "tls"})
"""What an operator may put into an empty one before the first start."""


class StartFailed(Exception):
    """A part did not start; the message says which and why."""


def check_directory(directory: Path) -> None:
    """Whether a directory can hold a state. One that is empty and ours lets others pass from now on, as one that we
    make does; any other is never changed: it may be another's, or hold other things.

    Raises:
        StartFailed: it is another user's, others may write to it, or the users that parts run as cannot enter it.
    """
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise StartFailed(f"{directory} belongs to another user")
    if found.st_mode & 0o022:
        raise StartFailed(f"others may write to {directory}: give it a directory of its own, or chmod go-w")
    names = {path.name for path in directory.iterdir()}
    if not (names <= PREPARED or any((directory / name).is_file() for name in OURS)):
        raise StartFailed(f"{directory} holds other things: name an empty directory, or one to be made")
    if os.geteuid() == 0 and not found.st_mode & 0o001:
        if names:
            raise StartFailed(f"what runs without root's rights cannot enter {directory}: chmod o+x")
        directory.chmod(found.st_mode & 0o7777 | 0o011)
