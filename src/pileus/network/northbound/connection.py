"""The connection to OVN's northbound database: which of it is kept in memory, and revisions of what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pileus.ovsdb import Database, Row
    from pileus.ovsdb_tls import Dial

REVISION = "neutron:revision_number"
SUBNET = "subnet_id"
NETWORK = "neutron:network_id"

_NAMED = ("Logical_Switch", "Logical_Switch_Port", "Port_Group")
_TABLES = (*_NAMED, "ACL", "DHCP_Options", "DNS")
_KEYS = (("DHCP_Options", SUBNET), ("DHCP_Options", NETWORK), ("DNS", NETWORK))


def connect(server: str | Dial) -> Database:
    """Connect to the northbound database.

    Args:
        server: an OVSDB remote, or what gives a connection over which it is spoken to.

    Raises:
        Lost: it is not there.
    """
    from pileus.ovsdb import Database  # only now: a simulated cloud never pays for it
    from pileus.ovsdb_tls import remote

    return Database(
        server if isinstance(server, str) else remote(server),
        "OVN_Northbound",
        dict.fromkeys(_TABLES, ()),
        _NAMED,
        _KEYS,
    )


def stale(row: Row, revision: int) -> bool:
    """Whether the row carries a later revision. If not, a writer faster than this transaction restarts it."""
    stored = row.external_ids.get(REVISION)
    if stored is not None and int(stored) > revision:
        return True
    row.verify("external_ids")
    return False
