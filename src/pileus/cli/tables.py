"""What several verbs print: debts and unknown guests as tables."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pileus.agent.commands import NumaCell, PciDevice, PowerState
from pileus.clock import utcnow

if TYPE_CHECKING:
    from pileus.compute.model import UnknownGuest
    from pileus.operations.model import DebtRow

POWER_STATES = {
    PowerState.NOSTATE: "pending",
    PowerState.RUNNING: "running",
    PowerState.PAUSED: "paused",
    PowerState.SHUTDOWN: "shutdown",
    PowerState.CRASHED: "crashed",
    PowerState.SUSPENDED: "suspended",
}


def console() -> Console:
    """As wide as the terminal; wide enough for ids where there is none."""
    return Console(width=None if Console().is_terminal else 160, highlight=False)


def debts(rows: Iterable[DebtRow]) -> Table:
    """What is owed, to whom, and why it was not paid yet."""
    table = columns("debt", "host", "what", "about", "age", "tries", "last error")
    for row in rows:
        values = (str(row.id), row.host, row.name, row.subject_id, age(row.created_at), str(row.tries))
        add(table, *values, row.error or "")
    return table


def unknown_guests(rows: Iterable[UnknownGuest]) -> Table:
    """What hosts have that no server accounts for."""
    table = columns("host", "guest", "incarnation", "state", "known for")
    for row in rows:
        state = "files only" if row.power_state is None else POWER_STATES.get(row.power_state, str(row.power_state))
        add(table, row.host, row.server_id, str(row.incarnation), state, age(row.first_seen))
    return table


def numa_cells(cells: Iterable[NumaCell]) -> Table:
    """The parts of a machine that have memory of their own."""
    table = columns("NUMA cell", "CPUs", "MiB")
    for one in cells:
        add(table, str(one.id), one.cpus, str(one.memory_mib))
    return table


def pci_devices(devices: Iterable[PciDevice]) -> Table:
    """A machine's PCI functions; numbers are hexadecimal, as lspci -n has them."""
    table = columns("PCI device", "vendor:product", "class", "NUMA cell", "driver", "virtual function of")
    for one in devices:
        cell = "" if one.cell is None else str(one.cell)
        add(table, one.address, f"{one.vendor_id}:{one.product_id}", one.class_id, cell, one.driver, one.parent)
    return table


def age(since: datetime) -> str:
    """How long ago that was, in its largest unit: 40 s, 12 min, 3 h, 5 d."""
    seconds = max(0, int((utcnow() - since).total_seconds()))
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < most:
            return f"{seconds // size} {unit}"
    return f"{seconds // 86400} d"


def columns(*names: str) -> Table:
    """A table with these, and no rows."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def add(table: Table, *values: str) -> None:
    """A row as it is."""
    table.add_row(*map(plain, values))


def plain(text: str, style: str = "") -> Text:
    """A text as it is: what hosts say is no markup, and moves no cursor."""
    return Text("".join(one if one.isprintable() else "?" for one in text), style)
