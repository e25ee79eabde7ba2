"""Open vSwitch's and OVN's programs as daemons: what each is started with, found again by, and ended.

Their flags are in the manual pages ovsdb-server(1), ovs-vswitchd(8), ovn-northd(8) and ovn-controller(8).
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pileus.agent.daemons import pid_of, run, wait_until
from pileus.agent.errors import CommandFailed


@dataclass(frozen=True)
class Daemon:
    """A daemon with what it needs on its command line."""

    program: str
    pidfile: Path
    arguments: tuple[str, ...]
    database: Path | None = None
    schema: Path | None = None

    def pid(self) -> int | None:
        """Its pid if it runs.

        Three of them are called ovsdb-server, and after a reboot a pid file may name another one of these:
        only the command line tells. A zombie has none.
        """
        pid = pid_of(self.pidfile, self.program)
        return pid if f"--pidfile={self.pidfile}".encode() in _words(pid) else None

    def is_as_told(self) -> bool:
        """Whether the one that runs was started with what it is to be started with now."""
        words = _words(self.pid())
        return all(argument.encode() in words for argument in self.arguments)


def _words(pid: int | None) -> list[bytes]:
    """A process's command line; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def daemon(program: str, directory: Path, name: str, *arguments: str, **files: Path) -> Daemon:
    """A program that detaches itself, with its pid file and log in a directory."""
    pidfile = directory / f"{name}.pid"
    common = (
        "--detach",
        "--no-chdir",
        f"--pidfile={pidfile}",
        f"--log-file={directory}/{name}.log",
        "-vconsole:off",
    )
    return Daemon(program, pidfile, (*common, *arguments), **files)


def database(directory: Path, name: str, socket: Path, file: Path, schema: Path, *options: str) -> Daemon:
    """A server of a database, which listens on a unix socket."""
    arguments = (f"--remote=punix:{socket}", f"--unixctl={directory}/{name}.ctl", *options, str(file))
    return daemon("ovsdb-server", directory, name, *arguments, database=file, schema=schema)


def prepare_database(database: Path, schema: Path) -> None:
    """Create a database that was never whole, bring an older one to this version's schema.

    Data is never thrown away. A new one is made beside its place and moved there, so it is whole or absent,
    however this ends.
    """
    if not _was_valid(database):
        fresh = database.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        database.with_name(f".{database.name}.~lock~").unlink(missing_ok=True)
        run("ovsdb-tool", "create", str(fresh), str(schema))
        fresh.rename(database)
    elif run("ovsdb-tool", "needs-conversion", str(database), str(schema)).strip() == "yes":
        run("ovsdb-tool", "convert", str(database), str(schema))


def _was_valid(database: Path) -> bool:
    """Whether the file's first record, its schema, was written to its end.

    A record is a line `OVSDB JSON <size> <sha1>` and as many bytes (ovsdb(5)).
    """
    try:
        with database.open("rb") as file:
            header = file.readline(200)
            size = int(header.split()[2])
            return database.stat().st_size >= len(header) + size
    except (FileNotFoundError, IndexError, ValueError):
        return False


def end(daemon: Daemon, timeout_s: float = 10.0) -> None:
    """SIGTERM, and SIGKILL for one that does not obey."""
    pid = daemon.pid()
    if pid is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, number)
            wait_until(lambda: daemon.pid() is None, timeout_s, f"end of {daemon.program}")
        except ProcessLookupError:
            return
        except CommandFailed:
            continue
        return
