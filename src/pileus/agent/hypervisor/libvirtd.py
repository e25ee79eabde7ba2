"""A libvirtd of the agent's own: started, found again after a restart of the agent, stopped.

It lives in a mount namespace where libvirt's directories, and Open vSwitch's socket directory, are
directories under the agent's state. So it meets neither the distribution's libvirtd nor that of another
agent on the machine. It is no child that dies with the agent: guests survive an agent that is restarted or
killed.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.daemons import end, pid_of, wait_until
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.confinement import Confinement
from pileus.files import write_private

PROGRAM = "libvirtd"
_START_TIMEOUT_S = 30.0
_SUN_PATH_MAX = 107
"""Longest path of a unix socket (unix(7): 108 bytes with the closing zero)."""

MEETING = "/run/libvirt/moves"
"""Where libvirtd finds the sockets of guests that move, as it sees it."""

_ROOMS = ("etc", "run", "lib", "log", "cache")

_LIBVIRTD_CONF = """\
unix_sock_dir = "/run/libvirt"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid = "{host_uuid}"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
max_clients = 100
max_workers = 20
"""

# $1 the libvirt room, $2 Open vSwitch's run directory. The places mounted over must exist in the machine's
# own tree.
_ENTER = """\
set -eu
mount --make-rprivate /
mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /run/openvswitch
mount --bind "$1/etc" /etc/libvirt
mount --bind "$1/run" /run/libvirt
mount --bind "$1/lib" /var/lib/libvirt
mount --bind "$1/log" /var/log/libvirt
mount --bind "$1/cache" /var/cache/libvirt
mount --bind "$2" /run/openvswitch
exec libvirtd --pid-file /run/libvirt/libvirtd.pid
"""


class Libvirtd:
    """The daemon that belongs to one state directory.

    Args:
        state: the agent's state directory; `libvirt/` and `openvswitch/run/` in it are used.
        confinement: asked for what guests are kept in by, when the daemon is started.
    """

    def __init__(self, state: Path, confinement: Callable[[], Confinement]) -> None:
        self._confinement = confinement
        self._room = state / "libvirt"
        self._ovs_run = state / "openvswitch" / "run"
        self._pidfile = self._room / "run" / "libvirtd.pid"
        self._socket = self._room / "run" / "libvirt-sock"

    @property
    def pid(self) -> int | None:
        """Process id of the running daemon."""
        return pid_of(self._pidfile, PROGRAM)

    @property
    def meeting(self) -> Path:
        """MEETING, as others see it."""
        return self._room / "run" / "moves"

    @property
    def socket(self) -> Path:
        """The socket on which the daemon is talked to."""
        return self._socket

    @property
    def uri(self) -> str:
        """URI on which the running daemon is reached, from outside its namespace."""
        path = str(self._socket)
        if len(os.fsencode(path)) > _SUN_PATH_MAX:
            path = f"/proc/{self.pid}/root/run/libvirt/libvirt-sock"
        return f"qemu+unix:///system?socket={path}"

    def ensure(self) -> bool:
        """Make the daemon run; tells whether it had to be started.

        Raises:
            CommandFailed: it does not open its socket in time.
        """
        self._configure()
        with self._alone():
            if self.pid is not None:
                return False
            self._socket.unlink(missing_ok=True)
            self._launch()
            return True

    def stop(self) -> None:
        """End the daemon; its guests, if any, run on."""
        pid = self.pid
        if pid is not None:
            end(pid)

    def drop_log(self, domain: str) -> None:
        """Remove QEMU's log of a domain that is gone; libvirt keeps it for ever."""
        (self._room / "log" / "qemu" / f"{domain}.log").unlink(missing_ok=True)

    def _launch(self) -> None:
        argv = ["unshare", "--mount", "sh", "-c", _ENTER, "pileus-libvirtd"]
        with open(self._room / "log" / "start.log", "ab") as log:
            starter = subprocess.Popen(
                [*argv, str(self._room), str(self._ovs_run)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},  # no secrets of ours
                umask=0o022,
                start_new_session=True,  # signals to the agent's group must not reach it
            )

        def up() -> bool:
            if starter.poll() is not None:
                raise CommandFailed("hypervisor", "libvirtd ended at once; see libvirt/log in the state directory")
            return self._socket.exists() and self.pid is not None

        wait_until(up, _START_TIMEOUT_S, "start of libvirtd")
        # It is our child until we die; unreaped it would stay a zombie that looks alive.
        threading.Thread(target=starter.wait, name="libvirtd-reaper", daemon=True).start()

    def _configure(self) -> None:
        for name in _ROOMS:
            (self._room / name).mkdir(parents=True, exist_ok=True)
            (self._room / name).chmod(0o755)  # guests, as users of their own, pass; outside, the room itself is shut
        self._ovs_run.mkdir(parents=True, exist_ok=True)
        self._room.chmod(0o700)
        identity = self._room / "host-uuid"
        if not identity.exists():
            # Two hosts on one machine have one DMI table; libvirt refuses migration between equal host ids.
            write_private(identity, str(uuid.uuid4()).encode())
        write_private(self._room / "etc" / "qemu.conf", self._confinement().qemu_conf.encode())
        conf = _LIBVIRTD_CONF.format(host_uuid=identity.read_text())
        write_private(self._room / "etc" / "libvirtd.conf", conf.encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep two threads or agents from starting two daemons over one state directory."""
        with open(self._room / "start.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
