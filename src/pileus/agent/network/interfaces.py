"""The interfaces of this host's switch, watched for OVN's word that their flows are in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.errors import CommandFailed
from pileus.ovsdb import Database, Lost, Replica


class Interfaces:
    """The Interface table of the switch's database.

    ovn-controller sets `external_ids:ovn-installed` on the interface of a port once the port is bound to this host and
    its flows are in, and takes it away when the port is unbound (ovn-controller(8)). libvirt takes over a row that it
    finds for a tap, so one that a crash left must go before a guest is started: it would deceive.
    """

    def __init__(self, server: Path) -> None:
        columns = {"Interface": ("name", "external_ids")}
        with _answers():
            self._database = Database(f"unix:{server}", "Open_vSwitch", columns, named=("Interface",))

    def catch_up(self) -> None:
        """Know all that was done to the switch before this call.

        Raises:
            CommandFailed: "network", its database does not answer.
        """
        with _answers():
            self._database.catch_up()

    def present(self, taps: list[str]) -> list[str]:
        """Those of the taps that are on the switch.

        Raises:
            CommandFailed: "network", its database does not answer.
        """
        self.catch_up()
        with _answers():
            return self._database.look(lambda replica: [tap for tap in taps if replica.find("Interface", tap)])

    def wait_installed(self, tap: str, port_id: str, timeout_s: float) -> bool:
        """Wait until a tap carries a port and its flows are in; False when that was not within `timeout_s`."""

        def installed(replica: Replica) -> bool:
            row = replica.find("Interface", tap)
            ids = {} if row is None else row.external_ids
            return ids.get("iface-id") == port_id and ids.get("ovn-installed") == "true"

        return self._database.wait_for(installed, timeout_s)

    def close(self) -> None:
        self._database.close()


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except Lost as error:
        raise CommandFailed("network", f"The switch's database does not answer: {error}") from error
