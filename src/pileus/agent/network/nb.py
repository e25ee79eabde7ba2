"""The connection to OVN's northbound database: one transaction a change, and waiting for ports.

The IDL keeps a copy of the tables named here in memory; a change is a function that compares what it wants
with that copy and writes the difference. It runs on the connection's thread, again from its beginning when
somebody else changed what it had verified (RFC 7047, 5.2.6 wait).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ovs.db import data, types
from ovsdbapp import exceptions
from ovsdbapp.backend.ovs_idl import connection, idlutils
from ovsdbapp.schema.ovn_northbound import impl_idl

from pileus.agent.errors import CommandFailed

Row = Any
"""ovs.db.idl.Row, which is untyped."""

REVISION = "neutron:revision_number"
SUBNET = "subnet_id"
NETWORK = "neutron:network_id"

_TABLES = ("NB_Global", "Logical_Switch", "Logical_Switch_Port", "Port_Group", "ACL", "DHCP_Options", "DNS")
_BY_EXTERNAL_ID = (("DHCP_Options", SUBNET), ("DHCP_Options", NETWORK), ("DNS", NETWORK))
_TIMEOUT_S = 30


class Change:
    """What a transaction's function may do to the database. Valid only while that function runs."""

    def __init__(self, api: Any, txn: Any) -> None:
        self._tables = api.tables
        self._txn = txn

    def find(self, table: str, name: str) -> Row | None:
        """The row of that name."""
        return next(iter(idlutils.index_lookup_all(self._tables[table], name=name)), None)

    def find_all(self, table: str, key: str, value: str) -> list[Row]:
        """Rows that have this pair in external_ids; only for the pairs that are indexed."""
        rows = self._tables[table].rows
        wanted = rows.IndexEntry(external_ids={key: value})
        return list(rows.indexes[key].irange(wanted, wanted))

    def insert(self, table: str, **columns: Any) -> Row:
        row = self._txn.insert(self._tables[table])
        for column, value in columns.items():
            setattr(row, column, value)
        return row

    @staticmethod
    def put(row: Row, **columns: Any) -> None:
        """Set the columns that differ, so that an unchanged specification causes no transaction."""
        for column, value in columns.items():
            old = getattr(row, column)
            same = sorted(old) == sorted(value) if isinstance(value, list) else old == value
            if not same:
                setattr(row, column, value)

    # The IDL's public way copies a whole column, which for the names or the groups of 10,000 ports is dear.
    # These two look into the committed copy instead, in constant time; a row made in this transaction has
    # none.

    @staticmethod
    def holds(row: Row, column: str, member: Row) -> bool:
        """Whether a set of references has a member."""
        if row._data is None or member._data is None:
            return False
        return data.Atom(types.UuidType, member.uuid) in row._data[column].values

    @staticmethod
    def value(row: Row, column: str, key: str) -> str | None:
        """The value of a key in a map of strings."""
        if row._data is None:
            return None
        found = row._data[column].values.get(data.Atom(types.StringType, key))
        return None if found is None else str(found.value)


def stale(row: Row, revision: int) -> bool:
    """Whether the row carries a later revision. If not, a writer faster than this transaction restarts it."""
    stored = row.external_ids.get(REVISION)
    if stored is not None and int(stored) > revision:
        return True
    row.verify("external_ids")
    return False


class _Command:
    """A function in the form in which ovsdbapp's transaction takes it."""

    result = None

    def __init__(self, api: Any, body: Callable[[Change], None]) -> None:
        self._api = api
        self._body = body

    def run_idl(self, txn: Any) -> None:
        self._body(Change(self._api, txn))

    def post_commit(self, txn: Any) -> None:
        """Nothing is left to do: the result is in the database."""


class _Idl(connection.OvsdbIdl):  # type: ignore[misc]
    """Wakes those who wait for a port to be up. `notify` runs with the connection's lock held."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[str, list[threading.Event]] = {}

    def notify(self, event: str, row: Row, updates: Row | None = None) -> None:
        if self.waiting and row._table.name == "Logical_Switch_Port" and row.up == [True]:
            for waiter in self.waiting.get(row.name, ()):
                waiter.set()


class _Api(impl_idl.OvnNbApiIdlImpl):  # type: ignore[misc]
    ovsdb_connection = None
    """ovsdbapp keeps one connection a class; this makes it one an object."""


class Northbound:
    """An open connection. It reconnects by itself when the server was away; thread-safe."""

    def __init__(self, server: Path) -> None:
        try:
            idl = _Idl.from_server(f"unix:{server}", "OVN_Northbound", helper_tables=_TABLES)
            for table, key in _BY_EXTERNAL_ID:
                index = idl.tables[table].rows.index_create(key)
                index.add_column("external_ids", key=lambda row, key=key: row.external_ids.get(key, ""))
            self._connection = connection.Connection(idl, _TIMEOUT_S)
            self._api = _Api(self._connection)
        except Exception as error:  # from_server raises Exception itself
            raise CommandFailed("network", f"The network database does not answer: {error}") from error
        self._idl = idl

    def change(self, body: Callable[[Change], None]) -> None:
        """Run `body` as one transaction and return when the database has it. `body` may run several times.

        Raises:
            CommandFailed: the database refused it or did not answer in 30 s.
        """
        try:
            with self._api.transaction(check_error=True, log_errors=False, nested=False) as txn:
                txn.add(_Command(self._api, body))
        except (RuntimeError, exceptions.OvsdbAppException) as error:
            raise CommandFailed("network", f"The network database refused a change: {error}") from error

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, for looking at."""
        with self._connection.lock:
            return list(self._idl.tables[table].rows.values())

    def wait_up(self, port_id: str, timeout_s: float) -> bool:
        """Wait until a logical switch port is up; False when it was not within `timeout_s`."""
        came_up = threading.Event()
        with self._connection.lock:
            ports = self._idl.tables["Logical_Switch_Port"]
            if any(row.up == [True] for row in idlutils.index_lookup_all(ports, name=port_id)):
                return True
            self._idl.waiting.setdefault(port_id, []).append(came_up)
        try:
            return came_up.wait(max(timeout_s, 0.0))
        finally:
            with self._connection.lock:
                self._idl.waiting[port_id].remove(came_up)
                if not self._idl.waiting[port_id]:
                    del self._idl.waiting[port_id]

    def close(self) -> None:
        self._connection.stop(timeout=5)
