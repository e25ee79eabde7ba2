"""The state directory: what it must be, who has it, what is where in it, and what one start leaves to the next."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from pathlib import Path

from pileus import holds
from pileus.files import write_private
from pileus.settings import Settings
from pileus.users import system_user

OURS = ("lock", "settings.json", "credentials.json")
"""Files that tell a state directory."""
PREPARED = frozenset({"policy", "tls", holds.NAME})
"""What an operator, a test or a lab may put into an empty one before the first start."""
FOLDERS = (
    ("db", 0o700, True),
    ("images", 0o750, True),
    ("notifications", 0o750, True),
    ("run", 0o755, False),
    ("agent", 0o711, False),
    ("log", 0o700, False),
    ("policy", 0o755, False),
)
"""Their names, their modes, and whether they are the replica's; the others are root's."""


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


def lock(settings: Settings) -> None:
    """Take the state directory for this process, until it ends.

    Raises:
        StartFailed: another process has it, or it is no place for a state.
    """
    settings.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    check_directory(settings.directory)
    descriptor = os.open(settings.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StartFailed(f"a cloud is running in {settings.state} already") from None


def running(settings: Settings) -> int | None:
    """The supervisor's pid, None if the cloud does not run (a stale pid file may name a stranger)."""
    try:
        pid = int(settings.pidfile.read_text())
    except (OSError, ValueError):
        return None
    return pid if locked(settings) else None


def locked(settings: Settings) -> bool:
    """Whether a process has the state directory: a supervisor, until it has ended."""
    try:
        descriptor = os.open(settings.directory / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def lay_out(settings: Settings) -> None:
    """Make the folders of a state directory, each for who writes to it, and have all that comes later kept private."""
    owner = system_user(settings.replica_user) if os.geteuid() == 0 else None
    os.umask(0o077)  # of all parts but where one says otherwise: what they keep is nobody else's
    for name, mode, owned in FOLDERS:
        folder = settings.directory / name
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
        if owner and owned:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
    if owner and (folder := settings.directory / holds.NAME).is_dir():
        os.chown(folder, owner.pw_uid, owner.pw_gid)


def log_file(settings: Settings) -> Path:
    """Where the cloud's processes log to."""
    return settings.directory / "log" / "pileus.log"


def credentials_file(settings: Settings) -> Path:
    """Where the first users' passwords are kept, readable by the owner only."""
    return settings.directory / "credentials.json"


def ask_to_stop(settings: Settings, pid: int, keep_guests: bool) -> None:
    """Have the supervisor end the cloud."""
    write_private(settings.directory / "stop.json", json.dumps({"keep_guests": keep_guests}).encode())
    os.kill(pid, signal.SIGTERM)


def keep_guests(settings: Settings) -> bool:
    """What `pileus down` asked for; a plain SIGTERM leaves guests running."""
    path = settings.directory / "stop.json"
    if not path.exists():
        return True
    keep = bool(json.loads(path.read_text()).get("keep_guests"))
    path.unlink()
    return keep
