"""Users of the machine that parts of the cloud run as."""

from __future__ import annotations

import grp
import pwd
import subprocess
from contextlib import suppress


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
