"""OVN's central: the northbound and the southbound database, and what translates the one into the other."""

from __future__ import annotations

import os
from pathlib import Path

from pileus.addresses import bracketed
from pileus.agent.commands import NORTHBOUND_PORT
from pileus.agent.daemons import run, wait_until
from pileus.agent.network.processes import Daemon, daemon, database, end
from pileus.agent.papers import Pems

SOUTHBOUND_PORT = 6642
_SCHEMAS = Path("/usr/share/ovn")


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
        nb, sb = f"--ovnnb-db=unix:{self._nb_socket}", f"--ovnsb-db={self.southbound}"
        nb_schema, sb_schema = _SCHEMAS / "ovn-nb.ovsschema", _SCHEMAS / "ovn-sb.ovsschema"
        self.daemons: list[Daemon] = [
            database(folder, "ovnnb_db", self._nb_socket, folder / "ovnnb.db", nb_schema, *_others("Northbound", "NB")),
            database(folder, "ovnsb_db", self._sb_socket, folder / "ovnsb.db", sb_schema, *_others("Southbound", "SB")),
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

    def renew_outdated(self) -> None:
        """Have databases that an earlier release started, which nobody elsewhere can reach, started again."""
        for one in self.daemons:
            if one.database and one.pid() is not None and not one.is_as_told():
                end(one)

    def let_replicas_in(self, host: str, pems: Pems) -> None:
        """Let replicas elsewhere change the northbound database, by certificates that only they have.

        Args:
            host: this host's address that others reach.
        """
        nbctl = ("ovn-nbctl", f"--db=unix:{self._nb_socket}", "--timeout=20")
        run(*nbctl, "set-ssl", str(pems.key), str(pems.certificate), str(pems.replicas))
        run(*nbctl, "set-connection", f"pssl:{NORTHBOUND_PORT}:{bracketed(host)}")

    def offer_southbound(self, host: str, pems: Pems) -> str:
        """Let other hosts' controllers in, by their certificates, each to change what is its own (ovn-sb(5), RBAC).

        Args:
            host: this host's address that others reach.

        Returns:
            Where they find it.
        """
        address = bracketed(host)
        sbctl = ("ovn-sbctl", f"--db={self.southbound}", "--timeout=20")
        run(*sbctl, "set-ssl", str(pems.key), str(pems.certificate), str(pems.authority))
        run(*sbctl, "set-connection", "role=ovn-controller", f"pssl:{SOUTHBOUND_PORT}:{address}")
        return f"ssl:{address}:{SOUTHBOUND_PORT}"


def _others(name: str, table: str) -> list[str]:
    """Options by which a database lets others in than by its socket: how stands in the database itself."""
    keys = ("private_key", "certificate", "ca_cert")
    files = [f"--{key.replace('_', '-')}=db:OVN_{name},SSL,{key}" for key in keys]
    return [f"--remote=db:OVN_{name},{table}_Global,connections", *files]
