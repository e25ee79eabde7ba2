"""OVN's central: the northbound and the southbound database, and what translates the one into the other."""

from __future__ import annotations

import os
from pathlib import Path

from pileus.agent.daemons import run, wait_until
from pileus.agent.network.processes import Daemon, daemon, database
from pileus.agent.papers import Pems

SOUTHBOUND_PORT = 6642
_SCHEMAS = Path("/usr/share/ovn")
_SSL = "db:OVN_Southbound,SSL"


class Central:
    """Its daemons run on one host of the cloud.

    Args:
        folder: of its databases, sockets, pid files and logs. northbound: where, besides its own socket, the northbound
        database listens for those who are in `group`.
    """

    def __init__(self, folder: Path, northbound: Path | None, group: int | None) -> None:
        self._folder, self._northbound, self._group = folder, northbound, group
        self._nb_socket, self._sb_socket = folder / "ovnnb_db.sock", folder / "ovnsb_db.sock"
        self.southbound = f"unix:{self._sb_socket}"
        """Where this host's own controller finds it."""
        # How others are let in stands in the database itself; see `offer_southbound`.
        keys = [f"--{name.replace('_', '-')}={_SSL},{name}" for name in ("private_key", "certificate", "ca_cert")]
        others = ("--remote=db:OVN_Southbound,SB_Global,connections", *keys)
        nb, sb = f"--ovnnb-db=unix:{self._nb_socket}", f"--ovnsb-db={self.southbound}"
        nb_schema, sb_schema = _SCHEMAS / "ovn-nb.ovsschema", _SCHEMAS / "ovn-sb.ovsschema"
        self.daemons: list[Daemon] = [
            database(folder, "ovnnb_db", self._nb_socket, folder / "ovnnb.db", nb_schema),
            database(folder, "ovnsb_db", self._sb_socket, folder / "ovnsb.db", sb_schema, *others),
            daemon("ovn-northd", folder, "ovn-northd", nb, sb, f"--unixctl={folder}/ovn-northd.ctl"),
        ]

    def offer_northbound(self) -> None:
        """Let the control plane, an ordinary user, open the northbound database, and nothing else that is ours."""
        if self._northbound is None:
            return
        control = str(self._folder / "ovnnb_db.ctl")
        run("ovs-appctl", "-t", control, "ovsdb-server/add-remote", f"punix:{self._northbound}")
        northbound = self._northbound
        wait_until(northbound.exists, 20, "the socket of the northbound database")  # it is made after the answer
        if self._group is not None:
            os.chown(northbound, -1, self._group)
            northbound.chmod(0o660)

    def offer_southbound(self, host: str, pems: Pems) -> str:
        """Let other hosts' controllers in, by their certificates, each to change what is its own (ovn-sb(5), RBAC).

        Args:
            host: this host's address that others reach.

        Returns:
            Where they find it.
        """
        address = f"[{host}]" if ":" in host else host
        sbctl = ("ovn-sbctl", f"--db={self.southbound}", "--timeout=20")
        run(*sbctl, "set-ssl", *map(str, pems))
        run(*sbctl, "set-connection", "role=ovn-controller", f"pssl:{SOUTHBOUND_PORT}:{address}")
        return f"ssl:{address}:{SOUTHBOUND_PORT}"
