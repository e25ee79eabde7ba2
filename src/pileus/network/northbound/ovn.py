"""The logical network in OVN: the protocol of northbound/base.py, each method one northbound transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pileus.agent.commands import NetworkSpec
from pileus.errors import Unavailable
from pileus.network.names import DOMAIN
from pileus.network.northbound import groups, networks, ports
from pileus.network.northbound.base import SecurityGroupSpec, Wiring
from pileus.network.northbound.connection import connect

if TYPE_CHECKING:
    from pileus.ovsdb import Change, Database
    from pileus.ovsdb_tls import Dial

_TURN_S = 10.0
"""How long a caller waits while others try to connect."""


class OvnNorthbound:
    """OVN's northbound database. Satisfies pileus.network.northbound.base.Northbound.

    It is connected to with the first call and again after losses; while it is not there, calls fail at once.

    Args:
        server: an OVSDB remote such as "unix:/var/lib/pileus/run/northbound.sock"; or a function that gives a
        connection over which the database is spoken to, and raises OSError, PileusError or Refused.
        dns_domain: domain of the names that guests are given.
    """

    kind = "ovn"

    def __init__(self, server: str | Dial, dns_domain: str = DOMAIN) -> None:
        self._server, self._domain = server, dns_domain.rstrip(".")
        self._connection: Database | None = None
        self._ready: Database | None = None
        self._connecting = threading.Lock()

    def sync_network(self, network: NetworkSpec) -> None:
        """Make a network, its subnets' DHCP options and its metadata port exist as specified."""
        self._change(lambda change: _ignore(networks.put_network(change, network, self._domain)))

    def drop_network(self, network_id: str) -> None:
        """Remove a network with its ports. Idempotent."""
        self._change(lambda change: networks.drop_network(change, network_id))

    def sync_port(self, wiring: Wiring) -> None:
        """Make a port exist as specified, with its network and security groups; one on no host has no record."""

        def put(change: Change) -> None:
            if not wiring.port.host:
                ports.unbind_port(change, wiring.port, self._domain)
                return
            switch = networks.put_network(change, wiring.network, self._domain)
            for group in wiring.security_groups:
                groups.put_group(change, group)
            ports.put_port(change, switch, wiring.port, self._domain)

        self._change(put)

    def drop_port(self, port_id: str) -> None:
        """Remove a port. Idempotent."""
        self._change(lambda change: ports.drop_port(change, port_id, self._domain))

    def sync_security_group(self, group: SecurityGroupSpec) -> None:
        """Make a group's rules take effect."""
        self._change(lambda change: groups.put_group(change, group))

    def drop_security_group(self, group_id: str) -> None:
        """Remove a group. Idempotent."""
        self._change(lambda change: groups.drop_group(change, group_id))

    def recorded_ports(self) -> set[str]:
        """Ids of the ports that have a record, without the network's own."""
        rows = self.database.look(lambda found: [(row.name, row.type) for row in found.rows("Logical_Switch_Port")])
        return {name for name, kind in rows if not kind}

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        with self._connecting:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._ready = None

    @property
    def database(self) -> Database:
        """The connection, made if there is none, for looking at.

        Raises:
            Unavailable: the database is not there.
        """
        with _unavailable():
            return self._ready or self._connect()

    def _change(self, body: Callable[[Change], None]) -> None:
        with _unavailable():
            (self._ready or self._connect()).change(body)

    def _connect(self) -> Database:
        """Connect and make what every port needs. A connection that is slow to fill is kept for the next caller."""
        if not self._connecting.acquire(timeout=_TURN_S):
            raise Unavailable("The network database is being connected to.")
        try:
            if self._ready is None:
                self._connection = self._connection or connect(self._server)
                self._connection.change(lambda change: _ignore(groups.put_drop_group(change)))
                self._ready = self._connection
            return self._ready
        finally:
            self._connecting.release()


@contextmanager
def _unavailable() -> Iterator[None]:
    """Say what the database's library says in the control plane's words."""
    from pileus.ovsdb import Lost

    try:
        yield
    except Lost as error:
        raise Unavailable(f"The network database cannot be used: {error}") from error


def _ignore(row: object) -> None:
    """For a change's result that nobody needs: a row is valid only while its transaction is made."""
