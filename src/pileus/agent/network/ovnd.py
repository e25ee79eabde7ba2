"""OVN's and Open vSwitch's daemons: found again by their pid files, started where they do not run.

They detach themselves, so they outlive the agent and keep its guests connected. Their flags are in the manual
pages ovsdb-server(1), ovs-vswitchd(8), ovn-northd(8) and ovn-controller(8).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

from pileus.agent.daemons import pid_of, run, wait_until
from pileus.agent.errors import CommandFailed
from pileus.agent.network.links import finish_checksums, link_exists, remove_link
from pileus.agent.network.outbound import OutboundNat

LOG = logging.getLogger(__name__)

INTEGRATION_BRIDGE = "br-int"
PROVIDER_BRIDGE = "br-ex"
PROVIDER_NETWORK = "public"
_OVN_SCHEMAS = Path("/usr/share/ovn")
_OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_WATCH_S = 2.0


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
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        return pid if f"--pidfile={self.pidfile}".encode() in command.split(b"\0") else None


class OvnDaemons:
    """The daemons of one host that is its own OVN central.

    Args:
        state: the agent's directory; databases, sockets, pid files and logs are in its `ovn` and
        `openvswitch`. host: the chassis' name. encap_ip: address for tunnels from other hosts.
        outbound: the external network's gateway, if it shall be NATed. northbound: where, besides its own socket, the
        northbound database listens for those who are in `group`.
    """

    def __init__(
        self,
        state: Path,
        host: str,
        encap_ip: str,
        outbound: str | None = None,
        northbound: Path | None = None,
        group: int | None = None,
    ) -> None:
        self._host, self._encap_ip = host, encap_ip
        self._northbound, self._group = northbound, group
        self._outbound = OutboundNat(outbound, PROVIDER_BRIDGE) if outbound else None
        self.found_running = False
        self._ovn, self._ovs = state / "ovn", state / "openvswitch"
        self._run = self._ovs / "run"
        self._nb_socket, self._sb_socket = self._ovn / "ovnnb_db.sock", self._ovn / "ovnsb_db.sock"
        self.db_socket = self._run / "db.sock"
        self.datapath_type = ""
        self._daemons = self._make()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Start what does not run, then keep watch over it.

        Raises:
            CommandFailed: a daemon or a database is broken.
        """
        for directory in (self._ovn, self._run):
            directory.mkdir(parents=True, exist_ok=True)
        self.found_running = len(self._ensure()) < len(self._daemons)
        self._offer_northbound()  # what was found running may be of a release that did not
        if self._outbound:
            self._outbound.enable()
        self._stopping.clear()
        self._watcher = threading.Thread(target=self._watch, name="ovn-watch", daemon=True)
        self._watcher.start()

    def stop(self, keep_running: bool) -> None:
        """Stop the watch and, unless they shall keep running, the daemons, the last started first."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        if not keep_running:
            for daemon in reversed(self._daemons):
                _end(daemon)
            if self._outbound:
                self._outbound.disable()
            if self.datapath_type == "netdev":
                for device in (INTEGRATION_BRIDGE, PROVIDER_BRIDGE, "ovs-netdev"):
                    remove_link(device)  # vswitchd leaves its tap devices behind

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl on this host's switch."""
        return run("ovs-vsctl", f"--db=unix:{self.db_socket}", "--timeout=20", *arguments)

    def _make(self) -> list[Daemon]:
        """All daemons in the order in which they need each other."""
        ovn, ovs = self._ovn, self._ovs
        nb, sb = f"--ovnnb-db=unix:{self._nb_socket}", f"--ovnsb-db=unix:{self._sb_socket}"
        return [
            _database(ovn, "ovnnb_db", self._nb_socket, ovn / "ovnnb.db", _OVN_SCHEMAS / "ovn-nb.ovsschema"),
            _database(ovn, "ovnsb_db", self._sb_socket, ovn / "ovnsb.db", _OVN_SCHEMAS / "ovn-sb.ovsschema"),
            _daemon("ovn-northd", ovn, "ovn-northd", nb, sb, f"--unixctl={ovn}/ovn-northd.ctl"),
            _database(self._run, "ovsdb-server", self.db_socket, ovs / "conf.db", _OVS_SCHEMA),
            _daemon(
                "ovs-vswitchd", self._run, "ovs-vswitchd", f"--unixctl={self._run}/ovs-vswitchd.ctl",
                f"unix:{self.db_socket}",
            ),
            _daemon("ovn-controller", ovn, "ovn-controller", f"unix:{self.db_socket}"),
        ]  # fmt: skip

    def _ensure(self) -> list[str]:
        """Start the daemons that do not run; returns which."""
        started = []
        with self._lock:
            for daemon in self._daemons:
                if daemon.pid() is None:
                    self._start_one(daemon)
                    started.append(daemon.pidfile.stem)
                if daemon.program == "ovsdb-server" and not self.datapath_type and daemon.schema == _OVS_SCHEMA:
                    self._configure()
        return started

    def _start_one(self, daemon: Daemon) -> None:
        if daemon.database and daemon.schema:
            _prepare_database(daemon.database, daemon.schema)
        daemon.pidfile.unlink(missing_ok=True)
        environment = {
            "OVN_RUNDIR": str(self._ovn),
            "OVN_LOGDIR": str(self._ovn),
            "OVN_DBDIR": str(self._ovn),
            "OVS_RUNDIR": str(self._run),  # vswitchd offers each bridge's control socket here, ovn-controller asks here
            "OVS_LOGDIR": str(self._ovs),
            "OVS_DBDIR": str(self._ovs),
        }
        run(daemon.program, *daemon.arguments, env=os.environ | environment)
        if daemon.program == "ovs-vswitchd":
            self._raise_provider_bridge()
        elif daemon.database == self._ovn / "ovnnb.db":
            self._offer_northbound()

    def _offer_northbound(self) -> None:
        """Let the control plane, an ordinary user, open the northbound database, and nothing else that is ours."""
        if self._northbound is None:
            return
        control = str(self._ovn / "ovnnb_db.ctl")
        run("ovs-appctl", "-t", control, "ovsdb-server/add-remote", f"punix:{self._northbound}")
        northbound = self._northbound
        wait_until(northbound.exists, 20, "the socket of the northbound database")  # it is made after the answer
        if self._group is not None:
            os.chown(northbound, -1, self._group)
            northbound.chmod(0o660)

    def _raise_provider_bridge(self) -> None:
        """Let the host itself talk on the provider network by an address on the bridge."""
        wait_until(lambda: link_exists(PROVIDER_BRIDGE), 20, f"bridge {PROVIDER_BRIDGE}")
        run("ip", "link", "set", PROVIDER_BRIDGE, "up")
        if self.datapath_type == "netdev":
            finish_checksums(PROVIDER_BRIDGE)
        if self._outbound and self._watcher is not None:
            self._outbound.enable()  # the bridge is a new device: it lost its address

    def _configure(self) -> None:
        """Say in the switch's database who we are, and make the bridges. vswitchd need not run yet."""
        self.vsctl("--no-wait", "init")
        self.datapath_type = self._find_datapath_type()
        settings = {
            "system-id": self._host,
            "hostname": self._host,
            "ovn-remote": f"unix:{self._sb_socket}",
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": self._encap_ip,
            "ovn-bridge": INTEGRATION_BRIDGE,
            "ovn-bridge-datapath-type": self.datapath_type,
            "ovn-bridge-mappings": f"{PROVIDER_NETWORK}:{PROVIDER_BRIDGE}",
            "ovn-monitor-all": "true",  # one chassis needs all there is; asking piecemeal costs round trips
        }
        pairs = [f'external_ids:{key}="{value}"' for key, value in settings.items()]
        bridges: list[str] = []
        for bridge in (INTEGRATION_BRIDGE, PROVIDER_BRIDGE):
            bridges += ["--", "--may-exist", "add-br", bridge]
            bridges += ["--", "set", "Bridge", bridge, f"datapath_type={self.datapath_type}"]
        # Without flows, a secure bridge drops: nothing leaks between guests before OVN's controller has come.
        secure = [
            "--",
            "set",
            "Bridge",
            INTEGRATION_BRIDGE,
            "fail_mode=secure",
            "other_config:disable-in-band=true",
        ]
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *pairs, *bridges, *secure)

    def _find_datapath_type(self) -> str:
        """The kernel's datapath where there is one, else the one in userspace; once chosen, it stays."""
        find = (
            "--bare",
            "--no-headings",
            "--columns=datapath_type",
            "find",
            "Bridge",
            f"name={INTEGRATION_BRIDGE}",
        )
        if chosen := self.vsctl(*find).strip():
            return chosen
        try:
            run("ovs-dpctl", "add-dp", "pileus-try")
            run("ovs-dpctl", "del-dp", "pileus-try")
        except CommandFailed:
            return "netdev"
        return "system"

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_S):
            try:
                if restarted := self._ensure():
                    LOG.warning("started again: %s", ", ".join(restarted))
            except (CommandFailed, OSError) as error:
                LOG.error("a network daemon is dead and does not start: %s", error)


def _daemon(program: str, directory: Path, name: str, *arguments: str, **files: Path) -> Daemon:
    pidfile = directory / f"{name}.pid"
    common = (
        "--detach",
        "--no-chdir",
        f"--pidfile={pidfile}",
        f"--log-file={directory}/{name}.log",
        "-vconsole:off",
    )
    return Daemon(program, pidfile, (*common, *arguments), **files)


def _database(directory: Path, name: str, socket: Path, database: Path, schema: Path) -> Daemon:
    arguments = (f"--remote=punix:{socket}", f"--unixctl={directory}/{name}.ctl", str(database))
    return _daemon("ovsdb-server", directory, name, *arguments, database=database, schema=schema)


def _prepare_database(database: Path, schema: Path) -> None:
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


def _end(daemon: Daemon, timeout_s: float = 10.0) -> None:
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
