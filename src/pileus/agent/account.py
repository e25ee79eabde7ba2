"""The unprivileged user that guests, and the tools that read what tenants made, run as."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import NamedTuple

from pileus.agent.errors import CommandFailed

FIRST_GUEST = 1879048192
"""Users from here on are no distribution's and no container manager's (systemd, UIDS-GIDS), and need no names."""
GUESTS = 65536
"""How many a host has, one for each guest."""


class Account(NamedTuple):
    """A user of the machine, by number."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, name: str | None) -> Account | None:
        """The account of a name; None where there is nothing to give up, as the agent is not root.

        Raises:
            CommandFailed: there is no such user, or it is root.
        """
        if not name or os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise CommandFailed("hypervisor", f"there is no user {name} to run guests as") from None
        if entry.pw_uid == 0 or entry.pw_gid == 0:
            raise CommandFailed("hypervisor", f"guests do not run as {name}: that is root, or root's group")
        return cls(name, entry.pw_uid, entry.pw_gid)

    def guest(self, number: int) -> Account:
        """The user that one guest of this host runs as, in this account's group."""
        return Account(f"{self.name}+{number}", number, self.gid)

    @property
    def command(self) -> list[str]:
        """What a program's command line begins with, so that it runs as this user and can become nobody else.

        It has no network, as what it is for is on its disk, and nothing that it starts outlives it (setpriv(1),
        unshare(1)).
        """
        who = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        caps = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]
        return ["unshare", "--net", "--ipc", "--pid", "--fork", "--", "setpriv", *who, *caps, "--"]


def give(account: Account | None, path: Path | int, mode: int) -> None:
    """Let only an account, or us if there is none, have a file, in a folder that is ours or by its descriptor."""
    if account is not None:
        if isinstance(path, int):
            os.fchown(path, account.uid, account.gid)
        else:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    if isinstance(path, int):
        os.fchmod(path, mode)
    else:
        path.chmod(mode)


def share(account: Account | None, path: Path, mode: int) -> None:
    """Let an account's group use a file or folder that stays ours: `mode` says how, others have nothing."""
    if account is not None:
        os.chown(path, os.geteuid(), account.gid, follow_symlinks=False)
    path.chmod(mode)
