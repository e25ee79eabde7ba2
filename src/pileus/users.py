"""Users of the machine that parts of the cloud run as."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PR_SET_KEEPCAPS = 8
_CAPABILITIES_VERSION_3 = 0x20080522
_CAP_DAC_READ_SEARCH = 1 << 2


def system_user(name: str, group: str | None = None) -> pwd.struct_passwd:
    """A user without a home or a shell, made if there is none.

    Args:
        group: the group it is in when it is made, if the machine has that; else one of its own.
    """
    with suppress(KeyError):
        return pwd.getpwnam(name)
    grouped = ["--user-group"]
    with suppress(KeyError):
        grouped = ["--gid", grp.getgrnam(group).gr_name] if group else grouped
    argv = ["useradd", "--system", *grouped, "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    subprocess.run(argv, check=True, capture_output=True)
    return pwd.getpwnam(name)


def become(name: str, reads: bool = False) -> None:
    """Drop root for good.

    Args:
        reads: keep the right to read every file, and no other (capabilities(7), CAP_DAC_READ_SEARCH): for a process
            that has yet to load parts of the program, which may be installed where this user cannot look.

    Raises:
        OSError: the kernel refuses.
    """
    entry, libc = pwd.getpwnam(name), ctypes.CDLL(None, use_errno=True)
    os.setgroups([entry.pw_gid])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    libc.prctl(_PR_SET_KEEPCAPS, int(reads))
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    if reads:
        _only_read(for_good=True)
        libc.prctl(_PR_SET_KEEPCAPS, 0)
    os.umask(0o027)


def act_as(name: str) -> None:
    """Be another user for whatever is opened, made or removed, but for reading, until `act_as_root`."""
    entry = pwd.getpwnam(name)
    os.setgroups([entry.pw_gid])
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    _only_read(for_good=False)


def act_as_root() -> None:
    """The end of `act_as`."""
    os.seteuid(0)
    os.setegid(0)


def _only_read(for_good: bool) -> None:
    """Of root's rights, use the one to read every file."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, of the first 32 and the others
    libc.capget(header, sets)
    sets[0], sets[3] = _CAP_DAC_READ_SEARCH, 0
    if for_good:
        sets[1], sets[4] = _CAP_DAC_READ_SEARCH, 0
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def run_as(name: str, work: Callable[[], str]) -> str:
    """What `work` gives in a process of its own that is another user (see `become`, reads).

    Raises:
        RuntimeError: it failed; with its error's text.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            become(name, reads=True)
            text = work()
            status = 0
        except BaseException as error:
            text = str(error)
        finally:
            with suppress(OSError):
                os.write(writer, text.encode()[:60000])
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(said)
    return said


def give_folder(folder: Path, owner: pwd.struct_passwd) -> None:
    """Let a user have a folder of ours and all in it, which that user may change meanwhile.

    Nothing is reached by a name that could be a link: every file is opened without following one, and only a folder,
    or a file that has no second name elsewhere (hard link), is given away.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    os.chown(folder, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    for _path, folders, files, at in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(OSError):  # a link, or gone
                descriptor = os.open(name, flags, dir_fd=at)
                try:
                    found = os.fstat(descriptor)
                    if stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
                        os.fchown(descriptor, owner.pw_uid, owner.pw_gid)
                finally:
                    os.close(descriptor)
