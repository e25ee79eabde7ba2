"""A host's OVN and Open vSwitch: found again by their pid files, started where they do not run.

They detach themselves, so they outlive the agent and keep its guests connected.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import NamedTuple

from pileus.agent.daemons import run, wait_until
from pileus.agent.errors import CommandFailed
from pileus.agent.network.central import Central
from pileus.agent.network.links import finish_checksums, link_exists, remove_link
from pileus.agent.network.outbound import OutboundNat
from pileus.agent.network.processes import Daemon, daemon, database, end, prepare_database
from pileus.agent.network.underlay import BRIDGE as UNDERLAY_BRIDGE
from pileus.agent.network.underlay import Underlay
from pileus.agent.papers import Pems

LOG = logging.getLogger(__name__)

INTEGRATION_BRIDGE = "br-int"
PROVIDER_BRIDGE = "br-ex"
PROVIDER_NETWORK = "public"
_OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_WATCH_S = 2.0


class Neighbours(NamedTuple):
    """How a host meets the others of its cloud.

    Attributes:
        address: of this host, by which others reach it, also for tunnels.
        southbound: where OVN's central is (ssl:HOST:PORT); "" if it is on this host.
        device: that tunnels go by, where the datapath is in userspace; "" where there are none.
    """

    address: str = "127.0.0.1"
    southbound: str = ""
    device: str = ""


class OvnDaemons:
    """The daemons of one host, which is a chassis, and central if no other is.

    Args:
        state: the agent's directory; databases, sockets, pid files and logs are in its `ovn` and
        `openvswitch`. host: the chassis' name.
        outbound: the external network's gateway, if it shall be NATed. northbound: where, besides its own socket, the
        northbound database listens for those who are in `group`.
    """

    def __init__(
        self,
        state: Path,
        host: str,
        neighbours: Neighbours,
        outbound: str | None = None,
        northbound: Path | None = None,
        group: int | None = None,
    ) -> None:
        self._host, self._neighbours = host, neighbours
        self._outbound = OutboundNat(outbound, PROVIDER_BRIDGE) if outbound else None
        self.found_running = False
        self._ovn, self._ovs = state / "ovn", state / "openvswitch"
        self._run = self._ovs / "run"
        self._central = None if neighbours.southbound else Central(self._ovn, northbound, group)
        self._underlay = Underlay(neighbours.device, state / "underlay.json") if neighbours.device else None
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
        if self._central:
            self._central.renew_outdated()
        self.found_running = len(self._ensure()) < len(self._daemons)
        if self._central:
            self._central.offer_northbound()  # what was found running may be of a release that did not
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
            for one in reversed(self._daemons):
                end(one)
            if self._outbound:
                self._outbound.disable()
            if self.datapath_type == "netdev":
                for device in (INTEGRATION_BRIDGE, PROVIDER_BRIDGE, UNDERLAY_BRIDGE, "ovs-netdev"):
                    remove_link(device)  # vswitchd leaves its tap devices behind
            if self._underlay:
                self._underlay.give_back()

    def meet(self, pems: Pems) -> str:
        """Use these certificates with other hosts; where they find OVN's central, if it is here."""
        if self._central:
            if pems.replicas.exists():
                self._central.let_replicas_in(self._neighbours.address, pems)
            return self._central.offer_southbound(self._neighbours.address, pems)
        self.vsctl("--no-wait", "set-ssl", str(pems.key), str(pems.certificate), str(pems.authority))
        return ""

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl on this host's switch."""
        return run("ovs-vsctl", f"--db=unix:{self.db_socket}", "--timeout=20", *arguments)

    def _make(self) -> list[Daemon]:
        """All daemons in the order in which they need each other."""
        own, control = f"unix:{self.db_socket}", f"--unixctl={self._run}/ovs-vswitchd.ctl"
        return [
            *(self._central.daemons if self._central else ()),
            database(self._run, "ovsdb-server", self.db_socket, self._ovs / "conf.db", _OVS_SCHEMA),
            daemon("ovs-vswitchd", self._run, "ovs-vswitchd", control, own),
            daemon("ovn-controller", self._ovn, "ovn-controller", own),
        ]

    def _ensure(self) -> list[str]:
        """Start the daemons that do not run; returns which."""
        started = []
        with self._lock:
            for one in self._daemons:
                if one.pid() is None:
                    self._start_one(one)
                    started.append(one.pidfile.stem)
                if one.schema == _OVS_SCHEMA and not self.datapath_type:
                    self._configure()
        return started

    def _start_one(self, one: Daemon) -> None:
        if one.database and one.schema:
            prepare_database(one.database, one.schema)
        one.pidfile.unlink(missing_ok=True)
        environment = {
            "OVN_RUNDIR": str(self._ovn),
            "OVN_LOGDIR": str(self._ovn),
            "OVN_DBDIR": str(self._ovn),
            "OVS_RUNDIR": str(self._run),  # vswitchd offers each bridge's control socket here, ovn-controller asks here
            "OVS_LOGDIR": str(self._ovs),
            "OVS_DBDIR": str(self._ovs),
        }
        run(one.program, *one.arguments, env=os.environ | environment)
        if one.program == "ovs-vswitchd":
            self._raise_provider_bridge()
            self._raise_underlay()
        elif self._central and one.database == self._ovn / "ovnnb.db":
            self._central.offer_northbound()

    def _raise_provider_bridge(self) -> None:
        """Let the host itself talk on the provider network by an address on the bridge."""
        wait_until(lambda: link_exists(PROVIDER_BRIDGE), 20, f"bridge {PROVIDER_BRIDGE}")
        run("ip", "link", "set", PROVIDER_BRIDGE, "up")
        if self.datapath_type == "netdev":
            finish_checksums(PROVIDER_BRIDGE)
        if self._outbound and self._watcher is not None:
            self._outbound.enable()  # the bridge is a new device: it lost its address

    def _raise_underlay(self) -> None:
        if self._underlay and self.datapath_type == "netdev":
            wait_until(lambda: link_exists(UNDERLAY_BRIDGE), 20, f"bridge {UNDERLAY_BRIDGE}")
            self._underlay.move()

    def _configure(self) -> None:
        """Say in the switch's database who we are, and make the bridges. vswitchd need not run yet."""
        self.vsctl("--no-wait", "init")
        self.datapath_type = self._find_datapath_type()
        settings = {
            "system-id": self._host,
            "hostname": self._host,
            "ovn-remote": self._central.southbound if self._central else self._neighbours.southbound,
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": self._neighbours.address,
            "ovn-bridge": INTEGRATION_BRIDGE,
            "ovn-bridge-datapath-type": self.datapath_type,
            "ovn-bridge-mappings": f"{PROVIDER_NETWORK}:{PROVIDER_BRIDGE}",
            # Whoever asks piecemeal says that a port is installed before he has its network's flows.
            "ovn-monitor-all": "true",
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
        below = self._underlay.bridging() if self._underlay and self.datapath_type == "netdev" else []
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", *pairs, *bridges, *secure, *below)

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
